//! Reading the machine as far as accounts are concerned. Changes nothing.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::home;
use super::ledger::{self, Ledger};
use super::plan::{Account, KeysFile, Observed, SudoersRule, UserState};
use super::sudoers;
use crate::config::settings;
use crate::system::files;
use crate::system::users::{self, User};

/// The largest state file that is read, in bytes.
const SIZE_LIMIT: u64 = 16 * 1024 * 1024;

/// Reads what the plan needs to know about `wanted` users, those of the ledger, and the machine.
///
/// The second value says what was wrong with the ledger, for the log.
///
/// # Errors
/// The ledger or the sudo rule is there and cannot be read: to go on would be to forget who is managed.
pub fn observe<'a>(
    wanted: impl Iterator<Item = &'a String>,
    settings: &settings::Accounts,
    instance_id: Option<String>,
) -> io::Result<(Observed, Vec<String>)> {
    let (ledger, problems) = read_ledger()?;
    let mut names: BTreeSet<String> = wanted.cloned().collect();
    names.extend(ledger.users.keys().chain(&ledger.creating).cloned());
    let (sudoers_group, members) = match users::group(sudoers::GROUP) {
        Ok(group) => (
            group.is_some(),
            group.map(|group| group.members).unwrap_or_default(),
        ),
        // Without an answer nothing is created; adding a user to the group will say what is wrong.
        Err(_) => (true, Vec::new()),
    };
    let members: BTreeSet<String> = members.into_iter().collect();
    let observed = Observed {
        instance_id,
        sudoers_group,
        sudoers_rule: read_sudoers_rule()?,
        groups: settings
            .groups
            .iter()
            .filter(|name| matches!(users::group(name), Ok(Some(_))))
            .cloned()
            .collect(),
        users: names
            .into_iter()
            .map(|name| (name.clone(), look_up(&name, &members)))
            .collect(),
        ledger,
    };
    Ok((observed, problems))
}

/// Reads the ledger's two files.
fn read_ledger() -> io::Result<(Ledger, Vec<String>)> {
    let directory = Path::new(ledger::DIRECTORY);
    let names = files::read(&directory.join(ledger::NAMES_FILE), SIZE_LIMIT)?.unwrap_or_default();
    let records =
        files::read(&directory.join(ledger::RECORDS_FILE), SIZE_LIMIT)?.unwrap_or_default();
    Ok(Ledger::parse(&names, &records))
}

fn read_sudoers_rule() -> io::Result<SudoersRule> {
    let directory = Path::new(sudoers::DIRECTORY);
    if !directory.is_dir() {
        return Ok(SudoersRule::NoDirectory);
    }
    let contents = files::read(&directory.join(sudoers::FILE), SIZE_LIMIT)?;
    Ok(contents.map_or(SudoersRule::Absent, SudoersRule::Contents))
}

fn look_up(name: &str, sudoers: &BTreeSet<String>) -> UserState {
    match users::user(name) {
        Ok(None) => UserState::Missing,
        Ok(Some(user)) => {
            let account = account(&user);
            let keys = if account.never_logs_in() {
                KeysFile::Absent
            } else {
                home::read(&account)
            };
            UserState::Present {
                account,
                in_sudoers: sudoers.contains(name),
                keys,
            }
        }
        Err(error) => UserState::Unavailable(error.to_string()),
    }
}

/// What the plan needs of a name service's entry.
#[must_use]
pub fn account(user: &User) -> Account {
    Account {
        uid: user.uid,
        gid: user.gid,
        home: user.home.clone(),
        shell: user.shell.clone(),
    }
}
