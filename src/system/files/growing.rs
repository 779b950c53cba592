//! Files that are filled piece by piece: a download, the record of a program's output.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Seek, Write};

use rustix::fs::{self, Mode, OFlags};

use super::{Directory, single_component};

/// A new file that grows. It is seen under its name from the start, so it belongs into a directory of our own.
#[derive(Debug)]
pub struct GrowingFile {
    file: File,
}

impl GrowingFile {
    /// Empties it, to begin again.
    ///
    /// # Errors
    /// Those of ftruncate(2).
    pub fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()
    }
}

impl Write for GrowingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Directory {
    /// Makes a new file of a name that is free, with exactly this mode.
    ///
    /// # Errors
    /// Those of openat(2) and fchmod(2); `EEXIST` when the name is taken.
    pub fn create(&self, name: &OsStr, mode: u32) -> io::Result<GrowingFile> {
        single_component(name)?;
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(self, name, flags, Mode::from_raw_mode(0o600))?;
        fs::fchmod(&fd, Mode::from_raw_mode(mode))?;
        Ok(GrowingFile { file: fd.into() })
    }

    /// Gives an entry another name in the same directory; what had that name before is replaced.
    ///
    /// # Errors
    /// Those of renameat(2).
    pub fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        single_component(from)?;
        single_component(to)?;
        Ok(fs::renameat(self, from, self, to)?)
    }

    /// Removes a directory inside this one with all that is below it, not following links.
    ///
    /// # Errors
    /// Those of getdents(2) and unlinkat(2).
    pub fn remove_tree(&self, name: &OsStr) -> io::Result<()> {
        let inside = self.open_directory(name)?;
        for entry in inside.names()? {
            let is_directory = inside
                .status_of(&entry)?
                .is_some_and(|status| fs::FileType::from_raw_mode(status.st_mode).is_dir());
            if is_directory {
                inside.remove_tree(&entry)?;
            } else {
                inside.remove(&entry)?;
            }
        }
        self.remove_directory(name).map(drop)
    }

    /// Whether programs cannot be run from here, because of the mount option `noexec`.
    ///
    /// # Errors
    /// Those of fstatvfs(3).
    pub fn is_noexec(&self) -> io::Result<bool> {
        Ok(fs::fstatvfs(self)?
            .f_flag
            .contains(fs::StatVfsMountFlags::NOEXEC))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files::PrivateDirectory;

    #[test]
    fn a_file_grows_begins_again_and_takes_another_name() {
        let place = PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-growing-").unwrap();
        let directory = Directory::open(place.path()).unwrap();
        let (name, other) = (OsStr::new("new"), OsStr::new("kept"));
        let mut file = directory.create(name, 0o600).unwrap();
        assert!(directory.create(name, 0o600).is_err(), "the name is taken");
        file.write_all(b"half of it").unwrap();
        file.restart().unwrap();
        file.write_all(b"all").unwrap();
        directory.rename(name, other).unwrap();
        assert_eq!(directory.read(other, 100).unwrap().unwrap(), b"all");
        assert_eq!(directory.names().unwrap(), ["kept"]);
    }

    #[test]
    fn a_tree_goes_and_what_its_links_point_at_stays() {
        let place = PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-growing-").unwrap();
        let directory = Directory::open(place.path()).unwrap();
        let (tree, _) = directory
            .open_or_create_directory(OsStr::new("tree"), 0o700)
            .unwrap();
        let (deep, _) = tree
            .open_or_create_directory(OsStr::new("deep"), 0o700)
            .unwrap();
        deep.create(OsStr::new("file"), 0o600).unwrap();
        directory.create(OsStr::new("outside"), 0o600).unwrap();
        deep.create_link(OsStr::new("link"), &place.path().join("outside"))
            .unwrap();
        tree.create_link(OsStr::new("up"), place.path()).unwrap();
        directory.remove_tree(OsStr::new("tree")).unwrap();
        assert_eq!(directory.names().unwrap(), ["outside"]);
    }
}
