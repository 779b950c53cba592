//! What the service manager is told: readiness, a line on how things are, reloads, the end, and that the loop is alive.

use std::io;
use std::time::{Duration, Instant};

use log::{error, info};

use super::LOGGER;
use super::status::{State, Status};
use crate::system::notify::ServiceManager;
use crate::system::time;

/// The agent's side of sd_notify(3).
pub(super) struct Service {
    manager: ServiceManager,
    /// Half of what the service manager allows, and when the next sign of life is due.
    watchdog: Option<(Duration, Instant)>,
    /// What was told last.
    line: String,
    /// Whether the last message did not get through, which the log has been told.
    is_lost: bool,
}

impl Service {
    /// `watchdog` is how often the service manager wants to hear of us. Without one, nothing ever wakes the loop for it.
    pub(super) fn new(manager: ServiceManager, watchdog: Option<Duration>) -> Self {
        Self {
            manager,
            watchdog: watchdog.map(|every| (every / 2, Instant::now())),
            line: String::new(),
            is_lost: false,
        }
    }

    /// The agent handles events from here on. It does not wait for metadata: what must come after that waits by
    /// `gce-guest status --wait` (pains 12).
    pub(super) fn ready(&mut self) {
        self.tell("READY=1");
    }

    pub(super) fn reloading(&mut self) {
        let now = time::monotonic().as_micros();
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
    }

    pub(super) fn stopping(&mut self) {
        self.tell("STOPPING=1");
    }

    /// When the loop has to be awake for a sign of life.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.watchdog.map(|(_, due)| due)
    }

    /// Gives a sign of life when one is due. Called by the loop itself and by nobody else.
    pub(super) fn is_alive(&mut self, now: Instant) {
        if let Some((half, due)) = &mut self.watchdog
            && *due <= now
        {
            *due = now + *half;
            self.tell("WATCHDOG=1");
        }
    }

    /// Tells how the managers are, when that is news.
    pub(super) fn status<'a>(&mut self, statuses: impl Iterator<Item = &'a Status>) {
        let line = line(statuses);
        if line != self.line {
            self.tell(&format!("STATUS={line}"));
            self.line = line;
        }
    }

    /// Tells what is waited for before there are managers.
    pub(super) fn waits(&mut self, text: &str) {
        self.line = text.to_owned();
        self.tell(&format!("STATUS={text}"));
    }

    fn tell(&mut self, state: &str) {
        let result = self.manager.notify(state);
        match (self.is_news(&result), result) {
            (true, Err(error)) => {
                error!(target: LOGGER, "Cannot tell the service manager {state:?}: {error}. This is said once.");
            }
            (true, Ok(())) => info!(target: LOGGER, "The service manager can be told again."),
            (false, _) => {}
        }
    }

    /// Whether it is news that a message got through, or did not: a socket that is gone would else be told at every sign of
    /// life.
    fn is_news(&mut self, result: &io::Result<()>) -> bool {
        std::mem::replace(&mut self.is_lost, result.is_err()) != result.is_err()
    }
}

/// How the managers are, in one line.
fn line<'a>(statuses: impl Iterator<Item = &'a Status>) -> String {
    let words = statuses.map(|status| {
        let how = match status.state {
            State::Waiting => "waits for metadata".into(),
            State::Ok => "ok".into(),
            State::Problems => format!("ok but for {}", count(&status.problems, "problem")),
            State::Failing => format!("{} to be tried again", count(&status.failures, "failure")),
            State::Busy => "at work for long".into(),
        };
        format!("{}: {how}", status.manager)
    });
    words.collect::<Vec<_>>().join("; ")
}

fn count(list: &[String], what: &str) -> String {
    let plural = if list.len() == 1 { "" } else { "s" };
    format!("{} {what}{plural}", list.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(manager: &str, state: State, problems: &[&str]) -> Status {
        Status {
            manager: manager.into(),
            state,
            problems: problems.iter().map(|text| (*text).into()).collect(),
            ..Status::default()
        }
    }

    #[test]
    fn one_line_says_how_all_are() {
        let all = [
            status("accounts", State::Ok, &[]),
            status("network", State::Problems, &["x"]),
            status("scripts", State::Waiting, &[]),
        ];
        assert_eq!(
            line(all.iter()),
            "accounts: ok; network: ok but for 1 problem; scripts: waits for metadata"
        );
    }

    #[test]
    fn a_service_manager_that_is_gone_is_told_of_once() {
        let mut service = Service::new(ServiceManager::new(None), None);
        let gone = || Err(io::Error::from(io::ErrorKind::NotFound));
        let results = [Ok(()), gone(), gone(), gone(), Ok(()), Ok(()), gone()];
        let news = results.map(|result| service.is_news(&result));
        assert_eq!(news, [false, true, false, false, true, false, true]);
    }

    #[test]
    fn without_a_watchdog_nobody_is_woken() {
        let mut service = Service::new(ServiceManager::new(None), None);
        assert_eq!(service.wakes_at(), None);
        service.is_alive(Instant::now());
        let mut service = Service::new(ServiceManager::new(None), Some(Duration::from_secs(10)));
        let now = Instant::now();
        service.is_alive(now);
        assert_eq!(service.wakes_at(), Some(now + Duration::from_secs(5)));
        service.is_alive(now + Duration::from_secs(1));
        assert_eq!(service.wakes_at(), Some(now + Duration::from_secs(5)));
    }
}
