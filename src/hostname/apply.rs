//! Makes the changes of a plan, and one whole pass.

use std::time::Duration;

use anyhow::Context;

use super::observe::observe;
use super::plan::{
    Change, HOSTNAME_FILE, HOSTS_FILE, Observed, Plan, Problem, Source, Wishes, plan,
};
use crate::config::Settings;
use crate::metadata::Document;
use crate::system::files::{self, Attributes};
use crate::system::hostname;
use crate::system::processes;
use crate::system::root::Root;
use crate::system::services;

/// Who is asked to write the new name into its lines from now on: it reads it at its start and when it is told.
const SYSLOG: &str = "rsyslog";

/// How long its start is waited for.
const SYSLOG_STARTS: Duration = Duration::from_secs(5);

/// What came of a plan.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Where the name comes from.
    pub source: Option<Source>,
    /// The changes that were made, in this order.
    pub done: Vec<Change>,
    /// What was not made, and why. Another pass is worth while.
    pub failures: Vec<(Change, anyhow::Error)>,
    /// What metadata or the configuration asks for and cannot have.
    pub problems: Vec<Problem>,
}

/// Makes the changes of a plan, each by itself.
#[must_use]
pub fn apply(root: &Root, plan: Plan) -> Outcome {
    let mut outcome = Outcome {
        problems: plan.problems,
        source: plan.name.map(|(_, source)| source),
        ..Outcome::default()
    };
    for change in plan.changes {
        match make(root, &change) {
            Ok(()) => outcome.done.push(change),
            Err(error) => outcome.failures.push((change, error)),
        }
    }
    outcome
}

/// The name is set by sethostname(2) and in /etc/hostname, not through hostnamed: it works on every init system and
/// before D-Bus is there, there is no program to hang, and both the kernel and hostnamed, which reads the file again when
/// it is asked, tell everybody who listens.
fn make(root: &Root, change: &Change) -> anyhow::Result<()> {
    match change {
        Change::Hosts { contents, .. } => replace(root, HOSTS_FILE, contents),
        Change::File { to, .. } => replace(root, HOSTNAME_FILE, format!("{to}\n").as_bytes()),
        Change::Kernel { to, .. } => {
            hostname::set(to).with_context(|| format!("set the host name {to}"))?;
            tell_syslog();
            Ok(())
        }
    }
}

fn replace(root: &Root, path: &str, contents: &[u8]) -> anyhow::Result<()> {
    files::replace(&root.path(path), contents, &Attributes::keep_mode_or(0o644))
        .with_context(|| format!("write {path}"))
}

/// As the predecessors do (spec/core.md 13.1), but without a restart, in which lines could be lost.
fn tell_syslog() {
    if !services::has_systemd() || processes::find("rsyslogd").is_none() {
        return;
    }
    if let Err(error) = services::hang_up(SYSLOG, SYSLOG_STARTS) {
        log::debug!("{SYSLOG} was not told of the new host name: {error}");
    }
}

/// One pass: reads the machine, plans, and makes the changes. A second one right after it changes nothing. With the host
/// name switched off nothing is even looked at.
///
/// # Errors
/// When the machine cannot be read: then nothing is changed.
pub fn reconcile(root: &Root, document: &Document, settings: &Settings) -> anyhow::Result<Outcome> {
    if Wishes::new(settings).is_nothing() {
        return Ok(Outcome::default());
    }
    let observed: Observed = observe(root)?;
    Ok(apply(root, plan(document, settings, &observed)))
}
