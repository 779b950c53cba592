//! What became of the steps, as a record that others can read. Pure: it is JSON in and out.

use serde::{Deserialize, Serialize};

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Result {
    /// It changed something.
    Done,
    /// Everything was as it should be.
    Unchanged,
    /// It is switched off, or what it needs is.
    Skipped,
    /// It did not do its work; the next run tries again.
    Failed,
    /// A step that it needs has failed, so it was not begun; the next run tries again.
    NotReached,
}

impl Result {
    /// Whether the next run has something to complete.
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::NotReached)
    }

    /// The result in a word or two.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unchanged => "unchanged",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::NotReached => "not reached",
        }
    }
}

/// One step of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Its name.
    pub step: String,
    /// How it ended.
    pub result: Result,
    /// What it did, or why it did not, in words.
    pub detail: String,
    /// When its work began, in seconds from the beginning of the run.
    pub start: f64,
    /// How long its work took, in seconds. What it waited for other steps is not in it.
    pub seconds: f64,
}

/// One run of the set-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The instance, where it was known.
    pub instance: Option<String>,
    /// The boot in which it ran (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
    /// When it began, in RFC 3339.
    pub began: String,
    /// How long the kernel had been up then, in seconds.
    pub uptime: f64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Its steps, in the order of the table.
    pub steps: Vec<StepRecord>,
}

impl Run {
    /// The names of the steps that the next run has to complete.
    #[must_use]
    pub fn failures(&self) -> Vec<&str> {
        let failed = self.steps.iter().filter(|step| step.result.is_failure());
        failed.map(|step| step.step.as_str()).collect()
    }

    /// The last log line of a run.
    #[must_use]
    pub fn summary(&self) -> String {
        let failures = self.failures();
        let took = format!("Instance set-up took {:.2} s", self.seconds);
        if failures.is_empty() {
            format!("{took}; everything is done.")
        } else {
            format!(
                "{took}; not done: {}. The next run completes it.",
                failures.join(", ")
            )
        }
    }
}

impl StepRecord {
    /// The log line of a step.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "Step {} {} after {:.2} s: {}.",
            self.step,
            self.result.words(),
            self.seconds,
            self.detail.trim_end_matches('.')
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, result: Result) -> StepRecord {
        StepRecord {
            step: name.into(),
            result,
            detail: "as it was".into(),
            start: 0.0,
            seconds: 0.5,
        }
    }

    #[test]
    fn a_run_says_what_is_left_to_do_and_survives_json() {
        let mut run = Run {
            instance: Some("1".into()),
            boot: "b".into(),
            began: "2026-01-01T00:00:00Z".into(),
            uptime: 2.5,
            seconds: 1.0,
            steps: vec![step("a", Result::Done), step("b", Result::Skipped)],
        };
        assert_eq!(
            run.summary(),
            "Instance set-up took 1.00 s; everything is done."
        );
        run.steps.push(step("c", Result::Failed));
        run.steps.push(step("d", Result::NotReached));
        assert_eq!(
            run.summary(),
            "Instance set-up took 1.00 s; not done: c, d. The next run completes it."
        );
        assert_eq!(
            run.steps[2].line(),
            "Step c failed after 0.50 s: as it was."
        );
        let text = serde_json::to_string(&run).unwrap();
        assert!(text.contains("\"not-reached\""), "{text}");
        assert_eq!(serde_json::from_str::<Run>(&text).unwrap(), run);
    }
}
