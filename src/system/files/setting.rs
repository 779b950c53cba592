//! Settings of the kernel: files of /proc and /sys, which are written in place and in one go.

use std::cell::{Cell, OnceCell};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, CWD, Mode, OFlags, PROC_SUPER_MAGIC, RawDir};

use crate::system::order::InOrder;

/// The longest setting: /sys hands out a page at most.
const LIMIT: usize = 4096;

/// Writes a setting of the kernel: the file must be there, and the whole value goes out in one write(2), which is what the
/// kernel takes for one value. An ordinary file, as in a copy of /sys, is replaced in place.
///
/// # Errors
/// Those of open(2), and of write(2): `EINVAL` for a value that the kernel does not like, `EIO` for an interrupt whose
/// affinity it manages itself. `WriteZero` when not all of the value was taken.
pub fn write_setting(path: &Path, value: &str) -> io::Result<()> {
    write_at(CWD, path, value, false)
}

fn write_at(directory: impl AsFd, path: &Path, value: &str, is_kernels: bool) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let fd = fs::openat(directory, path, flags, Mode::empty())?;
    let line = format!("{value}\n");
    if rustix::io::write(&fd, line.as_bytes())? < line.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    if !is_kernels {
        // What an ordinary file had beyond that. To empty it first would have ext4 write it to the disk at once. A file of
        // the kernel has no length, and one of /sys would get attributes of its own for this, which stay in memory.
        let _ = fs::ftruncate(&fd, line.len() as u64);
    }
    Ok(())
}

/// An open directory of /proc or /sys. What is in it is read with few system calls: there are thousands of such files.
#[derive(Debug)]
pub struct KernelDirectory {
    fd: OwnedFd,
    /// Whether it has been listed, which has left the descriptor at its end.
    listed: Cell<bool>,
    /// Whether it is in /proc or /sys and no copy, once that was asked.
    is_kernels: OnceCell<bool>,
}

impl KernelDirectory {
    /// Opens it; `None` when there is no such directory.
    #[must_use]
    pub fn open(path: &Path) -> Option<Self> {
        Self::open_at(CWD, path)
    }

    /// Opens a directory below it. Links are followed: the kernel makes them.
    #[must_use]
    pub fn below(&self, path: &str) -> Option<Self> {
        Self::open_at(&self.fd, Path::new(path))
    }

    fn open_at(directory: impl AsFd, path: &Path) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = fs::openat(directory, path, flags, Mode::empty()).ok()?;
        Some(Self {
            fd,
            listed: Cell::new(false),
            is_kernels: OnceCell::new(),
        })
    }

    /// Writes a setting below it, as [`write_setting`] does.
    ///
    /// # Errors
    /// Those of [`write_setting`].
    pub fn write(&self, path: &str, value: &str) -> io::Result<()> {
        let is_kernels = *self.is_kernels.get_or_init(|| is_kernels(&self.fd));
        write_at(&self.fd, Path::new(path), value, is_kernels)
    }

    /// The names in it, in no particular order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        self.each_name(&mut |name| names.push(name.to_owned()));
        names
    }

    /// Hands out the names in it, in no particular order.
    pub fn each_name(&self, take: &mut dyn FnMut(&str)) {
        if self.listed.replace(true) && fs::seek(&self.fd, fs::SeekFrom::Start(0)).is_err() {
            return;
        }
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut entries = RawDir::new(&self.fd, &mut buffer);
        while let Some(Ok(entry)) = entries.next() {
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => take(name),
            }
        }
    }

    /// Reads a setting below it, without white space at its ends; `None` when there is none or it has no value.
    #[must_use]
    pub fn read(&self, path: &str) -> Option<String> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = fs::openat(&self.fd, path, flags, Mode::empty()).ok()?;
        value(&fd)
    }
}

/// Whether a directory is in /proc or /sys (statfs(2)).
fn is_kernels(fd: &OwnedFd) -> bool {
    const SYSFS: fs::FsWord = 0x6265_6572;
    fs::fstatfs(fd).is_ok_and(|it| [PROC_SUPER_MAGIC, SYSFS].contains(&it.f_type))
}

/// Reads a setting of the kernel as text, without white space at its ends; `None` when there is none or it has no value.
#[must_use]
pub fn read_setting(path: &Path) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    value(&fs::open(path, flags, Mode::empty()).ok()?)
}

/// A setting comes whole with one read(2).
fn value(fd: &OwnedFd) -> Option<String> {
    let mut buffer = [MaybeUninit::uninit(); LIMIT];
    let (bytes, _) = rustix::io::read(fd, &mut buffer).ok()?;
    Some(std::str::from_utf8(bytes).ok()?.trim().to_owned())
}

/// The names in a directory of /proc or /sys, in the order of the bytes; none when there is no such directory.
#[must_use]
pub fn names_in(path: &Path) -> Vec<String> {
    let mut names =
        KernelDirectory::open(path).map_or_else(Vec::new, |directory| directory.names());
    names.put_in_order();
    names
}

/// The place that a path leads to through all symbolic links; `None` when it leads nowhere.
#[must_use]
pub fn resolve(path: &Path) -> Option<PathBuf> {
    std::fs::canonicalize(path).ok()
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
        assert_eq!(std::fs::read(&path).unwrap(), b"none\n");
        assert_eq!(names_in(place.path()), ["scheduler"]);
        assert!(names_in(&path).is_empty());
        let directory = KernelDirectory::open(place.path()).unwrap();
        for _ in 0..2 {
            assert_eq!(directory.names(), ["scheduler"]);
        }
        assert_eq!(directory.read("scheduler").unwrap(), "none");
        assert_eq!(directory.read("missing"), None);
        directory.write("scheduler", "mq-deadline").unwrap();
        assert_eq!(directory.read("scheduler").unwrap(), "mq-deadline");
        directory.write("scheduler", "none").unwrap();
        assert_eq!(
            std::fs::read(&path).unwrap(),
            b"none\n",
            "nothing is left of what was longer"
        );
        assert!(!*directory.is_kernels.get().unwrap());
        for kernels in ["/proc/sys/kernel", "/sys/class/net"] {
            assert!(
                is_kernels(&KernelDirectory::open(kernels.as_ref()).unwrap().fd),
                "{kernels}"
            );
        }
        let error = directory.write("missing", "none").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
