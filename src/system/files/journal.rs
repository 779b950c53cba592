//! Files of lines that are only added to, up to a size: what was done, in order, by several processes.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use rustix::fs::{self, FileType, FlockOperation, Mode, OFlags};

use super::{Directory, single_component};

/// How often the file is opened again, when another process has begun a new one meanwhile.
const ATTEMPTS: usize = 5;

impl Directory {
    /// Adds whole lines to the end of a file that is ours alone, made where it is missing.
    ///
    /// A file that would grow beyond `limit` bytes is renamed to `NAME.1`, where it replaces the one before it, and a new
    /// one begins; so both together stay below twice the limit, and below that and the lines where those are longer. A
    /// line that a killed writer left half stays alone on its own line. Writers exclude each other by flock(2). It is not
    /// synchronised to the disk: after a loss of power the last lines may be missing.
    ///
    /// # Errors
    /// Those of openat(2), write(2) and renameat(2); what was written of the lines is then taken back.
    pub fn append(&self, name: &OsStr, lines: &[u8], limit: u64) -> io::Result<()> {
        single_component(name)?;
        let mut older = OsString::from(name);
        older.push(".1");
        for _ in 0..ATTEMPTS {
            let flags = OFlags::RDWR
                | OFlags::APPEND
                | OFlags::CREATE
                | OFlags::NOFOLLOW
                | OFlags::NONBLOCK
                | OFlags::CLOEXEC;
            let fd = fs::openat(self, name, flags, Mode::from_raw_mode(0o600))?;
            if !FileType::from_raw_mode(fs::fstat(&fd)?.st_mode).is_file() {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            fs::flock(&fd, FlockOperation::LockExclusive)?;
            let status = fs::fstat(&fd)?;
            let named = self.status_of(name)?;
            if named.is_none_or(|named| named.st_ino != status.st_ino) {
                continue;
            }
            if status.st_mode & 0o077 != 0 {
                fs::fchmod(&fd, Mode::from_raw_mode(0o600))?;
            }
            let length = u64::try_from(status.st_size).unwrap_or_default();
            if length > 0 && length.saturating_add(lines.len() as u64) > limit {
                self.rename(name, &older)?;
                continue;
            }
            return add(&File::from(fd), length, lines);
        }
        Err(io::Error::other("other processes keep replacing it"))
    }
}

/// Writes lines at the end of a file of this length, all or nothing.
fn add(mut file: &File, length: u64, lines: &[u8]) -> io::Result<()> {
    let mut last = [b'\n'];
    if let Some(position) = length.checked_sub(1) {
        file.read_exact_at(&mut last, position)?;
    }
    let written = match last {
        [b'\n'] => file.write_all(lines),
        _ => file.write_all(&[b"\n", lines].concat()),
    };
    if written.is_err() {
        // Best effort: a line that is left half is told by whoever reads.
        let _ = file.set_len(length);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files::PrivateDirectory;

    fn place() -> PrivateDirectory {
        PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-journal-").unwrap()
    }

    fn text(directory: &Directory, name: &str) -> String {
        let bytes = directory.read(OsStr::new(name), 1 << 20).unwrap();
        String::from_utf8(bytes.unwrap_or_default()).unwrap()
    }

    #[test]
    fn lines_are_added_and_a_half_one_stays_alone() {
        let place = place();
        let (directory, name) = (place.directory(), OsStr::new("log"));
        directory.append(name, b"one\n", 100).unwrap();
        directory.append(name, b"two\nthr", 100).unwrap();
        directory.append(name, b"four\n", 100).unwrap();
        assert_eq!(text(directory, "log"), "one\ntwo\nthr\nfour\n");
        let mode = directory.status_of(name).unwrap().unwrap().st_mode;
        assert_eq!(mode & 0o7777, 0o600);
    }

    #[test]
    fn past_the_limit_a_new_file_begins_and_the_oldest_goes() {
        let place = place();
        let (directory, name) = (place.directory(), OsStr::new("log"));
        for number in 0..9 {
            let line = format!("{number}\n");
            directory.append(name, line.as_bytes(), 6).unwrap();
        }
        assert_eq!(text(directory, "log.1"), "3\n4\n5\n");
        assert_eq!(text(directory, "log"), "6\n7\n8\n");
        // What is longer than the limit is still written, once.
        directory.append(name, b"far too long\n", 6).unwrap();
        assert_eq!(text(directory, "log"), "far too long\n");
        assert_eq!(directory.names().unwrap(), ["log", "log.1"]);
    }

    #[test]
    fn writers_in_many_threads_lose_nothing() {
        let place = place();
        let path = place.path().to_path_buf();
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let path = path.clone();
                std::thread::spawn(move || {
                    let directory = Directory::open(&path).unwrap();
                    for number in 0..50 {
                        let line = format!("{thread} {number}\n");
                        let name = OsStr::new("log");
                        directory.append(name, line.as_bytes(), 800).unwrap();
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let kept = text(place.directory(), "log.1") + &text(place.directory(), "log");
        assert!(
            kept.lines().all(|line| line.split(' ').count() == 2),
            "{kept}"
        );
        assert!(kept.len() > 800, "{}", kept.len());
    }

    #[test]
    fn a_link_or_a_pipe_in_its_place_is_refused() {
        let place = place();
        let (directory, name) = (place.directory(), OsStr::new("log"));
        directory
            .create_link(name, place.path().join("other").as_path())
            .unwrap();
        assert!(directory.append(name, b"x\n", 100).is_err());
        assert_eq!(directory.names().unwrap(), ["log"]);
    }
}
