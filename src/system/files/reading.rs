//! Reading whole files.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::{self, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

/// Reads a regular file of the system by its path; `None` when there is none. Symbolic links are followed.
///
/// # Errors
/// Those of open(2) and read(2) but `ENOENT`, `InvalidInput` for anything but a regular file, `FileTooLarge` past `limit`.
pub fn read(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    match fs::open(
        path,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Ok(fd) => read_regular(fd, limit).map(Some),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Reads a file of /proc or /sys, whose size is not known before; at most `limit` bytes of it.
///
/// # Errors
/// Those of open(2) and read(2).
pub fn read_stream(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let fd = fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut contents = Vec::new();
    File::from(fd).take(limit).read_to_end(&mut contents)?;
    Ok(contents)
}

/// Hands on a file in pieces of `length` bytes; the last one may be shorter.
///
/// # Errors
/// Those of open(2) and read(2), and those of `piece`.
pub fn read_pieces(
    path: &Path,
    length: usize,
    mut piece: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let fd = fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut file = File::from(fd);
    loop {
        let mut buffer = Vec::with_capacity(length);
        if (&mut file).take(length as u64).read_to_end(&mut buffer)? == 0 {
            return Ok(());
        }
        piece(&buffer)?;
    }
}

/// Reads a regular file that is open, at most `limit` bytes of it.
pub(super) fn read_regular(fd: OwnedFd, limit: u64) -> io::Result<Vec<u8>> {
    let status = fs::fstat(&fd)?;
    if !FileType::from_raw_mode(status.st_mode).is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    // Room for all that it has now, and for the byte that is not there: otherwise it is read in ever larger pieces.
    let size = u64::try_from(status.st_size).unwrap_or(0).min(limit);
    let mut contents = Vec::with_capacity(usize::try_from(size).map_or(0, |size| size + 1));
    if contents.capacity() > 0 {
        retry_on_intr(|| rustix::io::read(&fd, spare_capacity(&mut contents)))?;
    }
    // Exactly what the file has, although there was room for more: that was its end.
    if contents.len() as u64 != size {
        let left = limit
            .saturating_add(1)
            .saturating_sub(contents.len() as u64);
        File::from(fd).take(left).read_to_end(&mut contents)?;
    }
    if contents.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("larger than {limit} bytes"),
        ));
    }
    Ok(contents)
}
