//! What the last pass over the clock did: kept until the boot ends, for `gce-guest clock status`.

use std::io;

use serde::{Deserialize, Serialize};

use super::plan::COARSENESS;
use super::service::Service;
use super::zone::Mode;
use crate::system::files::{self, Attributes};
use crate::system::root::Root;

/// Where it is kept.
const FILE: &str = "/run/gce-guest/clock.json";

/// The largest record that is read, in bytes.
const LIMIT: u64 = 64 * 1024;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Deed {
    /// Nothing: it was not necessary, not possible, or not allowed.
    Nothing,
    /// The time service measured again, and put the clock where it belongs.
    Measured,
    /// The clock was stepped to the time of the RTC.
    Stepped,
    /// `hwclock --hctosys` was run.
    Hwclock,
}

/// One pass over the clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Why there was a pass.
    pub cause: String,
    /// What was done.
    pub deed: Deed,
    /// The time service that runs.
    pub service: Option<Service>,
    /// In which time the RTC runs; `None` when it could not be read.
    pub rtc: Option<Mode>,
    /// How far what the RTC shows is ahead of UTC, in seconds, as it was taken; `None` when it could not be read.
    #[serde(default)]
    pub rtc_shift: Option<f64>,
    /// How far the clock was ahead of the RTC before, in seconds; negative when behind.
    pub offset_before: Option<f64>,
    /// The same after.
    pub offset_after: Option<f64>,
    /// By how much the clock was moved, in seconds.
    pub moved: f64,
    /// The time that the clock showed at the end, had it not been moved (RFC 3339).
    pub from: String,
    /// The time that it shows.
    pub to: String,
    /// All this in words.
    pub text: String,
    /// What is wrong, in words.
    pub problems: Vec<String>,
}

impl Record {
    /// Whether an RTC whose time is taken for so many seconds ahead of UTC showed the time of the clock when this pass had
    /// ended. One that is taken otherwise now, because /etc/adjtime or the time zone has changed, has not.
    #[must_use]
    pub fn proves_rtc(&self, shift: f64) -> bool {
        let is_near = |offset: f64| offset.abs() <= COARSENESS.as_secs_f64();
        self.rtc_shift
            .is_some_and(|known| (known - shift).abs() < 1.0)
            && self.offset_after.is_some_and(is_near)
    }

    /// Keeps it in place of the last one.
    ///
    /// # Errors
    /// Those of [`files::create_directories`] and `Directory::replace`.
    pub fn write(&self, root: &Root) -> io::Result<()> {
        let path = root.path(FILE);
        let mut text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        text.push(b'\n');
        if let Some(directory) = path.parent() {
            files::create_directories(directory, 0o755)?;
        }
        files::replace(&path, &text, &Attributes::mode(0o644))
    }

    /// The last one since the boot; `None` when there was none.
    ///
    /// # Errors
    /// Those of [`files::read`], and `InvalidData` when it is no record.
    pub fn read(root: &Root) -> io::Result<Option<Self>> {
        let Some(text) = files::read(&root.path(FILE), LIMIT)? else {
            return Ok(None);
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_rtc_is_proven_by_a_pass_that_left_the_clock_beside_it() {
        for (offset_after, rtc_shift, shift, proven) in [
            (Some(0.0), Some(0.0), 0.0, true),
            (Some(-1.4), Some(0.0), 0.0, true),
            (Some(1.6), Some(0.0), 0.0, false),
            (Some(-3600.0), Some(0.0), 0.0, false),
            // In local time, and after the end of summer time.
            (Some(0.0), Some(7200.0), 7200.0, true),
            (Some(0.0), Some(7200.0), 3600.0, false),
            (Some(0.0), Some(0.0), 19_800.0, false),
            // It could not be read, or the pass was that of an earlier version.
            (None, None, 0.0, false),
            (Some(0.0), None, 0.0, false),
        ] {
            let record = Record {
                cause: String::new(),
                deed: Deed::Nothing,
                service: None,
                rtc: None,
                rtc_shift,
                offset_before: None,
                offset_after,
                moved: 0.0,
                from: String::new(),
                to: String::new(),
                text: String::new(),
                problems: Vec::new(),
            };
            assert_eq!(record.proves_rtc(shift), proven, "{record:?} {shift}");
        }
    }
}
