//! A machine of Compute Engine inside the sandbox: the metadata server on its real address, and the agent.

use std::cell::Cell;
use std::net::TcpListener;
use std::time::Duration;

use gce_guest::emulator::{Live, Server, Store};
use serde_json::Value;

use super::{Daemon, PROGRAM, poll_until, text_of};

/// How long a converging agent may take on a loaded machine before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The public half of a key pair that nobody has.
pub(crate) const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPUZWnCVkYZTJ7C6vHzRdmAcgUfm2fpt1PlFXvHrJb0 a@example";

/// The metadata server.
pub(crate) struct Vm {
    pub(crate) live: Live,
    marks: Cell<u32>,
    _server: Server,
}

impl Vm {
    /// A metadata server with the example instance; no agent yet.
    pub(crate) fn new() -> Self {
        let live = Live::new(Store::example());
        let listener = TcpListener::bind(("169.254.169.254", 80)).unwrap();
        let server = Server::start(listener, &live).unwrap();
        Self {
            live,
            marks: Cell::new(0),
            _server: server,
        }
    }

    /// Puts a value into metadata.
    pub(crate) fn set(&self, path: &str, value: impl Into<Value>) {
        self.live.set(path, value).unwrap();
    }

    /// Puts the instance's keys into metadata: `user:key`, one per line.
    pub(crate) fn set_keys(&self, lines: &[String]) {
        self.set("instance/attributes/ssh-keys", lines.join("\n"));
    }

    /// Starts the agent with details in its log. It is nobody's successor: whatever became of agents before it, it goes to
    /// work at once.
    pub(crate) fn agent(&self) -> Daemon {
        // There may be none.
        let _ = std::fs::remove_dir_all(gce_guest::agent::starts::DIRECTORY);
        Daemon::start("agent", [PROGRAM, "agent", "--debug"])
    }

    /// Waits until every manager of this agent has made a pass over the present metadata, and returns its log.
    ///
    /// The metadata gets a mark first, so that a pass over the same values at an earlier time is not taken for it.
    pub(crate) fn settled(&self, agent: &Daemon) -> String {
        self.marks.set(self.marks.get() + 1);
        self.set("instance/description", self.marks.get().to_string());
        let etag = self.live.read(|store| store.etag(&[])).unwrap();
        let pass = |manager: &str| format!("Pass of {manager} for etag {etag}:");
        let done = || {
            ["accounts", "network", "interfaces"]
                .iter()
                .all(|manager| agent.said().contains(&pass(manager)))
        };
        poll_until(
            PATIENCE,
            &format!("a pass of every manager:\n{}", agent.said()),
            done,
        );
        agent.said()
    }
}

/// Has the agent read its configuration again and waits until it has. A signal and a change of metadata reach it in any
/// order: without the wait, what is set next may still be done by the old configuration.
pub(crate) fn reread_configuration(agent: &Daemon) {
    let times = || {
        agent
            .said()
            .matches("Reading the configuration again")
            .count()
    };
    let before = times();
    agent.signal("HUP");
    poll_until(PATIENCE, "the configuration is read again", || {
        times() > before
    });
}

/// A line of metadata for a user with a key that nobody has.
pub(crate) fn entry(user: &str) -> String {
    format!("{user}:{KEY}")
}

/// The entry of a user as the name service gives it; empty when there is none.
pub(crate) fn passwd(user: &str) -> String {
    String::from_utf8_lossy(&super::attempt(["getent", "passwd", user]).stdout)
        .trim()
        .to_owned()
}

/// The names of the groups of a user.
pub(crate) fn groups(user: &str) -> Vec<String> {
    let mut groups: Vec<String> = text_of(["id", "-Gn", user])
        .split(' ')
        .map(String::from)
        .collect();
    groups.sort();
    groups
}

/// What a file says; empty when there is none.
pub(crate) fn contents(path: &str) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}
