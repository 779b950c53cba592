//! Starts that follow ends which nobody asked for. Whoever supervises the agent starts it again after a fixed pause; one that
//! ends badly again and again waits by itself, longer each time, before it goes to work. So it is the same with every init
//! system, and with those that cannot let a pause grow.
//!
//! A record in /run is there while an agent runs, and an end that was asked for removes it. Who finds one follows a bad end:
//! a kill by the watchdog, for want of memory, a crash, a failure.

use std::ffi::{OsStr, OsString};
use std::io;
use std::time::{Duration, Instant};

use log::{info, warn};
use serde::{Deserialize, Serialize};

use super::managers::Manager;
use super::service::Service;
use super::status::{self, State, Status};
use super::{Event, LOGGER};
use crate::system::channel::{Receiver, RecvTimeoutError};
use crate::system::files::{self, Attributes};
use crate::system::root::Root;
use crate::system::{processes, signals, time};

/// Where the records are, one for each set of managers that an agent runs.
pub const DIRECTORY: &str = "/run/gce-guest/starts";

/// The largest record that is read, in bytes.
const LIMIT: u64 = 4096;

/// How long the init system pauses, as `units/` and `packaging/init/` have it. This is the first pause, and each further one
/// is twice as long.
const FIRST: Duration = Duration::from_secs(5);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(300);

/// How long an agent has to be at work for its next bad end to be a first one again: longer than it takes the watchdog.
const SETTLED: Duration = Duration::from_secs(600);

/// What is kept from one start to the next.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    /// How many bad ends there were in a row before this start.
    bad_ends: u32,
}

/// This start, in the row of starts before it.
#[derive(Debug)]
pub(super) struct Starts {
    root: Root,
    name: OsString,
    bad_ends: u32,
    settles_at: Option<Instant>,
}

impl Starts {
    /// Notes that an agent for these managers starts. To be called when an order to stop is heard, and when no other agent
    /// has these managers. What cannot be read or written costs the pause and no more.
    pub(super) fn note(root: &Root, managers: &[Manager]) -> Self {
        let names: Vec<&str> = managers.iter().map(|manager| manager.name()).collect();
        let mut starts = Self {
            root: root.clone(),
            name: format!("{}.json", names.join("-")).into(),
            bad_ends: 0,
            settles_at: None,
        };
        let noted = starts.read().and_then(|before| {
            starts.bad_ends = before.map_or(0, |before| before.bad_ends.saturating_add(1));
            starts.write()
        });
        if let Err(error) = noted {
            warn!(target: LOGGER, "Cannot keep count of starts in {DIRECTORY}: {error}. An agent that ends again and again begins again without growing pauses.");
        }
        starts
    }

    /// What the agent before this one left. One that cannot be understood was left all the same.
    fn read(&self) -> io::Result<Option<Record>> {
        let text = files::read(&self.root.path(DIRECTORY).join(&self.name), LIMIT)?;
        Ok(text.map(|text| serde_json::from_slice(&text).unwrap_or_default()))
    }

    fn write(&self) -> io::Result<()> {
        let directory = files::create_directories(&self.root.path(DIRECTORY), 0o755)?;
        let record = Record {
            bad_ends: self.bad_ends,
        };
        let text = serde_json::to_vec(&record).map_err(io::Error::other)?;
        directory.replace(&self.name, &text, &Attributes::mode(0o644))
    }

    /// Forgets all bad ends: this end was asked for.
    pub(super) fn end_in_order(&self) {
        let path = self.root.path(DIRECTORY).join(OsStr::new(&self.name));
        if let Err(error) = files::remove(&path) {
            warn!(target: LOGGER, "Cannot remove {}: {error}. The next start counts as one after a bad end.", path.display());
        }
    }

    /// The work begins.
    pub(super) fn begin_work(&mut self, now: Instant) {
        self.settles_at = (self.bad_ends > 0).then(|| now + SETTLED);
    }

    /// When the loop has to be awake for [`Self::settle`].
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.settles_at
    }

    /// Forgets earlier bad ends when the agent has been at work for long enough.
    pub(super) fn settle(&mut self, now: Instant) {
        if self.settles_at.take_if(|at| *at <= now).is_some() {
            self.bad_ends = 0;
            match self.write() {
                Ok(()) => {
                    info!(target: LOGGER, "At work for {} minutes: earlier ends are forgotten.", SETTLED.as_secs() / 60);
                }
                Err(error) => warn!(target: LOGGER, "Cannot write to {DIRECTORY}: {error}."),
            }
        }
    }

    /// Waits where there is reason to, with signs of life for the service manager and with a word on why for people. Returns
    /// whether the agent is to go to work; else it was told to stop. Nothing but signals comes through `received` yet.
    pub(super) fn wait(
        &self,
        managers: &[Manager],
        service: &mut Service,
        received: &Receiver<Event>,
    ) -> bool {
        let pause = pause(self.bad_ends);
        if pause.is_zero() {
            return true;
        }
        let until = Instant::now() + pause;
        let text = format!(
            "the agent ended {} times in a row without being told to, and waits {} s before it works again; \
             the log before this says why it ended, and a restart of its service begins at once",
            self.bad_ends,
            pause.as_secs()
        );
        warn!(target: LOGGER, "{}.", super::sentence(&text));
        service.ready();
        service.waits(&text);
        self.tell_status(managers, &text, pause);
        loop {
            let now = Instant::now();
            if until <= now {
                return true;
            }
            service.is_alive(now);
            let wake = service.wakes_at().map_or(until, |due| due.min(until));
            match received.recv_timeout(wake.saturating_duration_since(now)) {
                Ok(Event::Signal(signals::Request::Stop)) | Err(RecvTimeoutError::Disconnected) => {
                    return false;
                }
                // The configuration is read when the work begins.
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// For `gce-guest status`.
    fn tell_status(&self, managers: &[Manager], text: &str, pause: Duration) {
        let now = time::now();
        for manager in managers {
            let mut status = Status::new(manager.name(), processes::own_id(), now);
            status.enter(State::Failing, now);
            status.failures = vec![text.to_owned()];
            let next_try = now.checked_add(pause).ok();
            status.next_try = next_try.map(|time| format!("{time:.3}"));
            // The log says it too.
            let _ = status::write(&self.root, &status);
        }
    }
}

/// How long an agent waits by itself after so many bad ends in a row: what the pause of the init system lacks.
fn pause(bad_ends: u32) -> Duration {
    let doublings = bad_ends.saturating_sub(1).min(16);
    (FIRST * 2_u32.pow(doublings)).min(LONGEST) - FIRST
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files::PrivateDirectory;

    #[test]
    fn pauses_double_up_to_five_minutes() {
        let with_that_of_the_init_system = |bad_ends| (FIRST + pause(bad_ends)).as_secs();
        let all: Vec<u64> = (1..=9).map(with_that_of_the_init_system).collect();
        assert_eq!(all, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(pause(0), Duration::ZERO);
        assert_eq!(FIRST + pause(u32::MAX), LONGEST);
    }

    #[test]
    fn bad_ends_count_until_one_is_asked_for_or_the_agent_has_settled() {
        let place = PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-starts-").unwrap();
        let root = Root::at(place.path());
        let start = || Starts::note(&root, &[Manager::Accounts, Manager::Clock]);
        for bad_ends in 0..3 {
            assert_eq!(start().bad_ends, bad_ends);
        }
        // Agents for other managers are others.
        assert_eq!(Starts::note(&root, &[Manager::Network]).bad_ends, 0);
        start().end_in_order();
        assert_eq!(start().bad_ends, 0);
        let mut settled = start();
        assert_eq!(settled.bad_ends, 1);
        let now = Instant::now();
        settled.begin_work(now);
        settled.settle(now);
        assert_eq!(settled.wakes_at(), Some(now + SETTLED));
        settled.settle(now + SETTLED);
        assert_eq!(settled.wakes_at(), None);
        assert_eq!(start().bad_ends, 1, "the first one again");
        let record = root.path(DIRECTORY).join("accounts-clock.json");
        files::replace(&record, b"{", &Attributes::mode(0o644)).unwrap();
        assert_eq!(start().bad_ends, 1, "what cannot be understood was left");
    }
}
