//! Times as the twin writes them.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970 now, by this machine's clock.
pub fn clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as i64)
}

/// Microseconds since 1970 of an RFC 3339 time in UTC, such as `2024-11-21T09:06:40.125Z`.
#[track_caller]
pub fn micros(text: &str) -> i64 {
    let parsed = || {
        let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
        let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
        let mut date = date.splitn(3, '-').map(str::parse::<i64>);
        let mut time = time.splitn(3, ':').map(str::parse::<i64>);
        let next = |part: &mut dyn Iterator<Item = Result<i64, _>>| part.next()?.ok();
        let (year, month, day) = (next(&mut date)?, next(&mut date)?, next(&mut date)?);
        let (hour, minute, second) = (next(&mut time)?, next(&mut time)?, next(&mut time)?);
        let fraction: i64 = format!("{fraction:0<6}").parse().ok()?;
        // Years that begin in March, so that the leap day is the last.
        let (year, month) = if month > 2 {
            (year, month - 3)
        } else {
            (year - 1, month + 9)
        };
        let days =
            year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 719_469;
        Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + fraction)
    };
    parsed().unwrap_or_else(|| panic!("{text} is no time in UTC"))
}

#[cfg(test)]
mod tests {
    use super::micros;

    #[test]
    fn times_are_read_as_they_are_written() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2024-11-21T09:06:40.125Z", 1_732_180_000_125_000),
            ("2024-02-29T23:59:59.000001Z", 1_709_251_199_000_001),
            ("2000-03-01T00:00:00Z", 951_868_800_000_000),
        ] {
            assert_eq!(micros(text), expected, "{text}");
        }
    }
}
