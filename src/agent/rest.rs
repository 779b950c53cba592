//! When the agent has come to rest after its work, so that memory which only work needs can be given back. Pure: the time is
//! an argument.

use std::time::{Duration, Instant};

/// How long after the last pass that is. Changes come in bursts: a person who adds a key often adds another one.
const QUIET: Duration = Duration::from_secs(5);

/// What is known of the last pass.
#[derive(Debug, Default)]
pub(super) struct Rest {
    begins_at: Option<Instant>,
}

impl Rest {
    /// A pass has ended, and no other one is at work.
    pub(super) fn expect_after(&mut self, pass_ended: Instant) {
        self.begins_at = pass_ended.checked_add(QUIET);
    }

    /// When the loop has to ask whether the rest has begun.
    #[must_use]
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.begins_at
    }

    /// Whether the rest has begun; `true` once after each burst of work.
    pub(super) fn begins(&mut self, now: Instant) -> bool {
        self.begins_at.take_if(|at| *at <= now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rest_begins_once_after_each_burst() {
        let start = Instant::now();
        let mut rest = Rest::default();
        assert_eq!(
            rest.wakes_at(),
            None,
            "without work there is nothing to wait for"
        );
        rest.expect_after(start);
        rest.expect_after(start + QUIET / 2);
        assert!(!rest.begins(start + QUIET), "the second pass counts");
        assert_eq!(rest.wakes_at(), Some(start + QUIET / 2 + QUIET));
        assert!(rest.begins(start + 2 * QUIET));
        assert!(!rest.begins(start + 3 * QUIET));
        assert_eq!(rest.wakes_at(), None, "and wakes nobody after that");
    }
}
