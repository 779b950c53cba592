//! One pass over the interfaces, as the agent reports it. Apart from addresses: it runs programs, and one that hangs must
//! not keep a route away.

use std::time::Instant;

use crate::agent::report::{Change, Input, Report};
use crate::network::backends::{self, Memory, Pass};
use crate::system::netlink::NetlinkError;
use crate::system::root::Root;

/// What is remembered between passes.
#[derive(Debug, Default)]
pub(super) struct Interfaces {
    memory: Memory,
}

impl Interfaces {
    /// Has the interfaces of metadata set up.
    pub(super) fn reconcile(&mut self, input: &Input) -> Report {
        let (root, document, settings) = (Root::machine(), &input.document, &input.settings);
        let memory = &mut self.memory;
        report(backends::reconcile(
            &root,
            document,
            settings,
            memory,
            Instant::now(),
        ))
    }
}

/// What a pass would do now. Changes nothing.
pub(super) fn preview(input: &Input) -> Report {
    let (root, document, settings) = (Root::machine(), &input.document, &input.settings);
    report(backends::preview(&root, document, settings, Instant::now()))
}

fn report(pass: Result<Pass, NetlinkError>) -> Report {
    let pass = match pass {
        Ok(pass) => pass,
        Err(error) => {
            return Report::failed("state", format!("cannot list the interfaces: {error}"));
        }
    };
    let told = |problem: String| (problem.clone(), problem.trim_end_matches('.').to_owned());
    let change = |change: backends::Change| Change {
        what: change.what,
        subject: change.subject,
        key: Some("instance/network-interfaces".into()),
        before: change.before,
        after: change.after,
    };
    Report {
        problems: pass
            .problems
            .iter()
            .map(|problem| told(problem.to_string()))
            .collect(),
        failures: pass.failures,
        changes: pass.changes.into_iter().map(change).collect(),
        again_in: pass.again_in,
        ..Report::default()
    }
}
