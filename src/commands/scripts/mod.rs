//! `gce-guest scripts`: the owner's startup and shutdown scripts.

mod show;

use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use log::{info, warn};

use crate::config;
use crate::config::settings::MetadataScripts;
use crate::metadata::{Client, Document, Endpoint, Retry};
use crate::scripts::cache;
use crate::scripts::fetch::Limits;
use crate::scripts::find::{self, Occasion, Origin};
use crate::scripts::job::{Body, Job};
use crate::scripts::output::{Lines, said};
use crate::scripts::run::Runner;
use crate::scripts::source::Source;
use crate::scripts::state::State;
use crate::system::channel;
use crate::system::power::{self, Power};
use crate::system::processes::stream::{Channel, LeftInput};
use crate::system::root::Root;
use crate::system::threads;
use crate::system::{log as logging, processes};

/// How long a shutdown waits for metadata; then the copies from before are used.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(2);

/// How long the end of the startup scripts waits for the copies of the shutdown scripts.
const COPYING: Duration = Duration::from_secs(10);

/// The namespace of the guest attributes with the fate of the scripts.
const NAMESPACE: &str = "gce-guest-scripts";

/// Arguments of `gce-guest scripts`.
#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = "\
Exit status of startup, shutdown and run: 0 when the scripts have run, whatever
they returned (see `status`), or there was nothing to do; 1 when metadata cannot
be read, no private directory can be made, or, with
MetadataScripts.fail_on_error, a script failed. Of list, status and log: 0
shown, 1 metadata or what was kept cannot be read.

Examples:
  gce-guest scripts list                    what metadata wants to run
  gce-guest scripts run startup --dry-run   from where, and what would run it
  gce-guest scripts startup --debug         run them now, with what they say
  gce-guest scripts shutdown --force        run those, though nothing ends
  gce-guest scripts status                  what became of them
  gce-guest scripts log startup             what they said")]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// Log details, and to standard error as well.
    #[arg(short, long, global = true)]
    debug: bool,
    /// Copy log lines to the serial console (Core.console_level says which).
    #[arg(long, global = true)]
    console: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the startup scripts.
    Startup,
    /// Run the shutdown scripts, if the system is going down.
    #[group(skip)]
    Shutdown {
        /// Run them although the system is not going down.
        #[arg(long)]
        force: bool,
    },
    /// Run the scripts of an occasion, or say how it would be done.
    #[group(skip)]
    Run {
        /// Which ones.
        occasion: OccasionName,
        /// Say what would run, from where, and with which interpreter; run nothing.
        #[arg(long)]
        dry_run: bool,
        /// Run shutdown scripts although the system is not going down.
        #[arg(long)]
        force: bool,
    },
    /// Show which scripts metadata wants to run.
    List,
    /// Show what became of the scripts since the boot.
    #[group(skip)]
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what the scripts said when they last ran since the boot: the last 512 KiB at least.
    #[group(skip)]
    Log {
        /// Which ones.
        occasion: OccasionName,
    },
    /// Keep copies of the shutdown scripts, for a shutdown without network.
    #[command(hide = true)]
    Cache,
    /// Log what the background processes of a script that has ended still say, on these streams.
    #[command(hide = true)]
    #[group(skip)]
    Drain {
        occasion: OccasionName,
        key: String,
        streams: Vec<StreamName>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OccasionName {
    Startup,
    Shutdown,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StreamName {
    Stdout,
    Stderr,
    Both,
}

impl StreamName {
    fn channel(self) -> Channel {
        match self {
            Self::Stdout => Channel::Stdout,
            Self::Stderr => Channel::Stderr,
            Self::Both => Channel::Both,
        }
    }
}

impl OccasionName {
    fn occasion(self) -> Occasion {
        match self {
            Self::Startup => Occasion::Startup,
            Self::Shutdown => Occasion::Shutdown,
        }
    }
}

/// Runs the verb that the arguments name.
///
/// # Errors
/// Metadata cannot be read, no private directory can be made, or what is kept cannot be read.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let log = logging::Options::program(arguments.debug).with_serial_console(arguments.console);
    match &arguments.verb {
        Verb::Startup => run_occasion(Occasion::Startup, false, &log),
        Verb::Shutdown { force } => run_occasion(Occasion::Shutdown, *force, &log),
        Verb::Run {
            occasion,
            dry_run: false,
            force,
        } => run_occasion(occasion.occasion(), *force, &log),
        Verb::Run { occasion, .. } => {
            show::dry_run(occasion.occasion(), &settings(), &once_document()?)
        }
        Verb::List => show::list(&settings(), &once_document()?),
        Verb::Status { json } => show::status(&state(), *json),
        Verb::Log { occasion } => show::log(&state(), occasion.occasion()),
        Verb::Cache => keep_copies(&log),
        Verb::Drain {
            occasion,
            key,
            streams,
        } => {
            logging::start(&log);
            Ok(drain(occasion.occasion(), key, streams))
        }
    }
}

/// Runs the scripts of an occasion.
///
/// # Errors
/// Metadata cannot be read, or the private directory cannot be made.
pub fn run_occasion(
    occasion: Occasion,
    force: bool,
    log: &logging::Options,
) -> anyhow::Result<ExitCode> {
    logging::start(log);
    let settings = settings();
    let enabled = match occasion {
        Occasion::Startup => settings.startup,
        Occasion::Shutdown => settings.shutdown,
    };
    if !enabled {
        return Ok(ExitCode::SUCCESS);
    }
    let success = match occasion {
        Occasion::Startup => startup(&settings)?,
        Occasion::Shutdown if force || goes_down() => shutdown(&settings)?,
        Occasion::Shutdown => true,
    };
    Ok(if success || !settings.fail_on_error {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The settings of scripts; those of the log are in force from here on.
fn settings() -> MetadataScripts {
    let settings = config::load(&Root::machine(), None).settings;
    logging::set_levels(settings.core.level(), settings.core.serial_level());
    settings.metadata_scripts
}

fn state() -> State {
    State::at(Root::machine())
}

fn once_document() -> anyhow::Result<Document> {
    Client::new(Endpoint::compute_engine())
        .get_document()
        .context("read metadata")
}

/// Whether shutdown scripts may run: never when a package is upgraded or a service restarted (pains 17).
fn goes_down() -> bool {
    let logger = Occasion::Shutdown.logger();
    match power::state() {
        Power::GoingDown => true,
        Power::Up(why) => {
            info!(target: logger, "The system is not going down ({why}): no shutdown scripts are run; --force runs them.");
            false
        }
        Power::Unknown(why) => {
            warn!(target: logger, "Whether the system is going down is not known ({why}): no shutdown scripts are run; --force runs them.");
            false
        }
    }
}

fn startup(settings: &MetadataScripts) -> anyhow::Result<bool> {
    let logger = Occasion::Startup.logger();
    let client = Client::new(Endpoint::compute_engine());
    // As long as it takes: at boot, nothing else can be done (spec/core.md 5.5).
    let document = Retry::forever(logger)
        .run(|| client.get_document())
        .context("read metadata")?;
    let jobs: Vec<Job> = find::find(&document, Occasion::Startup)
        .into_iter()
        .map(|script| Job {
            key: script.key,
            body: match script.origin {
                Origin::Inline(text) => Body::Text(text),
                Origin::Url(url) => Body::Fetched(
                    Source::parse(&url, cache::universe(&document)),
                    Limits::patient(),
                ),
            },
        })
        .collect();
    let copies = settings.shutdown.then(|| start_copying(&client, &document));
    let environment = find::environment(&document);
    let instance = document.instance.id.present().cloned();
    let success = run_jobs(
        Occasion::Startup,
        settings,
        &client,
        &jobs,
        environment,
        instance,
    );
    if let Some(copies) = copies {
        // What is not there by then is left to the agent: a boot is not held up, and neither is a stop.
        let _ = copies.recv_timeout(COPYING);
    }
    success
}

/// Copies the shutdown scripts while the startup scripts run, so that a machine that goes down early has them. Something
/// comes when it is done.
fn start_copying(client: &Client, document: &Document) -> channel::Receiver<bool> {
    let (sender, receiver) = channel::channel();
    let (client, document) = (client.clone(), document.clone());
    let copy = move || {
        // Nobody may be waiting any more.
        let _ = sender.send(copy_shutdown_scripts(&client, &document));
    };
    if let Err(error) = threads::start("copies", copy) {
        warn!(target: Occasion::Startup.logger(), "The shutdown scripts are not copied now: {error}.");
    }
    receiver
}

fn shutdown(settings: &MetadataScripts) -> anyhow::Result<bool> {
    let logger = Occasion::Shutdown.logger();
    let client = Client::new(Endpoint::compute_engine()).with_deadline(SHUTDOWN_WAIT);
    let kept = cache::kept(&state()).unwrap_or_else(|error| {
        warn!(target: logger, "The copies of the shutdown scripts cannot be read: {error}.");
        None
    });
    let answer = document_within(&client, SHUTDOWN_WAIT);
    // Who did not answer is not asked to take a report either.
    let settings = MetadataScripts {
        report_status: settings.report_status && answer.is_ok(),
        ..settings.clone()
    };
    let (jobs, environment, instance) = match (answer, kept) {
        (Ok(document), kept) => (
            kept.unwrap_or_default().jobs(&document),
            find::environment(&document),
            document.instance.id.present().cloned(),
        ),
        (Err(why), Some(kept)) => {
            warn!(target: logger, "No metadata ({why:#}): what was kept of the shutdown scripts runs.");
            (kept.jobs_alone(), kept.environment(), kept.instance())
        }
        (Err(why), None) => {
            bail!("no metadata ({why:#}), and no shutdown scripts were kept since the boot")
        }
    };
    run_jobs(
        Occasion::Shutdown,
        &settings,
        &client,
        &jobs,
        environment,
        instance,
    )
}

/// The document, if it comes in time: the client's own deadline counts for each step and address anew.
fn document_within(client: &Client, time: Duration) -> anyhow::Result<Document> {
    let (sender, receiver) = channel::channel();
    let client = client.clone();
    threads::start("metadata", move || {
        // Nobody may be waiting any more.
        let _ = sender.send(client.get_document());
    })
    .context("start a thread for the metadata")?;
    match receiver.recv_timeout(time) {
        Ok(answer) => Ok(answer?),
        Err(_) => bail!("no answer within {} s", time.as_secs()),
    }
}

fn run_jobs(
    occasion: Occasion,
    settings: &MetadataScripts,
    client: &Client,
    jobs: &[Job],
    environment: Vec<(String, String)>,
    instance: Option<String>,
) -> anyhow::Result<bool> {
    let report = |key: &str, words: &str| {
        let told = client.put_guest_attribute(NAMESPACE, key, words);
        told.map_err(|error| error.to_string())
    };
    Runner {
        occasion,
        settings,
        environment,
        instance,
        authorization: &|| client.authorization().map_err(|error| error.to_string()),
        report: &report,
        state: state(),
    }
    .run(jobs)
}

/// Keeps copies of the shutdown scripts. A failure is told in the log and is nobody else's.
fn copy_shutdown_scripts(client: &Client, document: &Document) -> bool {
    let token = || client.authorization().map_err(|error| error.to_string());
    cache::refresh(&state(), document, &token, &Limits::for_copies()).unwrap_or_else(|error| {
        warn!(target: Occasion::Shutdown.logger(), "The shutdown scripts cannot be kept for later: {error}.");
        false
    })
}

fn keep_copies(log: &logging::Options) -> anyhow::Result<ExitCode> {
    logging::start(log);
    if !settings().shutdown {
        return Ok(ExitCode::SUCCESS);
    }
    let client = Client::new(Endpoint::compute_engine());
    let document = client.get_document().context("read metadata")?;
    Ok(if copy_shutdown_scripts(&client, &document) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Logs what comes until everybody has closed the pipes.
fn drain(occasion: Occasion, key: &str, streams: &[StreamName]) -> ExitCode {
    let inputs = [LeftInput::First, LeftInput::Second];
    std::thread::scope(|scope| {
        for (stream, input) in streams.iter().zip(inputs) {
            threads::start_within(scope, move || {
                drain_stream(occasion.logger(), key, stream.channel(), input);
            });
        }
    });
    ExitCode::SUCCESS
}

fn drain_stream(logger: &str, key: &str, channel: Channel, mut input: LeftInput) {
    let mut lines = Lines::default();
    let log = |line: &str| said(logger, key, channel, line);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => lines.take(&buffer[..length], log),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    lines.finish(log);
}

/// Whether the runner of a record is still there.
fn is_running(runner: u32) -> bool {
    processes::is_running(runner)
}
