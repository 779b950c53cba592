//! The kernel's accounting of processes, read from `/proc`. Nobody measured here is asked about itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// Memory of a group of processes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Resident, with what others share.
    pub(crate) resident: u64,
    /// Shared pages divided by how many share them.
    pub(crate) proportional: u64,
    /// What is neither a file's nor shared: heap, stacks, changed data.
    pub(crate) anonymous: u64,
}

/// Work of a group of processes so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// Times on a processor that ended, of all threads.
    pub(crate) switches: u64,
    /// Ticks (10 ms) of processor time, of all threads.
    pub(crate) ticks: u64,
    /// Nanoseconds on a processor, of all threads that are there; 0 where the kernel does not say.
    pub(crate) nanoseconds: u64,
}

/// The memory of these processes. Needs the right to look at each.
///
/// # Errors
/// A process is gone or must not be looked at.
pub(crate) fn memory(processes: &[u32]) -> Result<Memory> {
    let mut sum = Memory::default();
    for process in processes {
        let path = format!("/proc/{process}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        sum.resident += kilobytes(&text, "Rss:");
        sum.proportional += kilobytes(&text, "Pss:");
        sum.anonymous += kilobytes(&text, "Pss_Anon:");
    }
    Ok(sum)
}

/// A field of a file like `/proc/PID/status`, which is in kB, in bytes.
fn kilobytes(text: &str, field: &str) -> u64 {
    number(text, field) * 1024
}

fn number(text: &str, field: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// The most memory that a process ever had, in bytes; 0 when it is gone.
pub(crate) fn highest_resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    kilobytes(&status, "VmHWM:")
}

/// The work of these processes so far; one that is gone has done none.
pub(crate) fn work(processes: &[u32]) -> Work {
    let mut sum = Work::default();
    for process in processes {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        sum.ticks += ticks(&stat);
        for thread in threads(*process) {
            let read = |name: &str| fs::read_to_string(thread.join(name)).unwrap_or_default();
            let status = read("status");
            sum.switches += number(&status, "voluntary_ctxt_switches:");
            sum.switches += number(&status, "nonvoluntary_ctxt_switches:");
            let schedule = read("schedstat");
            let first = schedule.split_whitespace().next();
            sum.nanoseconds += first.and_then(|time| time.parse().ok()).unwrap_or(0);
        }
    }
    sum
}

fn threads(process: u32) -> Vec<PathBuf> {
    fs::read_dir(format!("/proc/{process}/task"))
        .map(|tasks| tasks.flatten().map(|task| task.path()).collect())
        .unwrap_or_default()
}

/// User and system time of a line of `/proc/PID/stat`, with that of the children that have been waited for.
fn ticks(stat: &str) -> u64 {
    // The name may hold anything, also parentheses; the fields after it begin with the third.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = rest.split_whitespace().collect();
    (11..15)
        .filter_map(|field| fields.get(field)?.parse::<u64>().ok())
        .sum()
}

/// These processes and everything below them.
pub(crate) fn descendants(roots: &[u32]) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = processes()
        .into_iter()
        .filter_map(|process| Some((process, parent(process)?)))
        .collect();
    let mut found: BTreeSet<u32> = roots.iter().copied().collect();
    loop {
        let before = found.len();
        for (process, parent) in &parents {
            if found.contains(parent) {
                found.insert(*process);
            }
        }
        if found.len() == before {
            return found.into_iter().collect();
        }
    }
}

fn processes() -> Vec<u32> {
    fs::read_dir("/proc")
        .map(|entries| {
            entries
                .flatten()
                .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
                .collect()
        })
        .unwrap_or_default()
}

fn parent(process: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    u32::try_from(number(&status, "PPid:")).ok()
}

/// The ids here of processes below `root` that have these ids in their own, innermost process namespace.
pub(crate) fn from_inside(root: u32, inside: &[u32]) -> Vec<u32> {
    let innermost = |process: u32| -> Option<u32> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("NSpid:"))?;
        // One that is in our own namespace has one id only.
        line.split_whitespace().nth(1)?.parse().ok()
    };
    descendants(&[root])
        .into_iter()
        .filter(|process| {
            *process != root && innermost(*process).is_some_and(|id| inside.contains(&id))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1";
        assert_eq!(ticks(stat), 100);
        assert_eq!(ticks(""), 0);
    }

    #[test]
    fn this_process_is_its_own_descendant_and_has_memory() {
        let own = std::process::id();
        assert!(descendants(&[own]).contains(&own));
        let memory = memory(&[own]).expect("our own");
        assert!(memory.resident >= memory.proportional && memory.proportional > memory.anonymous);
        assert!(highest_resident(own) >= 1024 * 1024);
        assert!(work(&[own]).switches > 0);
    }
}
