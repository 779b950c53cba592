//! Which backend a machine has.

use super::super::Backend;
use super::netplan;
use crate::network::backends::observed::{Facts, Family, Observed};
use crate::system::netlink::Link;

/// A backend, and what speaks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The backend.
    pub backend: Backend,
    /// Why, for the log.
    pub because: String,
}

/// The first networkd that can be asked to read its files again (`networkctl reload`).
const NETWORKD_THAT_RELOADS: u32 = 244;

/// The states of an interface that networkd has a file for (networkctl(1)). It may go on configuring one for a long time, as
/// long as no router advertises itself.
const MANAGED_STATES: [&str; 2] = ["configured", "configuring"];

/// What sets interfaces up here: whatever manages the primary one; where nobody can be seen to, whatever is active.
///
/// A backend that lacks what we need of it (an old networkd) is no backend.
#[must_use]
pub fn choose(observed: &Observed, primary: Option<&Link>) -> Option<Choice> {
    let facts = &observed.facts;
    let by_primary = primary.and_then(|primary| {
        manages(observed, primary).map(|backend| Choice {
            backend,
            because: format!("it manages {}", primary.name),
        })
    });
    by_primary.or_else(|| {
        let (backend, because) = present(facts)?;
        Some(Choice {
            backend,
            because: because.to_owned(),
        })
    })
}

/// The backend that manages the primary interface, by what the backends themselves say.
fn manages(observed: &Observed, primary: &Link) -> Option<Backend> {
    let facts = &observed.facts;
    let by_networkd = observed.networkd.get(&primary.index);
    let networkd = has_networkd(facts)
        && by_networkd.is_some_and(|link| MANAGED_STATES.contains(&link.state.as_str()));
    // Where netplan is installed, and networkd has files of its own, netplan has no part in it.
    let netplan = by_networkd
        .and_then(|link| link.file.as_ref())
        .is_some_and(|file| file.to_string_lossy().starts_with(netplan::GENERATED));
    let client = |program: &str| {
        let mut clients = observed.clients.iter();
        clients.any(|client| {
            client.program == program
                && !client.is_ours()
                && client.serves(&primary.name, Family::V4)
        })
    };
    let by_ifupdown = has_ifupdown(facts);
    [
        (Backend::Netplan, networkd && netplan && has_netplan(facts)),
        (
            Backend::NetworkManager,
            has_networkmanager(facts) && facts.connected.contains(&primary.name),
        ),
        (Backend::Networkd, networkd),
        (Backend::Wicked, has_wicked(facts) && facts.wicked_up),
        // The clients are ifupdown's, where it is what starts them at boot.
        (
            Backend::Ifupdown,
            by_ifupdown && (client("dhclient") || client("udhcpc")),
        ),
        (Backend::Dhcpcd, client("dhcpcd") && !by_ifupdown),
    ]
    .into_iter()
    .find_map(|(backend, manages)| manages.then_some(backend))
}

/// A backend that is there, where none says that the primary interface is its own.
fn present(facts: &Facts) -> Option<(Backend, &'static str)> {
    let is_there = |program| facts.programs.contains(program);
    let dhclient = is_there("dhclient");
    [
        (
            Backend::Ifcfg,
            facts.has_network_scripts
                && is_there("ifup")
                && facts.active.contains("network.service"),
            "network.service is active",
        ),
        (
            Backend::Ifupdown,
            has_ifupdown(facts) && (dhclient || is_there("dhcpcd") || is_there("udhcpc")),
            "networking.service is active",
        ),
        (
            Backend::NetworkManager,
            has_networkmanager(facts),
            "NetworkManager.service is active",
        ),
        (
            Backend::Networkd,
            has_networkd(facts),
            "systemd-networkd.service is active",
        ),
        (
            Backend::Wicked,
            has_wicked(facts),
            "wicked.service is active",
        ),
        (Backend::Dhclient, dhclient, "it is installed"),
        (Backend::Dhcpcd, is_there("dhcpcd"), "it is installed"),
    ]
    .into_iter()
    .find_map(|(backend, there, because)| there.then_some((backend, because)))
}

fn has_networkd(facts: &Facts) -> bool {
    facts.active.contains("systemd-networkd.service")
        && facts.programs.contains("networkctl")
        && facts
            .networkd_version
            .is_some_and(|version| version >= NETWORKD_THAT_RELOADS)
}

/// Ubuntu 18.04 has a netplan that does not do what the predecessors asked of it (spec/beyond.md 7.2).
fn has_netplan(facts: &Facts) -> bool {
    let distribution = &facts.distribution;
    facts.programs.contains("netplan")
        && (distribution.id.as_str(), distribution.version.as_str()) != ("ubuntu", "18.04")
}

fn has_networkmanager(facts: &Facts) -> bool {
    facts.active.contains("NetworkManager.service") && facts.programs.contains("nmcli")
}

fn has_wicked(facts: &Facts) -> bool {
    facts.active.contains("wicked.service") && facts.programs.contains("wicked")
}

fn has_ifupdown(facts: &Facts) -> bool {
    facts.has_interfaces_file
        && facts.programs.contains("ifup")
        && facts.active.contains("networking.service")
}
