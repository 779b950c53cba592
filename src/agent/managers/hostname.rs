//! One pass over the host name, as the agent reports it.

use crate::agent::report::{Input, Report};
use crate::hostname::{self, Change};
use crate::system::root::Root;

/// Brings the host name in line with metadata.
pub(super) fn reconcile(input: &Input) -> Report {
    let outcome = match hostname::reconcile(&Root::machine(), &input.document, &input.settings) {
        Ok(outcome) => outcome,
        Err(error) => {
            return Report::failed(
                "state",
                format!("cannot read the state of the host name: {error:#}"),
            );
        }
    };
    let told = |problem: String| (problem.clone(), problem.trim_end_matches('.').to_owned());
    Report {
        changes: outcome.done.iter().map(Change::done).collect(),
        problems: outcome
            .problems
            .iter()
            .map(ToString::to_string)
            .map(told)
            .collect(),
        failures: outcome
            .failures
            .iter()
            .map(|(change, error)| (change.to_string(), format!("could not {change}: {error:#}")))
            .collect(),
        ..Report::default()
    }
}
