//! `gce-guest status`: how each manager is, what it changed last, and what became of the scripts.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::output::{Form, paragraph, print, print_json};
use super::tell;
use crate::agent::history::{self, Entry};
use crate::agent::managers::Manager;
use crate::agent::status::{self, Seen, State, Status};
use crate::scripts::fate::Record;
use crate::scripts::find::Occasion;
use crate::scripts::state;
use crate::setup::record::Run;
use crate::setup::state as setup;
use crate::system::root::Root;

/// How often `--wait` looks.
const GLANCE: Duration = Duration::from_millis(50);

/// Arguments of `gce-guest status`.
#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = "\
Exit status: 0 every manager that runs is in line, 1 no agent runs or its status
cannot be read, 3 a manager waits, fails or takes long, 4 --wait is over its
time.

Examples:
  gce-guest status
  gce-guest status --json | jq '.managers[] | {manager, state, since}'
  gce-guest status --wait --timeout 120   return when the first pass is done")]
pub struct Arguments {
    #[command(flatten)]
    form: Form,
    /// Wait until an agent runs and each of its managers has made its first pass.
    #[arg(long)]
    wait: bool,
    /// How long to wait, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "wait")]
    timeout: u64,
}

/// All there is to say.
#[derive(Debug, Serialize)]
struct Overview {
    /// Whether an agent runs.
    running: bool,
    managers: Vec<Seen>,
    /// The last set-up of the machine since the boot.
    setup: Option<Run>,
    /// The last run of the startup and of the shutdown scripts since the boot.
    scripts: Vec<Record>,
}

/// Runs `gce-guest status`.
///
/// # Errors
/// The status cannot be read.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let until = Instant::now() + Duration::from_secs(arguments.timeout);
    let mut managers = look()?;
    while arguments.wait && !is_past_first_pass(&managers) && Instant::now() < until {
        thread::sleep(GLANCE);
        managers = look()?;
    }
    let overview = Overview {
        running: managers.iter().any(|seen| seen.running),
        managers: managers.into_iter().map(with_last_change).collect(),
        setup: setup::run(&Root::machine(), true).ok().flatten(),
        scripts: scripts(),
    };
    if arguments.form.json {
        print_json(&overview)?;
    } else {
        print(&page(&overview))?;
    }
    let all = |fine: fn(&Seen) -> bool| {
        overview
            .managers
            .iter()
            .filter(|seen| seen.running)
            .all(fine)
    };
    Ok(
        if arguments.wait && !is_past_first_pass(&overview.managers) {
            tell("gce-guest: the first pass is not done yet");
            ExitCode::from(4)
        } else if !overview.running {
            ExitCode::FAILURE
        } else if all(|seen| matches!(seen.status.state, State::Ok | State::Problems)) {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(3)
        },
    )
}

/// Whether an agent runs and has made the first pass of everything that it runs.
fn is_past_first_pass(managers: &[Seen]) -> bool {
    let mut running = managers.iter().filter(|seen| seen.running).peekable();
    running.peek().is_some() && running.all(|seen| seen.status.first_pass.is_some())
}

fn look() -> anyhow::Result<Vec<Seen>> {
    let all = Manager::ALL.into_iter();
    let managers = all
        .map(|manager| Ok(status::look(&Root::machine(), manager)?))
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(with_those_that_begin(managers))
}

/// The statuses are read one after another while an agent that starts writes them, so that one may still be an earlier
/// agent's. Its manager runs all the same: the agent that runs the others holds its lock.
fn with_those_that_begin(mut managers: Vec<Seen>) -> Vec<Seen> {
    let agent = managers.iter().find(|seen| seen.running);
    let Some(agent) = agent.map(|seen| seen.status.clone()) else {
        return managers;
    };
    for seen in &mut managers {
        if !seen.running && seen.holder == Some(agent.pid) {
            seen.running = true;
            seen.held_by = None;
            seen.status = Status {
                manager: seen.status.manager.clone(),
                pid: agent.pid,
                version: agent.version.clone(),
                started: agent.started.clone(),
                since: agent.started.clone(),
                ..Status::default()
            };
        }
    }
    managers
}

/// The last change of a manager is an earlier agent's where this one has made none.
fn with_last_change(mut seen: Seen) -> Seen {
    if seen.status.last_change.is_none() {
        // Others than root cannot read the history, and do without.
        let entries = history::read(&Root::machine()).unwrap_or_default();
        let mut entries = entries.into_iter().rev();
        seen.status.last_change = entries.find(|entry| entry.manager == seen.status.manager);
    }
    seen
}

fn scripts() -> Vec<Record> {
    let state = state::State::at(Root::machine());
    let occasions = [Occasion::Startup, Occasion::Shutdown].into_iter();
    // Others than root cannot read them, and do without.
    occasions
        .filter_map(|occasion| state.record(occasion).ok().flatten())
        .collect()
}

fn page(overview: &Overview) -> String {
    let running = overview.managers.iter().find(|seen| seen.running);
    let mut page = match running.map(|seen| &seen.status) {
        Some(status) => {
            let endpoint = status.endpoint.as_deref().unwrap_or("no answer yet");
            paragraph(
                "agent     ",
                &format!(
                    "{}, process {}, since {}",
                    status.version, status.pid, status.started
                ),
            ) + &paragraph("metadata  ", endpoint)
        }
        None => paragraph(
            "agent     ",
            "not running; start it with `systemctl start gce-guest` or `gce-guest agent`",
        ),
    };
    for seen in &overview.managers {
        page += &manager(seen);
    }
    if let Some(run) = &overview.setup {
        page += &paragraph("setup     ", &format!("{} {}", run.began, run.summary()));
    }
    for record in &overview.scripts {
        for script in &record.scripts {
            let when = script.ended.as_ref().or(script.started.as_ref());
            let when = when.map(|when| format!(", {when}")).unwrap_or_default();
            page += &paragraph(
                &format!("{}  ", script.key),
                &format!("{}{when}", script.fate.words()),
            );
        }
    }
    page
}

fn manager(seen: &Seen) -> String {
    let status = &seen.status;
    let first = format!("{:<8}  ", status.manager);
    let indent = " ".repeat(first.len());
    if !seen.running {
        let text = match &seen.held_by {
            Some(holder) => format!("not run by us: {holder} holds its lock"),
            None => "not running".to_owned(),
        };
        return paragraph(&first, &text);
    }
    let state = match status.state {
        State::Waiting => "waits for metadata",
        State::Ok => "in line",
        State::Problems => "in line, with problems",
        State::Failing => "fails",
        State::Busy => "takes long",
    };
    let mut text = paragraph(&first, &format!("{state} since {}", status.since));
    for problem in status.problems.iter().chain(&status.failures) {
        text += &paragraph(&format!("{indent}! "), problem);
    }
    if let Some(next) = &status.next_try {
        text += &paragraph(&indent, &format!("next try {next}"));
    }
    if let Some(change) = &status.last_change {
        text += &paragraph(&indent, &last_change(change));
    }
    text
}

fn last_change(entry: &Entry) -> String {
    let etag = entry.etag.as_deref().filter(|etag| !etag.is_empty());
    let etag = etag
        .map(|etag| format!(" (etag {etag})"))
        .unwrap_or_default();
    format!("last change {}: {}{etag}", entry.time, entry.change)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(name: &str, pid: u32, first_pass: Option<&str>, holder: Option<u32>) -> Seen {
        Seen {
            running: holder == Some(pid),
            held_by: (holder != Some(pid)).then(|| "gce-guest".into()),
            holder,
            status: Status {
                manager: name.into(),
                pid,
                first_pass: first_pass.map(String::from),
                ..Status::default()
            },
        }
    }

    #[test]
    fn a_manager_whose_status_is_an_earlier_agents_is_waited_for() {
        let past = Some("2026-11-22T17:57:52.522Z");
        let network = || seen("network", 40, past, Some(40));
        // Its file is that of an earlier agent; another process has the lock of the third.
        let early = with_those_that_begin(vec![
            network(),
            seen("accounts", 7, past, Some(40)),
            seen("clock", 0, None, Some(50)),
        ]);
        assert_eq!(
            early.iter().map(|seen| seen.running).collect::<Vec<_>>(),
            [true, true, false]
        );
        assert!(!is_past_first_pass(&early));
        let late = with_those_that_begin(vec![network(), seen("accounts", 40, past, Some(40))]);
        assert!(is_past_first_pass(&late));
    }
}
