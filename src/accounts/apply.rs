//! Carrying out a plan: the only place in this room that acts, through `system`.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, anyhow, bail};
use log::debug;

use super::create::Creations;
use super::ledger::{self, Ledger, Record};
use super::plan::{self, MachineChange, Plan, UserChange, UserPlan};
use super::sources::Sources;
use super::wording::Step;
use super::{commands, observe, sudoers};
use crate::config::settings;
use crate::system::accounts_database::{AccountsDatabase, CreateError};
use crate::system::files::{self, Attributes};
use crate::system::order::Set;
use crate::system::processes::{self, Invocation};

/// What came of a plan.
#[derive(Debug, Default)]
pub struct Outcome<'a> {
    /// What was changed, in order.
    pub changes: Vec<Step<'a>>,
    /// What failed: the user, or what else in words that are no user name, and why. Everything else was done.
    pub failures: Vec<(String, anyhow::Error)>,
}

/// Carries out a plan. A failing change costs its user; the ledger says afterwards what is true.
#[must_use]
pub fn apply<'a>(plan: &'a Plan, settings: &settings::Accounts, sources: &Sources) -> Outcome<'a> {
    let mut outcome = Outcome::default();
    for (change, result) in change_machine(plan, settings, sources) {
        match result {
            Ok(()) => outcome.changes.push(Step::Machine(change)),
            Err(error) => outcome.failures.push(("sudo rights".into(), error)),
        }
    }
    let mut ledger = intended_ledger(plan);
    let mut postponed = Set::new();
    if ledger != plan.ledger
        && let Err(error) = record(&ledger)
    {
        outcome.failures.push(("the ledger".into(), error));
        // What cannot be recorded is not given. What is to be taken away is not held up by a full disk.
        let begun = |name: &&String| plan.ledger.creating.contains(*name);
        postponed.extend(ledger.creating.iter().filter(|name| !begun(name)).cloned());
        postponed.extend(intentions(plan).map(|(name, _)| name));
        ledger = Arc::clone(&plan.ledger);
    }
    look_up_labels(plan, sources);
    let mut creations = Creations::new(plan, settings, &postponed, sources);
    for user in &plan.users {
        if postponed.contains(&user.name) {
            continue;
        }
        if is_creation(user) {
            creations.create_together();
        }
        if creations.is_lost(&user.name) {
            if !creations.has_leftovers(&user.name) {
                Arc::make_mut(&mut ledger).creating.remove(&user.name);
            }
            continue;
        }
        match change_user(
            user,
            settings,
            sources,
            &mut creations,
            &mut outcome.changes,
        ) {
            Ok(()) => settle(&mut ledger, user),
            Err(error) => {
                // A failed creation that left no account is nothing to remember.
                if matches!(sources.names.user(&user.name), Ok(None)) {
                    Arc::make_mut(&mut ledger).creating.remove(&user.name);
                }
                outcome.failures.push((user.name.clone(), error));
            }
        }
    }
    outcome.failures.extend(creations.failure());
    let is_recorded = plan.ledger_is_recorded && ledger == plan.ledger;
    if !is_recorded && let Err(error) = record(&ledger) {
        outcome.failures.push(("the ledger".into(), error));
    }
    outcome
}

/// The ledger with what is about to be done: creations that begin, and what accounts gain that are there already.
fn intended_ledger(plan: &Plan) -> Arc<Ledger> {
    let mut ledger = Arc::clone(&plan.ledger);
    let new = plan.users.iter().filter(|user| is_creation(user));
    let creating: Vec<String> = new.map(|user| user.name.clone()).collect();
    let gaining: Vec<(String, Record)> = intentions(plan).collect();
    if !creating.is_empty() || !gaining.is_empty() {
        let ledger = Arc::make_mut(&mut ledger);
        ledger.creating.extend(creating);
        ledger.users.extend(gaining);
    }
    ledger
}

/// Records what is true of a user whose changes were all made. A ledger that says so already is not copied.
fn settle(ledger: &mut Arc<Ledger>, user: &UserPlan) {
    if ledger.says(&user.name, user.record.as_ref()) {
        return;
    }
    let ledger = Arc::make_mut(ledger);
    ledger.creating.remove(&user.name);
    match user.record {
        Some(record) => ledger.users.insert(user.name.clone(), record),
        None => ledger.users.remove(&user.name),
    };
}

fn is_creation(user: &UserPlan) -> bool {
    matches!(user.changes.first(), Some(UserChange::Create(_)))
}

/// What the ledger says before accounts that are there already get keys or rights: a kill in between must not leave any
/// that nobody takes back. It says too much rather than too little; a right that is not there is not taken.
fn intentions(plan: &Plan) -> impl Iterator<Item = (String, Record)> {
    plan.users.iter().filter_map(|user| {
        let gains = |change: &UserChange| {
            matches!(change, UserChange::GiveSudo | UserChange::SetKeys { .. })
        };
        let record = user.record.filter(|_| !is_creation(user))?;
        let before = plan.ledger.users.get(&user.name);
        let intended = Record {
            sudo_given: record.sudo_given || before.is_some_and(|before| before.sudo_given),
            ..record
        };
        (user.changes.iter().any(gains) && before != Some(&intended))
            .then(|| (user.name.clone(), intended))
    })
}

/// Has the SELinux contexts of all that will be made looked up at once. Where a new user's home will be is guessed: a wrong
/// guess costs another look-up.
fn look_up_labels(plan: &Plan, sources: &Sources) {
    let guess = |name: &str| plan::Account {
        uid: 0,
        gid: 0,
        home: Path::new("/home").join(name),
        shell: "/bin/bash".into(),
    };
    let mut users = Vec::new();
    for user in plan.users.iter().filter(|user| user.makes_keys_file) {
        let account = user.account.clone().unwrap_or_else(|| guess(&user.name));
        users.push((user.name.as_str(), account));
    }
    sources.homes.look_up_labels(&users);
}

/// Makes the changes that are nobody's, side by side: each of them is a program that others need not wait for.
fn change_machine(
    plan: &Plan,
    settings: &settings::Accounts,
    sources: &Sources,
) -> Vec<(MachineChange, anyhow::Result<()>)> {
    let Some((last, others)) = plan.machine.split_last() else {
        return Vec::new();
    };
    let creates = plan.users.iter().any(is_creation) && commands::are_built_in(settings);
    let make = |change| make_machine_change(change, settings, sources);
    thread::scope(|scope| {
        if creates {
            // Who is created then does not wait for the answer. Without the thread they do.
            let ask = || sources.useradd.ask_ahead();
            let _ = thread::Builder::new().spawn_scoped(scope, ask);
        }
        let begin = |change: MachineChange| {
            let thread = thread::Builder::new().spawn_scoped(scope, move || make(change));
            (change, thread)
        };
        let begun: Vec<_> = others.iter().copied().map(begin).collect();
        let last = (*last, make(*last));
        let ended = begun.into_iter().map(|(change, thread)| {
            let result = match thread {
                Ok(thread) => thread
                    .join()
                    .unwrap_or_else(|_| Err(anyhow!("internal error"))),
                Err(error) => Err(error).context("start a thread"),
            };
            (change, result)
        });
        ended.chain([last]).collect()
    })
}

fn make_machine_change(
    change: MachineChange,
    settings: &settings::Accounts,
    sources: &Sources,
) -> anyhow::Result<()> {
    match change {
        MachineChange::CreateSudoersGroup => create_sudoers_group(settings, sources),
        MachineChange::WriteSudoersRule => {
            write_sudoers_rule(&sudoers::contents(&settings.sudoers_rule))
        }
    }
}

/// Creates the group of the managed users, by ourselves where users are created so as well.
fn create_sudoers_group(settings: &settings::Accounts, sources: &Sources) -> anyhow::Result<()> {
    if settings.groupadd_cmd == settings::Accounts::default().groupadd_cmd {
        let Sources { names, useradd, .. } = sources;
        let database = AccountsDatabase::open(names, useradd).map_err(CreateError::from);
        let created = database.and_then(|database| database.create_group(sudoers::GROUP, names));
        match created {
            Err(CreateError::Unsuitable(reason)) => {
                debug!(target: "google-accounts", "The group of administrators is left to groupadd: {reason}.");
            }
            result => return Ok(result?),
        }
    }
    processes::run_successfully(&commands::create_sudoers_group(settings))?;
    Ok(())
}

/// Writes the sudo rule, after visudo(8) has found nothing wrong with it: a bad file takes sudo from everybody.
fn write_sudoers_rule(contents: &str) -> anyhow::Result<()> {
    let attributes = Attributes::mode(sudoers::MODE).owned_by(0, 0);
    if processes::find("visudo").is_some() {
        // On standard input: a message then names no file of a random name, which would make it a new one each time.
        let visudo = Invocation::new("visudo", ["-cf", "/dev/stdin"]).with_input(contents.into());
        processes::run_successfully(&visudo)
            .context("the sudo rule is not valid (Accounts.sudoers_rule)")?;
    }
    let path = Path::new(sudoers::DIRECTORY).join(sudoers::FILE);
    files::replace(&path, contents.as_bytes(), &attributes)
        .with_context(|| format!("write {}", path.display()))
}

/// Makes one user's changes, as many as possible: keys are not held up by the right to sudo, nor is one saved by the other
/// when both are to go. Only without an account, or with half a home, there is nothing to go on with.
fn change_user<'a>(
    user: &'a UserPlan,
    settings: &settings::Accounts,
    sources: &Sources,
    creations: &mut Creations<'_>,
    done: &mut Vec<Step<'a>>,
) -> anyhow::Result<()> {
    let mut result = Ok(());
    for change in &user.changes {
        let made = make_change(user, change, settings, sources, creations);
        let is_basis = matches!(change, UserChange::Create(_) | UserChange::Complete);
        match made {
            Ok(true) => done.push(Step::User(user, change)),
            Ok(false) => {}
            Err(error) if is_basis && user.record.is_some() => return Err(error),
            failed => result = result.and(failed.map(drop)),
        }
    }
    result
}

/// Makes one change; whether there was anything to it.
fn make_change(
    user: &UserPlan,
    change: &UserChange,
    settings: &settings::Accounts,
    sources: &Sources,
    creations: &mut Creations<'_>,
) -> anyhow::Result<bool> {
    let name = &user.name;
    let run = |command: &Invocation| -> anyhow::Result<()> {
        if sources.names.holds_programs_up() {
            bail!(
                "the name service does not answer, and {} would wait for it",
                command.display()
            );
        }
        processes::run_successfully(command)?;
        Ok(())
    };
    match change {
        UserChange::Create(creation) => creations.create(name, creation)?,
        UserChange::Complete => creations.complete(name, &account(name, sources)?)?,
        UserChange::GiveSudo => run(&commands::give_sudo(settings, name))?,
        UserChange::TakeSudo => run(&commands::take_sudo(settings, name))?,
        UserChange::SetKeys { keys } => {
            let known = user.account.clone().or_else(|| creations.account(name));
            let account = known.map_or_else(|| account(name, sources), Ok)?;
            if account.never_logs_in() {
                return Ok(false);
            }
            if user.makes_keys_file {
                // Known by now, but where the home of a new user is not where it was guessed.
                let asked = [(name.as_str(), account.clone())];
                sources.homes.look_up_labels(&asked);
            }
            sources.homes.write(name, &account, keys)?;
        }
        UserChange::RemoveKeysFile => sources.homes.remove(name, &account(name, sources)?)?,
        UserChange::Delete => run(&commands::delete(settings, name))?,
    }
    Ok(true)
}

fn account(name: &str, sources: &Sources) -> anyhow::Result<plan::Account> {
    let found = sources.names.user(name);
    match found.with_context(|| format!("look up user {name}"))? {
        Some(user) => Ok(observe::account(&user)),
        None => bail!("the account does not exist although the commands that create it succeeded"),
    }
}

/// Writes what differs of the ledger's two files.
fn record(ledger: &Ledger) -> anyhow::Result<()> {
    let directory = files::create_directories(Path::new(ledger::DIRECTORY), 0o755)
        .with_context(|| format!("create {}", ledger::DIRECTORY))?;
    let parts = [
        (ledger::RECORDS_FILE, ledger.format_records()),
        (ledger::NAMES_FILE, ledger.format_names()),
    ];
    for (name, contents) in parts {
        let present = directory
            .read(name.as_ref(), u64::MAX - 1)
            .unwrap_or_default();
        if present.unwrap_or_default() != contents {
            let written = directory.replace(name.as_ref(), &contents, &Attributes::mode(0o600));
            written.with_context(|| format!("write {}/{name}", ledger::DIRECTORY))?;
        }
    }
    Ok(())
}
