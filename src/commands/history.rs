//! `gce-guest history`: what was changed, when, and why.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::output::{Form, difference, escaped, print, print_json};
use super::require_root;
use crate::agent::history::{self, Entry};
use crate::agent::managers::Manager;
use crate::system::root::Root;

/// Arguments of `gce-guest history`.
#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = "\
Exit status: 0 shown, even when there is nothing; 1 the history cannot be read.

Examples:
  gce-guest history                     every change that is kept, oldest first
  gce-guest history --last 20 --diff    with the lines that came and went
  gce-guest history --json | jq '.[] | select(.subject == \"user alice\")'

Files:
  /var/log/gce-guest/   the record; bounded, readable by root only")]
pub struct Arguments {
    #[command(flatten)]
    form: Form,
    /// Show the lines that came and went.
    #[arg(long, conflicts_with = "json")]
    diff: bool,
    /// Show the last changes only.
    #[arg(short = 'n', long, value_name = "COUNT")]
    last: Option<usize>,
    /// Show the changes of one manager only.
    #[arg(long, value_name = "MANAGER")]
    manager: Option<Manager>,
}

/// Runs `gce-guest history`.
///
/// # Errors
/// The history cannot be read, or the caller is not root.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    require_root("read the history")?;
    let mut entries = history::read(&Root::machine())
        .with_context(|| format!("read {}/{}", history::DIRECTORY, history::FILE))?;
    if let Some(manager) = arguments.manager {
        entries.retain(|entry| entry.manager == manager.name());
    }
    if let Some(last) = arguments.last {
        entries.drain(..entries.len().saturating_sub(last));
    }
    if arguments.form.json {
        print_json(&entries)?;
    } else if entries.is_empty() {
        print("Nothing was changed.\n")?;
    } else {
        let line = |entry: &Entry| line(entry, arguments.diff);
        print(&entries.iter().map(line).collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(entry: &Entry, diff: bool) -> String {
    let mut line = format!(
        "{}  {:<8}  {}\n",
        entry.time,
        entry.manager,
        escaped(&entry.change)
    );
    if diff {
        line += &difference(&entry.before, &entry.after);
    }
    line
}
