//! What to change about accounts. Pure: (keys wanted, settings, observed state) -> typed changes.
//!
//! The plan is made per user, so that whatever fails costs that user alone. It is made from the whole latest document and
//! the machine as it is: there is no memory of earlier passes but the ledger.

use std::sync::Arc;

use super::authorized_keys;
use super::keys::{DesiredKeys, LineError, Source};
use super::ledger::{Ledger, Origin, Record};
pub use super::observed::{Account, KeysFile, NameClash, Observed, SudoersRule, UserState};
use super::sudoers;
use crate::config::settings;
use crate::system::order::{InOrder, Map};

/// Everything to do, in this order: the machine, then the users, then the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Changes that concern all users.
    pub machine: Vec<MachineChange>,
    /// Changes per user: those that only need keys first, since they are quick.
    pub users: Vec<UserPlan>,
    /// Users that cannot be brought in line now, or what else in words that are no user name, with the reason. They are
    /// tried again.
    pub blocked: Map<String, String>,
    /// Users that will not be brought in line, with the reason: the configuration says so.
    pub refused: Map<String, String>,
    /// The ledger as it is before any of this; the records of `users` are added as they succeed.
    pub ledger: Arc<Ledger>,
    /// Whether the files of the ledger say exactly what `ledger` does.
    pub ledger_is_recorded: bool,
    /// Something worth a line in the log, once.
    pub notices: Vec<String>,
}

impl Plan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.machine.is_empty() && self.users.iter().all(|user| user.changes.is_empty())
    }
}

/// A change that concerns all users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineChange {
    /// Create the group of the managed users.
    CreateSudoersGroup,
    /// Write the sudo rule of that group.
    WriteSudoersRule,
}

/// What one user needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPlan {
    /// The user's name.
    pub name: String,
    /// The changes, in order; empty when only the ledger's record changes.
    pub changes: Vec<UserChange>,
    /// The record in the ledger after all of them succeeded; `None` takes the user out of it.
    pub record: Option<Record>,
    /// The metadata key that wants it so; `None` when the user is in none any more.
    pub cause: Option<Source>,
    /// The account as it was found, if there is one.
    pub account: Option<Account>,
    /// Whether keys go into a file that was not there yet.
    pub makes_keys_file: bool,
}

/// One change to one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserChange {
    /// Create the account.
    Create(Creation),
    /// Complete an account whose creation was cut short: its home may not be whole.
    Complete,
    /// Put the user into the sudoers group.
    GiveSudo,
    /// Let the file hold exactly these keys of ours; foreign lines stay.
    SetKeys {
        /// Whole key lines.
        keys: Vec<String>,
    },
    /// Take the user out of the sudoers group.
    TakeSudo,
    /// Remove the file, as the founding document says for accounts that we created.
    RemoveKeysFile,
    /// Delete the account and its home.
    Delete,
}

/// How an account is created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Creation {
    /// Supplementary groups: existing ones of the configuration.
    pub groups: Vec<String>,
    /// Whether it joins the sudoers group.
    pub sudo: bool,
    /// What a group of the same name means for it.
    pub clash: NameClash,
    /// The ids of a home directory that is reused.
    pub ids: Option<(u32, u32)>,
}

/// Groups whose members can become root, or read what root keeps (CVE-2020-8903, -8907 and -8933 among them): not for
/// users without sudo.
const AS_GOOD_AS_ROOT: [&str; 12] = [
    "adm",
    "disk",
    "docker",
    "incus-admin",
    "kmem",
    "libvirt",
    "lxd",
    "root",
    "shadow",
    "sudo",
    "systemd-journal",
    "wheel",
];

/// Plans all changes about accounts.
#[must_use]
pub fn plan(desired: &DesiredKeys, settings: &settings::Accounts, observed: &Observed) -> Plan {
    let mut plan = Plan {
        ledger: Arc::clone(&observed.ledger),
        ..Plan::default()
    };
    if !desired.complete {
        plan.notices
            .push("metadata is incomplete; users stay as they are until it is whole again".into());
        return plan;
    }
    plan.adopt_ledger(observed.instance_id.as_deref());
    if !desired.users.is_empty() {
        plan.machine = machine_changes(settings, observed);
    }
    let records = if observed.partial {
        plan.ledger.records_of(observed.users.keys())
    } else {
        plan.ledger.records()
    };
    plan.provide(desired, &records, settings, observed);
    plan.withdraw(desired, &records, settings, observed);
    if let Some(reason) = &observed.sudoers_unknown
        && !desired.users.is_empty()
    {
        let group = format!("group {}", sudoers::GROUP);
        plan.blocked.insert(group, unasked(reason));
    }
    plan.ledger_is_recorded = observed.ledger_is_recorded && plan.ledger == observed.ledger;
    let ledger = &plan.ledger;
    let is_recorded = |user: &UserPlan| ledger.says(&user.name, user.record.as_ref());
    plan.users
        .retain(|user| !user.changes.is_empty() || !is_recorded(user));
    plan.users
        .put_in_order_by(|user| matches!(user.changes.first(), Some(UserChange::Create(_))));
    plan
}

impl Plan {
    /// Plans what every wanted user needs.
    fn provide(
        &mut self,
        desired: &DesiredKeys,
        records: &Map<String, Record>,
        settings: &settings::Accounts,
        observed: &Observed,
    ) {
        let mut looked_at = observed.users.keys();
        let mut everybody = desired.users.iter();
        let wanted = std::iter::from_fn(|| {
            if observed.partial {
                looked_at.find_map(|name| Some((name, desired.users.get(name)?)))
            } else {
                everybody.next()
            }
        });
        for (name, keys) in wanted {
            if settings.ignore_users.contains(name) {
                continue;
            }
            if name == "root" && !settings.allow_root {
                let reason = "keys for root are not honoured (Accounts.allow_root is false)";
                self.refused.insert(name.clone(), reason.into());
                continue;
            }
            let lines = keys.iter().map(|key| key.line.clone()).collect();
            match provision(name, lines, records.get(name), settings, observed) {
                Ok((changes, record)) => self.users.push(UserPlan {
                    name: name.clone(),
                    changes,
                    record: Some(record),
                    cause: keys.first().map(|key| key.source),
                    account: observed.account(name),
                    makes_keys_file: observed.lacks_keys_file(name),
                }),
                Err(reason) => {
                    self.blocked.insert(name.clone(), reason);
                }
            }
        }
    }

    /// Plans what is to be taken back from every user of the ledger that is not wanted any more.
    fn withdraw(
        &mut self,
        desired: &DesiredKeys,
        records: &Map<String, Record>,
        settings: &settings::Accounts,
        observed: &Observed,
    ) {
        for (name, record) in records {
            let wanted = desired.users.contains_key(name) && !self.refused.contains_key(name);
            if wanted || settings.ignore_users.contains(name) {
                continue;
            }
            // A line that is there and cannot be used may be a slip: it revokes, and deletes nobody.
            let is_named = desired.problems.iter().any(|problem| {
                problem.user.as_ref() == Some(name) && problem.reason != LineError::Expired
            });
            let delete = settings.deprovision_remove && !is_named && !observed.oslogin;
            match deprovision(name, *record, delete, settings, observed) {
                Ok(changes) => {
                    self.users.push(UserPlan {
                        name: name.clone(),
                        changes,
                        record: is_named.then_some(*record),
                        cause: None,
                        account: observed.account(name),
                        makes_keys_file: false,
                    });
                }
                Err(reason) => {
                    self.blocked.insert(name.clone(), reason);
                }
            }
        }
    }

    /// Takes the ledger over for this instance: what another instance wrote, a clone's image, is not ours to undo.
    fn adopt_ledger(&mut self, instance_id: Option<&str>) {
        let Some(id) = instance_id else { return };
        if self
            .ledger
            .instance_id
            .as_deref()
            .is_some_and(|written| written != id)
        {
            self.notices.push(self.ledger.notice_of_clone());
            self.ledger = Arc::default();
        }
        if self.ledger.instance_id.as_deref() != Some(id) {
            Arc::make_mut(&mut self.ledger).instance_id = Some(id.to_owned());
        }
    }
}

fn machine_changes(settings: &settings::Accounts, observed: &Observed) -> Vec<MachineChange> {
    let rule_needs_writing = match &observed.sudoers_rule {
        SudoersRule::NoDirectory => false,
        SudoersRule::Absent => true,
        SudoersRule::Contents { bytes, sound } => {
            sudoers::is_ours(bytes) && !(*sound && sudoers::says(bytes, &settings.sudoers_rule))
        }
    };
    let mut changes = Vec::new();
    if !observed.sudoers_group && observed.sudoers_unknown.is_none() {
        changes.push(MachineChange::CreateSudoersGroup);
    }
    if rule_needs_writing {
        changes.push(MachineChange::WriteSudoersRule);
    }
    changes
}

/// What a wanted user needs, and the ledger's record once it is done.
fn provision(
    name: &str,
    keys: Vec<String>,
    record: Option<&Record>,
    settings: &settings::Accounts,
    observed: &Observed,
) -> Result<(Vec<UserChange>, Record), String> {
    let sudo = settings.sudo.includes(name);
    match observed.users.get(name) {
        None => Err("it was not looked up".into()),
        Some(UserState::Unavailable(reason)) => Err(unasked(reason)),
        Some(UserState::Missing { group, left_home }) => {
            // A new user gets its groups now or never.
            let sudoers_unknown = observed.sudoers_unknown.as_ref().filter(|_| sudo);
            if let Some(reason) = sudoers_unknown.or(observed.groups_unknown.as_ref()) {
                return Err(unasked(reason));
            }
            let creation = Creation {
                groups: groups_for(sudo, observed),
                sudo,
                clash: *group,
                ids: *left_home,
            };
            let changes = vec![UserChange::Create(creation), UserChange::SetKeys { keys }];
            Ok((
                changes,
                Record {
                    origin: Origin::Created,
                    sudo_given: sudo,
                },
            ))
        }
        Some(UserState::Present {
            account,
            in_sudoers,
            keys: file,
        }) => {
            let mut changes = Vec::new();
            let is_cut_short = observed.ledger.creating.contains(name);
            changes.extend(is_cut_short.then_some(UserChange::Complete));
            let was_given = record.is_some_and(|record| record.sudo_given);
            let give_sudo = sudo && !in_sudoers && account.uid != 0;
            if give_sudo {
                changes.push(UserChange::GiveSudo);
            } else if !sudo && *in_sudoers && was_given {
                changes.push(UserChange::TakeSudo);
            }
            if !account.never_logs_in() && keys_differ(file, &keys) {
                changes.push(UserChange::SetKeys { keys });
            }
            let sudo_given = sudo && (was_given || give_sudo);
            let origin = record.map_or(Origin::Adopted, |record| record.origin);
            Ok((changes, Record { origin, sudo_given }))
        }
    }
}

fn unasked(reason: &str) -> String {
    format!("the name service could not be asked: {reason}")
}

/// The configured groups that a new user gets: without sudo none that is as good as root.
fn groups_for(sudo: bool, observed: &Observed) -> Vec<String> {
    let fits = |group: &&String| sudo || !AS_GOOD_AS_ROOT.contains(&group.as_str());
    observed.groups.iter().filter(fits).cloned().collect()
}

/// Whether the keys need work. A file that could not be read does: whoever writes it says what stands in the way, and
/// the user's other changes are not held up.
fn keys_differ(file: &KeysFile, keys: &[String]) -> bool {
    let lines: Vec<&str> = keys.iter().map(String::as_str).collect();
    match file {
        KeysFile::Absent => !lines.is_empty(),
        KeysFile::Contents(bytes) => authorized_keys::edit(bytes, &lines).is_some(),
        KeysFile::Refused(_) => true,
    }
}

/// What a user needs who is in the ledger and not wanted any more.
fn deprovision(
    name: &str,
    record: Record,
    delete: bool,
    settings: &settings::Accounts,
    observed: &Observed,
) -> Result<Vec<UserChange>, String> {
    let (account, in_sudoers, file) = match observed.users.get(name) {
        None => return Err("it was not looked up".into()),
        Some(UserState::Unavailable(reason)) => return Err(unasked(reason)),
        Some(UserState::Missing { .. }) => return Ok(Vec::new()),
        Some(UserState::Present {
            account,
            in_sudoers,
            keys,
        }) => (account, *in_sudoers, keys),
    };
    let is_cut_short = observed.ledger.creating.contains(name);
    let mut changes = Vec::new();
    changes.extend(is_cut_short.then_some(UserChange::Complete));
    if record.origin == Origin::Created && delete {
        changes.push(UserChange::Delete);
        return Ok(changes);
    }
    let whole_file = record.origin == Origin::Created && !settings.keep_own_keys;
    if !account.never_logs_in() {
        match file {
            KeysFile::Absent => {}
            _ if whole_file => changes.push(UserChange::RemoveKeysFile),
            file if keys_differ(file, &[]) => {
                changes.push(UserChange::SetKeys { keys: Vec::new() });
            }
            _ => {}
        }
    }
    if in_sudoers && record.sudo_given {
        changes.push(UserChange::TakeSudo);
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::keys::{Key, Problem};

    fn wanted(users: &[(&str, &[&str])]) -> DesiredKeys {
        let key = |line: &&str| Key {
            line: (*line).into(),
            expires: None,
            source: Source::Instance,
        };
        let users = users
            .iter()
            .map(|(name, keys)| ((*name).into(), keys.iter().map(key).collect()));
        DesiredKeys {
            users: users.collect(),
            complete: true,
            ..DesiredKeys::default()
        }
    }

    fn present(in_sudoers: bool, keys: &str) -> UserState {
        let account = Account {
            uid: 1000,
            gid: 1000,
            home: "/home/a".into(),
            shell: "/bin/bash".into(),
        };
        let keys = if keys.is_empty() {
            KeysFile::Absent
        } else {
            KeysFile::Contents(keys.into())
        };
        UserState::Present {
            account,
            in_sudoers,
            keys,
        }
    }

    fn with_shell(state: UserState, new: &str) -> UserState {
        match state {
            UserState::Present {
                account,
                in_sudoers,
                keys,
            } => UserState::Present {
                account: Account {
                    shell: new.into(),
                    ..account
                },
                in_sudoers,
                keys,
            },
            other => other,
        }
    }

    fn observed(users: &[(&str, UserState)]) -> Observed {
        Observed {
            sudoers_group: true,
            sudoers_rule: SudoersRule::Contents {
                bytes: sudoers::contents("ALL=(ALL:ALL) NOPASSWD:ALL").into(),
                sound: true,
            },
            groups: vec!["adm".into(), "video".into()],
            users: users
                .iter()
                .map(|(name, state)| ((*name).into(), state.clone()))
                .collect(),
            ..Observed::default()
        }
    }

    fn remembering(
        mut observed: Observed,
        name: &str,
        origin: Origin,
        sudo_given: bool,
    ) -> Observed {
        Arc::make_mut(&mut observed.ledger)
            .users
            .insert(name.into(), Record { origin, sudo_given });
        observed
    }

    fn changes(plan: &Plan) -> Vec<UserChange> {
        plan.users
            .iter()
            .flat_map(|user| user.changes.clone())
            .collect()
    }

    fn set_keys(keys: &[&str]) -> UserChange {
        UserChange::SetKeys {
            keys: keys.iter().map(|key| (*key).into()).collect(),
        }
    }

    const MISSING: UserState = UserState::Missing {
        group: NameClash::None,
        left_home: None,
    };

    const OURS: &str = "# Added by Google\nk\n";

    #[test]
    fn a_wanted_user_gets_exactly_what_is_missing() {
        let create = UserChange::Create(Creation {
            groups: vec!["adm".into(), "video".into()],
            sudo: true,
            ..Creation::default()
        });
        let root = |state| match state {
            UserState::Present {
                account,
                in_sudoers,
                keys,
            } => UserState::Present {
                account: Account { uid: 0, ..account },
                in_sudoers,
                keys,
            },
            other => other,
        };
        for (state, expected) in [
            (MISSING, vec![create, set_keys(&["k"])]),
            (
                present(false, ""),
                vec![UserChange::GiveSudo, set_keys(&["k"])],
            ),
            (present(true, "own\n"), vec![set_keys(&["k"])]),
            (present(true, OURS), vec![]),
            (with_shell(present(true, ""), "/usr/sbin/nologin"), vec![]),
            (root(present(false, "")), vec![set_keys(&["k"])]),
        ] {
            let plan = plan(
                &wanted(&[("a", &["k"])]),
                &Default::default(),
                &observed(&[("a", state)]),
            );
            assert_eq!(changes(&plan), expected);
        }
    }

    #[test]
    fn without_an_answer_about_groups_sudo_is_neither_given_nor_forgotten() {
        let late = || Some("late".to_owned());
        let sudoers_late = |users: &[(&str, UserState)]| Observed {
            sudoers_unknown: late(),
            sudoers_group: false,
            ..observed(users)
        };
        let settings = settings::Accounts::default();
        // So `observe` says it then: everybody is in the group.
        let machine = sudoers_late(&[("a", present(true, "")), ("new", MISSING)]);
        let planned = plan(
            &wanted(&[("a", &["k"]), ("new", &["k"])]),
            &settings,
            &machine,
        );
        assert_eq!(changes(&planned), [set_keys(&["k"])]);
        assert!(planned.machine.is_empty(), "no second group is made");
        let blocked: Vec<&str> = planned.blocked.keys().map(String::as_str).collect();
        assert_eq!(blocked, ["group google-sudoers", "new"]);
        let machine = sudoers_late(&[("a", present(true, OURS))]);
        let machine = remembering(machine, "a", Origin::Adopted, true);
        let planned = plan(&wanted(&[]), &settings, &machine);
        assert_eq!(changes(&planned), [set_keys(&[]), UserChange::TakeSudo]);

        let machine = Observed {
            groups_unknown: late(),
            ..observed(&[("a", present(false, "")), ("new", MISSING)])
        };
        let planned = plan(
            &wanted(&[("a", &["k"]), ("new", &["k"])]),
            &settings,
            &machine,
        );
        assert_eq!(
            changes(&planned),
            [UserChange::GiveSudo, set_keys(&["k"])],
            "only new users get those groups"
        );
        assert!(planned.blocked.contains_key("new"));
    }

    #[test]
    fn an_unwanted_user_loses_exactly_what_we_gave() {
        for (origin, sudo_given, state, expected) in [
            (
                Origin::Created,
                true,
                present(true, OURS),
                vec![UserChange::RemoveKeysFile, UserChange::TakeSudo],
            ),
            (
                Origin::Created,
                true,
                present(true, "own\n"),
                vec![UserChange::RemoveKeysFile, UserChange::TakeSudo],
            ),
            (
                Origin::Adopted,
                true,
                present(true, OURS),
                vec![set_keys(&[]), UserChange::TakeSudo],
            ),
            (
                Origin::Adopted,
                false,
                present(true, OURS),
                vec![set_keys(&[])],
            ),
            (Origin::Adopted, true, present(false, "own\n"), vec![]),
            (Origin::Created, true, MISSING, vec![]),
        ] {
            let observed = remembering(observed(&[("a", state)]), "a", origin, sudo_given);
            let plan = plan(&wanted(&[]), &Default::default(), &observed);
            assert_eq!(changes(&plan), expected);
            assert_eq!(plan.users.len(), 1, "the record goes in any case");
            assert_eq!(plan.users[0].record, None);
        }
    }

    #[test]
    fn only_accounts_that_we_created_are_ever_deleted() {
        let settings = settings::Accounts {
            deprovision_remove: true,
            ..Default::default()
        };
        for (origin, expected) in [
            (Origin::Created, vec![UserChange::Delete]),
            (Origin::Adopted, vec![set_keys(&[]), UserChange::TakeSudo]),
        ] {
            let observed = remembering(observed(&[("a", present(true, OURS))]), "a", origin, true);
            assert_eq!(changes(&plan(&wanted(&[]), &settings, &observed)), expected);
        }
    }

    #[test]
    fn the_configuration_says_who_is_left_alone_and_who_gets_sudo() {
        use crate::config::values::SudoUsers;
        let settings = settings::Accounts {
            ignore_users: vec!["left".into()],
            allow_root: false,
            sudo: SudoUsers::Only(vec!["a".into()]),
            ..Default::default()
        };
        let users = [
            ("a", MISSING),
            ("b", MISSING),
            ("c", present(true, OURS)),
            ("left", MISSING),
            ("root", present(false, "")),
        ];
        let observed = remembering(observed(&users), "c", Origin::Created, true);
        let all = [
            ("a", &["k"][..]),
            ("b", &["k"]),
            ("c", &["k"]),
            ("left", &["k"]),
            ("root", &["k"]),
        ];
        let plan = plan(&wanted(&all), &settings, &observed);
        let of = |name: &str| {
            plan.users
                .iter()
                .find(|user| user.name == name)
                .map(|user| user.changes[0].clone())
        };
        let creation = |groups: &[&str], sudo| {
            let groups = groups.iter().map(|group| (*group).into()).collect();
            Some(UserChange::Create(Creation {
                groups,
                sudo,
                ..Creation::default()
            }))
        };
        assert_eq!(of("a"), creation(&["adm", "video"], true));
        assert_eq!(
            of("b"),
            creation(&["video"], false),
            "nothing that is as good as root without sudo"
        );
        assert_eq!(of("c"), Some(UserChange::TakeSudo));
        assert_eq!((of("left"), of("root")), (None, None));
        assert_eq!(plan.refused.keys().collect::<Vec<_>>(), ["root"]);
    }

    #[test]
    fn an_option_keeps_the_users_own_keys_and_oslogin_deletes_nobody() {
        let keep = settings::Accounts {
            keep_own_keys: true,
            ..Default::default()
        };
        let made = remembering(
            observed(&[("a", present(true, OURS))]),
            "a",
            Origin::Created,
            true,
        );
        assert_eq!(
            changes(&plan(&wanted(&[]), &keep, &made)),
            [set_keys(&[]), UserChange::TakeSudo]
        );
        let delete = settings::Accounts {
            deprovision_remove: true,
            ..Default::default()
        };
        let taken_over = Observed {
            oslogin: true,
            ..made
        };
        let changes = changes(&plan(&wanted(&[]), &delete, &taken_over));
        assert_eq!(changes, [UserChange::RemoveKeysFile, UserChange::TakeSudo]);
    }

    #[test]
    fn a_slip_in_the_only_line_of_a_user_deletes_nobody() {
        let settings = settings::Accounts {
            deprovision_remove: true,
            ..Default::default()
        };
        let observed = remembering(
            observed(&[("a", present(true, OURS))]),
            "a",
            Origin::Created,
            true,
        );
        let slip = |reason| {
            let problem = Problem {
                source: Source::Instance,
                line: 1,
                user: Some("a".into()),
                reason,
            };
            DesiredKeys {
                problems: vec![problem],
                ..wanted(&[])
            }
        };
        let revoked = plan(&slip(LineError::NotAKey), &settings, &observed);
        assert_eq!(
            changes(&revoked),
            [UserChange::RemoveKeysFile, UserChange::TakeSudo]
        );
        assert!(
            revoked.users[0].record.is_some(),
            "it stays ours, for when the line is mended or gone"
        );
        assert_eq!(
            changes(&plan(&slip(LineError::Expired), &settings, &observed)),
            [UserChange::Delete]
        );
    }

    #[test]
    fn half_an_answer_and_a_late_directory_change_nothing() {
        let observed = remembering(
            observed(&[("a", present(true, OURS))]),
            "a",
            Origin::Created,
            true,
        );
        let half = DesiredKeys {
            complete: false,
            ..wanted(&[])
        };
        assert!(plan(&half, &Default::default(), &observed).is_empty());
        let late = UserState::Unavailable("try again".into());
        let mut observed = observed;
        observed.users.insert("a".into(), late.clone());
        observed.users.insert("b".into(), late);
        let plan = plan(&wanted(&[("b", &["k"])]), &Default::default(), &observed);
        assert!(plan.users.is_empty());
        assert_eq!(plan.blocked.keys().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_ledger_from_an_image_is_nobodys() {
        let mut observed = remembering(
            observed(&[("a", present(true, OURS))]),
            "a",
            Origin::Created,
            true,
        );
        Arc::make_mut(&mut observed.ledger).instance_id = Some("1".into());
        observed.instance_id = Some("2".into());
        let plan = plan(&wanted(&[]), &Default::default(), &observed);
        assert!(plan.users.is_empty());
        assert_eq!(
            (plan.ledger.users.len(), plan.ledger.instance_id.as_deref()),
            (0, Some("2"))
        );
        assert_eq!(
            plan.notices,
            [
                "the ledger of managed users is another instance's; these users of the image stay as they are, with the \
                 keys and rights that they have: a"
            ]
        );
        let ledger = Arc::make_mut(&mut observed.ledger);
        for number in 0..30 {
            let record = ledger.users["a"];
            ledger.users.insert(format!("b{number:02}"), record);
        }
        let notice = ledger.notice_of_clone();
        assert!(notice.ends_with(": a, b00, b01, b02, b03, b04, b05, b06, b07, b08, b09, b10, b11, b12, b13, b14, b15, b16, b17, b18 and 11 more"), "{notice}");
    }

    #[test]
    fn an_account_whose_creation_was_cut_short_is_ours() {
        let mut observed = observed(&[("a", present(true, OURS))]);
        Arc::make_mut(&mut observed.ledger)
            .creating
            .insert("a".into());
        let plan = plan(&wanted(&[("a", &["k"])]), &Default::default(), &observed);
        assert_eq!(
            plan.users[0].record,
            Some(Record {
                origin: Origin::Created,
                sudo_given: true
            })
        );
    }

    #[test]
    fn the_machine_is_prepared_only_for_users() {
        let bare = Observed {
            sudoers_rule: SudoersRule::Absent,
            ..Observed::default()
        };
        assert!(
            plan(&wanted(&[]), &Default::default(), &bare)
                .machine
                .is_empty()
        );
        let bare = Observed {
            users: [("a".into(), MISSING)].into(),
            ..bare
        };
        let plan = plan(&wanted(&[("a", &["k"])]), &Default::default(), &bare);
        assert_eq!(
            plan.machine,
            [
                MachineChange::CreateSudoersGroup,
                MachineChange::WriteSudoersRule
            ]
        );
    }
}
