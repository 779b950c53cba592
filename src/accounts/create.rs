//! Creating users: all at once where the machine allows it, else by one `useradd` each.
//!
//! docs/accounts.md says when which of the two is used, and why.

use anyhow::Context;
use log::{Level, log};

use super::plan::{self, Creation, NameClash, Plan, UserChange, UserPlan};
use super::sources::Sources;
use super::{commands, sudoers};
use crate::config::settings;
use crate::system::accounts_database::{
    Account, AccountsDatabase, CreateError, NewUser, Unsuitable,
};
use crate::system::order::{Map, Set};
use crate::system::{processes, time};

/// From how many new users on the log says why they are created one by one: it takes seconds then.
const MANY: usize = 10;

/// The shell of new users, as in the predecessors' command.
const SHELL: &str = "/bin/bash";

/// The creations of one plan.
pub(super) struct Creations<'a> {
    settings: &'a settings::Accounts,
    sources: &'a Sources,
    /// Users whose creation an earlier run began and did not end.
    resumed: &'a Set<String>,
    /// Those that can be created at once, until that was tried.
    together: Map<&'a str, &'a Creation>,
    database: Option<Result<AccountsDatabase, Unsuitable>>,
    made: Map<String, Account>,
    lost: Set<String>,
    begun: bool,
    failure: Option<anyhow::Error>,
}

impl<'a> Creations<'a> {
    /// The creations of a plan but those of `postponed` users.
    pub(super) fn new(
        plan: &'a Plan,
        settings: &'a settings::Accounts,
        postponed: &Set<String>,
        sources: &'a Sources,
    ) -> Self {
        let resumed = &plan.ledger.creating;
        let built_in = commands::are_built_in(settings);
        let mut together = Map::new();
        let can_be = |user: &&UserPlan| built_in && !postponed.contains(&user.name);
        for user in plan.users.iter().filter(can_be) {
            if let Some(UserChange::Create(creation)) = user.changes.first() {
                let is_plain = creation.clash == NameClash::None
                    || creation.clash == NameClash::Unused && resumed.contains(&user.name);
                if is_plain && creation.ids.is_none() {
                    together.insert(user.name.as_str(), creation);
                }
            }
        }
        Self {
            settings,
            sources,
            resumed,
            together,
            database: None,
            made: Map::new(),
            lost: Set::new(),
            begun: false,
            failure: None,
        }
    }

    /// Creates all that can be created together, at the first call.
    pub(super) fn create_together(&mut self) {
        let together = std::mem::take(&mut self.together);
        if together.is_empty() {
            return;
        }
        let user = |(name, creation): (&&str, &&Creation)| NewUser {
            name: (*name).to_owned(),
            shell: SHELL.into(),
            groups: groups(creation),
        };
        let users: Vec<NewUser> = together.iter().map(user).collect();
        let day = time::now().as_second().div_euclid(86_400);
        let (resumed, names) = (self.resumed, &self.sources.names);
        // Thousands of free ids are asked for, and looking may have taken all the time that a pass has.
        names.begin();
        let created = match self.database() {
            Ok(database) => database.create(&users, resumed, day, names),
            Err(unsuitable) => Err(unsuitable.clone().into()),
        };
        match created {
            Ok(created) => {
                self.made = created.accounts;
                if let Some((lost, error)) = created.unasked {
                    self.lost = lost;
                    self.failure = Some(
                        anyhow::Error::new(error).context("the name service could not be asked"),
                    );
                }
            }
            Err(CreateError::Unsuitable(reason)) => {
                let level = match users.len() {
                    MANY.. => Level::Info,
                    _ => Level::Debug,
                };
                log!(target: "google-accounts", level, "{} users are created one by one: {reason}.", users.len());
            }
            Err(error) => {
                self.begun = matches!(error, CreateError::Failed { begun: true, .. });
                self.lost = users.into_iter().map(|user| user.name).collect();
                self.failure = Some(error.into());
            }
        }
    }

    /// Whether this user's creation has failed together with others'.
    pub(super) fn is_lost(&self, name: &str) -> bool {
        self.lost.contains(name)
    }

    /// Whether something of this user may be there although the account is not.
    pub(super) fn has_leftovers(&self, name: &str) -> bool {
        self.lost.contains(name) && (self.begun || self.resumed.contains(name))
    }

    /// Why users were lost, and which.
    pub(super) fn failure(self) -> Option<(String, anyhow::Error)> {
        let first = self.lost.iter().next()?;
        let who = match self.lost.len() {
            1 => first.clone(),
            count => format!("users {first} and {} more", count - 1),
        };
        Some((who, self.failure?))
    }

    /// Creates one user, or what is missing of one that was created together with others.
    pub(super) fn create(&mut self, name: &str, creation: &Creation) -> anyhow::Result<()> {
        if let Some(account) = self.made.get(name).cloned() {
            return self.make_home(name, &account);
        }
        for command in commands::create(self.settings, name, creation) {
            processes::run_successfully(&command)?;
        }
        Ok(())
    }

    /// Makes the home of an account whose creation was cut short, where it is not whole.
    pub(super) fn complete(&mut self, name: &str, account: &plan::Account) -> anyhow::Result<()> {
        let account = Account {
            uid: account.uid,
            gid: account.gid,
            home: account.home.clone(),
        };
        self.make_home(name, &account)
    }

    /// The account of a user that was created together with others.
    pub(super) fn account(&self, name: &str) -> Option<plan::Account> {
        self.made.get(name).map(|account| plan::Account {
            uid: account.uid,
            gid: account.gid,
            home: account.home.clone(),
            shell: SHELL.into(),
        })
    }

    fn make_home(&mut self, name: &str, account: &Account) -> anyhow::Result<()> {
        let Ok(database) = self.database() else {
            return Ok(());
        };
        let made = database.make_home(name, account);
        made.with_context(|| format!("make the home {}", account.home.display()))
    }

    fn database(&mut self) -> &Result<AccountsDatabase, Unsuitable> {
        let Sources { names, useradd, .. } = self.sources;
        self.database
            .get_or_insert_with(|| AccountsDatabase::open(names, useradd))
    }
}

/// The supplementary groups of a new user.
fn groups(creation: &Creation) -> Vec<String> {
    let mut groups = creation.groups.clone();
    groups.extend(creation.sudo.then(|| sudoers::GROUP.to_owned()));
    groups
}
