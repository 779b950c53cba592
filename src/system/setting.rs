//! Settings of the kernel: files of /proc and /sys, which are written in place and in one go.

use std::io;
use std::path::Path;

use rustix::fs::{self, Mode, OFlags};

use super::files;

/// The most that is read of a setting.
const LIMIT: u64 = 64 * 1024;

/// Writes a setting of the kernel: the file must be there, and the whole value goes out in one write(2), which is what the
/// kernel takes for one value. An ordinary file, as in a copy of /sys, is replaced in place.
///
/// # Errors
/// Those of open(2), and of write(2): `EINVAL` for a value that the kernel does not like, `EIO` for an interrupt whose
/// affinity it manages itself. `WriteZero` when not all of the value was taken.
pub fn write_setting(path: &Path, value: &str) -> io::Result<()> {
    let fd = fs::open(
        path,
        OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let line = format!("{value}\n");
    if rustix::io::write(&fd, line.as_bytes())? < line.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(())
}

/// Reads a setting of the kernel as text, without white space at its ends; `None` when there is none or it has no value.
#[must_use]
pub fn read_setting(path: &Path) -> Option<String> {
    let bytes = files::read_stream(path, LIMIT).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    Some(text.trim().to_owned())
}

/// The names in a directory of /proc or /sys, in the order of the bytes; none when there is no such directory.
#[must_use]
pub fn names_in(path: &Path) -> Vec<String> {
    let names = files::Directory::open(path).and_then(|directory| directory.names());
    let text = |name: std::ffi::OsString| name.into_string().ok();
    names
        .unwrap_or_default()
        .into_iter()
        .filter_map(text)
        .collect()
}

/// Whether there is something at a path, whatever it is.
#[must_use]
pub fn is_there(path: &Path) -> bool {
    fs::access(path, fs::Access::EXISTS).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files::{Attributes, PrivateDirectory, replace};

    #[test]
    fn a_setting_is_written_in_place_and_never_made() {
        let place = PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-setting-").unwrap();
        let path = place.path().join("scheduler");
        assert_eq!(
            write_setting(&path, "none").unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        assert_eq!(read_setting(&path), None);
        replace(&path, b"[mq-deadline] none\n", &Attributes::mode(0o600)).unwrap();
        assert_eq!(read_setting(&path).unwrap(), "[mq-deadline] none");
        write_setting(&path, "none").unwrap();
        assert_eq!(read_setting(&path).unwrap(), "none");
        assert_eq!(names_in(place.path()), ["scheduler"]);
        assert!(names_in(&path).is_empty());
    }
}
