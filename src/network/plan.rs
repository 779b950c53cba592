//! What to change so that the machine answers to the addresses of metadata. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::IpNet;

use super::interfaces;
use super::observe::Observed;
use super::routes::{Origin, Problem, shortened, text, wanted};
use crate::config::Settings;
use crate::metadata::Document;
use crate::metadata::attributes::effective_boolean;
use crate::metadata::document::{NetworkInterface, Presence};
use crate::system::netlink::{LOCAL_TABLE, Link, MacAddress, Route, RouteKind, RouteScope};

/// The highest protocol id that the kernel and administrators use themselves (`RTPROT_STATIC` of linux/rtnetlink.h).
/// Routes marked with such an id are never ours, whatever the configuration says.
const HIGHEST_RESERVED_PROTOCOL: u8 = 4;

/// An interface in messages and changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interface {
    /// Its number.
    pub index: u32,
    /// Its name at the time of the plan.
    pub name: String,
}

/// Why a route of ours goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Metadata does not ask for the address on this interface, or no longer.
    NotInMetadata,
    /// Metadata does not have the interface.
    InterfaceNotInMetadata,
    /// Forwarded addresses are switched off in the configuration.
    SwitchedOff,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A route is added, because metadata has the address here.
    Add(Origin),
    /// A route of ours is removed.
    Remove(Reason),
}

/// One change of one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What is done and why.
    pub action: Action,
    /// The interface of the route.
    pub interface: Interface,
    /// The route.
    pub route: Route,
}

impl Change {
    /// The address or range that is answered to, or no longer.
    #[must_use]
    pub fn prefix(&self) -> IpNet {
        self.route.destination
    }

    /// Whether a route is added.
    #[must_use]
    pub fn adds(&self) -> bool {
        matches!(self.action, Action::Add(_))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prefix, interface) = (text(self.prefix()), &self.interface.name);
        match self.action {
            Action::Add(origin) => write!(formatter, "add {prefix} to {interface} ({origin})"),
            Action::Remove(reason) => {
                let reason = match reason {
                    Reason::NotInMetadata => "not in metadata",
                    Reason::InterfaceNotInMetadata => "the interface is not in metadata",
                    Reason::SwitchedOff => "switched off in the configuration",
                };
                write!(formatter, "remove {prefix} from {interface} ({reason})")
            }
        }
    }
}

/// A NIC of metadata that the machine does not have, or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pending {
    /// Its position in metadata.
    pub nic: usize,
    /// Its MAC address.
    pub mac: MacAddress,
}

impl fmt::Display for Pending {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nic, mac } = self;
        write!(
            formatter,
            "Network interface not found for MAC address: {mac} (instance/network-interfaces/{nic}): it is set up \
             as soon as it appears."
        )
    }
}

/// An address that the machine answers to already, through a route that is not ours: it is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The address or range.
    pub prefix: IpNet,
    /// Where metadata has it.
    pub origin: Origin,
    /// The protocol id of the route that is there; 2 is the kernel's, for an address of an interface.
    pub protocol: u8,
}

/// What to do, and what cannot be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which they are made.
    pub changes: Vec<Change>,
    /// Sorted; each names what it costs.
    pub problems: Vec<Problem>,
    /// In the order of metadata.
    pub pending: Vec<Pending>,
    /// By origin and address.
    pub held: Vec<Held>,
    /// The prefixes of our routes on each interface, by its index, before the changes.
    pub configured: BTreeMap<u32, BTreeSet<IpNet>>,
}

/// Compares metadata with the machine.
///
/// The changes are sorted by interface and address, additions before removals. Only where an address moves from one
/// interface to another its removal comes first, because the kernel holds a destination once.
///
/// Nothing changes when `networkInterfaces` is absent or malformed: half an answer is not "no addresses".
#[must_use]
pub fn plan(document: &Document, settings: &Settings, observed: &Observed) -> Plan {
    let protocol = settings.ip_forwarding.ethernet_proto_id;
    if !settings.daemons.network_daemon || is_switched_off(document, settings) {
        return Plan::default();
    }
    if protocol <= HIGHEST_RESERVED_PROTOCOL {
        return Plan::problem(Problem::Protocol(protocol));
    }
    // Either of the two switches is enough (spec/core.md BUG 18).
    let enabled =
        settings.network_interfaces.ip_forwarding && settings.daemons.ip_forwarding_daemon;
    let desired = match (enabled, &document.instance.network_interfaces) {
        (false, _) => Desired::default(),
        (true, Presence::Present(nics)) => Desired::new(nics, settings, &observed.links),
        (true, Presence::Absent) => return Plan::default(),
        (true, Presence::Malformed(what)) => {
            return Plan::problem(Problem::Interfaces(what.clone()));
        }
    };
    let routes = Routes::new(&observed.routes, protocol);
    let mut plan = Plan {
        changes: removals(&desired, &routes, &observed.links, enabled),
        configured: routes.configured(),
        ..Plan::default()
    };
    plan.add_missing(&desired, &routes, &observed.links, protocol);
    plan.sort();
    plan.problems.extend(desired.problems);
    plan.problems.sort();
    plan.pending = desired.pending;
    plan
}

/// Whether interfaces and addresses are left as they are: the Go agents' switch, in the configuration or else in metadata
/// (spec/beyond.md 2.2, `addressManager`).
#[must_use]
pub(super) fn is_switched_off(document: &Document, settings: &Settings) -> bool {
    settings
        .address_manager
        .disable
        .or_else(|| effective_boolean(document, "disable-address-manager"))
        .unwrap_or(false)
}

impl Plan {
    fn problem(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
            ..Self::default()
        }
    }

    /// Plans the routes that are wanted and not there.
    fn add_missing(
        &mut self,
        desired: &Desired,
        routes: &Routes<'_>,
        links: &[Link],
        protocol: u8,
    ) {
        for (index, wanted) in &desired.addresses {
            let Some(link) = links.iter().find(|link| link.index == *index) else {
                continue;
            };
            let mut waiting = 0;
            for (prefix, origin) in wanted {
                let (prefix, origin) = (*prefix, *origin);
                if routes.ours_at(*index, prefix) {
                    continue;
                }
                if let Some(protocol) = routes.held(prefix) {
                    self.held.push(Held {
                        prefix,
                        origin,
                        protocol,
                    });
                } else if !link.up && matches!(prefix, IpNet::V6(_)) {
                    waiting += 1;
                } else {
                    self.changes.push(Change {
                        action: Action::Add(origin),
                        interface: interface(*index, links),
                        route: Route::local(prefix, *index, protocol),
                    });
                }
            }
            if waiting > 0 {
                self.problems.push(Problem::Down {
                    interface: link.name.clone(),
                    count: waiting,
                });
            }
        }
        self.held.sort_by_key(|held| (held.origin, held.prefix));
    }

    /// Puts the changes into the order in which they are made.
    fn sort(&mut self) {
        let added: BTreeSet<IpNet> = self
            .changes
            .iter()
            .filter(|change| change.adds())
            .map(Change::prefix)
            .collect();
        self.changes.sort_by_key(|change| {
            let step = match change.action {
                Action::Remove(_) if added.contains(&change.prefix()) => 0,
                Action::Add(_) => 1,
                Action::Remove(_) => 2,
            };
            (step, change.interface.index, change.prefix())
        });
    }
}

/// Plans to remove the routes of ours that are not wanted where they are.
fn removals(desired: &Desired, routes: &Routes<'_>, links: &[Link], enabled: bool) -> Vec<Change> {
    let mut changes = Vec::new();
    for (index, route) in &routes.ours {
        let reason = match desired.addresses.get(index) {
            _ if !enabled => Reason::SwitchedOff,
            Some(wanted) if wanted.contains_key(&route.destination) => continue,
            Some(_) => Reason::NotInMetadata,
            // It may be the interface of the NIC whose MAC address could not be read.
            None if desired.unreadable => continue,
            None => Reason::InterfaceNotInMetadata,
        };
        changes.push(Change {
            action: Action::Remove(reason),
            interface: interface(*index, links),
            route: **route,
        });
    }
    changes
}

fn interface(index: u32, links: &[Link]) -> Interface {
    let name = links
        .iter()
        .find(|link| link.index == index)
        .map_or_else(|| format!("interface {index}"), |link| link.name.clone());
    Interface { index, name }
}

/// The routes of the local table, sorted out.
struct Routes<'a> {
    /// Ours, each with the index of its interface.
    ours: Vec<(u32, &'a Route)>,
    /// Where ours are.
    present: BTreeSet<(u32, IpNet)>,
    /// Addresses that the machine answers to because of somebody else, with that one's protocol id.
    held: BTreeMap<IpNet, u8>,
}

impl<'a> Routes<'a> {
    fn new(routes: &'a [Route], protocol: u8) -> Self {
        let mut sorted = Self {
            ours: Vec::new(),
            present: BTreeSet::new(),
            held: BTreeMap::new(),
        };
        for route in routes {
            if let Some(index) = our_interface(route, protocol) {
                sorted.ours.push((index, route));
                sorted.present.insert((index, route.destination));
            } else if route.kind == RouteKind::Local && route.type_of_service == 0 {
                sorted.held.insert(route.destination, route.protocol);
            }
        }
        sorted
    }

    fn ours_at(&self, index: u32, prefix: IpNet) -> bool {
        self.present.contains(&(index, prefix))
    }

    fn held(&self, prefix: IpNet) -> Option<u8> {
        self.held.get(&prefix).copied()
    }

    fn configured(&self) -> BTreeMap<u32, BTreeSet<IpNet>> {
        let mut configured: BTreeMap<u32, BTreeSet<IpNet>> = BTreeMap::new();
        for (index, prefix) in &self.present {
            configured.entry(*index).or_default().insert(*prefix);
        }
        configured
    }
}

/// The interface of a route that is ours: our mark, in the local table, and of the shape that we give it.
pub(super) fn our_interface(route: &Route, protocol: u8) -> Option<u32> {
    let shape = route.table == LOCAL_TABLE
        && route.kind == RouteKind::Local
        && route.type_of_service == 0
        && !route.gateway
        && (route.scope == RouteScope::Host || matches!(route.destination, IpNet::V6(_)));
    route
        .interface
        .filter(|_| shape && route.protocol == protocol)
}

/// What metadata asks for, on interfaces that are there.
#[derive(Default)]
struct Desired {
    /// The addresses by index of the interface. Interfaces of metadata without addresses are here too.
    addresses: BTreeMap<u32, BTreeMap<IpNet, Origin>>,
    /// Whether a MAC address could not be read.
    unreadable: bool,
    pending: Vec<Pending>,
    problems: Vec<Problem>,
}

impl Desired {
    fn new(nics: &[NetworkInterface], settings: &Settings, links: &[Link]) -> Self {
        let mut desired = Self::default();
        let mut claims: BTreeMap<IpNet, (u32, Origin)> = BTreeMap::new();
        for (position, nic) in nics.iter().enumerate() {
            let (wanted, mut problems) = wanted(position, nic, &settings.ip_forwarding);
            desired.problems.append(&mut problems);
            let Ok(mac) = nic.mac.parse() else {
                desired.unreadable = true;
                desired.problems.push(Problem::Mac {
                    nic: position,
                    mac: shortened(&nic.mac),
                });
                continue;
            };
            let Some(link) = interfaces::find(links, mac) else {
                desired.pending.push(Pending { nic: position, mac });
                continue;
            };
            let here = desired.addresses.entry(link.index).or_default();
            for (prefix, origin) in wanted {
                let (index, first) = *claims.entry(prefix).or_insert((link.index, origin));
                if index == link.index {
                    here.entry(prefix).or_insert(origin);
                } else {
                    desired.problems.push(Problem::Claimed {
                        prefix,
                        first,
                        origin,
                    });
                }
            }
        }
        desired
    }
}

#[cfg(test)]
mod tests;
