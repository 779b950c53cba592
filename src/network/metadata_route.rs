//! The way to the metadata server, by the primary interface, whatever routes the other interfaces have. Pure.
//!
//! Only the primary NIC reaches the metadata server (spec/beyond.md 7.11, spec/core.md). What a DHCP client, a VPN or an
//! administrator puts on another interface may be preferred: then the agent, and everything else, loses metadata. So, where
//! metadata has several NICs, there is a route to the server alone, in table main, that goes where the default route of
//! the primary goes. Its metric lets a route of an administrator (metric 0) win. It is marked and recorded like other
//! routes of ours, and no route of anybody else is touched.

use std::net::IpAddr;

use ipnet::IpNet;
use thiserror::Error;

use super::change::{Action, Change, Interface, Reason};
use super::interfaces;
use super::observe::Observed;
use super::record::{Mark, mark};
use super::routes::{METADATA_SERVERS, Presence, is_metadata_server};
use crate::config::Settings;
use crate::metadata::document::NetworkInterface;
use crate::system::netlink::{Link, MacAddress, Route, RouteKind};

/// The rank of our routes: before whatever a network service makes, and behind what has no metric.
const PRIORITY: u32 = 1;

/// Why there is no route of ours to the metadata server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unneeded {
    /// The configuration says so.
    #[error("NetworkInterfaces.setup is false")]
    SwitchedOff,
    /// Nothing competes with the primary interface.
    #[error("metadata has one network interface")]
    OneInterface,
    /// The server is asked for over IPv6 only where metadata has `dhcpv6Refresh`.
    #[error("network interface 0 has no dhcpv6Refresh")]
    WithoutIpv6,
    /// The primary interface is not there, or not to be told from its MAC address.
    #[error("network interface 0 is not there")]
    Absent,
    /// The primary interface is down.
    #[error("network interface 0 is down")]
    Down,
    /// The machine is the metadata server.
    #[error("the machine has this address itself")]
    Itself,
    /// There is no way out that could be followed.
    #[error("network interface 0 has no default route of this family")]
    NoDefaultRoute,
}

/// The addresses of the metadata server, each with the route that there should be, or why not.
pub fn wanted(
    nics: &[NetworkInterface],
    settings: &Settings,
    observed: &Observed,
) -> impl Iterator<Item = (IpAddr, Result<Route, Unneeded>)> {
    METADATA_SERVERS
        .into_iter()
        .map(|server| (server, route(server, nics, settings, observed)))
}

/// How it stands with a route that is wanted.
#[must_use]
pub fn presence(wanted: &Route, observed: &Observed) -> Presence {
    let mut presence = Presence::Missing;
    for route in observed.main.iter().filter(|route| is_rival(route, wanted)) {
        if route.priority < PRIORITY || !is_same(wanted, route) {
            return Presence::Foreign(route.protocol);
        }
        presence = Presence::Present;
    }
    presence
}

/// Whether a route counts before ours, or in its place.
fn is_rival(route: &Route, ours: &Route) -> bool {
    route.destination == ours.destination
        && route.priority <= PRIORITY
        && route.type_of_service == 0
}

/// Our routes to the metadata server as they are.
pub(super) fn ours(observed: &Observed, protocol: u8) -> impl Iterator<Item = (Mark, &Route)> {
    let has_our_shape = move |route: &&Route| {
        is_metadata_server(route.destination)
            && route.kind == RouteKind::Unicast
            && route.type_of_service == 0
            && route.priority == PRIORITY
            && !route.shared
            && (route.protocol == protocol || observed.record.has(route))
    };
    let routes = observed.main.iter().filter(has_our_shape);
    routes.filter_map(|route| Some((mark(route)?, route)))
}

/// What to change, a removal before the addition that takes its place. `nics` are those of metadata.
///
/// Nothing is changed when the MAC address of the primary NIC cannot be read.
pub(super) fn changes(
    nics: &[NetworkInterface],
    settings: &Settings,
    observed: &Observed,
) -> Vec<Change> {
    let is_unreadable = |nic: &NetworkInterface| nic.mac.parse::<MacAddress>().is_err();
    if settings.network_interfaces.setup && nics.len() > 1 && is_unreadable(&nics[0]) {
        return Vec::new();
    }
    let mut missing: Vec<Route> = wanted(nics, settings, observed)
        .filter_map(|(_, route)| route.ok())
        .collect();
    let mut changes = Vec::new();
    let change = |action, route: Route| Change {
        action,
        interface: Interface::of(route.interface.unwrap_or_default(), &observed.links),
        route,
    };
    for (_, route) in ours(observed, settings.ip_forwarding.ethernet_proto_id) {
        if let Some(at) = missing.iter().position(|wanted| is_same(wanted, route)) {
            missing.swap_remove(at);
        } else {
            changes.push(change(Action::Remove(Reason::MetadataServer), *route));
        }
    }
    // Where somebody else has a route of this rank, that one stays.
    let goes = |route: &Route| changes.iter().any(|change| change.route == *route);
    missing.retain(|wanted| {
        let mut rivals = observed
            .main
            .iter()
            .filter(|route| is_rival(route, wanted) && route.priority == PRIORITY);
        rivals.all(goes)
    });
    changes.extend(
        missing
            .into_iter()
            .map(|route| change(Action::ReachMetadataServer, route)),
    );
    changes
}

fn is_same(one: &Route, other: &Route) -> bool {
    let essence = |route: &Route| {
        (
            route.destination,
            route.interface,
            route.via,
            route.protocol,
        )
    };
    essence(one) == essence(other)
}

/// The route that is wanted to an address of the metadata server, or why there is none.
fn route(
    server: IpAddr,
    nics: &[NetworkInterface],
    settings: &Settings,
    observed: &Observed,
) -> Result<Route, Unneeded> {
    if !settings.network_interfaces.setup {
        return Err(Unneeded::SwitchedOff);
    }
    let [primary, _, ..] = nics else {
        return Err(Unneeded::OneInterface);
    };
    if server.is_ipv6() && primary.dhcpv6_refresh.is_none() {
        return Err(Unneeded::WithoutIpv6);
    }
    let mac = primary.mac.parse().map_err(|_| Unneeded::Absent)?;
    let link = interfaces::find(&observed.links, mac).ok_or(Unneeded::Absent)?;
    if !link.up {
        return Err(Unneeded::Down);
    }
    let destination = IpNet::from(server);
    let is_own =
        |route: &Route| route.kind == RouteKind::Local && route.destination.contains(&server);
    if observed.routes.iter().any(is_own) {
        return Err(Unneeded::Itself);
    }
    let default = default_route(server, link, observed).ok_or(Unneeded::NoDefaultRoute)?;
    let protocol = settings.ip_forwarding.ethernet_proto_id;
    Ok(Route {
        priority: PRIORITY,
        ..Route::unicast(destination, link.index, default.via, protocol)
    })
}

/// The default route of the primary interface, of the server's family. One way of several (ECMP) is as good, if it goes by
/// that interface.
fn default_route<'a>(server: IpAddr, primary: &Link, observed: &'a Observed) -> Option<&'a Route> {
    let is_default = |route: &&Route| {
        route.destination.prefix_len() == 0
            && route.destination.addr().is_ipv4() == server.is_ipv4()
            && route.interface == Some(primary.index)
            && route.kind == RouteKind::Unicast
            && route.type_of_service == 0
            && route.gateway == route.via.is_some()
    };
    let defaults = observed.main.iter().filter(is_default);
    defaults.min_by_key(|route| route.priority)
}

#[cfg(test)]
mod tests;
