//! `gce-guest hostname`, and `google_set_hostname`, which the hooks of DHCP clients call.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use log::LevelFilter;
use serde_json::Value;

use super::output::{Form, escaped};
use super::pass::Once;
use super::{input, pass};
use crate::agent::managers::Manager;
use crate::agent::report::Input;
use crate::config::values::Value as _;
use crate::hostname::{Observed, Wishes, observe, plan};
use crate::system::json::object;
use crate::system::log as sinks;
use crate::system::root::Root;

/// How long a hook waits for the metadata server: the DHCP client waits for the hook.
const HOOK_DEADLINE: Duration = Duration::from_secs(5);

/// Arguments of `gce-guest hostname`.
#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = "\
Exit status: 0 done, 1 something failed.

The name and the address come from metadata, never from DHCP. Nothing happens
unless the configuration says so (Hostname.mode).

Examples:
  gce-guest hostname status          the name here, and the one in metadata
  gce-guest hostname status --json   the same for programs
  gce-guest hostname sync            bring it in line now")]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the host name here, what metadata wants, and what is in the way.
    Status(Form),
    /// Make one pass.
    Sync(Once),
}

/// Runs `gce-guest hostname`.
///
/// # Errors
/// Metadata or the machine cannot be read, or a change cannot be made.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    sinks::start(&sinks::Options::console(LevelFilter::Warn));
    let input = input::read()?;
    match arguments.verb {
        Verb::Status(form) => status(&input, form),
        // Without a lock: the agent may do the same at the same time, and what both write is the same.
        Verb::Sync(_) => pass::make(Manager::Hostname, &input),
    }
}

/// Runs `google_set_hostname`: one pass, in few words, and soon over. What the DHCP server said is in the environment and
/// is not looked at (spec/core.md SEC 14).
///
/// # Errors
/// Those of [`run`].
pub fn run_hook(debug: bool) -> anyhow::Result<ExitCode> {
    sinks::start(&sinks::Options::program(debug));
    let report = Manager::Hostname.work()(&input::read_within(HOOK_DEADLINE)?);
    pass::record(Manager::Hostname, &report);
    for change in &report.changes {
        log::info!(target: Manager::Hostname.logger(), "{}", change.what);
    }
    pass::conclude(&report)
}

fn status(input: &Input, form: Form) -> anyhow::Result<ExitCode> {
    let wishes = Wishes::new(&input.settings);
    let observed = observe(&Root::machine())?;
    let plan = plan(&input.document, &input.settings, &observed);
    let name = plan.name.as_ref().map(|(name, _)| name.full());
    let source = plan.name.as_ref().map(|(_, source)| source.to_string());
    let pending = plan.changes.iter().map(ToString::to_string);
    let problems = plan.problems.iter().map(ToString::to_string);
    let status = object([
        ("mode", wishes.mode.render().into()),
        ("form", wishes.form.render().into()),
        ("manages_hosts", wishes.hosts.into()),
        (
            "metadata",
            input.document.instance.hostname.present().cloned().into(),
        ),
        ("name", name.into()),
        ("source", source.into()),
        ("kernel", observed.kernel.clone().into()),
        ("static", observed.static_name().into()),
        ("pending", pending.collect()),
        ("problems", problems.collect()),
    ]);
    let mut out = io::stdout().lock();
    if form.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&status)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&mut out, &status, &observed)?;
    Ok(ExitCode::SUCCESS)
}

fn print(out: &mut impl Write, status: &Value, observed: &Observed) -> io::Result<()> {
    let text = |field: &str| status[field].as_str().unwrap_or("-").to_owned();
    let rows = [
        ("mode", format!("{}, {}", text("mode"), text("form"))),
        ("metadata", text("metadata")),
        ("kernel", observed.kernel.clone()),
        ("/etc/hostname", text("static")),
        (
            "/etc/hosts",
            if status["manages_hosts"] == true {
                "kept"
            } else {
                "left alone"
            }
            .to_owned(),
        ),
    ];
    for (name, value) in rows {
        writeln!(out, "{name:<14} {}", escaped(&value))?;
    }
    let lines = |field: &str| status[field].as_array().cloned().unwrap_or_default();
    for (word, field) in [("to do", "pending"), ("problem", "problems")] {
        for line in lines(field) {
            let line = escaped(line.as_str().unwrap_or_default());
            writeln!(out, "{word:<14} {line}")?;
        }
    }
    Ok(())
}
