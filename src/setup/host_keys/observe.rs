//! What host keys there are.

use std::ffi::OsStr;
use std::io;

use super::plan::{self, Keys};
use crate::system::files::Directory;

/// The largest public key file that is read, in bytes.
const LIMIT: u64 = 64 * 1024;

/// The host keys in a directory. A key without a readable public half has an empty text.
///
/// # Errors
/// Those of reading the directory.
pub fn present(directory: &Directory) -> io::Result<Keys> {
    let mut keys = Keys::new();
    for name in directory.names()? {
        if let Some(key_type) = name.to_str().and_then(plan::type_of) {
            let public = public_key(directory, key_type).unwrap_or_default();
            keys.insert(key_type.to_owned(), public.1);
        }
    }
    Ok(keys)
}

/// The first two words of a public key file: the name of the algorithm, and the key.
#[must_use]
pub fn public_key(directory: &Directory, key_type: &str) -> Option<(String, String)> {
    let name = format!("ssh_host_{key_type}_key.pub");
    let text = directory.read(OsStr::new(&name), LIMIT).ok()??;
    words(&text)
}

/// The first two words of a text.
pub(super) fn words(text: &[u8]) -> Option<(String, String)> {
    let text = std::str::from_utf8(text).ok()?;
    let mut words = text.split_whitespace().map(String::from);
    Some((words.next()?, words.next()?))
}
