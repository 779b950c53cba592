//! Where log lines go: the journal with fields, else syslog, else standard error; and on request the serial console.
//!
//! One line format everywhere: `<logger-name>: <LEVEL> <message>` (spec/core.md 4). The logger name is the `target` of
//! the `log` macros, so that people who grep for `google-accounts` go on finding it. Key-value pairs of a record become
//! fields in the journal. Nobody who logs is held up by whoever reads (`lane`). The logger is the one global of the
//! program.

mod entry;
mod lane;
mod outlet;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};

use self::entry::Entry;
use self::lane::{Lane, Patience};
use self::outlet::{Kind, Outlet, Places, Stream};
use super::environment;

/// How long the end of a program waits for a log that is not taken (pains 9).
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The same for a daemon, which has promised to end sooner.
const LAST_WORDS_OF_A_DAEMON: Duration = Duration::from_millis(50);

/// As good as no limit.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How long a program waits for a log that takes nothing, before it goes on without.
const STUCK: Duration = Duration::from_secs(10);

/// Where and how much is logged.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether the journal and syslog are used; else there is standard error only. Neither being there is no failure
    /// (spec/core.md BUG 6).
    system: bool,
    /// `--debug`: standard error gets everything.
    debug: bool,
    /// The lowest level, to begin with.
    level: LevelFilter,
    /// Whether the serial console gets a copy.
    serial_console: bool,
    /// Whether nobody may be kept waiting, at the cost of lines that find no room.
    daemon: bool,
}

impl Options {
    /// What one-shot programs use: the journal or syslog; standard error with `--debug`, or where neither is.
    #[must_use]
    pub fn program(debug: bool) -> Self {
        Self {
            system: true,
            debug,
            level: LevelFilter::Info,
            serial_console: false,
            daemon: false,
        }
    }

    /// What daemons use: the same, and no log however slow keeps them waiting.
    #[must_use]
    pub fn daemon(debug: bool) -> Self {
        Self {
            daemon: true,
            ..Self::program(debug)
        }
    }

    /// Lines on standard error only, for commands that a person runs.
    #[must_use]
    pub fn console(level: LevelFilter) -> Self {
        Self {
            system: false,
            level,
            ..Self::program(false)
        }
    }

    /// The same with a copy of every line on the serial console, where that is wanted.
    #[must_use]
    pub fn with_serial_console(mut self, wanted: bool) -> Self {
        self.serial_console = wanted;
        self
    }
}

/// Whether standard error is connected to the journal, as a unit's is: the variable names the device and inode
/// (systemd.exec(5)).
#[must_use]
pub fn stderr_is_the_journal() -> bool {
    let named = environment::variable("JOURNAL_STREAM");
    let own = rustix::fs::fstat(rustix::stdio::stderr());
    match (named, own) {
        (Some(named), Ok(own)) => named == *format!("{}:{}", own.st_dev, own.st_ino),
        _ => false,
    }
}

static SINKS: OnceLock<Sinks> = OnceLock::new();

/// Starts logging. A second call is ignored: the first caller of the process decides.
pub fn start(options: &Options) {
    let sinks = SINKS.get_or_init(|| Sinks::new(options, stderr_is_the_journal()));
    if log::set_logger(sinks).is_ok() {
        sinks.announce();
    }
}

/// Sets the lowest level that is logged, and the lowest one that the serial console gets a copy of, if it gets any.
/// `--debug` goes on showing everything on standard error.
pub fn set_levels(level: LevelFilter, serial_console: LevelFilter) {
    if let Some(sinks) = SINKS.get() {
        sinks.level.store(level as usize, Ordering::Relaxed);
        let serial_console = serial_console as usize;
        sinks.serial_level.store(serial_console, Ordering::Relaxed);
        sinks.announce();
    }
}

/// Whether fields are kept: lines that differ in fields only are then told apart.
#[must_use]
pub fn is_structured() -> bool {
    SINKS
        .get()
        .is_some_and(|sinks| sinks.main.kind() == Kind::Journal)
}

/// Whether the serial console gets a copy of what is logged.
#[must_use]
pub fn is_on_serial_console() -> bool {
    SINKS.get().is_some_and(|sinks| sinks.serial.is_some())
}

/// Sends what `work` logs together, some messages at a time, which costs a third of what they cost one by one.
pub fn together<T>(work: impl FnOnce() -> T) -> T {
    let _held = Held::begin();
    work()
}

/// As long as this is there, messages are gathered.
struct Held;

impl Held {
    fn begin() -> Self {
        lanes().for_each(Lane::hold);
        Self
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        lanes().for_each(Lane::release);
    }
}

fn lanes() -> impl Iterator<Item = &'static Lane> {
    let sinks = SINKS.get().into_iter();
    sinks.flat_map(|sinks| {
        [
            Some(&sinks.main),
            sinks.stderr.as_ref(),
            sinks.serial.as_ref(),
        ]
        .into_iter()
        .flatten()
    })
}

/// Waits until what was logged has been taken, within limits. Called at the end of the program.
pub fn finish() {
    if let Some(sinks) = SINKS.get() {
        sinks.finish();
    }
}

struct Sinks {
    main: Lane,
    /// With `--debug`, standard error besides.
    stderr: Option<Lane>,
    serial: Option<Lane>,
    debug: bool,
    stderr_is_the_journal: bool,
    daemon: bool,
    level: AtomicUsize,
    serial_level: AtomicUsize,
}

impl Sinks {
    fn new(options: &Options, stderr_is_the_journal: bool) -> Self {
        let places = Places {
            journal: PathBuf::from("/run/systemd/journal/socket"),
            syslog: PathBuf::from("/dev/log"),
        };
        let patience = if options.daemon {
            Patience::None
        } else {
            Patience::UpTo(STUCK)
        };
        let best = if options.system {
            Kind::Journal
        } else {
            Kind::Stderr
        };
        let to = |outlet| Lane::to(outlet, places.clone(), patience);
        let stderr = || to(Outlet::Stderr(Stream::stderr(false)));
        let serial = || to(Outlet::Console(Stream::device(Path::new("/dev/console"))));
        Self {
            main: Lane::to_best(places.clone(), best, stderr_is_the_journal, patience),
            stderr: options.debug.then(stderr),
            serial: options.serial_console.then(serial),
            debug: options.debug,
            stderr_is_the_journal,
            daemon: options.daemon,
            level: AtomicUsize::new(options.level as usize),
            serial_level: AtomicUsize::new(LevelFilter::Info as usize),
        }
    }

    /// Says to the `log` macros what is worth their while.
    fn announce(&self) {
        let wanted = [LevelFilter::Error, LevelFilter::Warn, LevelFilter::Info];
        let is_wanted = |filter: &LevelFilter| {
            self.level.load(Ordering::Relaxed) <= *filter as usize && !self.debug
        };
        let filter = wanted.into_iter().find(is_wanted);
        log::set_max_level(filter.unwrap_or(LevelFilter::Debug));
    }

    fn wants(&self, level: Level) -> bool {
        level as usize <= self.level.load(Ordering::Relaxed)
    }

    fn finish(&self) {
        let within = match (self.daemon, self.main.kind()) {
            (true, _) => LAST_WORDS_OF_A_DAEMON,
            // A reader takes its time, as with any program.
            (false, Kind::Stderr) => A_YEAR,
            (false, _) => LAST_WORDS,
        };
        self.main.finish(within);
        for lane in [&self.stderr, &self.serial].into_iter().flatten() {
            lane.finish(within.min(LAST_WORDS));
        }
    }
}

impl Log for Sinks {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.debug || self.wants(metadata.level())
    }

    fn log(&self, record: &Record<'_>) {
        // Logger names have a dash and Rust modules cannot: what libraries say is of interest from WARNING up.
        let of_a_library = !record.target().contains('-') && record.level() > Level::Warn;
        if of_a_library || !self.enabled(record.metadata()) {
            return;
        }
        let entry = Entry::of(record);
        let wanted = self.wants(record.level());
        let main = self.main.kind();
        if let Some(serial) = &self.serial
            && wanted
            && record.level() as usize <= self.serial_level.load(Ordering::Relaxed)
        {
            serial.deliver(entry.clone());
        }
        // Where both are the same, details go there once.
        let is_one = main == Kind::Stderr || (main == Kind::Journal && self.stderr_is_the_journal);
        if let Some(stderr) = self.stderr.as_ref().filter(|_| !is_one) {
            stderr.deliver(entry.clone());
        }
        if wanted || (self.debug && is_one) {
            self.main.deliver(entry);
        }
    }

    fn flush(&self) {
        self.finish();
    }
}
