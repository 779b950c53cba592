//! Why the clock is looked at, from what was seen the last time and what is seen now: pure.

use std::fmt;
use std::time::Duration;

use jiff::SignedDuration;

use crate::system::time::Clocks;

/// Below this, two readings of the clocks differ by chance: they are not read at the same moment.
const NOISE: Duration = Duration::from_millis(100);

/// What a pass has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The drift token in metadata, once there was one.
    pub token: Option<String>,
    /// The clocks at the end of the pass.
    pub clocks: Clocks,
}

/// Why the clock is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The agent has just started.
    Start,
    /// The drift token in metadata is another one: the machine stood still, or has moved.
    Token(String),
    /// The machine was suspended for so long.
    Resumed(Duration),
    /// Somebody asks.
    Asked,
}

impl Cause {
    /// Whether the machine has stood still, and its clock perhaps with it.
    #[must_use]
    pub fn stood_still(&self) -> bool {
        matches!(self, Self::Token(_) | Self::Resumed(_))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => to.write_str("the agent has started"),
            // The predecessors' words (spec/core.md 7).
            Self::Token(token) => write!(to, "clock drift token has changed: {token}"),
            Self::Resumed(slept) => write!(
                to,
                "the machine was suspended for {:.1} s",
                slept.as_secs_f64()
            ),
            Self::Asked => to.write_str("by command"),
        }
    }
}

/// What is new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Why the clock has to be looked at.
    pub cause: Option<Cause>,
    /// By how much somebody else has stepped the clock. It may be meant so, and is no cause.
    pub stepped: Option<SignedDuration>,
}

/// Compares. A metadata server that says nothing of a token changes nothing.
#[must_use]
pub fn news(last: Option<&Seen>, token: Option<&str>, clocks: Clocks) -> News {
    let Some(last) = last else {
        return News {
            cause: Some(Cause::Start),
            stepped: None,
        };
    };
    let slept = |clocks: Clocks| clocks.boottime.saturating_sub(clocks.monotonic);
    let slept = slept(clocks).saturating_sub(slept(last.clocks));
    let stepped = moved(last.clocks, clocks);
    let resumed = slept > NOISE;
    let cause = match token {
        Some(token) if last.token.as_deref() != Some(token) => Some(Cause::Token(token.to_owned())),
        _ if resumed => Some(Cause::Resumed(slept)),
        _ => None,
    };
    News {
        cause,
        // What the kernel does when it resumes is nobody's step.
        stepped: (!resumed && stepped.unsigned_abs() > NOISE).then_some(stepped),
    }
}

/// By how much the system clock was stepped between two readings; that time has passed, suspended or not, is none.
#[must_use]
pub fn moved(before: Clocks, after: Clocks) -> SignedDuration {
    let passed = after.boottime.saturating_sub(before.boottime);
    let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
    after.realtime.duration_since(before.realtime) - passed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks(realtime: f64, monotonic: f64, boottime: f64) -> Clocks {
        Clocks {
            realtime: jiff::Timestamp::UNIX_EPOCH + SignedDuration::from_secs_f64(realtime),
            monotonic: Duration::from_secs_f64(monotonic),
            boottime: Duration::from_secs_f64(boottime),
        }
    }

    #[test]
    #[rustfmt::skip]
    fn what_is_new_is_seen_in_the_clocks_and_in_the_token() {
        let last = |token: Option<&str>| Seen {
            token: token.map(String::from),
            clocks: clocks(1000.0, 10.0, 15.0),
        };
        let later = clocks(1060.0, 70.0, 75.0);
        let token = |text: &str| Some(Cause::Token(text.to_owned()));
        let slept = |seconds| Some(Cause::Resumed(Duration::from_secs(seconds)));
        for (before, now, clocks, cause, stepped) in [
            (Some("1"), Some("1"), later, None, None),
            (Some("1"), None, later, None, None),
            (None, None, later, None, None),
            (Some("1"), Some("2"), later, token("2"), None),
            (None, Some("1"), later, token("1"), None),
            // Suspended for an hour, with a clock that went on.
            (Some("1"), Some("1"), clocks(4660.0, 70.0, 3675.0), slept(3600), None),
            // And with one that did not.
            (Some("1"), Some("1"), clocks(1060.0, 70.0, 3675.0), slept(3600), None),
            (Some("1"), Some("2"), clocks(1060.0, 70.0, 3675.0), token("2"), None),
            // Set by somebody.
            (Some("1"), Some("1"), clocks(4660.0, 70.0, 75.0), None, Some(3600)),
            (Some("1"), Some("2"), clocks(60.0, 70.0, 75.0), token("2"), Some(-1000)),
            // Chance.
            (Some("1"), Some("1"), clocks(1060.05, 70.0, 75.05), None, None),
        ] {
            let news = news(Some(&last(before)), now, clocks);
            assert_eq!(news.cause, cause, "{before:?} {now:?} {clocks:?}");
            let stepped = stepped.map(SignedDuration::from_secs);
            assert_eq!(news.stepped, stepped, "{before:?} {now:?} {clocks:?}");
        }
        assert_eq!(news(None, Some("1"), later).cause, Some(Cause::Start));
    }

    #[test]
    fn a_step_is_told_from_the_time_that_passes() {
        let before = clocks(1000.0, 10.0, 15.0);
        for (after, expected) in [
            (clocks(1060.0, 70.0, 75.0), 0),
            (clocks(1660.0, 70.0, 75.0), 600),
            (clocks(460.0, 70.0, 75.0), -600),
        ] {
            assert_eq!(moved(before, after), SignedDuration::from_secs(expected));
        }
    }
}
