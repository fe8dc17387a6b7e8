//! How long a provider asks to wait, from its headers. Written for hostile and careless values alike.

use std::time::Duration;

use http::HeaderMap;

/// Longest wait that is believed; a longer one is cut to it, so that a broken header cannot rest a deployment for a year.
pub const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The wait that an **error** answer asks for. Vendors also send `retry-after` with 200, where it means nothing.
///
/// `retry-after-ms` is milliseconds and wins, because it is the finer of two statements about one thing, unless it is
/// zero beside a `retry-after` that is not. `retry-after` is seconds, whole or not, or an HTTP date, which is judged
/// against the answer's own `date` header: the provider's clock, not ours. Nonsense is ignored.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let fine = text("retry-after-ms").and_then(|ms| seconds(ms).map(|wait| wait / 1_000));
    let coarse = text("retry-after").and_then(|value| {
        seconds(value).or_else(|| {
            let (until, now) = (http_date(value)?, http_date(text("date")?)?);
            Some(Duration::from_secs(until.saturating_sub(now)))
        })
    });
    let wait = match (fine, coarse) {
        (Some(Duration::ZERO), Some(coarse)) => coarse,
        (Some(fine), _) => fine,
        (None, coarse) => coarse?,
    };
    Some(wait.min(WAIT_MAX))
}

/// A number of seconds such as `3`, `0.25` or `3s`; negative counts as zero.
#[must_use]
pub fn seconds(text: &str) -> Option<Duration> {
    let number: f64 = text.strip_suffix('s').unwrap_or(text).parse().ok()?;
    // NaN is nobody's wait; infinities and huge values are cut.
    (!number.is_nan()).then(|| Duration::from_secs_f64(number.clamp(0.0, WAIT_MAX.as_secs_f64() * 1_000.0)))
}

/// Unix seconds of an IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT`: the only form that senders may still produce.
fn http_date(text: &str) -> Option<u64> {
    let rest = text.split_once(", ")?.1;
    let mut words = rest.split(' ');
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    if words.next() != Some("GMT") || words.next().is_some() {
        return None;
    }
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let mut clock = time.splitn(3, ':').map(str::parse::<u64>);
    let (hour, minute, second) = (clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?);
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 1970-01-01 in the Gregorian calendar, with years counted from March.
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (m * 306 + 5) / 10 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(pairs: &[(&'static str, &str)], expected: Option<f64>) {
        let headers =
            pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_str(value).expect("header")));
        assert_eq!(retry_after(&headers.collect()), expected.map(Duration::from_secs_f64), "{pairs:?}");
    }

    #[test]
    fn seconds_milliseconds_and_dates() {
        check(&[("retry-after", "3")], Some(3.0));
        check(&[("retry-after", "0.25")], Some(0.25));
        check(&[("retry-after-ms", "1500")], Some(1.5));
        check(&[("retry-after", "2"), ("retry-after-ms", "1500")], Some(1.5));
        check(&[("retry-after", "1"), ("retry-after-ms", "0")], Some(1.0));
        check(&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT"), ("date", "Sun, 06 Nov 1994 08:49:37 GMT")], Some(30.0));
        check(&[("retry-after", "Fri, 01 Mar 2024 00:00:00 GMT"), ("date", "Thu, 29 Feb 2024 23:59:50 GMT")], Some(10.0));
        check(&[], None);
    }

    #[test]
    fn hostile_values_are_harmless() {
        check(&[("retry-after", "-5")], Some(0.0));
        check(&[("retry-after", "99999999999999999999999")], Some(86_400.0));
        check(&[("retry-after", "inf")], Some(86_400.0));
        check(&[("retry-after-ms", "1e300")], Some(86_400.0));
        check(&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), ("date", "Sun, 06 Nov 2094 08:49:37 GMT")], Some(0.0));
        for nonsense in [
            "",
            "soon",
            "NaN",
            "Sun, 99 Foo 1994 08:49:37 GMT",
            "Sun, 06 Nov 18446744073709551615 08:49:37 GMT",
            "1;2",
            "Sun, 06 Nov 1994 08:49:37 GMT",
        ] {
            check(&[("retry-after", nonsense)], None);
        }
    }

    #[test]
    fn dates_are_unix_seconds() {
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("Tue, 29 Feb 2000 12:00:00 GMT"), Some(951_825_600));
    }
}
