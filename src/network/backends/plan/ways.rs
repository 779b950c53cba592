//! How each backend goes about it: which files it wants, which programs make it read them, and how one sees that an
//! interface is up through it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::clients::{self, Lease};
use super::nics::Nic;
use super::{File, Problem, Step, ifcfg, netplan, networkd, networkmanager};
use crate::network::backends::Backend;
use crate::network::backends::observed::{Facts, Family, Observed};
use crate::system::processes::Invocation;

/// The first NetworkManager that reads profiles in /run.
const NETWORKMANAGER_WITH_RUN: (u32, u32) = (1, 20);

/// How long `networkctl reload` may take.
const RELOAD_DEADLINE: Duration = Duration::from_secs(20);

/// How long a program may take that waits for an interface.
const UP_DEADLINE: Duration = Duration::from_secs(60);

/// An interface on its way up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Up {
    pub interface: String,
    /// Whether it is as it should be.
    pub is_up: bool,
    /// Its file: when that changes, the programs run although it is up.
    pub file: Option<PathBuf>,
    /// Whether a reload of the backend is what brings it up.
    pub by_reload: bool,
    /// Whether a service keeps it up, which may be starting again.
    pub by_service: bool,
    /// The programs that bring it up.
    pub commands: Vec<Invocation>,
}

/// What a backend needs for all interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Way {
    pub files: Vec<File>,
    /// Links that are made or go.
    pub links: Vec<Step>,
    pub ups: Vec<Up>,
    /// DHCP clients of ours that end.
    pub releases: Vec<Step>,
}

/// The way of a backend. Interfaces that somebody else has configured are left to that one.
pub(super) fn way(
    backend: Backend,
    nics: &[Nic],
    observed: &Observed,
    problems: &mut Vec<Problem>,
) -> Way {
    match backend {
        Backend::Netplan => of_netplan(nics, observed),
        Backend::Networkd => of_networkd(nics, observed),
        Backend::NetworkManager => of_networkmanager(nics, observed, problems),
        Backend::Wicked => of_ifcfg(nics, observed, ifcfg::WICKED),
        Backend::Ifcfg => of_ifcfg(nics, observed, ifcfg::SCRIPTS),
        Backend::Ifupdown => of_ifupdown(nics, observed),
        Backend::Dhcpcd | Backend::Dhclient => of_clients(backend, nics, observed),
    }
}

/// The backends that read a file.
pub(super) fn readers(path: &Path) -> Vec<Backend> {
    let within = |directory: &str| path.starts_with(directory);
    if within("/run/netplan") {
        vec![Backend::Netplan]
    } else if within(networkd::DIRECTORY) {
        vec![Backend::Networkd]
    } else if within(networkmanager::VOLATILE) || within(networkmanager::PERSISTENT) {
        vec![Backend::NetworkManager]
    } else {
        Vec::new()
    }
}

/// What makes a backend read its files again. Never a restart, and nothing where it is not installed.
pub(super) fn reload(backend: Backend, facts: &Facts) -> Vec<Invocation> {
    let networkctl = || Invocation::new("networkctl", ["reload"]).within(RELOAD_DEADLINE);
    let is_active = |unit| facts.active.contains(unit);
    match backend {
        Backend::Netplan | Backend::Networkd if is_active("systemd-networkd.service") => {
            vec![networkctl()]
        }
        Backend::NetworkManager if is_active("NetworkManager.service") => {
            let words = ["connection", "reload"];
            vec![Invocation::new("nmcli", words).within(RELOAD_DEADLINE)]
        }
        _ => Vec::new(),
    }
}

/// Whether Debian 12's netplan has lost its default: it manages the primary interface, by a file that ends with this boot.
pub(super) fn lacks_debian_default(nics: &[Nic], observed: &Observed) -> bool {
    let distribution = &observed.facts.distribution;
    (distribution.id.as_str(), distribution.version.as_str()) == ("debian", "12")
        && may_lack_netplan_files(nics, observed)
}

/// The same, as far as can be told without asking programs.
pub(in crate::network::backends) fn may_lack_netplan_files(
    nics: &[Nic],
    observed: &Observed,
) -> bool {
    let primary = nics.iter().find(|nic| nic.is_primary());
    let file = primary.and_then(|nic| networkd_file(nic, observed));
    !observed.has_netplan_files
        && file.is_some_and(|file| file.to_string_lossy().starts_with(netplan::GENERATED))
}

fn networkd_file<'a>(nic: &Nic, observed: &'a Observed) -> Option<&'a Path> {
    observed.networkd.get(&nic.index)?.file.as_deref()
}

fn of_networkd(nics: &[Nic], observed: &Observed) -> Way {
    // A file in /etc is an administrator's; what is in /usr/lib is a default of the distribution.
    let is_foreign = |nic: &Nic| {
        networkd_file(nic, observed).is_some_and(|file| {
            let is_ours = observed.is_ours(file) || file == networkd::path(&nic.name);
            !is_ours && !file.starts_with("/usr") && !file.starts_with("/lib")
        })
    };
    let mut way = Way {
        links: vlan_links(nics, observed),
        ..Way::default()
    };
    for nic in nics {
        let mut nic = nic.clone();
        nic.managed &= !is_foreign(&nic);
        way.files.extend(networkd::files(&nic));
        if nic.managed {
            let path = networkd::path(&nic.name);
            way.ups.push(Up {
                is_up: networkd_file(&nic, observed) == Some(path.as_path()),
                interface: nic.name,
                file: Some(path),
                by_reload: true,
                by_service: true,
                commands: Vec::new(),
            });
        }
    }
    way
}

fn of_netplan(nics: &[Nic], observed: &Observed) -> Way {
    let distribution = &observed.facts.distribution;
    let ours = observed.files.get(Path::new(netplan::PATH));
    let keys = ours.map_or_else(Vec::new, |ours| netplan::keys(ours));
    // What netplan has of an administrator wins, and what an administrator has for networkd; Debian's default for all
    // interfaces does not.
    let is_foreign = |nic: &Nic| {
        networkd_file(nic, observed).is_some_and(|file| {
            let default = format!("{}all-", netplan::GENERATED);
            // Somebody may have removed our file; on Debian nobody else has such a key.
            let own = netplan::key(&nic.name, distribution);
            let is_ours = keys.iter().any(|key| file == netplan::generated(key))
                || own != nic.name && file == netplan::generated(&own);
            let is_default = file.to_string_lossy().starts_with(&default)
                || file.starts_with("/usr")
                || file.starts_with("/lib");
            !is_ours && !is_default
        })
    };
    let managed: Vec<&Nic> = nics
        .iter()
        .filter(|nic| nic.managed && !is_foreign(nic))
        .collect();
    let ups = managed.iter().map(|nic| {
        let key = netplan::key(&nic.name, distribution);
        Up {
            interface: nic.name.clone(),
            is_up: networkd_file(nic, observed) == Some(netplan::generated(&key).as_path()),
            file: None,
            by_reload: true,
            by_service: true,
            commands: Vec::new(),
        }
    });
    let ups = ups.collect();
    let mut files = netplan::files(&managed, distribution);
    for nic in nics {
        // VLANs are networkd's own: netplan makes one only on a parent that it has a key for.
        let vlans_only = Nic {
            managed: false,
            ..nic.clone()
        };
        files.extend(networkd::files(&vlans_only));
    }
    Way {
        files,
        links: vlan_links(nics, observed),
        ups,
        releases: Vec::new(),
    }
}

fn of_networkmanager(nics: &[Nic], observed: &Observed, problems: &mut Vec<Problem>) -> Way {
    let version = observed.facts.networkmanager_version;
    let directory = match version {
        Some(version) if version < NETWORKMANAGER_WITH_RUN => networkmanager::PERSISTENT,
        _ => networkmanager::VOLATILE,
    };
    let mut way = Way::default();
    for nic in nics {
        let mut nic = nic.clone();
        let device = observed.networkmanager.get(&nic.index);
        let active = device.and_then(|device| device.profile.as_ref());
        let ours = networkmanager::uuid(nic.mac, 0);
        let is_up = active == Some(&ours);
        // A profile in /etc is an administrator's; one in /run was made up by NetworkManager.
        let is_foreign = active.is_some_and(|uuid| {
            !is_up
                && observed
                    .profiles
                    .get(uuid)
                    .is_some_and(|file| file.starts_with("/etc"))
        });
        if nic.managed && device.is_some_and(|device| device.unmanaged) {
            problems.push(Problem::Unmanaged(nic.name.clone()));
            nic.managed = false;
        }
        nic.managed &= !is_foreign;
        let files = networkmanager::files(&nic, directory);
        if nic.managed {
            way.ups.push(Up {
                interface: nic.name.clone(),
                is_up,
                file: files.first().map(|file| file.path.clone()),
                by_reload: false,
                by_service: true,
                commands: vec![connect(&networkmanager::id(&nic.name))],
            });
        }
        way.files.extend(files);
    }
    way
}

/// Activates a profile, waiting less long than we do.
fn connect(id: &str) -> Invocation {
    let words = ["--wait", "45", "connection", "up", "id", id];
    Invocation::new("nmcli", words).within(UP_DEADLINE)
}

fn of_ifcfg(nics: &[Nic], observed: &Observed, directory: &str) -> Way {
    let mut way = Way::default();
    for nic in nics {
        let files = if directory == ifcfg::WICKED {
            ifcfg::wicked(nic)
        } else {
            ifcfg::scripts(nic)
        };
        let family = if nic.ipv4 { Family::V4 } else { Family::V6 };
        let names = nic.managed.then_some((&nic.name, Some(nic.index)));
        let vlans = nic.vlans.iter().map(|vlan| {
            let link = observed.links.iter().find(|link| link.name == vlan.name);
            (&vlan.name, link.map(|link| link.index))
        });
        for (name, index) in names.into_iter().chain(vlans) {
            let command = if directory == ifcfg::WICKED {
                Invocation::new("wicked", ["ifreload", "--timeout", "45", name])
            } else {
                Invocation::new("ifup", [name])
            };
            way.ups.push(Up {
                interface: name.clone(),
                is_up: index.is_some_and(|index| observed.has_address(index, family)),
                file: Some(ifcfg::path(directory, name)),
                by_reload: false,
                by_service: false,
                commands: vec![command.within(UP_DEADLINE)],
            });
        }
        way.files.extend(files);
    }
    way
}

fn of_ifupdown(nics: &[Nic], observed: &Observed) -> Way {
    let leases: Vec<Lease<'_>> = nics
        .iter()
        .filter(|nic| !observed.in_interfaces_file.contains(&nic.name))
        .flat_map(|nic| clients::leases(nic, observed))
        .collect();
    let mut way = Way {
        files: clients::interfaces_file(&leases).into_iter().collect(),
        links: vlan_links(nics, observed),
        releases: releases(nics, observed),
        ups: Vec::new(),
    };
    let v6 = ipv6_client(observed);
    for lease in &leases {
        let command = match (lease.family, v6) {
            (Family::V4, _) => Some(clients::ifup(lease.interface)),
            (Family::V6, Some(backend)) => Some(start(backend, lease)),
            (Family::V6, None) => None,
        };
        way.ups
            .extend(command.map(|command| up_of(lease, command, observed)));
    }
    way
}

/// What asks for IPv6 where ifupdown does the rest.
fn ipv6_client(observed: &Observed) -> Option<Backend> {
    let programs = &observed.facts.programs;
    [("dhclient", Backend::Dhclient), ("dhcpcd", Backend::Dhcpcd)]
        .into_iter()
        .find_map(|(program, backend)| programs.contains(program).then_some(backend))
}

fn of_clients(backend: Backend, nics: &[Nic], observed: &Observed) -> Way {
    let mut way = Way {
        links: vlan_links(nics, observed),
        releases: releases(nics, observed),
        ..Way::default()
    };
    for nic in nics {
        for lease in clients::leases(nic, observed) {
            let command = start(backend, &lease);
            way.ups.push(up_of(&lease, command, observed));
        }
    }
    way
}

fn start(backend: Backend, lease: &Lease<'_>) -> Invocation {
    match backend {
        Backend::Dhcpcd => clients::dhcpcd(lease.interface, &[lease.family], lease.metric),
        _ => clients::dhclient(lease),
    }
}

fn up_of(lease: &Lease<'_>, command: Invocation, observed: &Observed) -> Up {
    Up {
        interface: format!("{} {}", lease.interface, lease.family.word()),
        is_up: clients::is_served(lease, observed),
        file: None,
        by_reload: false,
        by_service: false,
        commands: vec![command],
    }
}

/// The clients for IPv6 that we started on interfaces where metadata has it no more.
fn releases(nics: &[Nic], observed: &Observed) -> Vec<Step> {
    let mut steps = Vec::new();
    for nic in nics.iter().filter(|nic| !nic.ipv6) {
        for client in &observed.clients {
            if client.is_ours() && client.serves(&nic.name, Family::V6) {
                steps.push(Step::Run {
                    invocation: clients::release(client, &nic.name),
                    about: vec![format!("{} ipv6", nic.name)],
                    then: None,
                });
            }
        }
    }
    steps
}

/// Makes the links of VLANs that are missing, and has those of ours go that are not wanted: by their names, `gcp.` and so on.
fn vlan_links(nics: &[Nic], observed: &Observed) -> Vec<Step> {
    let mut steps = Vec::new();
    let wanted = || nics.iter().flat_map(|nic| &nic.vlans);
    for link in &observed.links {
        let ours = link.name.starts_with("gcp.") && link.kind.as_deref() == Some("vlan");
        if ours && !wanted().any(|vlan| vlan.name == link.name) {
            steps.push(Step::DeleteLink {
                index: link.index,
                name: link.name.clone(),
            });
        }
    }
    for nic in nics {
        for vlan in &nic.vlans {
            if !observed.links.iter().any(|link| link.name == vlan.name) {
                steps.push(Step::AddVlan {
                    parent: nic.index,
                    name: vlan.name.clone(),
                    id: vlan.id,
                    mac: vlan.mac,
                    mtu: vlan.mtu,
                });
            }
        }
    }
    steps
}
