//! Users and groups by the name service (NSS): local ones and those of a directory alike.
//!
//! The C library is the only one who knows all sources of nsswitch.conf, so this asks it. "Not found" and "could not be
//! asked" are kept apart: a directory that is late must not look like a missing user.

use std::ffi::{CStr, CString, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::ptr;

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

/// Whether some source of the name service has a user with this id.
///
/// # Errors
/// The name service could not be asked.
pub fn has_user_id(uid: u32) -> io::Result<bool> {
    let mut entry = empty_passwd();
    let found = lookup(|buffer| Ok(getpwuid(uid, &mut entry, buffer)?.then_some(())))?;
    Ok(found.is_some())
}

/// Whether some source of the name service has a group with this id.
///
/// # Errors
/// The name service could not be asked.
pub fn has_group_id(gid: u32) -> io::Result<bool> {
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
            // What "no such entry" looks like differs between sources: getpwnam_r(3), "ERRORS".
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => {
                return Ok(None);
            }
            result => return result,
        }
    }
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
    if status == 0 {
        Ok(!result.is_null())
    } else {
        Err(io::Error::from_raw_os_error(status))
    }
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
    if status == 0 {
        Ok(!result.is_null())
    } else {
        Err(io::Error::from_raw_os_error(status))
    }
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
    if status == 0 {
        Ok(!result.is_null())
    } else {
        Err(io::Error::from_raw_os_error(status))
    }
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
    if status == 0 {
        Ok(!result.is_null())
    } else {
        Err(io::Error::from_raw_os_error(status))
    }
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
        assert!(has_user_id(0).unwrap() && has_group_id(0).unwrap());
        assert!(!has_user_id(987_654_321).unwrap() && !has_group_id(987_654_321).unwrap());
    }

    #[test]
    fn a_name_with_a_nul_byte_is_an_error_and_no_lookup_of_its_beginning() {
        assert_eq!(
            user("root\0x").unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
}
