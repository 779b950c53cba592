//! Tuning: which processor serves which interrupt and which queue, and how disks and NICs queue (spec/core.md 9.4, 13.3,
//! 13.4; spec/beyond.md 10, 20.1).
//!
//! A look at /sys and /proc gives a snapshot, a pure plan says what differs from what should be, and the changes are
//! written one by one. So a second run finds nothing to do, and `--dry-run` shows the very changes that a run makes. No
//! program is run, and nothing here waits for the network.

pub mod apply;
pub mod cpus;
pub mod observe;
pub mod plan;
pub mod platform;
pub mod snapshot;
pub mod steps;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub use platform::Platform;

use crate::system::ethtool::Ethtool;
use crate::system::files::setting;
use crate::system::root::Root;
use apply::{Made, Writer};
use plan::Plan;

/// The machine that is tuned.
#[derive(Debug)]
pub struct Machine {
    root: Root,
    ethtool: Option<Ethtool>,
}

impl Machine {
    /// The machine whose /sys and /proc are below a directory. Only below `/` are its NICs those of this kernel, which
    /// are asked by ioctl; in a copy of another machine they keep their channels, rings and moderation.
    #[must_use]
    pub fn new(root: Root) -> Self {
        let is_this_one = setting::resolve(&root.path("/")).as_deref() == Some(Path::new("/"));
        // Without a socket, its NICs are as good as another machine's.
        let ethtool = is_this_one.then(Ethtool::open).and_then(Result::ok);
        Self { root, ethtool }
    }

    fn path(&self, absolute: &str) -> PathBuf {
        self.root.path(absolute)
    }

    fn ethtool(&self) -> io::Result<&Ethtool> {
        self.ethtool
            .as_ref()
            .ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// What a NIC says; `None` when it does not, for whatever reason.
    fn ask<T>(&self, ask: impl FnOnce(&Ethtool) -> io::Result<Option<T>>) -> Option<T> {
        ask(self.ethtool.as_ref()?).ok().flatten()
    }
}

/// Whether changes are made, or only told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are made.
    Make,
    /// They are told: a dry run.
    Tell,
}

/// What became of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuned {
    /// How many changes were made; in a dry run, how many would be.
    pub changed: usize,
    /// How many the kernel kept to itself.
    pub left: usize,
    /// What could not be changed, each with the reason.
    pub failed: Vec<String>,
}

impl Tuned {
    /// What became of two steps.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.changed += other.changed;
        self.left += other.left;
        self.failed.extend(other.failed);
        self
    }
}

impl fmt::Display for Tuned {
    /// A line for a summary: `12 changed, 2 left to the kernel, 1 failed`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return formatter.write_str("nothing to change");
        }
        write!(formatter, "{} changed", self.changed)?;
        if self.left > 0 {
            write!(formatter, ", {} left to the kernel", self.left)?;
        }
        if !self.failed.is_empty() {
            write!(formatter, ", {} failed", self.failed.len())?;
        }
        Ok(())
    }
}

/// Who hears about every change, a line each.
pub type Listener<'a> = &'a mut dyn FnMut(&str);

/// Interrupts of NVMe controllers; queues and interrupts of local SSDs on virtio-scsi (`google_optimize_local_ssd`).
pub fn optimize_local_ssd(machine: &Machine, mode: Mode, listener: Listener<'_>) -> Tuned {
    let mut run = Run::new(machine, mode, listener);
    run.follow(&plan::disks::local_ssd(&observe::disks(machine)));
    run.tuned
}

/// Channels, queues and interrupts of NICs (`google_set_multiqueue`). With [`Platform::default`], before metadata has
/// answered, it does what is right on every machine; a second call that knows the platform does the rest.
pub fn set_multiqueue(
    machine: &Machine,
    platform: &Platform,
    mode: Mode,
    listener: Listener<'_>,
) -> Tuned {
    let mut run = Run::new(machine, mode, listener);
    let network = observe::network(machine);
    let devices = plan::queues::devices(&network, platform);
    let changed = run.follow(&devices);
    if mode == Mode::Tell && !devices.changes.is_empty() {
        run.tell("what follows is for the queues that there are now");
    }
    let mut network = if changed {
        observe::network(machine)
    } else {
        network
    };
    let on_nodes = plan::queues::on_nodes(&network, platform);
    observe::hints(machine, &mut network.interrupts, &on_nodes);
    run.follow(&plan::queues::affinities(&network, platform, on_nodes));
    run.tuned
}

/// Takes the I/O scheduler away from all disks with several queues.
pub fn remove_schedulers(machine: &Machine, mode: Mode, listener: Listener<'_>) -> Tuned {
    let mut run = Run::new(machine, mode, listener);
    run.follow(&plan::disks::schedulers(&observe::multi_queue_disks(
        machine,
    )));
    run.tuned
}

/// Has the kernel hand out memory without a promise where the platform wants it.
pub fn overcommit_memory(
    machine: &Machine,
    platform: &Platform,
    mode: Mode,
    listener: Listener<'_>,
) -> Tuned {
    let mut run = Run::new(machine, mode, listener);
    let present = setting::read_setting(&machine.path("/proc/sys/vm/overcommit_memory"));
    run.follow(&plan::memory(platform, present.as_deref()));
    run.tuned
}

/// A step at work.
struct Run<'a> {
    machine: &'a Machine,
    mode: Mode,
    listener: Listener<'a>,
    tuned: Tuned,
}

impl<'a> Run<'a> {
    fn new(machine: &'a Machine, mode: Mode, listener: Listener<'a>) -> Self {
        Self {
            machine,
            mode,
            listener,
            tuned: Tuned::default(),
        }
    }

    fn tell(&mut self, line: &str) {
        (self.listener)(line);
    }

    /// Makes or tells the changes of a plan. Returns whether the machine may be another one now.
    fn follow(&mut self, plan: &Plan) -> bool {
        for note in &plan.notes {
            self.tell(note);
        }
        let mut writer = Writer::new(self.machine);
        for change in &plan.changes {
            let made = match self.mode {
                Mode::Make => writer.apply(change),
                Mode::Tell => Made::Done,
            };
            match made {
                Made::Done => {
                    self.tuned.changed += 1;
                    self.tell(&change.to_string());
                }
                Made::Left(why) => {
                    self.tuned.left += 1;
                    self.tell(&format!(
                        "{}: left at {}, {why}",
                        change.subject, change.before
                    ));
                }
                Made::Failed(error) => {
                    let told = format!("{change}: {error}");
                    self.tell(&format!("failed: {told}"));
                    self.tuned.failed.push(told);
                }
            }
        }
        self.mode == Mode::Make && !plan.changes.is_empty()
    }
}
