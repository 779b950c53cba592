//! Makes the changes of a plan, and one whole pass.

use std::fmt;
use std::io;

use ipnet::IpNet;
use jiff::Timestamp;
use rustix::io::Errno;

use super::change::{Change, Interface};
use super::observe::{Observed, observe};
use super::plan::{Held, Pending, Plan, is_switched_off, plan};
use super::record::Mark;
use super::routes::{Problem, is_metadata_server, text};
use super::state::State;
use crate::config::Settings;
use crate::metadata::Document;
use crate::system::netlink::{NetlinkError, Socket};
use crate::system::order::Set;

/// How many addresses a log line names before it only counts them.
const NAMED: usize = 20;

/// A change that could not be made. It costs that address only, and is planned again in the next pass.
#[derive(Debug)]
pub struct Failure {
    /// What should have been done.
    pub change: Change,
    /// Why it was not.
    pub error: NetlinkError,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { change, error } = self;
        write!(formatter, "Could not {change}: {error}")?;
        match error.errno() {
            Some(Errno::EXIST) => formatter.write_str(
                ". Somebody else's route for it is in table local (`ip route show table local`).",
            ),
            Some(Errno::PERM) => formatter.write_str(". This needs CAP_NET_ADMIN."),
            _ => formatter.write_str("."),
        }
    }
}

/// What became of a plan's changes.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Made, in this order.
    pub done: Vec<Change>,
    /// Not made.
    pub failures: Vec<Failure>,
    /// What was made, for the log: a line for each interface on which forwarded addresses were changed.
    pub lines: Vec<String>,
}

/// Makes the changes of a plan, in batches, in the network namespace of the calling thread.
///
/// A route to be removed that is already gone, like one on an interface that went meanwhile, counts neither as done nor
/// as failure.
#[must_use]
pub fn apply(plan: &Plan) -> Outcome {
    let mut outcome = Outcome::default();
    if plan.changes.is_empty() {
        return outcome;
    }
    let requests: Vec<_> = plan
        .changes
        .iter()
        .map(|change| match change.adds() {
            true => change.route.addition(),
            false => change.route.deletion(),
        })
        .collect();
    let results = match Socket::open() {
        Ok(mut socket) => socket.batch(&requests),
        Err(error) => vec![Err(error)],
    };
    let results = results
        .into_iter()
        .chain(std::iter::repeat_with(|| Err(NetlinkError::Unanswered)));
    for (change, result) in plan.changes.iter().zip(results) {
        let change = change.clone();
        match result {
            Ok(()) => outcome.done.push(change),
            Err(error) if !change.adds() && is_gone(&error) => {}
            Err(error) => outcome.failures.push(Failure { change, error }),
        }
    }
    outcome.lines = lines(&plan.ours, &outcome.done);
    outcome
}

fn is_gone(error: &NetlinkError) -> bool {
    matches!(error.errno(), Some(Errno::SRCH | Errno::NODEV))
}

/// What was changed on each interface, in the predecessor's words (spec/core.md 8.6).
fn lines(ours: &[Mark], done: &[Change]) -> Vec<String> {
    let forwarded = || done.iter().filter(|change| change.is_forwarding());
    let interfaces: Set<_> = forwarded().map(|change| &change.interface).collect();
    let line = |interface: &Interface| {
        let of_interface = |adds: bool| -> Set<IpNet> {
            forwarded()
                .filter(|change| change.interface == *interface && change.adds() == adds)
                .map(Change::prefix)
                .collect()
        };
        let (added, removed) = (of_interface(true), of_interface(false));
        let here = ours
            .iter()
            .filter(|mark| mark.interface == interface.index && !is_metadata_server(mark.prefix));
        let before: Set<IpNet> = here.map(|mark| mark.prefix).collect();
        // One that is moved to another protocol id is in both.
        let after = before.iter().filter(|prefix| !removed.contains(*prefix));
        let after = after.chain(&added).copied().collect();
        format!(
            "Changing {} IPs from {} to {} by adding {} and removing {}.",
            interface.name,
            listed(&before),
            listed(&after),
            listed(&added),
            listed(&removed)
        )
    };
    interfaces.into_iter().map(line).collect()
}

/// A list for a log line; `None` when it is empty, as the predecessor writes it.
fn listed(prefixes: &Set<IpNet>) -> String {
    if prefixes.is_empty() {
        return "None".into();
    }
    let mut names: Vec<_> = prefixes.iter().copied().map(text).take(NAMED).collect();
    if prefixes.len() > NAMED {
        names.push(format!("{} more", prefixes.len() - NAMED));
    }
    format!("[{}]", names.join(", "))
}

/// What one pass did and found.
#[derive(Debug, Default)]
pub struct Report {
    /// The changes that were made, in this order.
    pub done: Vec<Change>,
    /// The changes that could not be made. Another pass is worth while.
    pub failures: Vec<Failure>,
    /// What metadata or the configuration asks for and cannot have. Another pass gives the same.
    pub problems: Vec<Problem>,
    /// The NICs that are not there. They come with an event.
    pub pending: Vec<Pending>,
    /// The addresses that the machine answers to without us.
    pub held: Vec<Held>,
    /// What was made, for the log: a line for each interface on which something was changed.
    pub lines: Vec<String>,
    /// Why what was made could not be written down. Another pass is worth while.
    pub record: Option<io::Error>,
}

impl Report {
    /// What was not done, and is tried again.
    pub fn unfinished(&self) -> impl Iterator<Item = String> {
        let record = self.record.iter().map(|error| {
            format!(
                "Could not write down which routes are ours ({error}): a change of ethernet_proto_id would leave them."
            )
        });
        self.failures.iter().map(ToString::to_string).chain(record)
    }

    /// Everything that a person should hear once, not at each pass: failures, problems, pending NICs.
    pub fn messages(&self) -> impl Iterator<Item = String> {
        let problems = self.problems.iter().map(ToString::to_string);
        let pending = self.pending.iter().map(ToString::to_string);
        self.unfinished().chain(problems).chain(pending)
    }
}

/// One pass: reads the machine, plans, and makes the changes. A second one right after it changes nothing.
///
/// # Errors
/// When the machine's network cannot be read: then nothing is changed (spec/core.md BUG 25).
pub fn reconcile(
    document: &Document,
    settings: &Settings,
    state: &State,
    now: Timestamp,
) -> Result<Report, NetlinkError> {
    if !settings.daemons.network_daemon || is_switched_off(document, settings) {
        return Ok(Report::default());
    }
    let observed: Observed = observe(state)?;
    let plan = plan(document, settings, &observed);
    let Outcome {
        done,
        failures,
        lines,
    } = apply(&plan);
    let record = plan.record(&observed.record, &done, now);
    let unwritten = if plan.is_whole() && record != observed.record {
        state.write(&record).err()
    } else {
        None
    };
    Ok(Report {
        done,
        failures,
        record: unwritten,
        problems: plan.problems,
        pending: plan.pending,
        held: plan.held,
        lines,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::network::change::{Action, Reason};
    use crate::network::routes::{List, Origin, parse};
    use crate::system::netlink::Route;

    fn change(adds: bool, name: &str, prefix: &str) -> Change {
        let index = name.len().try_into().unwrap();
        Change {
            action: if adds {
                Action::Add(Origin {
                    nic: 0,
                    list: List::ForwardedIps,
                })
            } else {
                Action::Remove(Reason::NotInMetadata)
            },
            interface: Interface {
                index,
                name: name.into(),
            },
            route: Route::local(parse(prefix).unwrap(), index, 66),
        }
    }

    #[test]
    fn each_changed_interface_has_one_line_in_the_predecessors_words() {
        let ours = ["1.1.1.1", "10.0.0.0/24"].map(|text| Mark {
            interface: 4,
            prefix: parse(text).unwrap(),
            protocol: 66,
        });
        let done = [
            change(true, "eth0", "1.1.1.2"),
            change(true, "ens10", "fd00::1"),
            change(false, "eth0", "1.1.1.1"),
        ];
        assert_eq!(
            lines(&ours, &done),
            [
                "Changing eth0 IPs from [1.1.1.1, 10.0.0.0/24] to [1.1.1.2, 10.0.0.0/24] by adding [1.1.1.2] and \
                 removing [1.1.1.1].",
                "Changing ens10 IPs from None to [fd00::1] by adding [fd00::1] and removing None.",
            ]
        );
        assert_eq!(lines(&ours, &[]), Vec::<String>::new());
    }

    #[test]
    fn many_addresses_are_counted() {
        let done: Vec<_> = (0..100)
            .map(|last| change(true, "eth0", &format!("1.1.1.{last}")))
            .collect();
        let line = lines(&[], &done).remove(0);
        assert!(
            line.contains("1.1.1.19, 80 more] and removing None."),
            "{line}"
        );
    }

    #[test]
    fn a_failure_says_what_why_and_what_to_look_at() {
        let failure = Failure {
            change: change(true, "eth0", "1.1.1.1"),
            error: NetlinkError::Refused {
                errno: Errno::EXIST,
                reason: None,
            },
        };
        assert_eq!(
            failure.to_string(),
            "Could not add 1.1.1.1 to eth0 (instance/network-interfaces/0/forwarded-ips): File exists (os error 17). \
             Somebody else's route for it is in table local (`ip route show table local`)."
        );
    }
}
