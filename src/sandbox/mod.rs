//! Throw-away namespaces in which the real program works on a machine that is not the real one.
//!
//! Inside, `/` is an overlay over the machine's own root: everything that is installed is there, and what is written
//! stays in memory and vanishes. Processes, network, host name, `/run`, `/tmp` and `/dev` are the sandbox's own; there is
//! no route out; what the kernel has only once (its settings, its clock, its devices) cannot be written, and the
//! capabilities to change that are gone. Nothing is made on the machine itself, not even a directory, so that nothing
//! can be left behind; the kernel takes everything down when the command or any of our own processes ends.
//!
//! Four processes, each the child of the one before:
//!
//! 1. the caller of [`Sandbox::run`], outside; it only passes signals on and waits;
//! 2. `sandbox-enter` ([`stages::enter`]) unshares the namespaces;
//! 3. `sandbox-init` ([`stages::start`]), the first process of the new process namespace, builds the root (`root`) and
//!    the network (`network`), gives its capabilities up, and reaps;
//! 4. the command.
//!
//! What it does not keep from the command: memory and processor time (a quarter of the memory for each of its file
//! systems), and the caller's terminal, into which a program can type on old kernels (`TIOCSTI`).
//!
//! Without root the namespaces belong to a user namespace with subordinate ids (`mapping`). The kernel refuses an
//! overlay on the whole root there, so `/etc` is a copy, `/home` and `/var` are empty, and the rest is shown read-only
//! (`copies`).
//!
//! This room decides what is where; mount, unshare and their kin are in `system`.

mod construction;
mod copies;
mod devices;
mod mapping;
mod network;
mod root;
pub mod stages;

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::system::foreground::{self, Reap, Signals};
use crate::system::namespaces;
use crate::system::netlink::MacAddress;

/// How every stage starts the next one: this very program, even when its file has been replaced.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Where programs are looked for when nobody said it.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The address of the metadata server, which is on the sandbox's `lo` so that a server inside can listen on it.
pub const METADATA_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// A network interface of the sandbox: one end of a pair whose other end is in the sandbox as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Its name; at most 14 bytes, because the other end has the same name with a `p`.
    pub name: String,
    /// Its hardware address.
    pub mac: MacAddress,
    /// Its one address, with a prefix of 32 bits as Compute Engine gives it; `None` leaves it without.
    pub address: Option<Ipv4Addr>,
}

/// A directory of the machine that the sandbox sees as it is, now and later, and cannot change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The directory outside.
    pub from: OsString,
    /// Where it is inside; made when it is missing.
    pub at: OsString,
}

/// What a sandbox shall be like.
#[derive(Clone, Debug)]
pub struct Options {
    /// The host name inside.
    pub hostname: String,
    /// The network interfaces besides `lo`.
    pub nics: Vec<Nic>,
    /// Variables that are added to the caller's environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Where the command starts; `None` for the caller's working directory. `/` when the sandbox does not show it.
    pub working_directory: Option<PathBuf>,
    /// Directories that stay live: an overlay does not show what happens outside after its start.
    pub shown: Vec<Shown>,
    /// Descriptors of the caller that the command has under the same numbers, besides the standard three; all others are
    /// closed. A descriptor of a directory is a way out of the sandbox for whoever has it: prefer [`Options::shown`].
    pub kept: Vec<RawFd>,
    /// Leaves the command the capability to mount. It can then undo what keeps the machine safe: only for tests that
    /// need a file system of their own.
    pub allow_mounts: bool,
}

impl Default for Options {
    /// A machine like one of Compute Engine: `eth0` with a Google MAC address and a /32 address.
    fn default() -> Self {
        Self {
            hostname: "sandbox".to_owned(),
            nics: vec![Nic {
                name: "eth0".to_owned(),
                mac: MacAddress([0x42, 0x01, 0x0a, 0x80, 0x00, 0x02]),
                address: Some(Ipv4Addr::new(10, 128, 0, 2)),
            }],
            environment: Vec::new(),
            working_directory: None,
            shown: Vec::new(),
            kept: Vec::new(),
            allow_mounts: false,
        }
    }
}

/// Why a command did not run in a sandbox.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// This user cannot have one on this machine.
    #[error("a sandbox needs root, or a user namespace with subordinate ids: {0}")]
    NotAllowed(String),
    /// Its parts could not be put together.
    #[error("cannot set the sandbox up: {0}")]
    NotSetUp(String),
    /// It was there, but the command could not be started in it.
    #[error("{message}")]
    NotStarted {
        /// The command and what the system said.
        message: String,
        /// The exit status that shells use: 127 for a command that is not there, 126 for one that cannot be run.
        status: u8,
    },
    /// It ended before the command was started, by a signal.
    #[error("the sandbox was ended before the command was started")]
    Ended,
    /// The processes around it could not be started or watched.
    #[error("cannot run the sandbox: {0}")]
    Failed(#[from] io::Error),
}

impl SandboxError {
    /// The exit status of a program that ends with this error.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::NotStarted { status, .. } => *status,
            _ => 1,
        }
    }
}

/// What the stages tell the caller, one JSON object a line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Report {
    /// The user namespace is there: its ids may be mapped now. An empty line is the answer.
    Map,
    /// The command has been started.
    Started,
    /// The sandbox could not be set up.
    NotSetUp(String),
    /// The command could not be started.
    NotStarted { message: String, status: u8 },
}

/// What the caller tells the stages, on their command line.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    hostname: String,
    nics: Vec<(String, [u8; 6], Option<Ipv4Addr>)>,
    shown: Vec<Shown>,
    kept: Vec<RawFd>,
    allow_mounts: bool,
    working_directory: OsString,
    /// The directory of the program itself, which has to be there inside.
    program_directory: OsString,
    /// Whether there is a user namespace.
    mapped: bool,
    /// The descriptor for reports.
    control: RawFd,
}

/// A sandbox that is set up for each command anew.
#[derive(Clone, Debug, Default)]
pub struct Sandbox {
    options: Options,
}

impl Sandbox {
    /// A sandbox with these options. Nothing happens yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options }
    }

    /// Runs a command in a fresh sandbox, with the caller's standard streams and terminal, and returns its exit status
    /// (128 and the signal's number when a signal ended it). When it ends, everything that it started is killed.
    ///
    /// TERM, INT, HUP and QUIT that reach the caller meanwhile are passed on to the command. The calling program must be
    /// `gce-guest`, because it starts itself for the inner stages, and should have one thread.
    ///
    /// # Errors
    /// [`SandboxError`]; the command has not run then.
    pub fn run(&self, command: &[OsString]) -> Result<u8, SandboxError> {
        let mapped = if namespaces::may_administer() {
            None
        } else {
            Some(mapping::Mapping::of_caller().map_err(SandboxError::NotAllowed)?)
        };
        // Before anything else is opened, which might get a number that the caller only believes to be open.
        for number in &self.options.kept {
            namespaces::set_inherited(*number, true)?;
        }
        let (ours, theirs) = UnixStream::pair()?;
        let order = self.order(mapped.is_some(), theirs.as_raw_fd())?;
        let signals = Signals::hold()?;
        let first = stages::start_stage(
            "sandbox-enter",
            &order,
            &self.environment(mapped.is_some()),
            command,
        )?;
        drop(theirs);
        let outcome = listen(&ours, mapped.as_ref(), first.as_raw_nonzero().get());
        if !matches!(outcome, Ok(())) {
            // Without our end of the line no stage goes on.
            drop(ours);
        }
        let status = foreground::wait_for(first, &signals, Reap::Program)?;
        outcome.map(|()| foreground::exit_status(status))
    }

    fn order(&self, mapped: bool, control: RawFd) -> io::Result<Order> {
        let working_directory = match &self.options.working_directory {
            Some(directory) => directory.clone(),
            None => env::current_dir()?,
        };
        let program = env::current_exe()?;
        Ok(Order {
            hostname: self.options.hostname.clone(),
            nics: self
                .options
                .nics
                .iter()
                .map(|nic| (nic.name.clone(), nic.mac.0, nic.address))
                .collect(),
            shown: self.options.shown.clone(),
            kept: self.options.kept.clone(),
            allow_mounts: self.options.allow_mounts,
            working_directory: working_directory.into(),
            program_directory: program.parent().unwrap_or(Path::new("/")).into(),
            mapped,
            control,
        })
    }

    /// The caller's additions to the environment; a mapped root also gets what distinguishes root's. The program is found
    /// by its name, wherever it was started from: a shell in there is for looking at what it does.
    fn environment(&self, mapped: bool) -> Vec<(OsString, OsString)> {
        let mut environment = Vec::new();
        let mut path = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
        if mapped {
            path.push(":/usr/local/sbin:/usr/sbin:/sbin");
        }
        if let Some(directory) = env::current_exe().ok().as_deref().and_then(Path::parent) {
            path.push(":");
            path.push(directory);
        }
        environment.push(("PATH".into(), path));
        if mapped {
            for (name, value) in [("HOME", "/root"), ("USER", "root"), ("LOGNAME", "root")] {
                environment.push((name.into(), value.into()));
            }
        }
        environment.extend(self.options.environment.iter().cloned());
        environment
    }
}

/// Follows the stages until the command has been started.
fn listen(
    control: &UnixStream,
    mapping: Option<&mapping::Mapping>,
    first: i32,
) -> Result<(), SandboxError> {
    let mut reports = BufReader::new(control);
    loop {
        let mut line = String::new();
        if reports.read_line(&mut line)? == 0 {
            return Err(SandboxError::Ended);
        }
        match serde_json::from_slice(line.as_bytes()).map_err(io::Error::from)? {
            Report::Map => {
                if let Some(mapping) = mapping {
                    mapping.apply(first).map_err(SandboxError::NotAllowed)?;
                }
                let mut answer = control;
                answer.write_all(b"\n")?;
            }
            Report::Started => return Ok(()),
            Report::NotSetUp(message) if mapping.is_some() => {
                return Err(SandboxError::NotAllowed(message));
            }
            Report::NotSetUp(message) => return Err(SandboxError::NotSetUp(message)),
            Report::NotStarted { message, status } => {
                return Err(SandboxError::NotStarted { message, status });
            }
        }
    }
}

/// The directory of a command that is given by its path.
fn directory_of(command: &OsStr) -> Option<&Path> {
    let path = Path::new(command);
    path.is_absolute().then(|| path.parent()).flatten()
}
