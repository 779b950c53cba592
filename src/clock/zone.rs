//! What the RTC's time means: UTC, or the local time that machines shared with other systems keep. The third line of
//! /etc/adjtime says it (hwclock(8)); without the file it is UTC.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// In which time the RTC runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Coordinated universal time.
    Utc,
    /// The local time of the machine.
    Local,
}

impl Mode {
    /// The mode in the text of /etc/adjtime.
    #[must_use]
    pub fn of(adjtime: &str) -> Self {
        let third = adjtime.lines().nth(2).unwrap_or_default();
        if third.trim().eq_ignore_ascii_case("LOCAL") {
            Self::Local
        } else {
            Self::Utc
        }
    }

    /// For messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Utc => "UTC",
            Self::Local => "local time",
        }
    }
}

/// The moment that the RTC shows; `None` past the range of timestamps. In the hour that the end of summer time repeats, the
/// one that is nearer to `clock`.
#[must_use]
pub fn moment(time: DateTime, mode: Mode, zone: &TimeZone, clock: Timestamp) -> Option<Timestamp> {
    if mode == Mode::Utc {
        return TimeZone::UTC.to_timestamp(time).ok();
    }
    let earlier = zone.to_ambiguous_timestamp(time).earlier().ok()?;
    let later = zone.to_ambiguous_timestamp(time).later().ok()?;
    let distance = |moment: Timestamp| moment.duration_since(clock).unsigned_abs();
    let later_is_nearer = distance(later) < distance(earlier);
    Some(if later_is_nearer { later } else { earlier })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_line_decides() {
        for (text, mode) in [
            ("", Mode::Utc),
            ("0.0 0 0.0\n0\nUTC\n", Mode::Utc),
            ("0.0 0 0.0\n0\nLOCAL\n", Mode::Local),
            ("0.0 0 0.0\n0\nlocal", Mode::Local),
            ("0.0 0 0.0\n0\n", Mode::Utc),
            ("LOCAL\n", Mode::Utc),
        ] {
            assert_eq!(Mode::of(text), mode, "{text:?}");
        }
    }

    #[test]
    fn local_time_is_that_of_the_zone_and_of_the_season() {
        // Berlin, as a POSIX rule.
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let at = |time: &str, mode, clock: &str| {
            let clock = clock.parse().unwrap();
            moment(time.parse().unwrap(), mode, &zone, clock)
                .unwrap()
                .to_string()
        };
        let noon = "2026-07-01T12:00:00";
        assert_eq!(
            at(noon, Mode::Utc, "2026-07-01T12:00:00Z"),
            "2026-07-01T12:00:00Z"
        );
        assert_eq!(
            at(noon, Mode::Local, "2026-07-01T12:00:00Z"),
            "2026-07-01T10:00:00Z"
        );
        assert_eq!(
            at("2026-01-01T12:00:00", Mode::Local, "2026-01-01T12:00:00Z"),
            "2026-01-01T11:00:00Z"
        );
        // 02:30 comes twice on the last Sunday of October.
        let twice = "2026-10-25T02:30:00";
        for clock in ["2026-10-25T00:30:05Z", "2026-10-25T01:30:05Z"] {
            let clock: Timestamp = clock.parse().unwrap();
            let moment = moment(twice.parse().unwrap(), Mode::Local, &zone, clock).unwrap();
            assert_eq!(clock.duration_since(moment).as_secs(), 5);
        }
    }
}
