//! `authorized_keys` in a home directory, which its owner controls and may swap under our hands.
//!
//! Everything inside the home is done with the owner's credentials and by directory file descriptors that follow no link:
//! whatever the owner plants there, he reaches only what he could reach anyway (spec/core.md SEC 6, SEC 7).

use std::ffi::OsStr;
use std::io;

use super::authorized_keys;
use super::plan::{Account, KeysFile};
use crate::system::credentials::{Credentials, act_as};
use crate::system::files::{Attributes, Directory};
use crate::system::root::Root;
use crate::system::selinux;

/// The directory of the keys, inside the home.
const SSH_DIRECTORY: &str = ".ssh";
/// The file of the keys, inside that.
const KEYS_FILE: &str = "authorized_keys";
/// The largest file that is read, in bytes: sshd itself reads far less.
const SIZE_LIMIT: u64 = 4 * 1024 * 1024;

/// Reads an account's `authorized_keys`.
#[must_use]
pub fn read(account: &Account) -> KeysFile {
    match act_as(credentials(account), || read_as_owner(account)) {
        Ok(Some(bytes)) => KeysFile::Contents(bytes),
        Ok(None) => KeysFile::Absent,
        Err(error) => KeysFile::Refused(refusal(account, &error)),
    }
}

/// Lets the file hold exactly `keys` of ours. Home and `.ssh` are made where they are missing.
///
/// # Errors
/// What stands in the way, with the path. The old file is then untouched.
pub fn write(account: &Account, keys: &[String]) -> io::Result<()> {
    make_missing_home(account)?;
    let label = selinux::default_context(
        &Root::machine(),
        &account.home.join(SSH_DIRECTORY).join(KEYS_FILE),
    );
    let attributes = Attributes::mode(0o600).labelled(label);
    let written = act_as(credentials(account), || {
        let home = Directory::open(&account.home)?;
        let (ssh, made) = home.open_or_create_directory(OsStr::new(SSH_DIRECTORY), 0o700)?;
        if !made {
            close_to_others(&ssh)?;
        }
        ssh.sweep(OsStr::new(KEYS_FILE))?;
        let present = ssh
            .read(OsStr::new(KEYS_FILE), SIZE_LIMIT)?
            .unwrap_or_default();
        let lines: Vec<&str> = keys.iter().map(String::as_str).collect();
        match authorized_keys::edit(&present, &lines) {
            Some(edited) => ssh.replace(OsStr::new(KEYS_FILE), &edited, &attributes),
            None => Ok(()),
        }
    });
    written.map_err(|error| io::Error::new(error.kind(), refusal(account, &error)))
}

/// Removes the file, whatever it is but a directory: a link goes, and not what it points to.
///
/// # Errors
/// What stands in the way, with the path.
pub fn remove(account: &Account) -> io::Result<()> {
    let removed = act_as(credentials(account), || {
        match open_ssh_directory(account)? {
            Some(ssh) => ssh.remove(OsStr::new(KEYS_FILE)).map(drop),
            None => Ok(()),
        }
    });
    removed.map_err(|error| io::Error::new(error.kind(), refusal(account, &error)))
}

fn credentials(account: &Account) -> Credentials {
    Credentials {
        uid: account.uid,
        gid: account.gid,
    }
}

fn read_as_owner(account: &Account) -> io::Result<Option<Vec<u8>>> {
    match open_ssh_directory(account)? {
        Some(ssh) => ssh.read(OsStr::new(KEYS_FILE), SIZE_LIMIT),
        None => Ok(None),
    }
}

fn open_ssh_directory(account: &Account) -> io::Result<Option<Directory>> {
    let opened = Directory::open(&account.home)
        .and_then(|home| home.open_directory(OsStr::new(SSH_DIRECTORY)));
    match opened {
        Ok(directory) => Ok(Some(directory)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes the right to write from group and others: with it sshd would refuse the keys.
fn close_to_others(directory: &Directory) -> io::Result<()> {
    let mode = directory.status()?.st_mode & 0o7777;
    if mode & 0o022 == 0 {
        Ok(())
    } else {
        directory.set_mode(mode & !0o022)
    }
}

/// Makes a home that is missing, as directory users have it at their first login; its parent must be root's alone.
fn make_missing_home(account: &Account) -> io::Result<()> {
    match Directory::open(&account.home) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // Whether the owner can use it is found out with the owner's credentials.
        _ => return Ok(()),
    }
    let (Some(parent), Some(name)) = (account.home.parent(), account.home.file_name()) else {
        return Ok(());
    };
    let parent = Directory::open(parent)?;
    let status = parent.status()?;
    if status.st_uid != 0 || status.st_mode & 0o022 != 0 {
        let told = format!(
            "{} is not root's alone, so no home is made in it",
            parent.path().display()
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, told));
    }
    parent.create_directory_for(name, 0o755, account.uid, account.gid)
}

/// What went wrong, with the place and what to do.
fn refusal(account: &Account, error: &io::Error) -> String {
    let file = account.home.join(SSH_DIRECTORY).join(KEYS_FILE);
    let is_link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    let advice = match error.kind() {
        _ if is_link => "it is a symbolic link; replace it by a real file",
        io::ErrorKind::NotADirectory => {
            "the home directory or .ssh is a link or no directory; replace it by a real one"
        }
        io::ErrorKind::InvalidInput => "it is not a regular file; remove it",
        io::ErrorKind::FileTooLarge => "it is too large to be a list of keys; shorten it",
        io::ErrorKind::PermissionDenied => {
            "the user may not write there; check owner and mode of the home directory"
        }
        io::ErrorKind::StorageFull => "the disk is full; the old file is untouched",
        _ => "the old file is untouched",
    };
    format!("cannot use {}: {error} ({advice})", file.display())
}
