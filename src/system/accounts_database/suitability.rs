//! Whether this machine is one on which useradd can be imitated. Everything here errs on the side of useradd.

use std::io;
use std::path::{Path, PathBuf};

use super::{Account, SIZE_LIMIT, Unsuitable};
use crate::system::files::{self, Directory};
use crate::system::processes;

/// Files and directories whose presence changes what useradd does, and how.
const SIGNS: [(&str, &str); 7] = [
    (
        "/sys/fs/selinux/enforce",
        "SELinux labels are set by useradd",
    ),
    ("/run/auditd.pid", "the audit log records what useradd does"),
    ("/usr/etc/skel", "useradd copies a second skeleton"),
    (
        "/usr/etc/login.defs",
        "useradd has settings in a second place",
    ),
    (
        "/etc/login.defs.d",
        "useradd has settings in a second place",
    ),
    ("/etc/shadow-maint/useradd-pre.d", "useradd runs hooks"),
    ("/etc/shadow-maint/useradd-post.d", "useradd runs hooks"),
];

/// Files in which useradd clears the records of a user id, with the size of a record in bytes (lastlog(8), faillog(5)).
const LOGIN_RECORDS: [(&str, u64); 2] = [("/var/log/lastlog", 292), ("/var/log/faillog", 24)];

/// Checks what does not depend on the users.
pub(super) fn check_machine() -> Result<(), Unsuitable> {
    for (path, reason) in SIGNS {
        if Path::new(path).exists() {
            return Err(Unsuitable::new(format!("{reason} ({path})")));
        }
    }
    let switch = read_text("/etc/nsswitch.conf")?;
    for (database, may_be_missing) in [
        ("passwd", false),
        ("group", false),
        ("shadow", true),
        ("gshadow", true),
        ("subid", true),
    ] {
        let mut sources = sources(&switch, database);
        let first = sources.next();
        let has_files = first == Some("files") || sources.any(|source| source == "files");
        if !(has_files || may_be_missing && first.is_none())
            || (database == "subid" && first.is_some_and(|first| first != "files"))
        {
            return Err(Unsuitable::new(format!(
                "/etc/nsswitch.conf has no files for {database}"
            )));
        }
    }
    Ok(())
}

/// The sources of a database in nsswitch.conf(5), without the reactions in brackets.
fn sources<'a>(switch: &'a str, database: &str) -> impl Iterator<Item = &'a str> {
    let line = switch.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let (name, sources) = line.split_once(':')?;
        (name.trim() == database).then_some(sources)
    });
    line.unwrap_or_default()
        .split_whitespace()
        .filter(|word| !word.contains(['[', ']', '=']))
}

/// The system's own program of this name, and no other one that somebody put before it.
pub(super) fn system_program(name: &str) -> Result<PathBuf, Unsuitable> {
    let found =
        processes::find(name).ok_or_else(|| Unsuitable::new(format!("{name} is not installed")))?;
    let is_the_systems = ["/usr/sbin", "/usr/bin", "/sbin"]
        .iter()
        .any(|directory| found == Path::new(directory).join(name));
    if is_the_systems && is_binary(&found).unwrap_or_default() {
        Ok(found)
    } else {
        let told = format!("{} is not the system's {name}", found.display());
        Err(Unsuitable::new(told))
    }
}

/// Whether a program is a binary and no script that somebody put before it.
fn is_binary(path: &Path) -> io::Result<bool> {
    Ok(files::read_stream(path, 4)? == *b"\x7fELF")
}

/// Opens the directory of homes; it must be root's alone, since homes are made in it step by step.
pub(super) fn homes(path: &Path) -> Result<Directory, Unsuitable> {
    let told = |what: &str| Unsuitable::new(format!("{}: {what}", path.display()));
    let homes = Directory::open(path).map_err(|error| told(&error.to_string()))?;
    let status = homes.status().map_err(|error| told(&error.to_string()))?;
    if status.st_uid == 0 && status.st_mode & 0o022 == 0 {
        Ok(homes)
    } else {
        Err(told("it is not root's alone"))
    }
}

/// Whether every useradd accepts a name. Which others one accepts differs between distributions, so it is asked.
pub(super) fn is_plain_name(name: &str) -> bool {
    let is_character =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    (1..=32).contains(&name.len())
        && name.bytes().all(is_character)
        && name.starts_with(|first: char| first == '_' || first.is_ascii_lowercase())
}

/// Checks that a shell can stand in passwd.
pub(super) fn check_shell(shell: &str) -> Result<(), Unsuitable> {
    if shell.starts_with('/') && !shell.contains([':', '\n']) {
        Ok(())
    } else {
        Err(Unsuitable::new(format!("{shell} is no path of a shell")))
    }
}

/// Checks that no record of earlier logins would have to be cleared.
pub(super) fn check_login_records<'a>(
    accounts: impl Iterator<Item = &'a Account>,
) -> Result<(), Unsuitable> {
    let lowest = accounts
        .map(|account| account.uid)
        .min()
        .unwrap_or_default();
    for (path, record) in LOGIN_RECORDS {
        let size = Path::new(path)
            .metadata()
            .map(|metadata| metadata.len())
            .unwrap_or_default();
        if size > record * u64::from(lowest) {
            return Err(Unsuitable::new(format!(
                "{path} has records of the ids to be given"
            )));
        }
    }
    Ok(())
}

/// A file of the system that useradd reads.
pub(super) fn read_text(path: &str) -> Result<String, Unsuitable> {
    let odd = |what: &str| Unsuitable::new(format!("{path}: {what}"));
    let bytes =
        files::read(Path::new(path), SIZE_LIMIT).map_err(|error| odd(&error.to_string()))?;
    String::from_utf8(bytes.ok_or_else(|| odd("it is missing"))?).map_err(|_| odd("it is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_without_reactions_and_remarks() {
        let switch =
            "# passwd: nis\npasswd:  files [NOTFOUND=return] systemd # sss\ngroup: sss files\n";
        assert_eq!(
            sources(switch, "passwd").collect::<Vec<_>>(),
            ["files", "systemd"]
        );
        assert_eq!(
            sources(switch, "group").collect::<Vec<_>>(),
            ["sss", "files"]
        );
        assert_eq!(sources(switch, "subid").count(), 0);
    }

    #[test]
    fn only_names_that_every_useradd_accepts_are_plain() {
        for name in ["alice", "_a", "a-1", "u_2", &"a".repeat(32)] {
            assert!(is_plain_name(name), "{name}");
        }
        for name in [
            "",
            ".a",
            "..",
            "0day",
            "Alice",
            "a.b",
            "a:0",
            "a\nroot",
            "a,b",
            "-a",
            "ä",
            &"a".repeat(33),
        ] {
            assert!(!is_plain_name(name), "{name:?}");
        }
        assert!(check_shell("/bin/bash").is_ok());
        assert!(check_shell("bash").is_err() && check_shell("/bin/bash:x").is_err());
    }
}
