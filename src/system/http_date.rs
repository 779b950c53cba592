//! Dates as HTTP writes them (RFC 9110 5.6.7). Whoever reads them has to know three forms, all of them in UTC.

use jiff::Timestamp;

use super::iso_8601;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Reads `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` or `Sun Nov  6 08:49:37 1994`; `None` for anything
/// else, and for a day of the week that is another.
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    let words = text.split([' ', '-']).filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    let (weekday, year, month, day, time) = match *words {
        [weekday, day, month, year, time, "GMT"] => {
            (weekday.strip_suffix(',')?, year, month, day, time)
        }
        [weekday, month, day, time, year] => (weekday, year, month, day, time),
        _ => return None,
    };
    // Two digits are of the years from 1970 to 2069.
    let century = match year.len() {
        4 => "",
        2 if year < "70" => "20",
        2 => "19",
        _ => return None,
    };
    if time.len() != "08:49:37".len() {
        return None;
    }
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let date = format!("{century}{year}-{month:02}-{day:0>2}T{time}Z");
    let date = iso_8601::parse(&date)?;
    // 1970 began on a Thursday.
    let days = date.as_second().div_euclid(24 * 60 * 60) + 3;
    let name = DAYS[usize::try_from(days.rem_euclid(7)).ok()?];
    weekday.starts_with(name).then_some(date)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::fmt::rfc2822;
    use proptest::prelude::*;

    #[test]
    fn each_form_is_read() {
        for (text, expected) in [
            (
                "Sun, 06 Nov 1994 08:49:37 GMT",
                Some("1994-11-06T08:49:37Z"),
            ),
            (
                "Sunday, 06-Nov-94 08:49:37 GMT",
                Some("1994-11-06T08:49:37Z"),
            ),
            ("Sun Nov  6 08:49:37 1994", Some("1994-11-06T08:49:37Z")),
            ("Sat Nov 26 08:49:37 1994", Some("1994-11-26T08:49:37Z")),
            (
                "Mon, 02 Feb 2026 00:00:00 GMT",
                Some("2026-02-02T00:00:00Z"),
            ),
            (
                "Monday, 02-Feb-26 00:00:00 GMT",
                Some("2026-02-02T00:00:00Z"),
            ),
            (
                "Wed, 31 Dec 1969 23:59:59 GMT",
                Some("1969-12-31T23:59:59Z"),
            ),
            ("Mon, 06 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08:49:37 PST", None),
            ("Sun, 06 Nov 1994 08:49:37 +0100", None),
            ("Sun, 06 Nov 1994 08:49:37", None),
            ("Sun, 06 Nov 1994 08:49 GMT", None),
            ("Sun, 06 Nov 1994 08:49:37.5 GMT", None),
            ("Sun, 06 Nov 994 08:49:37 GMT", None),
            ("Tue, 31 Feb 2026 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 25:49:37 GMT", None),
            ("Sun, 06 November 1994 08:49:37 GMT", None),
            ("06 Nov 1994 08:49:37 GMT", None),
            ("1994-11-06T08:49:37Z", None),
            ("120", None),
            ("", None),
        ] {
            let expected = expected.map(|time| time.parse().unwrap());
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_date_is_read_as_it_was_written(second in 0_i64..253_402_300_800) {
            let date = Timestamp::from_second(second).unwrap();
            let text = rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&date).unwrap();
            prop_assert_eq!(parse(&text), Some(date), "{}", text);
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,40}|(Sun|Mon|Sunday),? [0-9-]{0,3}(Nov|Dec)[ 0-9:-]{0,20}(GMT)?") {
            let _ = parse(&text);
        }
    }
}
