//! `gce-guest network` and `gce-guest explain route`: forwarded addresses, for people and for programs.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use log::LevelFilter;
use serde_json::Value;

use super::output::{Form, print, print_chain, print_json};
use super::pass::{self, Once, take_place_of_agent};
use super::{input, require_root};
use crate::agent::managers::Manager;
use crate::network::backends::{SetUp, detect};
use crate::network::explain::{age, explain};
use crate::network::routes::{Presence, text};
use crate::network::status::{Nic, Server, Wanted, servers, status};
use crate::network::{Plan, State, addresses, observe, plan};
use crate::system::json::object;
use crate::system::root::Root;
use crate::system::{log as sinks, time};

/// How many routes a table shows; the rest is counted.
const SHOWN: usize = 1000;

/// Arguments of `gce-guest network`.
#[derive(Args, Debug)]
#[group(skip)]
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
    Status(Form),
    /// Make one pass: add and remove routes as metadata asks for.
    Sync(Once),
}

/// Runs `gce-guest network`.
///
/// # Errors
/// Metadata or the machine cannot be read, the lock is held, or a change cannot be made.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    sinks::start(&sinks::Options::console(LevelFilter::Warn));
    match arguments.verb {
        Verb::Status(form) => show(form),
        Verb::Sync(_) => sync(),
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
    print_chain(links.iter().map(|link| (link.holds, link.text.as_str())))
}

fn state() -> State {
    State::at(Root::machine())
}

fn sync() -> anyhow::Result<ExitCode> {
    require_root("change routes")?;
    let _lock = take_place_of_agent(Manager::Network)?;
    pass::make(Manager::Network, &input::read()?)
}

/// Everything that a page says.
struct Shown {
    nics: Vec<Nic>,
    servers: Vec<Server>,
    set_up: SetUp,
    plan: Plan,
}

impl Shown {
    fn read() -> anyhow::Result<Self> {
        let input = input::read()?;
        let observed = observe(&state()).context("read the network")?;
        let addresses = addresses().context("read the addresses")?;
        let set_up = detect(&Root::machine(), &input.document, &input.settings)
            .context("find out what sets interfaces up")?;
        let plan = plan(&input.document, &input.settings, &observed);
        let nics = input.document.instance.network_interfaces.present();
        let nics = nics.map(Vec::as_slice).unwrap_or_default();
        // Without a plan there is none of this either.
        let servers = if plan.is_whole() {
            servers(nics, &input.settings, &observed)
        } else {
            Vec::new()
        };
        let nics = status(nics, &input.settings, &observed, &addresses, &plan);
        Ok(Self {
            nics,
            servers,
            set_up,
            plan,
        })
    }

    fn all_there(&self) -> bool {
        let routes = self.nics.iter().flat_map(|nic| &nic.routes);
        let ways = self.servers.iter().flat_map(|server| &server.route);
        routes
            .map(|route| route.presence)
            .chain(ways.map(|way| way.presence))
            .all(|presence| presence != Presence::Missing)
    }
}

fn show(form: Form) -> anyhow::Result<ExitCode> {
    let shown = Shown::read()?;
    if form.json {
        print_json(&data(&shown))?;
    } else {
        print(&format!("{}\n", table(&shown, time::now()).trim_end()))?;
    }
    Ok(if shown.all_there() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
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

/// A presence in a word, and the protocol id of the route that is there.
fn presence_of(presence: Presence, ours: u8) -> (&'static str, Option<u8>) {
    match presence {
        Presence::Present => ("present", Some(ours)),
        Presence::Missing => ("missing", None),
        Presence::Foreign(protocol) => ("foreign", Some(protocol)),
    }
}

fn data(shown: &Shown) -> Value {
    let plan = &shown.plan;
    let route = |route: &Wanted| {
        let (state, protocol) = presence_of(route.presence, plan.protocol);
        object([
            ("prefix", text(route.prefix).into()),
            ("from", route.origin.to_string().into()),
            ("state", state.into()),
            ("since", route.since.map(|since| since.to_string()).into()),
            ("protocol", protocol.into()),
        ])
    };
    let server = |server: &Server| match &server.route {
        Ok(way) => {
            let (state, protocol) = presence_of(way.presence, plan.protocol);
            object([
                ("address", server.address.to_string().into()),
                ("interface", way.interface.clone().into()),
                ("via", way.via.map(|via| via.to_string()).into()),
                ("state", state.into()),
                ("since", way.since.map(|since| since.to_string()).into()),
                ("protocol", protocol.into()),
            ])
        }
        Err(why) => object([
            ("address", server.address.to_string().into()),
            ("state", "none".into()),
            ("because", why.to_string().into()),
        ]),
    };
    let nic = |nic: &Nic| {
        let addresses = nic.addresses.iter().map(ToString::to_string);
        object([
            ("nic", nic.position.into()),
            ("mac", nic.mac.clone().into()),
            ("interface", nic.interface.clone().into()),
            ("up", nic.up.into()),
            ("addresses", addresses.collect()),
            ("routes", nic.routes.iter().map(route).collect()),
        ])
    };
    object([
        ("backend", shown.set_up.through.clone().into()),
        ("backend_because", shown.set_up.because.clone().into()),
        ("interfaces", shown.nics.iter().map(nic).collect()),
        (
            "metadata_server",
            shown.servers.iter().map(server).collect(),
        ),
        ("unwanted", unwanted(plan).collect()),
        ("problems", problems(plan).collect()),
    ])
}

fn table(shown: &Shown, now: Timestamp) -> String {
    let Shown {
        nics, set_up, plan, ..
    } = shown;
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
    let mut rows = vec![["ROUTE", "NIC/FROM", "STATE", "FOR"].map(String::from)];
    rows.extend(shown.servers.iter().filter_map(|server| {
        let way = server.route.as_ref().ok()?;
        let (address, from) = (server.address.to_string(), "0/metadata-server".into());
        Some(row(address, from, way.presence, way.since, now))
    }));
    rows.extend(routes.iter().take(SHOWN).map(|route| {
        let origin = route.origin.to_string();
        let list = origin.rsplit('/').next().unwrap_or_default();
        let from = format!("{}/{list}", route.origin.nic);
        row(text(route.prefix), from, route.presence, route.since, now)
    }));
    if rows.len() > 1 {
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

fn row(
    route: String,
    from: String,
    presence: Presence,
    since: Option<Timestamp>,
    now: Timestamp,
) -> [String; 4] {
    let (state, _) = presence_of(presence, 0);
    let since = since.map_or_else(|| "-".into(), |since| age(since, now));
    [route, from, state.into(), since]
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
