//! What the predecessors have left: their daemons that still run, their files, and who holds the locks.

use std::path::Path;

use super::Verdict;
use crate::agent::managers::Manager;
use crate::system::files;
use crate::system::locks;
use crate::system::processes::table as processes;

/// Their daemons, and the unit that each is of.
const DAEMONS: [(&str, &str); 8] = [
    ("google_accounts_daemon", "google-accounts-daemon"),
    ("google_clock_skew_daemon", "google-clock-skew-daemon"),
    ("google_ip_forwarding_daemon", "google-ip-forwarding-daemon"),
    ("google_network_daemon", "google-network-daemon"),
    ("google_guest_agent", "google-guest-agent"),
    ("google_guest_agent_manager", "google-guest-agent-manager"),
    ("google_guest_compat_manager", "google-guest-compat-manager"),
    ("core_plugin", "google-guest-agent-manager"),
];

/// What of theirs goes on acting when they are gone: directory, beginning and end of the name, and what it does.
const LEFTOVERS: [(&str, &str, &str, &str); 6] = [
    (
        "/etc/NetworkManager/system-connections",
        "google-guest-agent-",
        ".nmconnection",
        "names an interface",
    ),
    (
        "/etc/systemd/network",
        "20-",
        "-google-guest-agent.network",
        "names an interface",
    ),
    (
        "/usr/lib/systemd/network",
        "20-",
        "-google-guest-agent.network",
        "names an interface",
    ),
    (
        "/etc/netplan",
        "20-google-guest-agent-",
        ".yaml",
        "names an interface",
    ),
    (
        "/run/netplan",
        "20-google-guest-agent-",
        ".yaml",
        "names an interface",
    ),
    (
        "/etc/systemd/system/multi-user.target.wants",
        "google-",
        ".service",
        "starts a predecessor at boot",
    ),
];

/// What a unit of ours has in its text: some have the predecessors' names.
const OURS: &str = "=/usr/bin/gce-guest ";

/// The longest unit that is looked into.
const LONGEST_UNIT: u64 = 64 * 1024;

/// Their daemons that run beside us.
pub(super) fn processes() -> Verdict {
    let mut verdict = Verdict::new("predecessors");
    for process in processes::all() {
        // A link of ours may have their name: then the program behind it is ours.
        let known = DAEMONS.iter().find(|(name, _)| process.runs(name));
        if let Some((name, unit)) = known.filter(|_| !process.is_like_us()) {
            verdict.fail(
                format!(
                    "{name} runs (process {}) and manages the same as we do",
                    process.id
                ),
                format!("systemctl disable --now {unit}, or end the process"),
            );
        }
    }
    verdict.note("none of their daemons runs")
}

/// Their files that still have an effect.
pub(super) fn files() -> Verdict {
    let mut verdict = Verdict::new("leftovers");
    for (directory, beginning, end, effect) in LEFTOVERS {
        let names = files::Directory::open(Path::new(directory)).and_then(|open| open.names());
        for name in names.unwrap_or_default() {
            let name = name.to_string_lossy().into_owned();
            let path = format!("{directory}/{name}");
            let is_unit = name.ends_with(".service");
            if !name.starts_with(beginning)
                || !name.ends_with(end)
                || (is_unit && is_ours(Path::new(&path)))
            {
                continue;
            }
            let fix = if is_unit {
                format!("systemctl disable {name}")
            } else {
                format!("rm {path}, and reload the network service")
            };
            verdict.warn(format!("{path} is a predecessor's and {effect}"), fix);
        }
    }
    verdict.note("none of their files has an effect")
}

/// Whether what is behind a link to a unit is ours.
fn is_ours(unit: &Path) -> bool {
    let text = files::read(unit, LONGEST_UNIT).ok().flatten();
    text.is_some_and(|text| String::from_utf8_lossy(&text).contains(OURS))
}

/// Who else holds a lock that the agent needs.
pub(super) fn locks() -> Verdict {
    let mut verdict = Verdict::new("locks");
    for manager in Manager::ALL {
        let Ok(Some(holder)) = locks::holder_of(Path::new(manager.lock())) else {
            continue;
        };
        let Some(id) = holder.process() else { continue };
        if !processes::is_like_us(id) {
            verdict.fail(
                format!(
                    "{holder} holds {}, so the agent leaves {} out",
                    manager.lock(),
                    manager.name()
                ),
                format!("stop it: systemctl status {id} names its unit, else kill {id}"),
            );
        }
    }
    verdict.note("nobody else holds them")
}
