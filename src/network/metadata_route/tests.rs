//! Tables of the way to the metadata server.

use super::*;

use crate::network::record::Record;
use crate::system::netlink::RouteScope;

const SERVER: &str = "169.254.169.254/32";
const SERVER_V6: &str = "fd20:ce::254/128";
const OURS: u8 = 66;

fn mac(last: u8) -> MacAddress {
    MacAddress([0x42, 1, 10, 128, 0, last])
}

/// Hardware whose index is the last octet of its MAC address.
fn link(index: u8) -> Link {
    Link {
        index: index.into(),
        name: format!("eth{index}"),
        mac: Some(mac(index)),
        up: true,
        ethernet: true,
        ..Link::default()
    }
}

fn nic(last: u8) -> NetworkInterface {
    NetworkInterface {
        mac: mac(last).to_string(),
        ..NetworkInterface::default()
    }
}

/// A route of table main as somebody else makes it.
fn unicast(destination: &str, interface: u32, via: &str, priority: u32, protocol: u8) -> Route {
    let via = (!via.is_empty()).then(|| via.parse().unwrap());
    Route {
        priority,
        ..Route::unicast(destination.parse().unwrap(), interface, via, protocol)
    }
}

fn default(interface: u32, via: &str, priority: u32) -> Route {
    let anywhere = if via.contains(':') {
        "::/0"
    } else {
        "0.0.0.0/0"
    };
    unicast(anywhere, interface, via, priority, 16)
}

fn observed(main: &[Route]) -> Observed {
    Observed {
        links: vec![link(2), link(3)],
        main: main.to_vec(),
        ..Observed::default()
    }
}

fn planned(nics: &[NetworkInterface], observed: &Observed) -> Vec<String> {
    let changes = changes(nics, &Settings::default(), observed);
    let told = |change: &Change| match change.route.via {
        Some(via) => format!("{change} via {via}"),
        None => change.to_string(),
    };
    changes.iter().map(told).collect()
}

const BY_ETH2: &str = "reach the metadata server 169.254.169.254 by eth2 via 10.128.0.1";

#[test]
fn the_route_follows_the_default_route_of_the_primary() {
    let nics = [nic(2), nic(3)];
    let shared = |route: Route| Route {
        shared: true,
        ..route
    };
    let of_service = Route {
        type_of_service: 8,
        ..default(2, "10.128.0.9", 0)
    };
    for (main, expected) in [
        (vec![default(2, "10.128.0.1", 100)], vec![BY_ETH2]),
        // The secondary's is better, and does not count.
        (
            vec![default(3, "10.129.0.1", 0), default(2, "10.128.0.1", 100)],
            vec![BY_ETH2],
        ),
        // The best of its own counts.
        (
            vec![default(2, "10.128.0.9", 200), default(2, "10.128.0.1", 100)],
            vec![BY_ETH2],
        ),
        // So does one way of several, if it goes by the primary.
        (
            vec![
                shared(default(3, "10.129.0.1", 0)),
                shared(default(2, "10.128.0.1", 0)),
            ],
            vec![BY_ETH2],
        ),
        (vec![shared(default(3, "10.129.0.1", 0))], vec![]),
        // Without a gateway: everybody is a neighbour.
        (
            vec![Route {
                scope: RouteScope::Link,
                ..default(2, "", 0)
            }],
            vec!["reach the metadata server 169.254.169.254 by eth2"],
        ),
        (vec![of_service], vec![]),
        (vec![default(3, "10.129.0.1", 0)], vec![]),
        (vec![], vec![]),
    ] {
        assert_eq!(planned(&nics, &observed(&main)), expected, "{main:?}");
    }
}

#[test]
fn ipv6_is_reached_where_metadata_has_it_refreshed() {
    let observed = observed(&[default(2, "10.128.0.1", 100), default(2, "fe80::1", 1024)]);
    let with_ipv6 = NetworkInterface {
        dhcpv6_refresh: Some("1".into()),
        ..nic(2)
    };
    assert_eq!(planned(&[nic(2), nic(3)], &observed), [BY_ETH2]);
    assert_eq!(
        planned(&[with_ipv6, nic(3)], &observed),
        [
            BY_ETH2,
            "reach the metadata server fd20:ce::254 by eth2 via fe80::1"
        ]
    );
}

#[test]
fn what_is_there_stays_and_what_is_not_right_is_replaced() {
    let nics = [nic(2), nic(3)];
    let default = default(2, "10.128.0.1", 100);
    let to_server = |interface, via: &str, priority, protocol| {
        unicast(SERVER, interface, via, priority, protocol)
    };
    let removed = |interface: &str| {
        format!(
            "remove 169.254.169.254 from {interface} (the way to it is another one now, or needs no route)"
        )
    };
    for (there, expected) in [
        (to_server(2, "10.128.0.1", 1, OURS), vec![]),
        (
            to_server(2, "10.128.0.9", 1, OURS),
            vec![
                format!("{} via 10.128.0.9", removed("eth2")),
                BY_ETH2.into(),
            ],
        ),
        (
            to_server(3, "10.129.0.1", 1, OURS),
            vec![
                format!("{} via 10.129.0.1", removed("eth3")),
                BY_ETH2.into(),
            ],
        ),
        // An administrator's of our rank is in the way; one of metric 0 wins, and ours is behind it.
        (to_server(3, "10.129.0.1", 1, 99), vec![]),
        (to_server(3, "10.129.0.1", 0, 99), vec![BY_ETH2.into()]),
        (to_server(3, "10.129.0.1", 100, 16), vec![BY_ETH2.into()]),
        // Of our number, and not as we make them.
        (
            Route {
                shared: true,
                ..to_server(3, "10.129.0.1", 1, OURS)
            },
            vec![],
        ),
    ] {
        let observed = observed(&[default, there]);
        assert_eq!(planned(&nics, &observed), expected, "{there:?}");
    }
}

#[test]
fn a_route_of_an_earlier_number_is_ours_when_it_is_written_down() {
    let nics = [nic(2), nic(3)];
    let earlier = unicast(SERVER, 2, "10.128.0.1", 1, 77);
    let mut observed = observed(&[default(2, "10.128.0.1", 100), earlier]);
    assert_eq!(planned(&nics, &observed), [""; 0], "somebody else's");
    let present = [(mark(&earlier).unwrap(), jiff::Timestamp::UNIX_EPOCH)].into();
    observed.record = Record {
        present,
        ..Record::default()
    };
    let planned = planned(&nics, &observed);
    assert_eq!(planned.len(), 2, "{planned:?}");
    assert!(planned[0].starts_with("remove"), "{planned:?}");
}

#[test]
fn where_there_is_none_it_is_said_why_and_ours_goes() {
    let ours = unicast(SERVER, 2, "10.128.0.1", 1, OURS);
    let main = [default(2, "10.128.0.1", 100), ours];
    let good = observed(&main);
    let down = Observed {
        links: vec![Link {
            up: false,
            ..link(2)
        }],
        ..good.clone()
    };
    let itself = Observed {
        routes: vec![Route::local(SERVER.parse().unwrap(), 1, 2)],
        ..good.clone()
    };
    let absent = Observed {
        links: vec![link(3)],
        ..good.clone()
    };
    let alone = observed(&[ours]);
    let two = vec![nic(2), nic(3)];
    let mut off = Settings::default();
    off.network_interfaces.setup = false;
    let on = Settings::default();
    for (nics, settings, observed, why) in [
        (vec![nic(2)], &on, &good, Unneeded::OneInterface),
        (vec![], &on, &good, Unneeded::OneInterface),
        (two.clone(), &off, &good, Unneeded::SwitchedOff),
        (two.clone(), &on, &down, Unneeded::Down),
        (two.clone(), &on, &absent, Unneeded::Absent),
        (two.clone(), &on, &itself, Unneeded::Itself),
        (two.clone(), &on, &alone, Unneeded::NoDefaultRoute),
    ] {
        let first = wanted(&nics, settings, observed).next().unwrap().1;
        assert_eq!(first, Err(why));
        let changes = changes(&nics, settings, observed);
        assert_eq!(changes.len(), 1, "{why}: {changes:?}");
        assert_eq!(changes[0].action, Action::Remove(Reason::MetadataServer));
    }
    let v6 = wanted(&two, &on, &good).nth(1).unwrap();
    assert_eq!(
        v6,
        (
            SERVER_V6.parse::<IpNet>().unwrap().addr(),
            Err(Unneeded::WithoutIpv6)
        )
    );
    // A MAC address that cannot be read says nothing of the interface: all stays.
    let garbage = NetworkInterface {
        mac: "garbage".into(),
        ..nic(2)
    };
    assert_eq!(changes(&[garbage, nic(3)], &on, &good), []);
}

#[test]
fn its_presence_is_told() {
    let wanted = unicast(SERVER, 2, "10.128.0.1", 1, OURS);
    let other = |priority| unicast(SERVER, 3, "10.129.0.1", priority, 99);
    for (main, expected) in [
        (vec![], Presence::Missing),
        (vec![other(100)], Presence::Missing),
        (vec![wanted, other(100)], Presence::Present),
        (vec![wanted, other(0)], Presence::Foreign(99)),
        (vec![other(1)], Presence::Foreign(99)),
    ] {
        assert_eq!(presence(&wanted, &observed(&main)), expected, "{main:?}");
    }
}
