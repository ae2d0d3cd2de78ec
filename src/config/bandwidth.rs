//! The limits on bandwidth: one for all times, and others for parts of the day.

use super::checks;
use super::keys;
use super::problem::ValidationMessage;
use super::reader::SettingReader;
use super::shown::{self, ValueOrigin};
use crate::model::{BandwidthSchedule, BandwidthWindow, DAY_MINUTES};

/// Maximum number of windows.
const WINDOWS_MAX: usize = 100;
/// The value of a window without a limit.
const UNLIMITED: &str = "off";
/// The largest difference of a local time from UTC, in hours.
const OFFSET_HOURS_MAX: u16 = 14;

/// All limits.
pub(super) fn schedule(reader: &mut SettingReader<'_>) -> BandwidthSchedule {
    let otherwise = limit(reader);
    let texts = reader.list(&keys::BANDWIDTH_SCHEDULE, |text| window(text).map(|_| ()));
    let check = |text: &str, _: &ValueOrigin| utc_offset(text);
    let show = |offset: &i16| shown::text(&shown_offset(*offset));
    let offset = reader.checked(&keys::BANDWIDTH_UTC_OFFSET, check, show);
    let windows: Vec<_> = texts.iter().filter_map(|text| window(text).ok()).collect();
    if reader.sound(&[&keys::BANDWIDTH_SCHEDULE]) {
        refuse_overlap(reader, &texts, &windows);
    }
    let utc_offset = offset.unwrap_or_default();
    BandwidthSchedule { windows: windows.into(), otherwise, utc_offset }
}

fn refuse_overlap(reader: &mut SettingReader<'_>, texts: &[String], windows: &[BandwidthWindow]) {
    let origin = reader.origin(&keys::BANDWIDTH_SCHEDULE);
    if windows.len() > WINDOWS_MAX {
        let wrong = format!("is one of more than {WINDOWS_MAX} entries; write fewer");
        reader.refuse(&keys::BANDWIDTH_SCHEDULE, &origin, &texts[WINDOWS_MAX], wrong);
        return;
    }
    for (index, window) in windows.iter().enumerate() {
        let earlier = windows[..index].iter().position(|earlier| earlier.overlaps(window));
        if let Some(earlier) = earlier {
            let earlier = &texts[earlier];
            let wrong = format!("overlaps {earlier}; write times of which each is in one entry");
            reader.refuse(&keys::BANDWIDTH_SCHEDULE, &origin, &texts[index], wrong);
        }
    }
}

/// Bytes per second; 0 for no limit.
fn limit(reader: &mut SettingReader<'_>) -> Option<u64> {
    let mib = reader.whole(&keys::BANDWIDTH_LIMIT_MIB);
    let check = |text: &str, _: &ValueOrigin| checks::rate(text);
    let limit = reader.checked(&keys::BANDWIDTH_LIMIT, check, |rate| checks::shown_rate(*rate));
    if mib > 0 && limit.is_some() {
        let other = keys::BANDWIDTH_LIMIT_MIB.name;
        let wrong = format!("is set beside {other}, which says the same; remove one of them");
        let origin = reader.origin(&keys::BANDWIDTH_LIMIT);
        let written = checks::shown_rate(limit.unwrap_or_default());
        reader.refuse(&keys::BANDWIDTH_LIMIT, &origin, &written, wrong);
    }
    limit.or((mib > 0).then_some(mib << 20))
}

/// One entry, such as `08:00-18:00 2MiB`.
fn window(text: &str) -> Result<BandwidthWindow, ValidationMessage> {
    let form = || {
        "is no part of a day with a limit; write one such as 08:00-18:00 2MiB, or 22:00-06:00 off"
            .to_owned()
    };
    let (times, rate) = text.trim().split_once(' ').ok_or_else(form)?;
    let (from, until) = times.split_once('-').ok_or_else(form)?;
    let from = minute(from).filter(|from| *from < DAY_MINUTES).ok_or_else(form)?;
    let until = minute(until).ok_or_else(form)?;
    let rate = match rate.trim() {
        UNLIMITED => None,
        rate => Some(checks::rate(rate).map_err(|wrong| format!("has a limit that {wrong}"))?),
    };
    if from == until % DAY_MINUTES {
        return Err("begins when it ends; use bandwidth_limit for the whole day".to_owned());
    }
    Ok(BandwidthWindow { from, until, rate })
}

/// The minute of the day, from `00:00` to `24:00`.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| {
        let plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| plain)
    };
    let hour = number(hour)?;
    let minute = number(minute)?;
    let total = hour * 60 + minute;
    (minute < 60 && total <= DAY_MINUTES).then_some(total)
}

/// The local time minus UTC, such as `+02:00`, in minutes.
fn utc_offset(text: &str) -> Result<i16, ValidationMessage> {
    let signed = text.strip_prefix('+').map(|rest| (rest, 1));
    let signed = signed.or_else(|| text.strip_prefix('-').map(|rest| (rest, -1)));
    let offset = signed.and_then(|(rest, sign)| {
        let offset = minute(rest).filter(|offset| *offset <= OFFSET_HOURS_MAX * 60)?;
        i16::try_from(offset).ok().map(|offset| offset * sign)
    });
    offset.ok_or_else(|| {
        "is no difference from UTC; write one such as +02:00 or -05:30, in quotes".to_owned()
    })
}

fn shown_offset(offset: i16) -> String {
    let sign = if offset < 0 { '-' } else { '+' };
    let minutes = offset.unsigned_abs();
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_two_times_and_a_limit() {
        let read = |text: &str| window(text).map(|window| (window.from, window.until, window.rate));
        assert_eq!(read("08:00-18:30 2MiB"), Ok((480, 1110, Some(2 << 20))));
        assert_eq!(read(" 22:00-06:00  off "), Ok((1320, 360, None)));
        assert_eq!(read("12:00-24:00 500 KiB"), Ok((720, 1440, Some(500 << 10))));
        for text in [
            "",
            "08:00",
            "08:00-18:00",
            "8:00-18:00 2MiB",
            "08:00-18:60 2MiB",
            "24:00-01:00 off",
            "08:00-24:01 off",
            "08:00 - 18:00 2MiB",
            "-08:00-18:00 off",
            "08.00-18.00 off",
        ] {
            let wrong = read(text).expect_err(text);
            assert!(wrong.contains("08:00-18:00 2MiB"), "{text}: {wrong}");
        }
        for (text, why) in [
            ("08:00-18:00 2MB", "has a limit that is not a rate"),
            ("08:00-18:00 1KiB", "out of range"),
            ("08:00-08:00 off", "begins when it ends"),
            ("00:00-24:00 off", "begins when it ends"),
        ] {
            let wrong = read(text).expect_err(text);
            assert!(wrong.contains(why), "{text}: {wrong}");
        }
    }

    #[test]
    fn an_offset_has_a_sign() {
        for (text, minutes) in [("+00:00", 0), ("+02:00", 120), ("-05:30", -330), ("+14:00", 840)] {
            assert_eq!(utc_offset(text), Ok(minutes), "{text}");
            assert_eq!(shown_offset(minutes), text);
        }
        for text in ["", "2", "02:00", "+2:00", "+15:00", "Europe/Berlin", "UTC"] {
            assert!(utc_offset(text).is_err(), "{text}");
        }
    }
}
