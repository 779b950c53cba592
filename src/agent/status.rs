//! What the agent says of itself, for `gce-guest status` and for programs: a small file for each manager in /run.
//!
//! A file is written when something in it has changed and at no other time, so an idle agent writes nothing. It ends with
//! the boot. Nothing secret is in it, and everybody may read it.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::history::Entry;
use super::managers::Manager;
use super::report::Report;
use crate::system::files::{self, Attributes};
use crate::system::locks;
use crate::system::root::Root;

/// Where the files are.
pub const DIRECTORY: &str = "/run/gce-guest/status";

/// The largest file that is read, in bytes.
const LIMIT: u64 = 1024 * 1024;

/// How many problems and failures are listed; more are counted.
const LISTED: usize = 20;

/// How a manager is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// No metadata has come yet.
    #[default]
    Waiting,
    /// The machine is as metadata wants it.
    Ok,
    /// So it is, but for things that no retry mends.
    Problems,
    /// Something failed and is tried again.
    Failing,
    /// A pass takes longer than any should.
    Busy,
}

/// One manager of a running agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Its name.
    pub manager: String,
    /// The process of the agent.
    pub pid: u32,
    /// The agent's version.
    pub version: String,
    /// When the agent started, in UTC (RFC 3339), as are all times here.
    pub started: String,
    /// The address of the metadata server that answered last.
    pub endpoint: Option<String>,
    /// How it is.
    pub state: State,
    /// Since when.
    pub since: String,
    /// When this agent's first pass was over.
    pub first_pass: Option<String>,
    /// The version of metadata that the last pass worked from.
    pub etag: Option<String>,
    /// What is wrong and not tried again.
    pub problems: Vec<String>,
    /// What failed and is tried again.
    pub failures: Vec<String>,
    /// When it is tried again.
    pub next_try: Option<String>,
    /// The last change that this agent made.
    pub last_change: Option<Entry>,
}

impl Status {
    /// A manager of an agent that has just started.
    #[must_use]
    pub fn new(manager: &str, pid: u32, now: Timestamp) -> Self {
        Self {
            manager: manager.to_owned(),
            pid,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: text(now),
            since: text(now),
            ..Self::default()
        }
    }

    /// Takes in how a pass went.
    pub fn take(&mut self, report: &Report, next_try: Option<Timestamp>, now: Timestamp) {
        self.problems = listed(report.problems.values());
        self.failures = listed(report.failures.values());
        self.etag = report.etag.as_deref().map(String::from);
        self.next_try = next_try.map(text);
        self.first_pass.get_or_insert_with(|| text(now));
        if let Some(change) = report.changes.last() {
            let etag = report.etag.as_deref();
            self.last_change = Some(Entry::new(now, &self.manager, etag, change));
        }
        let state = match (report.failures.is_empty(), report.problems.is_empty()) {
            (false, _) => State::Failing,
            (true, false) => State::Problems,
            (true, true) => State::Ok,
        };
        self.enter(state, now);
    }

    /// Notes a state, and since when it is so.
    pub fn enter(&mut self, state: State, now: Timestamp) {
        if self.state != state {
            self.state = state;
            self.since = text(now);
        }
    }
}

fn text(time: Timestamp) -> String {
    format!("{time:.3}")
}

fn listed<'a>(texts: impl ExactSizeIterator<Item = &'a String>) -> Vec<String> {
    let count = texts.len();
    let mut listed: Vec<String> = texts.take(LISTED).cloned().collect();
    if count > LISTED {
        listed.push(format!("and {} more", count - LISTED));
    }
    listed
}

/// Writes the file of a manager.
///
/// # Errors
/// Those of mkdir(2) and of [`files::Directory::replace`].
pub fn write(root: &Root, status: &Status) -> io::Result<()> {
    let directory = files::create_directories(&root.path(DIRECTORY), 0o755)?;
    let mut text = serde_json::to_vec(status).map_err(io::Error::other)?;
    text.push(b'\n');
    let name = format!("{}.json", status.manager);
    directory.replace(OsStr::new(&name), &text, &Attributes::mode(0o644))
}

/// Removes what an agent has left that ended while it wrote the file of a manager. Best effort: it is in nobody's way.
pub fn sweep(root: &Root, manager: &str) {
    if let Ok(directory) = files::Directory::open(&root.path(DIRECTORY)) {
        let _ = directory.sweep(OsStr::new(&format!("{manager}.json")));
    }
}

/// What the file of a manager says; `None` when there is none, because no agent has run it since the boot.
///
/// # Errors
/// Those of open(2) and read(2), and `InvalidData` when it cannot be understood.
pub fn read(root: &Root, manager: &str) -> io::Result<Option<Status>> {
    let path = root.path(DIRECTORY).join(format!("{manager}.json"));
    let Some(text) = files::read(&path, LIMIT)? else {
        return Ok(None);
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// A manager as it is seen from outside.
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// Whether a process of ours runs it: the one that wrote the status holds the lock.
    pub running: bool,
    /// Who else holds its lock.
    pub held_by: Option<String>,
    /// The process that holds its lock.
    #[serde(skip)]
    pub holder: Option<u32>,
    /// What its agent wrote; the last words of one that has ended.
    #[serde(flatten)]
    pub status: Status,
}

/// Looks at a manager from outside.
///
/// # Errors
/// Those of [`read`], and of looking for the lock.
pub fn look(root: &Root, manager: Manager) -> io::Result<Seen> {
    let status = read(root, manager.name())?.unwrap_or_else(|| Status {
        manager: manager.name().to_owned(),
        ..Status::default()
    });
    let holder = locks::holder_of(Path::new(manager.lock()))?;
    let process = holder.as_ref().and_then(locks::Holder::process);
    let running = process.is_some() && process == Some(status.pid);
    Ok(Seen {
        running,
        holder: process,
        held_by: holder.filter(|_| !running).map(|holder| holder.to_string()),
        status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_pass_without_news_leaves_the_status_as_it_is() {
        let mut status = Status::new("accounts", 1, at(0));
        let report = || Report {
            etag: Some("e".into()),
            ..Report::default()
        };
        status.take(&report(), None, at(10));
        assert_eq!(status.state, State::Ok);
        assert_eq!(
            status.first_pass.as_deref(),
            Some("1970-01-01T00:00:10.000Z")
        );
        let before = status.clone();
        status.take(&report(), None, at(70));
        assert_eq!(status, before, "nothing to write");
    }

    #[test]
    fn a_failure_says_since_when_and_when_it_is_tried_again() {
        let mut status = Status::new("network", 1, at(0));
        for (second, next) in [(10, 12), (12, 16)] {
            let report = Report::failed("state", "no answer".into());
            status.take(&report, Some(at(next)), at(second));
        }
        assert_eq!(status.state, State::Failing);
        assert_eq!(status.since, "1970-01-01T00:00:10.000Z");
        assert_eq!(status.next_try.as_deref(), Some("1970-01-01T00:00:16.000Z"));
        assert_eq!(status.failures, ["no answer"]);
        status.take(&Report::default(), None, at(16));
        assert_eq!((status.state, status.failures.len()), (State::Ok, 0));
        assert_eq!(status.since, "1970-01-01T00:00:16.000Z");
    }

    #[test]
    fn thousands_of_problems_are_counted() {
        let problem = |number: usize| (format!("{number:04}"), format!("problem {number}"));
        let report = Report {
            problems: (0..1000).map(problem).collect(),
            ..Report::default()
        };
        let mut status = Status::new("accounts", 1, at(0));
        status.take(&report, None, at(1));
        assert_eq!(status.problems.len(), 21);
        assert_eq!(status.problems[20], "and 980 more");
    }
}
