//! `gce-guest hooks`: the administrator's programs that are started when something happens.

use std::io;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use log::LevelFilter;
use serde_json::json;

use super::output;
use crate::agent::hooks::event::{Event, Notice};
use crate::agent::hooks::{self, DIRECTORY};
use crate::system::executables::Executable;
use crate::system::files::Directory;
use crate::system::log as logging;
use crate::system::root::Root;

/// Arguments of `gce-guest hooks`.
#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = "\
Hooks are executables in /etc/gce-guest/hooks.d/EVENT/. Events: preempted,
maintenance, maintenance-end, users, routes, and attribute-KEY for an attribute
in metadata.

Exit status of list: 0 shown, 1 the directories cannot be read. Of run: 0 when
every hook succeeded or there is none, 1 when one failed or may not be run, 2
for an event that does not exist.

Examples:
  gce-guest hooks list                      what is there, and what is wrong
  gce-guest hooks run preempted --dry-run   what would be started
  gce-guest hooks run attribute-mode        start them now, as the agent would")]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the hooks of every event.
    #[group(skip)]
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run the hooks of an event now.
    #[group(skip)]
    Run {
        /// The event.
        #[arg(value_parser = event)]
        event: Event,
        /// Say which ones; run nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

fn event(name: &str) -> Result<Event, String> {
    let names: Vec<String> = Event::FIXED.iter().map(|(event, _)| event.name()).collect();
    Event::named(name)
        .ok_or_else(|| format!("the events are {} and attribute-KEY", names.join(", ")))
}

/// Runs the verb that the arguments name.
///
/// # Errors
/// The directories cannot be read.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.verb {
        Verb::List { json } => list(*json),
        Verb::Run { event, dry_run } => run_event(event, *dry_run),
    }
}

/// Every event that has a directory.
fn events(root: &Root) -> anyhow::Result<Vec<Event>> {
    let directory = match Directory::open(&root.path(DIRECTORY)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.with_context(|| format!("open {DIRECTORY}"))?,
    };
    let names = directory
        .names()
        .with_context(|| format!("read {DIRECTORY}"))?;
    let known = |name: std::ffi::OsString| Event::named(&name.to_string_lossy());
    Ok(names.into_iter().filter_map(known).collect())
}

fn list(as_json: bool) -> anyhow::Result<ExitCode> {
    let root = Root::machine();
    let mut all = Vec::new();
    for event in events(&root)? {
        all.push((event.name(), hooks::list(&root, &event)));
    }
    if as_json {
        let hook = |hook: &Executable| json!({"path": hook.path, "refusal": hook.refusal});
        let entry = |(event, found): &(String, io::Result<Vec<Executable>>)| match found {
            Ok(found) => {
                json!({"event": event, "hooks": found.iter().map(hook).collect::<Vec<_>>()})
            }
            Err(error) => json!({"event": event, "hooks": [], "refusal": error.to_string()}),
        };
        let entries: Vec<_> = all.iter().map(entry).collect();
        output::print_json(&entries)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for (event, found) in &all {
        text += &format!("{event}\n");
        match found {
            Ok(found) if found.is_empty() => text += "  (no hook)\n",
            Ok(found) => text.extend(found.iter().map(line)),
            Err(error) => text += &format!("  not used: {error}\n"),
        }
    }
    if text.is_empty() {
        text = format!("There are no hooks. They are executables in {DIRECTORY}/EVENT:\n");
        for (event, meaning) in Event::FIXED {
            text += &format!("  {:<16} {meaning}\n", event.name());
        }
        text += "  attribute-KEY    the attribute KEY in metadata has changed\n";
    }
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn line(hook: &Executable) -> String {
    let path = hook.path.display();
    match &hook.refusal {
        None => format!("  {path}\n"),
        Some(why) => format!("  {path}\n    not run: {why}\n"),
    }
}

fn run_event(event: &Event, dry_run: bool) -> anyhow::Result<ExitCode> {
    let found = match hooks::list(&Root::machine(), event) {
        Ok(found) => found,
        Err(error) => bail!("no hook for {} is run: {error}", event.name()),
    };
    if dry_run {
        output::print(&found.iter().map(line).collect::<String>())?;
        return Ok(ExitCode::SUCCESS);
    }
    logging::start(&logging::Options::console(LevelFilter::Info));
    let notice = Notice::new(event.clone());
    let mut success = true;
    for hook in found {
        success &= match hook.refusal {
            None => hooks::start(&hook.path, &notice),
            Some(why) => {
                log::warn!(target: "gce-guest", "The hook {} is not run: {why}.", hook.path.display());
                false
            }
        };
    }
    Ok(if success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
