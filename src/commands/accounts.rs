//! `gce-guest accounts` and `gce-guest explain user`: the users that metadata asks for, for people and for scripts.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use log::LevelFilter;
use serde_json::Value;

use super::output::{Form, counted, print, print_chain, print_json};
use super::pass::{Once, record, take_place_of_agent};
use super::require_root;
use super::tell;
use crate::accounts::explain::{Link, explain};
use crate::accounts::keys::{DesiredKeys, desired};
use crate::accounts::ledger::Origin;
use crate::accounts::observe::observe;
use crate::accounts::plan::{KeysFile, Observed, Plan, UserState, plan};
use crate::accounts::sources::Sources;
use crate::agent::managers::{self, Manager};
use crate::agent::report::Input;
use crate::agent::status;
use crate::commands::{explain as explanation, input, network};
use crate::system::json::object;
use crate::system::order::Set;
use crate::system::root::Root;
use crate::system::{log as sinks, time};

/// Arguments of `gce-guest accounts`.
#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = "\
Exit status: 0 done, 1 something failed or another agent holds the lock.

Examples:
  gce-guest accounts list          every user of metadata and of the ledger
  gce-guest accounts list --json   the same for programs
  gce-guest accounts sync          bring accounts in line now, without the agent")]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the users with their origin, keys and state.
    List(Form),
    /// Make one pass: create, change and remove what metadata asks for.
    Sync(Once),
}

/// Arguments of `gce-guest explain`.
#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = "\
Exit status: 0 every link holds, 1 one fails or the machine cannot be read,
2 no option has the name.

Examples:
  gce-guest explain user alice
  gce-guest explain option Accounts.groups
  gce-guest explain route 203.0.113.10")]
pub struct ExplainArguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Why a user is there or not: from the metadata line to the account, with the link that fails.
    #[group(skip)]
    User {
        /// The user's name.
        name: String,
    },
    /// What an option is set to, by whom, what it means and what it affects.
    #[group(skip)]
    Option {
        /// The option, as in Accounts.groups.
        #[arg(value_name = "SECTION.OPTION")]
        name: String,
    },
    /// Why the machine answers to an address or not: from the metadata key to the kernel's route.
    #[group(skip)]
    Route {
        /// An address, or a range like 10.0.0.0/24.
        address: String,
    },
}

/// What every verb works from.
struct Situation {
    input: Input,
    desired: DesiredKeys,
    observed: Observed,
}

/// Runs `gce-guest accounts`.
///
/// # Errors
/// Metadata or the machine cannot be read, or the lock is held.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    sinks::start(&sinks::Options::console(LevelFilter::Warn));
    match arguments.verb {
        Verb::List(form) => list(form),
        Verb::Sync(_) => sync(),
    }
}

/// Runs `gce-guest explain`.
///
/// # Errors
/// Metadata or the machine cannot be read.
pub fn run_explain(arguments: &ExplainArguments) -> anyhow::Result<ExitCode> {
    sinks::start(&sinks::Options::console(LevelFilter::Warn));
    let name = match &arguments.what {
        What::User { name } => name,
        What::Option { name } => return explanation::option(name),
        What::Route { address } => return network::run_explain(address),
    };
    let situation = look(Some(name))?;
    let mut links = explain(
        name,
        &situation.desired,
        &situation.input.settings,
        &situation.observed,
    );
    let is_told = |reason: &String| links.iter().any(|link| link.text.contains(reason.as_str()));
    let is_behind = links.iter().any(|link| !link.holds);
    if let Some(reason) = last_failure(name).filter(|reason| is_behind && !is_told(reason)) {
        links.push(Link {
            holds: false,
            text: format!("the last try failed: {reason}"),
        });
    }
    print_chain(links.iter().map(|link| (link.holds, link.text.as_str())))
}

/// Reads metadata, settings and the machine, which has to be read as root; `also` is looked up in any case.
fn look(also: Option<&String>) -> anyhow::Result<Situation> {
    require_root("look into other users' home directories")?;
    let input = input::read()?;
    let desired = desired(&input.document, time::now());
    let instance_id = input.document.instance.id.present().cloned();
    let mut sources = Sources::default();
    sources.refresh();
    let names = desired.users.keys().chain(also);
    let (mut observed, problems) = observe(names, &input.settings.accounts, instance_id, &sources)
        .context("read the accounts")?;
    observed.oslogin = managers::oslogin_is_active(&input);
    for problem in problems {
        tell(&format!("gce-guest: {problem}"));
    }
    Ok(Situation {
        input,
        desired,
        observed,
    })
}

fn sync() -> anyhow::Result<ExitCode> {
    require_root("change accounts")?;
    let _lock = take_place_of_agent(Manager::Accounts)?;
    let input = input::read()?;
    let report = Manager::Accounts.work()(&input);
    record(Manager::Accounts, &report);
    let mut page: String = report
        .changes
        .iter()
        .map(|change| format!("{}\n", change.what))
        .collect();
    if page.is_empty() {
        page = "nothing to do\n".into();
    }
    print(&page)?;
    for problem in report.problems.values().chain(report.failures.values()) {
        tell(&format!("gce-guest: {problem}"));
    }
    if report.failures.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!(
        "{} could not be brought in line",
        counted(report.failures.len(), "user")
    );
}

fn list(form: Form) -> anyhow::Result<ExitCode> {
    let situation = look(None)?;
    let plan = plan(
        &situation.desired,
        &situation.input.settings.accounts,
        &situation.observed,
    );
    let refused = situation.desired.problems.iter();
    let refused = refused.filter_map(|problem| problem.user.as_ref());
    let names: Set<&String> = situation.observed.users.keys().chain(refused).collect();
    let users: Vec<Value> = names
        .into_iter()
        .map(|name| user(name, &situation, &plan))
        .collect();
    if form.json {
        print_json(&users)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut page = format!(
        "{:<20} {:<8} {:>4}  {:<20} STATE\n",
        "USER", "ORIGIN", "KEYS", "NEXT EXPIRY"
    );
    for user in &users {
        let text = |field: &str| user[field].as_str().unwrap_or("-").to_owned();
        let (name, origin, expiry, state) = (
            text("user"),
            text("origin"),
            text("next_expiry"),
            text("state"),
        );
        page += &format!(
            "{name:<20} {origin:<8} {:>4}  {expiry:<20} {state}\n",
            user["keys"].as_u64().unwrap_or_default()
        );
    }
    print(&page)?;
    Ok(ExitCode::SUCCESS)
}

/// What is known to stand in the way of a user's keys.
fn in_the_way(name: &str, observed: &Observed) -> Option<String> {
    match observed.users.get(name) {
        Some(UserState::Present {
            keys: KeysFile::Refused(reason),
            ..
        }) => Some(reason.clone()),
        _ => None,
    }
}

/// What is wrong with the last line of metadata for a user.
fn refused_line(name: &str, desired: &DesiredKeys) -> Option<String> {
    let mut lines = desired.problems.iter().rev();
    let line = lines.find(|problem| problem.user.as_deref() == Some(name))?;
    let place = format!("line {} of {}", line.line, line.source.path());
    Some(format!("{place}: {}", line.reason))
}

/// Why the agent's last pass did not bring a user in line, if it was so.
fn last_failure(name: &str) -> Option<String> {
    let status = status::read(&Root::machine(), Manager::Accounts.name()).ok()??;
    let about = format!("user {name}: ");
    let mut failures = status.failures.iter();
    failures.find_map(|text| text.strip_prefix(&about).map(String::from))
}

/// One user, as data.
fn user(name: &str, situation: &Situation, plan: &Plan) -> Value {
    let keys = situation.desired.users.get(name);
    let origin = situation
        .observed
        .ledger
        .users
        .get(name)
        .map(|record| match record.origin {
            Origin::Created => "created",
            Origin::Adopted => "adopted",
        });
    let next_expiry = keys.and_then(|keys| keys.iter().filter_map(|key| key.expires).min());
    let pending = plan
        .users
        .iter()
        .any(|user| user.name == name && !user.changes.is_empty());
    let error = plan.blocked.get(name).or(plan.refused.get(name)).cloned();
    let error = match keys {
        _ if error.is_some() => error,
        _ if pending => in_the_way(name, &situation.observed).or_else(|| last_failure(name)),
        Some(_) => None,
        None => refused_line(name, &situation.desired),
    };
    let state = match (&error, pending, keys) {
        (Some(error), _, _) => error.clone(),
        (None, true, _) => "changes pending".into(),
        (None, false, Some(_)) => "in line".into(),
        (None, false, None) => "not wanted".into(),
    };
    object([
        ("user", name.into()),
        ("origin", origin.into()),
        ("keys", keys.map_or(0, Vec::len).into()),
        (
            "next_expiry",
            next_expiry.map(|expiry| expiry.to_string()).into(),
        ),
        ("state", state.into()),
        ("error", error.into()),
    ])
}
