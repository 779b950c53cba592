//! Writes status and history in a thread of its own, after the work: neither a full nor a dead disk holds the loop up.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use log::{info, warn};

use super::history::{self, Entry};
use super::status::{self, Status};
use crate::system::root::Root;

/// How long the end of the agent waits for what is still to be written.
const LAST_WORDS: Duration = Duration::from_millis(50);

enum Message {
    Status(Box<Status>),
    Changes(Vec<Entry>),
}

/// The handle of the thread.
pub(super) struct Recorder {
    messages: Sender<Message>,
    done: Receiver<()>,
    /// What was handed over last for each manager.
    statuses: BTreeMap<String, Status>,
}

impl Recorder {
    /// Starts the thread. `logger` is the name under which it logs that it cannot write.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub(super) fn start(root: Root, logger: &'static str) -> io::Result<Self> {
        let (messages, received) = mpsc::channel();
        let (finished, done) = mpsc::channel();
        std::thread::Builder::new()
            .name("recorder".into())
            .spawn(move || {
                let mut troubles = BTreeMap::new();
                for message in received {
                    let (what, result) = match message {
                        Message::Status(status) => ("the status", status::write(&root, &status)),
                        Message::Changes(entries) => {
                            ("the history", history::record(&root, &entries))
                        }
                    };
                    note(&mut troubles, logger, what, result);
                }
                // Nobody may be waiting any more.
                let _ = finished.send(());
            })?;
        Ok(Self {
            messages,
            done,
            statuses: BTreeMap::new(),
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

    /// Ends the thread; what is still to be written has a moment.
    pub(super) fn finish(self) {
        drop(self.messages);
        // A disk that does not answer is no reason to wait longer.
        let _ = self.done.recv_timeout(LAST_WORDS);
    }
}

/// Logs that something cannot be written: once, and when it can again.
fn note(
    troubles: &mut BTreeMap<&'static str, String>,
    logger: &str,
    what: &'static str,
    result: io::Result<()>,
) {
    match result.map_err(|error| error.to_string()) {
        Ok(()) => {
            if troubles.remove(what).is_some() {
                info!(target: logger, "Writing {what} of the agent again.");
            }
        }
        Err(error) => {
            if troubles.get(what) != Some(&error) {
                warn!(target: logger, "Cannot write {what} of the agent: {error}. The work goes on.");
                troubles.insert(what, error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::report::Report;
    use crate::system::files::PrivateDirectory;
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
        recorder.finish();
    }
}
