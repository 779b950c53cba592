//! The agent loop: sources of events on one channel, managers in slots of their own, reports back on the same channel.
//!
//! Level-triggered: whatever the event, a manager gets the whole latest document and compares it with the machine. The
//! loop itself never waits for anything but the channel, so a signal is answered at once.

pub mod conditions;
pub mod history;
pub mod hooks;
mod locking;
mod managed;
pub mod managers;
mod recorder;
pub mod report;
mod rest;
mod service;
pub mod slot;
mod sources;
pub mod starts;
pub mod status;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::log::{debug, info, warn};
use anyhow::Context;

use self::conditions::{Conditions, Edge};
use self::history::Entry;
use self::hooks::Hooks;
use self::hooks::event::Watch;
use self::managed::Managed;
use self::managers::Manager;
use self::recorder::Recorder;
use self::report::{Input, Report};
use self::rest::Rest;
use self::service::Service;
use self::slot::{Slot, Work};
use self::starts::Starts;
use self::status::{State, Status};
use crate::config::{self, Settings};
use crate::metadata::{Backoff, Client, Document};
use crate::system::channel::{self, Receiver, RecvTimeoutError, Sender};
use crate::system::notify::ServiceManager;
use crate::system::order::Map;
use crate::system::root::Root;
use crate::system::{log, memory, processes, signals, time};

/// The agent's own logger name.
const LOGGER: &str = "gce-guest";

/// How long the accounts have the processors to themselves when a document comes, if they are not done before: somebody
/// may be waiting to log in, and a key takes less than a millisecond where nobody competes.
const HEAD_START: Duration = Duration::from_millis(3);

/// What the agent is to do.
#[derive(Debug)]
pub struct Options {
    /// The managers that run.
    pub managers: Vec<Manager>,
    /// Where the metadata server is.
    pub client: Client,
    /// The root of the configuration.
    pub root: Root,
    /// The value of `NOTIFY_SOCKET`.
    pub notify_socket: Option<OsString>,
    /// How often the service manager wants to hear that the loop is alive.
    pub watchdog: Option<Duration>,
}

/// What can happen.
enum Event {
    /// Metadata has changed, or the watch came round without a change.
    Metadata(Arc<Document>, String),
    /// A signal.
    Signal(signals::Request),
    /// The machine's network has changed under us.
    NetworkChanged,
    /// The clock was stepped, or the machine was suspended.
    ClockChanged,
    /// A manager has finished a pass.
    Report(Manager, Report, Duration),
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// A thread, a signal handler or a lock file cannot be made. A lock that is held by another process is no error: that
/// manager is left out, and with none left the agent ends with status 0, as the predecessors do (spec/core.md 1).
pub fn run(options: Options) -> anyhow::Result<ExitCode> {
    let locked = locking::lock(&options.managers);
    let managers = match &locked {
        Ok((managers, _)) if managers.is_empty() => return Ok(ExitCode::SUCCESS),
        Ok((managers, _)) => managers.clone(),
        // To be told after the pause, like every failure from here on.
        Err(_) => Vec::new(),
    };
    memory::share_one_arena();
    let (events, received) = channel::channel();
    if let Err(error) = processes::protect_from_memory_shortage() {
        debug!(target: LOGGER, "Not protected from a shortage of memory: {error}.");
    }
    let signal_events = events.clone();
    signals::forward(move |request| signal_events.send(Event::Signal(request)).is_ok())
        .context("watch for signals")?;
    let service_manager = ServiceManager::new(options.notify_socket.as_deref());
    let mut service = Service::new(service_manager, options.watchdog);
    let mut starts = Starts::note(&options.root, &options.managers);
    if !starts.wait(&managers, &mut service, &received) {
        starts.end_in_order();
        service.stopping();
        return Ok(ExitCode::SUCCESS);
    }
    let _locks = locked?;
    sources::start(&managers, &options.client, &events)?;
    let works = managers.iter().map(|manager| (*manager, manager.work()));
    let mut agent = Agent::new(options.root, options.client, works, &events)?;
    info!(target: LOGGER, "gce-guest {} watches metadata for {}.", env!("CARGO_PKG_VERSION"), agent.names());
    agent.service = service;
    agent.service.ready();
    starts.begin_work(Instant::now());
    agent.starts = Some(starts);
    while agent.handle(&received) {}
    agent.end();
    Ok(ExitCode::SUCCESS)
}

struct Agent {
    root: Root,
    managers: Map<Manager, Managed>,
    latest: Option<Input>,
    /// The settings in force, and the part of the configuration in metadata that they were read with.
    settings: Option<(Option<String>, Arc<Settings>)>,
    conditions: Conditions,
    backoff: Backoff,
    client: Client,
    recorder: Recorder,
    service: Service,
    /// `None` where nobody counts them.
    starts: Option<Starts>,
    hooks: Hooks,
    watch: Watch,
    /// The latest document, as long as hooks have not been told what is new in it.
    untold: Option<Arc<Document>>,
    rest: Rest,
}

impl Agent {
    fn new(
        root: Root,
        client: Client,
        managers: impl IntoIterator<Item = (Manager, Work)>,
        events: &Sender<Event>,
    ) -> anyhow::Result<Self> {
        let mut recorder =
            Recorder::start(root.clone(), LOGGER).context("start the recorder thread")?;
        let mut managed = Map::new();
        for (manager, work) in managers {
            let events = events.clone();
            let done = move |report, took| {
                // A loop that has ended wants no reports any more.
                let _ = events.send(Event::Report(manager, report, took));
            };
            let slot = Slot::start(manager.name(), work, done)
                .with_context(|| format!("start the {} thread", manager.name()))?;
            let status = Status::new(manager.name(), processes::own_id(), time::now());
            status::sweep(&root, manager.name());
            recorder.status(&status);
            managed.insert(manager, Managed::new(slot, status));
        }
        let hooks = Hooks::start(root.clone()).context("start the hooks thread")?;
        Ok(Self {
            root,
            managers: managed,
            latest: None,
            settings: None,
            conditions: Conditions::default(),
            backoff: Backoff::default(),
            client,
            recorder,
            service: Service::new(ServiceManager::new(None), None),
            starts: None,
            hooks,
            watch: Watch::default(),
            untold: None,
            rest: Rest::default(),
        })
    }

    /// The end that was asked for.
    fn end(self) {
        if let Some(starts) = self.starts {
            starts.end_in_order();
        }
        let mut service = self.service;
        service.stopping();
        info!(target: LOGGER, "Stopped.");
        self.recorder.finish(recorder::LAST_WORDS);
    }

    fn names(&self) -> String {
        self.managers
            .keys()
            .map(|manager| manager.name())
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Waits for one event and handles it; `false` to stop.
    fn handle(&mut self, received: &Receiver<Event>) -> bool {
        let now = Instant::now();
        self.service.is_alive(now);
        if let Some(starts) = &mut self.starts {
            starts.settle(now);
        }
        if self.rest.begins(now) {
            // Right before the wait: whatever runs after it is mapped in again.
            memory::give_back();
        }
        let due = self.managers.values().filter_map(Managed::wakes_at);
        let due = due
            .chain(self.service.wakes_at())
            .chain(self.rest.wakes_at())
            .chain(self.starts.as_ref().and_then(Starts::wakes_at))
            .min();
        let event = match due {
            None => received.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(due) => received.recv_timeout(due.saturating_duration_since(Instant::now())),
        };
        match event {
            Ok(Event::Signal(signals::Request::Stop)) | Err(RecvTimeoutError::Disconnected) => {
                return false;
            }
            Ok(Event::Signal(signals::Request::Reload)) => {
                self.service.reloading();
                info!(target: LOGGER, "Reading the configuration again.");
                self.settings = None;
                if let Some(latest) = self.latest.take() {
                    self.take_document(latest.document, latest.etag);
                }
                self.service.ready();
            }
            Ok(Event::Metadata(document, etag)) => {
                debug!(target: LOGGER, "Metadata with etag {etag}.");
                self.take_document(document, etag.into());
            }
            Ok(Event::NetworkChanged) => {
                self.give(Manager::Network);
                self.give(Manager::Interfaces);
            }
            Ok(Event::ClockChanged) => {
                self.give(Manager::Clock);
                // Keys expire by the clock.
                self.give(Manager::Accounts);
            }
            Ok(Event::Report(manager, report, took)) => self.take_report(manager, report, took),
            Err(RecvTimeoutError::Timeout) => self.give_due(),
        }
        true
    }

    fn take_document(&mut self, document: Arc<Document>, etag: Arc<str>) {
        self.tell_hooks();
        let (instance, project) = (&document.instance.attributes, &document.project.attributes);
        let metadata_config =
            config::metadata_config(instance.present(), project.present()).map(String::from);
        let is_half = instance.present().is_none() || project.present().is_none();
        let settings = match &self.settings {
            // Half an answer does not say that the configuration in metadata is gone.
            Some((from, settings)) if is_half || *from == metadata_config => Arc::clone(settings),
            _ => self.load_settings(metadata_config),
        };
        self.untold = Some(Arc::clone(&document));
        self.latest = Some(Input {
            document,
            etag,
            settings,
        });
        if self.managers.contains_key(&Manager::Accounts) {
            let until = Instant::now() + HEAD_START;
            for (manager, managed) in &mut self.managers {
                if *manager != Manager::Accounts {
                    managed.hold(until);
                }
            }
            self.give(Manager::Accounts);
        } else {
            self.tell_hooks();
            self.give_where(|_| true);
        }
    }

    /// Compares the latest document with the one before for hooks, if that was not done yet. Nobody waits for hooks with a
    /// key in hand: the accounts come first.
    fn tell_hooks(&mut self) {
        if let Some(document) = self.untold.take() {
            for notice in self.watch.look(&document) {
                self.hooks.notify(notice);
            }
        }
    }

    /// Reads the configuration: at the start, on SIGHUP, and when the part of it in metadata changes. Files that are
    /// being edited are not followed; the predecessors read them at their start only.
    fn load_settings(&mut self, metadata_config: Option<String>) -> Arc<Settings> {
        let loaded = config::load(&self.root, metadata_config.as_deref());
        let found = loaded
            .warnings
            .iter()
            .map(|warning| (warning.to_string(), warning.to_string()))
            .collect();
        self.log_conditions("configuration", LOGGER, found);
        let core = &loaded.settings.core;
        log::set_levels(core.level(), core.serial_level());
        let settings = Arc::new(loaded.settings);
        self.settings = Some((metadata_config, Arc::clone(&settings)));
        settings
    }

    fn give(&mut self, manager: Manager) {
        if let (Some(managed), Some(input)) = (self.managers.get_mut(&manager), &self.latest) {
            managed.give(input.clone(), Instant::now());
        }
    }

    fn give_due(&mut self) {
        let now = Instant::now();
        for managed in self.managers.values_mut() {
            if managed.becomes_overdue(now, time::now()) {
                self.recorder.status(&managed.status);
            }
        }
        self.log_overdue();
        self.tell_hooks();
        self.give_where(|managed| managed.is_due(now));
    }

    fn give_where(&mut self, wants: impl Fn(&Managed) -> bool) {
        let wanted: Vec<Manager> = self
            .managers
            .iter()
            .filter(|(_, managed)| wants(managed))
            .map(|(manager, _)| *manager)
            .collect();
        for manager in wanted {
            self.give(manager);
        }
    }

    fn take_report(&mut self, manager: Manager, report: Report, took: Duration) {
        for change in &report.changes {
            info!(target: manager.changes_logger(), manager = manager.name(); "{}.", sentence(&change.what));
        }
        let Some(managed) = self.managers.get_mut(&manager) else {
            return;
        };
        let (now, etag) = (time::now(), report.etag.as_deref());
        let wait = |failures| self.backoff.delay(failures, fastrand::f64());
        managed.take(&report, wait, Instant::now(), now);
        managed.status.endpoint = Some(self.client.address().to_string());
        self.recorder.status(&managed.status);
        if self.managers.values().all(Managed::rests) {
            self.rest.expect_after(Instant::now());
        }
        let entry = |change| Entry::new(now, manager.name(), etag, change);
        self.hooks.notify_of_changes(manager, &report);
        self.recorder
            .changes(report.changes.iter().map(entry).collect());
        let (name, count) = (manager.name(), report.changes.len());
        let etag = etag.unwrap_or("?").to_owned();
        let found = report.problems.into_iter().chain(report.failures).collect();
        self.log_conditions(name, manager.logger(), found);
        // The last word on a pass, after which all of it has been told.
        debug!(target: manager.logger(), manager = name; "Pass of {name} for etag {etag}: {count} changes in {} ms.", took.as_millis());
        if manager == Manager::Accounts {
            self.tell_hooks();
            self.give_where(Managed::is_held);
        }
        self.log_overdue();
    }

    /// Tells which managers take too long; the others go on meanwhile.
    fn log_overdue(&mut self) {
        let overdue = self
            .managers
            .iter()
            .filter(|(_, managed)| managed.status.state == State::Busy);
        let told = |(manager, _): (&Manager, &Managed)| {
            let name = manager.name().to_owned();
            let text = format!(
                "the pass over {name} takes long and goes on; the other managers are not held up"
            );
            (name, text)
        };
        let found = overdue.map(told).collect();
        self.log_conditions("passes", LOGGER, found);
        let statuses = self.managers.values().map(|managed| &managed.status);
        self.service.status(statuses);
    }

    fn log_conditions(&mut self, source: &'static str, logger: &str, found: Map<String, String>) {
        for edge in self.conditions.update(source, found, Instant::now()) {
            match edge {
                Edge::Began(text) => {
                    warn!(target: logger, manager = source; "{}.", sentence(&text));
                }
                Edge::Flutters(text) => {
                    warn!(target: logger, manager = source; "{} (it comes and goes; more in an hour).", sentence(&text));
                }
                Edge::Lasts(text, times) => {
                    warn!(target: logger, manager = source; "{} (found {times} times more).", sentence(&text));
                }
                Edge::Ended(text) => info!(target: logger, manager = source; "No longer: {text}."),
            }
        }
    }
}

/// The text with a capital letter at its beginning.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(characters).collect()
    })
}

#[cfg(test)]
mod tests;
