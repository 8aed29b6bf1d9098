//! Times of readings: decimal epoch seconds or RFC 3339, as microseconds.
//!
//! # Invariants
//! - A decimal time is read from its text, never through a float: six decimals are kept exactly,
//!   more are rounded to the nearest microsecond, ties away from zero.
//! - A time lies in the years that [`jiff::Timestamp`] has.
//! - [`Arrivals`] never gives the same microsecond twice, so two messages without a time of their
//!   own never replace each other.

use std::time::{SystemTime, UNIX_EPOCH};

/// Longest text of a number that is read as a time.
const MAX_NUMBER_BYTES: usize = 64;
/// Decimal digits that an `i128` always holds.
const MAX_DIGITS: i32 = 38;

/// Microseconds of decimal seconds in JSON's number syntax.
pub(crate) fn parse_epoch_seconds(text: &str) -> Result<i64, String> {
    let far = || {
        format!("{text} is not a time within the calendar; `ts` is in seconds, not milliseconds")
    };
    if text.len() > MAX_NUMBER_BYTES {
        return Err(format!("a time of more than {MAX_NUMBER_BYTES} characters"));
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (digits, exponent) = match digits.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().map_err(|_overflow| far())?),
        None => (digits, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut mantissa: i128 = 0;
    let mut significant = 0;
    for byte in whole.bytes().chain(fraction.bytes()) {
        if !byte.is_ascii_digit() {
            return Err(format!("`{text}` is not a number"));
        }
        significant += i32::from(significant > 0 || byte != b'0');
        if significant > MAX_DIGITS {
            return Err(format!("{text} has more digits than a time needs"));
        }
        mantissa = mantissa * 10 + i128::from(byte - b'0');
    }
    let shift = exponent
        .saturating_sub(i32::try_from(fraction.len()).unwrap_or(i32::MAX))
        .saturating_add(6);
    let micros = if mantissa == 0 {
        0
    } else if shift >= 0 {
        let factor = u32::try_from(shift)
            .ok()
            .and_then(|shift| 10_i128.checked_pow(shift));
        factor
            .and_then(|factor| mantissa.checked_mul(factor))
            .ok_or_else(far)?
    } else {
        match 10_i128.checked_pow(shift.unsigned_abs()) {
            // `mantissa` may use the whole range, so half is not added to it but compared.
            Some(divisor) => {
                let (quotient, rest) = (mantissa / divisor, mantissa % divisor);
                quotient + i128::from(rest >= divisor - rest)
            }
            None => 0,
        }
    };
    let micros = if negative { -micros } else { micros };
    let micros = i64::try_from(micros).map_err(|_out_of_range| far())?;
    if jiff::Timestamp::from_microsecond(micros).is_ok() {
        Ok(micros)
    } else {
        Err(far())
    }
}

/// Microseconds of an RFC 3339 text.
pub(crate) fn parse_rfc3339(text: &str) -> Result<i64, String> {
    text.parse::<jiff::Timestamp>()
        .map(jiff::Timestamp::as_microsecond)
        .map_err(|error| {
            let text: String = text.chars().take(MAX_NUMBER_BYTES).collect();
            format!("`{text}` is not a time like 2025-01-31T08:30:00Z: {error}")
        })
}

/// Now, microseconds since 1970.
pub(crate) fn now_micros() -> i64 {
    let micros =
        |elapsed: std::time::Duration| i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX);
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(elapsed) => micros(elapsed),
        Err(before) => -micros(before.duration()),
    }
}

/// Times of arrival of one connection: real time, but always later than the one before.
#[derive(Debug)]
pub(crate) struct Arrivals {
    last: i64,
    /// They are of another time than now.
    past: bool,
}

impl Arrivals {
    pub(crate) fn new() -> Self {
        Self {
            last: i64::MIN,
            past: false,
        }
    }

    /// Those of something that arrived at a time, however late it is looked at.
    pub(crate) fn from(at: i64) -> Self {
        Self {
            last: at.saturating_sub(1),
            past: true,
        }
    }

    /// The next time of arrival, given the time now.
    pub(crate) fn next(&mut self, now: i64) -> i64 {
        let next = self.last.saturating_add(1);
        self.last = if self.past { next } else { now.max(next) };
        self.last
    }

    /// Leaves times out: they may be given to what one message holds when it is looked at again.
    pub(crate) fn skip(&mut self, times: i64) {
        self.last = self.last.saturating_add(times);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimal_seconds_are_exact() {
        for (text, micros) in [
            ("1732180000.125", 1_732_180_000_125_000),
            ("1732180000", 1_732_180_000_000_000),
            ("1732180000.000001", 1_732_180_000_000_001),
            ("0.1", 100_000),
            ("-0.000001", -1),
            ("-0", 0),
            ("1.732180000125e9", 1_732_180_000_125_000),
            ("17321800001250000E-7", 1_732_180_000_125_000),
            ("1732180000.1250004999", 1_732_180_000_125_000),
            ("1732180000.1250005", 1_732_180_000_125_001),
            ("0e999999999", 0),
            ("1e-999999999", 0),
        ] {
            assert_eq!(parse_epoch_seconds(text), Ok(micros), "{text}");
        }
    }

    #[test]
    fn milliseconds_and_other_far_times_are_refused_with_a_hint() {
        for text in ["1732180000125", "1e400", "-1e30", "1e99999999999"] {
            assert!(
                parse_epoch_seconds(text).unwrap_err().contains("seconds"),
                "{text}"
            );
        }
        assert!(parse_epoch_seconds(&"9".repeat(65)).is_err());
        assert!(parse_epoch_seconds(&"9".repeat(39)).is_err());
    }

    #[test]
    fn rfc_3339_means_the_same_as_seconds() {
        assert_eq!(
            parse_rfc3339("2024-11-21T09:06:40.125Z"),
            Ok(1_732_180_000_125_000)
        );
        assert_eq!(
            parse_rfc3339("2024-11-21T11:06:40.125+02:00"),
            Ok(1_732_180_000_125_000)
        );
        assert!(parse_rfc3339("yesterday").is_err());
        assert!(parse_rfc3339("2024-11-21 09:06").is_err());
    }

    #[test]
    fn arrivals_never_repeat() {
        let mut arrivals = Arrivals::new();
        let times = [5, 5, 4, 9].map(|now| arrivals.next(now));
        assert_eq!(times, [5, 6, 7, 9]);
        arrivals.skip(3);
        assert_eq!(arrivals.next(10), 13);
        let mut past = Arrivals::from(5);
        assert_eq!([past.next(100), past.next(200)], [5, 6]);
    }

    proptest! {
        #[test]
        fn six_decimals_survive(micros in -60_000_000_000_000_000_i64..200_000_000_000_000_000) {
            let sign = if micros < 0 { "-" } else { "" };
            let (seconds, rest) = (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
            prop_assert_eq!(parse_epoch_seconds(&format!("{sign}{seconds}.{rest:06}")), Ok(micros));
            prop_assert_eq!(parse_epoch_seconds(&format!("{micros}e-6")), Ok(micros));
        }

        #[test]
        fn no_text_panics(text in "[-0-9.eE+]{0,70}") {
            // Only that it returns matters here.
            drop(parse_epoch_seconds(&text));
            drop(parse_rfc3339(&text));
        }
    }
}
