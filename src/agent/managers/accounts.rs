//! One pass over accounts and OS Login, as the agent reports it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::accounts::apply::{Outcome, apply};
use crate::accounts::home::Homes;
use crate::accounts::keys::{DesiredKeys, LineError};
use crate::accounts::memory::Memory;
use crate::accounts::names;
use crate::accounts::plan::{Plan, plan};
use crate::accounts::reading::Reading;
use crate::agent::report::{Input, Report};
use crate::config::policy::Function;
use crate::oslogin::{Control, Pass};
use crate::system::time;

/// What is remembered between passes.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    oslogin: Control,
    homes: Homes,
    reading: Reading,
    memory: Memory,
}

impl Accounts {
    /// Brings OS Login and accounts in line with metadata.
    pub(super) fn reconcile(&mut self, input: &Input) -> Report {
        if !input.settings.daemons.accounts_daemon {
            return Report::default();
        }
        let settings = &input.settings.accounts;
        let now = time::now();
        let oslogin = if input.settings.policy.allows(Function::OsLogin) {
            self.oslogin.reconcile(&input.document)
        } else {
            Pass::default()
        };
        self.homes.refresh();
        let changed = self.reading.read(&input.document, now);
        self.memory.note(changed);
        // Once OS Login is really in charge, users come from there; those of metadata go.
        let nobody = oslogin.active.then(|| self.reading.keys().without_users());
        let desired = nobody.as_ref().unwrap_or(self.reading.keys());
        let instance_id = input.document.instance.id.present().cloned();
        let (mut observed, ledger_problems) = match self.memory.observe(
            desired,
            settings,
            instance_id,
            &self.homes,
            &input.etag,
            now,
        ) {
            Ok(observed) => observed,
            Err(error) => {
                return Report::failed(
                    "state",
                    format!("cannot read the state of accounts: {error}"),
                );
            }
        };
        observed.oslogin = oslogin.active;
        let plan = plan(desired, settings, &observed);
        let outcome = apply(&plan, settings, &self.homes);
        let mut report = Report {
            changes: oslogin.changes,
            problems: refused_lines(desired),
            again_in: [until_expiry(desired, now), oslogin.again_in]
                .into_iter()
                .flatten()
                .min(),
            ..Report::default()
        };
        for problem in ledger_problems.into_iter().chain(oslogin.problem) {
            report.problems.insert(problem.clone(), problem);
        }
        if oslogin.active {
            self.memory.forget();
        } else {
            self.memory.learn(desired, observed, &plan, &outcome);
        }
        tell(plan, outcome, &mut report);
        report
    }
}

/// Puts what was planned and what came of it into words.
fn tell(plan: Plan, outcome: Outcome, report: &mut Report) {
    for notice in plan.notices {
        report.problems.insert(notice.clone(), notice);
    }
    for change in outcome.changes {
        let cause = change
            .cause
            .map(|source| format!(" (from {})", source.path()))
            .unwrap_or_default();
        report.changes.push(format!("{}{cause}", change.what));
    }
    for (user, reason) in plan.refused {
        let text = format!("user {user}: {reason}");
        report.problems.insert(user, text);
    }
    for (user, reason) in plan.blocked {
        let text = format!("user {user}: {reason}");
        report.failures.insert(user, text);
    }
    for (subject, error) in outcome.failures {
        let what = match names::check(&subject) {
            Ok(()) => format!("user {subject}"),
            Err(_) => subject.clone(),
        };
        report
            .failures
            .insert(subject, format!("{what}: {error:#}"));
    }
}

/// The lines of keys that were refused. One that has expired is as it should be and no problem.
fn refused_lines(desired: &DesiredKeys) -> BTreeMap<String, String> {
    let refused = desired
        .problems
        .iter()
        .filter(|problem| problem.reason != LineError::Expired);
    refused
        .map(|problem| {
            let place = format!("line {} of {}", problem.line, problem.source.path());
            let user = problem
                .user
                .as_ref()
                .map(|user| format!(" (user {user})"))
                .unwrap_or_default();
            let text = format!(
                "{place}{user}: {}; the line is ignored, the others count",
                problem.reason
            );
            (place, text)
        })
        .collect()
}

/// When the next key expires, counted from `now`, and just past that moment.
fn until_expiry(desired: &DesiredKeys, now: Timestamp) -> Option<Duration> {
    let left = desired.next_expiry()?.duration_since(now);
    Some(Duration::try_from(left).unwrap_or_default() + Duration::from_millis(1))
}
