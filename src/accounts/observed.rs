//! The machine as far as accounts are concerned, as [`super::observe`] finds it. Only types: what a plan is made from.

use std::path::PathBuf;
use std::sync::Arc;

use super::ledger::Ledger;
use crate::system::order::{Map, Set};

/// The machine as it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The ledger, as read. It is shared, since it can be large and hardly ever changes.
    pub ledger: Arc<Ledger>,
    /// The id of this instance, where metadata says it.
    pub instance_id: Option<String>,
    /// Whether the sudoers group exists.
    pub sudoers_group: bool,
    /// Who is in it.
    pub sudoers: Set<String>,
    /// Why neither of both is known: the name service could not be asked.
    pub sudoers_unknown: Option<String>,
    /// The sudo rule.
    pub sudoers_rule: SudoersRule,
    /// Which of the configured groups exist, in the order of the configuration; looked up where a user is new.
    pub groups: Vec<String>,
    /// Why that is not known of all of them: the name service could not be asked.
    pub groups_unknown: Option<String>,
    /// Whether OS Login has taken over, so that users go without their accounts being deleted (spec/core.md SEC 10).
    pub oslogin: bool,
    /// Every user that metadata or the ledger names.
    pub users: Map<String, UserState>,
    /// Whether users are left out of `users` that are in line, as the last look found them.
    pub partial: bool,
    /// Whether the files of the ledger say exactly this.
    pub ledger_is_recorded: bool,
}

impl Observed {
    /// The account of a user, where there is one.
    #[must_use]
    pub fn account(&self, name: &str) -> Option<Account> {
        match self.users.get(name) {
            Some(UserState::Present { account, .. }) => Some(account.clone()),
            _ => None,
        }
    }

    /// Whether keys of this user would go into a file that is not there yet.
    pub(super) fn lacks_keys_file(&self, name: &str) -> bool {
        match self.users.get(name) {
            Some(UserState::Missing { .. }) => true,
            Some(UserState::Present { account, keys, .. }) => {
                *keys == KeysFile::Absent && !account.never_logs_in()
            }
            Some(UserState::Unavailable(_)) | None => false,
        }
    }
}

/// The sudo rule as it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SudoersRule {
    /// The directory is missing: sudo is not installed, or reads its rules elsewhere.
    #[default]
    NoDirectory,
    /// No file of that name.
    Absent,
    /// What the file says, and whether it is root's with the mode that sudo demands.
    Contents {
        /// The bytes.
        bytes: Vec<u8>,
        /// Whether owner and mode are right.
        sound: bool,
    },
}

/// A user as the name service and the home directory show them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserState {
    /// No source of the name service knows the name.
    Missing {
        /// A group of the same name.
        group: NameClash,
        /// User and group id of a home directory that is left of an earlier account, where it may be reused.
        left_home: Option<(u32, u32)>,
    },
    /// The name service could not be asked, which is not the same.
    Unavailable(String),
    /// The account is there.
    Present {
        /// Its entry.
        account: Account,
        /// Whether it is in the sudoers group; so it is said where that is not known.
        in_sudoers: bool,
        /// Its `authorized_keys`.
        keys: KeysFile,
    },
}

/// What a group of a new user's name means for the account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameClash {
    /// There is none: the account gets a group of its own.
    #[default]
    None,
    /// There is one without rights and members: it becomes the account's primary group.
    Unused,
    /// There is one that means something: the account gets the system's default group instead.
    Taken,
}

/// What is needed of an account's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user id.
    pub uid: u32,
    /// The primary group id.
    pub gid: u32,
    /// The home directory.
    pub home: PathBuf,
    /// The login shell.
    pub shell: PathBuf,
}

impl Account {
    /// Whether keys are left alone: on EL the account `operator` has root's home (spec/core.md 6.5).
    #[must_use]
    pub fn never_logs_in(&self) -> bool {
        self.shell.file_name().is_some_and(|name| name == "nologin")
    }
}

/// An `authorized_keys` file as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysFile {
    /// There is none.
    Absent,
    /// What it says.
    Contents(Vec<u8>),
    /// It will not be touched; the text says why and what to do.
    Refused(String),
}
