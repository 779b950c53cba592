//! What the last look at the machine found, so that a change of metadata costs what it changes.
//!
//! A pass over thousands of users reads thousands of files. When one key is added, all of them but one are as the pass
//! before left them. So a pass that comes from a change of metadata looks at those users only whose wanted keys are not the
//! ones that were found or put in place before, and at every user that is to go. This is an optimisation of looking, never
//! of deciding: the plan is made from the whole latest document, and a user that is not looked at is one for which the full
//! look of the same moment would plan nothing, unless somebody has meddled with that user's home meanwhile.
//!
//! Such meddling is what the full look is for. It is made
//!
//! * on every pass that does not come from a change of metadata: the round of every minute, a key's expiry, a retry, SIGHUP;
//! * when the last full look is two minutes ago, however fast metadata changes;
//! * when anything failed before, when the settings, the instance or OS Login changed, when metadata is not whole;
//! * when the files of users, groups, the name service, sudo, sshd or the ledger are not the ones they were ([`Stamp`]).
//!
//! So meddling is healed hardly later than on a machine whose metadata does not change. A restart remembers nothing.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::apply::Outcome;
use super::home::Homes;
use super::keys::DesiredKeys;
use super::observe::{observe, observe_again};
use super::plan::{Observed, Plan};
use super::reading::Changed;
use super::sources::Sources;
use super::{ledger, sudoers};
use crate::config::settings;
use crate::system::files::Stamp;
use crate::system::order::{Map, Set};

/// How long a full look counts, in seconds: somewhat more than the watch of metadata takes to come round when nothing
/// changes, which makes a full look.
const FULL_LOOK_COUNTS: i64 = 120;

/// What one full look, and the changes since, have established.
#[derive(Debug)]
struct Established {
    /// The version of metadata of the last pass.
    version: String,
    /// When the last full look was made, in seconds since 1970.
    looked: i64,
    settings: settings::Accounts,
    stamps: Vec<Stamp>,
    /// The machine, without its users.
    machine: Observed,
    /// The wanted users that are not in line.
    out_of_line: Set<String>,
}

/// What is remembered from pass to pass.
#[derive(Debug, Default)]
pub struct Memory {
    established: Option<Established>,
    /// The look of the pass that is under way.
    pending: Option<Pending>,
    /// Whose keys have changed since the last pass that was learned from.
    changed: Changed,
}

#[derive(Debug)]
struct Pending {
    version: String,
    looked: i64,
    settings: settings::Accounts,
    stamps: Vec<Stamp>,
}

impl Memory {
    /// Takes in whose keys a new reading of metadata has changed.
    pub fn note(&mut self, changed: Changed) {
        self.changed.add(changed);
    }

    /// Reads what the plan needs to know: of all users, or of those only that can need something.
    ///
    /// The second value says what was wrong with the ledger, for the log.
    ///
    /// # Errors
    /// Those of [`observe`].
    pub fn observe(
        &mut self,
        desired: &DesiredKeys,
        settings: &settings::Accounts,
        instance_id: Option<String>,
        sources: &Sources,
        version: &str,
        now: Timestamp,
    ) -> io::Result<(Observed, Vec<String>)> {
        let now = now.as_second();
        // Before anything is read: a change after this moment shows the next time.
        let stamps = stamps(&sources.homes, now);
        let usable = self.established.take().filter(|established| {
            established.version != version
                && (0..FULL_LOOK_COUNTS).contains(&(now - established.looked))
                && established.settings == *settings
                && established.machine.instance_id == instance_id
                && established.stamps == stamps
                && desired.complete
        });
        let (observed, problems, looked) = match usable.zip(self.changed.users()) {
            Some((established, changed)) => {
                let names = to_look_at(
                    desired,
                    changed,
                    &established.out_of_line,
                    &established.machine,
                );
                let observed = observe_again(names, settings, sources, established.machine);
                (observed, Vec::new(), established.looked)
            }
            None => {
                let (observed, problems) =
                    observe(desired.users.keys(), settings, instance_id, sources)?;
                (observed, problems, now)
            }
        };
        let is_sound = problems.is_empty() && stamps.iter().all(Stamp::is_settled);
        self.pending = is_sound.then(|| Pending {
            version: version.to_owned(),
            looked,
            settings: settings.clone(),
            stamps,
        });
        Ok((observed, problems))
    }

    /// Takes in what came of the pass. A user with whom something went wrong is looked at the next time; anything else
    /// that went wrong is a reason to look at everything then.
    pub fn learn(
        &mut self,
        desired: &DesiredKeys,
        observed: Observed,
        plan: &Plan,
        outcome: &Outcome<'_>,
    ) {
        let pending = self.pending.take();
        self.changed = Changed::default();
        let users: Set<&String> = plan.users.iter().map(|user| &user.name).collect();
        let mut failures = outcome.failures.iter();
        let is_sound = desired.complete
            && observed.sudoers_unknown.is_none()
            && failures.all(|(name, _)| users.contains(name));
        let failed = outcome.failures.iter().map(|(name, _)| name);
        self.established = pending.filter(|_| is_sound).map(|pending| Established {
            version: pending.version,
            looked: pending.looked,
            settings: pending.settings,
            stamps: pending.stamps,
            machine: Observed {
                users: Map::new(),
                ..observed
            },
            out_of_line: out_of_line(plan, failed),
        });
    }

    /// Forgets everything: the next pass looks at everything.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

/// The users that are not in line after a pass in which these failed.
fn out_of_line<'a>(plan: &'a Plan, failed: impl Iterator<Item = &'a String>) -> Set<String> {
    let planned = plan.blocked.keys().chain(plan.refused.keys());
    planned.chain(failed).cloned().collect()
}

/// The users that can need something: those whose wanted keys changed since the last pass, which may be to none at all,
/// and those who were not in line after it.
fn to_look_at(
    desired: &DesiredKeys,
    changed: &Set<String>,
    out_of_line: &Set<String>,
    machine: &Observed,
) -> Set<String> {
    let ledger = &machine.ledger;
    let is_known =
        |name: &&String| desired.users.contains_key(*name) || ledger.users.contains_key(*name);
    let known = changed.iter().chain(out_of_line).filter(is_known);
    known.chain(&ledger.creating).cloned().collect()
}

/// The stamps of everything that a full look reads, but of homes.
fn stamps(homes: &Homes, now: i64) -> Vec<Stamp> {
    let sudoers = Path::new(sudoers::DIRECTORY);
    let ledger = Path::new(ledger::DIRECTORY);
    let paths = [
        PathBuf::from("/etc/nsswitch.conf"),
        sudoers.to_path_buf(),
        sudoers.join(sudoers::FILE),
        ledger.join(ledger::NAMES_FILE),
        ledger.join(ledger::RECORDS_FILE),
    ];
    let own = paths.iter().map(|path| Stamp::of(path, now));
    own.chain(homes.stamps().iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::authorized_keys;
    use crate::accounts::keys::{Key, Source};
    use crate::accounts::ledger::{Origin, Record};
    use std::sync::Arc;

    use crate::accounts::plan::{Account, KeysFile, UserChange, UserState, plan};
    use proptest::prelude::*;

    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

    /// A user as the test makes it up: whether there is an account, its sudo right, our keys in the file, or a file that
    /// cannot be used.
    type User = (bool, bool, Option<Vec<u8>>);

    fn desired(wanted: &[Vec<u8>]) -> DesiredKeys {
        let key = |number: &u8| Key {
            line: format!("key{number}"),
            expires: None,
            source: Source::Instance,
        };
        let users = NAMES
            .iter()
            .zip(wanted)
            .filter(|(_, keys)| !keys.is_empty());
        DesiredKeys {
            users: users
                .map(|(name, keys)| ((*name).to_owned(), keys.iter().map(key).collect()))
                .collect(),
            complete: true,
            ..DesiredKeys::default()
        }
    }

    fn state(user: &User) -> UserState {
        let (exists, in_sudoers, keys) = user;
        if !exists {
            return UserState::Missing {
                group: Default::default(),
                left_home: None,
            };
        }
        let keys = match keys {
            None => KeysFile::Refused("a link".into()),
            Some(keys) => {
                let lines: Vec<String> = keys
                    .iter()
                    .map(|key| format!("# Added by Google\nkey{key}\n"))
                    .collect();
                KeysFile::Contents(lines.concat().into_bytes())
            }
        };
        let account = Account {
            uid: 1000,
            gid: 1000,
            home: "/home/x".into(),
            shell: "/bin/sh".into(),
        };
        UserState::Present {
            account,
            in_sudoers: *in_sudoers,
            keys,
        }
    }

    fn machine(users: &[User], recorded: &[bool]) -> Observed {
        let mut observed = Observed {
            sudoers_group: true,
            users: NAMES
                .iter()
                .zip(users)
                .map(|(name, user)| ((*name).to_owned(), state(user)))
                .collect(),
            ledger_is_recorded: true,
            ..Observed::default()
        };
        for (name, recorded) in NAMES.iter().zip(recorded) {
            if *recorded {
                let record = Record {
                    origin: Origin::Created,
                    sudo_given: true,
                };
                Arc::make_mut(&mut observed.ledger)
                    .users
                    .insert((*name).to_owned(), record);
            }
        }
        observed
    }

    /// The users of a plan whose files cannot be used, so that it fails for them.
    fn failing(plan: &Plan, observed: &Observed) -> Set<String> {
        let is_refused = |name: &String| {
            let state = observed.users.get(name);
            matches!(
                state,
                Some(UserState::Present {
                    keys: KeysFile::Refused(_),
                    ..
                })
            )
        };
        let names = plan.users.iter().map(|user| &user.name);
        names.filter(|name| is_refused(name)).cloned().collect()
    }

    /// The machine after everything that can succeed has.
    fn after(plan: &Plan, found: &Observed) -> Observed {
        let mut machine = found.clone();
        machine.ledger = plan.ledger.clone();
        let failing = failing(plan, found);
        for user in &plan.users {
            let fails = failing.contains(&user.name);
            let ledger = Arc::make_mut(&mut machine.ledger);
            match user.record {
                Some(record) => drop(ledger.users.insert(user.name.clone(), record)),
                None if fails => {}
                None => drop(ledger.users.remove(&user.name)),
            }
            let made = (true, false, Some(Vec::new()));
            let name = user.name.clone();
            let state = machine.users.get_or_insert_with(name, || state(&made));
            if matches!(state, UserState::Missing { .. }) {
                *state = self::state(&made);
            }
            let UserState::Present {
                in_sudoers, keys, ..
            } = state
            else {
                continue;
            };
            for change in &user.changes {
                match (change, &mut *keys) {
                    (UserChange::Create(_) | UserChange::GiveSudo, _) => *in_sudoers = true,
                    (UserChange::TakeSudo, _) => *in_sudoers = false,
                    (UserChange::SetKeys { keys: lines }, KeysFile::Contents(bytes)) => {
                        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                        *bytes = authorized_keys::edit(bytes, &lines).unwrap_or(bytes.clone());
                    }
                    (UserChange::RemoveKeysFile, KeysFile::Contents(bytes)) => bytes.clear(),
                    _ => {}
                }
            }
        }
        machine
    }

    fn users() -> impl Strategy<Value = Vec<User>> {
        let keys = prop::option::weighted(0.8, prop::collection::vec(0..3_u8, 0..3));
        prop::collection::vec((any::<bool>(), any::<bool>(), keys), NAMES.len())
    }

    fn wanted() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(0..3_u8, 0..3), NAMES.len())
    }

    proptest! {
        /// The heart of it: on a machine that nobody meddled with, looking at less plans the same, pass after pass.
        #[test]
        fn looking_at_less_never_plans_anything_else(
            users in users(),
            recorded in prop::collection::vec(any::<bool>(), NAMES.len()),
            documents in prop::collection::vec(wanted(), 2..5),
        ) {
            let settings = settings::Accounts::default();
            let mut found = machine(&users, &recorded);
            let mut known: Option<(DesiredKeys, Set<String>)> = None;
            for document in &documents {
                let desired = desired(document);
                let full = plan(&desired, &settings, &found);
                if let Some((before, out_of_line)) = known {
                    let is_other = |name: &&str| before.users.get(*name) != desired.users.get(*name);
                    let changed = NAMES.iter().copied().filter(is_other).map(String::from).collect();
                    let names = to_look_at(&desired, &changed, &out_of_line, &found);
                    let mut less = found.clone();
                    less.users.retain(|name, _| names.contains(name));
                    less.partial = true;
                    let partial = plan(&desired, &settings, &less);
                    prop_assert_eq!(&partial, &full);
                }
                let failing = failing(&full, &found);
                found = after(&full, &found);
                known = Some((desired, out_of_line(&full, failing.iter())));
            }
        }
    }
}
