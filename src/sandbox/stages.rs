//! The processes between the caller and the command: `sandbox-enter` and `sandbox-init`.
//!
//! Each has one thread. Each is killed by the kernel when the one before it ends, however it ends.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::process::Pid;
use rustix::thread::{CapabilitySet, UnshareFlags};

use super::{Nic, Order, Report, THIS_PROGRAM, directory_of, network, root};
use crate::system::files::{self, Attributes};
use crate::system::foreground::{self, Program, Reap, Signals};
use crate::system::namespaces;
use crate::system::netlink::MacAddress;

/// What root may do inside: manage users, files and its own network, and nothing that the kernel has only once.
const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::AUDIT_WRITE);

/// Starts this program again as the next stage.
pub(super) fn start_stage(
    stage: &str,
    order: &Order,
    environment: &[(OsString, OsString)],
    command: &[OsString],
) -> io::Result<Pid> {
    let mut arguments: Vec<OsString> = vec![
        stage.into(),
        serde_json::to_string(order)?.into(),
        "--".into(),
    ];
    arguments.extend_from_slice(command);
    namespaces::set_inherited(order.control, true)?;
    foreground::start(&Program {
        program: OsStr::new(THIS_PROGRAM),
        name: Some(OsStr::new("gce-guest")),
        arguments: &arguments,
        environment,
        directory: None,
    })
}

/// The second process: unshares the namespaces, starts the third in them, and waits for it. Returns the exit status.
///
/// `order` is what the caller put on the command line.
///
/// # Errors
/// When the order is not one, or the caller is gone. Everything else is reported to the caller.
pub fn enter(order: &str, command: &[OsString]) -> io::Result<u8> {
    let order: Order = serde_json::from_slice(order.as_bytes())?;
    let mut control = Control::take_over(&order)?;
    let result = unshare_all(&order, &mut control).and_then(|()| {
        let signals = Signals::hold()?;
        let init = start_stage("sandbox-init", &order, &[], command)?;
        Ok((signals, init))
    });
    match result {
        Ok((signals, init)) => {
            drop(control);
            let status = foreground::wait_for(init, &signals, Reap::Program)?;
            Ok(foreground::exit_status(status))
        }
        Err(error) => control.give_up(&error),
    }
}

fn unshare_all(order: &Order, control: &mut Control) -> io::Result<()> {
    control.die_with_parent()?;
    if order.mapped {
        namespaces::unshare(UnshareFlags::NEWUSER)
            .map_err(|error| context("make a user namespace", &error))?;
        control.send(&Report::Map)?;
        control.wait_for_answer()?;
        // The new credentials took the wish to die with the caller away (prctl(2)).
        control.die_with_parent()?;
        rustix::thread::set_thread_groups(&[])?;
    }
    namespaces::unshare(
        UnshareFlags::NEWNS
            | UnshareFlags::NEWNET
            | UnshareFlags::NEWUTS
            | UnshareFlags::NEWIPC
            | UnshareFlags::NEWCGROUP
            | UnshareFlags::NEWPID,
    )
    .map_err(|error| context("make namespaces", &error))
}

/// The third process, the first of its process namespace: sets everything up, starts the command, reaps, and ends with
/// the command. Returns the exit status.
///
/// # Errors
/// When the order is not one, or the caller is gone. Everything else is reported to the caller.
pub fn start(order: &str, command: &[OsString]) -> io::Result<u8> {
    let order: Order = serde_json::from_slice(order.as_bytes())?;
    let mut control = Control::take_over(&order)?;
    if let Err(error) = set_up(&order, command, &control) {
        return control.give_up(&error);
    }
    let Some((program, arguments)) = command.split_first() else {
        return control.give_up(&io::Error::other("no command"));
    };
    let signals = Signals::hold()?;
    let directory = Path::new(&order.working_directory);
    let started = foreground::start(&Program {
        program,
        name: None,
        arguments,
        environment: &[],
        directory: Some(if directory.is_dir() {
            directory
        } else {
            Path::new("/")
        }),
    });
    match started {
        Ok(pid) => {
            control.send(&Report::Started)?;
            drop(control);
            let status = foreground::wait_for(pid, &signals, Reap::Everything)?;
            Ok(foreground::exit_status(status))
        }
        Err(error) => {
            let status = if error.kind() == io::ErrorKind::NotFound {
                127
            } else {
                126
            };
            let message = format!("cannot start {}: {error}", program.display());
            control.send(&Report::NotStarted { message, status })?;
            Ok(status)
        }
    }
}

fn set_up(order: &Order, command: &[OsString], control: &Control) -> io::Result<()> {
    control.die_with_parent()?;
    let mut needed = vec![
        Path::new(&order.working_directory),
        Path::new(&order.program_directory),
    ];
    needed.extend(command.first().and_then(|program| directory_of(program)));
    root::change(&root::Plan {
        mapped: order.mapped,
        needed: &needed,
        shown: &order.shown,
    })?;
    name_the_machine(&order.hostname)?;
    let nics = order.nics.iter().map(|(name, mac, address)| Nic {
        name: name.clone(),
        mac: MacAddress(*mac),
        address: *address,
    });
    network::set_up(&nics.collect::<Vec<_>>())?;
    // Where it fails, the kernel has no auditing or forbids the change: what sshd makes of it is then its own affair.
    let _ = namespaces::forget_login();
    let kept = if order.allow_mounts {
        CAPABILITIES.union(CapabilitySet::SYS_ADMIN)
    } else {
        CAPABILITIES
    };
    namespaces::inherit_only(&order.kept)?;
    namespaces::keep_capabilities(kept).map_err(|error| context("give capabilities up", &error))
}

/// Gives the sandbox its name and makes it resolve: sudo looks its own host up.
fn name_the_machine(name: &str) -> io::Result<()> {
    rustix::system::sethostname(name.as_bytes())?;
    let hosts = format!(
        "127.0.0.1 localhost {name}\n\
         ::1 localhost ip6-localhost ip6-loopback\n\
         {} metadata.google.internal metadata\n",
        super::METADATA_ADDRESS
    );
    for (path, contents) in [
        ("/etc/hosts", hosts),
        ("/etc/hostname", format!("{name}\n")),
    ] {
        let path = Path::new(path);
        // It may be a symbolic link, which is then replaced and not followed.
        files::remove(path)?;
        files::replace(path, contents.as_bytes(), &Attributes::mode(0o644))?;
    }
    Ok(())
}

/// Our end of the line to the caller.
struct Control(UnixStream);

impl Control {
    fn take_over(order: &Order) -> io::Result<Self> {
        let fd: OwnedFd = namespaces::take_over(order.control)?;
        Ok(Self(UnixStream::from(fd)))
    }

    fn send(&mut self, report: &Report) -> io::Result<()> {
        let mut line = serde_json::to_vec(report)?;
        line.push(b'\n');
        self.0.write_all(&line)
    }

    fn wait_for_answer(&mut self) -> io::Result<()> {
        self.0.read_exact(&mut [0_u8; 1])
    }

    /// From now on the end of the parent is our end. The caller's end of the line tells whether that is too late.
    fn die_with_parent(&self) -> io::Result<()> {
        namespaces::die_with_parent()?;
        self.0.set_nonblocking(true)?;
        let gone = matches!(
            rustix::net::recv(&self.0, &mut [0_u8; 1][..], rustix::net::RecvFlags::PEEK),
            Ok((0, _))
        );
        self.0.set_nonblocking(false)?;
        if gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }

    /// Tells the caller why there is no sandbox. Returns our exit status.
    fn give_up(&mut self, error: &io::Error) -> io::Result<u8> {
        self.send(&Report::NotSetUp(error.to_string()))?;
        Ok(1)
    }
}

fn context(act: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {act}: {error}"))
}
