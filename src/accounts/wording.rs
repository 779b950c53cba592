//! Changes in words, for the log, the dry run and the history, and what each makes of what. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::digest::{SHA256, digest};

use super::authorized_keys;
use super::plan::{
    Creation, KeysFile, MachineChange, Observed, SudoersRule, UserChange, UserPlan, UserState,
};
use super::sudoers;
use crate::config::settings;

/// One change of a plan, with the user it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// It concerns all users.
    Machine(MachineChange),
    /// It concerns one.
    User(&'a UserPlan, &'a UserChange),
}

/// Whether a change is to come or has been made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tense {
    /// "create user alice".
    Planned,
    /// "created user alice".
    Made,
}

/// How keys are shown in [`Step::before_and_after`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Every line of the file, as a comparison of the whole file needs it.
    Lines,
    /// The keys of ours by the fingerprint that sshd logs, with their comments.
    Fingerprints,
}

impl Step<'_> {
    /// What is done, as a sentence without its full stop, with the metadata key that wants it so.
    #[must_use]
    pub fn sentence(&self, tense: Tense) -> String {
        let verb = |planned: &'static str, made: &'static str| match tense {
            Tense::Planned => planned,
            Tense::Made => made,
        };
        let (user, change) = match self {
            Self::Machine(MachineChange::CreateSudoersGroup) => {
                return format!("{} the group google-sudoers", verb("create", "created"));
            }
            Self::Machine(MachineChange::WriteSudoersRule) => {
                return format!("{} the sudo rule of google-sudoers", verb("write", "wrote"));
            }
            Self::User(user, change) => (user, change),
        };
        let name = &user.name;
        let what = match change {
            UserChange::Create(creation) => format!(
                "{} user {name} {}",
                verb("create", "created"),
                account_of(creation)
            ),
            UserChange::Complete => format!(
                "{} the account of user {name}",
                verb("complete", "completed")
            ),
            UserChange::GiveSudo => {
                format!("{} user {name} to google-sudoers", verb("add", "added"))
            }
            UserChange::TakeSudo => format!(
                "{} user {name} from google-sudoers",
                verb("remove", "removed")
            ),
            UserChange::SetKeys { keys } => match keys.len() {
                0 => format!(
                    "{} our keys of user {name}, others stay",
                    verb("remove", "removed")
                ),
                1 => format!(
                    "{} 1 key of user {name} to authorized_keys",
                    verb("write", "wrote")
                ),
                count => format!(
                    "{} {count} keys of user {name} to authorized_keys",
                    verb("write", "wrote")
                ),
            },
            UserChange::RemoveKeysFile => format!(
                "{} the authorized_keys of user {name}",
                verb("remove", "removed")
            ),
            UserChange::Delete => format!("{} user {name}", verb("delete", "deleted")),
        };
        match user.cause {
            Some(source) => format!("{what} (from {})", source.path()),
            None => what,
        }
    }

    /// The metadata key that is behind it: where the key of the user stands, or the one in which it no longer stands.
    #[must_use]
    pub fn key(&self, observed: &Observed) -> Option<&'static str> {
        let Self::User(user, _) = self else {
            return None;
        };
        Some(match user.cause {
            Some(source) => source.path(),
            None if observed.oslogin => "enable-oslogin",
            None => "ssh-keys",
        })
    }

    /// What is changed.
    #[must_use]
    pub fn subject(&self) -> String {
        let (user, change) = match self {
            Self::Machine(MachineChange::CreateSudoersGroup) => {
                return format!("group {}", sudoers::GROUP);
            }
            Self::Machine(MachineChange::WriteSudoersRule) => {
                return format!("{}/{}", sudoers::DIRECTORY, sudoers::FILE);
            }
            Self::User(user, change) => (user, change),
        };
        let name = &user.name;
        match change {
            UserChange::Create(_) | UserChange::Complete | UserChange::Delete => {
                format!("user {name}")
            }
            UserChange::GiveSudo | UserChange::TakeSudo => format!("groups of user {name}"),
            UserChange::SetKeys { .. } | UserChange::RemoveKeysFile => {
                format!("authorized_keys of user {name}")
            }
        }
    }

    /// What is there before it and after it, line by line. `observed` is the machine before it.
    #[must_use]
    pub fn before_and_after(
        &self,
        observed: &Observed,
        settings: &settings::Accounts,
        detail: Detail,
    ) -> (Vec<String>, Vec<String>) {
        let (user, change) = match self {
            Self::Machine(MachineChange::CreateSudoersGroup) => {
                return (Vec::new(), vec![sudoers::GROUP.into()]);
            }
            Self::Machine(MachineChange::WriteSudoersRule) => {
                let before = match &observed.sudoers_rule {
                    SudoersRule::Contents { bytes, .. } => lines(bytes),
                    SudoersRule::NoDirectory | SudoersRule::Absent => Vec::new(),
                };
                let after = sudoers::contents(&settings.sudoers_rule);
                return (before, lines(after.as_bytes()));
            }
            Self::User(user, change) => (user, change),
        };
        let account = user.account.iter().map(|account| {
            let home = account.home.display();
            format!("user id {}, home {home}", account.uid)
        });
        match change {
            UserChange::Create(creation) => (
                Vec::new(),
                vec![format!("account {}", account_of(creation))],
            ),
            UserChange::Complete => (Vec::new(), Vec::new()),
            UserChange::Delete => (account.collect(), Vec::new()),
            UserChange::GiveSudo => (Vec::new(), vec![sudoers::GROUP.into()]),
            UserChange::TakeSudo => (vec![sudoers::GROUP.into()], Vec::new()),
            UserChange::SetKeys { keys } => key_lines(file_of(user, observed), keys, detail),
            UserChange::RemoveKeysFile => match detail {
                Detail::Lines => (lines(file_of(user, observed)), Vec::new()),
                Detail::Fingerprints => (all_keys(file_of(user, observed)), Vec::new()),
            },
        }
    }
}

fn account_of(creation: &Creation) -> String {
    let sudo = if creation.sudo { "with" } else { "without" };
    let groups = if creation.groups.is_empty() {
        "none".into()
    } else {
        creation.groups.join(",")
    };
    format!("{sudo} sudo, groups {groups}")
}

/// The user's `authorized_keys` before the change.
fn file_of<'a>(user: &UserPlan, observed: &'a Observed) -> &'a [u8] {
    match observed.users.get(&user.name) {
        Some(UserState::Present {
            keys: KeysFile::Contents(bytes),
            ..
        }) => bytes,
        _ => &[],
    }
}

fn key_lines(present: &[u8], keys: &[String], detail: Detail) -> (Vec<String>, Vec<String>) {
    match detail {
        Detail::Lines => {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let after = authorized_keys::edit(present, &keys);
            (lines(present), lines(after.as_deref().unwrap_or(present)))
        }
        Detail::Fingerprints => (
            authorized_keys::own_lines(present)
                .into_iter()
                .map(|line| fingerprint(&String::from_utf8_lossy(line)))
                .collect(),
            keys.iter().map(|line| fingerprint(line)).collect(),
        ),
    }
}

fn all_keys(file: &[u8]) -> Vec<String> {
    let is_key = |line: &String| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let keys = lines(file).into_iter().filter(is_key);
    keys.map(|line| fingerprint(&line)).collect()
}

fn lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes)
        .lines()
        .map(String::from)
        .collect()
}

/// A key line as `ssh-keygen -l` names it: type, fingerprint, comment. Of its options only that there are some.
fn fingerprint(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let key = words.windows(2).enumerate().find_map(|(position, pair)| {
        let blob = STANDARD.decode(pair[1]).ok()?;
        let length = u32::try_from(pair[0].len()).ok()?.to_be_bytes();
        let name = blob.strip_prefix(&length)?;
        name.starts_with(pair[0].as_bytes())
            .then_some((position, blob))
    });
    let Some((position, blob)) = key else {
        return "a line that is no key".into();
    };
    let hash = STANDARD_NO_PAD.encode(digest(&SHA256, &blob));
    let options = if position > 0 { "options, " } else { "" };
    let comment = words[position + 2..].join(" ");
    format!("{options}{} SHA256:{hash} {comment}", words[position])
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::keys::Source;
    use crate::accounts::plan::Account;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPUZWnCVkYZTJ7C6vHzRdmAcgUfm2fpt1PlFXvHrJb0";

    fn user(cause: Option<Source>) -> UserPlan {
        UserPlan {
            name: "alice".into(),
            changes: Vec::new(),
            record: None,
            cause,
            account: Some(Account {
                uid: 1000,
                gid: 1000,
                home: "/home/alice".into(),
                shell: "/bin/bash".into(),
            }),
            makes_keys_file: false,
        }
    }

    #[test]
    fn sentences_come_in_both_tenses_with_their_cause() {
        let user = user(Some(Source::Project));
        let change = UserChange::SetKeys {
            keys: vec![KEY.into()],
        };
        let step = Step::User(&user, &change);
        assert_eq!(
            [Tense::Planned, Tense::Made].map(|tense| step.sentence(tense)),
            [
                "write 1 key of user alice to authorized_keys (from project/attributes/ssh-keys)",
                "wrote 1 key of user alice to authorized_keys (from project/attributes/ssh-keys)"
            ]
        );
    }

    #[test]
    fn what_is_taken_away_names_the_key_that_does_not_want_it_any_more() {
        let user = user(None);
        let step = Step::User(&user, &UserChange::TakeSudo);
        let mut observed = Observed::default();
        assert_eq!(step.key(&observed), Some("ssh-keys"));
        observed.oslogin = true;
        assert_eq!(step.key(&observed), Some("enable-oslogin"));
        assert_eq!(
            step.sentence(Tense::Made),
            "removed user alice from google-sudoers"
        );
    }

    #[test]
    fn keys_are_named_by_the_fingerprint_that_sshd_logs() {
        let expected = "ssh-ed25519 SHA256:c+RLcRVcoEnRip3WNCBRqCpcmo94P2LxarhBtzPNlYI a b";
        assert_eq!(fingerprint(&format!("{KEY} a b")), expected);
        assert_eq!(
            fingerprint(&format!("command=\"x y\" {KEY} a b")),
            format!("options, {expected}")
        );
        for bad in ["", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-rsa !!!"] {
            assert_eq!(fingerprint(bad), "a line that is no key", "{bad:?}");
        }
    }

    #[test]
    fn a_files_lines_are_compared_whole_and_its_keys_by_fingerprint() {
        let user = user(Some(Source::Instance));
        let change = UserChange::SetKeys {
            keys: vec![KEY.into()],
        };
        let observed = Observed {
            users: [(
                "alice".into(),
                UserState::Present {
                    account: user.account.clone().unwrap(),
                    in_sudoers: true,
                    keys: KeysFile::Contents(b"own\n# Added by Google\nold\n".to_vec()),
                },
            )]
            .into(),
            ..Observed::default()
        };
        let step = Step::User(&user, &change);
        let settings = settings::Accounts::default();
        let (before, after) = step.before_and_after(&observed, &settings, Detail::Lines);
        assert_eq!(before, ["own", "# Added by Google", "old"]);
        assert_eq!(after, ["own", "# Added by Google", KEY]);
        let (before, after) = step.before_and_after(&observed, &settings, Detail::Fingerprints);
        assert_eq!(before, ["a line that is no key"]);
        assert!(after[0].starts_with("ssh-ed25519 SHA256:"), "{after:?}");
    }
}
