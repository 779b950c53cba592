//! The users and groups of `/etc/passwd` and `/etc/group`, read without the name service.
//!
//! The C library reads the whole file for every name: a pass over n users costs n times n lines. [`LocalUsers`] reads it
//! once, and only where that gives the same answers: nsswitch.conf(5) asks the files first and takes what they say. Every
//! name that this does not have, for whatever reason, is asked of the name service as before. [`find_user`] and
//! [`find_group`] are for when that does not answer.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::files;
use super::users::{Group, User};

/// The largest file that is read, in bytes.
const SIZE_LIMIT: u64 = 64 * 1024 * 1024;

/// From how many look-ups on taking the whole file apart pays.
const MANY: usize = 4;

/// The users of `/etc/passwd` as they were at one moment.
#[derive(Debug, Default)]
pub struct LocalUsers {
    /// The file, where it is looked through for each name.
    text: Vec<u8>,
    /// All of its users, where that is worth it.
    users: Option<HashMap<String, User>>,
}

impl LocalUsers {
    /// Reads the file for so many look-ups; nothing is known where it cannot be read, or where another source comes
    /// before it.
    #[must_use]
    pub fn read_for(look_ups: usize) -> Self {
        if look_ups == 0 || !come_first() {
            return Self::default();
        }
        let text = read("/etc/passwd");
        if look_ups < MANY {
            return Self { text, users: None };
        }
        Self {
            users: Some(parse(&text)),
            text: Vec::new(),
        }
    }

    /// What the name service says of a user, where the file alone decides that.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<User> {
        match &self.users {
            Some(users) => users.get(name).cloned(),
            None => find(&self.text, name, parse),
        }
    }
}

/// Whether nobody else is asked about the users of `/etc/passwd`.
#[must_use]
pub fn come_first() -> bool {
    asks_files_first(&String::from_utf8_lossy(&read("/etc/nsswitch.conf")))
}

/// What `/etc/passwd` says of a user.
#[must_use]
pub fn find_user(name: &str) -> Option<User> {
    find(&read("/etc/passwd"), name, parse)
}

/// What `/etc/group` says of a group.
#[must_use]
pub fn find_group(name: &str) -> Option<Group> {
    find(&read("/etc/group"), name, parse_groups)
}

fn read(path: &str) -> Vec<u8> {
    files::read(Path::new(path), SIZE_LIMIT)
        .ok()
        .flatten()
        .unwrap_or_default()
}

/// One entry of a file, which is taken apart no further than that needs.
fn find<T>(text: &[u8], name: &str, parse: impl FnOnce(&[u8]) -> HashMap<String, T>) -> Option<T> {
    let is_of_name = |line: &&[u8]| {
        let line = line.trim_ascii_start();
        let rest = line.strip_prefix(name.as_bytes());
        rest.is_some_and(|rest| {
            rest.trim_ascii_start()
                .first()
                .is_none_or(|byte| *byte == b':')
        }) || includes_others(line)
    };
    let lines: Vec<&[u8]> = text
        .split(|byte| *byte == b'\n')
        .filter(is_of_name)
        .collect();
    parse(&lines.join(&b'\n')).remove(name)
}

/// Whether the name service takes what `/etc/passwd` says of a user without asking anybody else.
fn asks_files_first(switch: &str) -> bool {
    let line = switch
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("passwd:"));
    let mut words = line.unwrap_or_default().split_whitespace();
    // A reaction in brackets could have it ask on, or merge.
    words.next() == Some("files") && words.next().is_none_or(|word| !word.starts_with('['))
}

/// The proper lines of passwd(5).
fn parse(text: &[u8]) -> HashMap<String, User> {
    entries(text, user, |user| &user.name)
}

/// The proper lines of group(5).
fn parse_groups(text: &[u8]) -> HashMap<String, Group> {
    entries(text, group, |group| &group.name)
}

/// The proper lines of a file. Of two with the same name the first counts, as in the C library; one that is odd in any way
/// is left out with its name, so that the C library says what it makes of it.
fn entries<T>(
    text: &[u8],
    read: impl Fn(&[&[u8]]) -> Option<T>,
    name_of: impl Fn(&T) -> &String,
) -> HashMap<String, T> {
    let mut entries = HashMap::new();
    let mut odd = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        if includes_others(line) {
            return HashMap::new();
        }
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        match read(&fields) {
            Some(entry) => drop(entries.entry(name_of(&entry).clone()).or_insert(entry)),
            None => odd.push(String::from_utf8_lossy(fields[0]).trim().to_owned()),
        }
    }
    for name in odd {
        entries.remove(&name);
    }
    entries
}

/// Whether a line includes or excludes entries of other sources, as with the source "compat".
fn includes_others(line: &[u8]) -> bool {
    matches!(line.first(), Some(b'+' | b'-'))
}

fn user(fields: &[&[u8]]) -> Option<User> {
    let [name, _, uid, gid, _, home, shell] = fields else {
        return None;
    };
    let path = |field: &[u8]| PathBuf::from(OsString::from_vec(field.to_vec()));
    Some(User {
        name: plain_name(name)?,
        uid: number(uid)?,
        gid: number(gid)?,
        home: path(home),
        shell: path(shell),
    })
}

fn group(fields: &[&[u8]]) -> Option<Group> {
    let [name, _, gid, members] = fields else {
        return None;
    };
    let members = std::str::from_utf8(members).ok()?.trim().split(',');
    Some(Group {
        name: plain_name(name)?,
        gid: number(gid)?,
        members: members
            .filter(|member| !member.is_empty())
            .map(String::from)
            .collect(),
    })
}

fn plain_name(field: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(field).ok()?;
    let is_plain = !name.is_empty() && !name.starts_with('#') && name.trim() == name;
    is_plain.then(|| name.to_owned())
}

fn number(field: &[u8]) -> Option<u32> {
    let is_plain = !field.is_empty() && field.iter().all(u8::is_ascii_digit);
    is_plain.then(|| std::str::from_utf8(field).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::users;

    #[test]
    fn files_count_only_where_they_have_the_first_and_last_word() {
        for (switch, expected) in [
            ("passwd: files systemd\n", true),
            ("passwd:\t\tfiles\n", true),
            ("# passwd: sss\n  passwd: files sss\n", true),
            ("passwd: sss files\n", false),
            ("passwd: files [SUCCESS=merge] sss\n", false),
            ("passwd: compat\n", false),
            ("group: files\n", false),
            ("", false),
        ] {
            assert_eq!(asks_files_first(switch), expected, "{switch:?}");
        }
    }

    #[test]
    fn odd_lines_are_left_to_the_c_library() {
        let users = parse(
            b"root:x:0:0:root:/root:/bin/bash\nroot:x:7:7::/:/bin/sh\n odd:x:1:1::/:/bin/sh\n#no:x:1:1::/:/bin/sh\n\
              twice:x:5:5::/a:/b\ntwice:x:0x5:5::/a:/b\nshort:x:1:1\n\n",
        );
        let mut names: Vec<_> = users.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["root"]);
        assert_eq!(users["root"].uid, 0, "the first of two counts");
        assert!(parse(b"root:x:0:0:root:/root:/bin/bash\n+::::::\n").is_empty());
    }

    #[test]
    fn a_name_is_found_as_among_all() {
        let text = b"root:x:0:0:root:/root:/bin/bash\nroot:x:7:7::/:/bin/sh\n odd:x:1:1::/:/bin/sh\nroo:x:5:5::/:/bin/sh\n\
              twice:x:5:5::/a:/b\ntwice :x:0x5:5::/a:/b\nshort:x:1:1\nlast:x:6:6::/:/bin/sh";
        let all = parse(text);
        for name in ["root", "roo", "ro", "odd", "twice", "short", "last", ""] {
            assert_eq!(find(text, name, parse).as_ref(), all.get(name), "{name}");
        }
        let included = [text.as_slice(), b"\n+::::::\n"].concat();
        assert_eq!(find(&included, "root", parse), None);
        let group = find(b"g:x:5:a,b\nh:x:6:\n", "g", parse_groups).unwrap();
        assert_eq!((group.gid, group.members.join(" ")), (5, "a b".to_owned()));
    }

    #[test]
    fn the_answers_are_those_of_the_name_service() {
        for look_ups in [1, MANY] {
            let local = LocalUsers::read_for(look_ups);
            for name in ["root", "daemon", "nobody"] {
                let expected = users::user(name).unwrap();
                assert!(local.get(name).is_none_or(|user| expected == Some(user)));
                assert_eq!(find_user(name), expected);
            }
            assert_eq!(local.get("no-such-user-here"), None);
        }
        let expected = users::group("root").unwrap();
        assert_eq!(find_group("root"), expected);
    }
}
