//! What to do so that the interfaces of metadata are set up. Pure.

mod attempts;
pub mod choice;
pub mod clients;
pub mod ifcfg;
mod ini;
pub mod netplan;
pub mod networkd;
pub mod networkmanager;
pub mod nics;
mod problem;
mod ways;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::observed::Observed;
use super::{Backend, MARK};
use crate::system::netlink::MacAddress;
use crate::system::order::{InOrder, Map, Set};
use crate::system::processes::Invocation;
use attempts::FIRST_WAIT;
use nics::Nic;
pub(super) use ways::may_lack_netplan_files;
use ways::{Up, Way};

pub use attempts::{Attempt, Attempts};
pub use problem::Problem;

/// Where it is written down for which interfaces `dhcp_command` has run.
pub const COMMAND_RECORD: &str = "/run/gce-guest/dhcp-command";

/// What attempts at it are about.
pub(super) const DHCP_COMMAND: &str = "NetworkInterfaces.dhcp_command";

/// How long `dhcp_command` may take.
const COMMAND_DEADLINE: Duration = Duration::from_secs(120);

/// After so many attempts without an effect it is said.
const MANY_ATTEMPTS: u32 = 3;

/// A file that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// What stands in it; [`MARK`] is the first line.
    pub contents: String,
    /// Its permission bits.
    pub mode: u32,
}

impl File {
    fn new(path: impl Into<PathBuf>, contents: String, mode: u32) -> Self {
        Self {
            path: path.into(),
            contents,
            mode,
        }
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A file of ours goes, with its directory where that is ours alone.
    Remove(PathBuf),
    /// A file of ours is written.
    Write(File),
    /// The link of a VLAN is made.
    AddVlan {
        /// The index of its parent.
        parent: u32,
        /// Its name.
        name: String,
        /// Its VLAN id.
        id: u16,
        /// Its MAC address.
        mac: MacAddress,
        /// Its MTU.
        mtu: Option<u32>,
    },
    /// The link of a VLAN of ours goes.
    DeleteLink {
        /// Its index.
        index: u32,
        /// Its name.
        name: String,
    },
    /// Prefixes of any length are taken from router advertisements on this interface.
    RouteInformation(String),
    /// A program runs.
    Run {
        /// The program.
        invocation: Invocation,
        /// What the attempt is about: interfaces, or a backend.
        about: Vec<String>,
        /// What follows once it has succeeded.
        then: Option<Then>,
    },
}

impl Step {
    /// The step in words: what was done, or what is to be done.
    #[must_use]
    pub fn told(&self, is_done: bool) -> String {
        let (past, present, object) = match self {
            Self::Remove(path) => ("removed", "remove", path.display().to_string()),
            Self::Write(file) => ("wrote", "write", file.path.display().to_string()),
            Self::AddVlan { name, id, .. } => (
                "made",
                "make",
                format!("the interface {name} for VLAN {id}"),
            ),
            Self::DeleteLink { name, .. } => ("removed", "remove", format!("the interface {name}")),
            Self::RouteInformation(interface) => {
                let sysctl = format!("net.ipv6.conf.{interface}.accept_ra_rt_info_max_plen");
                ("set", "set", format!("{sysctl} to 128"))
            }
            Self::Run { invocation, .. } => ("ran", "run", invocation.display()),
        };
        format!("{} {object}", if is_done { past } else { present })
    }
}

/// What follows a program that has succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// It is written down that it has run: it does not run again.
    Record(File),
    /// Files that it has made are put in their places, from and to.
    Install(Vec<(PathBuf, PathBuf)>),
}

/// What to do, and what cannot be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which it is done.
    pub steps: Vec<Step>,
    /// Sorted.
    pub problems: Vec<Problem>,
    /// What failed before and is not tried again yet.
    pub failures: Map<String, String>,
    /// The interfaces that are as they should be.
    pub served: Set<String>,
    /// The interfaces that are not, although their files are: a service that starts again takes its time.
    pub awaited: Set<String>,
    /// When another pass is worth while, whatever happens.
    pub again_in: Option<Duration>,
}

/// How interfaces are to be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means<'a> {
    /// Through a backend.
    Backend(Backend),
    /// By the command that the configuration has instead.
    Command(&'a str),
    /// There is nothing.
    Nothing,
}

/// Compares what metadata wants with the machine.
///
/// Files are written where they differ and removed where they are ours and not wanted, whichever backend they are of; a
/// backend is asked to read its files again when one of them has changed; what is not up yet is brought up, and not again
/// before a while has passed.
#[must_use]
pub fn plan(
    nics: &[Nic],
    means: Means<'_>,
    restore_debian_default: bool,
    observed: &Observed,
    attempts: &Attempts,
    now: Instant,
) -> Plan {
    let mut plan = Plan::default();
    let way = match means {
        Means::Backend(backend) => ways::way(backend, nics, observed, &mut plan.problems),
        Means::Command(_) => Way::default(),
        Means::Nothing => {
            if nics.iter().any(|nic| nic.managed) {
                plan.problems.push(Problem::NoBackend);
            }
            Way::default()
        }
    };
    if restore_debian_default && ways::lacks_debian_default(nics, observed) {
        let contents = netplan::DEBIAN_DEFAULT.to_owned();
        let file = File::new(netplan::DEBIAN_DEFAULT_PATH, contents, 0o600);
        plan.steps.push(Step::Write(file));
    }
    let mut changed = plan.change_files(&way.files, observed);
    plan.await_services(&way.ups, &changed, attempts);
    plan.remove_generated(&way.files, observed, &mut changed);
    plan.steps.extend(way.links.iter().cloned());
    plan.set_route_information(nics, observed);
    plan.reload(&way, &changed, means, observed, attempts, now);
    plan.bring_up(way.ups, &changed, means, attempts, now);
    plan.steps.extend(way.releases);
    if let Means::Command(command) = means {
        plan.run_command(command, nics, observed, attempts, now);
    }
    plan.problems.put_in_order();
    plan.problems.dedup();
    plan
}

/// What was changed on disk: the paths, and the backends that read them.
#[derive(Default)]
struct Changed {
    paths: Set<PathBuf>,
    backends: Set<Backend>,
}

impl Plan {
    fn change_files(&mut self, wanted: &[File], observed: &Observed) -> Changed {
        let mut changed = Changed::default();
        let is_ours = |contents: &[u8]| contents.starts_with(MARK.as_bytes());
        for (path, contents) in &observed.files {
            let is_wanted = wanted.iter().any(|file| file.path == *path);
            if is_ours(contents) && !is_wanted && path.as_os_str() != COMMAND_RECORD {
                self.steps.push(Step::Remove(path.clone()));
                changed.note(path);
            }
        }
        for file in wanted {
            match observed.files.get(&file.path) {
                Some(present) if present == file.contents.as_bytes() => {}
                Some(present) if !is_ours(present) => {
                    let name = file.path.file_name().unwrap_or_default();
                    self.problems.push(Problem::ForeignFile {
                        path: file.path.clone(),
                        interface: name.to_string_lossy().into_owned(),
                    });
                }
                _ => {
                    self.steps.push(Step::Write(file.clone()));
                    changed.note(&file.path);
                }
            }
        }
        changed
    }

    fn set_route_information(&mut self, nics: &[Nic], observed: &Observed) {
        for nic in nics.iter().filter(|nic| nic.ipv6) {
            let present = observed.route_information.get(&nic.name);
            if present.is_some_and(|value| value != "128") {
                self.steps.push(Step::RouteInformation(nic.name.clone()));
            }
        }
    }

    /// Gives a service time for what has its files already: it may be starting again just now.
    fn await_services(&mut self, ups: &[Up], changed: &Changed, attempts: &Attempts) {
        let awaited = ups.iter().filter(|up| {
            up.by_service && !up.is_up && changed.paths.is_empty() && !attempts.knows(&up.interface)
        });
        self.awaited.extend(awaited.map(|up| up.interface.clone()));
        if !self.awaited.is_empty() {
            self.wake_in(FIRST_WAIT);
        }
    }

    /// What netplan made for us, of interfaces that our file has no more.
    fn remove_generated(&mut self, wanted: &[File], observed: &Observed, changed: &mut Changed) {
        let path = Path::new(netplan::PATH);
        let before = observed
            .files
            .get(path)
            .map_or_else(Vec::new, |file| netplan::keys(file));
        let wanted = wanted.iter().find(|file| file.path == path);
        let now = wanted.map_or_else(Vec::new, |file| netplan::keys(file.contents.as_bytes()));
        for key in before.iter().filter(|key| !now.contains(key)) {
            let path = netplan::generated(key);
            changed.note(&path);
            self.steps.push(Step::Remove(path));
        }
    }

    /// Has every backend whose files have changed read them, and the one in charge also when an interface is not up yet.
    fn reload(
        &mut self,
        way: &Way,
        changed: &Changed,
        means: Means<'_>,
        observed: &Observed,
        attempts: &Attempts,
        now: Instant,
    ) {
        for backend in Backend::ALL {
            let name = backend.to_string();
            let in_charge = means == Means::Backend(backend);
            let mut about = vec![name.clone()];
            about.extend(
                way.ups
                    .iter()
                    .filter(|up| in_charge && up.by_reload && !up.is_up)
                    .filter(|up| !self.awaited.contains(&up.interface))
                    .filter(|up| attempts.wait(&up.interface, now).is_none())
                    .map(|up| up.interface.clone()),
            );
            let again = self.has_failed_and_is_due(&name, attempts, now);
            if !changed.backends.contains(&backend) && about.len() == 1 && !again {
                continue;
            }
            if backend == Backend::Netplan {
                self.generate(&way.files, &about);
            }
            for invocation in ways::reload(backend, &observed.facts) {
                self.run(invocation, &about);
            }
        }
    }

    /// Has netplan make networkd's files of ours alone, apart from all others, and puts those in their places. Made anew
    /// along with them, the file of the primary would be a new one too, and networkd would drop its address.
    fn generate(&mut self, files: &[File], about: &[String]) {
        let Some(file) = files
            .iter()
            .find(|file| file.path == Path::new(netplan::PATH))
        else {
            return;
        };
        self.steps.push(Step::Write(File {
            path: netplan::in_scratch(&file.path),
            ..file.clone()
        }));
        let keys = netplan::keys(file.contents.as_bytes());
        let places = keys.iter().map(|key| {
            let path = netplan::generated(key);
            (netplan::in_scratch(&path), path)
        });
        self.steps.push(Step::Run {
            invocation: netplan::generate(),
            about: about.to_vec(),
            then: Some(Then::Install(places.collect())),
        });
    }

    /// Plans to run a program, once for all that it is about.
    fn run(&mut self, invocation: Invocation, about: &[String]) {
        for step in &mut self.steps {
            if let Step::Run {
                invocation: planned,
                about: all,
                ..
            } = step
                && *planned == invocation
            {
                all.extend(about.iter().cloned());
                return;
            }
        }
        self.steps.push(Step::Run {
            invocation,
            about: about.to_vec(),
            then: None,
        });
    }

    fn bring_up(
        &mut self,
        ups: Vec<Up>,
        changed: &Changed,
        means: Means<'_>,
        attempts: &Attempts,
        now: Instant,
    ) {
        for up in ups {
            let rewritten = up
                .file
                .as_ref()
                .is_some_and(|file| changed.paths.contains(file));
            let failed = attempts.failure(&up.interface).is_some();
            if up.is_up && !rewritten && !failed {
                self.served.insert(up.interface);
                continue;
            }
            if self.awaited.contains(&up.interface) {
                continue;
            }
            if let Means::Backend(backend) = means
                && attempts.count(&up.interface) >= MANY_ATTEMPTS
                && !failed
            {
                self.problems.push(Problem::NoEffect {
                    interface: up.interface.clone(),
                    backend,
                });
            }
            match attempts.wait(&up.interface, now) {
                Some(_) if !rewritten => {
                    self.wait_for(&up.interface, attempts, now);
                }
                _ => {
                    self.wake_in(FIRST_WAIT);
                    self.steps
                        .extend(up.commands.into_iter().map(|invocation| Step::Run {
                            invocation,
                            about: vec![up.interface.clone()],
                            then: None,
                        }));
                }
            }
        }
    }

    fn has_failed_and_is_due(&mut self, about: &str, attempts: &Attempts, now: Instant) -> bool {
        attempts.failure(about).is_some() && !self.wait_for(about, attempts, now)
    }

    /// Whether something has to wait; what it failed with holds meanwhile.
    fn wait_for(&mut self, about: &str, attempts: &Attempts, now: Instant) -> bool {
        let Some(wait) = attempts.wait(about, now) else {
            return false;
        };
        if let Some(failure) = attempts.failure(about)
            && !self.failures.values().any(|told| told == failure)
        {
            self.failures.insert(about.to_owned(), failure.clone());
        }
        self.wake_in(wait);
        true
    }

    fn wake_in(&mut self, wait: Duration) {
        self.again_in = Some(self.again_in.map_or(wait, |other| other.min(wait)));
    }

    /// Runs `dhcp_command`, once for each set of interfaces. Split at blanks, no shell (spec/core.md BUG 20).
    fn run_command(
        &mut self,
        command: &str,
        nics: &[Nic],
        observed: &Observed,
        attempts: &Attempts,
        now: Instant,
    ) {
        let names: Vec<&str> = nics
            .iter()
            .filter(|nic| nic.managed)
            .map(|nic| nic.name.as_str())
            .collect();
        let mut words = command.split_whitespace();
        let (Some(program), false) = (words.next(), names.is_empty()) else {
            return;
        };
        let contents = format!("{MARK}\n{command}\n{}\n", names.join(" "));
        let path = PathBuf::from(COMMAND_RECORD);
        if observed.files.get(&path).map(Vec::as_slice) == Some(contents.as_bytes()) {
            self.served.insert(DHCP_COMMAND.to_owned());
            return;
        }
        if self.wait_for(DHCP_COMMAND, attempts, now) {
            return;
        }
        self.steps.push(Step::Run {
            invocation: Invocation::new(program, words).within(COMMAND_DEADLINE),
            about: vec![DHCP_COMMAND.to_owned()],
            then: Some(Then::Record(File::new(path, contents, 0o644))),
        });
    }
}

impl Changed {
    fn note(&mut self, path: &Path) {
        self.backends.extend(ways::readers(path));
        self.paths.insert(path.to_path_buf());
    }
}

#[cfg(test)]
mod tests;
