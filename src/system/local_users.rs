//! The users of `/etc/passwd`, read once for many look-ups.
//!
//! The C library reads the whole file for every name: a pass over n users costs n times n lines. Here the file is read once,
//! and only where that gives the same answers: nsswitch.conf(5) asks the files first and takes what they say. Every name
//! that this does not have, for whatever reason, is asked of the name service as before.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::files;
use super::users::{self, User};

/// The largest file that is read, in bytes.
const SIZE_LIMIT: u64 = 64 * 1024 * 1024;

/// From how many look-ups on reading the file pays.
const WORTH_IT: usize = 4;

/// The users of `/etc/passwd` as they were at one moment.
#[derive(Debug, Default)]
pub struct LocalUsers(HashMap<String, User>);

impl LocalUsers {
    /// Reads the file for so many look-ups, where they are worth it; nothing is known where it cannot be read, or where
    /// another source comes before it.
    #[must_use]
    pub fn read_for(look_ups: usize) -> Self {
        if look_ups < WORTH_IT {
            return Self::default();
        }
        let text = |path: &str| files::read(Path::new(path), SIZE_LIMIT).ok().flatten();
        let switch = text("/etc/nsswitch.conf").unwrap_or_default();
        if !asks_files_first(&String::from_utf8_lossy(&switch)) {
            return Self::default();
        }
        Self(parse(&text("/etc/passwd").unwrap_or_default()))
    }

    /// Looks up a user; `None` when every source was asked and none knows the name.
    ///
    /// # Errors
    /// Those of [`users::user`].
    pub fn user(&self, name: &str) -> io::Result<Option<User>> {
        match self.0.get(name) {
            Some(user) => Ok(Some(user.clone())),
            None => users::user(name),
        }
    }
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

/// The proper lines of passwd(5). Of two with the same name the first counts, as in the C library; one that is odd in any
/// way is left out with its name, so that the C library says what it makes of it.
fn parse(bytes: &[u8]) -> HashMap<String, User> {
    let mut users = HashMap::new();
    let mut odd = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        let name = String::from_utf8_lossy(fields[0]).trim().to_owned();
        match user(&fields) {
            Some(user) => drop(users.entry(user.name.clone()).or_insert(user)),
            None => odd.push(name),
        }
    }
    for name in odd {
        users.remove(&name);
    }
    // An entry that includes or excludes others, as with the source "compat".
    if bytes
        .split(|byte| *byte == b'\n')
        .any(|line| line.starts_with(b"+") || line.starts_with(b"-"))
    {
        users.clear();
    }
    users
}

fn user(fields: &[&[u8]]) -> Option<User> {
    let [name, _, uid, gid, _, home, shell] = fields else {
        return None;
    };
    let number = |field: &[u8]| -> Option<u32> {
        let is_plain = !field.is_empty() && field.iter().all(u8::is_ascii_digit);
        is_plain.then(|| std::str::from_utf8(field).ok()?.parse().ok())?
    };
    let name = std::str::from_utf8(name)
        .ok()
        .filter(|name| !name.is_empty() && !name.starts_with('#') && name.trim() == *name)?;
    let path = |field: &[u8]| PathBuf::from(OsString::from_vec(field.to_vec()));
    Some(User {
        name: name.to_owned(),
        uid: number(uid)?,
        gid: number(gid)?,
        home: path(home),
        shell: path(shell),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn the_answers_are_those_of_the_name_service() {
        let local = LocalUsers::read_for(WORTH_IT);
        for name in ["root", "daemon", "nobody", "no-such-user-here"] {
            assert_eq!(local.user(name).unwrap(), users::user(name).unwrap());
        }
    }
}
