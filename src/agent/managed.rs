//! What the loop knows of one manager: whether it is at work, since when, when it wants another pass, and how it is.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::report::{Input, Report};
use super::slot::Slot;
use super::status::{State, Status};

/// How long a pass may take before that is told. Everything that a pass does has a shorter deadline of its own; only very
/// many things that each take long, or a name service or a file system that hangs, bring it here.
const DEADLINE: Duration = Duration::from_secs(60);

/// A manager as the loop sees it.
pub(super) struct Managed {
    slot: Slot,
    turns: Turns,
    /// How many passes in a row have failed.
    failures: u32,
    /// When it wants another pass whatever happens.
    again_at: Option<Instant>,
    /// Until when its next pass is held back, lest it takes a processor from one that is awaited.
    held_until: Option<Instant>,
    /// How it is, for `gce-guest status`.
    pub(super) status: Status,
}

impl Managed {
    /// A manager that has not been given anything yet.
    #[must_use]
    pub(super) fn new(slot: Slot, status: Status) -> Self {
        Self {
            slot,
            turns: Turns::default(),
            failures: 0,
            again_at: None,
            held_until: None,
            status,
        }
    }

    /// Gives it an input.
    pub(super) fn give(&mut self, input: Input, now: Instant) {
        (self.again_at, self.held_until) = (None, None);
        if self.slot.give(input) {
            self.turns.began(now);
        }
    }

    /// Lets it have its next input a little later. One that is held already is not held longer.
    pub(super) fn hold(&mut self, until: Instant) {
        self.held_until.get_or_insert(until);
    }

    /// Whether an input is held back.
    #[must_use]
    pub(super) fn is_held(&self) -> bool {
        self.held_until.is_some()
    }

    /// When the loop has to look at it, if nothing happens before.
    #[must_use]
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        [self.again_at, self.held_until, self.turns.overdue_at()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether it has nothing to do.
    #[must_use]
    pub(super) fn rests(&self) -> bool {
        self.turns.since.is_none() && !self.is_held()
    }

    /// Whether it wants another pass.
    #[must_use]
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let wanted = [self.again_at, self.held_until].into_iter().flatten();
        wanted.min().is_some_and(|at| at <= now)
    }

    /// Whether its pass takes too long; `true` once for each pass.
    pub(super) fn becomes_overdue(&mut self, now: Instant, wall: Timestamp) -> bool {
        let overdue = self.turns.becomes_overdue(now);
        if overdue {
            self.status.enter(State::Busy, wall);
        }
        overdue
    }

    /// Takes in a report. `wait` says how long to wait after so many failures in a row.
    pub(super) fn take(
        &mut self,
        report: &Report,
        wait: impl FnOnce(u32) -> Duration,
        now: Instant,
        wall: Timestamp,
    ) {
        self.turns.ended(now);
        let failed = !report.failures.is_empty();
        self.failures = if failed {
            self.failures.saturating_add(1)
        } else {
            0
        };
        let retry = failed.then(|| wait(self.failures));
        let again_in = [retry, report.again_in].into_iter().flatten().min();
        self.again_at = again_in.and_then(|after| now.checked_add(after));
        let next_try = retry.and_then(|after| wall.checked_add(after).ok());
        self.status.take(report, next_try, wall);
    }
}

/// Whether a manager is at work and since when. Pure: the time is an argument.
#[derive(Debug, Default)]
struct Turns {
    /// How many reports are to come: of the pass that runs, and of an input that waits.
    outstanding: u32,
    /// When the pass that runs began.
    since: Option<Instant>,
    /// Whether it was told that this pass takes too long.
    told: bool,
}

impl Turns {
    fn began(&mut self, now: Instant) {
        self.outstanding += 1;
        self.since.get_or_insert(now);
    }

    fn ended(&mut self, now: Instant) {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.since = (self.outstanding > 0).then_some(now);
        self.told = false;
    }

    fn overdue_at(&self) -> Option<Instant> {
        self.since
            .filter(|_| !self.told)
            .and_then(|since| since.checked_add(DEADLINE))
    }

    fn becomes_overdue(&mut self, now: Instant) -> bool {
        let overdue = self.overdue_at().is_some_and(|at| at <= now);
        self.told |= overdue;
        overdue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_that_takes_too_long_is_told_once() {
        let start = Instant::now();
        let mut turns = Turns::default();
        assert_eq!(turns.overdue_at(), None, "an idle manager wakes nobody");
        turns.began(start);
        assert_eq!(turns.overdue_at(), Some(start + DEADLINE));
        assert!(!turns.becomes_overdue(start + DEADLINE / 2));
        assert!(turns.becomes_overdue(start + DEADLINE));
        assert!(!turns.becomes_overdue(start + 2 * DEADLINE));
        assert_eq!(turns.overdue_at(), None, "and wakes nobody after that");
        // An input that has waited meanwhile has a deadline of its own.
        turns.began(start + DEADLINE);
        turns.ended(start + 2 * DEADLINE);
        assert_eq!(turns.overdue_at(), Some(start + 3 * DEADLINE));
        turns.ended(start + 2 * DEADLINE);
        assert_eq!(turns.overdue_at(), None);
    }
}
