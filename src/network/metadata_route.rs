//! The way to the metadata server, by the primary interface, whatever routes the other interfaces have. Pure.
//!
//! Only the primary NIC reaches the metadata server (spec/beyond.md 7.11, spec/core.md). What a DHCP client, a VPN or an
//! administrator puts on another interface may be preferred: then the agent, and everything else, loses metadata. So, where
//! metadata has several NICs, there is a route to the server alone, in table main, that goes where the default route of
//! the primary goes. Its metric lets a route of an administrator (metric 0) win. It is marked and recorded like other
//! routes of ours, and no route of anybody else is touched.

use std::net::IpAddr;

use ipnet::IpNet;

use super::interfaces;
use super::observe::Observed;
use super::plan::{Action, Change, Reason, interface};
use super::record::{Mark, mark};
use super::routes::{METADATA_SERVERS, is_metadata_server};
use crate::config::Settings;
use crate::metadata::document::NetworkInterface;
use crate::system::netlink::{Link, MAIN_TABLE, Route, RouteKind};

/// The rank of our routes: before whatever a network service makes, and behind what has no metric.
const PRIORITY: u32 = 1;

/// Whether a route of table main has to do with the way to the metadata server.
#[must_use]
pub fn concerns(route: &Route) -> bool {
    let destination = route.destination;
    route.table == MAIN_TABLE && (destination.prefix_len() == 0 || is_metadata_server(destination))
}

/// Our routes to the metadata server as they are.
pub(super) fn ours(observed: &Observed, protocol: u8) -> impl Iterator<Item = (Mark, &Route)> {
    let has_our_shape = move |route: &&Route| {
        is_metadata_server(route.destination)
            && route.kind == RouteKind::Unicast
            && route.type_of_service == 0
            && route.priority == PRIORITY
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
    let protocol = settings.ip_forwarding.ethernet_proto_id;
    let mut wanted = Vec::new();
    if settings.network_interfaces.setup
        && let [primary, _, ..] = nics
    {
        let Ok(mac) = primary.mac.parse() else {
            return Vec::new();
        };
        if let Some(link) = interfaces::find(&observed.links, mac).filter(|link| link.up) {
            let servers = METADATA_SERVERS.into_iter();
            wanted = servers
                .filter(|server| server.is_ipv4() || primary.dhcpv6_refresh.is_some())
                .filter_map(|server| route(server, link, protocol, observed))
                .collect();
        }
    }
    let mut changes = Vec::new();
    let change = |action, route: Route| Change {
        action,
        interface: interface(route.interface.unwrap_or_default(), &observed.links),
        route,
    };
    for (_, route) in ours(observed, protocol) {
        if let Some(at) = wanted.iter().position(|wanted| is_same(wanted, route)) {
            wanted.swap_remove(at);
        } else {
            changes.push(change(Action::Remove(Reason::MetadataServer), *route));
        }
    }
    // Where somebody else has a route of this rank, that one stays.
    let goes = |route: &Route| changes.iter().any(|change| change.route == *route);
    wanted.retain(|wanted| {
        let mut rivals = observed.main.iter().filter(|route| {
            route.destination == wanted.destination
                && route.priority == PRIORITY
                && route.type_of_service == 0
        });
        rivals.all(goes)
    });
    changes.extend(
        wanted
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

/// The route that is wanted; `None` where the primary interface has no default route of this family, or the machine is
/// the metadata server itself.
fn route(server: IpAddr, primary: &Link, protocol: u8, observed: &Observed) -> Option<Route> {
    let destination = IpNet::from(server);
    let is_own =
        |route: &Route| route.kind == RouteKind::Local && route.destination.contains(&server);
    if observed.routes.iter().any(is_own) {
        return None;
    }
    let default = observed
        .main
        .iter()
        .filter(|route| {
            route.destination.prefix_len() == 0
                && route.destination.addr().is_ipv4() == server.is_ipv4()
                && route.interface == Some(primary.index)
                && route.kind == RouteKind::Unicast
                && route.type_of_service == 0
                && route.gateway == route.via.is_some()
        })
        .min_by_key(|route| route.priority)?;
    Some(Route {
        priority: PRIORITY,
        ..Route::unicast(destination, primary.index, default.via, protocol)
    })
}
