//! Writes status and history in a thread of its own, after the work: neither a full nor a dead disk holds the loop up.

use std::io;
use std::time::Duration;

use log::{info, warn};

use super::history::{self, Entry};
use super::status::{self, Status};
use crate::system::channel::{self, Receiver, RecvTimeoutError, Sender};
use crate::system::order::Map;
use crate::system::root::Root;
use crate::system::threads;

/// How long the end of the agent waits for what is still to be written: a disk that does not answer is no reason to wait
/// longer.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(50);

/// How long after a failure a status is written again: without it, what is on disk would be stale until there is news.
const RETRY: Duration = Duration::from_secs(5);

enum Message {
    Status(Box<Status>),
    Changes(Vec<Entry>),
}

/// The handle of the thread.
pub(super) struct Recorder {
    messages: Sender<Message>,
    done: Receiver<()>,
    /// What was handed over last for each manager.
    statuses: Map<String, Status>,
}

impl Recorder {
    /// Starts the thread. `logger` is the name under which it logs that it cannot write.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub(super) fn start(root: Root, logger: &'static str) -> io::Result<Self> {
        Self::start_with(root, logger, RETRY)
    }

    fn start_with(root: Root, logger: &'static str, retry: Duration) -> io::Result<Self> {
        let (messages, received) = channel::channel();
        let (finished, done) = channel::channel();
        threads::start("recorder", move || {
            let mut writer = Writer {
                root,
                logger,
                unwritten: Map::new(),
                troubles: Map::new(),
            };
            while writer.handle(&received, retry) {}
            // Nobody may be waiting any more.
            let _ = finished.send(());
        })?;
        Ok(Self {
            messages,
            done,
            statuses: Map::new(),
        })
    }

    /// Writes the status of a manager, unless it says what was written last.
    pub(super) fn status(&mut self, status: &Status) {
        if self.statuses.get(&status.manager) == Some(status) {
            return;
        }
        self.statuses.insert(status.manager.clone(), status.clone());
        // The thread lasts as long as this handle.
        let _ = self
            .messages
            .send(Message::Status(Box::new(status.clone())));
    }

    /// Adds changes to the history.
    pub(super) fn changes(&self, entries: Vec<Entry>) {
        if !entries.is_empty() {
            let _ = self.messages.send(Message::Changes(entries));
        }
    }

    /// Ends the thread once it has written what is still to be written; waits for that no longer than `patience`.
    pub(super) fn finish(self, patience: Duration) {
        drop(self.messages);
        let _ = self.done.recv_timeout(patience);
    }
}

/// What the thread works with.
struct Writer {
    root: Root,
    logger: &'static str,
    /// The latest status of each manager whose file could not be written.
    unwritten: Map<String, Box<Status>>,
    /// What cannot be written, and why.
    troubles: Map<String, String>,
}

impl Writer {
    /// Writes what is handed over next, or what could not be written when nothing comes for a while; `false` at the end.
    fn handle(&mut self, received: &Receiver<Message>, retry: Duration) -> bool {
        let message = if self.unwritten.is_empty() {
            received.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            received.recv_timeout(retry)
        };
        match message {
            Ok(Message::Status(status)) => self.write(status),
            Ok(Message::Changes(entries)) => {
                let result = history::record(&self.root, &entries);
                self.note("the history of the agent".into(), result);
            }
            Err(RecvTimeoutError::Timeout) => {
                for status in std::mem::take(&mut self.unwritten).into_values() {
                    self.write(status);
                }
            }
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        true
    }

    fn write(&mut self, status: Box<Status>) {
        let result = status::write(&self.root, &status);
        let manager = status.manager.clone();
        if result.is_err() {
            self.unwritten.insert(manager.clone(), status);
        } else {
            self.unwritten.remove(&manager);
        }
        self.note(format!("the status of {manager}"), result);
    }

    /// Logs that something cannot be written: once, and when it can again.
    fn note(&mut self, what: String, result: io::Result<()>) {
        let logger = self.logger;
        match result.map_err(|error| error.to_string()) {
            Ok(()) => {
                if self.troubles.remove(&what).is_some() {
                    info!(target: logger, "Writing {what} again.");
                }
            }
            Err(error) => {
                if self.troubles.get(&what) != Some(&error) {
                    warn!(target: logger, "Cannot write {what}: {error}. The work goes on.");
                    self.troubles.insert(what, error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::report::Report;
    use crate::system::files::{self, Attributes, PrivateDirectory};
    use crate::system::time;
    use std::os::unix::fs::MetadataExt;
    use std::time::Instant;

    #[test]
    fn what_is_handed_over_is_written_and_news_only() {
        let place = PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-recorder-").unwrap();
        let root = Root::at(place.path());
        let mut recorder = Recorder::start(root.clone(), "gce-guest").unwrap();
        let mut status = Status::new("accounts", 1, time::now());
        status.take(&Report::default(), None, time::now());
        let change = |what: &str| vec![Entry::new(time::now(), "accounts", None, &what.into())];
        // Messages are taken in order: once the change is there, what came before it has been dealt with.
        let until = |count: usize| {
            let deadline = Instant::now() + Duration::from_secs(30);
            while history::read(&root).unwrap().len() < count {
                assert!(Instant::now() < deadline, "the history has {count} changes");
                std::thread::yield_now();
            }
        };
        let file = root.path(status::DIRECTORY).join("accounts.json");
        let inode = || file.metadata().unwrap().ino();
        recorder.status(&status);
        recorder.changes(change("one"));
        until(1);
        assert_eq!(
            status::read(&root, "accounts").unwrap(),
            Some(status.clone())
        );
        let before = inode();
        recorder.status(&status);
        recorder.changes(change("two"));
        until(2);
        assert_eq!(inode(), before, "the same is not written twice");
        recorder.finish(LAST_WORDS);
    }

    #[test]
    fn a_status_that_cannot_be_written_is_written_when_it_can_without_news() {
        let place = PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-recorder-").unwrap();
        let root = Root::at(place.path());
        let directory = root.path(status::DIRECTORY);
        let parent = directory.parent().unwrap();
        files::create_directories(parent, 0o755).unwrap();
        // Something is in the way, whoever we are.
        files::replace(&directory, b"", &Attributes::mode(0o644)).unwrap();
        let retry = Duration::from_millis(20);
        let mut recorder = Recorder::start_with(root.clone(), "gce-guest", retry).unwrap();
        let first = Status::new("accounts", 1, time::now());
        let latest = Status::new("accounts", 2, time::now());
        recorder.status(&first);
        recorder.status(&latest);
        std::thread::sleep(4 * retry);
        assert!(status::read(&root, "accounts").is_err());
        files::remove(&directory).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while status::read(&root, "accounts").ok().flatten() != Some(latest.clone()) {
            assert!(Instant::now() < deadline, "it is not written again");
            std::thread::yield_now();
        }
        recorder.finish(LAST_WORDS);
    }
}
