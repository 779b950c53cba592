//! Why the machine answers to an address or not: the chain from metadata to the route, with the link that fails. Pure.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;

use super::interfaces;
use super::metadata_route::{self, Unneeded};
use super::observe::Observed;
use super::plan::{Plan, is_switched_off, plan};
use super::record::mark;
use super::routes::{self, List, METADATA_SERVERS, Origin, Problem, Unusable, text};
use crate::config::Settings;
use crate::config::settings::IpForwarding;
use crate::metadata::Document;
use crate::metadata::document::{NetworkInterface, Presence};
use crate::system::netlink::{Link as Interface, MacAddress, Route, RouteKind};
use crate::system::order::InOrder;

/// One link of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether it holds.
    pub holds: bool,
    /// What it says.
    pub text: String,
}

fn holds(text: impl Into<String>) -> Link {
    Link {
        holds: true,
        text: text.into(),
    }
}

fn fails(text: impl Into<String>) -> Link {
    Link {
        holds: false,
        text: text.into(),
    }
}

/// Explains one address or range; the metadata server's too, which is no forwarded one. The chain ends where something fails that everything after it needs; what is in the
/// kernel is told in any case.
#[must_use]
pub fn explain(
    asked: &str,
    document: &Document,
    settings: &Settings,
    observed: &Observed,
    now: Timestamp,
) -> Vec<Link> {
    let server = METADATA_SERVERS.into_iter().find(|server| {
        let prefix = IpNet::from(*server);
        asked == text(prefix) || asked == prefix.to_string()
    });
    if let Some(server) = server {
        return to_metadata_server(server, document, settings, observed, now);
    }
    let prefix = match routes::parse(asked) {
        Ok(prefix) => prefix,
        Err(Unusable::Malformed) => {
            return vec![fails(format!("{asked:?}: {}", Unusable::Malformed))];
        }
        Err(reason) => return vec![fails(format!("{asked} is refused: {reason}"))],
    };
    let plan = plan(document, settings, observed);
    let mut links = Vec::new();
    let prefix = around(prefix, document).unwrap_or(prefix);
    if text(prefix) != asked {
        links.push(holds(format!("{asked} is answered as {}", text(prefix))));
    }
    links.extend(metadata(prefix, document));
    let wanted = origins(prefix, document).next().is_some();
    if wanted && links.iter().all(|link| link.holds) {
        links.extend(switches(prefix, document, settings));
        links.extend(nics(prefix, document, &observed.links));
    }
    let concerns = |problem: &&Problem| match problem {
        Problem::Claimed { prefix: other, .. } => *other == prefix,
        Problem::Address { text, .. } => routes::parse(text) == Ok(prefix),
        Problem::Protocol(_) => true,
        _ => false,
    };
    let problems = plan.problems.iter().filter(concerns);
    links.extend(problems.map(|problem| fails(problem.to_string())));
    links.extend(kernel(prefix, wanted, &plan, observed, now));
    links
}

/// The range of metadata that an address is a part of, where it is not there itself; the narrowest one.
fn around(prefix: IpNet, document: &Document) -> Option<IpNet> {
    let nics = document.instance.network_interfaces.present()?;
    if nics.iter().any(|nic| is_own(nic, prefix)) {
        return None;
    }
    let texts = nics.iter().flat_map(lists);
    texts
        .flat_map(|(_, texts)| texts)
        .filter_map(|text| routes::parse(text).ok())
        .filter(|range| range.contains(&prefix))
        .max_by_key(IpNet::prefix_len)
}

/// Every place in metadata that asks for exactly this, whatever the switches say.
fn origins(
    prefix: IpNet,
    document: &Document,
) -> impl Iterator<Item = (Origin, &NetworkInterface)> {
    let nics = document.instance.network_interfaces.present();
    let all = nics.into_iter().flatten().enumerate();
    all.flat_map(move |(nic, interface)| {
        let lists = lists(interface).into_iter();
        let asks =
            move |texts: &[String]| texts.iter().any(|text| routes::parse(text) == Ok(prefix));
        lists
            .filter(move |(_, texts)| asks(texts))
            .map(move |(list, _)| (Origin { nic, list }, interface))
    })
}

fn is_own(nic: &NetworkInterface, prefix: IpNet) -> bool {
    let own = nic.ip.parse::<IpAddr>();
    own.is_ok_and(|own| IpNet::from(own) == prefix)
}

fn lists(nic: &NetworkInterface) -> [(List, &[String]); 4] {
    [
        (List::ForwardedIps, &nic.forwarded_ips),
        (List::ForwardedIpv6s, &nic.forwarded_ipv6s),
        (List::IpAliases, &nic.ip_aliases),
        (List::TargetInstanceIps, &nic.target_instance_ips),
    ]
}

/// The interfaces of metadata, or the link that fails without them.
fn interfaces_of(document: &Document) -> Result<&[NetworkInterface], Link> {
    match &document.instance.network_interfaces {
        Presence::Present(nics) => Ok(nics),
        Presence::Absent => Err(fails(
            "metadata has no network interfaces: nothing is changed",
        )),
        Presence::Malformed(what) => Err(fails(format!(
            "metadata's network interfaces cannot be read ({what}): nothing is changed"
        ))),
    }
}

fn metadata(prefix: IpNet, document: &Document) -> Vec<Link> {
    let nics = match interfaces_of(document) {
        Ok(nics) => nics,
        Err(link) => return vec![link],
    };
    if let Some(nic) = nics.iter().position(|nic| is_own(nic, prefix)) {
        return vec![holds(format!(
            "{} is the own address of network interface {nic}: it needs no route of ours",
            text(prefix)
        ))];
    }
    let links: Vec<Link> = origins(prefix, document)
        .map(|(origin, _)| holds(format!("{origin} has {}", text(prefix))))
        .collect();
    if !links.is_empty() {
        return links;
    }
    vec![fails(format!("metadata asks for {} nowhere", text(prefix)))]
}

/// The switches that count for the address, each with its value.
fn switches(prefix: IpNet, document: &Document, settings: &Settings) -> Vec<Link> {
    let mut values = vec![
        ("Daemons.network_daemon", settings.daemons.network_daemon),
        (
            "Daemons.ip_forwarding_daemon",
            settings.daemons.ip_forwarding_daemon,
        ),
        (
            "NetworkInterfaces.ip_forwarding",
            settings.network_interfaces.ip_forwarding,
        ),
    ];
    let mut excepted = Vec::new();
    for (origin, nic) in origins(prefix, document) {
        let (name, on, except) = of_list(origin.list, &settings.ip_forwarding);
        values.push((name, on));
        let mac = nic.mac.parse::<crate::config::values::MacAddress>();
        if mac.is_ok_and(|mac| except.contains(&mac)) {
            excepted.push(fails(format!("{name}_except has {}", nic.mac)));
        }
    }
    values.dedup();
    if is_switched_off(document, settings) {
        excepted.push(address_manager_is_off());
    }
    values.into_iter().map(switch).chain(excepted).collect()
}

fn switch((name, on): (&str, bool)) -> Link {
    if on {
        holds(format!("{name} is true"))
    } else {
        fails(format!("{name} is false"))
    }
}

fn address_manager_is_off() -> Link {
    fails(
        "addressManager.disable is true, or metadata's disable-address-manager: nothing is changed",
    )
}

/// The way to an address of the metadata server: whether there shall be a route of ours, and what the kernel has.
fn to_metadata_server(
    server: IpAddr,
    document: &Document,
    settings: &Settings,
    observed: &Observed,
    now: Timestamp,
) -> Vec<Link> {
    let mut links = vec![holds(format!(
        "{server} is the metadata server: network interface 0 reaches it, and nothing answers to it here"
    ))];
    let nics = match interfaces_of(document) {
        Ok(nics) => nics,
        Err(link) => return vec![link],
    };
    let network_daemon = settings.daemons.network_daemon;
    links.push(switch(("Daemons.network_daemon", network_daemon)));
    if is_switched_off(document, settings) {
        links.push(address_manager_is_off());
    }
    let mut all = metadata_route::wanted(nics, settings, observed);
    let wanted = all.find_map(|(address, route)| (address == server).then_some(route));
    links.extend(wanted.map(|wanted| match wanted {
        Ok(route) => {
            let way = shown(&route, &observed.links);
            holds(format!("a route of its own is wanted: {way}"))
        }
        Err(
            why @ (Unneeded::SwitchedOff
            | Unneeded::OneInterface
            | Unneeded::WithoutIpv6
            | Unneeded::Itself),
        ) => holds(format!("no route of its own is needed: {why}")),
        Err(why) => fails(format!("no route of its own is possible: {why}")),
    }));
    let plan = plan(document, settings, observed);
    let is_alone = |route: &&Route| route.destination == IpNet::from(server);
    let mut here: Vec<&Route> = observed.main.iter().filter(is_alone).collect();
    here.put_in_order_by(|route| route.priority);
    for (place, route) in here.into_iter().enumerate() {
        let word = if place == 0 { "" } else { ", behind that" };
        let whose = match mark(route).filter(|mark| plan.was_ours(mark)) {
            Some(mark) => format!("ours{}", since(observed.record.present.get(&mark), now)),
            None => "somebody else's".to_owned(),
        };
        let shown = shown(route, &observed.links);
        links.push(holds(format!("in the kernel{word}: {shown}, {whose}")));
    }
    let prefix = IpNet::from(server);
    links.extend(next_pass(prefix, &plan));
    links
}

/// What the next pass would do about it.
fn next_pass(prefix: IpNet, plan: &Plan) -> impl Iterator<Item = Link> {
    let changes = plan.changes.iter();
    let changes = changes.filter(move |change| change.prefix() == prefix);
    changes.map(|change| fails(format!("the next pass will {change}")))
}

fn since(since: Option<&Timestamp>, now: Timestamp) -> String {
    since.map_or_else(String::new, |since| format!(", for {}", age(*since, now)))
}

fn of_list(
    list: List,
    settings: &IpForwarding,
) -> (&'static str, bool, &[crate::config::values::MacAddress]) {
    match list {
        List::ForwardedIps | List::ForwardedIpv6s => (
            "IpForwarding.forwarded_ips",
            settings.forwarded_ips,
            &settings.forwarded_ips_except,
        ),
        List::IpAliases => (
            "IpForwarding.ip_aliases",
            settings.ip_aliases,
            &settings.ip_aliases_except,
        ),
        List::TargetInstanceIps => (
            "IpForwarding.target_instance_ips",
            settings.target_instance_ips,
            &settings.target_instance_ips_except,
        ),
    }
}

/// The interfaces that the address belongs to.
fn nics(prefix: IpNet, document: &Document, links: &[Interface]) -> Vec<Link> {
    let mut told = Vec::new();
    for (Origin { nic, .. }, interface) in origins(prefix, document) {
        let mac = &interface.mac;
        let found = mac
            .parse::<MacAddress>()
            .map(|mac| interfaces::find(links, mac));
        told.push(match found {
            Err(error) => fails(format!("network interface {nic}: {mac:?} is {error}")),
            Ok(None) => fails(format!(
                "network interface {nic} ({mac}) is not there: it is set up as soon as it appears"
            )),
            Ok(Some(link)) if !link.up && matches!(prefix, IpNet::V6(_)) => fails(format!(
                "network interface {nic} ({mac}) is {}, which is down: IPv6 waits until it is up",
                link.name
            )),
            Ok(Some(link)) => holds(format!("network interface {nic} ({mac}) is {}", link.name)),
        });
    }
    told.dedup();
    told
}

/// What is in the kernel's local table, and what the next pass would do.
fn kernel(
    prefix: IpNet,
    wanted: bool,
    plan: &Plan,
    observed: &Observed,
    now: Timestamp,
) -> Vec<Link> {
    let here = observed
        .routes
        .iter()
        .filter(|route| route.destination == prefix);
    let mut links = Vec::new();
    let mut ours = false;
    for route in here {
        let shown = shown(route, &observed.links);
        match mark(route).filter(|mark| plan.was_ours(mark)) {
            Some(mark) => {
                ours = true;
                let since = since(observed.record.present.get(&mark), now);
                links.push(holds(format!("in the kernel: {shown}, ours{since}")));
            }
            None if route.kind == RouteKind::Local => links.push(holds(format!(
                "in the kernel: {shown}, somebody else's: the machine answers by it, ours is not needed"
            ))),
            None => links.push(fails(format!(
                "in the kernel: {shown}, somebody else's: it is in the way, and it is left alone"
            ))),
        }
    }
    if links.is_empty() {
        links.push(fails("the kernel's local table has no route for it"));
    }
    links.extend(next_pass(prefix, plan));
    if ours && !wanted && plan.changes.is_empty() {
        links.push(fails("it stays as it is until metadata can be read"));
    }
    links
}

/// A route as `ip route show` has it.
fn shown(route: &Route, links: &[Interface]) -> String {
    let kind = match route.kind {
        RouteKind::Local => "local ".to_owned(),
        RouteKind::Unicast => String::new(),
        other => format!("{other:?} ").to_lowercase(),
    };
    let via = route
        .via
        .map_or_else(String::new, |via| format!(" via {via}"));
    let link = links
        .iter()
        .find(|link| Some(link.index) == route.interface);
    let device = link.map_or_else(String::new, |link| format!(" dev {}", link.name));
    let metric = match route.priority {
        0 => String::new(),
        _ if route.kind == RouteKind::Local => String::new(),
        metric => format!(" metric {metric}"),
    };
    format!(
        "{kind}{}{via}{device} proto {}{metric}",
        text(route.destination),
        route.protocol
    )
}

/// How long ago something was, roughly.
#[must_use]
pub fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(since.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::system::netlink::Link as Interface;

    const MAC: &str = "42:01:0a:80:00:02";
    const ABSENT: &str = "42:01:0a:80:00:09";

    fn document() -> Document {
        let list = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        let first = NetworkInterface {
            mac: MAC.into(),
            ip: "10.128.0.2".into(),
            forwarded_ips: list(&["203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.4"]),
            ip_aliases: list(&["10.1.0.7/24", "10.128.0.0/20"]),
            forwarded_ipv6s: list(&["fd00::1"]),
            ..NetworkInterface::default()
        };
        let second = NetworkInterface {
            mac: ABSENT.into(),
            forwarded_ips: list(&["203.0.113.9"]),
            ..NetworkInterface::default()
        };
        let mut document = Document::default();
        document.instance.network_interfaces = Presence::Present(vec![first, second]);
        document
    }

    fn observed() -> Observed {
        let route =
            |prefix: &str, protocol| Route::local(routes::parse(prefix).unwrap(), 2, protocol);
        let ours = route("203.0.113.1", 66);
        let mut observed = Observed {
            links: vec![Interface {
                index: 2,
                name: "eth0".into(),
                mac: MAC.parse().ok(),
                ethernet: true,
                ..Interface::default()
            }],
            routes: vec![
                ours,
                route("203.0.113.3", 2),
                route("203.0.113.8", 66),
                route("10.128.0.2", 2),
                Route {
                    kind: RouteKind::Unreachable,
                    interface: None,
                    ..route("203.0.113.4", 4)
                },
            ],
            ..Observed::default()
        };
        let marks = mark(&ours).into_iter();
        observed.record.present = marks.map(|mark| (mark, Timestamp::UNIX_EPOCH)).collect();
        observed
    }

    /// What does not hold of an address, or all of it when everything does.
    fn told(asked: &str, settings: &Settings) -> Vec<String> {
        let now = Timestamp::from_second(300).unwrap();
        let links = explain(asked, &document(), settings, &observed(), now);
        let failed: Vec<String> = links
            .iter()
            .filter(|link| !link.holds)
            .map(|link| link.text.clone())
            .collect();
        if failed.is_empty() {
            links.into_iter().map(|link| link.text).collect()
        } else {
            failed
        }
    }

    #[test]
    fn an_address_that_works_is_explained_from_metadata_to_the_kernel() {
        assert_eq!(
            told("203.0.113.1", &Settings::default()),
            [
                "instance/network-interfaces/0/forwarded-ips has 203.0.113.1",
                "Daemons.network_daemon is true",
                "Daemons.ip_forwarding_daemon is true",
                "NetworkInterfaces.ip_forwarding is true",
                "IpForwarding.forwarded_ips is true",
                "network interface 0 (42:01:0a:80:00:02) is eth0",
                "in the kernel: local 203.0.113.1 dev eth0 proto 66, ours, for 5 min",
            ]
        );
    }

    #[test]
    fn what_fails_is_named() {
        for (asked, expected) in [
            ("nonsense", "neither an IP address nor a range"),
            ("127.0.0.1", "is refused: it overlaps 127.0.0.0/8"),
            (
                "169.254.0.0/16",
                "is refused: it contains the metadata server",
            ),
            ("10.128.0.2", "own address of network interface 0"),
            ("203.0.113.77", "metadata asks for 203.0.113.77 nowhere"),
            ("10.1.0.8", "the next pass will add 10.1.0.0/24 to eth0"),
            ("203.0.113.2", "the next pass will add 203.0.113.2 to eth0"),
            (
                "203.0.113.3",
                "local 203.0.113.3 dev eth0 proto 2, somebody else's",
            ),
            (
                "203.0.113.4",
                "unreachable 203.0.113.4 proto 4, somebody else's: it is in the way",
            ),
            (
                "203.0.113.8",
                "the next pass will remove 203.0.113.8 from eth0 (not in metadata)",
            ),
            (
                "203.0.113.9",
                "network interface 1 (42:01:0a:80:00:09) is not there",
            ),
            (
                "10.128.0.0/20",
                "it contains the interface's own address 10.128.0.2",
            ),
            ("fd00::1", "eth0, which is down: IPv6 waits"),
        ] {
            let told = told(asked, &Settings::default());
            assert!(
                told.iter().any(|text| text.contains(expected)),
                "{asked}: {told:?}"
            );
        }
    }

    /// What is said of the metadata server, each link with its word, but for the first.
    fn told_of_server(asked: &str, settings: &Settings, observed: &Observed) -> Vec<String> {
        let now = Timestamp::from_second(300).unwrap();
        let links = explain(asked, &document(), settings, observed, now);
        let word = |link: &Link| if link.holds { "ok" } else { "FAIL" };
        let line = |link: Link| format!("{} {}", word(&link), link.text);
        links.into_iter().skip(1).map(line).collect()
    }

    /// A machine whose primary interface is up and has a default route.
    fn with_a_way_out() -> Observed {
        let mut observed = observed();
        observed.links[0].up = true;
        let (anywhere, gateway) = ("0.0.0.0/0".parse().unwrap(), "10.128.0.1".parse().ok());
        observed.main = vec![Route::unicast(anywhere, 2, gateway, 16)];
        observed
    }

    #[test]
    fn the_way_to_the_metadata_server_is_told() {
        let settings = Settings::default();
        let mut observed = with_a_way_out();
        assert_eq!(
            told_of_server("169.254.169.254", &settings, &observed),
            [
                "ok Daemons.network_daemon is true",
                "ok a route of its own is wanted: 169.254.169.254 via 10.128.0.1 dev eth0 proto 66 metric 1",
                "FAIL the next pass will reach the metadata server 169.254.169.254 by eth0",
            ]
        );
        let route = Route {
            destination: "169.254.169.254/32".parse().unwrap(),
            protocol: 66,
            priority: 1,
            ..observed.main[0]
        };
        let other = Route {
            protocol: 16,
            priority: 100,
            ..route
        };
        observed.main.extend([other, route]);
        let marks = mark(&route).into_iter();
        observed.record.present = marks.map(|mark| (mark, Timestamp::UNIX_EPOCH)).collect();
        assert_eq!(
            told_of_server("169.254.169.254/32", &settings, &observed)[2..],
            [
                "ok in the kernel: 169.254.169.254 via 10.128.0.1 dev eth0 proto 66 metric 1, ours, for 5 min",
                "ok in the kernel, behind that: 169.254.169.254 via 10.128.0.1 dev eth0 proto 16 metric 100, \
                 somebody else's",
            ]
        );
    }

    #[test]
    fn why_the_metadata_server_has_no_route_of_its_own_is_told() {
        let mut observed = with_a_way_out();
        assert_eq!(
            told_of_server("fd20:ce::254", &Settings::default(), &observed)[1..],
            ["ok no route of its own is needed: network interface 0 has no dhcpv6Refresh"]
        );
        observed.main.clear();
        let mut off = Settings::default();
        off.address_manager.disable = Some(true);
        let told = told_of_server("169.254.169.254", &off, &observed);
        assert!(
            told[1].starts_with("FAIL addressManager.disable is true"),
            "{told:?}"
        );
        assert_eq!(
            told[2],
            "FAIL no route of its own is possible: network interface 0 has no default route of this family"
        );
    }

    #[test]
    fn the_switch_that_is_off_is_named() {
        let off = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            told("10.1.0.7/24", &settings)
        };
        for (told, expected) in [
            (
                off(|settings| settings.network_interfaces.ip_forwarding = false),
                "NetworkInterfaces.ip_forwarding is false",
            ),
            (
                off(|settings| settings.daemons.ip_forwarding_daemon = false),
                "Daemons.ip_forwarding_daemon is false",
            ),
            (
                off(|settings| settings.address_manager.disable = Some(true)),
                "addressManager.disable is true",
            ),
            (
                off(|settings| settings.ip_forwarding.ip_aliases = false),
                "IpForwarding.ip_aliases is false",
            ),
            (
                off(|settings| {
                    settings.ip_forwarding.ip_aliases_except = vec![MAC.parse().unwrap()];
                }),
                "IpForwarding.ip_aliases_except has 42:01:0a:80:00:02",
            ),
            (
                off(|settings| settings.ip_forwarding.ethernet_proto_id = 2),
                "IpForwarding.ethernet_proto_id is 2",
            ),
        ] {
            assert!(
                told.iter().any(|text| text.starts_with(expected)),
                "{told:?}"
            );
        }
    }

    #[test]
    fn ages_are_rough() {
        for (seconds, told) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7200, "2 h"),
            (172_800, "2 days"),
        ] {
            let now = Timestamp::from_second(seconds).unwrap();
            assert_eq!(age(Timestamp::UNIX_EPOCH, now), told);
        }
        let past = Timestamp::from_second(-5).unwrap();
        assert_eq!(
            age(Timestamp::UNIX_EPOCH, past),
            "0 s",
            "a clock that was set back"
        );
    }
}
