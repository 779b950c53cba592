//! `gce-guest network` and `gce-guest explain route`: forwarded addresses, for people and for programs.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use log::LevelFilter;
use serde_json::{Value, json};

use crate::agent::managers::Manager;
use crate::cli::tell;
use crate::commands::input;
use crate::network::backends::{SetUp, detect};
use crate::network::explain::{age, explain};
use crate::network::routes::text;
use crate::network::status::{Nic, Presence, Wanted, status};
use crate::network::{Plan, State, addresses, observe, plan};
use crate::system::locks::FileLock;
use crate::system::root::Root;
use crate::system::{log as sinks, time};

/// How many routes a table shows; the rest is counted.
const SHOWN: usize = 1000;

/// Arguments of `gce-guest network`.
#[derive(Args, Debug)]
#[command(after_help = "\
Exit status: status: 0 every wanted route is there, 1 one is not, or the
machine cannot be read. sync: 0 done, 1 something failed, or another agent
holds the lock.

Examples:
  gce-guest network status          interfaces and routes, wanted and present
  gce-guest network status --json   the same for programs
  gce-guest network sync --once     bring routes in line now, without the agent")]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the interfaces of metadata, their addresses, and the routes that they should have.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make one pass: add and remove routes as metadata asks for.
    Sync {
        /// Accepted for clarity: one pass is what there is.
        #[arg(long)]
        once: bool,
    },
}

/// Runs `gce-guest network`.
///
/// # Errors
/// Metadata or the machine cannot be read, the lock is held, or a change cannot be made.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    sinks::start(&sinks::Options::console(LevelFilter::Warn));
    match arguments.verb {
        Verb::Status { json } => show(json),
        Verb::Sync { once: _ } => sync(),
    }
}

/// Runs `gce-guest explain route`.
///
/// # Errors
/// Metadata or the machine cannot be read.
pub(super) fn run_explain(asked: &str) -> anyhow::Result<ExitCode> {
    let input = input::read()?;
    let observed = observe(&state()).context("read the network")?;
    let links = explain(
        asked,
        &input.document,
        &input.settings,
        &observed,
        time::now(),
    );
    let mut out = io::stdout().lock();
    for link in &links {
        let word = if link.holds { "ok  " } else { "FAIL" };
        writeln!(out, "{word}  {}", link.text)?;
    }
    Ok(status_of(links.iter().all(|link| link.holds)))
}

fn state() -> State {
    State::at(Root::machine())
}

fn status_of(good: bool) -> ExitCode {
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn sync() -> anyhow::Result<ExitCode> {
    let _lock = FileLock::try_take(Path::new(Manager::Network.lock()))
        .context("take the place of the agent")?;
    let input = input::read()?;
    let report = Manager::Network.work()(&input);
    let mut out = io::stdout().lock();
    for change in &report.changes {
        writeln!(out, "{}", change.what)?;
    }
    if report.changes.is_empty() {
        writeln!(out, "nothing to do")?;
    }
    for problem in report.problems.values() {
        tell(&format!("gce-guest: {problem}"));
    }
    let failures: Vec<&str> = report.failures.values().map(String::as_str).collect();
    if failures.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!("{}", failures.join("; "));
}

fn show(as_json: bool) -> anyhow::Result<ExitCode> {
    let input = input::read()?;
    let observed = observe(&state()).context("read the network")?;
    let addresses = addresses().context("read the addresses")?;
    let set_up = detect(&Root::machine(), &input.document, &input.settings)
        .context("find out what sets interfaces up")?;
    let plan = plan(&input.document, &input.settings, &observed);
    let nics = input.document.instance.network_interfaces.present();
    let nics = status(
        nics.map(Vec::as_slice).unwrap_or_default(),
        &input.settings,
        &observed,
        &addresses,
        &plan,
    );
    let all_there = nics
        .iter()
        .flat_map(|nic| &nic.routes)
        .all(|route| route.presence != Presence::Missing);
    let page = if as_json {
        serde_json::to_string_pretty(&data(&nics, &set_up, &plan))?
    } else {
        table(&nics, &set_up, &plan, time::now())
    };
    writeln!(io::stdout().lock(), "{}", page.trim_end())?;
    Ok(status_of(all_there))
}

/// Our routes that nothing asks for, in words: they go with the next pass.
fn unwanted(plan: &Plan) -> impl Iterator<Item = String> {
    let changes = plan.changes.iter().filter(|change| !change.adds());
    changes.map(ToString::to_string)
}

/// What is wrong, each in a sentence.
fn problems(plan: &Plan) -> impl Iterator<Item = String> {
    let pending = plan.pending.iter().map(ToString::to_string);
    plan.problems.iter().map(ToString::to_string).chain(pending)
}

fn data(nics: &[Nic], set_up: &SetUp, plan: &Plan) -> Value {
    let route = |route: &Wanted| {
        let (presence, protocol) = match route.presence {
            Presence::Present => ("present", Some(plan.protocol)),
            Presence::Missing => ("missing", None),
            Presence::Foreign(protocol) => ("foreign", Some(protocol)),
        };
        json!({
            "prefix": text(route.prefix),
            "from": route.origin.to_string(),
            "state": presence,
            "since": route.since.map(|since| since.to_string()),
            "protocol": protocol,
        })
    };
    let nic = |nic: &Nic| {
        json!({
            "nic": nic.position,
            "mac": nic.mac,
            "interface": nic.interface,
            "up": nic.up,
            "addresses": nic.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "routes": nic.routes.iter().map(route).collect::<Vec<_>>(),
        })
    };
    json!({
        "backend": set_up.through,
        "backend_because": set_up.because,
        "interfaces": nics.iter().map(nic).collect::<Vec<_>>(),
        "unwanted": unwanted(plan).collect::<Vec<_>>(),
        "problems": problems(plan).collect::<Vec<_>>(),
    })
}

fn table(nics: &[Nic], set_up: &SetUp, plan: &Plan, now: Timestamp) -> String {
    let mut rows = vec![["NIC", "INTERFACE", "MAC", "STATE", "ADDRESS"].map(String::from)];
    for nic in nics {
        let mut addresses = nic.addresses.iter().map(ToString::to_string);
        let state = match (&nic.interface, nic.up) {
            (None, _) => "absent",
            (_, true) => "up",
            (_, false) => "down",
        };
        rows.push([
            nic.position.to_string(),
            nic.interface.clone().unwrap_or_else(|| "-".into()),
            nic.mac.clone(),
            state.into(),
            addresses.next().unwrap_or_else(|| "-".into()),
        ]);
        let empty = String::new;
        rows.extend(addresses.map(|address| [empty(), empty(), empty(), empty(), address]));
    }
    let mut page = aligned(&rows);
    let through = set_up.through.as_deref().unwrap_or("nothing");
    page.push_str(&format!("set up through {through}: {}\n", set_up.because));
    let routes: Vec<&Wanted> = nics.iter().flat_map(|nic| &nic.routes).collect();
    if !routes.is_empty() {
        let mut rows = vec![["ROUTE", "NIC/FROM", "STATE", "FOR"].map(String::from)];
        rows.extend(routes.iter().take(SHOWN).map(|route| row(route, now)));
        page.push('\n');
        page.push_str(&aligned(&rows));
    }
    if routes.len() > SHOWN {
        page.push_str(&format!(
            "{} more, all of them with --json\n",
            routes.len() - SHOWN
        ));
    }
    let lines = unwanted(plan).map(|change| format!("to do: {change}"));
    let lines: Vec<String> = lines.chain(problems(plan)).collect();
    if !lines.is_empty() {
        page.push('\n');
        page.push_str(&lines.join("\n"));
    }
    page
}

fn row(route: &Wanted, now: Timestamp) -> [String; 4] {
    let origin = route.origin.to_string();
    let list = origin.rsplit('/').next().unwrap_or_default();
    [
        text(route.prefix),
        format!("{}/{list}", route.origin.nic),
        match route.presence {
            Presence::Present => "present".into(),
            Presence::Missing => "missing".into(),
            Presence::Foreign(_) => "foreign".into(),
        },
        route
            .since
            .map_or_else(|| "-".into(), |since| age(since, now)),
    ]
}

/// Columns as wide as their widest cell, two blanks apart.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut page = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:<width$}  "))
            .collect();
        page.push_str(line.trim_end());
        page.push('\n');
    }
    page
}
