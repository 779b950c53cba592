//! Where sshd looks for keys: `AuthorizedKeysFile` of sshd_config(5). Pure but for [`KeysFiles::read`].
//!
//! Keys are written only below the user's own home directory, where they are the user's to protect. A place elsewhere is
//! refused with a message: to write there as root, for files that others may share, has opened holes before (pains 83).

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use crate::system::files::{self, Stamp};
use crate::system::processes::{self, Invocation, ProcessError};
use crate::system::root::Root;

/// What sshd does without a setting, of which the first is where everybody writes.
const DEFAULT: &str = ".ssh/authorized_keys .ssh/authorized_keys2";
/// The configuration, and the directory that distributions include from it.
const CONFIGURATION: &str = "/etc/ssh/sshd_config";
const INCLUDED: &str = "/etc/ssh/sshd_config.d";
/// How long sshd may take to say what it would do.
const DEADLINE: Duration = Duration::from_secs(5);
/// The largest configuration file that is read, in bytes.
const SIZE_LIMIT: u64 = 1024 * 1024;

/// Where a user's keys go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// Names below the home directory: directories, then the file.
    BelowHome(Vec<OsString>),
    /// Somewhere else; the text says where and what to do.
    Refused(String),
}

/// The patterns of `AuthorizedKeysFile` that are in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysFiles {
    /// The same for everybody.
    Everybody(String),
    /// They depend on the user (`Match`); the text is for users for whom sshd cannot be asked.
    PerUser(String),
}

impl Default for KeysFiles {
    fn default() -> Self {
        Self::Everybody(DEFAULT.into())
    }
}

impl KeysFiles {
    /// Finds out what sshd is configured to do. Only where the setting is used at all sshd is asked (`sshd -T`).
    #[must_use]
    pub fn read(root: &Root) -> Self {
        let texts = configuration_texts(root);
        let uses = |word: &str| {
            texts
                .iter()
                .any(|text| lines(text).any(|(keyword, _)| keyword.eq_ignore_ascii_case(word)))
        };
        if !uses("AuthorizedKeysFile") {
            return Self::default();
        }
        let written = first_outside_match(&texts).unwrap_or_else(|| DEFAULT.into());
        if uses("Match") {
            return Self::PerUser(written);
        }
        let answer = ask_sshd(&["-T"]).ok().flatten();
        Self::Everybody(answer.unwrap_or(written))
    }

    /// The patterns for a user. Where they depend on the user sshd is asked, which takes a process. `None` when it does not
    /// answer in time: for `Match Group` it asks the name service.
    #[must_use]
    pub fn patterns(&self, user: &str) -> Option<String> {
        let Self::PerUser(otherwise) = self else {
            return Some(self.written().to_owned());
        };
        let connection = format!("user={user},host=localhost,addr=127.0.0.1");
        match ask_sshd(&["-T", "-C", &connection]) {
            Err(ProcessError::TimedOut { .. }) => None,
            answer => Some(answer.ok().flatten().unwrap_or_else(|| otherwise.clone())),
        }
    }

    /// The patterns for whom nothing else is known.
    #[must_use]
    pub fn written(&self) -> &str {
        match self {
            Self::Everybody(patterns) | Self::PerUser(patterns) => patterns,
        }
    }
}

/// The value of `authorizedkeysfile` that sshd prints. It is not there or refuses, without host keys say.
fn ask_sshd(arguments: &[&str]) -> Result<Option<String>, ProcessError> {
    let sshd = Invocation::new("sshd", arguments.iter().copied()).within(DEADLINE);
    let finished = processes::run_successfully(&sshd)?;
    let text = String::from_utf8_lossy(&finished.stdout).into_owned();
    let found =
        lines(&text).find(|(keyword, _)| keyword.eq_ignore_ascii_case("authorizedkeysfile"));
    Ok(found.map(|(_, value)| value.to_owned()))
}

/// Which files sshd's configuration has, listed anew when one has come or gone.
#[derive(Debug, Default)]
pub(super) struct Listing {
    directory: Option<Stamp>,
    files: Vec<PathBuf>,
}

impl Listing {
    /// The files as they are at `now`, in seconds since 1970.
    pub(super) fn refresh(&mut self, root: &Root, now: i64) -> &[PathBuf] {
        let directory = Some(Stamp::of(&root.path(INCLUDED), now));
        let is_settled = directory.as_ref().is_some_and(Stamp::is_settled);
        if !is_settled || self.directory != directory {
            self.files = configuration_files(root);
            self.directory = directory;
        }
        &self.files
    }
}

/// The files of sshd's configuration, in the order in which they count: what is included comes first in every
/// distribution, and the first value wins.
fn configuration_files(root: &Root) -> Vec<PathBuf> {
    let names = files::Directory::open(&root.path(INCLUDED))
        .and_then(|directory| directory.names())
        .unwrap_or_default();
    let included = names.into_iter().map(|name| root.path(INCLUDED).join(name));
    included.chain([root.path(CONFIGURATION)]).collect()
}

fn configuration_texts(root: &Root) -> Vec<String> {
    let files = configuration_files(root).into_iter();
    let texts = files.filter_map(|path| files::read(&path, SIZE_LIMIT).ok().flatten());
    texts
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .collect()
}

/// Keyword and value of every line that is neither empty nor a comment.
fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter_map(|line| {
            let (keyword, value) = line.split_once([' ', '\t', '='])?;
            Some((keyword, value.trim_start_matches([' ', '\t', '=']).trim()))
        })
}

fn first_outside_match(texts: &[String]) -> Option<String> {
    let global = texts.iter().flat_map(|text| {
        lines(text)
            .take_while(|(keyword, _)| !keyword.eq_ignore_ascii_case("Match"))
            .collect::<Vec<_>>()
    });
    let mut values =
        global.filter(|(keyword, _)| keyword.eq_ignore_ascii_case("AuthorizedKeysFile"));
    values.next().map(|(_, value)| value.to_owned())
}

/// Where the keys of a user go: the first pattern that is below the home directory.
#[must_use]
pub fn locate(patterns: &str, user: &str, uid: u32, home: &Path) -> Location {
    let used = patterns
        .split_whitespace()
        .filter(|pattern| !pattern.eq_ignore_ascii_case("none"));
    let expanded: Vec<String> = used
        .map(|pattern| expand(pattern, user, uid, home))
        .collect();
    let below_home = |path: &String| -> Option<Vec<OsString>> {
        let path = Path::new(path.as_str());
        let relative = if path.is_absolute() {
            path.strip_prefix(home).ok()?
        } else {
            path
        };
        let names: Option<Vec<OsString>> = relative
            .components()
            .filter(|component| *component != Component::CurDir)
            .map(|component| match component {
                Component::Normal(name) => Some(name.to_owned()),
                _ => None,
            })
            .collect();
        names.filter(|names| !names.is_empty())
    };
    match expanded.iter().find_map(below_home) {
        Some(names) => Location::BelowHome(names),
        None => Location::Refused(format!(
            "sshd looks for keys in {} only (AuthorizedKeysFile), which is not below the home directory, so keys in \
             metadata cannot be used; add .ssh/authorized_keys to it",
            if expanded.is_empty() {
                "no file".into()
            } else {
                expanded.join(" ")
            }
        )),
    }
}

/// Replaces the tokens of sshd_config(5) that this setting knows.
fn expand(pattern: &str, user: &str, uid: u32, home: &Path) -> String {
    let mut expanded = String::new();
    let mut characters = pattern.trim_matches('"').chars();
    while let Some(character) = characters.next() {
        let token = if character == '%' {
            characters.next()
        } else {
            None
        };
        match (character, token) {
            ('%', Some('h')) => expanded.push_str(&home.to_string_lossy()),
            ('%', Some('u')) => expanded.push_str(user),
            ('%', Some('U')) => expanded.push_str(&uid.to_string()),
            ('%', Some(other)) => expanded.push(other),
            (character, _) => expanded.push(character),
        }
    }
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    fn located(patterns: &str) -> Result<String, String> {
        match locate(patterns, "alice", 1001, Path::new("/home/alice")) {
            Location::BelowHome(names) => Ok(names.join(OsStr::new("/")).into_string().unwrap()),
            Location::Refused(reason) => Err(reason),
        }
    }

    #[test]
    fn the_first_place_below_the_home_is_taken() {
        for (patterns, expected) in [
            (DEFAULT, ".ssh/authorized_keys"),
            ("%h/.ssh/keys", ".ssh/keys"),
            ("/etc/ssh/keys/%u .keys", ".keys"),
            ("/home/%u/a/b/c", "a/b/c"),
            ("./.ssh/authorized_keys", ".ssh/authorized_keys"),
            ("\"%h/.ssh/100%%\"", ".ssh/100%"),
            (".keys-%U", ".keys-1001"),
        ] {
            assert_eq!(located(patterns), Ok(expected.into()), "{patterns}");
        }
        for patterns in [
            "/etc/ssh/keys/%u",
            "none",
            "../shared",
            "%h/../bob/keys",
            "%h",
            "/home/alicia/keys",
        ] {
            let found = located(patterns);
            assert!(found.is_err(), "{patterns}: {found:?}");
        }
        assert!(
            located("/etc/keys/%u")
                .unwrap_err()
                .contains("/etc/keys/alice")
        );
    }

    #[test]
    fn the_first_setting_outside_match_counts_without_sshd() {
        let texts = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>()
        };
        let found = first_outside_match(&texts(&[
            "# AuthorizedKeysFile x\nauthorizedkeysfile=  a b\n",
            "AuthorizedKeysFile c\n",
        ]));
        assert_eq!(found.as_deref(), Some("a b"));
        assert_eq!(
            first_outside_match(&texts(&["Match User x\n AuthorizedKeysFile a\n"])),
            None
        );
    }
}
