//! `gce-guest plan` and `gce-guest apply`: one pass of every manager, as it would be, and in fact.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use log::LevelFilter;
use serde_json::{Value, json};

use super::output::{Form, counted, difference, paragraph, print, print_json};
use super::tell;
use super::{input, require_root};
use crate::agent::history::{self, Entry};
use crate::agent::managers::Manager;
use crate::agent::report::{Input, Report};
use crate::agent::slot::Slot;
use crate::system::channel::{self, RecvTimeoutError};
use crate::system::json::object;
use crate::system::locks::{FileLock, LockError};
use crate::system::order::{InOrder, Set};
use crate::system::root::Root;
use crate::system::{files, log as sinks, time};

/// How long `apply` waits for all managers. What a pass does has shorter deadlines of its own.
const DEADLINE: Duration = Duration::from_secs(600);

/// Arguments of `gce-guest plan`.
#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = "\
Exit status: 0 nothing to do, 2 changes are pending, 1 metadata or a part of the
machine cannot be read, or something stands in the way of all that is left.

Examples:
  gce-guest plan                   what the agent would change now
  gce-guest plan --diff            the same, with the lines that come and go
  gce-guest plan --json | jq .     the same for programs
  gce-guest plan --only accounts   of one manager")]
pub struct PlanArguments {
    #[command(flatten)]
    form: Form,
    /// Show the lines that come and go.
    #[arg(long, conflicts_with = "json")]
    diff: bool,
    /// Ask these managers only.
    #[arg(long, value_delimiter = ',', value_name = "MANAGER")]
    only: Vec<Manager>,
}

/// Arguments of `gce-guest apply`.
#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = "\
Exit status: 0 done, 1 something failed, or an agent is at work already.

Examples:
  gce-guest apply --once                   all that `gce-guest plan` shows
  gce-guest apply --once --only network    of one manager")]
pub struct ApplyArguments {
    /// Make one pass and exit; to go on for ever is what `gce-guest agent` does.
    #[arg(long, required = true)]
    once: bool,
    #[command(flatten)]
    form: Form,
    /// Run these managers only.
    #[arg(long, value_delimiter = ',', value_name = "MANAGER")]
    only: Vec<Manager>,
}

// What `sync` takes below any verb.
#[derive(Args, Debug)]
#[group(skip)]
pub(super) struct Once {
    /// Accepted for clarity: one pass is what there is.
    #[arg(long)]
    once: bool,
}

/// Runs `gce-guest plan`.
///
/// # Errors
/// Metadata cannot be read, or the caller is not root.
pub fn run_plan(arguments: &PlanArguments) -> anyhow::Result<ExitCode> {
    sinks::start(&sinks::Options::console(LevelFilter::Warn));
    require_root("look into other users' home directories")?;
    let input = input::read()?;
    let reports: Vec<(Manager, Report)> = chosen(&arguments.only)
        .into_iter()
        .map(|manager| (manager, manager.preview(&input)))
        .collect();
    let pending = reports.iter().map(|(_, report)| report.changes.len()).sum();
    if arguments.form.json {
        print_json(&as_json("pending", &input, &reports))?;
    } else {
        let mut page = page(&reports, arguments.diff);
        page.push('\n');
        page += &match pending {
            0 => "Nothing to do.\n".to_owned(),
            count => format!(
                "{} pending. The agent makes them when it runs; `gce-guest apply --once` does now.\n",
                counted(count, "change")
            ),
        };
        print(&page)?;
    }
    let failed = reports
        .iter()
        .any(|(_, report)| !report.failures.is_empty());
    Ok(match (pending, failed) {
        (0, false) => ExitCode::SUCCESS,
        (0, true) => ExitCode::FAILURE,
        _ => ExitCode::from(2),
    })
}

/// Runs `gce-guest apply`.
///
/// # Errors
/// Metadata cannot be read, a lock is held, the caller is not root, or a manager failed.
pub fn run_apply(arguments: &ApplyArguments) -> anyhow::Result<ExitCode> {
    sinks::start(&sinks::Options::console(LevelFilter::Warn));
    require_root("change the machine")?;
    let managers = chosen(&arguments.only);
    // Managers may share a lock.
    let mut paths = Set::new();
    let _locks = managers
        .iter()
        .filter(|manager| paths.insert(manager.lock()))
        .map(|manager| take_place_of_agent(*manager))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let input = input::read()?;
    let reports = pass(&managers, &input)?;
    if arguments.form.json {
        print_json(&as_json("changes", &input, &reports))?;
    } else {
        print(&page(&reports, false))?;
    }
    let failures: usize = reports
        .iter()
        .map(|(_, report)| report.failures.len())
        .sum();
    if failures > 0 {
        bail!("{failures} of what was to do failed");
    }
    Ok(ExitCode::SUCCESS)
}

fn chosen(only: &[Manager]) -> Vec<Manager> {
    let all = Manager::ALL.into_iter();
    all.filter(|manager| only.is_empty() || only.contains(manager))
        .collect()
}

/// Takes the lock of a manager, as the agent does.
///
/// # Errors
/// Somebody holds it, who is named, or it cannot be taken.
pub(super) fn take_place_of_agent(manager: Manager) -> anyhow::Result<FileLock> {
    let path = Path::new(manager.lock());
    if let Some(directory) = path.parent() {
        files::create_directories(directory, 0o755)
            .with_context(|| format!("create {}", directory.display()))?;
    }
    match FileLock::try_take(path) {
        Err(LockError::Held { holder, .. }) => bail!(
            "{} is in the hands of {holder}, which holds {}; `gce-guest status` says how it is",
            manager.name(),
            path.display()
        ),
        taken => Ok(taken?),
    }
}

/// Makes one pass of every manager, each in a thread of its own, and records what was changed.
fn pass(managers: &[Manager], input: &Input) -> anyhow::Result<Vec<(Manager, Report)>> {
    let (done, received) = channel::channel();
    for manager in managers.iter().copied() {
        let done = done.clone();
        let report = move |report, _| {
            // Nobody waits any more after the deadline.
            let _ = done.send((manager, report));
        };
        Slot::start(manager.name(), manager.work(), report)
            .with_context(|| format!("start the {} thread", manager.name()))?
            .give(input.clone());
    }
    let until = Instant::now() + DEADLINE;
    let mut reports: Vec<(Manager, Report)> = Vec::new();
    while reports.len() < managers.len() {
        match received.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok((manager, report)) => {
                record(manager, &report);
                reports.push((manager, report));
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let late = |manager: &&Manager| !reports.iter().any(|(done, _)| done == *manager);
                let late: Vec<Manager> = managers.iter().filter(late).copied().collect();
                let failed = |manager: Manager| {
                    let text = format!("not done within {} s", DEADLINE.as_secs());
                    (manager, Report::failed("the pass", text))
                };
                reports.extend(late.into_iter().map(failed));
            }
        }
    }
    reports.put_in_order_by(|(manager, _)| *manager);
    Ok(reports)
}

/// Makes one pass of one manager without the agent, and says what came of it.
///
/// # Errors
/// Something failed, or standard output cannot be written.
pub(super) fn make(manager: Manager, input: &Input) -> anyhow::Result<ExitCode> {
    let report = manager.work()(input);
    record(manager, &report);
    let changes = report.changes.iter();
    let mut page: String = changes.map(|change| format!("{}\n", change.what)).collect();
    if page.is_empty() {
        page = "nothing to do\n".into();
    }
    print(&page)?;
    conclude(&report)
}

/// Tells the problems of a pass.
///
/// # Errors
/// What failed in it.
pub(super) fn conclude(report: &Report) -> anyhow::Result<ExitCode> {
    for problem in report.problems.values() {
        tell(&format!("gce-guest: {problem}"));
    }
    let failures: Vec<&str> = report.failures.values().map(String::as_str).collect();
    if failures.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!("{}", failures.join("; "));
}

/// Records the changes of a pass that was made without the agent.
pub(super) fn record(manager: Manager, report: &Report) {
    let etag = report.etag.as_deref();
    let entry = |change| Entry::new(time::now(), manager.name(), etag, change);
    let entries: Vec<Entry> = report.changes.iter().map(entry).collect();
    if let Err(error) = history::record(&Root::machine(), &entries) {
        tell(&format!("gce-guest: cannot write the history: {error}"));
    }
}

/// What a person sees: the managers, their changes, and what stands in the way.
fn page(reports: &[(Manager, Report)], diff: bool) -> String {
    let mut page = String::new();
    for (manager, report) in reports {
        page += &format!("{}\n", manager.name());
        for change in &report.changes {
            page += &paragraph("  * ", &change.what);
            if diff {
                page += &difference(&change.before, &change.after);
            }
        }
        for problem in report.problems.values() {
            page += &paragraph("  problem: ", problem);
        }
        for failure in report.failures.values() {
            page += &paragraph("  failure: ", failure);
        }
        if report.changes.is_empty() && report.failures.is_empty() {
            page += "  nothing to do\n";
        }
    }
    page
}

fn as_json(changes: &str, input: &Input, reports: &[(Manager, Report)]) -> Value {
    let count: usize = reports.iter().map(|(_, report)| report.changes.len()).sum();
    let manager = |(manager, report): &(Manager, Report)| {
        object([
            ("manager", manager.name().into()),
            ("changes", json!(report.changes)),
            ("problems", report.problems.values().cloned().collect()),
            ("failures", report.failures.values().cloned().collect()),
        ])
    };
    object([
        (changes, count.into()),
        ("etag", (*input.etag).into()),
        ("managers", reports.iter().map(manager).collect()),
    ])
}
