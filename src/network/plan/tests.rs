//! Tables and properties of the plan.

use proptest::prelude::*;

use super::*;
use crate::network::routes::{parse, text};
use crate::system::order::Map;

const OURS: u8 = 66;
const KERNEL: u8 = 2;

fn mac(last: u8) -> MacAddress {
    MacAddress([0x42, 1, 10, 128, 0, last])
}

/// A NIC whose index is the last octet of its MAC address.
fn link(index: u8) -> Link {
    Link {
        index: index.into(),
        name: format!("eth{index}"),
        mac: Some(mac(index)),
        up: true,
        ethernet: true,
        device: Some(format!("virtio{index}")),
        ..Link::default()
    }
}

fn nic(last: u8, addresses: &[&str]) -> NetworkInterface {
    NetworkInterface {
        mac: mac(last).to_string().to_uppercase(),
        ip: format!("10.128.0.{last}"),
        forwarded_ips: addresses.iter().map(ToString::to_string).collect(),
        ..NetworkInterface::default()
    }
}

fn document(nics: Vec<NetworkInterface>) -> Document {
    let mut document = Document::default();
    document.instance.network_interfaces = Presence::Present(nics);
    document
}

fn route(prefix: &str, index: u32, protocol: u8) -> Route {
    Route::local(parse(prefix).unwrap(), index, protocol)
}

fn observed(links: &[u8], routes: Vec<Route>) -> Observed {
    Observed {
        links: links.iter().copied().map(link).collect(),
        routes,
        ..Observed::default()
    }
}

fn planned(nics: Vec<NetworkInterface>, observed: &Observed) -> Plan {
    plan(&document(nics), &Settings::default(), observed)
}

fn told<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

#[test]
fn the_difference_is_planned_sorted_and_with_its_origin() {
    let observed = observed(
        &[2, 3],
        vec![
            route("1.1.1.1", 2, OURS),
            route("1.1.1.2", 2, OURS),
            route("10.0.0.0/24", 3, OURS),
        ],
    );
    let second = NetworkInterface {
        ip_aliases: vec!["10.0.0.77/24".into()],
        forwarded_ipv6s: vec!["fd00::1".into()],
        ..nic(3, &[])
    };
    let plan = planned(
        vec![nic(2, &["1.1.1.3", "1.1.1.1", "1.1.1.0"]), second],
        &observed,
    );
    assert_eq!(
        told(&plan.changes),
        [
            "add 1.1.1.0 to eth2 (instance/network-interfaces/0/forwarded-ips)",
            "add 1.1.1.3 to eth2 (instance/network-interfaces/0/forwarded-ips)",
            "add fd00::1 to eth3 (instance/network-interfaces/1/forwarded-ipv6s)",
            "remove 1.1.1.2 from eth2 (not in metadata)",
        ]
    );
    assert_eq!(
        (plan.problems.len(), plan.pending.len(), plan.held.len()),
        (0, 0, 0)
    );
}

#[test]
fn either_switch_removes_our_routes_and_the_manager_switch_leaves_them() {
    let observed = observed(
        &[2],
        vec![route("1.1.1.1", 2, OURS), route("1.1.1.2", 2, 77)],
    );
    let documents = [
        document(vec![nic(2, &["1.1.1.1", "1.1.1.3"])]),
        Document::default(),
    ];
    for document in documents {
        for (interfaces, daemon) in [(false, true), (true, false), (false, false)] {
            let mut settings = Settings::default();
            settings.network_interfaces.ip_forwarding = interfaces;
            settings.daemons.ip_forwarding_daemon = daemon;
            let plan = plan(&document, &settings, &observed);
            assert_eq!(
                told(&plan.changes),
                ["remove 1.1.1.1 from eth2 (switched off in the configuration)"]
            );
        }
        let mut settings = Settings::default();
        settings.daemons.network_daemon = false;
        assert_eq!(plan(&document, &settings, &observed), Plan::default());
    }
}

#[test]
fn half_an_answer_changes_nothing() {
    let observed = observed(&[2], vec![route("1.1.1.1", 2, OURS)]);
    let mut document = Document::default();
    assert_eq!(
        plan(&document, &Settings::default(), &observed),
        Plan::default()
    );
    document.instance.network_interfaces = Presence::Malformed("a number".into());
    let plan = plan(&document, &Settings::default(), &observed);
    assert_eq!(plan.changes, []);
    assert_eq!(
        told(&plan.problems),
        [
            "The metadata server's networkInterfaces is not readable (a number): addresses stay as they are."
        ]
    );
}

#[test]
fn a_nic_with_an_unreadable_address_costs_only_itself() {
    let observed = observed(
        &[2, 3],
        vec![route("1.1.1.1", 2, OURS), route("1.1.1.2", 3, OURS)],
    );
    let garbled = NetworkInterface {
        mac: "42:01:zz".into(),
        ..nic(3, &["1.1.1.2"])
    };
    let plan = planned(vec![garbled, nic(2, &["1.1.1.5"])], &observed);
    // Interface 3 may be the garbled one: what it has stays.
    assert_eq!(
        told(&plan.changes),
        [
            "add 1.1.1.5 to eth2 (instance/network-interfaces/1/forwarded-ips)",
            "remove 1.1.1.1 from eth2 (not in metadata)",
        ]
    );
    assert_eq!(
        told(&plan.problems),
        [
            "Could not parse MAC address: \"42:01:zz\" (instance/network-interfaces/0): this interface is skipped."
        ]
    );
}

#[test]
fn routes_on_interfaces_that_left_metadata_go() {
    let observed = observed(
        &[2, 3],
        vec![route("1.1.1.1", 3, OURS), route("1.1.1.2", 9, OURS)],
    );
    let plan = planned(vec![nic(2, &[])], &observed);
    assert_eq!(
        told(&plan.changes),
        [
            "remove 1.1.1.1 from eth3 (the interface is not in metadata)",
            "remove 1.1.1.2 from interface 9 (the interface is not in metadata)",
        ]
    );
}

#[test]
fn a_nic_that_is_not_there_is_pending() {
    let plan = planned(
        vec![nic(4, &["1.1.1.1"]), nic(2, &["1.1.1.2"])],
        &observed(&[2], vec![]),
    );
    assert_eq!(
        plan.pending,
        [Pending {
            nic: 0,
            mac: mac(4)
        }]
    );
    assert!(
        told(&plan.pending)[0]
            .starts_with("Network interface not found for MAC address: 42:01:0a:80:00:04 ")
    );
    assert_eq!(plan.changes.len(), 1);
}

#[test]
fn foreign_routes_are_neither_touched_nor_doubled() {
    let broadcast = Route {
        kind: RouteKind::Broadcast,
        ..route("1.1.1.9", 2, OURS)
    };
    let observed = observed(
        &[2],
        vec![
            route("1.1.1.1", 2, KERNEL),
            route("1.1.1.2", 2, 77),
            route("1.1.1.3", 3, 77),
            Route {
                table: 254,
                ..route("1.1.1.4", 2, OURS)
            },
            Route {
                scope: RouteScope::Link,
                ..route("1.1.1.5", 2, OURS)
            },
            Route {
                type_of_service: 4,
                ..route("1.1.1.6", 2, OURS)
            },
            Route {
                gateway: true,
                ..route("1.1.1.7", 2, OURS)
            },
            Route {
                interface: None,
                ..route("1.1.1.8", 2, OURS)
            },
            broadcast,
        ],
    );
    assert_eq!(planned(vec![nic(2, &[])], &observed).changes, []);
    let plan = planned(vec![nic(2, &["1.1.1.1", "1.1.1.3"])], &observed);
    assert_eq!(plan.changes, []);
    let holders: Vec<_> = plan.held.iter().map(|held| held.protocol).collect();
    assert_eq!(holders, [KERNEL, 77]);
}

#[test]
fn an_address_beside_its_own_kernel_route_stays_ours() {
    let observed = observed(
        &[2],
        vec![route("1.1.1.1", 2, KERNEL), route("1.1.1.1", 2, OURS)],
    );
    assert_eq!(planned(vec![nic(2, &["1.1.1.1"])], &observed).changes, []);
    let plan = planned(vec![nic(2, &[])], &observed);
    assert_eq!(
        told(&plan.changes),
        ["remove 1.1.1.1 from eth2 (not in metadata)"]
    );
    assert_eq!(plan.changes[0].route.protocol, OURS);
}

#[test]
fn an_address_that_moves_is_removed_before_it_is_added() {
    let observed = observed(
        &[2, 3],
        vec![route("1.1.1.1", 3, OURS), route("1.1.1.2", 3, OURS)],
    );
    let plan = planned(vec![nic(2, &["1.1.1.1"]), nic(3, &[])], &observed);
    assert_eq!(
        told(&plan.changes),
        [
            "remove 1.1.1.1 from eth3 (not in metadata)",
            "add 1.1.1.1 to eth2 (instance/network-interfaces/0/forwarded-ips)",
            "remove 1.1.1.2 from eth3 (not in metadata)",
        ]
    );
}

#[test]
fn the_first_nic_has_an_address_that_two_claim() {
    let plan = planned(
        vec![nic(3, &["1.1.1.1"]), nic(2, &["1.1.1.1/32"])],
        &observed(&[2, 3], vec![]),
    );
    assert_eq!(
        told(&plan.changes),
        ["add 1.1.1.1 to eth3 (instance/network-interfaces/0/forwarded-ips)"]
    );
    assert_eq!(
        told(&plan.problems),
        [
            "1.1.1.1 is claimed by instance/network-interfaces/0/forwarded-ips and by \
          instance/network-interfaces/1/forwarded-ips: the first one has it."
        ]
    );
}

#[test]
fn ipv6_waits_for_the_interface_and_ipv4_does_not() {
    let mut observed = observed(&[2], vec![]);
    observed.links[0].up = false;
    let plan = planned(vec![nic(2, &["1.1.1.1", "fd00::1", "fd00::2"])], &observed);
    assert_eq!(plan.changes.len(), 1);
    assert_eq!(
        told(&plan.problems),
        ["eth2 is down: 2 IPv6 forwarded addresses wait until it is up."]
    );
}

#[test]
fn the_protocol_id_is_the_configured_one_and_never_one_of_the_kernel() {
    let observed = observed(
        &[2],
        vec![route("1.1.1.1", 2, KERNEL), route("1.1.1.2", 2, OURS)],
    );
    let document = document(vec![nic(2, &["1.1.1.3"])]);
    let mut settings = Settings::default();
    settings.ip_forwarding.ethernet_proto_id = 77;
    let changes = plan(&document, &settings, &observed).changes;
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].route, route("1.1.1.3", 2, 77));
    for reserved in 0..=HIGHEST_RESERVED_PROTOCOL {
        settings.ip_forwarding.ethernet_proto_id = reserved;
        for enabled in [true, false] {
            settings.network_interfaces.ip_forwarding = enabled;
            let plan = plan(&document, &settings, &observed);
            assert_eq!(plan.changes, []);
            assert_eq!(plan.problems, [Problem::Protocol(reserved)]);
        }
    }
}

#[test]
fn routes_of_ours_are_moved_to_a_new_number_and_nobody_elses() {
    let mut observed = observed(
        &[2],
        vec![
            route("1.1.1.1", 2, OURS),
            route("1.1.1.2", 2, OURS),
            route("1.1.1.3", 2, OURS),
        ],
    );
    let then = Timestamp::from_second(1000).unwrap();
    let now = Timestamp::from_second(2000).unwrap();
    // The third one is there as well, and not by us.
    let ours = &observed.routes[..2];
    let marks = ours.iter().filter_map(mark).map(|mark| (mark, then));
    observed.record.present = marks.collect();
    let document = document(vec![nic(2, &["1.1.1.1", "1.1.1.3"])]);
    let mut settings = Settings::default();
    settings.ip_forwarding.ethernet_proto_id = 77;
    let plan = plan(&document, &settings, &observed);
    assert_eq!(
        told(&plan.changes),
        [
            "remove 1.1.1.1 from eth2 (it has an earlier protocol id of ours)",
            "add 1.1.1.1 to eth2 (instance/network-interfaces/0/forwarded-ips)",
            "remove 1.1.1.2 from eth2 (not in metadata)",
        ]
    );
    assert_eq!(plan.held.len(), 1, "the third one is left alone");
    // A removal that failed leaves the route in the record, to be tried again.
    let record = plan.record(&observed.record, &plan.changes[..2], now);
    let present: Vec<_> = record
        .present
        .iter()
        .map(|(mark, since)| (text(mark.prefix), mark.protocol, *since))
        .collect();
    assert_eq!(
        present,
        [("1.1.1.1".into(), 77, now), ("1.1.1.2".into(), OURS, then)]
    );
    let missing: Vec<_> = record.missing.into_iter().collect();
    assert_eq!(missing, [((2, parse("1.1.1.3").unwrap()), now)]);
}

/// Does to a list of routes what the kernel does: a destination and rank is there once.
fn simulate(routes: &mut Vec<Route>, changes: &[Change]) {
    for change in changes {
        let at = routes.iter().position(|route| *route == change.route);
        match change.action {
            Action::Add(_) | Action::ReachMetadataServer => {
                let taken = routes
                    .iter()
                    .any(|route| route.destination == change.route.destination);
                assert!(!taken, "{change} is refused");
                routes.push(change.route);
            }
            Action::Remove(_) => {
                routes.remove(at.unwrap_or_else(|| panic!("{change}: it is not there")));
            }
        }
    }
}

fn any_prefix() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (0_u8..12).prop_map(|last| parse(&format!("1.1.1.{last}")).unwrap()),
        (0_u8..4).prop_map(|third| parse(&format!("10.0.{third}.0/24")).unwrap()),
        (0_u8..4).prop_map(|last| parse(&format!("fd00::{last}")).unwrap()),
    ]
}

fn any_routes() -> impl Strategy<Value = Vec<Route>> {
    let one = (
        any_prefix(),
        2_u32..6,
        prop::sample::select(vec![OURS, KERNEL, 77]),
    );
    prop::collection::vec(one, 0..24).prop_map(|routes| {
        let mut by_destination = Map::new();
        for (prefix, index, protocol) in routes {
            by_destination.insert(prefix, Route::local(prefix, index, protocol));
        }
        by_destination.into_values().collect()
    })
}

fn any_nics() -> impl Strategy<Value = Vec<NetworkInterface>> {
    let text = prop_oneof![
        8 => any_prefix().prop_map(|prefix| prefix.to_string()),
        1 => Just("garbage".to_owned()),
        1 => Just("10.0.1.77/24".to_owned()),
    ];
    let one = (2_u8..7, prop::collection::vec(text, 0..12)).prop_map(|(last, addresses)| {
        let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
        nic(last, &addresses)
    });
    prop::collection::vec(one, 0..4)
}

proptest! {
    #[test]
    fn after_the_changes_nothing_is_left_to_change(
        routes in any_routes(),
        nics in any_nics(),
        present in prop::collection::btree_set(2_u8..6, 0..4),
        up: bool,
        enabled: bool,
        recorded: bool,
    ) {
        let mut observed = observed(&present.into_iter().collect::<Vec<_>>(), routes);
        // Half of the routes of an earlier number are ours, the others somebody else's.
        let ours = |route: &Route| {
            route.protocol == OURS
                || recorded && route.protocol == 77 && route.interface.is_some_and(|index| index % 2 == 0)
        };
        let marks = observed.routes.iter().filter(|route| ours(route)).filter_map(mark);
        observed.record.present = marks.map(|mark| (mark, Timestamp::UNIX_EPOCH)).collect();
        for link in &mut observed.links {
            link.up = up;
        }
        let mut settings = Settings::default();
        settings.network_interfaces.ip_forwarding = enabled;
        let document = document(nics);
        let foreign = |routes: &[Route]| -> Vec<Route> {
            routes.iter().filter(|route| !ours(route)).copied().collect()
        };

        let first = plan(&document, &settings, &observed);
        let before = foreign(&observed.routes);
        simulate(&mut observed.routes, &first.changes);
        prop_assert_eq!(foreign(&observed.routes), before);
        observed.record = first.record(&observed.record, &first.changes, Timestamp::UNIX_EPOCH);
        let recorded: Vec<Mark> = observed.record.present.keys().copied().collect();
        let mut there: Vec<Mark> =
            observed.routes.iter().filter(|route| route.protocol == OURS).filter_map(mark).collect();
        there.sort();
        prop_assert_eq!(recorded, there);
        let second = plan(&document, &settings, &observed);
        prop_assert_eq!(&second.changes, &[]);
        prop_assert_eq!(second.problems, first.problems);
        // The order of the listings does not matter.
        observed.routes.reverse();
        observed.links.reverse();
        prop_assert_eq!(plan(&document, &settings, &observed).changes, second.changes);
    }
}
