//! `Retry-After`: the pause that a store, or a proxy in front of it, requests before the next request.

use crate::model::UnixMillis;
use aws_smithy_runtime_api::http::Headers;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

/// Returns the requested pause, or `None` if the header is absent or invalid. The header has seconds
/// or a date; a date is compared with the `Date` of the same response. The queue bounds the pause.
pub(super) fn retry_after_ms(headers: &Headers) -> Option<UnixMillis> {
    let value = headers.get("retry-after")?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(value.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(1000));
    }
    let seconds = |text: &str| Some(DateTime::from_str(text, Format::HttpDate).ok()?.secs());
    let pause = seconds(value)? - seconds(headers.get("date")?.trim())?;
    Some(u64::try_from(pause).ok()? * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(value: &'static str, date: Option<&'static str>) -> Option<UnixMillis> {
        let mut headers = Headers::new();
        headers.insert("retry-after", value);
        if let Some(date) = date {
            headers.insert("date", date);
        }
        retry_after_ms(&headers)
    }

    #[test]
    fn seconds_and_dates_are_read_and_nothing_else() {
        let date = Some("Wed, 21 Oct 2015 07:28:00 GMT");
        for (value, pause) in [
            ("5", Some(5_000)),
            (" 120 ", Some(120_000)),
            ("0", Some(0)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Wed, 21 Oct 2015 07:28:09 GMT", Some(9_000)),
            ("Wed, 21 Oct 2015 07:27:00 GMT", None),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(parsed(value, date), pause, "{value}");
        }
        assert_eq!(parsed("Wed, 21 Oct 2015 07:28:09 GMT", None), None);
        assert_eq!(retry_after_ms(&Headers::new()), None);
    }
}
