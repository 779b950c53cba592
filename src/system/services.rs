//! Services of the machine: telling those that run that a file of theirs has changed.
//!
//! By systemd where it runs this machine; by process id and service(8) where nobody does.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use thiserror::Error;

use super::files;
use super::processes::{self, Invocation, ProcessError};

/// How long a service may take to restart.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often a service that starts is looked at.
const PAUSE: Duration = Duration::from_millis(100);
/// The names under which distributions have sshd.
const SSHD: [&str; 2] = ["ssh", "sshd"];
/// The largest file of a process id that is read.
const SIZE_LIMIT: u64 = 64;

/// Why a service was not told.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// The program that does it failed.
    #[error(transparent)]
    Program(#[from] ProcessError),
    /// A signal could not be sent.
    #[error("cannot signal process {id} ({name}): {reason}")]
    Signal {
        /// The service.
        name: String,
        /// Its process.
        id: i32,
        /// What the system said.
        reason: rustix::io::Errno,
    },
}

/// Restarts a service that runs. One that does not run, or is not installed, is left alone.
///
/// # Errors
/// [`ServiceError`].
pub fn restart_if_running(name: &str) -> Result<(), ServiceError> {
    if has_systemd() {
        if is_active(name) {
            systemctl(&["try-restart", &unit(name)])?;
        }
    } else if running(name).is_some() && processes::find("service").is_some() {
        let restart = Invocation::new("service", [name, "restart"]).within(DEADLINE);
        processes::run_successfully(&restart)?;
    }
    Ok(())
}

/// Has sshd read its configuration again; log-ins that are open stay. An sshd that does not run will read it when it starts.
///
/// # Errors
/// [`ServiceError`].
pub fn reload_sshd() -> Result<(), ServiceError> {
    let units = SSHD
        .into_iter()
        .filter(|name| has_systemd() && is_active(name));
    let mut units = units.peekable();
    if units.peek().is_some() {
        return units.try_for_each(|name| {
            systemctl(&["reload-or-restart", &unit(name)]).map_err(ServiceError::from)
        });
    }
    match running("sshd") {
        None => Ok(()),
        Some(pid) => kill_process(pid, Signal::HUP).map_err(|reason| ServiceError::Signal {
            name: "sshd".into(),
            id: pid.as_raw_nonzero().get(),
            reason,
        }),
    }
}

/// Sends SIGHUP to a service of systemd that runs. One that is still starting may not have a handler yet, and would be ended by
/// it: that is waited for, no longer than `at_most`.
///
/// # Errors
/// [`ServiceError`].
pub fn hang_up(name: &str, at_most: Duration) -> Result<(), ServiceError> {
    let until = Instant::now() + at_most;
    let unit = unit(name);
    while is_starting(&unit)? {
        if Instant::now() >= until {
            return Ok(());
        }
        sleep(PAUSE);
    }
    if is_active(name) {
        systemctl(&["kill", "--kill-who=main", "--signal=HUP", &unit])?;
    }
    Ok(())
}

fn is_starting(unit: &str) -> Result<bool, ServiceError> {
    // Its exit status says whether the unit is active, and nothing else.
    let state = Invocation::new("systemctl", ["is-active", unit]).within(DEADLINE);
    Ok(processes::run(&state)?.stdout.trim_ascii() == b"activating")
}

/// Starts a unit of systemd without waiting for it. Returns whether there is such a unit.
#[must_use]
pub fn start_in_background(unit: &str) -> bool {
    has_systemd() && systemctl(&["start", "--no-block", unit]).is_ok()
}

/// Whether systemd runs this machine (sd_booted(3)).
#[must_use]
pub fn has_systemd() -> bool {
    Path::new("/run/systemd/system").exists()
}

fn unit(name: &str) -> String {
    format!("{name}.service")
}

fn is_active(name: &str) -> bool {
    systemctl(&["is-active", "--quiet", &unit(name)]).is_ok()
}

fn systemctl(arguments: &[&str]) -> Result<(), ProcessError> {
    let invocation = Invocation::new("systemctl", arguments.iter().copied()).within(DEADLINE);
    processes::run_successfully(&invocation).map(drop)
}

/// The process of a service, by the file that it writes its id to; only if the process really is of that name.
fn running(name: &str) -> Option<Pid> {
    let places = [
        format!("/run/{name}.pid"),
        format!("/run/{name}/{name}.pid"),
    ];
    places.iter().find_map(|path| {
        let text = files::read(Path::new(path), SIZE_LIMIT).ok()??;
        let id: i32 = String::from_utf8_lossy(&text).trim().parse().ok()?;
        let command =
            files::read_stream(Path::new(&format!("/proc/{id}/comm")), SIZE_LIMIT).ok()?;
        (command.trim_ascii() == name.as_bytes())
            .then(|| Pid::from_raw(id))
            .flatten()
    })
}
