//! A root without an overlay on the whole: `/etc` is a copy, `/home`, `/root` and `/var` are new, the rest is shown
//! read-only.
//!
//! For a user namespace, where the kernel refuses that overlay and the machine's files belong to an id that is not mapped
//! so that root could not change them, and for a root directory that is too many overlays deep already.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Stat};
use rustix::mount::MountFlags;

use super::construction::{Construction, OWN, STAGING};
use crate::system::files::{self, Attributes, Directory};
use crate::system::mounts;

/// What is not shown as it is on the machine, besides [`OWN`].
const REPLACED: [&str; 4] = ["/etc", "/home", "/root", "/var"];

/// What programs expect in `/var`, with the mode.
const VAR: [(&str, u32); 9] = [
    ("/var/cache", 0o755),
    ("/var/empty", 0o755),
    ("/var/lib", 0o755),
    ("/var/local", 0o755),
    ("/var/log", 0o755),
    ("/var/mail", 0o1777),
    ("/var/opt", 0o755),
    ("/var/spool", 0o755),
    ("/var/tmp", 0o1777),
];

/// sudo and its modules, which work only when they are root's: here those of most distributions.
const SUDO: [&str; 3] = ["/usr/bin/sudo", "/usr/lib/sudo", "/usr/libexec/sudo"];

/// The rules of sudo where the machine's cannot be read: the same as on most distributions.
const SUDOERS: &[u8] = b"root ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n";

/// The largest file that is copied, in bytes.
const LIMIT: u64 = 16 * 1024 * 1024;

/// How deep directories below `/etc` are copied.
const DEPTH: u32 = 32;

/// The owner that files of unmapped owners have in a user namespace (`/proc/sys/kernel/overflowuid`, by default).
const UNMAPPED: u32 = 65534;

/// Makes the root.
pub(super) fn populate(construction: &Construction) -> io::Result<()> {
    let flags = MountFlags::NODEV | MountFlags::NOSUID;
    mounts::mount("tmpfs", &construction.root, flags, "size=25%,mode=755")?;
    let machine = Directory::open(Path::new("/"))?;
    let root = construction.directory(Path::new("/"))?;
    for name in machine.names()? {
        let path = Path::new("/").join(&name);
        if OWN
            .iter()
            .chain(&REPLACED)
            .any(|other| path == Path::new(other))
        {
            continue;
        }
        match machine.status_of(&name)?.as_ref().map(kind) {
            Some(FileType::Directory) => construction.show_live(&path, &path)?,
            Some(FileType::Symlink) => root.create_link(&name, &machine.read_link(&name)?)?,
            _ => {}
        }
    }
    construction.directory(Path::new("/home"))?;
    construction
        .directory(Path::new("/root"))?
        .set_mode(0o700)?;
    for (path, mode) in VAR {
        construction.directory(Path::new(path))?.set_mode(mode)?;
    }
    let var = construction.directory(Path::new("/var"))?;
    var.create_link(OsStr::new("run"), Path::new("/run"))?;
    var.create_link(OsStr::new("lock"), Path::new("/run/lock"))?;
    let etc = construction.directory(Path::new("/etc"))?;
    copy(&Directory::open(Path::new("/etc"))?, &etc, DEPTH)?;
    restore_shadows(&etc)?;
    if construction.mapped {
        restore_sudo(construction, &etc)?;
    }
    Ok(())
}

/// Copies a directory as far as it can be read: what is closed to the caller is left out.
fn copy(from: &Directory, to: &Directory, depth: u32) -> io::Result<()> {
    for name in from.names()? {
        let Some(status) = from.status_of(&name)? else {
            continue;
        };
        let mode = status.st_mode & 0o7777;
        match kind(&status) {
            FileType::RegularFile => {
                if let Ok(Some(contents)) = from.read(&name, LIMIT) {
                    let (uid, gid) = owner(&status);
                    let attributes = Attributes::mode(mode).owned_by(uid, gid);
                    to.replace(&name, &contents, &attributes)?;
                }
            }
            FileType::Symlink => to.create_link(&name, &from.read_link(&name)?)?,
            FileType::Directory if depth > 0 => {
                if let Ok(inner) = from.open_directory(&name) {
                    let (copied, _) = to.open_or_create_directory(&name, mode | 0o700)?;
                    copy(&inner, &copied, depth - 1)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Makes the files of locked passwords that an ordinary user cannot read, so that the tools for users find them.
fn restore_shadows(etc: &Directory) -> io::Result<()> {
    for (names, shadow, fields) in [
        ("passwd", "shadow", "*:19000:0:99999:7:::"),
        ("group", "gshadow", "!::"),
    ] {
        if etc.status_of(OsStr::new(shadow))?.is_some() {
            continue;
        }
        if let Some(text) = etc.read(OsStr::new(names), LIMIT)? {
            let lines = locked(&String::from_utf8_lossy(&text), fields);
            let attributes = Attributes::mode(0o640);
            etc.replace(OsStr::new(shadow), lines.as_bytes(), &attributes)?;
        }
    }
    Ok(())
}

/// Gives the sandbox a sudo that is root's: in a user namespace the machine's belongs to an id that is not mapped.
///
/// Where an ordinary user cannot read it, there is none that works.
fn restore_sudo(construction: &Construction, etc: &Directory) -> io::Result<()> {
    // In memory of its own, because it is the one place where a program may have more rights than its caller.
    let place = Path::new(STAGING).join("sudo");
    files::create_directories(&place, 0o755)?;
    mounts::mount("tmpfs", &place, MountFlags::NODEV, "size=64m,mode=755")?;
    let own = Directory::open(&place)?;
    for (number, path) in SUDO.iter().map(Path::new).enumerate() {
        let name = OsString::from(number.to_string());
        if path.is_dir() {
            let (directory, _) = own.open_or_create_directory(&name, 0o755)?;
            copy(&Directory::open(path)?, &directory, DEPTH)?;
        } else if let Ok(Some(program)) = files::read(path, LIMIT) {
            own.replace(&name, &program, &Attributes::mode(0o4755).owned_by(0, 0))?;
        } else {
            continue;
        }
        mounts::bind(&place.join(&name), &construction.path(path))?;
    }
    etc.open_or_create_directory(OsStr::new("sudoers.d"), 0o750)?;
    if etc.status_of(OsStr::new("sudoers"))?.is_none() {
        etc.replace(OsStr::new("sudoers"), SUDOERS, &Attributes::mode(0o440))?;
    }
    Ok(())
}

/// A line with these further fields for each name of a file like `/etc/passwd`.
fn locked(text: &str, fields: &str) -> String {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| format!("{name}:{fields}\n"))
        .collect()
}

fn kind(status: &Stat) -> FileType {
    FileType::from_raw_mode(status.st_mode)
}

/// Owner and group of a copy: those of the file, or root where they are not mapped.
fn owner(status: &Stat) -> (u32, u32) {
    let mapped = |id: u32| if id == UNMAPPED { 0 } else { id };
    (mapped(status.st_uid), mapped(status.st_gid))
}

/// The directory to show so that a path is there, in a root that is made of copies: the path itself where it is one of
/// the caller's own, nothing where it is there in any case or must not be.
pub(super) fn hidden(path: &Path) -> Option<PathBuf> {
    let mut components = path.components().skip(1);
    let (Some(Component::Normal(first)), Some(_)) = (components.next(), components.next()) else {
        return None;
    };
    let first = Path::new("/").join(first);
    let elsewhere = [
        "/etc", "/proc", "/sys", "/dev", "/run", "/usr", "/bin", "/sbin",
    ];
    let present = elsewhere.iter().any(|other| first == Path::new(other));
    (!present).then(|| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_gets_a_locked_password() {
        assert_eq!(
            locked("root:x:0:0::/root:/bin/sh\nbroken\na:x:1:\n", "!::"),
            "root:!::\na:!::\n"
        );
    }

    #[test]
    fn own_directories_are_shown_and_those_of_the_system_are_there() {
        for (path, shown) in [
            ("/home/a/project", true),
            ("/data/project", true),
            ("/tmp/a", true),
            ("/home", false),
            ("/", false),
            ("/usr/bin", false),
            ("/etc/default", false),
            ("relative/path", false),
        ] {
            let expected = shown.then(|| PathBuf::from(path));
            assert_eq!(hidden(Path::new(path)), expected, "{path}");
        }
    }
}
