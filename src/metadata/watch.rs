//! The watch: one hanging GET after the other, for ever, whatever the server does.
//!
//! The etag advances only when the handler has taken what came, so that nothing is lost to a handler that failed.

use std::fmt;
use std::time::{Duration, Instant};

use crate::metadata::backoff::Backoff;
use crate::metadata::client::Client;
use crate::metadata::document::Document;
use crate::metadata::error::MetadataError;
use crate::metadata::question::{Answer, Etag, Query};
use crate::metadata::retry::Outage;

pub use crate::metadata::retry::Stop;

/// What is watched, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The key; the empty one is the root.
    pub key: String,
    /// The form of the answer. Its `wait` is filled in by the watcher.
    pub query: Query,
    /// How long the server keeps a request that has nothing to tell, in whole seconds. The handler runs at least this
    /// often.
    pub period: Duration,
    /// The waits after failures of the server or of the handler.
    pub backoff: Backoff,
    /// The name under which the watcher logs.
    pub logger: String,
}

impl Settings {
    /// The whole document, each 60 to 90 s: drawn once, so that a fleet does not call in step (spec/core.md 5.2).
    #[must_use]
    pub fn document() -> Self {
        Self {
            key: String::new(),
            query: Query::recursive(),
            period: Duration::from_secs(60 + fastrand::u64(0..=30)),
            backoff: Backoff::default(),
            logger: "gce-guest".to_owned(),
        }
    }

    /// One key in one form.
    #[must_use]
    pub fn key(key: &str, query: Query) -> Self {
        Self {
            key: key.to_owned(),
            query,
            ..Self::document()
        }
    }

    /// The same under another name in the log.
    #[must_use]
    pub fn logged_as(mut self, logger: &str) -> Self {
        logger.clone_into(&mut self.logger);
        self
    }
}

/// What the handler gets.
#[derive(Clone, Debug)]
pub struct Update<T = Document> {
    /// What came.
    pub value: T,
    /// Its version.
    pub etag: Etag,
    /// Whether it is another version than the last one that the handler took; `false` for the periodic reminder.
    pub changed: bool,
    /// When it came.
    pub received: Instant,
}

/// Watches the metadata server until it is stopped.
#[derive(Debug)]
pub struct Watcher {
    client: Client,
    settings: Settings,
    stop: Stop,
}

impl Watcher {
    /// A watcher with a connection of its own.
    #[must_use]
    pub fn new(client: &Client, settings: Settings) -> Self {
        let client = client.separate();
        let stop = Stop::new();
        stop.closes(&client);
        Self {
            client,
            settings,
            stop,
        }
    }

    /// The switch that ends [`Watcher::run`], also in the middle of a hanging GET.
    #[must_use]
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Hands every version of the document to the handler, the first one at once. Returns when it is stopped.
    ///
    /// A handler that fails is logged, and gets the newest document again after a wait.
    pub fn run<E: fmt::Display>(&self, handler: impl FnMut(&Update<Document>) -> Result<(), E>) {
        self.run_with(Answer::document, handler);
    }

    /// The same for any key: `decode` reads the answer, and an answer that it cannot read is a failed attempt.
    pub fn run_with<T, E: fmt::Display>(
        &self,
        decode: impl Fn(&Answer) -> Result<T, MetadataError>,
        mut handler: impl FnMut(&Update<T>) -> Result<(), E>,
    ) {
        let mut progress = Progress::default();
        let mut outage = Outage::new(&self.settings.logger);
        let mut refusal = None;
        while !self.stop.is_stopped() {
            let asked = Instant::now();
            let pause = match self.ask(&progress, &decode) {
                Err(_) if self.stop.is_stopped() => return,
                Err(error) => {
                    outage.failed(&error);
                    Some(progress.failed())
                }
                Ok(update) => {
                    outage.succeeded();
                    match handler(&update) {
                        Ok(()) => {
                            refusal = None;
                            progress.taken(&update.etag, asked.elapsed(), self.settings.period)
                        }
                        Err(error) => {
                            self.log_refusal(&mut refusal, format!("{error:#}"));
                            Some(progress.refused())
                        }
                    }
                }
            };
            if let Some(failures) = pause {
                let delay = self.settings.backoff.delay(failures, fastrand::f64());
                if self.stop.wait(delay) {
                    return;
                }
            }
        }
    }

    fn ask<T>(
        &self,
        progress: &Progress,
        decode: impl Fn(&Answer) -> Result<T, MetadataError>,
    ) -> Result<Update<T>, MetadataError> {
        let query = self.settings.query.clone();
        let query = query.wait_for_change(progress.since.clone(), self.settings.period);
        let answer = self.client.get(&self.settings.key, &query)?;
        let received = Instant::now();
        Ok(Update {
            value: decode(&answer)?,
            changed: progress.is_news(&answer.etag),
            etag: answer.etag,
            received,
        })
    }

    /// Logs a failure of the handler, unless it is the same as the last one.
    fn log_refusal(&self, last: &mut Option<String>, error: String) {
        if last.as_ref() != Some(&error) {
            log::error!(target: &self.settings.logger, "Exception calling the response handler. {error}.");
            *last = Some(error);
        }
    }
}

/// How far the watch has come. Pure: what happened goes in, how many failures to wait for comes out.
#[derive(Debug, Default)]
struct Progress {
    /// What the server is asked to change from.
    since: Etag,
    /// The version that the handler took last.
    taken: Option<Etag>,
    /// Failures in a row.
    failures: u32,
}

impl Progress {
    fn is_news(&self, etag: &Etag) -> bool {
        self.taken.as_ref() != Some(etag) || *etag == Etag::none()
    }

    /// No answer.
    fn failed(&mut self) -> u32 {
        self.failures = self.failures.saturating_add(1);
        self.failures
    }

    /// The handler failed: the next request must be answered at once, with what is newest then.
    fn refused(&mut self) -> u32 {
        self.since = Etag::none();
        self.failed()
    }

    /// The handler has taken this version. A server that has nothing new and does not wait either gets a pause, so that
    /// it is not asked without end.
    fn taken(&mut self, etag: &Etag, elapsed: Duration, period: Duration) -> Option<u32> {
        let hurried = !self.is_news(etag) || *etag == Etag::none();
        self.since = etag.clone();
        self.taken = Some(etag.clone());
        self.failures = 0;
        (hurried && elapsed < period / 2).then_some(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PERIOD: Duration = Duration::from_secs(60);

    fn etag(text: &str) -> Etag {
        Etag::from_text(text)
    }

    #[test]
    fn the_period_is_between_60_and_90_seconds() {
        let periods: Vec<u64> = (0..200)
            .map(|_| Settings::document().period.as_secs())
            .collect();
        assert!(periods.iter().all(|period| (60..=90).contains(period)));
        assert!(periods.iter().any(|period| *period != periods[0]));
    }

    #[test]
    fn the_etag_advances_only_with_the_handler() {
        let mut progress = Progress::default();
        assert!(progress.is_news(&etag("a")));
        assert_eq!(progress.refused(), 1);
        assert_eq!(progress.since, Etag::none());
        assert_eq!(progress.failed(), 2);
        assert_eq!(progress.taken(&etag("a"), Duration::ZERO, PERIOD), None);
        assert_eq!((progress.since.as_str(), progress.failures), ("a", 0));
        assert!(!progress.is_news(&etag("a")));
        assert!(progress.is_news(&etag("b")));
        assert_eq!(progress.failed(), 1);
        assert_eq!(progress.since.as_str(), "a", "an outage loses no change");
    }

    #[test]
    fn a_server_that_does_not_wait_is_not_asked_without_end() {
        let mut progress = Progress::default();
        assert_eq!(progress.taken(&etag("a"), Duration::ZERO, PERIOD), None);
        assert_eq!(progress.taken(&etag("a"), Duration::ZERO, PERIOD), Some(1));
        assert_eq!(progress.taken(&etag("a"), PERIOD, PERIOD), None);
        assert_eq!(progress.taken(&etag("b"), Duration::ZERO, PERIOD), None);
        assert_eq!(
            progress.taken(&Etag::none(), Duration::ZERO, PERIOD),
            Some(1)
        );
    }

    #[derive(Clone, Debug)]
    enum Event {
        Failed,
        Refused,
        Taken(u8),
    }

    proptest! {
        #[test]
        fn a_version_is_waited_for_only_after_it_was_taken(
            events in prop::collection::vec(
                prop_oneof![Just(Event::Failed), Just(Event::Refused), any::<u8>().prop_map(Event::Taken)], 0..40),
        ) {
            let mut progress = Progress::default();
            let mut owed = true;
            let mut last = Etag::none();
            for event in events {
                match event {
                    Event::Failed => { progress.failed(); }
                    Event::Refused => { progress.refused(); owed = true; }
                    Event::Taken(version) => {
                        last = etag(&format!("v{version}"));
                        progress.taken(&last, PERIOD, PERIOD);
                        owed = false;
                    }
                }
                let expected = if owed { Etag::none() } else { last.clone() };
                prop_assert_eq!(&progress.since, &expected);
            }
        }
    }
}
