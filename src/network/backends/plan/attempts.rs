//! What was tried, so that nothing is tried again and again (pains 18).

use std::time::{Duration, Instant};

use crate::system::order::Map;

/// How long nothing is tried again that has had no effect, the first time; twice as long each time after it, ...
pub(super) const FIRST_WAIT: Duration = Duration::from_secs(5);

/// ... up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What was tried for an interface, and came to nothing yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// How often in a row.
    pub count: u32,
    /// Not again before this.
    pub next: Instant,
    /// Why the program failed; `None` when it did what it does, without the effect that we look for.
    pub failure: Option<String>,
}

/// What was tried, by interface or backend: nothing is tried again and again (pains 18).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempts(Map<String, Attempt>);

impl Attempts {
    /// Takes in that something was tried now.
    pub fn note(&mut self, about: &str, failure: Option<String>, now: Instant) {
        let count = self.0.get(about).map_or(0, |attempt| attempt.count) + 1;
        let wait = FIRST_WAIT
            .saturating_mul(1 << (count - 1).min(10))
            .min(LONGEST_WAIT);
        let attempt = Attempt {
            count,
            next: now + wait,
            failure,
        };
        self.0.insert(about.to_owned(), attempt);
    }

    /// Takes in that something is awaited from now on.
    pub fn wait_for(&mut self, about: &str, now: Instant) {
        let attempt = Attempt {
            count: 0,
            next: now + FIRST_WAIT,
            failure: None,
        };
        self.0.get_or_insert_with(about.to_owned(), || attempt);
    }

    /// Forgets what has come to its end.
    pub fn forget(&mut self, about: &str) {
        self.0.remove(about);
    }

    /// Forgets everything but what is about these.
    pub fn retain(&mut self, about: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| about(name));
    }

    pub(super) fn failure(&self, about: &str) -> Option<&String> {
        self.0.get(about)?.failure.as_ref()
    }

    pub(super) fn knows(&self, about: &str) -> bool {
        self.0.contains_key(about)
    }

    pub(super) fn count(&self, about: &str) -> u32 {
        self.0.get(about).map_or(0, |attempt| attempt.count)
    }

    /// How long it has to wait; `None` when it is due.
    pub(super) fn wait(&self, about: &str, now: Instant) -> Option<Duration> {
        let next = self.0.get(about)?.next;
        (next > now).then(|| next - now)
    }
}
