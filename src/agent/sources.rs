//! Where events come from besides signals and the managers' reports: metadata, the machine's network, its clock. Each in a
//! thread of its own, which ends with the channel.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use log::warn;

use super::managers::Manager;
use super::{Event, LOGGER};
use crate::metadata::{Answer, Client, Watcher, watch};
use crate::network;
use crate::system::channel::Sender;
use crate::system::threads;
use crate::system::time::Steps;

/// How long until a lost subscription to network events is tried again.
const MONITOR_RETRY: Duration = Duration::from_secs(10);

/// How long the thread that has read a new document leaves the processors to those who act on it, before it asks for the
/// next. In the round of every minute nobody is waited for.
const NEXT_REQUEST_AFTER: Duration = Duration::from_millis(1);

/// Starts the threads that bring events.
pub(super) fn start(
    managers: &[Manager],
    client: &Client,
    events: &Sender<Event>,
) -> anyhow::Result<()> {
    watch_metadata(client, events.clone())?;
    if managers.contains(&Manager::Network) || managers.contains(&Manager::Interfaces) {
        watch_network(events.clone())?;
    }
    watch_clock(events.clone())
}

fn watch_metadata(client: &Client, events: Sender<Event>) -> anyhow::Result<()> {
    let watcher = Watcher::new(client, watch::Settings::document().logged_as(LOGGER));
    let watch = move || {
        let decode = |answer: &Answer| answer.document().map(Arc::new);
        watcher.run_with(decode, |update| {
            let event = Event::Metadata(Arc::clone(&update.value), update.etag.as_str().to_owned());
            events.send(event).map_err(|_| "the agent has ended")?;
            if update.changed {
                std::thread::sleep(NEXT_REQUEST_AFTER);
            }
            Ok::<_, &str>(())
        });
    };
    threads::start("metadata", watch).context("start the metadata thread")?;
    Ok(())
}

/// Wakes the loop when the machine's network has changed. Without a subscription the watch comes round every minute all
/// the same, so a failure is told and costs the promptness only.
fn watch_network(events: Sender<Event>) -> anyhow::Result<()> {
    let watch = move || {
        // Said once, and not at every attempt.
        let mut told = String::new();
        loop {
            match network::Monitor::open() {
                Ok(monitor) => {
                    for change in monitor {
                        if let Err(error) = change {
                            warn!(target: LOGGER, "Lost the kernel's network events, subscribing again: {error}");
                            break;
                        }
                        if events.send(Event::NetworkChanged).is_err() {
                            return;
                        }
                    }
                }
                Err(error) if told == error.to_string() => {}
                Err(error) => {
                    warn!(target: LOGGER, "Cannot subscribe to the kernel's network events: {error}");
                    told = error.to_string();
                }
            }
            std::thread::sleep(MONITOR_RETRY);
            if events.send(Event::NetworkChanged).is_err() {
                return;
            }
        }
    };
    threads::start("netlink", watch).context("start the netlink thread")?;
    Ok(())
}

/// Wakes the loop when the clock is stepped or the machine resumes. Without it only the drift token tells of these, so a
/// failure is told and no more.
fn watch_clock(events: Sender<Event>) -> anyhow::Result<()> {
    let watch = move || {
        let told = |error| warn!(target: LOGGER, "Cannot hear of steps of the clock: {error}");
        let steps = match Steps::listen() {
            Ok(steps) => steps,
            Err(error) => return told(error),
        };
        loop {
            if let Err(error) = steps.wait() {
                return told(error);
            }
            if events.send(Event::ClockChanged).is_err() {
                return;
            }
        }
    };
    threads::start("clock-steps", watch).context("start the thread for steps of the clock")?;
    Ok(())
}
