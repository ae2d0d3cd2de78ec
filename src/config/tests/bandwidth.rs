//! Tests of the limits on bandwidth.

use super::*;
use crate::model::BandwidthWindow;

#[test]
fn a_rate_may_have_any_unit_and_only_one_key() {
    let rate = |more: &str| Desk::new(&with_required(more)).loaded().config.bandwidth.otherwise;
    assert_eq!(rate("bandwidth_limit: 500KiB\n"), Some(500 << 10));
    assert_eq!(rate("bandwidth_limit_mib_per_second: 2\n"), Some(2 << 20));
    let both = "bandwidth_limit: 500KiB\nbandwidth_limit_mib_per_second: 2\n";
    let reported = Desk::new(&with_required(both)).reported();
    assert!(
        reported.contains("bandwidth_limit") && reported.contains("remove one of them"),
        "{reported}"
    );
}

#[test]
fn parts_of_the_day_have_limits_of_their_own() {
    let desk = Desk::new(&with_required("bandwidth_limit: 10MiB\n"))
        .with("FILE_SYNC__BANDWIDTH_SCHEDULE", "08:00-18:00 2MiB, 22:00-06:00 off")
        .with("FILE_SYNC__BANDWIDTH_SCHEDULE_UTC_OFFSET", "-05:30");
    let loaded = desk.loaded();
    let windows = [
        BandwidthWindow { from: 480, until: 1080, rate: Some(2 << 20) },
        BandwidthWindow { from: 1320, until: 360, rate: None },
    ];
    let otherwise = Some(10 << 20);
    let utc_offset = -330;
    let expected = BandwidthSchedule { windows: windows.into(), otherwise, utc_offset };
    assert_eq!(loaded.config.bandwidth, expected);
    let value = shown(&loaded, "bandwidth_schedule").0;
    assert_eq!(value, "[\"08:00-18:00 2MiB\", \"22:00-06:00 off\"]");
    assert_eq!(shown(&loaded, "bandwidth_schedule_utc_offset").0, "\"-05:30\"");
}

#[test]
fn reports_a_time_in_two_entries() {
    let more = "bandwidth_schedule: [\"08:00-18:00 2MiB\", \"17:59-20:00 off\"]\n";
    assert_eq!(
        Desk::new(&with_required(more)).reported(),
        "1 problem in the configuration:\n  config.yml:3: bandwidth_schedule: \"17:59-20:00 off\" \
         overlaps 08:00-18:00 2MiB; write times of which each is in one entry"
    );
}
