//! The managers as the agent knows them: a name, a lock, a logger, and a pass from input to report.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::report::{Input, Report};
use super::slot::Work;
use crate::accounts;
use crate::accounts::keys::{DesiredKeys, LineError};
use crate::network;
use crate::system::time;

/// Which manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Manager {
    /// Accounts and SSH keys.
    Accounts,
    /// Forwarded addresses.
    Network,
}

impl Manager {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Accounts, Self::Network];

    /// Its name in messages, which is also that of its thread.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Network => "network",
        }
    }

    /// The predecessors' logger name (spec/core.md 4).
    #[must_use]
    pub fn logger(self) -> &'static str {
        match self {
            Self::Accounts => "google-accounts",
            Self::Network => "google-networking",
        }
    }

    /// The predecessors' logger name for changes, where it is another.
    #[must_use]
    pub fn changes_logger(self) -> &'static str {
        match self {
            Self::Accounts => "google-accounts",
            Self::Network => "google-ip-forwarding",
        }
    }

    /// The predecessors' lock, so that theirs and ours exclude each other (spec/core.md 11.1).
    #[must_use]
    pub fn lock(self) -> &'static str {
        match self {
            Self::Accounts => "/var/lock/google_accounts.lock",
            Self::Network => "/var/lock/google_networking.lock",
        }
    }

    /// What it does in a pass.
    #[must_use]
    pub fn work(self) -> Work {
        match self {
            Self::Accounts => Box::new(reconcile_accounts),
            Self::Network => Box::new(reconcile_network),
        }
    }
}

fn reconcile_accounts(input: &Input) -> Report {
    if !input.settings.daemons.accounts_daemon {
        return Report::default();
    }
    let settings = &input.settings.accounts;
    let now = time::now();
    let desired = accounts::keys::desired(&input.document, now);
    let instance_id = input.document.instance.id.present().cloned();
    let (observed, ledger_problems) =
        match accounts::observe::observe(desired.users.keys(), settings, instance_id) {
            Ok(observed) => observed,
            Err(error) => {
                return Report::failed(
                    "state",
                    format!("cannot read the state of accounts: {error}"),
                );
            }
        };
    let plan = accounts::plan::plan(&desired, settings, &observed);
    let outcome = accounts::apply::apply(&plan, settings);
    let mut report = Report {
        problems: refused_lines(&desired),
        again_in: until_expiry(&desired, now),
        ..Report::default()
    };
    for problem in ledger_problems.into_iter().chain(plan.notices) {
        report.problems.insert(problem.clone(), problem);
    }
    for change in outcome.changes {
        let cause = change
            .cause
            .map(|source| format!(" (from {})", source.path()))
            .unwrap_or_default();
        report.changes.push(format!("{}{cause}", change.what));
    }
    for (user, reason) in &plan.refused {
        report
            .problems
            .insert(user.clone(), format!("user {user}: {reason}"));
    }
    for (user, reason) in &plan.blocked {
        report
            .failures
            .insert(user.clone(), format!("user {user}: {reason}"));
    }
    for (user, error) in outcome.failures {
        let text = format!("user {user}: {error:#}");
        report.failures.insert(user, text);
    }
    report
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

fn reconcile_network(input: &Input) -> Report {
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
