//! Reads what a plan is made of: the files that may be ours, what the backends say of each interface, the DHCP clients
//! that run, and (once, because programs are asked) what is installed and active. Changes nothing.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Backend;
use super::observed::{Client, Distribution, Facts, ManagedDevice, NetworkdLink, Observed};
use super::plan::nics::Nic;
use super::plan::{COMMAND_RECORD, clients as dhcp, ifcfg, netplan, networkd, networkmanager};
use crate::system::files;
use crate::system::files::setting;
use crate::system::netlink::{Address, Link, NetlinkError, Socket};
use crate::system::order::{Map, Set};
use crate::system::processes::{self, Invocation};
use crate::system::root::Root;

/// The most that is read of a file of configuration.
const LIMIT: u64 = 256 * 1024;

/// How long a program may take that is asked something.
const QUESTION_DEADLINE: Duration = Duration::from_secs(10);

/// The programs that a choice depends on.
const PROGRAMS: [&str; 9] = [
    "netplan",
    "networkctl",
    "nmcli",
    "wicked",
    "ifup",
    "ifquery",
    "dhclient",
    "dhcpcd",
    "udhcpc",
];

/// The units that a choice depends on.
const UNITS: [&str; 5] = [
    "NetworkManager.service",
    "systemd-networkd.service",
    "wicked.service",
    "networking.service",
    "network.service",
];

/// Reads the interfaces and their addresses from the kernel.
///
/// # Errors
/// Those of the listings.
pub(super) fn links_and_addresses() -> Result<(Vec<Link>, Vec<Address>), NetlinkError> {
    let mut socket = Socket::open()?;
    Ok((socket.links()?, socket.addresses()?))
}

/// Reads everything else about the interfaces that are to be set up, but the facts and the DHCP clients.
#[must_use]
pub fn observe(root: &Root, links: Vec<Link>, addresses: Vec<Address>, nics: &[Nic]) -> Observed {
    let mut observed = Observed {
        files: files_of_ours(root),
        has_netplan_files: has_netplan_files(root),
        ..Observed::default()
    };
    for link in &links {
        let state = root.path(format!("/run/systemd/netif/links/{}", link.index));
        if let Some(text) = setting::read_setting(&state) {
            let file = value(&text, "NETWORK_FILE").map(PathBuf::from);
            let state = value(&text, "ADMIN_STATE").unwrap_or_default().to_owned();
            observed
                .networkd
                .insert(link.index, NetworkdLink { state, file });
        }
        let state = root.path(format!("/run/NetworkManager/devices/{}", link.index));
        if let Some(text) = setting::read_setting(&state) {
            let device = ManagedDevice {
                unmanaged: value(&text, "managed") == Some("false"),
                profile: value(&text, "connection-uuid").map(String::from),
            };
            observed.networkmanager.insert(link.index, device);
        }
    }
    for nic in nics.iter().filter(|nic| nic.ipv6) {
        if let Some(value) = setting::read_setting(&root.path(route_information(&nic.name))) {
            observed.route_information.insert(nic.name.clone(), value);
        }
    }
    observed.links = links;
    observed.addresses = addresses;
    observed
}

/// The sysctl that says how long a prefix of a route in a router advertisement may be.
#[must_use]
pub(super) fn route_information(interface: &str) -> PathBuf {
    Path::new("/proc/sys/net/ipv6/conf")
        .join(interface)
        .join("accept_ra_rt_info_max_plen")
}

/// The value of a key in a text of `KEY=value` lines.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value.trim_matches('"'))
}

/// The files at every place where ours may be.
fn files_of_ours(root: &Root) -> Map<PathBuf, Vec<u8>> {
    let mut paths = vec![
        PathBuf::from(netplan::PATH),
        PathBuf::from(netplan::DEBIAN_DEFAULT_PATH),
        PathBuf::from(dhcp::INTERFACES),
        PathBuf::from(COMMAND_RECORD),
    ];
    let mut look_in = |directory: &str, is_candidate: fn(&str) -> bool| {
        let names = setting::names_in(&root.path(directory));
        let found = names.iter().filter(|name| is_candidate(name));
        paths.extend(found.map(|name| Path::new(directory).join(name)));
    };
    look_in(networkd::DIRECTORY, networkd::is_candidate);
    look_in(networkmanager::VOLATILE, networkmanager::is_candidate);
    look_in(networkmanager::PERSISTENT, networkmanager::is_candidate);
    look_in(ifcfg::WICKED, ifcfg::is_candidate);
    look_in(ifcfg::SCRIPTS, ifcfg::is_candidate);
    for name in setting::names_in(&root.path(networkd::DIRECTORY)) {
        if name.starts_with("10-netplan-") && name.ends_with(".network.d") {
            let directory = Path::new(networkd::DIRECTORY).join(name);
            paths.push(directory.join(netplan::DROP_IN_NAME));
        }
    }
    let read = |path: PathBuf| {
        let contents = files::read(&root.path(&path), LIMIT).ok()??;
        Some((path, contents))
    };
    paths.into_iter().filter_map(read).collect()
}

fn has_netplan_files(root: &Root) -> bool {
    setting::names_in(&root.path("/etc/netplan"))
        .iter()
        .any(|name| Path::new(name).extension() == Some(OsStr::new("yaml")))
}

/// The DHCP clients of this network namespace.
pub(super) fn clients(root: &Root) -> Vec<Client> {
    let namespace = |process: &str| {
        let directory = root.path(format!("/proc/{process}/ns"));
        let directory = files::Directory::open(&directory).ok()?;
        directory.read_link(OsStr::new("net")).ok()
    };
    let own = namespace("self");
    let mut found = Vec::new();
    for name in setting::names_in(&root.path("/proc")) {
        if !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let path = root.path(format!("/proc/{name}/cmdline"));
        let Ok(cmdline) = files::read_stream(&path, 4096) else {
            continue;
        };
        if let Some(client) = Client::parse(&cmdline)
            && namespace(&name) == own
        {
            found.push(client);
        }
    }
    found
}

/// Asks what is installed and active. `primary` is the name of the primary interface, where it is there.
#[must_use]
pub(super) fn facts(root: &Root, primary: Option<&str>) -> Facts {
    let programs: Set<_> = PROGRAMS
        .into_iter()
        .filter(|program| processes::find(program).is_some())
        .collect();
    let mut facts = Facts {
        has_network_scripts: setting::is_there(&root.path(ifcfg::SCRIPTS)),
        has_interfaces_file: setting::is_there(&root.path("/etc/network/interfaces")),
        distribution: distribution(root),
        active: active_units(),
        programs,
        ..Facts::default()
    };
    if facts.programs.contains("networkctl") {
        let version = answer("networkctl", &["--version"]);
        facts.networkd_version = version.split_whitespace().nth(1).and_then(|word| {
            word.split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        });
    }
    if facts.programs.contains("nmcli") && facts.active.contains("NetworkManager.service") {
        facts.networkmanager_version = networkmanager_version(&answer("nmcli", &["--version"]));
        let devices = answer("nmcli", &["-t", "-f", "DEVICE,STATE", "device", "status"]);
        facts.connected = devices
            .lines()
            .filter_map(|line| line.rsplit_once(':'))
            .filter(|(_, state)| *state == "connected")
            .map(|(device, _)| device.replace("\\:", ":"))
            .collect();
    }
    if let Some(primary) = primary
        && facts.programs.contains("wicked")
    {
        let status = answer("wicked", &["ifstatus", primary, "--brief"]);
        let state = status.split_whitespace().nth(1);
        facts.wicked_up = matches!(state, Some("up" | "setup-in-progress"));
    }
    facts
}

/// "nmcli tool, version 1.42.4".
fn networkmanager_version(told: &str) -> Option<(u32, u32)> {
    let mut parts = told.split_whitespace().last()?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn active_units() -> Set<&'static str> {
    let mut words = vec!["is-active"];
    words.extend(UNITS);
    let states = answer("systemctl", &words);
    UNITS
        .into_iter()
        .zip(states.lines())
        .filter(|(_, state)| *state == "active")
        .map(|(unit, _)| unit)
        .collect()
}

fn distribution(root: &Root) -> Distribution {
    let read = |path: &str| files::read(&root.path(path), LIMIT).ok().flatten();
    let text = read("/etc/os-release")
        .or_else(|| read("/usr/lib/os-release"))
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let field = |key| value(&text, key).unwrap_or_default().to_owned();
    Distribution {
        id: field("ID"),
        version: field("VERSION_ID"),
    }
}

/// What a program says to a question; nothing when it is missing or too slow. A failure may say something too:
/// `systemctl is-active` fails where one of the units is not.
fn answer(program: &str, words: &[&str]) -> String {
    let invocation = Invocation::new(program, words).within(QUESTION_DEADLINE);
    processes::run(&invocation).map_or_else(
        |_| String::new(),
        |finished| String::from_utf8_lossy(&finished.stdout).into_owned(),
    )
}

/// Asks a backend what only it knows, where there is something to decide: whose profile or paragraph an interface has.
pub(super) fn ask_backend(backend: Option<Backend>, nics: &[Nic], observed: &mut Observed) {
    let managed = || nics.iter().filter(|nic| nic.managed);
    match backend {
        Some(Backend::NetworkManager) => {
            let is_foreign = |nic: &Nic| {
                let device = observed.networkmanager.get(&nic.index);
                let ours = networkmanager::uuid(nic.mac, 0);
                device
                    .and_then(|device| device.profile.as_ref())
                    .is_some_and(|profile| *profile != ours)
            };
            if managed().any(is_foreign) {
                let words = ["-t", "-f", "UUID,FILENAME", "connection", "show"];
                observed.profiles = answer("nmcli", &words)
                    .lines()
                    .filter_map(|line| line.split_once(':'))
                    .map(|(uuid, file)| (uuid.to_owned(), file.replace("\\:", ":").into()))
                    .collect();
            }
        }
        Some(Backend::Ifupdown) if observed.facts.programs.contains("ifquery") => {
            let is_served = |nic: &Nic| {
                let leases = dhcp::leases(nic, observed);
                leases.iter().all(|lease| dhcp::is_served(lease, observed))
            };
            let open: Vec<&Nic> = managed().filter(|nic| !is_served(nic)).collect();
            for nic in open {
                let question = Invocation::new("ifquery", [&nic.name]).within(QUESTION_DEADLINE);
                if processes::run_successfully(&question).is_ok() {
                    observed.in_interfaces_file.insert(nic.name.clone());
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_programs_say() {
        let told = "nmcli tool, version 1.42.4\n";
        assert_eq!(networkmanager_version(told), Some((1, 42)));
        assert_eq!(networkmanager_version("nonsense"), None);
    }
}
