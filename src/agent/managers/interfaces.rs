//! One pass over the interfaces, as the agent reports it. Apart from addresses: it runs programs, and one that hangs must
//! not keep a route away.

use std::time::Instant;

use crate::agent::report::{Input, Report};
use crate::network::backends::{Memory, reconcile};
use crate::system::root::Root;

/// What is remembered between passes.
#[derive(Debug, Default)]
pub(super) struct Interfaces {
    memory: Memory,
}

impl Interfaces {
    /// Has the interfaces of metadata set up.
    pub(super) fn reconcile(&mut self, input: &Input) -> Report {
        let (document, settings) = (&input.document, &input.settings);
        let pass = reconcile(
            &Root::machine(),
            document,
            settings,
            &mut self.memory,
            Instant::now(),
        );
        let pass = match pass {
            Ok(pass) => pass,
            Err(error) => {
                return Report::failed("state", format!("cannot list the interfaces: {error}"));
            }
        };
        let told = |problem: String| (problem.clone(), problem.trim_end_matches('.').to_owned());
        Report {
            problems: pass
                .problems
                .iter()
                .map(|problem| told(problem.to_string()))
                .collect(),
            failures: pass.failures,
            changes: pass.changes,
            again_in: pass.again_in,
            ..Report::default()
        }
    }
}
