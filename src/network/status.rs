//! What the network is like, interface by interface and route by route, for people and for programs. Pure.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;

use super::interfaces;
use super::metadata_route::{self, Unneeded};
use super::observe::Observed;
use super::plan::{Plan, is_enabled};
use super::record::{Mark, mark};
use super::routes::{Origin, Presence, Taken, wanted};
use crate::config::Settings;
use crate::metadata::document::NetworkInterface;
use crate::system::netlink::{Address, Link, MacAddress, Route};
use crate::system::order::Map;

/// One route that metadata asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The address or range.
    pub prefix: IpNet,
    /// Where metadata has it.
    pub origin: Origin,
    /// Whether it is there.
    pub presence: Presence,
    /// Since when it is there, or missing; `None` when no pass has seen it so.
    pub since: Option<Timestamp>,
}

/// One NIC of metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Its position in metadata.
    pub position: usize,
    /// Its MAC address as metadata has it.
    pub mac: String,
    /// The name of its interface; `None` when there is none.
    pub interface: Option<String>,
    /// Whether the interface is up.
    pub up: bool,
    /// The addresses of the interface.
    pub addresses: Vec<IpNet>,
    /// The routes that it should have.
    pub routes: Vec<Wanted>,
}

/// One address of the metadata server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The address.
    pub address: IpAddr,
    /// Our route to it, or why there shall be none.
    pub route: Result<Way, Unneeded>,
}

/// A route to the metadata server that there shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The name of the primary interface.
    pub interface: String,
    /// The gateway, where there is one.
    pub via: Option<IpAddr>,
    /// Whether it is there.
    pub presence: Presence,
    /// Since when it is there; `None` when no pass has seen it.
    pub since: Option<Timestamp>,
}

/// How it stands with the way to the metadata server.
#[must_use]
pub fn servers(nics: &[NetworkInterface], settings: &Settings, observed: &Observed) -> Vec<Server> {
    let way = |route: Route| {
        let link = |link: &&Link| Some(link.index) == route.interface;
        let link = observed.links.iter().find(link);
        let presence = metadata_route::presence(&route, observed);
        let here = mark(&route).filter(|_| presence == Presence::Present);
        Way {
            interface: link.map_or_else(String::new, |link| link.name.clone()),
            via: route.via,
            presence,
            since: here.and_then(|mark| observed.record.present.get(&mark).copied()),
        }
    };
    metadata_route::wanted(nics, settings, observed)
        .map(|(address, route)| Server {
            address,
            route: route.map(way),
        })
        .collect()
}

/// Puts metadata, the machine and the plan side by side.
#[must_use]
pub fn status(
    nics: &[NetworkInterface],
    settings: &Settings,
    observed: &Observed,
    addresses: &[Address],
    plan: &Plan,
) -> Vec<Nic> {
    let held: Map<IpNet, u8> = plan
        .held
        .iter()
        .map(|held| (held.prefix, held.protocol))
        .collect();
    let taken = Taken::new(nics);
    let mut listed = Vec::with_capacity(nics.len());
    for (position, nic) in nics.iter().enumerate() {
        let mac: Option<MacAddress> = nic.mac.parse().ok();
        let link = mac.and_then(|mac| interfaces::find(&observed.links, mac));
        let mut entry = Nic {
            position,
            mac: nic.mac.clone(),
            interface: None,
            up: false,
            addresses: Vec::new(),
            routes: Vec::new(),
        };
        if let Some(link) = link {
            let here = |address: &&Address| address.interface == link.index;
            entry.interface = Some(link.name.clone());
            entry.up = link.up;
            entry.addresses = addresses
                .iter()
                .filter(here)
                .map(|address| address.address)
                .collect();
            let wanted = plan.wanted.get(&link.index).into_iter().flatten();
            entry.routes = wanted
                .filter(|(_, origin)| origin.nic == position)
                .map(|(prefix, origin)| {
                    wanted_route(*prefix, *origin, link.index, &held, observed, plan)
                })
                .collect();
        } else if is_enabled(settings) {
            let (wanted, _) = wanted(position, nic, &taken, &settings.ip_forwarding);
            let missing = |(prefix, origin)| Wanted {
                prefix,
                origin,
                presence: Presence::Missing,
                since: None,
            };
            entry.routes = wanted.into_iter().map(missing).collect();
        }
        listed.push(entry);
    }
    listed
}

fn wanted_route(
    prefix: IpNet,
    origin: Origin,
    interface: u32,
    held: &Map<IpNet, u8>,
    observed: &Observed,
    plan: &Plan,
) -> Wanted {
    let mark = Mark {
        interface,
        prefix,
        protocol: plan.protocol,
    };
    let (presence, since) = if plan.was_ours(&mark) {
        (Presence::Present, observed.record.present.get(&mark))
    } else {
        let presence = match held.get(&prefix) {
            Some(protocol) => Presence::Foreign(*protocol),
            None => Presence::Missing,
        };
        (presence, observed.record.missing.get(&(interface, prefix)))
    };
    Wanted {
        prefix,
        origin,
        presence,
        since: since.copied(),
    }
}
