//! Running scripts one after the other, from a private directory that is gone afterwards.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context;
use log::{info, warn};

use super::fate::{Entry, Fate, Record};
use super::fetch::{Authorization, Fetch, Limits};
use super::find::Occasion;
use super::job::{Body, Job};
use super::output::{Streams, channel_name, said};
use super::packages;
use super::prepare::{Ready, prepare};
use super::source::Source;
use super::state::{RunLog, State};
use crate::config::settings::MetadataScripts;
use crate::system::environment;
use crate::system::files::{self, PrivateDirectory};
use crate::system::log as logging;
use crate::system::processes;
use crate::system::processes::stream::{Channel, Ended, Stream, leave_behind};
use crate::system::root::Root;
use crate::system::signals::{Interrupts, LastWork};
use crate::system::time;

/// Where the private directory is made without `run_dir`.
const RUN_DIRECTORY: &str = "/run";

/// How long a script that has taken too long has between TERM and KILL.
const GRACE: Duration = Duration::from_secs(5);

/// The longest wait before a failed script is started again.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Variables of the runner's environment that scripts get as well: what a proxy is, is nobody else's to know.
const PASSED_ON: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];

/// Tells somebody outside what became of a script: (key, words).
pub type Report<'a> = &'a dyn Fn(&str, &str) -> Result<(), String>;

/// Everything that a run needs besides the scripts.
pub struct Runner<'a> {
    /// When it is.
    pub occasion: Occasion,
    /// The configuration.
    pub settings: &'a MetadataScripts,
    /// What metadata says about the VM, as variables.
    pub environment: Vec<(String, String)>,
    /// The instance id, where metadata gives one.
    pub instance: Option<String>,
    /// Where the token comes from.
    pub authorization: Authorization<'a>,
    /// Where the fate of each script is told with `report_status`.
    pub report: Report<'a>,
    /// What is kept.
    pub state: State,
}

impl Runner<'_> {
    /// Runs scripts in order. One that fails, or cannot even start, costs itself; the others run. Returns whether all
    /// of them succeeded.
    ///
    /// # Errors
    /// The private directory cannot be made, or signals cannot be taken.
    pub fn run(&self, jobs: &[Job]) -> anyhow::Result<bool> {
        let (logger, name) = (self.occasion.logger(), self.occasion.name());
        info!(target: logger, "Starting {name} scripts.");
        let success = if jobs.is_empty() {
            info!(target: logger, "No {name} scripts found in metadata.");
            true
        } else if self.is_done_for_this_instance() {
            info!(target: logger, "The {name} scripts have run for this instance (MetadataScripts.startup_once).");
            true
        } else {
            Run::begin(self, jobs)?.all()?
        };
        info!(target: logger, "Finished running {name} scripts.");
        Ok(success)
    }

    fn is_done_for_this_instance(&self) -> bool {
        let once = self.settings.startup_once && self.occasion == Occasion::Startup;
        once && self.instance.is_some() && self.state.once().ok().flatten() == self.instance
    }

    fn timeout(&self) -> u32 {
        match self.occasion {
            Occasion::Startup => self.settings.startup_timeout,
            Occasion::Shutdown => self.settings.shutdown_timeout,
        }
    }

    /// What a script finds in its environment: what a login of root would have, what metadata says, proxies, and nothing
    /// else of ours.
    fn variables(&self, key: &str) -> Vec<(OsString, OsString)> {
        let shell = &self.settings.default_shell;
        let shell = processes::find(shell).map_or("/bin/sh", |_| shell.as_str());
        let fixed = [
            ("HOME", "/root"),
            ("USER", "root"),
            ("LOGNAME", "root"),
            ("SHELL", shell),
            ("LANG", "C.UTF-8"),
            ("PATH", processes::SEARCH_PATH),
            ("GCE_SCRIPT_KEY", key),
        ];
        let fixed = fixed.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let told = self.environment.iter();
        let told = told.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let passed = PASSED_ON.iter();
        let passed = passed.filter_map(|name| Some(((*name).into(), environment::variable(name)?)));
        fixed.into_iter().chain(told).chain(passed).collect()
    }
}

/// One run under way.
struct Run<'a> {
    runner: &'a Runner<'a>,
    jobs: &'a [Job],
    directory: PrivateDirectory,
    log: RefCell<Option<RunLog>>,
    record: Record,
}

/// What goes on after a script.
enum Next {
    Go,
    Stop,
}

impl<'a> Run<'a> {
    fn begin(runner: &'a Runner<'a>, jobs: &'a [Job]) -> anyhow::Result<Self> {
        let logger = runner.occasion.logger();
        let log = runner.state.start_log(runner.occasion);
        let log = log
            .map_err(
                |error| warn!(target: logger, "The output is not kept for `scripts log`: {error}."),
            )
            .ok();
        let entry = |job: &Job| Entry {
            key: job.key.clone(),
            source: job.body.describe(),
            interpreter: Vec::new(),
            started: None,
            ended: None,
            starts: 0,
            fate: Fate::Waiting,
        };
        let record = Record {
            version: Record::VERSION,
            occasion: runner.occasion.name().into(),
            instance: runner.instance.clone(),
            runner: processes::own_id(),
            began: time::now().to_string(),
            finished: None,
            scripts: jobs.iter().map(entry).collect(),
        };
        Ok(Self {
            runner,
            jobs,
            directory: private_directory(runner)?,
            log: RefCell::new(log),
            record,
        })
    }

    fn all(mut self) -> anyhow::Result<bool> {
        let (logger, settings) = (self.runner.occasion.logger(), self.runner.settings);
        self.write_record();
        // Nothing has been started yet, so a signal simply ends us, and leaves no private directory behind.
        let last_work =
            LastWork::before_the_end(self.directory.remover()).context("take signals")?;
        for index in 0..self.jobs.len() {
            info!(target: logger, "Found {} in metadata.", self.jobs[index].key);
            if let Err(reason) = self.bring(index) {
                warn!(target: logger, "{}: cannot be fetched: {reason}.", self.jobs[index].key);
                self.settle(index, Fate::NotFetched { reason });
            }
        }
        if self.runner.occasion == Occasion::Startup && settings.wait_for_package_lock > 0 {
            let at_most = Duration::from_secs(settings.wait_for_package_lock.into());
            packages::wait(&Root::machine(), at_most, logger);
        }
        let interrupts = Interrupts::new().context("take signals")?;
        drop(last_work);
        for index in 0..self.jobs.len() {
            let waiting = self.record.scripts[index].fate == Fate::Waiting;
            if waiting && matches!(self.run_with_retries(index, &interrupts), Next::Stop) {
                break;
            }
        }
        self.record.finished = Some(time::now().to_string());
        self.write_record();
        let success = self.record.is_success();
        if let (true, true, Some(instance)) =
            (success, settings.startup_once, &self.runner.instance)
            && self.runner.occasion == Occasion::Startup
            && let Err(error) = self.runner.state.write_once(instance)
        {
            warn!(target: logger, "It cannot be recorded that the scripts have run: {error}.");
        }
        Ok(success)
    }

    /// Puts a script into its file.
    fn bring(&self, index: usize) -> Result<(), String> {
        let job = &self.jobs[index];
        let name = OsStr::new(&job.key);
        let logger = self.runner.occasion.logger();
        let create = || {
            let file = self.directory.directory().create(name, 0o700);
            file.map_err(|error| format!("it cannot be written: {error}"))
        };
        let fetch = |source: &Source, limits: &Limits| {
            let fetch = Fetch {
                logger,
                key: &job.key,
                limits,
                authorization: self.runner.authorization,
            };
            let bytes = fetch
                .run(source, &mut create()?)
                .map_err(|error| error.to_string())?;
            log::debug!(target: logger, "{}: {bytes} bytes from {source}.", job.key);
            Ok(())
        };
        let copy = |path: &Path| {
            let mut file = create()?;
            files::read_pieces(path, 64 * 1024, |piece| file.write_all(piece))
                .map_err(|error| format!("its copy cannot be read: {error}"))
        };
        match &job.body {
            Body::Text(text) => create()?
                .write_all(text.as_bytes())
                .map_err(|error| format!("it cannot be written: {error}")),
            Body::Fetched(Err(error), _) => Err(error.to_string()),
            Body::Fetched(Ok(source), limits) => fetch(source, limits),
            Body::FetchedOr(source, limits, path) => {
                fetch(source, limits).or_else(|why: String| {
                    info!(target: logger, "{}: {why}; the copy from before is used.", job.key);
                    self.directory
                        .directory()
                        .remove(name)
                        .map_err(|error| error.to_string())?;
                    copy(path)
                })
            }
            Body::Copy(path, _) => {
                info!(target: logger, "{}: the copy from before is used.", job.key);
                copy(path)
            }
        }
    }

    /// Runs one script, and again when it fails and the configuration says so.
    fn run_with_retries(&mut self, index: usize, interrupts: &Interrupts) -> Next {
        let logger = self.runner.occasion.logger();
        let key = self.jobs[index].key.clone();
        let retries = match self.runner.occasion {
            Occasion::Startup => self.runner.settings.startup_retries,
            Occasion::Shutdown => 0,
        };
        let mut wait = Duration::from_secs(1);
        for left in (0..=retries).rev() {
            let fate = self.run_once(index, interrupts);
            let again = left > 0 && !fate.is_success() && fate != Fate::Interrupted;
            if !again {
                let stop = fate == Fate::Interrupted;
                self.settle(index, fate);
                return if stop { Next::Stop } else { Next::Go };
            }
            info!(
                target: logger,
                "{key}: started again in {} s; {left} more of MetadataScripts.startup_retries.",
                wait.as_secs()
            );
            if interrupts.wait(wait).is_some() {
                self.settle(index, fate);
                return Next::Stop;
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        Next::Go
    }

    fn run_once(&mut self, index: usize, interrupts: &Interrupts) -> Fate {
        let key = self.jobs[index].key.clone();
        let logger = self.runner.occasion.logger();
        let directory = self.directory.directory();
        let ready = prepare(
            directory,
            OsStr::new(&key),
            self.runner.settings,
            (logger, &key),
        );
        let fate = ready.and_then(|ready| {
            let entry = &mut self.record.scripts[index];
            entry.interpreter.clone_from(&ready.interpreter);
            entry.started.get_or_insert_with(|| time::now().to_string());
            entry.starts += 1;
            entry.fate = Fate::Running;
            self.write_record();
            self.start(&key, &ready, interrupts)
        });
        let fate = fate.unwrap_or_else(|reason| Fate::NotStarted { reason });
        self.tell(&key, &fate);
        fate
    }

    fn start(&self, key: &str, ready: &Ready, interrupts: &Interrupts) -> Result<Fate, String> {
        let logger = self.runner.occasion.logger();
        let timeout = self.runner.timeout();
        let stream = Stream {
            environment: &self.runner.variables(key),
            apart: logging::is_structured(),
            timeout: (timeout > 0).then(|| Duration::from_secs(timeout.into())),
            grace: GRACE,
            interrupts: Some(interrupts),
        };
        let mut streams = Streams::default();
        let log = |channel: Channel, line: &str| {
            said(logger, key, channel, line);
            self.keep(|log| log.add(&[key, ": ", line]));
        };
        let end = stream
            .run(&ready.invocation, &mut |channel, bytes| {
                logging::together(|| streams.take(channel, bytes, log));
                self.keep(RunLog::write);
            })
            .map_err(|error| error.to_string())?;
        streams.finish(log);
        self.keep(RunLog::write);
        if !end.open.is_empty() {
            self.leave(key, end.open);
        }
        Ok(match end.reason {
            Ended::Finished(status) => ended(status),
            Ended::TimedOut(_) => Fate::TimedOut { seconds: timeout },
            Ended::Interrupted => Fate::Interrupted,
        })
    }

    /// Leaves somebody behind who reads what the script's background children go on to write: with the pipe closed, the
    /// next line would end them (pains 41). At a shutdown everybody ends anyway.
    fn leave(&self, key: &str, pipes: Vec<(Channel, OwnedFd)>) {
        let occasion = self.runner.occasion;
        if occasion == Occasion::Shutdown {
            return;
        }
        let mut words = vec!["scripts", "drain", occasion.name(), key];
        words.extend(pipes.iter().map(|(channel, _)| channel_name(*channel)));
        if logging::is_on_serial_console() {
            words.push("--console");
        }
        let words: Vec<&OsStr> = words.into_iter().map(OsStr::new).collect();
        let pipes = pipes.into_iter().map(|(_, pipe)| pipe);
        if let Err(error) = leave_behind(&words, pipes) {
            let logger = occasion.logger();
            warn!(target: logger, "{key}: nobody reads what it goes on to write: {error}.");
        }
    }

    /// Says in the log what became of a script.
    fn tell(&self, key: &str, fate: &Fate) {
        let logger = self.runner.occasion.logger();
        let text = match fate {
            // The predecessors' form (spec/core.md 10.4).
            Fate::Exited { .. } | Fate::Killed { .. } => {
                let text = format!(
                    "{key}: Return code {}.",
                    fate.return_code().unwrap_or_default()
                );
                info!(target: logger, "{text}");
                text
            }
            Fate::TimedOut { seconds } => {
                let name = self.runner.occasion.name();
                let text = format!(
                    "{key}: took longer than {seconds} s (MetadataScripts.{name}_timeout) and was ended with its process group."
                );
                warn!(target: logger, "{text}");
                text
            }
            Fate::Interrupted => {
                let text = format!("{key}: the runner was asked to stop while it ran.");
                warn!(target: logger, "{text}");
                text
            }
            _ => {
                let text = format!(
                    "{key}: cannot be run: {}.",
                    fate.reason().unwrap_or_default()
                );
                warn!(target: logger, "{text}");
                text
            }
        };
        self.keep(|log| log.add(&[&text]).and_then(|()| log.write()));
    }

    /// Records what became of a script, and reports it where that is wanted.
    fn settle(&mut self, index: usize, fate: Fate) {
        let logger = self.runner.occasion.logger();
        let entry = &mut self.record.scripts[index];
        entry.ended = Some(time::now().to_string());
        entry.fate = fate;
        let (key, words) = (entry.key.clone(), entry.fate.words());
        self.write_record();
        if self.runner.settings.report_status
            && let Err(error) = (self.runner.report)(&key, &words)
        {
            warn!(target: logger, "{key}: its fate is not in a guest attribute: {error}.");
        }
    }

    /// Keeps lines for `scripts log`. The log proper has them; when this one fails, once, it is given up.
    fn keep(&self, add: impl FnOnce(&mut RunLog) -> io::Result<()>) {
        let mut log = self.log.borrow_mut();
        if let Some(Err(error)) = log.as_mut().map(add) {
            let logger = self.runner.occasion.logger();
            warn!(target: logger, "The output is no longer kept for `scripts log`: {error}.");
            *log = None;
        }
    }

    fn write_record(&self) {
        if let Err(error) = self
            .runner
            .state
            .write_record(self.runner.occasion, &self.record)
        {
            let logger = self.runner.occasion.logger();
            log::debug!(target: logger, "The state of the scripts is not recorded: {error}.");
        }
    }
}

/// The directory for the scripts: in `run_dir`, or in /run where that cannot be written.
fn private_directory(runner: &Runner<'_>) -> anyhow::Result<PrivateDirectory> {
    let logger = runner.occasion.logger();
    let prefix = format!("{}-", runner.occasion.name());
    let configured = runner
        .settings
        .run_dir
        .as_deref()
        .filter(|base| !base.is_empty());
    if let Some(base) = configured {
        match PrivateDirectory::create(Path::new(base), &prefix) {
            Ok(directory) => return Ok(directory),
            Err(error) => warn!(
                target: logger,
                "No directory can be made in {base} (MetadataScripts.run_dir): {error}. {RUN_DIRECTORY} is used."
            ),
        }
    }
    PrivateDirectory::create(Path::new(RUN_DIRECTORY), &prefix)
        .with_context(|| format!("make a private directory in {RUN_DIRECTORY}"))
}

fn ended(status: ExitStatus) -> Fate {
    match (status.code(), status.signal()) {
        (Some(status), _) => Fate::Exited { status },
        (None, signal) => Fate::Killed {
            signal: signal.unwrap_or_default(),
        },
    }
}
