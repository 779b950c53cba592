//! Hooks: the administrator's programs in /etc/gce-guest/hooks.d/EVENT, started when something happens (docs/hooks.md).
//!
//! The loop hands notices over and never waits. There is one thread that keeps the order, and one for each event whose
//! hooks run: they run one after the other, and what happens meanwhile becomes one notice that follows.

pub mod event;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use log::{debug, info, warn};

use self::event::{Event, Notice};
use super::managers::Manager;
use super::report::Report;
use crate::scripts::output::{Streams, channel_name};
use crate::system::channel::{self, Receiver, Sender};
use crate::system::executables::{self, Executable};
use crate::system::log as logging;
use crate::system::order::Map;
use crate::system::processes::stream::{Channel, Ended, Stream};
use crate::system::processes::{Invocation, SEARCH_PATH};
use crate::system::root::Root;
use crate::system::threads;

/// Where the directories of the events are.
pub const DIRECTORY: &str = "/etc/gce-guest/hooks.d";

/// How long a hook may run.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How long it then has between TERM and KILL.
const GRACE: Duration = Duration::from_secs(5);

/// The longest value that the environment can hold with certainty (execve(2): 32 pages).
const LONGEST_VARIABLE: usize = 64 * 1024;

/// The logger's name.
const LOGGER: &str = "gce-guest";

enum Message {
    Notice(Notice),
    /// The hooks of an event have run.
    Done(Event),
}

/// The handle of the thread that starts hooks.
#[derive(Debug)]
pub struct Hooks {
    messages: Sender<Message>,
}

impl Hooks {
    /// Starts the thread. It waits for notices and does nothing else.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn start(root: Root) -> io::Result<Self> {
        let (messages, received) = channel::channel();
        let done = messages.clone();
        threads::start("hooks", move || dispatch(&root, &received, &done))?;
        Ok(Self { messages })
    }

    /// Has the hooks started for what a manager has changed.
    pub fn notify_of_changes(&self, manager: Manager, report: &Report) {
        let event = match manager {
            Manager::Accounts => Event::Users,
            Manager::Network => Event::Routes,
            _ => return,
        };
        if !report.changes.is_empty() {
            let changes = report.changes.iter().map(|change| change.what.clone());
            self.notify(Notice::new(event).with_changes(changes));
        }
    }

    /// Has the hooks of an event started.
    pub fn notify(&self, notice: Notice) {
        // The thread lasts as long as the process.
        let _ = self.messages.send(Message::Notice(notice));
    }
}

/// Starts the hooks of each event, one round of them at a time.
fn dispatch(root: &Root, received: &Receiver<Message>, done: &Sender<Message>) {
    // Events whose hooks run, each with what has happened meanwhile.
    let mut running: Map<Event, Option<Notice>> = Map::new();
    for message in received.iter() {
        let notice = match message {
            Message::Notice(notice) => match running.get_mut(&notice.event) {
                Some(Some(waiting)) => {
                    waiting.merge(notice);
                    continue;
                }
                Some(waiting) => {
                    *waiting = Some(notice);
                    continue;
                }
                None => notice,
            },
            Message::Done(event) => match running.remove(&event).flatten() {
                Some(waiting) => waiting,
                None => continue,
            },
        };
        let hooks = hooks_of(root, &notice.event);
        if hooks.is_empty() {
            continue;
        }
        let (event, done) = (notice.event.clone(), done.clone());
        let run = move || {
            for hook in &hooks {
                start(hook, &notice);
            }
            // The dispatcher lasts as long as the process.
            let _ = done.send(Message::Done(notice.event));
        };
        match threads::start("hook", run) {
            Ok(_) => {
                running.insert(event, None);
            }
            Err(error) => {
                warn!(target: LOGGER, "The hooks for {} cannot be started: {error}.", event.name());
            }
        }
    }
}

/// The hooks of an event that may be run; the log says why others may not.
fn hooks_of(root: &Root, event: &Event) -> Vec<PathBuf> {
    let found = list(root, event).unwrap_or_else(|error| {
        warn!(target: LOGGER, "No hook for {} is run: {error}.", event.name());
        Vec::new()
    });
    let usable = |hook: Executable| match hook.refusal {
        None => Some(hook.path),
        Some(why) => {
            let path = hook.path.display();
            warn!(target: LOGGER, "The hook {path} is not run: {why}.");
            None
        }
    };
    found.into_iter().filter_map(usable).collect()
}

/// The files in the directory of an event.
///
/// # Errors
/// Those of [`executables::list`].
pub fn list(root: &Root, event: &Event) -> io::Result<Vec<Executable>> {
    let name = event.name();
    executables::list(&root.path("/etc"), &["gce-guest", "hooks.d", &name])
}

/// Runs one hook to its end, or for [`DEADLINE`]. Returns whether it succeeded; the log has what it says and what became of
/// it.
pub fn start(hook: &Path, notice: &Notice) -> bool {
    start_within(DEADLINE, hook, notice)
}

fn start_within(limit: Duration, hook: &Path, notice: &Notice) -> bool {
    let (name, began) = (notice.event.name(), Instant::now());
    let shown = hook.display().to_string();
    debug!(target: LOGGER, "Starting the hook {shown}.");
    let variables = variables(notice);
    let stream = Stream {
        environment: &variables,
        apart: logging::is_structured(),
        timeout: Some(limit),
        grace: GRACE,
        interrupts: None,
    };
    let mut streams = Streams::default();
    let file = hook.file_name().unwrap_or_default().to_string_lossy();
    let label = format!("{name}/{file}");
    let log = |channel, line: &str| said(&shown, &label, channel, line);
    let invocation = Invocation::new(hook, std::iter::empty::<OsString>());
    let end = stream.run(&invocation, &mut |channel, bytes| {
        streams.take(channel, bytes, log);
    });
    streams.finish(log);
    let took = began.elapsed().as_secs_f32();
    match end.map(|end| end.reason) {
        Ok(Ended::Finished(status)) if status.success() => {
            info!(target: LOGGER, hook = shown; "The hook {shown} has run ({took:.1} s).");
            true
        }
        Ok(Ended::Finished(status)) => {
            warn!(target: LOGGER, hook = shown; "The hook {shown} failed: {status}.");
            false
        }
        Ok(Ended::TimedOut(_) | Ended::Interrupted) => {
            let limit = limit.as_secs_f32();
            warn!(target: LOGGER, hook = shown; "The hook {shown} took longer than {limit} s and was ended with its process group.");
            false
        }
        Err(error) => {
            warn!(target: LOGGER, hook = shown; "The hook {shown} cannot be run: {error}.");
            false
        }
    }
}

fn said(hook: &str, label: &str, channel: Channel, line: &str) {
    match channel {
        Channel::Both => info!(target: LOGGER, hook; "{label}: {line}"),
        Channel::Stdout | Channel::Stderr => {
            info!(target: LOGGER, hook, stream = channel_name(channel); "{label}: {line}");
        }
    }
}

/// The whole environment of a hook.
fn variables(notice: &Notice) -> Vec<(OsString, OsString)> {
    let mut variables = vec![
        ("HOME", "/root".to_owned()),
        ("PATH", SEARCH_PATH.to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("GCE_HOOK_EVENT", notice.event.name()),
        ("GCE_HOOK_COUNT", notice.count.to_string()),
        ("GCE_HOOK_CHANGES", shortened(&notice.changes.join("\n"))),
    ];
    if let Event::Attribute(key) = &notice.event {
        variables.push(("GCE_HOOK_KEY", key.clone()));
    }
    if let Some(value) = &notice.value {
        variables.push(("GCE_HOOK_VALUE", shortened(value)));
    }
    let texts = variables.into_iter();
    texts
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// As much of a text as a variable holds, without what no variable can hold.
fn shortened(text: &str) -> String {
    let mut end = text.len().min(LONGEST_VARIABLE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace('\0', "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files::{self, Attributes, PrivateDirectory};

    #[test]
    fn a_hook_is_told_what_has_happened_and_nothing_that_no_variable_holds() {
        let attribute = Notice::new(Event::Attribute("mode".into()));
        let names = |notice: &Notice| -> Vec<String> {
            let variables = variables(notice).into_iter();
            variables
                .map(|(name, value)| format!("{}={}", name.display(), value.display()))
                .filter(|text| text.starts_with("GCE_"))
                .collect()
        };
        assert_eq!(
            names(&attribute),
            [
                "GCE_HOOK_EVENT=attribute-mode",
                "GCE_HOOK_COUNT=1",
                "GCE_HOOK_CHANGES=",
                "GCE_HOOK_KEY=mode"
            ]
        );
        let users = Notice::new(Event::Users).with_changes(["a\0b".into(), "c".into()]);
        assert!(names(&users).contains(&"GCE_HOOK_CHANGES=ab\nc".into()));
        assert_eq!(
            shortened(&"\u{e4}".repeat(LONGEST_VARIABLE)).len(),
            LONGEST_VARIABLE
        );
    }

    #[test]
    fn a_hook_that_takes_too_long_is_ended_with_what_it_has_started() {
        let place = PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-hook-").unwrap();
        let (text, hook) = (place.path().join("text"), place.path().join("hook"));
        let script = "#!/bin/sh\nsleep 600 & echo $! > \"$0.child\"\nwait\n";
        files::replace(&text, script.as_bytes(), &Attributes::mode(0o755)).unwrap();
        // Copied by another process: a descriptor of ours that is open for writing may be inherited by a test beside us, and
        // the hook could not be started (ETXTBSY).
        let copy = Invocation::new("cp", [&text, &hook]);
        crate::system::processes::run_successfully(&copy).unwrap();
        // On a loaded machine the hook may come to nothing within a second.
        let child = [1, 8, 64].into_iter().find_map(|seconds| {
            let (began, limit) = (Instant::now(), Duration::from_secs(seconds));
            let notice = Notice::new(Event::MaintenanceEnd);
            assert!(!start_within(limit, &hook, &notice));
            assert!(began.elapsed() >= limit, "it has the whole of its time");
            std::fs::read_to_string(place.path().join("hook.child"))
                .ok()
                .filter(|child| child.ends_with('\n'))
        });
        let child = child.unwrap();
        let stat = format!("/proc/{}/stat", child.trim());
        // Whoever is the parent now may not have buried it yet.
        let is_gone = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        let deadline = Instant::now() + Duration::from_secs(30);
        while !is_gone() {
            assert!(Instant::now() < deadline, "{child} lives");
            std::thread::yield_now();
        }
        assert_eq!(DEADLINE, Duration::from_secs(60), "docs/hooks.md says so");
    }
}
