//! The stage: the metadata server on its real address, the agent, and the changes that are made to one and seen at the
//! other.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::actor::{Actor, Line};
use super::screen::{Screen, Speaker};
use crate::emulator::{Live, Server, Store};
use crate::sandbox::METADATA_ADDRESS;
use crate::system::order::Set;

/// How long the agent may take for what one change asks for, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Everything that is running.
pub(super) struct Stage {
    pub(super) screen: Screen,
    pub(super) live: Live,
    _server: Server,
    actor: Actor,
    /// The managers that the agent runs, by its own words.
    managers: Vec<String>,
}

impl Stage {
    /// Starts the server and the agent. Without a store the built-in example instance is served.
    pub(super) fn open(screen: Screen, store: Store) -> anyhow::Result<Self> {
        let live = Live::new(store);
        let address = SocketAddr::from((METADATA_ADDRESS, 80));
        let listener =
            TcpListener::bind(address).with_context(|| format!("listen on {address}"))?;
        let server = Server::start(listener, &live).context("start the metadata server")?;
        let actor = Actor::start().context("start the agent")?;
        let managers = loop {
            let line = actor.next(PATIENCE).context("the agent did not start")?;
            let managers = announced_managers(&line.text);
            if !managers.is_empty() {
                break managers;
            }
        };
        Ok(Self {
            screen,
            live,
            _server: server,
            actor,
            managers,
        })
    }

    /// Waits until the agent has done what the present metadata asks for, and returns what it said.
    pub(super) fn settle(&self) -> anyhow::Result<Reaction> {
        let started = Instant::now();
        let etag = self
            .live
            .read(|store| store.etag(&[]))
            .context("find the version of the metadata")?;
        let mut missing: Set<&str> = self.managers.iter().map(String::as_str).collect();
        let mut reaction = Reaction {
            lines: Vec::new(),
            took: Duration::ZERO,
        };
        while !missing.is_empty() {
            let Some(line) = self.actor.next(PATIENCE) else {
                bail!(
                    "the agent did not answer the change within {} s",
                    PATIENCE.as_secs()
                );
            };
            match finished_pass(&line, &etag) {
                Some(manager) => {
                    missing.remove(manager);
                    reaction.took = line.at.saturating_duration_since(started);
                }
                None => reaction.lines.push(line),
            }
        }
        reaction.lines.retain(|line| line.level != "DEBUG");
        Ok(reaction)
    }

    /// Puts a value into metadata, waits for the agent, and shows both.
    pub(super) fn change(
        &self,
        what: &str,
        path: &str,
        value: impl Into<serde_json::Value>,
    ) -> anyhow::Result<()> {
        self.screen.say(Speaker::Metadata, what, None);
        self.live
            .set(path, value)
            .with_context(|| format!("set {path} in the example metadata"))?;
        let reaction = self.settle()?;
        self.show(&reaction);
        Ok(())
    }

    /// Shows what the agent did, the time behind its last line.
    pub(super) fn show(&self, reaction: &Reaction) {
        let last = reaction.lines.len().saturating_sub(1);
        for (index, line) in reaction.lines.iter().enumerate() {
            let took = (index == last).then_some(reaction.took);
            self.screen
                .say(Speaker::Agent, line.text.trim_end_matches('.'), took);
        }
        if reaction.lines.is_empty() {
            self.screen
                .say(Speaker::Agent, "nothing to do", Some(reaction.took));
        }
    }

    /// The next line of the agent, if one comes in time.
    pub(super) fn next_line(&self, patience: Duration) -> Option<Line> {
        self.actor.next(patience)
    }
}

/// What the agent did about a change.
pub(super) struct Reaction {
    /// What it said, without details.
    pub(super) lines: Vec<Line>,
    /// From the change to the end of the last manager's pass.
    pub(super) took: Duration,
}

/// The managers that the agent's announcement names: `... watches metadata for accounts, network.`
fn announced_managers(text: &str) -> Vec<String> {
    let names = text
        .split_once(" watches metadata for ")
        .map_or("", |(_, names)| names.trim_end_matches('.'));
    names
        .split(", ")
        .filter(|name| !name.is_empty())
        .map(String::from)
        .collect()
}

/// The manager whose pass for this version a line ends, if it does.
fn finished_pass<'a>(line: &'a Line, etag: &str) -> Option<&'a str> {
    let rest = line.text.strip_prefix("Pass of ")?;
    let (manager, rest) = rest.split_once(" for etag ")?;
    (rest.split_once(':')?.0 == etag).then_some(manager)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_first_line_names_its_managers() {
        let text = "gce-guest 0.1.0 watches metadata for accounts, network.";
        assert_eq!(announced_managers(text), ["accounts", "network"]);
        assert!(announced_managers("something else").is_empty());
    }

    #[test]
    fn the_end_of_a_pass_is_recognised_by_manager_and_version() {
        let line = |text: &str| Line {
            at: Instant::now(),
            level: "DEBUG".into(),
            text: text.into(),
        };
        let pass = line("Pass of accounts for etag 12ab: 3 changes in 40 ms.");
        assert_eq!(finished_pass(&pass, "12ab"), Some("accounts"));
        assert_eq!(finished_pass(&pass, "12"), None);
        assert_eq!(finished_pass(&line("Created user alice."), "12ab"), None);
    }
}
