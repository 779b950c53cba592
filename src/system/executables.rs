//! Programs that an administrator has put into a directory for us to run as root: which ones, and which ones not.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};

use super::files::Directory;

/// Endings of what editors and packages leave beside a file.
const LEFTOVERS: [&str; 8] = [
    "~", ".bak", ".orig", ".rej", ".swp", ".tmp", ".rpmsave", ".rpmnew",
];

/// A file in such a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    /// Where it is.
    pub path: PathBuf,
    /// Why it is not run, and what helps.
    pub refusal: Option<String>,
}

/// The files of a directory in the order of their names. `below` is the part of the path that root alone must be able to
/// change, besides the system's own directories above it.
///
/// A missing directory has no files. What a package manager or an editor leaves behind, and what begins with a dot, is no
/// file of the directory.
///
/// # Errors
/// The directory cannot be read, or it is not root's alone: then nothing in it is run.
pub fn list(above: &Path, below: &[&str]) -> io::Result<Vec<Executable>> {
    let mut directory = match Directory::open(above) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?,
    };
    for name in below {
        directory = match directory.open_directory(OsStr::new(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            opened => opened?,
        };
        if let Some(why) = distrust(&directory.status()?) {
            let path = directory.path().display();
            return Err(io::Error::other(format!("{path}: {why}")));
        }
    }
    let mut found = Vec::new();
    for name in directory.names()? {
        let text = name.to_string_lossy();
        if text.starts_with('.') || is_leftover(&text) {
            continue;
        }
        if let Some(status) = directory.status_of(&name)? {
            found.push(Executable {
                path: directory.path().join(&name),
                refusal: refusal(&status),
            });
        }
    }
    Ok(found)
}

fn is_leftover(name: &str) -> bool {
    LEFTOVERS.iter().any(|ending| name.ends_with(ending)) || name.contains(".dpkg-")
}

fn refusal(status: &Stat) -> Option<String> {
    match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile => distrust(status).or_else(|| {
            let executable = status.st_mode & 0o100 != 0;
            (!executable).then(|| "it is not executable (chmod u+x)".into())
        }),
        FileType::Symlink => Some("it is a symbolic link; put the file itself there".into()),
        _ => Some("it is no regular file".into()),
    }
}

/// Why something is not root's alone to change.
fn distrust(status: &Stat) -> Option<String> {
    if status.st_uid != 0 {
        Some(format!(
            "it belongs to user {} and not to root (chown root)",
            status.st_uid
        ))
    } else if status.st_mode & 0o022 != 0 {
        Some("others than root can change it (chmod go-w)".into())
    } else {
        None
    }
}
