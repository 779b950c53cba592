//! Reading the machine as far as accounts are concerned. Changes nothing.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::ledger::{self, Ledger};
use super::plan::{Account, KeysFile, NameClash, Observed, SudoersRule, UserState};
use super::sources::Sources;
use super::sudoers;
use crate::config::settings;
use crate::system::files::{self, Directory};
use crate::system::local_users::LocalUsers;
use crate::system::name_service::NameService;
use crate::system::order::{Map, Set};
use crate::system::users::{Group, User};

/// The largest state file that is read, in bytes.
const SIZE_LIMIT: u64 = 16 * 1024 * 1024;

/// Where useradd(8) makes homes, for homes that are reused (spec/beyond.md 5, `reuse_homedir`).
const HOMES: &str = "/home";

/// The first id of ordinary users and groups: UID_MIN and GID_MIN of every distribution (login.defs(5)).
const LOWEST_ORDINARY_ID: u32 = 1000;

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
    sources: &Sources,
) -> io::Result<(Observed, Vec<String>)> {
    let (ledger, ledger_is_recorded, problems) = read_ledger()?;
    let mut names: Set<String> = wanted.cloned().collect();
    names.extend(ledger.users.keys().chain(&ledger.creating).cloned());
    let mut observed = Observed {
        instance_id,
        sudoers_rule: read_sudoers_rule()?,
        ledger: Arc::new(ledger),
        ledger_is_recorded,
        ..Observed::default()
    };
    match sources.names.group(sudoers::GROUP) {
        Ok(Some(group)) => {
            observed.sudoers_group = true;
            observed.sudoers = group.members.into_iter().collect();
        }
        Ok(None) => {}
        Err(error) => observed.sudoers_unknown = Some(error.to_string()),
    }
    observed.users = Users::look_up(names, settings, sources, &observed);
    observed.look_up_groups(settings, &sources.names);
    Ok((observed, problems))
}

impl Observed {
    /// Which of the configured groups exist. They are for new users only.
    fn look_up_groups(&mut self, settings: &settings::Accounts, names: &NameService) {
        let is_new = |user: &UserState| matches!(user, UserState::Missing { .. });
        if !self.users.values().any(is_new) {
            return;
        }
        self.groups.clear();
        self.groups_unknown = None;
        for name in &settings.groups {
            match names.group(name) {
                Ok(Some(_)) => self.groups.push(name.clone()),
                Ok(None) => {}
                Err(error) => self.groups_unknown = Some(error.to_string()),
            }
        }
    }
}

/// Looks again at some users only, on a machine that is otherwise as `before` (see [`super::memory`]).
#[must_use]
pub(super) fn observe_again(
    names: Set<String>,
    settings: &settings::Accounts,
    sources: &Sources,
    before: Observed,
) -> Observed {
    let mut observed = Observed {
        users: Users::look_up(names, settings, sources, &before),
        partial: true,
        ..before
    };
    observed.look_up_groups(settings, &sources.names);
    observed
}

/// Reads the ledger's two files: what they say, whether we would write exactly the same, and what is wrong with them.
fn read_ledger() -> io::Result<(Ledger, bool, Vec<String>)> {
    let directory = Path::new(ledger::DIRECTORY);
    let read = |name: &str| {
        let path = directory.join(name);
        let bytes = files::read(&path, SIZE_LIMIT).map_err(|error| naming(&path, &error))?;
        Ok::<_, io::Error>(bytes.unwrap_or_default())
    };
    let (names, records) = (read(ledger::NAMES_FILE)?, read(ledger::RECORDS_FILE)?);
    let (ledger, problems) = Ledger::parse(&names, &records);
    let is_recorded = ledger.format_names() == names && ledger.format_records() == records;
    Ok((ledger, is_recorded, problems))
}

/// The same error with the path in its message.
fn naming(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn read_sudoers_rule() -> io::Result<SudoersRule> {
    let directory = Path::new(sudoers::DIRECTORY);
    if !directory.is_dir() {
        return Ok(SudoersRule::NoDirectory);
    }
    let directory = Directory::open(directory)?;
    let Some(status) = directory.status_of(sudoers::FILE.as_ref())? else {
        return Ok(SudoersRule::Absent);
    };
    let bytes = directory
        .read(sudoers::FILE.as_ref(), SIZE_LIMIT)
        .map_err(|error| naming(&directory.path().join(sudoers::FILE), &error))?
        .unwrap_or_default();
    let sound =
        status.st_mode & 0o7777 == sudoers::MODE && (status.st_uid, status.st_gid) == (0, 0);
    Ok(SudoersRule::Contents { bytes, sound })
}

/// What users are looked up with.
struct Users<'a> {
    local: LocalUsers,
    settings: &'a settings::Accounts,
    sources: &'a Sources,
    /// The rest of the machine, of which the sudoers count here.
    machine: &'a Observed,
}

impl<'a> Users<'a> {
    fn look_up(
        names: Set<String>,
        settings: &'a settings::Accounts,
        sources: &'a Sources,
        machine: &'a Observed,
    ) -> Map<String, UserState> {
        let this = Self {
            local: LocalUsers::read_for(names.len()),
            settings,
            sources,
            machine,
        };
        let state = |name: String| {
            let state = this.state(&name);
            (name, state)
        };
        let mut users: Map<String, UserState> = names.into_iter().map(state).collect();
        let (mut accounts, mut files) = (Vec::new(), Vec::new());
        for (name, user) in &mut users {
            if let UserState::Present { account, keys, .. } = user
                && !account.never_logs_in()
            {
                accounts.push((name.as_str(), &*account));
                files.push(keys);
            }
        }
        for (file, found) in files.into_iter().zip(sources.homes.read_each(&accounts)) {
            *file = found;
        }
        users
    }

    /// The state of a user but the keys, which are read of all users together.
    fn state(&self, name: &str) -> UserState {
        let (names, machine) = (&self.sources.names, self.machine);
        let found = match self.local.get(name) {
            Some(user) => Ok(Some(user)),
            None => names.user(name),
        };
        match found {
            Ok(Some(user)) => UserState::Present {
                account: account(&user),
                // Where that is not known, the right to sudo is neither given nor forgotten.
                in_sudoers: machine.sudoers_unknown.is_some() || machine.sudoers.contains(name),
                keys: KeysFile::Absent,
            },
            Ok(None) => match names.group(name) {
                Ok(group) => UserState::Missing {
                    group: clash(group.as_ref()),
                    left_home: (self.settings.reuse_homedir)
                        .then(|| left_home(name, names))
                        .flatten(),
                },
                Err(error) => UserState::Unavailable(error.to_string()),
            },
            Err(error) => UserState::Unavailable(error.to_string()),
        }
    }
}

/// What a group of a new user's name means: one of an earlier account is as good as none, any other has its meaning.
fn clash(group: Option<&Group>) -> NameClash {
    match group {
        None => NameClash::None,
        Some(group) if group.gid >= LOWEST_ORDINARY_ID && group.members.is_empty() => {
            NameClash::Unused
        }
        Some(_) => NameClash::Taken,
    }
}

/// The owner of a home directory of this name, where its id is an ordinary one that nobody has.
fn left_home(name: &str, names: &NameService) -> Option<(u32, u32)> {
    let status = Directory::open(Path::new(HOMES))
        .ok()?
        .status_of(name.as_ref())
        .ok()??;
    let is_directory = status.st_mode & 0o170_000 == 0o040_000;
    let is_free = is_directory
        && status.st_uid >= LOWEST_ORDINARY_ID
        && !names.is_used(status.st_uid).ok()?;
    is_free.then_some((status.st_uid, status.st_gid))
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
