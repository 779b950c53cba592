//! The history: every change that was made, with its time and its cause, for whoever asks afterwards what happened.
//!
//! One line of JSON for each change, in a file that is root's alone and bounded. Keys are named by their fingerprints, as
//! sshd logs them; nothing secret is in it.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::report::Change;
use crate::system::files;
use crate::system::root::Root;

/// Where it is.
pub const DIRECTORY: &str = "/var/log/gce-guest";

/// The file of the latest changes; those before them are in the same name with `.1`.
pub const FILE: &str = "history.jsonl";

/// How large each of the two files becomes, in bytes.
const LIMIT: u64 = 1024 * 1024;

/// How much of the lines before and after a change is kept, in bytes each.
const LINES_LIMIT: usize = 4096;

/// One change that was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// When, in UTC (RFC 3339).
    pub time: String,
    /// Which manager made it.
    pub manager: String,
    /// The version of metadata that it was made from.
    pub etag: Option<String>,
    /// What was done.
    pub change: String,
    /// What was changed.
    pub subject: Option<String>,
    /// The metadata key that is behind it.
    pub key: Option<String>,
    /// What was there before.
    pub before: Vec<String>,
    /// What is there after it.
    pub after: Vec<String>,
}

impl Entry {
    /// A change of a manager. Long lists are cut, and say so.
    #[must_use]
    pub fn new(time: Timestamp, manager: &str, etag: Option<&str>, change: &Change) -> Self {
        Self {
            time: format!("{time:.3}"),
            manager: manager.to_owned(),
            etag: etag.map(String::from),
            change: change.what.clone(),
            subject: change.subject.clone(),
            key: change.key.clone(),
            before: shortened(&change.before),
            after: shortened(&change.after),
        }
    }
}

fn shortened(lines: &[String]) -> Vec<String> {
    let mut length = 0;
    let fits = |line: &&String| {
        length += line.len();
        length <= LINES_LIMIT
    };
    let mut kept: Vec<String> = lines.iter().take_while(fits).cloned().collect();
    if kept.len() < lines.len() {
        kept.push(format!("and {} more", lines.len() - kept.len()));
    }
    kept
}

/// Adds changes to the history.
///
/// # Errors
/// Those of making the directory and of [`files::Directory::append`].
pub fn record(root: &Root, entries: &[Entry]) -> io::Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let path = root.path(DIRECTORY);
    let parent = files::create_directories(path.parent().unwrap_or(&path), 0o755)?;
    let name = path.file_name().unwrap_or_default();
    let (directory, _) = parent.open_or_create_directory(name, 0o700)?;
    let mut lines = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut lines, entry).map_err(io::Error::other)?;
        lines.push(b'\n');
        // Thousands at once are still many small writes, so that no file grows far beyond its limit.
        if lines.len() as u64 > LIMIT / 4 {
            directory.append(OsStr::new(FILE), &lines, LIMIT)?;
            lines.clear();
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    directory.append(OsStr::new(FILE), &lines, LIMIT)
}

/// Reads the history, the oldest change first. Lines that cannot be read, left by a writer that was killed, are left out.
///
/// # Errors
/// Those of open(2) and read(2); a missing file is an empty history.
pub fn read(root: &Root) -> io::Result<Vec<Entry>> {
    let directory = root.path(DIRECTORY);
    let mut entries = read_file(&directory.join(format!("{FILE}.1")))?;
    entries.extend(read_file(&directory.join(FILE))?);
    Ok(entries)
}

fn read_file(path: &Path) -> io::Result<Vec<Entry>> {
    let bytes = files::read(path, 4 * LIMIT)?.unwrap_or_default();
    let lines = bytes.split(|byte| *byte == b'\n');
    Ok(lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files::{Attributes, PrivateDirectory};
    use crate::system::time;

    fn entry(what: &str) -> Entry {
        let change = Change {
            subject: Some("user alice".into()),
            key: Some("instance/attributes/ssh-keys".into()),
            after: vec!["account".into()],
            ..Change::from(what)
        };
        Entry::new(time::now(), "accounts", Some("abc"), &change)
    }

    #[test]
    fn what_is_recorded_is_read_in_order_whatever_a_killed_writer_left() {
        let place = PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-history-").unwrap();
        let root = Root::at(place.path());
        assert_eq!(read(&root).unwrap(), []);
        record(&root, &[entry("one"), entry("two")]).unwrap();
        let path = root.path(DIRECTORY).join(FILE);
        let mut bytes = files::read(&path, LIMIT).unwrap().unwrap();
        bytes.truncate(bytes.len() - 30);
        files::replace(&path, &bytes, &Attributes::mode(0o600)).unwrap();
        record(&root, &[entry("three")]).unwrap();
        let changes: Vec<String> = read(&root)
            .unwrap()
            .into_iter()
            .map(|entry| entry.change)
            .collect();
        assert_eq!(changes, ["one", "three"]);
    }

    #[test]
    fn the_history_is_bounded_and_keeps_the_latest() {
        let place = PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-history-").unwrap();
        let root = Root::at(place.path());
        let many: Vec<Entry> = (0..20_000)
            .map(|number| entry(&number.to_string()))
            .collect();
        record(&root, &many).unwrap();
        record(&root, &[entry("last")]).unwrap();
        let directory = files::Directory::open(&root.path(DIRECTORY)).unwrap();
        for name in directory.names().unwrap() {
            let size = directory.status_of(&name).unwrap().unwrap().st_size;
            assert!(size as u64 <= LIMIT, "{name:?}: {size}");
        }
        assert_eq!(directory.names().unwrap().len(), 2);
        let read = read(&root).unwrap();
        assert_eq!(read.last().unwrap().change, "last");
        assert_eq!(read[read.len() - 2].change, "19999");
    }

    #[test]
    fn long_lists_are_cut_and_say_so() {
        let change = Change {
            after: vec!["x".repeat(1000); 100],
            ..Change::from("much")
        };
        let entry = Entry::new(time::now(), "accounts", None, &change);
        assert_eq!(entry.after.last().unwrap(), "and 96 more");
        assert_eq!(entry.after.len(), 5);
    }
}
