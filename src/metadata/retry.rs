//! Asking again: how often, how patiently, and what the log says meanwhile.

use std::num::NonZeroU32;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::metadata::backoff::Backoff;
use crate::metadata::client::Client;
use crate::metadata::error::MetadataError;

/// Ends a watch or a retry from another thread. Clones are the same switch; it cannot be taken back.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Switch>);

#[derive(Debug, Default)]
struct Switch {
    state: Mutex<State>,
    turned: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    clients: Vec<Client>,
}

impl Stop {
    /// A switch that has not been turned.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Turns the switch: waits end, and so do the requests of the clients that belong to it.
    pub fn stop(&self) {
        let clients = {
            let mut state = self.state();
            state.stopped = true;
            self.0.turned.notify_all();
            std::mem::take(&mut state.clients)
        };
        clients.iter().for_each(Client::close);
    }

    /// Whether it has been turned.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// Waits for a time, or until the switch is turned. Returns whether it has been turned.
    pub fn wait(&self, time: Duration) -> bool {
        let state = self.state();
        let (state, _) = self
            .0
            .turned
            .wait_timeout_while(state, time, |state| !state.stopped)
            .unwrap_or_else(PoisonError::into_inner);
        state.stopped
    }

    /// Has the client's requests ended with the switch.
    pub(crate) fn closes(&self, client: &Client) {
        let mut state = self.state();
        if state.stopped {
            client.close();
        } else {
            state.clients.push(client.clone());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole at every moment, also when a thread that held it has panicked.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long after a boot a machine may be without a network before that is trouble.
const NETWORK_PATIENCE: Duration = Duration::from_secs(60);

/// Says an outage once when it begins and once when it ends. Who has reached nobody so far for want of a network waits for
/// it, as every boot does, and that is no trouble for a while.
#[derive(Debug)]
pub(crate) struct Outage {
    logger: String,
    since: Option<Instant>,
    /// Whether there was ever an answer.
    reached: bool,
    /// Whether the log has been told that we wait, and that there is trouble.
    waits: bool,
    told: bool,
}

impl Outage {
    pub(crate) fn new(logger: &str) -> Self {
        Self {
            logger: logger.to_owned(),
            since: None,
            reached: false,
            waits: false,
            told: false,
        }
    }

    /// An attempt failed.
    pub(crate) fn failed(&mut self, error: &MetadataError) {
        let since = *self.since.get_or_insert_with(Instant::now);
        let early = !self.reached && error.lacks_network() && since.elapsed() < NETWORK_PATIENCE;
        if self.told || (early && self.waits) {
            log::debug!(target: &self.logger, "Still no metadata. {error}.");
        } else if early {
            self.waits = true;
            log::info!(target: &self.logger, "There is no network yet. {error}.");
        } else {
            self.told = true;
            log::error!(target: &self.logger, "GET request error retrieving metadata. {error}.");
        }
    }

    /// An attempt succeeded.
    pub(crate) fn succeeded(&mut self) {
        if let Some(since) = self.since.take() {
            let seconds = since.elapsed().as_secs_f32();
            let again = if self.told { " again" } else { "" };
            log::info!(target: &self.logger, "Metadata is there{again} after {seconds:.1} s.");
        }
        (self.reached, self.waits, self.told) = (true, false, false);
    }
}

/// How often a request is made until it succeeds.
#[derive(Clone, Debug)]
pub struct Retry {
    /// The waits between attempts.
    pub backoff: Backoff,
    /// The number of attempts; `None` for no end, as at boot (spec/core.md 5.5).
    pub attempts: Option<NonZeroU32>,
    /// The name under which an outage is logged.
    pub logger: String,
    /// Ends the waiting.
    pub stop: Stop,
}

impl Retry {
    /// No end.
    #[must_use]
    pub fn forever(logger: &str) -> Self {
        Self {
            backoff: Backoff::default(),
            attempts: None,
            logger: logger.to_owned(),
            stop: Stop::new(),
        }
    }

    /// At most this many attempts.
    #[must_use]
    pub fn at_most(attempts: NonZeroU32, logger: &str) -> Self {
        Self {
            attempts: Some(attempts),
            ..Self::forever(logger)
        }
    }

    /// Makes a request until it succeeds, or fails in a way that asking again does not change.
    ///
    /// # Errors
    /// The last [`MetadataError`].
    pub fn run<T>(
        &self,
        mut request: impl FnMut() -> Result<T, MetadataError>,
    ) -> Result<T, MetadataError> {
        let mut outage = Outage::new(&self.logger);
        let mut failures = 0;
        loop {
            match request() {
                Ok(value) => {
                    outage.succeeded();
                    return Ok(value);
                }
                Err(error) if !error.is_transient() => return Err(error),
                Err(error) => {
                    failures += 1;
                    outage.failed(&error);
                    if !self.goes_on_after(failures) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Waits for the next attempt, if there is one.
    fn goes_on_after(&self, failures: u32) -> bool {
        let is_last = self.attempts.is_some_and(|limit| failures >= limit.get());
        !is_last
            && !self
                .stop
                .wait(self.backoff.delay(failures, fastrand::f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreachable(kind: std::io::ErrorKind) -> MetadataError {
        MetadataError::Unreachable {
            address: "169.254.169.254:80".parse().unwrap(),
            reason: kind.into(),
        }
    }

    #[test]
    fn a_network_that_is_not_there_yet_is_no_trouble_for_a_while_and_one_that_goes_is() {
        use std::io::ErrorKind::{ConnectionRefused, NetworkUnreachable};
        let mut outage = Outage::new("test");
        outage.failed(&unreachable(NetworkUnreachable));
        assert!(outage.waits && !outage.told);
        outage.since = Instant::now().checked_sub(NETWORK_PATIENCE);
        if outage.since.is_some() {
            outage.failed(&unreachable(NetworkUnreachable));
            assert!(outage.told, "it lasts");
        }
        outage.succeeded();
        assert!(!outage.told);
        outage.failed(&unreachable(NetworkUnreachable));
        assert!(outage.told, "it was there before");
        let mut outage = Outage::new("test");
        outage.failed(&unreachable(ConnectionRefused));
        assert!(outage.told, "there is a network, and nobody answers");
    }

    fn fast(attempts: u32) -> Retry {
        Retry {
            backoff: Backoff {
                first: Duration::from_micros(1),
                cap: Duration::from_micros(10),
            },
            ..Retry::at_most(NonZeroU32::new(attempts).unwrap(), "test")
        }
    }

    /// Fails this often with a status before it succeeds; returns the result and the number of calls.
    fn tried(attempts: u32, failing: u32, status: u16) -> (bool, u32) {
        let mut calls = 0;
        let result = fast(attempts).run(|| {
            calls += 1;
            if calls <= failing {
                Err(MetadataError::Status(status))
            } else {
                Ok(())
            }
        });
        (result.is_ok(), calls)
    }

    #[test]
    fn only_what_may_pass_is_tried_again_and_only_so_often() {
        assert_eq!(tried(5, 0, 503), (true, 1));
        assert_eq!(tried(5, 4, 503), (true, 5));
        assert_eq!(tried(5, 5, 503), (false, 5));
        assert_eq!(tried(5, 5, 403), (false, 1));
    }

    #[test]
    fn a_stop_ends_a_wait_at_once() {
        let retry = Retry::forever("test");
        let stop = retry.stop.clone();
        let waiting =
            std::thread::spawn(move || retry.run(|| Err::<(), _>(MetadataError::TooLarge)));
        stop.stop();
        assert!(waiting.join().unwrap().is_err());
        assert!(stop.is_stopped() && stop.wait(Duration::from_secs(60)));
    }
}
