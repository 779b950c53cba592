//! A slot: one manager in a thread of its own, so that a slow, failing or panicking one holds nobody up.
//!
//! The slot keeps the latest input only. A manager that is busy while three documents arrive sees the last of them.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::report::{Input, Report};
use crate::system::threads;

/// A manager: from the latest input to a report. It is called again and again in the same thread.
pub type Work = Box<dyn FnMut(&Input) -> Report + Send>;

/// Where the next input waits.
#[derive(Default)]
struct Mailbox {
    next: Mutex<Option<Input>>,
    arrived: Condvar,
}

/// The handle of a manager's thread.
pub struct Slot {
    mailbox: Arc<Mailbox>,
}

impl Slot {
    /// Starts the thread. `done` gets every report with the time that the pass took.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn start(
        name: &str,
        mut work: Work,
        mut done: impl FnMut(Report, Duration) + Send + 'static,
    ) -> io::Result<Self> {
        let mailbox = Arc::new(Mailbox::default());
        let incoming = Arc::clone(&mailbox);
        threads::start(name, move || {
            loop {
                let input = incoming.take();
                let started = Instant::now();
                let mut report =
                    catch_unwind(AssertUnwindSafe(|| work(&input))).unwrap_or_else(|panic| {
                        Report::failed(
                            "the manager itself",
                            format!("internal error: {}", message(panic.as_ref())),
                        )
                    });
                report.etag = Some(input.etag);
                done(report, started.elapsed());
            }
        })?;
        Ok(Self { mailbox })
    }

    /// Gives the manager an input; one that still waits is replaced. Returns whether one report more will come.
    pub fn give(&self, input: Input) -> bool {
        // A poisoned lock is whole: nothing in here can panic between two writes.
        let mut next = self
            .mailbox
            .next
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let replaced = next.replace(input).is_some();
        // Whoever is woken finds the lock free.
        drop(next);
        self.mailbox.arrived.notify_one();
        !replaced
    }
}

impl Mailbox {
    fn take(&self) -> Input {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(input) = next.take() {
                return input;
            }
            next = self
                .arrived
                .wait(next)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    use crate::config::Settings;
    use crate::metadata::Document;

    fn input() -> Input {
        Input {
            document: Arc::new(Document::default()),
            etag: "1".into(),
            settings: Arc::new(Settings::default()),
        }
    }

    #[test]
    fn a_panic_is_a_failure_and_the_next_pass_works() {
        let (reports, received) = mpsc::channel();
        let mut passes = 0;
        let work = Box::new(move |_: &Input| {
            passes += 1;
            assert!(passes != 1, "first pass");
            Report {
                changes: vec![format!("pass {passes}").into()],
                ..Report::default()
            }
        });
        let slot =
            Slot::start("test", work, move |report, _| reports.send(report).unwrap()).unwrap();
        slot.give(input());
        let failed = received.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(
            failed.failures["the manager itself"].contains("first pass"),
            "{failed:?}"
        );
        slot.give(input());
        assert_eq!(
            received
                .recv_timeout(Duration::from_secs(10))
                .unwrap()
                .changes[0]
                .what,
            "pass 2"
        );
    }

    #[test]
    fn a_busy_manager_sees_the_last_input_only() {
        let (reports, received) = mpsc::channel();
        let (release, gate) = mpsc::channel::<()>();
        let work = Box::new(move |input: &Input| {
            gate.recv().unwrap();
            Report {
                changes: vec![format!("{:?}", input.document.instance.id).into()],
                ..Report::default()
            }
        });
        let slot =
            Slot::start("test", work, move |report, _| reports.send(report).unwrap()).unwrap();
        let with_id = |id: &str| {
            let mut input = input();
            Arc::make_mut(&mut input.document).instance.id =
                crate::metadata::document::Presence::Present(id.into());
            input
        };
        slot.give(with_id("1"));
        // Once the first pass runs, its input is out of the mailbox.
        while slot.mailbox.next.lock().unwrap().is_some() {
            std::thread::yield_now();
        }
        assert!(slot.give(with_id("2")));
        assert!(
            !slot.give(with_id("3")),
            "it takes the place of the one before"
        );
        release.send(()).unwrap();
        release.send(()).unwrap();
        let seen: Vec<_> = (0..2)
            .flat_map(|_| {
                received
                    .recv_timeout(Duration::from_secs(10))
                    .unwrap()
                    .changes
            })
            .collect();
        let seen: Vec<&str> = seen.iter().map(|change| change.what.as_str()).collect();
        assert_eq!(seen, ["Present(\"1\")", "Present(\"3\")"]);
    }
}
