//! How a check ended, and whether it has to be run at all: what the steps of `cargo xtask test` answer.

use crate::libtest::Tally;

/// How a step ended.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) outcome: Outcome,
    /// For the summary; empty when there is nothing to say.
    pub(crate) note: String,
    /// The tests that ran, of a step that runs tests.
    pub(crate) tally: Tally,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed,
    NotRun,
}

impl Verdict {
    /// The step passed; the note, if there is one, is for the summary.
    pub(crate) fn passed(note: impl Into<String>) -> Self {
        Self::new(Outcome::Passed, note)
    }

    /// The step could not run here, and that is no failure; the note says what it lacks.
    pub(crate) fn not_run(note: impl Into<String>) -> Self {
        Self::new(Outcome::NotRun, note)
    }

    /// Any outcome, without tests.
    pub(crate) fn new(outcome: Outcome, note: impl Into<String>) -> Self {
        Self {
            outcome,
            note: note.into(),
            tally: Tally::default(),
        }
    }
}

/// Whether this run is the one that decides: there, nothing may be left out.
pub(crate) fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}
