//! Times as text: RFC 3339, and what else of ISO 8601 says a moment.
//!
//! What jiff's own reader takes, as the same moments, but for what RFC 9557 adds in brackets. Its reader brings every message
//! of jiff into the program, for panics that never happen.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// Reads `2026-01-02T03:04:05.678+01:00`; `None` where a text is anything else, or its date is none.
///
/// `T` may be a blank or small; the offset `Z`, or without its colon; `-` and `:` may be left out in the date and in the
/// time; seconds and minutes may be left out; a comma may stand for the point. A year of six digits has a sign. Digits are
/// at most nine after the point. A leap second is the one before it.
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    let mut rest = Rest(text.as_bytes());
    let (year, month, day) = rest.date()?;
    rest.take_one_of(b"Tt ")?;
    let (hour, minute, second, nanosecond) = rest.time()?;
    let offset = rest.offset()?;
    if !rest.0.is_empty() || second > 60 {
        return None;
    }
    let small = |number: i32| i8::try_from(number).ok();
    let time = DateTime::new(
        i16::try_from(year).ok()?,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second.min(59))?,
        nanosecond,
    );
    offset.to_timestamp(time.ok()?).ok()
}

/// What has not been read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    /// The next byte, if it is one of these.
    fn take_one_of(&mut self, bytes: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        bytes.contains(first).then(|| self.0 = rest)?;
        Some(*first)
    }

    /// A number of exactly so many digits.
    fn number(&mut self, digits: usize) -> Option<i32> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        let add = |sum: i32, digit: &u8| {
            digit
                .is_ascii_digit()
                .then(|| 10 * sum + i32::from(digit - b'0'))
        };
        let number = number.iter().try_fold(0, add)?;
        self.0 = rest;
        Some(number)
    }

    fn date(&mut self) -> Option<(i32, i32, i32)> {
        let year = match self.take_one_of(b"+-") {
            None => self.number(4)?,
            Some(b'+') => self.number(6)?,
            // There is no year -0.
            Some(_) => -self.number(6).filter(|year| *year != 0)?,
        };
        let has_separators = self.take_one_of(b"-").is_some();
        let month = self.number(2)?;
        if has_separators {
            self.take_one_of(b"-")?;
        }
        Some((year, month, self.number(2)?))
    }

    /// Hour, minute, second, nanosecond. What is left out is zero.
    fn time(&mut self) -> Option<(i32, i32, i32, i32)> {
        let hour = self.number(2)?;
        let has_separators = self.0.starts_with(b":");
        let Some(minute) = self.next_part(has_separators)? else {
            return Some((hour, 0, 0, 0));
        };
        let Some(second) = self.next_part(has_separators)? else {
            return Some((hour, minute, 0, 0));
        };
        Some((hour, minute, second, self.fraction()?))
    }

    /// Two digits more of a time, if there are any.
    fn next_part(&mut self, has_separators: bool) -> Option<Option<i32>> {
        if !has_separators {
            return Some(self.number(2));
        }
        match self.take_one_of(b":") {
            Some(_) => self.number(2).map(Some),
            None => Some(None),
        }
    }

    /// Nanoseconds after the point.
    fn fraction(&mut self) -> Option<i32> {
        if self.take_one_of(b".,").is_none() {
            return Some(0);
        }
        let mut nanoseconds = self.number(1)?;
        for _ in 1..9 {
            nanoseconds = 10 * nanoseconds + self.number(1).unwrap_or(0);
        }
        Some(nanoseconds)
    }

    fn offset(&mut self) -> Option<Offset> {
        let sign = match self.take_one_of(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _ => return Some(Offset::UTC),
        };
        let (hours, minutes, seconds, nanoseconds) = self.time()?;
        if minutes > 59 || seconds > 59 {
            return None;
        }
        let rounded = seconds + i32::from(nanoseconds >= 500_000_000);
        Offset::from_seconds(sign * ((hours * 60 + minutes) * 60 + rounded)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn moments_are_read_in_every_form() {
        for (text, expected) in [
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
            ("2026-01-02t03:04:05z", "2026-01-02T03:04:05Z"),
            ("2026-01-02 03:04:05Z", "2026-01-02T03:04:05Z"),
            ("2026-01-02T03:04:05+00:00", "2026-01-02T03:04:05Z"),
            ("2026-01-02T03:04:05-00:00", "2026-01-02T03:04:05Z"),
            ("2026-01-02T03:04:05+0130", "2026-01-02T01:34:05Z"),
            ("2026-01-02T03:04:05-01", "2026-01-02T04:04:05Z"),
            ("2026-01-02T03:04:05+00:00:05", "2026-01-02T03:04:00Z"),
            ("2026-01-02T03:04:05+00:00:04.5", "2026-01-02T03:04:00Z"),
            ("2026-01-02T03:04:05+000004,4", "2026-01-02T03:04:01Z"),
            ("2026-01-02T03:04:05.5Z", "2026-01-02T03:04:05.5Z"),
            (
                "2026-01-02T03:04:05,123456789Z",
                "2026-01-02T03:04:05.123456789Z",
            ),
            ("20260102T030405Z", "2026-01-02T03:04:05Z"),
            ("20260102T0304Z", "2026-01-02T03:04:00Z"),
            ("2026-01-02T03Z", "2026-01-02T03:00:00Z"),
            ("20260102T03:04:05Z", "2026-01-02T03:04:05Z"),
            ("2026-12-31T23:59:60Z", "2026-12-31T23:59:59Z"),
            ("2028-02-29T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("+002026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
            ("-002026-01-02T03:04:05Z", "-002026-01-02T03:04:05Z"),
            ("+000000-01-02T03:04:05Z", "0000-01-02T03:04:05Z"),
            (
                "9999-12-30T22:00:00.999999999Z",
                "9999-12-30T22:00:00.999999999Z",
            ),
            ("2026-01-02T03:04:05+25:59:59", "2026-01-01T01:04:06Z"),
        ] {
            let expected: Timestamp = expected.parse().unwrap();
            assert_eq!(parse(text), Some(expected), "{text:?}");
            assert_eq!(text.parse().ok(), Some(expected), "jiff: {text:?}");
        }
    }

    #[test]
    fn what_is_no_moment_is_not_read() {
        for text in [
            "-000000-01-02T03:04:05Z",
            "9999-12-31T23:59:59Z",
            "+010000-01-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-01-02T24:00:00Z",
            "2026-01-02T03:60:00Z",
            "2026-01-02T03:04:61Z",
            "2026-01-02T03:04:05+26:00",
            "2026-01-02T03:04:05+25:59:59.5",
            "2026-01-02T03:04:05+00:60",
            "2026-01-02T03:04:05+00:00:60",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05.1234567890Z",
            "2026-01-02T03:04.5Z",
            "2026-01-02T03:04:Z",
            "2026-01-02T03:0405Z",
            "2026-01-02T0304:05Z",
            "2026-0102T03:04:05Z",
            "202601-02T03:04:05Z",
            "2026-1-02T03:04:05Z",
            "2026-01-02T03:04:05",
            "2026-01-02",
            "2026-01-02Z",
            "2026-01-02T03:04:05ZZ",
            " 2026-01-02T03:04:05Z",
            "2026-01-02T03:04:05 Z",
            "\u{663}026-01-02T03:04:05Z",
            "",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
            assert!(text.parse::<Timestamp>().is_err(), "jiff: {text:?}");
        }
    }

    #[test]
    fn what_a_zone_adds_in_brackets_is_not_read() {
        let text = "2026-01-02T03:04:05Z[Europe/Berlin]";
        assert!(text.parse::<Timestamp>().is_ok());
        assert_eq!(parse(text), None);
    }

    proptest! {
        #[test]
        fn moments_are_those_of_jiff(
            year in "[-+]?[0-9]{4}|[-+]0[0-9]{5}|[0-9]{0,7}", date in "-?[01][0-9]-?[0-3][0-9]|-?[0-9]{1,2}-?[0-9]{1,2}", letter in "[Tt ]?",
            time in "[0-2][0-9](:?[0-6][0-9]){0,2}|[0-9]{0,2}(:?[0-9]{0,2}){0,3}", fraction in "([.,][0-9]{0,10})?",
            offset in "[Zz]|[-+][0-2][0-9](:?[0-6][0-9]){0,2}([.,][0-9]{0,10})?|[-+]?[0-9]{0,2}(:?[0-9]{0,2}){0,3}",
        ) {
            let text = [year, date, letter, time, fraction, offset].concat();
            prop_assert_eq!(parse(&text), text.parse().ok(), "{:?}", text);
        }

        #[test]
        fn every_moment_is_read_as_jiff_writes_it(seconds in -62_135_596_800_i64..253_402_207_200, nanoseconds in 0..1_000_000_000) {
            let moment = Timestamp::new(seconds, nanoseconds).unwrap();
            prop_assert_eq!(parse(&moment.to_string()), Some(moment));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,40}|[0-9TZ:+.,-]{0,40}") {
            prop_assert_eq!(parse(&text), text.parse().ok(), "{:?}", text);
        }
    }
}
