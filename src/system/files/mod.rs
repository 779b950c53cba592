//! Files and directories by file descriptor: the one place that writes.
//!
//! A [`Directory`] is an open directory. Names inside it are single components and symbolic links are never followed at
//! the last one, so that whoever controls a directory cannot steer a write elsewhere. [`Directory::replace`] is the one
//! atomic writer: temporary file (`O_EXCL`, random name), write, owner, mode, SELinux label, fsync, rename, fsync of the
//! directory. Either the old bytes or the new ones are there, whole, whatever happens in between.

mod attributes;
mod growing;
mod journal;
mod private;
mod reading;
mod roots_own;
pub mod setting;
mod space;
mod stamp;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, XattrFlags};
use rustix::io::Errno;

use crate::system::order::InOrder;

pub use attributes::{Attributes, FileMode, add_to_mode};
pub use growing::GrowingFile;
pub use private::PrivateDirectory;
use reading::read_regular;
pub use reading::{read, read_pieces, read_stream};
pub use space::{Space, behind_links, is_mount_point, link_target, owner_and_mode, space};
pub use stamp::Stamp;

/// Between the dot and the random part of every temporary name, so that leftovers of a killed process are recognised.
const TEMPORARY_MARK: &str = ".gce-guest-";

/// The name of the extended attribute that holds a file's SELinux context.
const SELINUX_XATTR: &str = "security.selinux";

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens a directory of the system by its path. Symbolic links are followed: the path must be under root's control.
    ///
    /// # Errors
    /// Those of open(2); `ENOTDIR` when it is something else.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = fs::open(
            path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Self {
            fd,
            path: path.to_path_buf(),
        })
    }

    /// Opens a directory inside this one; a symbolic link is refused (`ENOTDIR` or `ELOOP`).
    ///
    /// # Errors
    /// Those of openat(2), and `EINVAL` for a name that is not a single component.
    pub fn open_directory(&self, name: &OsStr) -> io::Result<Self> {
        single_component(name)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(&self.fd, name, flags, Mode::empty())?;
        Ok(Self {
            fd,
            path: self.path.join(name),
        })
    }

    /// Opens a directory inside this one, making it first when it is absent. Returns whether it was made.
    ///
    /// # Errors
    /// Those of mkdirat(2) and openat(2).
    pub fn open_or_create_directory(&self, name: &OsStr, mode: u32) -> io::Result<(Self, bool)> {
        single_component(name)?;
        let made = match fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error.into()),
        };
        let directory = self.open_directory(name)?;
        if made {
            // mkdir's mode passes through the umask.
            fs::fchmod(&directory.fd, Mode::from_raw_mode(mode))?;
        }
        Ok((directory, made))
    }

    /// Makes a directory inside this one for somebody else: it is theirs from the moment it has its mode.
    ///
    /// # Errors
    /// Those of mkdirat(2), openat(2), fchown(2) and fchmod(2).
    pub fn create_directory_for(
        &self,
        name: &OsStr,
        mode: u32,
        uid: u32,
        gid: u32,
    ) -> io::Result<()> {
        single_component(name)?;
        fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o700))?;
        let made = self.open_directory(name)?;
        fs::fchown(&made.fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        made.set_mode(mode)
    }

    /// The path it was opened by, for messages only.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Owner, mode and type of the directory itself.
    ///
    /// # Errors
    /// Those of fstat(2).
    pub fn status(&self) -> io::Result<Stat> {
        Ok(fs::fstat(&self.fd)?)
    }

    /// Owner, mode and type of an entry, not following a link; `None` when there is none.
    ///
    /// # Errors
    /// Those of fstatat(2) but `ENOENT`.
    pub fn status_of(&self, name: &OsStr) -> io::Result<Option<Stat>> {
        single_component(name)?;
        match fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(status) => Ok(Some(status)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sets the permission bits of the directory itself.
    ///
    /// # Errors
    /// Those of fchmod(2).
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        Ok(fs::fchmod(&self.fd, Mode::from_raw_mode(mode))?)
    }

    /// Sets the SELinux context of the directory itself, best effort as for files.
    pub fn set_label(&self, label: &[u8]) {
        set_label(&self.fd, label);
    }

    /// Reads a regular file of at most `limit` bytes; `None` when there is none.
    ///
    /// Links, FIFOs, devices and directories are refused without blocking on them.
    ///
    /// # Errors
    /// Those of openat(2) and read(2), `InvalidInput` for anything but a regular file, `FileTooLarge` past the limit.
    pub fn read(&self, name: &OsStr, limit: u64) -> io::Result<Option<Vec<u8>>> {
        single_component(name)?;
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => read_regular(fd, limit).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces a file, or makes it, in one step. Returns nothing that a caller could act on: afterwards it is there.
    ///
    /// # Errors
    /// Those of openat(2), write(2), fsync(2) and renameat(2). The old file is then untouched and no temporary is left.
    pub fn replace(
        &self,
        name: &OsStr,
        contents: &[u8],
        attributes: &Attributes,
    ) -> io::Result<()> {
        let present = self.status_of(name)?;
        if let Some(status) = &present
            && !FileType::from_raw_mode(status.st_mode).is_file()
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        let temporary = temporary_name(name);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(&self.fd, &temporary, flags, Mode::from_raw_mode(0o600))?;
        let result = self
            .fill(fd, name, contents, attributes, present.as_ref())
            .and_then(|()| Ok(fs::renameat(&self.fd, &temporary, &self.fd, name)?));
        if result.is_err() {
            // Best effort: the error that is told is the first one, and a leftover is swept by the next pass.
            let _ = fs::unlinkat(&self.fd, &temporary, AtFlags::empty());
        }
        result?;
        self.sync()
    }

    fn fill(
        &self,
        fd: OwnedFd,
        name: &OsStr,
        contents: &[u8],
        attributes: &Attributes,
        present: Option<&Stat>,
    ) -> io::Result<()> {
        let mut file = File::from(fd);
        file.write_all(contents)?;
        let owner = attributes
            .owner
            .or_else(|| present.map(|status| (status.st_uid, status.st_gid)));
        if let Some((uid, gid)) = owner {
            let own = fs::fstat(&file)?;
            if (own.st_uid, own.st_gid) != (uid, gid) {
                fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
            }
        }
        let mode = match (attributes.mode, present) {
            (FileMode::KeepOr(_), Some(status)) => status.st_mode & 0o7777,
            (FileMode::Exact(mode) | FileMode::KeepOr(mode), _) => mode,
        };
        fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        let label = match present {
            Some(_) => self.label_of(name),
            None => attributes.label.clone(),
        };
        if let Some(label) = label {
            set_label(&file, &label);
        }
        Ok(fs::fsync(&file)?)
    }

    /// The SELinux context of an entry, where the file system keeps one.
    fn label_of(&self, name: &OsStr) -> Option<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = fs::openat(&self.fd, name, flags, Mode::empty()).ok()?;
        label(fd.as_fd())
    }

    /// Removes an entry that is not a directory. Returns whether there was one.
    ///
    /// # Errors
    /// Those of unlinkat(2) but `ENOENT`.
    pub fn remove(&self, name: &OsStr) -> io::Result<bool> {
        single_component(name)?;
        match fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) => {
                self.sync()?;
                Ok(true)
            }
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes an empty directory inside this one. Returns whether there was one.
    ///
    /// # Errors
    /// Those of unlinkat(2) but `ENOENT`.
    pub fn remove_directory(&self, name: &OsStr) -> io::Result<bool> {
        single_component(name)?;
        match fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a symbolic link that says `target`, whatever that is.
    ///
    /// # Errors
    /// Those of symlinkat(2); `EEXIST` when there is an entry of that name.
    pub fn create_link(&self, name: &OsStr, target: &Path) -> io::Result<()> {
        single_component(name)?;
        Ok(fs::symlinkat(target, &self.fd, name)?)
    }

    /// What a symbolic link in this directory says.
    ///
    /// # Errors
    /// Those of readlinkat(2); `EINVAL` when it is no link.
    pub fn read_link(&self, name: &OsStr) -> io::Result<PathBuf> {
        single_component(name)?;
        let target = fs::readlinkat(&self.fd, name, Vec::new())?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// Removes the temporary files that a killed process left behind for `name`. Returns how many there were.
    ///
    /// # Errors
    /// Those of reading the directory and of unlinkat(2).
    pub fn sweep(&self, name: &OsStr) -> io::Result<usize> {
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(TEMPORARY_MARK);
        let mut swept = 0;
        for entry in fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            let entry_name = entry.file_name().to_bytes();
            if entry_name.starts_with(prefix.as_bytes()) {
                fs::unlinkat(&self.fd, entry.file_name(), AtFlags::empty())?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    /// The names in the directory, but `.` and `..`, in the order of the bytes.
    ///
    /// # Errors
    /// Those of getdents(2).
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&self.fd)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.put_in_order();
        Ok(names)
    }

    /// Makes renames and removals in the directory durable.
    fn sync(&self) -> io::Result<()> {
        Ok(fs::fsync(&self.fd)?)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Replaces a file of the system by its path, in one step. Its directory must be there and under root's control.
///
/// # Errors
/// Those of [`Directory::open`] and [`Directory::replace`].
pub fn replace(path: &Path, contents: &[u8], attributes: &Attributes) -> io::Result<()> {
    let (directory, name) = parent_and_name(path)?;
    Directory::open(directory)?.replace(name, contents, attributes)
}

/// Removes a file of the system by its path. Returns whether there was one.
///
/// # Errors
/// Those of [`Directory::open`] but `ENOENT`, and those of [`Directory::remove`].
pub fn remove(path: &Path) -> io::Result<bool> {
    let (directory, name) = parent_and_name(path)?;
    match Directory::open(directory) {
        Ok(directory) => directory.remove(name),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes a directory of the system and whatever is missing above it, all with `mode`. Present ones are left as they are.
///
/// # Errors
/// Those of mkdir(2) and open(2).
pub fn create_directories(path: &Path, mode: u32) -> io::Result<Directory> {
    match Directory::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let (parent, name) = parent_and_name(path)?;
            Ok(create_directories(parent, mode)?
                .open_or_create_directory(name, mode)?
                .0)
        }
        result => result,
    }
}

/// Whether an entry is a symbolic link.
#[must_use]
pub fn is_link(status: &Stat) -> bool {
    FileType::from_raw_mode(status.st_mode).is_symlink()
}

/// The SELinux context of an open file, where the file system keeps one.
fn label(fd: BorrowedFd<'_>) -> Option<Vec<u8>> {
    let mut buffer = [0_u8; 256];
    let length = fs::fgetxattr(fd, SELINUX_XATTR, &mut buffer).ok()?;
    Some(buffer[..length].to_vec())
}

/// Sets the SELinux context of an open file, best effort: where it is refused (SELinux is off, the file system keeps
/// none, the policy says no) the file has the one that the kernel gave it, and what is in it matters more.
pub(super) fn set_label(fd: impl AsFd, label: &[u8]) {
    let _ = fs::fsetxattr(fd, SELINUX_XATTR, label, XattrFlags::empty());
}

fn temporary_name(name: &OsStr) -> OsString {
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(TEMPORARY_MARK);
    temporary.push(format!("{:016x}", fastrand::u64(..)));
    temporary
}

fn single_component(name: &OsStr) -> io::Result<()> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a single path component",
        ));
    }
    Ok(())
}

fn parent_and_name(path: &Path) -> io::Result<(&Path, &OsStr)> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if parent.as_os_str().is_empty() => Ok((Path::new("."), name)),
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a path without a file name",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn place() -> PrivateDirectory {
        PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-files-").unwrap()
    }

    fn mode_of(path: &Path) -> u32 {
        path.symlink_metadata().unwrap().mode() & 0o7777
    }

    #[test]
    fn a_replaced_file_is_whole_with_its_mode_and_nothing_beside_it() {
        let place = place();
        let path = place.path().join("file");
        replace(&path, b"one", &Attributes::mode(0o640)).unwrap();
        assert_eq!(
            (read(&path, 100).unwrap().unwrap(), mode_of(&path)),
            (b"one".to_vec(), 0o640)
        );
        let before = path.metadata().unwrap().ino();
        replace(&path, b"two", &Attributes::keep_mode_or(0o600)).unwrap();
        assert_eq!(
            (read(&path, 100).unwrap().unwrap(), mode_of(&path)),
            (b"two".to_vec(), 0o640)
        );
        assert_ne!(
            path.metadata().unwrap().ino(),
            before,
            "another file took the name"
        );
        let directory = Directory::open(place.path()).unwrap();
        assert_eq!(directory.names().unwrap(), ["file"]);
    }

    #[test]
    fn only_a_regular_file_is_read_or_replaced() {
        let place = place();
        let directory = Directory::open(place.path()).unwrap();
        fs::symlink("/etc/passwd", place.path().join("link")).unwrap();
        let fifo = place.path().join("fifo");
        fs::mknodat(
            fs::CWD,
            &fifo,
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        for name in ["link", "fifo"] {
            assert!(directory.read(OsStr::new(name), 100).is_err(), "{name}");
            assert!(
                directory
                    .replace(OsStr::new(name), b"x", &Attributes::mode(0o600))
                    .is_err(),
                "{name}"
            );
        }
        assert_eq!(
            directory.names().unwrap(),
            ["fifo", "link"],
            "no temporary file is left"
        );
        assert_eq!(directory.read(OsStr::new("missing"), 100).unwrap(), None);
    }

    #[test]
    fn a_file_past_the_limit_is_refused_and_not_cut() {
        let place = place();
        let path = place.path().join("file");
        replace(&path, b"12345", &Attributes::mode(0o600)).unwrap();
        assert_eq!(read(&path, 5).unwrap().unwrap(), b"12345");
        assert_eq!(
            read(&path, 4).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
    }

    #[test]
    fn names_are_single_components() {
        let place = place();
        let directory = Directory::open(place.path()).unwrap();
        for name in ["", ".", "..", "a/b", "/etc/passwd"] {
            let error = directory
                .replace(OsStr::new(name), b"x", &Attributes::mode(0o600))
                .unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name:?}");
        }
    }

    #[test]
    fn leftovers_of_one_name_are_swept_and_nothing_else() {
        let place = place();
        let directory = Directory::open(place.path()).unwrap();
        let leftover = temporary_name(OsStr::new("keys"));
        for name in [
            leftover.as_os_str(),
            OsStr::new("keys"),
            OsStr::new(".keys.other"),
            OsStr::new(".other.gce-guest-1"),
        ] {
            directory
                .replace(name, b"x", &Attributes::mode(0o600))
                .unwrap();
        }
        assert_eq!(directory.sweep(OsStr::new("keys")).unwrap(), 1);
        assert_eq!(
            directory.names().unwrap(),
            [".keys.other", ".other.gce-guest-1", "keys"]
        );
    }

    #[test]
    fn missing_directories_are_made_and_present_ones_left_alone() {
        let place = place();
        fs::mkdirat(fs::CWD, place.path().join("a"), Mode::from_raw_mode(0o700)).unwrap();
        create_directories(&place.path().join("a/b/c"), 0o755).unwrap();
        let modes = ["a", "a/b", "a/b/c"].map(|path| mode_of(&place.path().join(path)));
        assert_eq!(modes, [0o700, 0o755, 0o755]);
        let a = Directory::open(place.path())
            .unwrap()
            .open_directory(OsStr::new("a"))
            .unwrap();
        let b = a.open_directory(OsStr::new("b")).unwrap();
        assert!(b.remove_directory(OsStr::new("c")).unwrap());
        assert!(a.remove_directory(OsStr::new("b")).unwrap());
        assert!(
            Directory::open(place.path())
                .unwrap()
                .remove_directory(OsStr::new("a"))
                .unwrap()
        );
    }
}
