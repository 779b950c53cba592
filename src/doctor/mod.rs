//! The doctor: looks at the machine for what keeps the guest environment from working, and says what to do about it.
//!
//! Each check looks and changes nothing. What it finds has a fix; what is fine has a note, so that a person sees what was
//! looked at. It acts through `system`, and asks the managers what they would do.

mod environment;
mod machine;
mod predecessors;

use serde::Serialize;

use crate::agent::managers::Manager;
use crate::agent::report::Input;
use crate::agent::status::{self, State};
use crate::config::{self, Severity};
use crate::metadata::Client;
use crate::system::root::Root;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// Something works less well than it could, or will not work in some case.
    Warning,
    /// Something does not work.
    Failure,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub weight: Weight,
    /// What is wrong.
    pub text: String,
    /// What to do about it.
    pub fix: String,
}

/// What a check has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Which check.
    pub check: &'static str,
    /// What was seen, in a few words.
    pub note: String,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl Verdict {
    fn new(check: &'static str) -> Self {
        Self {
            check,
            ..Self::default()
        }
    }

    fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    fn find(&mut self, weight: Weight, text: impl Into<String>, fix: impl Into<String>) {
        self.findings.push(Finding {
            weight,
            text: text.into(),
            fix: fix.into(),
        });
    }

    fn warn(&mut self, text: impl Into<String>, fix: impl Into<String>) {
        self.find(Weight::Warning, text, fix);
    }

    fn fail(&mut self, text: impl Into<String>, fix: impl Into<String>) {
        self.find(Weight::Failure, text, fix);
    }
}

/// Looks at everything. `client` is where the metadata server is asked; where it answers, `input` reads the whole of it.
#[must_use]
pub fn examine(client: &Client, input: impl FnOnce() -> Option<Input>) -> Vec<Verdict> {
    let mut verdicts = environment::metadata(client);
    let answers = verdicts
        .iter()
        .all(|verdict| verdict.check != "metadata" || verdict.findings.is_empty());
    let input = if answers { input() } else { None };
    verdicts.push(configuration());
    verdicts.push(agent());
    verdicts.push(environment::sshd());
    verdicts.push(environment::sudoers());
    verdicts.push(machine::clock_source());
    verdicts.push(machine::network_backend());
    verdicts.push(machine::disk());
    verdicts.push(machine::permissions());
    verdicts.push(predecessors::processes());
    verdicts.push(predecessors::files());
    verdicts.push(predecessors::locks());
    verdicts.extend(input.as_ref().map(obstacles));
    verdicts
}

/// What is wrong with the files of the configuration.
fn configuration() -> Verdict {
    let mut verdict = Verdict::new("configuration").note("nothing is wrong with its files");
    for finding in config::load(&Root::machine(), None).warnings {
        let weight = match finding.severity {
            Severity::Error => Weight::Failure,
            Severity::Warning => Weight::Warning,
        };
        verdict.find(weight, finding.to_string(), finding.fix);
    }
    verdict
}

/// Whether an agent runs, and how its managers are.
fn agent() -> Verdict {
    let mut verdict = Verdict::new("agent");
    let mut running = 0;
    for manager in Manager::ALL {
        let status = match status::look(&Root::machine(), manager) {
            Ok(seen) if seen.running => seen.status,
            _ => continue,
        };
        running += 1;
        if matches!(status.state, State::Failing | State::Busy) {
            let what = status.failures.first().cloned();
            let what = what.unwrap_or_else(|| "its pass takes very long".into());
            verdict.fail(
                format!("{} fails since {}: {what}", manager.name(), status.since),
                "it is tried again by itself; `gce-guest status` has the rest of it",
            );
        }
    }
    if running == 0 {
        verdict.warn(
            "no agent runs, so nothing follows metadata",
            "systemctl enable --now gce-guest, or run `gce-guest agent`",
        );
    }
    verdict.note(format!("{running} of {} managers run", Manager::ALL.len()))
}

/// What keeps the managers from doing what metadata asks for.
fn obstacles(input: &Input) -> Verdict {
    let mut verdict = Verdict::new("managers").note("nothing stands in their way");
    for manager in Manager::ALL {
        let report = manager.preview(input);
        let name = manager.name();
        let fix = "see the message; `gce-guest plan` shows what is left to do";
        for problem in report.problems.into_values() {
            verdict.warn(format!("{name}: {problem}"), fix);
        }
        for failure in report.failures.into_values() {
            verdict.fail(format!("{name}: {failure}"), fix);
        }
    }
    verdict
}
