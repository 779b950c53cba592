//! The table of everything that is measured: one entry for each row, with its lines and aims.

use anyhow::Result;

use super::goal::Goal;
use super::measures::{accounts, network, rest, scripts, setup, size, tuning};
use super::sample::Sample;
use super::stage::Stage;
use super::subject::{Places, Subject};

/// Something that is measured.
pub(crate) struct Row {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What is done, and who says what came of it. For the document.
    pub(crate) about: &'static str,
    /// What the comparison is, where there is one.
    pub(crate) baseline: &'static str,
    pub(crate) lines: &'static [Line],
    /// How much work; one entry where there is only one size.
    pub(crate) sizes: fn(quick: bool) -> &'static [u32],
    /// How many runs a subject gets at a size.
    pub(crate) runs: fn(Subject, u32, quick: bool) -> u32,
    pub(crate) measure: Measure,
}

/// Where it is measured.
#[derive(Clone, Copy)]
pub(crate) enum Measure {
    /// In a sandbox for each run, one after the other.
    Alone(fn(&mut Stage) -> Result<()>),
    /// In sandboxes for all subjects at the same time, because it is about waiting.
    Together(fn(&mut Stage) -> Result<()>),
    /// Outside.
    Outside(fn(&Places, bool) -> Result<Vec<Sample>>),
}

/// A line of the table, for each size.
pub(crate) struct Line {
    /// Its name in samples.
    pub(crate) name: &'static str,
    /// What it is; `{}` is the size.
    pub(crate) what: &'static str,
    pub(crate) unit: Unit,
    pub(crate) aims: &'static [Aim],
}

/// An aim, at one size or at all.
pub(crate) struct Aim {
    pub(crate) at: Option<u32>,
    pub(crate) goal: Goal,
}

/// What figures of a line are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Bytes,
    Count,
    Share,
    Times,
}

const fn aim(goal: Goal) -> Aim {
    Aim { at: None, goal }
}

const fn at(size: u32, goal: Goal) -> Aim {
    Aim {
        at: Some(size),
        goal,
    }
}

const fn line(name: &'static str, what: &'static str, unit: Unit, aims: &'static [Aim]) -> Line {
    Line {
        name,
        what,
        unit,
        aims,
    }
}

fn once(_: bool) -> &'static [u32] {
    &[0]
}

/// So many runs for everybody.
fn few(_: Subject, _: u32, quick: bool) -> u32 {
    if quick { 2 } else { 3 }
}

fn several(_: Subject, _: u32, quick: bool) -> u32 {
    if quick { 3 } else { 7 }
}

fn single(_: Subject, _: u32, _: bool) -> u32 {
    1
}

/// Those who need minutes for thousands of users are asked once, and in the short run only for hundreds.
fn by_size(subject: Subject, size: u32, quick: bool) -> u32 {
    match (subject, size) {
        (Subject::GceGuest, ..=300) => 3,
        (_, ..=300) if !quick => 2,
        (Subject::GceGuest, _) if !quick => 3,
        (Subject::GceGuest, _) | (_, ..=300) => 1,
        _ => u32::from(!quick),
    }
}

fn only_ours(subject: Subject, _: u32, _: bool) -> u32 {
    u32::from(subject == Subject::GceGuest)
}

/// The Go agent has no program for this: it does it at its start.
fn without_go(subject: Subject, _: u32, quick: bool) -> u32 {
    match (subject, quick) {
        (Subject::Go, _) => 0,
        (_, true) => 3,
        (_, false) => 9,
    }
}

const MIB: f64 = 1024.0 * 1024.0;

pub(crate) static ROWS: [Row; 14] = [
    Row {
        name: "memory",
        about: "One user, everything at rest for ten seconds: resident memory, the share of it with pages divided among those who share them, \
                and what is no file's (`/proc/PID/smaps_rollup` of every process, read from outside the sandbox).",
        baseline: "",
        lines: &[
            line(
                "rss",
                "memory, resident",
                Unit::Bytes,
                &[aim(Goal::AtMost(4.0 * MIB))],
            ),
            line(
                "pss",
                "memory, proportional",
                Unit::Bytes,
                &[
                    aim(Goal::PartOf(Subject::Go, 4.0)),
                    aim(Goal::PartOf(Subject::Python, 10.0)),
                ],
            ),
            line("anonymous", "memory, anonymous", Unit::Bytes, &[]),
        ],
        sizes: once,
        runs: few,
        measure: Measure::Alone(rest::memory),
    },
    Row {
        name: "changes",
        about: "Memory along changes of keys and addresses, as many as in a busy day, one after the other; looked at 20 times. The \
                first changes fill caches and stacks; growth is what comes after the first tenth.",
        baseline: "",
        lines: &[
            line(
                "changes-rss",
                "memory after {} changes",
                Unit::Bytes,
                &[
                    at(2000, Goal::LevelFrom(200, 1.02)),
                    at(10_000, Goal::LevelFrom(1000, 1.02)),
                ],
            ),
            line(
                "changes-anonymous",
                "anonymous memory after {} changes",
                Unit::Bytes,
                &[],
            ),
        ],
        sizes: |quick| if quick { &[2000] } else { &[10_000] },
        runs: only_ours,
        measure: Measure::Alone(rest::changes),
    },
    Row {
        name: "idle",
        about: "A minute in which nothing happens, three seconds after the last change: ticks and nanoseconds of processor \
                time, and how often a thread left a processor (`/proc/PID/stat`, `task/*/schedstat`, `task/*/status`). All \
                subjects at the same time.",
        baseline: "",
        lines: &[
            line(
                "idle-ticks",
                "idle minute, processor time in ticks",
                Unit::Seconds,
                &[aim(Goal::AtMost(0.0))],
            ),
            line(
                "idle-time",
                "idle minute, processor time",
                Unit::Seconds,
                &[],
            ),
            line(
                "idle-switches",
                "idle minute, context switches",
                Unit::Count,
                &[aim(Goal::AtMost(10.0))],
            ),
        ],
        sizes: once,
        runs: |_, _, quick| if quick { 1 } else { 2 },
        measure: Measure::Together(rest::idle),
    },
    Row {
        name: "start",
        about: "From the start of the processes on a machine with one user in metadata, and none in `/etc/passwd`, to that \
                user's key in `authorized_keys`; then they are stopped and started again with one user more. The first time the \
                group and the sudo rule are made as well, by everybody. For comparison one `useradd` with the same options on \
                the same machine.",
        baseline: "one useradd",
        lines: &[
            line(
                "start",
                "process start to the first user's key",
                Unit::Seconds,
                &[
                    aim(Goal::TimesBaseline(1.3)),
                    aim(Goal::FasterThanPython(5.0)),
                ],
            ),
            line(
                "start-again",
                "process start to another user's key",
                Unit::Seconds,
                &[
                    aim(Goal::TimesBaseline(1.3)),
                    aim(Goal::FasterThanPython(5.0)),
                ],
            ),
        ],
        sizes: once,
        runs: several,
        measure: Measure::Alone(accounts::start),
    },
    Row {
        name: "key",
        about: "A second key for a user who is there: from the request that changes the metadata server to the bytes in \
                `authorized_keys`, told by inotify, after four seconds without a change. Each run is the median of \
                50 (20) changes.",
        baseline: "",
        lines: &[line(
            "key",
            "key added to an existing user",
            Unit::Seconds,
            &[aim(Goal::AtMost(0.001)), aim(Goal::Faster(5.0))],
        )],
        sizes: once,
        runs: few,
        measure: Measure::Alone(accounts::key),
    },
    Row {
        name: "user",
        about: "One user more: from the request that changes the metadata server to the new user's key. Each run is the median \
                of 5 users. For comparison one `useradd` on the same machine.",
        baseline: "one useradd",
        lines: &[line(
            "user",
            "new user added",
            Unit::Seconds,
            &[aim(Goal::TimesBaseline(1.3)), aim(Goal::Faster(2.5))],
        )],
        sizes: once,
        runs: few,
        measure: Measure::Alone(accounts::user),
    },
    Row {
        name: "users",
        about: "So many new users at once, until the last has a key and all are in `google-sudoers`.",
        baseline: "",
        lines: &[line(
            "users",
            "{} new users at once",
            Unit::Seconds,
            &[
                at(300, Goal::Faster(3.0)),
                at(2500, Goal::Faster(5.0)),
                at(2500, Goal::GrowthFrom(100, 1.5)),
            ],
        )],
        sizes: |_| &[100, 300, 1000, 2500],
        runs: by_size,
        measure: Measure::Alone(accounts::users),
    },
    Row {
        name: "addresses",
        about: "So many forwarded addresses added, and removed again, until the kernel's table `local` (`/proc/net/fib_trie`) \
                has them or has none. For comparison one `ip -batch` of the same commands.",
        baseline: "ip -batch",
        lines: &[
            line(
                "addresses-added",
                "{} forwarded addresses added",
                Unit::Seconds,
                &[
                    at(1000, Goal::Faster(50.0)),
                    at(1000, Goal::TimesBaseline(2.0)),
                ],
            ),
            line(
                "addresses-removed",
                "{} forwarded addresses removed",
                Unit::Seconds,
                &[
                    at(1000, Goal::Faster(50.0)),
                    at(1000, Goal::TimesBaseline(2.0)),
                ],
            ),
        ],
        sizes: |_| &[10, 100, 1000],
        runs: |_, size, quick| match (size, quick) {
            (1000, true) => 1,
            (1000, false) => 3,
            _ => 2,
        },
        measure: Measure::Alone(network::addresses_at_once),
    },
    Row {
        name: "deleted-route",
        about: "Somebody deletes one of our routes with `ip`: from the start of that command until the kernel's table has the \
                route again. Those who do not put it back are waited for 75 s (5 s in the short run). All subjects at the same \
                time.",
        baseline: "",
        lines: &[line(
            "deleted-route",
            "deleted route back",
            Unit::Seconds,
            &[aim(Goal::AtMost(0.05))],
        )],
        sizes: once,
        runs: few_waits,
        measure: Measure::Together(network::deleted_route),
    },
    Row {
        name: "setup",
        about: "`gce-guest setup` and `google_instance_setup` on a new instance, and again after it. The Go agent does this at \
                its start and has no program for it. For comparison the slowest single ssh-keygen of the same boot, which is \
                what a new RSA key happens to take.",
        baseline: "slowest ssh-keygen",
        lines: &[
            line("first-boot", "set-up at the first boot", Unit::Seconds, &[]),
            line(
                "first-boot-ratio",
                "set-up at the first boot ÷ its slowest ssh-keygen",
                Unit::Times,
                &[aim(Goal::AtMost(1.1))],
            ),
            line(
                "second-boot",
                "set-up at the second boot",
                Unit::Seconds,
                &[aim(Goal::FasterThanPython(8.0))],
            ),
        ],
        sizes: once,
        runs: without_go,
        measure: Measure::Alone(setup::boots),
    },
    Row {
        name: "queues",
        about: "Transmit queues and interrupts of a machine on paper with so many queues, two nodes and one gVNIC, on an \
                accelerator type. For comparison Google's shell script `google_set_multiqueue`, which \
                `--set-multiqueue FILE` names (it is in the repository GoogleCloudPlatform/guest-configs); without it the row \
                is left out.",
        baseline: "the shell script",
        lines: &[line(
            "queues",
            "set_multiqueue, {} queues",
            Unit::Seconds,
            &[aim(Goal::FasterThanBaseline(100.0))],
        )],
        sizes: |_| &[64, 192],
        runs: |subject, size, quick| only_ours(subject, size, quick) * if quick { 1 } else { 3 },
        measure: Measure::Alone(tuning::queues),
    },
    Row {
        name: "scripts",
        about: "From the start of the script runner to the first command of a startup script in `sh`. Each run is the median \
                of 7 starts.",
        baseline: "",
        lines: &[line(
            "script-start",
            "startup script begins",
            Unit::Seconds,
            &[aim(Goal::AtMost(0.01))],
        )],
        sizes: once,
        runs: few,
        measure: Measure::Alone(scripts::start),
    },
    Row {
        name: "output",
        about: "A startup script prints so many MiB in lines of 112 bytes, until the runner has ended: to syslog (ours and \
                Python's) or its standard output (Go's), which are read as fast as they come. The most memory that the runner \
                had (`VmHWM`), and the share of the bytes that the log got.",
        baseline: "",
        lines: &[
            line(
                "output",
                "{} MiB of script output logged",
                Unit::Seconds,
                &[at(100, Goal::Faster(3.0))],
            ),
            line(
                "output-memory",
                "memory of the runner with {} MiB of output",
                Unit::Bytes,
                &[at(100, Goal::LevelFrom(4, 1.1))],
            ),
            line(
                "output-share",
                "share of {} MiB that the log got",
                Unit::Share,
                &[],
            ),
        ],
        sizes: |_| &[4, 100],
        runs: |subject, size, quick| match (subject, size, quick) {
            (Subject::GceGuest, ..) => 3,
            (_, 100, true) => 1,
            _ => 2,
        },
        measure: Measure::Alone(scripts::output),
    },
    Row {
        name: "size",
        about: "The program as cargo builds it; Go's agent and script runner together; every crate that is linked in, as \
                `cargo tree` lists them; a build from nothing with the sources at hand (in the long run only).",
        baseline: "",
        lines: &[
            line(
                "binary",
                "program file",
                Unit::Bytes,
                &[aim(Goal::AtMost(4.0 * MIB))],
            ),
            line(
                "crates",
                "crates linked",
                Unit::Count,
                &[aim(Goal::AtMost(60.0))],
            ),
            line("build", "cold build", Unit::Seconds, &[]),
        ],
        sizes: once,
        runs: single,
        measure: Measure::Outside(size::measure),
    },
];

fn few_waits(subject: Subject, _: u32, quick: bool) -> u32 {
    match (subject, quick) {
        (Subject::GceGuest, false) => 2,
        _ => 1,
    }
}

impl Unit {
    /// How a value of this unit is written.
    pub(crate) fn shown(self) -> fn(f64) -> String {
        match self {
            Self::Seconds => seconds,
            Self::Bytes => bytes,
            Self::Count => |value| super::chart::grouped(value.round()),
            Self::Share => |value| format!("{:.0} %", value * 100.0),
            Self::Times => |value| format!("{value:.2}"),
        }
    }
}

/// Three digits and the unit that fits.
pub(crate) fn seconds(value: f64) -> String {
    let (value, unit) = match value {
        value if value.is_infinite() => return "never".to_owned(),
        0.0 => return "0".to_owned(),
        value if value < 0.000_999_5 => (value * 1e6, "µs"),
        value if value < 0.999_5 => (value * 1e3, "ms"),
        value => (value, "s"),
    };
    format!("{} {unit}", three_digits(value))
}

/// MiB with three digits.
pub(crate) fn bytes(value: f64) -> String {
    format!("{} MiB", three_digits(value / MIB))
}

fn three_digits(value: f64) -> String {
    match value {
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_used_once() {
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        let lines: Vec<&str> = ROWS
            .iter()
            .flat_map(|row| row.lines)
            .map(|line| line.name)
            .collect();
        assert_eq!(lines.iter().collect::<BTreeSet<_>>().len(), lines.len());
    }

    #[test]
    fn every_aim_is_at_a_size_that_is_measured() {
        for row in ROWS.iter().filter(|row| row.name != "changes") {
            for aim in row.lines.iter().flat_map(|line| line.aims) {
                let sizes = (row.sizes)(false);
                assert!(
                    aim.at.is_none_or(|size| sizes.contains(&size)),
                    "{}",
                    row.name
                );
            }
        }
    }

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        for (value, text) in [
            (0.0, "0"),
            (0.000_042, "42.0 µs"),
            (0.000_999_9, "1.00 ms"),
            (0.123_456, "123 ms"),
            (61.0, "61.0 s"),
            (f64::INFINITY, "never"),
        ] {
            assert_eq!(seconds(value), text);
        }
        assert_eq!(bytes(4.0 * MIB), "4.00 MiB");
    }
}
