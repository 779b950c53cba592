//! Why a user is there or not: the chain from the metadata line to the account, with the link that fails. Pure.

use super::authorized_keys;
use super::keys::{DesiredKeys, LineError};
use super::ledger::Origin;
use super::names;
use super::plan::{KeysFile, Observed, UserState};
use crate::config::settings;

/// One link of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether it holds.
    pub holds: bool,
    /// What it says, with what to do when it fails.
    pub text: String,
}

fn holds(text: impl Into<String>) -> Link {
    Link {
        holds: true,
        text: text.into(),
    }
}

fn fails(text: impl Into<String>) -> Link {
    Link {
        holds: false,
        text: text.into(),
    }
}

/// Explains one user. The chain ends where something fails that everything after it needs.
#[must_use]
pub fn explain(
    name: &str,
    desired: &DesiredKeys,
    settings: &settings::Settings,
    observed: &Observed,
) -> Vec<Link> {
    let mut links = Vec::new();
    if let Err(error) = names::check(name) {
        links.push(fails(format!("the name cannot be a user: {error}")));
        return links;
    }
    links.extend(switches(name, settings, observed));
    links.extend(metadata(name, desired));
    let wanted = desired.users.contains_key(name);
    if links.iter().all(|link| link.holds) || !wanted {
        links.extend(machine(name, wanted, settings, observed));
    }
    links
}

/// What the configuration and OS Login have to say about it.
fn switches(name: &str, settings: &settings::Settings, observed: &Observed) -> Vec<Link> {
    let accounts = &settings.accounts;
    let mut links = vec![if settings.daemons.accounts_daemon {
        holds("accounts are managed (Daemons.accounts_daemon)")
    } else {
        fails("accounts are not managed: Daemons.accounts_daemon is false")
    }];
    if accounts.ignore_users.iter().any(|ignored| ignored == name) {
        links.push(fails(
            "the user is left alone: Accounts.ignore_users names it",
        ));
    }
    if name == "root" && !accounts.allow_root {
        links.push(fails(
            "keys for root are not honoured: Accounts.allow_root is false",
        ));
    }
    if observed.oslogin {
        links.push(fails(
            "OS Login is active, so keys in metadata do not count (enable-oslogin)",
        ));
    }
    links
}

/// What metadata says about the user.
fn metadata(name: &str, desired: &DesiredKeys) -> Vec<Link> {
    let mut links = Vec::new();
    if !desired.complete {
        links.push(fails(
            "metadata is incomplete; nothing changes until it is whole again",
        ));
    }
    for problem in desired
        .problems
        .iter()
        .filter(|problem| problem.user.as_deref() == Some(name))
    {
        let place = format!("line {} of {}", problem.line, problem.source.path());
        let advice = if problem.reason == LineError::Expired {
            "add a key that has not"
        } else {
            "mend the line"
        };
        links.push(fails(format!("{place}: {}; {advice}", problem.reason)));
    }
    match desired.users.get(name) {
        None => links.push(fails(
            "no valid key for it in instance or project metadata (ssh-keys)",
        )),
        Some(keys) => {
            // A refused line beside good ones costs nothing.
            links
                .iter_mut()
                .filter(|link| link.text.starts_with("line "))
                .for_each(|link| link.holds = true);
            for key in keys {
                let until = key.expires.map_or("without expiry".into(), |expires| {
                    format!("until {expires}")
                });
                links.push(holds(format!("a key in {}, {until}", key.source.path())));
            }
        }
    }
    links
}

/// What the machine says about the user.
fn machine(
    name: &str,
    wanted: bool,
    settings: &settings::Settings,
    observed: &Observed,
) -> Vec<Link> {
    let mut links = Vec::new();
    match observed.users.get(name) {
        Some(UserState::Present {
            account,
            in_sudoers,
            keys,
        }) => {
            links.push(holds(format!(
                "the account exists: user id {}, home {}",
                account.uid,
                account.home.display()
            )));
            if account.never_logs_in() {
                let shell = account.shell.display();
                links.push(fails(format!(
                    "its shell is {shell}, so keys are left alone; give it a shell to log in with"
                )));
                return links;
            }
            links.push(key_file(keys, wanted));
            links.push(sudo(name, wanted, *in_sudoers, settings));
        }
        Some(UserState::Unavailable(reason)) => {
            links.push(fails(format!(
                "the name service could not be asked: {reason}; it is tried again"
            )));
        }
        Some(UserState::Missing { .. }) | None if wanted => {
            links.push(fails(
                "the account does not exist yet; the agent's log says why it could not be created",
            ));
        }
        Some(UserState::Missing { .. }) | None => links.push(holds("there is no such account")),
    }
    links.push(holds(
        match observed.ledger.users.get(name).map(|record| record.origin) {
            Some(Origin::Created) => "the ledger says that we created it",
            Some(Origin::Adopted) => {
                "the ledger says that it was there before us; it will never be deleted"
            }
            None => "the ledger does not know it",
        },
    ));
    links
}

fn key_file(keys: &KeysFile, wanted: bool) -> Link {
    match keys {
        KeysFile::Absent if wanted => fails("it has no authorized_keys yet"),
        KeysFile::Absent => holds("it has no authorized_keys"),
        KeysFile::Contents(bytes) => match authorized_keys::own_keys(bytes) {
            0 if wanted => fails("its authorized_keys has no key from metadata yet"),
            1 => holds("its authorized_keys has 1 key from metadata"),
            count => holds(format!(
                "its authorized_keys has {count} keys from metadata"
            )),
        },
        KeysFile::Refused(reason) => fails(reason.clone()),
    }
}

fn sudo(name: &str, wanted: bool, in_sudoers: bool, settings: &settings::Settings) -> Link {
    let entitled = wanted && settings.accounts.sudo.includes(name) && name != "root";
    match (entitled, in_sudoers) {
        (true, true) => holds("it is in google-sudoers"),
        (true, false) => fails("it is not in google-sudoers yet"),
        (false, true) => holds("it is in google-sudoers, which we did not ask for"),
        (false, false) => holds("it is not in google-sudoers, as it should be"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::keys::{Key, Problem, Source};
    use crate::accounts::plan::{Account, NameClash};

    fn wanted(name: &str) -> DesiredKeys {
        let key = Key {
            line: "k".into(),
            expires: None,
            source: Source::Project,
        };
        DesiredKeys {
            users: [(name.into(), vec![key])].into(),
            complete: true,
            ..DesiredKeys::default()
        }
    }

    fn seeing(name: &str, state: UserState) -> Observed {
        Observed {
            users: [(name.into(), state)].into(),
            ..Observed::default()
        }
    }

    fn present(keys: KeysFile, shell: &str) -> UserState {
        let account = Account {
            uid: 1000,
            gid: 1000,
            home: "/home/a".into(),
            shell: shell.into(),
        };
        UserState::Present {
            account,
            in_sudoers: true,
            keys,
        }
    }

    fn failing(links: &[Link]) -> Vec<&str> {
        links
            .iter()
            .filter(|link| !link.holds)
            .map(|link| link.text.as_str())
            .collect()
    }

    #[test]
    fn the_failing_link_is_named() {
        let mut settings = settings::Settings::default();
        let good = KeysFile::Contents(b"# Added by Google\nk\n".to_vec());
        let fine = seeing("a", present(good, "/bin/bash"));
        assert_eq!(
            failing(&explain("a", &wanted("a"), &settings, &fine)),
            Vec::<&str>::new()
        );
        for (observed, expected) in [
            (
                seeing(
                    "a",
                    UserState::Missing {
                        group: NameClash::None,
                        left_home: None,
                    },
                ),
                "does not exist yet",
            ),
            (seeing("a", UserState::Unavailable("late".into())), "late"),
            (
                seeing(
                    "a",
                    present(KeysFile::Refused("a link".into()), "/bin/bash"),
                ),
                "a link",
            ),
            (
                seeing("a", present(KeysFile::Absent, "/usr/sbin/nologin")),
                "nologin",
            ),
            (
                Observed {
                    oslogin: true,
                    ..fine.clone()
                },
                "OS Login is active",
            ),
        ] {
            let links = explain("a", &wanted("a"), &settings, &observed);
            let failing = failing(&links);
            assert!(
                failing.len() == 1 && failing[0].contains(expected),
                "{expected}: {failing:?}"
            );
        }
        assert!(failing(&explain("b", &wanted("a"), &settings, &fine))[0].contains("no valid key"));
        assert!(
            failing(&explain("-f", &wanted("a"), &settings, &fine))[0].contains("cannot be a user")
        );
        settings.daemons.accounts_daemon = false;
        assert!(
            failing(&explain("a", &wanted("a"), &settings, &fine))[0].contains("accounts_daemon")
        );
    }

    #[test]
    fn a_refused_line_is_named_and_costs_nothing_beside_a_good_one() {
        let problem = Problem {
            source: Source::Instance,
            line: 3,
            user: Some("a".into()),
            reason: LineError::NotAKey,
        };
        let settings = settings::Settings::default();
        let mut desired = wanted("a");
        desired.problems.push(problem);
        let good = seeing(
            "a",
            present(
                KeysFile::Contents(b"# Added by Google\nk\n".to_vec()),
                "/bin/sh",
            ),
        );
        let links = explain("a", &desired, &settings, &good);
        assert!(
            links
                .iter()
                .any(|link| link.holds
                    && link.text.contains("line 3 of instance/attributes/ssh-keys"))
        );
        assert_eq!(failing(&links), Vec::<&str>::new());
        desired.users = Default::default();
        assert!(failing(&explain("a", &desired, &settings, &good))[0].contains("line 3"));
    }
}
