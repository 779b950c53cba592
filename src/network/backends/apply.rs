//! Makes the changes of a plan, and one whole pass.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::observe::{ask_backend, clients, facts, links_and_addresses, observe};
use super::observed::{Facts, Observed};
use super::plan::choice::{Choice, choose};
use super::plan::nics::{Nic, is_off, wanted};
use super::plan::{
    Attempts, COMMAND_RECORD, DHCP_COMMAND, File, Means, Plan, Problem, Step, Then,
    may_lack_netplan_files, plan,
};
use super::{Backend, MARK};
use crate::config::Settings;
use crate::metadata::Document;
use crate::network::interfaces;
use crate::system::files::setting;
use crate::system::files::{self, Attributes};
use crate::system::netlink::{Link, NetlinkError, Socket};
use crate::system::order::Map;
use crate::system::processes;
use crate::system::root::Root;

/// The most that is read of a file that a program has made.
const LARGEST: u64 = 256 * 1024;

/// What is remembered between passes: what it takes programs to find out, and what was tried.
#[derive(Debug, Default)]
pub struct Memory {
    found: Option<Found>,
    /// What was last said about the backend.
    said: Option<Backend>,
    attempts: Attempts,
}

#[derive(Clone, Debug)]
struct Found {
    facts: Facts,
    choice: Option<Choice>,
}

/// One thing that was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// In words.
    pub what: String,
    /// The file or interface that it is about.
    pub subject: Option<String>,
    /// The lines of the file before.
    pub before: Vec<String>,
    /// The lines of the file after.
    pub after: Vec<String>,
}

impl Change {
    fn new(step: &Step, observed: &Observed, is_done: bool) -> Self {
        let (path, after) = match step {
            Step::Write(file) => (Some(&file.path), file.contents.as_str()),
            Step::Remove(path) => (Some(path), ""),
            _ => (None, ""),
        };
        let before = path.and_then(|path| observed.files.get(path));
        let before = before.map_or_else(Default::default, |text| String::from_utf8_lossy(text));
        let lines = |text: &str| text.lines().map(String::from).collect();
        Self {
            what: step.told(is_done),
            subject: Some(subject(step)),
            before: lines(&before),
            after: lines(after),
        }
    }
}

/// What one pass did and found.
#[derive(Debug, Default)]
pub struct Pass {
    /// What was done, in order; of a dry run, what would be.
    pub changes: Vec<Change>,
    /// What will not be better for trying again soon.
    pub problems: Vec<Problem>,
    /// What failed, by what it is about, and is tried again.
    pub failures: Map<String, String>,
    /// When another pass is worth while, whatever happens.
    pub again_in: Option<Duration>,
}

/// One pass: reads the machine, plans, and makes the changes. A second one right after it changes nothing.
///
/// # Errors
/// When the machine's interfaces cannot be listed: then nothing is changed.
pub fn reconcile(
    root: &Root,
    document: &Document,
    settings: &Settings,
    memory: &mut Memory,
    now: Instant,
) -> Result<Pass, NetlinkError> {
    let mut pass = Pass::default();
    if let Some((plan, observed)) = prepare(root, document, settings, memory, now, &mut pass)? {
        apply(root, &plan, &observed, memory, now, &mut pass);
    }
    Ok(pass)
}

/// What a pass would do now. Changes nothing.
///
/// # Errors
/// Those of [`reconcile()`].
pub fn preview(
    root: &Root,
    document: &Document,
    settings: &Settings,
    now: Instant,
) -> Result<Pass, NetlinkError> {
    let (mut pass, mut memory) = (Pass::default(), Memory::default());
    if let Some((plan, observed)) = prepare(root, document, settings, &mut memory, now, &mut pass)?
    {
        let changes = plan.steps.iter();
        // Which backend it is changes nothing.
        pass.changes = changes
            .map(|step| Change::new(step, &observed, false))
            .collect();
    }
    Ok(pass)
}

/// What sets interfaces up on this machine, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetUp {
    /// The backend, or the option that takes its place; `None` where nothing does.
    pub through: Option<String>,
    /// What speaks for it.
    pub because: String,
}

/// Finds out what sets interfaces up, by the rules of [`reconcile()`]. Changes nothing.
///
/// # Errors
/// When the machine's interfaces cannot be listed.
pub fn detect(
    root: &Root,
    document: &Document,
    settings: &Settings,
) -> Result<SetUp, NetlinkError> {
    let of_configuration = |through: Option<&str>, because: &str| SetUp {
        through: through.map(String::from),
        because: because.into(),
    };
    if is_off(document, settings) {
        return Ok(of_configuration(None, "switched off"));
    }
    if settings.network_interfaces.dhcp_command.is_some() {
        let because = "the configuration has it";
        return Ok(of_configuration(Some(DHCP_COMMAND), because));
    }
    let (links, addresses) = links_and_addresses()?;
    let mut observed = observe(root, links, addresses, &[]);
    observed.clients = clients(root);
    let mut memory = Memory::default();
    memory.find(root, document, &observed);
    let nothing = || of_configuration(None, "no backend was found");
    Ok(memory.choice().map_or_else(nothing, |choice| SetUp {
        through: Some(choice.backend.to_string()),
        because: choice.because.clone(),
    }))
}

/// Reads the machine and plans; `None` where there is nothing to look after.
fn prepare(
    root: &Root,
    document: &Document,
    settings: &Settings,
    memory: &mut Memory,
    now: Instant,
    pass: &mut Pass,
) -> Result<Option<(Plan, Observed)>, NetlinkError> {
    let (links, addresses) = links_and_addresses()?;
    let Some((nics, problems)) = wanted(document, settings, &links) else {
        return Ok(None);
    };
    pass.problems = problems;
    let options = &settings.network_interfaces;
    let restore = options.restore_debian12_netplan_config;
    let mut observed = observe(root, links, addresses, &nics);
    if !is_needed(&nics, restore, &observed) {
        return Ok(None);
    }
    observed.clients = clients(root);
    let backend = memory.find(root, document, &observed);
    let means = if let Some(command) = &options.dhcp_command {
        Means::Command(command)
    } else {
        pass.changes.extend(memory.say());
        ask_backend(backend, &nics, &mut observed);
        backend.map_or(Means::Nothing, Means::Backend)
    };
    if let Some(found) = &memory.found {
        observed.facts = found.facts.clone();
    }
    let plan = plan(&nics, means, restore, &observed, &memory.attempts, now);
    pass.problems.extend(plan.problems.iter().cloned());
    pass.failures.extend(plan.failures.clone());
    pass.again_in = plan.again_in;
    Ok(Some((plan, observed)))
}

/// Whether there is anything to look after. On a machine with one interface, which somebody else set up, there is not,
/// and no program is asked anything.
fn is_needed(nics: &[Nic], restore: bool, observed: &Observed) -> bool {
    let is_set_up = |nic: &Nic| nic.managed || nic.ipv6 || !nic.vlans.is_empty();
    let is_left_over = |(path, contents): (&PathBuf, &Vec<u8>)| {
        contents.starts_with(MARK.as_bytes()) && path.as_os_str() != COMMAND_RECORD
    };
    nics.iter().any(is_set_up)
        || observed.files.iter().any(is_left_over)
        || restore && may_lack_netplan_files(nics, observed)
}

impl Memory {
    /// The backend; looked for once, and again after a failure.
    fn find(&mut self, root: &Root, document: &Document, observed: &Observed) -> Option<Backend> {
        if self
            .found
            .as_ref()
            .is_none_or(|found| found.choice.is_none())
        {
            let primary = primary(document, observed);
            let mut observed = observed.clone();
            observed.facts = facts(root, primary.map(|link| link.name.as_str()));
            let choice = choose(&observed, primary);
            let facts = observed.facts;
            self.found = Some(Found { facts, choice });
        }
        self.choice().map(|choice| choice.backend)
    }

    fn choice(&self) -> Option<&Choice> {
        self.found.as_ref()?.choice.as_ref()
    }

    /// What is to be said about the backend: once for each that is found.
    fn say(&mut self) -> Option<Change> {
        let choice = self.choice()?;
        let what = format!(
            "interfaces are set up through {}: {}",
            choice.backend, choice.because
        );
        let backend = choice.backend;
        (self.said.replace(backend) != Some(backend)).then(|| Change {
            what,
            ..Change::default()
        })
    }
}

/// The interface with index 0 in metadata, where it is there.
fn primary<'a>(document: &Document, observed: &'a Observed) -> Option<&'a Link> {
    let nics = document.instance.network_interfaces.present()?;
    let mac = nics.first()?.mac.parse().ok()?;
    interfaces::find(&observed.links, mac)
}

/// Makes the changes of a plan in their order. One that fails costs only itself.
pub fn apply(
    root: &Root,
    plan: &Plan,
    observed: &Observed,
    memory: &mut Memory,
    now: Instant,
    pass: &mut Pass,
) {
    for about in &plan.served {
        memory.attempts.forget(about);
    }
    for about in &plan.awaited {
        memory.attempts.wait_for(about, now);
    }
    for step in &plan.steps {
        match take(root, step) {
            Ok(()) => {
                pass.changes.push(Change::new(step, observed, true));
                note(step, None, memory, now);
            }
            Err(error) => {
                note(step, Some(&error), memory, now);
                pass.failures.insert(subject(step), error);
            }
        }
    }
}

/// What a step is about, to tell it apart from others.
fn subject(step: &Step) -> String {
    match step {
        Step::Remove(path) => path.display().to_string(),
        Step::Write(file) => file.path.display().to_string(),
        Step::AddVlan { name, .. } | Step::DeleteLink { name, .. } => name.clone(),
        Step::RouteInformation(interface) => format!("{interface} accept_ra_rt_info_max_plen"),
        Step::Run { about, .. } => about.first().cloned().unwrap_or_default(),
    }
}

/// The subject of a program that failed, in words.
fn told_of(subject: &str) -> String {
    if is_backend(subject) {
        format!("interfaces through {subject}")
    } else if subject == DHCP_COMMAND {
        subject.to_owned()
    } else {
        format!("interface {subject}")
    }
}

fn is_backend(name: &str) -> bool {
    Backend::ALL
        .iter()
        .any(|backend| backend.to_string() == name)
}

/// Remembers an attempt, so that it is not made again at once.
fn note(step: &Step, error: Option<&String>, memory: &mut Memory, now: Instant) {
    let Step::Run { about, then, .. } = step else {
        return;
    };
    for name in about {
        let is_done = matches!(then, Some(Then::Record(_))) || is_backend(name);
        match error {
            None if is_done => memory.attempts.forget(name),
            error => memory.attempts.note(name, error.cloned(), now),
        }
    }
    if error.is_some() {
        // Perhaps something else manages the network by now.
        memory.found = None;
    }
}

/// Does one thing, or says why not.
fn take(root: &Root, step: &Step) -> Result<(), String> {
    match step {
        Step::Remove(path) => {
            let place = root.path(path);
            files::remove(&place)
                .and_then(|_| remove_drop_in_directory(&place))
                .map_err(|error| format!("cannot remove {}: {error}", path.display()))
        }
        Step::Write(file) => write(root, file),
        Step::AddVlan {
            parent,
            name,
            id,
            mac,
            mtu,
        } => Socket::open()
            .and_then(|mut socket| socket.create_vlan(*parent, name, *id, *mac, *mtu))
            .map_err(|error| format!("cannot make the interface {name} for VLAN {id}: {error}")),
        Step::DeleteLink { index, name } => Socket::open()
            .and_then(|mut socket| socket.delete_link(*index))
            .map_err(|error| format!("cannot remove the interface {name}: {error}")),
        Step::RouteInformation(interface) => {
            let path = super::observe::route_information(interface);
            setting::write_setting(&root.path(&path), "128")
                .map_err(|error| format!("cannot write {}: {error}", path.display()))
        }
        Step::Run {
            invocation, then, ..
        } => {
            processes::run_successfully(invocation)
                .map_err(|error| format!("{}: {error}", told_of(&subject(step))))?;
            match then {
                Some(Then::Record(file)) => write(root, file),
                Some(Then::Install(places)) => places
                    .iter()
                    .try_for_each(|(from, to)| install(root, from, to)),
                None => Ok(()),
            }
        }
    }
}

/// Puts a file that a program has made in its place, where it differs.
fn install(root: &Root, from: &Path, to: &Path) -> Result<(), String> {
    let read = |path: &Path| files::read(&root.path(path), LARGEST);
    let made = read(from)
        .and_then(|made| made.ok_or_else(|| io::ErrorKind::NotFound.into()))
        .map_err(|error| format!("cannot read {}: {error}", from.display()))?;
    if read(to).ok().flatten().as_ref() == Some(&made) {
        return Ok(());
    }
    files::replace(&root.path(to), &made, &Attributes::mode(0o644))
        .map_err(|error| format!("cannot write {}: {error}", to.display()))
}

fn write(root: &Root, file: &File) -> Result<(), String> {
    let path = root.path(&file.path);
    let parent = path.parent().unwrap_or(Path::new("/"));
    files::create_directories(parent, 0o755)
        .and_then(|_| {
            let attributes = Attributes::mode(file.mode);
            files::replace(&path, file.contents.as_bytes(), &attributes)
        })
        .map_err(|error| format!("cannot write {}: {error}", file.path.display()))
}

/// Removes the directory of a drop-in, when ours was the only one in it.
fn remove_drop_in_directory(file: &Path) -> io::Result<()> {
    let Some(directory) = file.parent() else {
        return Ok(());
    };
    let is_drop_in = directory.extension().is_some_and(|end| end == "d");
    let (Some(above), Some(name), true) = (directory.parent(), directory.file_name(), is_drop_in)
    else {
        return Ok(());
    };
    match files::Directory::open(above)?.remove_directory(name) {
        Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => Err(error),
        _ => Ok(()),
    }
}
