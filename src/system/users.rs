//! Users and groups by the name service (NSS): local ones and those of a directory alike.
//!
//! The C library is the only one who knows all sources of nsswitch.conf, so this asks it. "Not found" and "could not be
//! asked" are kept apart: a directory that is late must not look like a missing user.

use std::ffi::{CStr, CString, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::ptr;

use super::files;

/// The largest answer of the name service that is accepted, in bytes: a group may have thousands of members.
const ANSWER_LIMIT: usize = 4 * 1024 * 1024;

/// An account, as passwd(5) describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The user id.
    pub uid: u32,
    /// The primary group id.
    pub gid: u32,
    /// The home directory.
    pub home: PathBuf,
    /// The login shell.
    pub shell: PathBuf,
}

/// A group, as group(5) describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The group's name.
    pub name: String,
    /// The group id.
    pub gid: u32,
    /// The names of the users that have it as a supplementary group.
    pub members: Vec<String>,
}

/// Looks up a user; `None` when every source was asked and none knows the name.
///
/// # Errors
/// The name service could not be asked, or a name with a NUL byte.
pub fn user(name: &str) -> io::Result<Option<User>> {
    let name = c_string(name)?;
    let mut entry = empty_passwd();
    lookup(|buffer| getpwnam(&name, &mut entry, buffer).map(|found| found.then(|| to_user(&entry))))
}

/// Whether any account has this user id.
///
/// # Errors
/// The name service could not be asked.
pub fn is_used(uid: u32) -> io::Result<bool> {
    let mut entry = empty_passwd();
    lookup(|buffer| getpwuid(uid, &mut entry, buffer).map(|found| found.then_some(())))
        .map(|found| found.is_some())
}

/// Looks up a group; `None` when every source was asked and none knows the name.
///
/// # Errors
/// The name service could not be asked, or a name with a NUL byte.
pub fn group(name: &str) -> io::Result<Option<Group>> {
    let name = c_string(name)?;
    let mut entry = empty_group();
    lookup(|buffer| {
        getgrnam(&name, &mut entry, buffer).map(|found| found.then(|| to_group(&entry)))
    })
}

/// Whether any group has this id.
///
/// # Errors
/// The name service could not be asked.
pub fn is_group_used(gid: u32) -> io::Result<bool> {
    let mut entry = empty_group();
    let found = lookup(|buffer| Ok(getgrgid(gid, &mut entry, buffer)?.then_some(())))?;
    Ok(found.is_some())
}

/// Asks with growing buffers until the answer fits.
fn lookup<T>(
    mut ask: impl FnMut(&mut [libc::c_char]) -> io::Result<Option<T>>,
) -> io::Result<Option<T>> {
    let mut buffer = vec![0; 2048];
    loop {
        match ask(&mut buffer) {
            Err(error)
                if error.raw_os_error() == Some(libc::ERANGE) && buffer.len() < ANSWER_LIMIT =>
            {
                buffer.resize(buffer.len() * 4, 0);
            }
            // glibc answers "not found" without an error number, unless the last source could not be asked. Where all
            // sources are this machine's own there is nobody to ask, so that is "not found" as well.
            Err(error) if !is_own_trouble(&error) && only_local_sources() => return Ok(None),
            result => return result,
        }
    }
}

/// Whether an error says that this process or the machine is short of something, and nothing about the name: a user who
/// is taken for missing then would be forgotten, with all that was given.
fn is_own_trouble(error: &io::Error) -> bool {
    let numbers = [
        libc::EINTR,
        libc::EIO,
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOMEM,
        libc::ERANGE,
    ];
    error
        .raw_os_error()
        .is_some_and(|number| numbers.contains(&number))
}

/// Sources of nsswitch.conf(5) that need nobody else: what they do not know now, they will not know in a minute.
const LOCAL_SOURCES: [&str; 9] = [
    "files",
    "compat",
    "db",
    "systemd",
    "altfiles",
    "extrausers",
    "mymachines",
    "oslogin",
    "cache_oslogin",
];

/// Whether users come from this machine alone. Without the file glibc asks the local files.
fn only_local_sources() -> bool {
    let file = files::read(Path::new("/etc/nsswitch.conf"), 1024 * 1024)
        .ok()
        .flatten()
        .unwrap_or_default();
    passwd_sources(&String::from_utf8_lossy(&file)).all(|source| LOCAL_SOURCES.contains(&source))
}

/// The sources of the `passwd` line, without the actions in brackets.
fn passwd_sources(nsswitch: &str) -> impl Iterator<Item = &str> {
    let line = nsswitch
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("passwd:"))
        .unwrap_or_default();
    let line = line.split('#').next().unwrap_or_default();
    let mut in_action = false;
    line.split_whitespace().filter(move |word| {
        let is_action = in_action || word.starts_with('[');
        in_action = is_action && !word.ends_with(']');
        !is_action
    })
}

fn c_string(name: &str) -> io::Result<CString> {
    CString::new(name)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a name with a NUL byte"))
}

fn empty_passwd() -> libc::passwd {
    libc::passwd {
        pw_name: ptr::null_mut(),
        pw_passwd: ptr::null_mut(),
        pw_uid: 0,
        pw_gid: 0,
        pw_gecos: ptr::null_mut(),
        pw_dir: ptr::null_mut(),
        pw_shell: ptr::null_mut(),
    }
}

fn empty_group() -> libc::group {
    libc::group {
        gr_name: ptr::null_mut(),
        gr_passwd: ptr::null_mut(),
        gr_gid: 0,
        gr_mem: ptr::null_mut(),
    }
}

/// What the status of a look-up and its result say together: getpwnam_r(3), "RETURN VALUE".
fn answer(status: libc::c_int, found: bool) -> io::Result<bool> {
    if status == 0 {
        Ok(found)
    } else {
        Err(io::Error::from_raw_os_error(status))
    }
}

/// getpwnam_r(3): fills `entry`, whose strings live in `buffer`; whether the name is known.
#[expect(
    unsafe_code,
    reason = "the C library's name service has no safe interface"
)]
fn getpwnam(
    name: &CStr,
    entry: &mut libc::passwd,
    buffer: &mut [libc::c_char],
) -> io::Result<bool> {
    let mut result = ptr::null_mut();
    // SAFETY: the name is NUL-terminated, `entry` and `result` are writable, and the buffer's length is its own.
    let status = unsafe {
        libc::getpwnam_r(
            name.as_ptr(),
            entry,
            buffer.as_mut_ptr(),
            buffer.len(),
            &raw mut result,
        )
    };
    answer(status, !result.is_null())
}

/// getpwuid_r(3): fills `entry`, whose strings live in `buffer`; whether the id is known.
#[expect(
    unsafe_code,
    reason = "the C library's name service has no safe interface"
)]
fn getpwuid(uid: u32, entry: &mut libc::passwd, buffer: &mut [libc::c_char]) -> io::Result<bool> {
    let mut result = ptr::null_mut();
    // SAFETY: `entry` and `result` are writable, and the buffer's length is its own.
    let status = unsafe {
        libc::getpwuid_r(
            uid,
            entry,
            buffer.as_mut_ptr(),
            buffer.len(),
            &raw mut result,
        )
    };
    answer(status, !result.is_null())
}

/// getgrnam_r(3): fills `entry`, whose strings live in `buffer`; whether the name is known.
#[expect(
    unsafe_code,
    reason = "the C library's name service has no safe interface"
)]
fn getgrnam(name: &CStr, entry: &mut libc::group, buffer: &mut [libc::c_char]) -> io::Result<bool> {
    let mut result = ptr::null_mut();
    // SAFETY: the name is NUL-terminated, `entry` and `result` are writable, and the buffer's length is its own.
    let status = unsafe {
        libc::getgrnam_r(
            name.as_ptr(),
            entry,
            buffer.as_mut_ptr(),
            buffer.len(),
            &raw mut result,
        )
    };
    answer(status, !result.is_null())
}

/// getgrgid_r(3): fills `entry`, whose strings live in `buffer`; whether the id is known.
#[expect(
    unsafe_code,
    reason = "the C library's name service has no safe interface"
)]
fn getgrgid(gid: u32, entry: &mut libc::group, buffer: &mut [libc::c_char]) -> io::Result<bool> {
    let mut result = ptr::null_mut();
    // SAFETY: `entry` and `result` are writable, and the buffer's length is its own.
    let status = unsafe {
        libc::getgrgid_r(
            gid,
            entry,
            buffer.as_mut_ptr(),
            buffer.len(),
            &raw mut result,
        )
    };
    answer(status, !result.is_null())
}

fn to_user(entry: &libc::passwd) -> User {
    User {
        name: text(entry.pw_name),
        uid: entry.pw_uid,
        gid: entry.pw_gid,
        home: PathBuf::from(OsString::from_vec(bytes(entry.pw_dir))),
        shell: PathBuf::from(OsString::from_vec(bytes(entry.pw_shell))),
    }
}

fn to_group(entry: &libc::group) -> Group {
    let mut members = Vec::new();
    if !entry.gr_mem.is_null() {
        for index in 0.. {
            let member = list_item(entry.gr_mem, index);
            if member.is_null() {
                break;
            }
            members.push(text(member));
        }
    }
    Group {
        name: text(entry.gr_name),
        gid: entry.gr_gid,
        members,
    }
}

fn text(string: *const libc::c_char) -> String {
    String::from_utf8_lossy(&bytes(string)).into_owned()
}

/// The bytes of a string that getpwnam_r or getgrnam_r has filled in; a null pointer is an empty string.
#[expect(
    unsafe_code,
    reason = "the C library's name service answers with pointers into our buffer"
)]
fn bytes(string: *const libc::c_char) -> Vec<u8> {
    if string.is_null() {
        return Vec::new();
    }
    // SAFETY: getpwnam_r(3) and getgrnam_r(3) point their strings, NUL-terminated, into the buffer that the caller of
    // this private function still holds.
    unsafe { CStr::from_ptr(string) }.to_bytes().to_vec()
}

/// The item of a NULL-terminated list of strings; the caller has seen all items before it to be non-null.
#[expect(
    unsafe_code,
    reason = "the C library's name service answers with pointers into our buffer"
)]
fn list_item(list: *const *mut libc::c_char, index: usize) -> *const libc::c_char {
    // SAFETY: the list ends with a null pointer, which the caller does not go past, and lives in the caller's buffer.
    unsafe { *list.wrapping_add(index) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_and_a_made_up_name_is_not() {
        let root = user("root").unwrap().unwrap();
        assert_eq!((root.name.as_str(), root.uid, root.gid), ("root", 0, 0));
        assert_eq!(root.home, PathBuf::from("/root"));
        assert_eq!(user("no-such-user-here").unwrap(), None);
        assert_eq!(group("root").unwrap().unwrap().gid, 0);
        assert_eq!(group("no-such-group-here").unwrap(), None);
        assert!(is_used(0).unwrap() && is_group_used(0).unwrap());
        assert!(!is_used(987_654_321).unwrap() && !is_group_used(987_654_321).unwrap());
    }

    #[test]
    fn a_shortage_of_descriptors_is_no_missing_user() {
        let failing =
            |number: i32| lookup(|_| Err::<Option<()>, _>(io::Error::from_raw_os_error(number)));
        for number in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EIO] {
            let error = failing(number).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(number));
        }
    }

    #[test]
    fn ids_in_use_are_told_from_free_ones() {
        assert!(is_used(0).unwrap());
        assert!(!is_used(4_000_000_000).unwrap());
    }

    #[test]
    fn the_sources_of_users_are_read_without_their_actions() {
        for (file, expected) in [
            ("passwd: files systemd\n", vec!["files", "systemd"]),
            (
                "group: x\n  passwd:\tfiles [NOTFOUND=return success=continue] sss # ldap\n",
                vec!["files", "sss"],
            ),
            ("", vec![]),
        ] {
            assert_eq!(
                passwd_sources(file).collect::<Vec<_>>(),
                expected,
                "{file:?}"
            );
        }
    }

    #[test]
    fn a_name_with_a_nul_byte_is_an_error_and_no_lookup_of_its_beginning() {
        assert_eq!(
            user("root\0x").unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
}
