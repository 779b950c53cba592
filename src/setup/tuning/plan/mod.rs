//! What to change. Pure: a snapshot in, a list of changes out. What is as it should be is in no list.

pub mod disks;
pub mod queues;

use std::fmt;

use super::cpus::CpuSet;
use super::platform::Platform;
use super::snapshot::Interrupts;
use crate::system::ethtool::{Coalescing, Rings};
use crate::system::order::Map;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What is changed, for people: `sda scheduler`, `eth0 channels`.
    pub subject: String,
    /// How it is; empty when that is not known.
    pub before: String,
    /// How it will be.
    pub after: String,
    /// How it is done.
    pub action: Action,
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = match self.before.as_str() {
            "" => "-",
            before => before,
        };
        write!(formatter, "{}: {before} -> {}", self.subject, self.after)
    }
}

/// How a change is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// An interrupt goes to these processors.
    Affinity {
        /// Its number.
        interrupt: u32,
        /// Where to.
        cpus: CpuSet,
    },
    /// A file of /sys or /proc gets a value.
    Write {
        /// Its absolute path.
        path: String,
        /// The value.
        value: String,
    },
    /// An interface gets so many combined channels.
    Channels {
        /// Its name.
        interface: String,
        /// How many.
        combined: u32,
    },
    /// An interface gets rings of this length.
    Rings {
        /// Its name.
        interface: String,
        /// The lengths.
        rings: Rings,
    },
    /// An interface gets this moderation of its interrupts.
    Coalescing {
        /// Its name.
        interface: String,
        /// The moderation.
        coalescing: Coalescing,
    },
}

/// Changes, and what a person should know besides them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The changes, in the order in which they are to be made.
    pub changes: Vec<Change>,
    /// What is left as it is although it could be tuned, and why.
    pub notes: Vec<String>,
}

/// On machines that share memory between them, memory is handed out without a promise that it is there (spec/core.md 9.4).
/// `present` is the value of `vm.overcommit_memory`.
#[must_use]
pub fn memory(platform: &Platform, present: Option<&str>) -> Plan {
    const WANTED: &str = "1";
    let mut plan = Plan::default();
    if platform.is_e2() && present != Some(WANTED) {
        plan.changes.push(setting(
            "vm.overcommit_memory",
            present.unwrap_or_default(),
            "/proc/sys/vm/overcommit_memory",
            WANTED,
        ));
    }
    plan
}

/// A change of a file.
fn setting(subject: &str, before: &str, path: &str, value: &str) -> Change {
    Change {
        subject: subject.to_owned(),
        before: before.to_owned(),
        after: value.to_owned(),
        action: Action::Write {
            path: path.to_owned(),
            value: value.to_owned(),
        },
    }
}

/// Adds the changes that send interrupts where they belong; with irqbalance at work, a note that they are left to it.
fn add_affinities(plan: &mut Plan, interrupts: &Interrupts, wanted: &Map<u32, CpuSet>) {
    let mut changes = wanted.iter().filter_map(|(number, cpus)| {
        let interrupt = interrupts.by_number.get(number)?;
        let before = interrupt.cpus.as_ref();
        if before == Some(cpus) || cpus.is_empty() {
            return None;
        }
        let subject = match interrupt.handlers.first() {
            Some(handler) => format!("irq {number} {handler} CPUs"),
            None => format!("irq {number} CPUs"),
        };
        Some(Change {
            subject,
            before: before.map(CpuSet::to_string).unwrap_or_default(),
            after: cpus.to_string(),
            action: Action::Affinity {
                interrupt: *number,
                cpus: cpus.clone(),
            },
        })
    });
    if !interrupts.balanced {
        plan.changes.extend(changes);
    } else if changes.next().is_some() {
        plan.notes
            .push("interrupts are left to irqbalance, which is at work or enabled".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::document::Document;
    use serde_json::json;

    #[test]
    fn memory_is_overcommitted_on_e2_only() {
        let of = |name: &str| {
            let document = json!({"instance": {"machineType": format!("a/machineTypes/{name}")}});
            Platform::of(&Document::parse(&document))
        };
        let told = |platform: &Platform, present| {
            let plan = memory(platform, present);
            let lines = plan.changes.iter().map(Change::to_string);
            lines.collect::<Vec<_>>().join("; ")
        };
        let e2 = of("e2-standard-4");
        assert_eq!(told(&e2, Some("0")), "vm.overcommit_memory: 0 -> 1");
        assert_eq!(told(&e2, Some("2")), "vm.overcommit_memory: 2 -> 1");
        assert_eq!(told(&e2, None), "vm.overcommit_memory: - -> 1");
        assert_eq!(told(&e2, Some("1")), "");
        for other in [of("n2-standard-4"), of("notes2-1"), Platform::default()] {
            assert_eq!(told(&other, Some("0")), "", "{other:?}");
        }
    }
}
