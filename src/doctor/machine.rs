//! The machine itself: its clock source, who looks after its network, its disks, and who may write our files.

use std::path::Path;

use super::Verdict;
use crate::accounts::ledger;
use crate::agent::{history, status};
use crate::config;
use crate::system::files;
use crate::system::order::Set;
use crate::system::processes::table as processes;

/// The kernel's choice of a clock.
const CLOCK_SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

/// Clocks that cost a trap for each reading, or drift: a machine of Compute Engine has better.
const POOR_CLOCKS: [&str; 5] = ["acpi_pm", "hpet", "jiffies", "pit", "refined-jiffies"];

/// Programs that look after network interfaces, by the names of their processes.
const BACKENDS: [&str; 7] = [
    "NetworkManager",
    "connmand",
    "dhclient",
    "dhcpcd",
    "systemd-network",
    "udhcpc",
    "wickedd",
];

/// Where we and those whom we serve write.
const WRITTEN: [&str; 7] = ["/", "/etc", "/home", "/run", "/tmp", "/var/lib", "/var/log"];

/// How little room is too little, in bytes.
const ROOM: u64 = 1024 * 1024;

/// Which clock the kernel reads.
pub(super) fn clock_source() -> Verdict {
    let mut verdict = Verdict::new("clock source");
    let Ok(text) = files::read_stream(Path::new(CLOCK_SOURCE), 4096) else {
        return verdict.note("the kernel does not say");
    };
    let source = String::from_utf8_lossy(&text).trim().to_owned();
    if POOR_CLOCKS.contains(&source.as_str()) {
        verdict.warn(
            format!("the kernel reads the time from {source}, which is slow or drifts"),
            format!("see why it refused the better ones (dmesg), and try `echo kvm-clock > {CLOCK_SOURCE}`"),
        );
    }
    verdict.note(source)
}

/// Who looks after the interfaces: one should, and two get in each other's way.
pub(super) fn network_backend() -> Verdict {
    let mut verdict = Verdict::new("network");
    let running = processes::all();
    let found: Set<&str> = BACKENDS
        .into_iter()
        .filter(|name| running.iter().any(|process| process.name == *name))
        .collect();
    let both = ["NetworkManager", "systemd-network"];
    if both.iter().all(|name| found.contains(name)) {
        verdict.warn(
            "NetworkManager and systemd-networkd both run, and may configure the same interface",
            "disable one of them, or see that each leaves the other's interfaces alone (`networkctl`, `nmcli device`)",
        );
    }
    let names: Vec<&str> = found.into_iter().collect();
    verdict.note(match names.len() {
        0 => "nobody is known to look after the interfaces".into(),
        _ => names.join(", "),
    })
}

/// Whether there is room to write.
pub(super) fn disk() -> Verdict {
    let mut verdict = Verdict::new("disk");
    let mut seen = Set::new();
    for place in WRITTEN {
        let Ok(space) = files::space(Path::new(place)) else {
            continue;
        };
        if !seen.insert(space.device) {
            continue;
        }
        if space.read_only {
            verdict.warn(
                format!("the file system of {place} is read-only"),
                format!("see why (`dmesg`), and remount it: mount -o remount,rw {place}"),
            );
        } else if space.bytes < ROOM {
            verdict.fail(
                format!(
                    "the file system of {place} is full: {} KiB are left",
                    space.bytes / 1024
                ),
                format!("remove what is not needed: du -xhd1 {place} | sort -h"),
            );
        } else if space.files == Some(0) {
            verdict.fail(
                format!("the file system of {place} has no room for another file (inodes)"),
                format!("remove files that are not needed: du -x --inodes -d1 {place} | sort -n"),
            );
        }
    }
    verdict.note("there is room to write")
}

/// Whether our files are root's, and nobody else may write them.
pub(super) fn permissions() -> Verdict {
    let mut verdict = Verdict::new("permissions");
    let records = format!("{}/{}", ledger::DIRECTORY, ledger::RECORDS_FILE);
    let names = format!("{}/{}", ledger::DIRECTORY, ledger::NAMES_FILE);
    let template = config::TEMPLATE;
    for (path, forbidden) in [
        ("/etc", 0o022),
        ("/etc/default", 0o022),
        (config::INSTANCE_CONFIGS, 0o022),
        (config::DISTRO, 0o022),
        (template, 0o022),
        ("/etc/sudoers.d", 0o022),
        ("/etc/sudoers.d/google_sudoers", 0o227),
        (ledger::DIRECTORY, 0o022),
        (&names, 0o077),
        (&records, 0o077),
        ("/run/gce-guest", 0o022),
        (status::DIRECTORY, 0o022),
        ("/run/gce-guest/scripts", 0o077),
        (history::DIRECTORY, 0o077),
    ] {
        let Ok(Some((owner, mode))) = files::owner_and_mode(Path::new(path)) else {
            continue;
        };
        if owner != 0 {
            verdict.fail(
                format!(
                    "{path} belongs to the user with id {owner}, who can change what we do as root"
                ),
                format!("chown root {path}"),
            );
        }
        if mode & forbidden & 0o7777 != 0 {
            verdict.fail(
                format!("{path} has mode {mode:04o}, so others than root may change or read it"),
                format!("chmod {:04o} {path}", mode & !forbidden),
            );
        }
    }
    verdict.note("our files are root's alone")
}
