//! What to change so that the machine answers to the addresses of metadata. Pure.

use std::fmt;

use ipnet::IpNet;
use jiff::Timestamp;

use super::change::{Action, Change, Interface, Reason};
use super::interfaces;
use super::metadata_route;
use super::observe::Observed;
use super::record::{Mark, Record, mark};
use super::routes::{Origin, Problem, Taken, shortened, wanted};
use crate::config::Settings;
use crate::metadata::Document;
use crate::metadata::attributes::effective_boolean;
use crate::metadata::document::{NetworkInterface, Presence};
use crate::system::netlink::{LOCAL_TABLE, Link, MacAddress, Route, RouteKind, RouteScope};
use crate::system::order::{InOrder, Map};

/// The highest protocol id that the kernel and administrators use themselves (`RTPROT_STATIC` of linux/rtnetlink.h).
/// Routes marked with such an id are never ours, whatever the configuration says.
const HIGHEST_RESERVED_PROTOCOL: u8 = 4;

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
    /// Our routes before the changes, in order.
    pub ours: Vec<Mark>,
    /// What metadata asks for, by the index of the interface.
    pub wanted: Map<u32, Map<IpNet, Origin>>,
    /// The protocol id that our routes shall have.
    pub protocol: u8,
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
    let enabled = is_enabled(settings);
    let desired = match (enabled, &document.instance.network_interfaces) {
        (false, _) => Desired::default(),
        (true, Presence::Present(nics)) => Desired::new(nics, settings, &observed.links),
        (true, Presence::Absent) => return Plan::default(),
        (true, Presence::Malformed(what)) => {
            return Plan::problem(Problem::Interfaces(what.clone()));
        }
    };
    let routes = Routes::new(&observed.routes, protocol, &observed.record);
    let mut plan = Plan {
        changes: removals(&desired, &routes, &observed.links, enabled),
        ours: routes.ours.keys().copied().collect(),
        protocol,
        ..Plan::default()
    };
    plan.add_missing(&desired, &routes, &observed.links);
    plan.sort();
    let nics = document.instance.network_interfaces.present();
    if let Some(nics) = nics {
        plan.changes
            .extend(metadata_route::changes(nics, settings, observed));
    }
    let to_server = metadata_route::ours(observed, protocol);
    plan.ours.extend(to_server.map(|(mark, _)| mark));
    plan.ours.put_in_order();
    plan.ours.dedup();
    plan.problems.extend(desired.problems);
    plan.problems.put_in_order();
    plan.pending = desired.pending;
    plan.wanted = desired.addresses;
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

/// Whether forwarded addresses are wanted at all. Either of the two switches is enough (spec/core.md BUG 18).
pub(super) fn is_enabled(settings: &Settings) -> bool {
    settings.network_interfaces.ip_forwarding && settings.daemons.ip_forwarding_daemon
}

impl Plan {
    /// Whether a route was ours before the changes.
    #[must_use]
    pub fn was_ours(&self, mark: &Mark) -> bool {
        self.ours.binary_search(mark).is_ok()
    }

    /// Whether it is the comparison of a whole document with the machine, and not the answer to one that says nothing.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.protocol != 0
    }

    /// What is written down after the pass: what was ours before it and what was made of it. `before` is what was written
    /// down then.
    #[must_use]
    pub fn record(&self, before: &Record, done: &[Change], now: Timestamp) -> Record {
        // Whole seconds, as the file has them.
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let changed = |change: &Change| Some((mark(&change.route)?, change.adds()));
        let changed: Map<Mark, bool> = done.iter().filter_map(changed).collect();
        let stayed = self.ours.iter().filter(|mark| !changed.contains_key(*mark));
        let stayed = stayed.map(|mark| (*mark, before.present.get(mark).copied().unwrap_or(now)));
        let added = changed.iter().filter(|(_, adds)| **adds);
        let added = added.map(|(mark, _)| (*mark, now));
        let present: Map<Mark, Timestamp> = stayed.chain(added).collect();
        let mut missing = Map::new();
        for (interface, wanted) in &self.wanted {
            for prefix in wanted.keys() {
                let mark = Mark {
                    interface: *interface,
                    prefix: *prefix,
                    protocol: self.protocol,
                };
                if !present.contains_key(&mark) {
                    let key = (*interface, *prefix);
                    missing.insert(key, before.missing.get(&key).copied().unwrap_or(now));
                }
            }
        }
        Record { present, missing }
    }

    fn problem(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
            ..Self::default()
        }
    }

    /// Plans the routes that are wanted and not there.
    fn add_missing(&mut self, desired: &Desired, routes: &Routes<'_>, links: &[Link]) {
        let protocol = self.protocol;
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
                        interface: Interface::of(*index, links),
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
        self.held.put_in_order_by(|held| (held.origin, held.prefix));
    }

    /// Puts the changes into the order in which they are made.
    fn sort(&mut self) {
        let additions = self.changes.iter().filter(|change| change.adds());
        let mut added: Vec<IpNet> = additions.map(Change::prefix).collect();
        added.put_in_order();
        let is_added = |prefix: IpNet| added.binary_search(&prefix).is_ok();
        self.changes.put_in_order_by(|change| {
            let step = match change.action {
                Action::Remove(_) if is_added(change.prefix()) => 0,
                Action::Add(_) | Action::ReachMetadataServer => 1,
                Action::Remove(_) => 2,
            };
            (step, change.interface.index, change.prefix())
        });
    }
}

/// Plans to remove the routes of ours that are not wanted where they are.
fn removals(desired: &Desired, routes: &Routes<'_>, links: &[Link], enabled: bool) -> Vec<Change> {
    let mut changes = Vec::new();
    for (mark, route) in &routes.ours {
        let reason = match desired.addresses.get(&mark.interface) {
            _ if !enabled => Reason::SwitchedOff,
            Some(wanted) if wanted.contains_key(&mark.prefix) => {
                if mark.protocol == routes.protocol {
                    continue;
                }
                Reason::OldProtocol
            }
            Some(_) => Reason::NotInMetadata,
            // It may be the interface of the NIC whose MAC address could not be read.
            None if desired.unreadable => continue,
            None => Reason::InterfaceNotInMetadata,
        };
        changes.push(Change {
            action: Action::Remove(reason),
            interface: Interface::of(mark.interface, links),
            route: **route,
        });
    }
    changes
}

/// The routes of the local table, sorted out.
struct Routes<'a> {
    /// The protocol id that ours shall have.
    protocol: u8,
    /// Ours: those with that id, and those that we made under another one.
    ours: Map<Mark, &'a Route>,
    /// Addresses that the machine answers to because of somebody else, with that one's protocol id.
    held: Map<IpNet, u8>,
}

impl<'a> Routes<'a> {
    fn new(routes: &'a [Route], protocol: u8, record: &Record) -> Self {
        let (mut ours, mut held) = (Vec::new(), Vec::new());
        for route in routes {
            if (route.protocol == protocol || record.has(route))
                && has_our_shape(route)
                && let Some(mark) = mark(route)
            {
                ours.push((mark, route));
            } else if route.kind == RouteKind::Local && route.type_of_service == 0 {
                held.push((route.destination, route.protocol));
            }
        }
        Self {
            protocol,
            ours: ours.into_iter().collect(),
            held: held.into_iter().collect(),
        }
    }

    /// Whether our route is there under the right number.
    fn ours_at(&self, interface: u32, prefix: IpNet) -> bool {
        self.ours.contains_key(&Mark {
            interface,
            prefix,
            protocol: self.protocol,
        })
    }

    fn held(&self, prefix: IpNet) -> Option<u8> {
        self.held.get(&prefix).copied()
    }
}

/// Whether a route is as we make them: in the local table, to this machine, for every type of service.
pub(super) fn has_our_shape(route: &Route) -> bool {
    route.table == LOCAL_TABLE
        && route.kind == RouteKind::Local
        && route.type_of_service == 0
        && !route.gateway
        && !route.shared
        && (route.scope == RouteScope::Host || matches!(route.destination, IpNet::V6(_)))
}

/// What metadata asks for, on interfaces that are there.
#[derive(Default)]
struct Desired {
    /// The addresses by index of the interface. Interfaces of metadata without addresses are here too.
    addresses: Map<u32, Map<IpNet, Origin>>,
    /// Whether a MAC address could not be read.
    unreadable: bool,
    pending: Vec<Pending>,
    problems: Vec<Problem>,
}

impl Desired {
    fn new(nics: &[NetworkInterface], settings: &Settings, links: &[Link]) -> Self {
        let mut desired = Self::default();
        let taken = Taken::new(nics);
        for (position, nic) in nics.iter().enumerate() {
            let (wanted, mut problems) = wanted(position, nic, &taken, &settings.ip_forwarding);
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
            // Out of the map while the others are looked at: an address is the interface's that has it first.
            let mut here = desired.addresses.remove(&link.index).unwrap_or_default();
            for (prefix, origin) in wanted {
                let mut others = desired.addresses.values();
                match others.find_map(|there| there.get(&prefix)) {
                    Some(first) => desired.problems.push(Problem::Claimed {
                        prefix,
                        first: *first,
                        origin,
                    }),
                    None => {
                        here.get_or_insert_with(prefix, || origin);
                    }
                }
            }
            desired.addresses.insert(link.index, here);
        }
        desired
    }
}

#[cfg(test)]
mod tests;
