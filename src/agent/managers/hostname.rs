//! One pass over the host name, as the agent reports it.

use crate::agent::report::{Change, Input, Report};
use crate::hostname::{self, HOSTNAME_FILE, HOSTS_FILE, Problem, Source, Wishes, hosts};
use crate::system::order::Map;
use crate::system::root::Root;

/// Brings the host name in line with metadata.
pub(super) fn reconcile(input: &Input) -> Report {
    let root = Root::machine();
    let outcome = match hostname::reconcile(&root, &input.document, &input.settings) {
        Ok(outcome) => outcome,
        Err(error) => return unreadable(&error),
    };
    let done = outcome.done.iter();
    let failed = outcome.failures.iter();
    Report {
        changes: done
            .map(|change| told(change, change.done(), outcome.source))
            .collect(),
        problems: problems(&outcome.problems),
        failures: failed
            .map(|(change, error)| (change.to_string(), format!("could not {change}: {error:#}")))
            .collect(),
        ..Report::default()
    }
}

/// What a pass would do now. Changes nothing.
pub(super) fn preview(input: &Input) -> Report {
    if Wishes::new(&input.settings).is_nothing() {
        return Report::default();
    }
    let observed = match hostname::observe(&Root::machine()) {
        Ok(observed) => observed,
        Err(error) => return unreadable(&error),
    };
    let plan = hostname::plan(&input.document, &input.settings, &observed);
    let source = plan.name.as_ref().map(|(_, source)| *source);
    let changes = plan.changes.iter();
    Report {
        changes: changes
            .map(|change| told(change, change.to_string(), source))
            .collect(),
        problems: problems(&plan.problems),
        ..Report::default()
    }
}

fn told(change: &hostname::Change, what: String, source: Option<Source>) -> Change {
    let (subject, before, after) = match change {
        hostname::Change::Hosts {
            contents, present, ..
        } => (HOSTS_FILE, hosts::ours(present), hosts::ours(contents)),
        hostname::Change::File { from, to } => (
            HOSTNAME_FILE,
            from.iter().cloned().collect(),
            vec![to.clone()],
        ),
        hostname::Change::Kernel { from, to } => {
            ("host name", vec![from.clone()], vec![to.clone()])
        }
    };
    Change {
        what,
        subject: Some(subject.to_owned()),
        key: source.map(|source| source.to_string()),
        before,
        after,
    }
}

fn problems(problems: &[Problem]) -> Map<String, String> {
    let told = |problem: String| (problem.clone(), problem.trim_end_matches('.').to_owned());
    problems
        .iter()
        .map(|problem| told(problem.to_string()))
        .collect()
}

fn unreadable(error: &anyhow::Error) -> Report {
    Report::failed(
        "state",
        format!("cannot read the state of the host name: {error:#}"),
    )
}
