//! What is kept of the scripts: the record and the output of the last run of each occasion, the copies for a shutdown
//! without metadata, and for which instance the startup scripts have run once.
//!
//! All but the last end with the boot. Everything is root's alone: scripts and their output may hold secrets.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::PathBuf;

use super::fate::Record;
use super::find::Occasion;
use crate::system::files::{self, Attributes, Directory, GrowingFile};
use crate::system::root::Root;

/// What ends with the boot.
const BOOT: &str = "/run/gce-guest/scripts";

/// What does not.
const KEPT: &str = "/var/lib/google";

/// The instance for which `startup_once` has been fulfilled.
const ONCE: &str = "startup_scripts_instance_id";

/// The largest file of ours that is read, in bytes.
const LIMIT: u64 = 1024 * 1024;

/// How much output of a run is kept: the last one to two of these, in bytes.
pub const LOG_PART: u64 = 512 * 1024;

/// How much of the log of a run is written at once, in bytes.
const PENDING: usize = 64 * 1024;

/// Where all this is.
#[derive(Clone, Debug)]
pub struct State {
    root: Root,
}

impl State {
    /// Below a root.
    #[must_use]
    pub fn at(root: Root) -> Self {
        Self { root }
    }

    /// The directory of what ends with the boot, made where it is missing.
    ///
    /// # Errors
    /// Those of mkdir(2) and open(2).
    pub fn directory(&self) -> io::Result<Directory> {
        let path = self.root.path(BOOT);
        let parent = path.parent().unwrap_or(&path);
        let parent = files::create_directories(parent, 0o755)?;
        Ok(parent
            .open_or_create_directory(OsStr::new("scripts"), 0o700)?
            .0)
    }

    /// Where that directory is, without making it.
    #[must_use]
    pub(super) fn path(&self) -> PathBuf {
        self.root.path(BOOT)
    }

    /// Writes the record of an occasion.
    ///
    /// # Errors
    /// Those of [`Directory::replace`].
    pub fn write_record(&self, occasion: Occasion, record: &Record) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(record).map_err(io::Error::other)?;
        text.push(b'\n');
        let name = format!("{}.json", occasion.name());
        self.directory()?
            .replace(OsStr::new(&name), &text, &Attributes::mode(0o600))
    }

    /// The record of the last run of an occasion since the boot; `None` when there was none.
    ///
    /// # Errors
    /// Those of open(2), and `InvalidData` when it is no record.
    pub fn record(&self, occasion: Occasion) -> io::Result<Option<Record>> {
        let path = self
            .root
            .path(BOOT)
            .join(format!("{}.json", occasion.name()));
        let Some(text) = files::read(&path, LIMIT)? else {
            return Ok(None);
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// A new log of an occasion, in place of the last one.
    ///
    /// # Errors
    /// Those of [`Directory::remove`] and [`Directory::create`].
    pub fn start_log(&self, occasion: Occasion) -> io::Result<RunLog> {
        let directory = self.directory()?;
        let name = format!("{}.log", occasion.name());
        directory.remove(OsStr::new(&format!("{name}.1")))?;
        RunLog::new(directory, name)
    }

    /// The log of the last run of an occasion since the boot, as far as it is kept.
    ///
    /// # Errors
    /// Those of open(2) and read(2).
    pub fn log(&self, occasion: Occasion) -> io::Result<Option<Vec<u8>>> {
        let path = |end: &str| -> PathBuf {
            self.root
                .path(BOOT)
                .join(format!("{}.log{end}", occasion.name()))
        };
        let older = files::read(&path(".1"), 2 * LOG_PART)?;
        let newer = files::read(&path(""), 2 * LOG_PART)?;
        Ok(match (older, newer) {
            (None, None) => None,
            (older, newer) => Some([older.unwrap_or_default(), newer.unwrap_or_default()].concat()),
        })
    }

    /// The file that says for which instance the startup scripts have run with success, once.
    #[must_use]
    pub fn once_file() -> String {
        format!("{KEPT}/{ONCE}")
    }

    /// The instance for which the startup scripts have run with success, once.
    ///
    /// # Errors
    /// Those of open(2) and read(2).
    pub fn once(&self) -> io::Result<Option<String>> {
        let text = files::read(&self.root.path(KEPT).join(ONCE), 4096)?;
        Ok(text.map(|text| String::from_utf8_lossy(&text).trim().to_owned()))
    }

    /// Records that they have.
    ///
    /// # Errors
    /// Those of mkdir(2) and [`Directory::replace`].
    pub fn write_once(&self, instance: &str) -> io::Result<()> {
        files::create_directories(&self.root.path(KEPT), 0o755)?.replace(
            OsStr::new(ONCE),
            format!("{instance}\n").as_bytes(),
            &Attributes::mode(0o600),
        )
    }
}

/// The output of a run while it comes: the last part of it is kept.
#[derive(Debug)]
pub struct RunLog {
    directory: Directory,
    name: String,
    file: GrowingFile,
    length: u64,
    /// What is still to be written.
    pending: Vec<u8>,
}

impl RunLog {
    fn new(directory: Directory, name: String) -> io::Result<Self> {
        directory.remove(OsStr::new(&name))?;
        let file = directory.create(OsStr::new(&name), 0o600)?;
        Ok(Self {
            directory,
            name,
            file,
            length: 0,
            pending: Vec::new(),
        })
    }

    /// Adds a line of these parts. It is in the file after [`Self::write`].
    ///
    /// # Errors
    /// Those of [`Self::write`].
    pub fn add(&mut self, parts: &[&str]) -> io::Result<()> {
        for part in parts.iter().chain(&["\n"]) {
            self.pending.extend_from_slice(part.as_bytes());
        }
        if self.pending.len() < PENDING {
            return Ok(());
        }
        self.write()
    }

    /// Writes the lines that were added.
    ///
    /// # Errors
    /// Those of write(2) and renameat(2).
    pub fn write(&mut self) -> io::Result<()> {
        if self.length > LOG_PART {
            let older = format!("{}.1", self.name);
            self.directory
                .rename(OsStr::new(&self.name), OsStr::new(&older))?;
            self.file = self.directory.create(OsStr::new(&self.name), 0o600)?;
            self.length = 0;
        }
        self.length += self.pending.len() as u64;
        let written = self.file.write_all(&self.pending);
        self.pending.clear();
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files::PrivateDirectory;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn the_end_of_a_long_log_is_kept_and_it_is_roots_alone() {
        let place = PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-state-").unwrap();
        let state = State::at(Root::at(place.path()));
        assert_eq!(state.log(Occasion::Startup).unwrap(), None);
        for _ in 0..2 {
            let mut log = state.start_log(Occasion::Startup).unwrap();
            for number in 0..200_000 {
                log.add(&["line ", &number.to_string()]).unwrap();
            }
            log.write().unwrap();
        }
        let kept = String::from_utf8(state.log(Occasion::Startup).unwrap().unwrap()).unwrap();
        let numbers: Vec<u32> = kept
            .lines()
            .map(|line| line.strip_prefix("line ").unwrap().parse().unwrap())
            .collect();
        assert_eq!(numbers.last(), Some(&199_999));
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
        assert!(kept.len() as u64 > LOG_PART && (kept.len() as u64) < 3 * LOG_PART);
        let mode = |path: &str| place.path().join(path).metadata().unwrap().mode() & 0o777;
        assert_eq!(mode("run/gce-guest/scripts"), 0o700);
        assert_eq!(mode("run/gce-guest/scripts/startup.log"), 0o600);
    }

    #[test]
    fn the_instance_is_remembered() {
        let place = PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-state-").unwrap();
        let state = State::at(Root::at(place.path()));
        assert_eq!(state.once().unwrap(), None);
        state.write_once("123").unwrap();
        assert_eq!(state.once().unwrap().as_deref(), Some("123"));
    }
}
