//! Ids for a user namespace: root inside is the caller, every other id is one of the caller's subordinate ids.

use std::path::Path;

use crate::system::files;
use crate::system::processes::{self, Invocation};

/// How much of a database of users or ids is read, in bytes.
const LIMIT: u64 = 16 * 1024 * 1024;

/// A block of ids outside: the first one and how many (subuid(5)).
type Range = (u32, u32);

/// Which ids outside stand for which inside.
#[derive(Debug)]
pub(super) struct Mapping {
    uid: u32,
    gid: u32,
    uids: Vec<Range>,
    gids: Vec<Range>,
}

impl Mapping {
    /// The mapping that the machine allows the caller; else what is missing and how to get it.
    pub(super) fn of_caller() -> Result<Self, String> {
        for tool in ["newuidmap", "newgidmap"] {
            if processes::find(tool).is_none() {
                return Err(format!("{tool} is not installed (Debian package uidmap)"));
            }
        }
        let uid = rustix::process::getuid().as_raw();
        let gid = rustix::process::getgid().as_raw();
        let name = read("/etc/passwd")
            .ok()
            .and_then(|passwd| user_name(&passwd, uid))
            .unwrap_or_else(|| uid.to_string());
        let ranges_of = |path: &str| {
            let ranges = ranges(&read(path)?, &name, uid);
            if ranges.is_empty() {
                return Err(format!(
                    "{path} has no range for {name} (as root: usermod --add-subuids 100000-165535 --add-subgids \
                     100000-165535 {name})"
                ));
            }
            Ok(ranges)
        };
        Ok(Self {
            uid,
            gid,
            uids: ranges_of("/etc/subuid")?,
            gids: ranges_of("/etc/subgid")?,
        })
    }

    /// Maps the ids of the user namespace that a child process has made.
    pub(super) fn apply(&self, process: i32) -> Result<(), String> {
        for (tool, own, ranges) in [
            ("newuidmap", self.uid, &self.uids),
            ("newgidmap", self.gid, &self.gids),
        ] {
            let mut arguments = vec![process.to_string()];
            arguments.extend(triples(own, ranges).iter().map(u32::to_string));
            processes::run_successfully(&Invocation::new(tool, arguments))
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// The arguments of newuidmap: inside, outside, count; own id first, then the ranges one after the other.
fn triples(own: u32, ranges: &[Range]) -> Vec<u32> {
    let mut triples = vec![0, own, 1];
    let mut next = 1_u32;
    for (start, count) in ranges {
        triples.extend([next, *start, *count]);
        next = next.saturating_add(*count);
    }
    triples
}

/// The ranges of a user in the text of `/etc/subuid` or `/etc/subgid`: lines of name or uid, start, count.
fn ranges(text: &str, name: &str, uid: u32) -> Vec<Range> {
    let number = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let start = fields.next()?.parse().ok()?;
            let count = fields.next()?.parse().ok()?;
            ((owner == name || owner == number) && count > 0).then_some((start, count))
        })
        .collect()
}

/// The name of a user in the text of `/etc/passwd`.
fn user_name(passwd: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}

fn read(path: &str) -> Result<String, String> {
    match files::read(Path::new(path), LIMIT) {
        Ok(Some(bytes)) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Ok(None) => Ok(String::new()),
        Err(error) => Err(format!("cannot read {path}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let text = "alice:100000:65536\n\
            bob:165536:65536\n\
            1000:300000:10\n\
            alice:x:1\n\
            alice:400000:0\n\
            # comment\n";
        assert_eq!(
            ranges(text, "alice", 1000),
            [(100_000, 65_536), (300_000, 10)]
        );
        assert_eq!(ranges(text, "bob", 1001), [(165_536, 65_536)]);
        assert_eq!(ranges(text, "carol", 1002), []);
    }

    #[test]
    fn the_caller_is_root_and_the_ranges_follow() {
        assert_eq!(
            triples(1000, &[(100_000, 65_536), (300_000, 10)]),
            [0, 1000, 1, 1, 100_000, 65_536, 65_537, 300_000, 10]
        );
    }

    #[test]
    fn a_user_is_found_by_the_whole_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\nten:x:10:1::/:/bin/sh\none:x:1:1::/:/bin/sh\n";
        assert_eq!(user_name(passwd, 1).as_deref(), Some("one"));
        assert_eq!(user_name(passwd, 2), None);
    }
}
