//! One pass over the network, as the agent reports it.

use crate::agent::report::{Input, Report};
use crate::network;

/// Brings forwarded addresses in line with metadata.
pub(super) fn reconcile(input: &Input) -> Report {
    let pass = match network::reconcile(&input.document, &input.settings) {
        Ok(pass) => pass,
        Err(error) => {
            return Report::failed(
                "state",
                format!("cannot read the state of the network: {error}"),
            );
        }
    };
    let told = |message: String| (message.clone(), message.trim_end_matches('.').to_owned());
    let (problems, pending) = (
        pass.problems.iter().map(ToString::to_string),
        pass.pending.iter().map(ToString::to_string),
    );
    Report {
        problems: problems.chain(pending).map(told).collect(),
        failures: pass
            .failures
            .iter()
            .map(ToString::to_string)
            .map(told)
            .collect(),
        changes: pass
            .lines
            .iter()
            .map(|line| line.trim_end_matches('.').to_owned())
            .collect(),
        ..Report::default()
    }
}
