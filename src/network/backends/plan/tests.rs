//! Golden files, tables of the choice, and properties of the plan.

use super::choice::choose;
use super::nics::{Nic, wanted};
use super::*;
use crate::config::Settings;
use crate::metadata::Document;
use crate::metadata::document::{NetworkInterface, Presence, VlanInterface};
use crate::network::backends::observed::{Client, Distribution, ManagedDevice, NetworkdLink};
use crate::system::netlink::{Address, Link};
use crate::system::order::Map;

fn mac(last: u8) -> MacAddress {
    MacAddress([0x42, 1, 10, 128, 0, last])
}

/// An interface whose index is the last octet of its MAC address.
fn link(last: u8, name: &str) -> Link {
    Link {
        index: last.into(),
        name: name.into(),
        mac: Some(mac(last)),
        permanent_mac: Some(mac(last)),
        up: true,
        ethernet: true,
        device: Some(format!("virtio{last}")),
        ..Link::default()
    }
}

fn interface(last: u8) -> NetworkInterface {
    NetworkInterface {
        mac: mac(last).to_string().to_uppercase(),
        ip: format!("10.128.0.{last}"),
        ..NetworkInterface::default()
    }
}

fn document(interfaces: Vec<NetworkInterface>) -> Document {
    let mut document = Document::default();
    document.instance.network_interfaces = Presence::Present(interfaces);
    document
}

fn vlan(parent: usize, id: u16) -> VlanInterface {
    VlanInterface {
        parent,
        vlan: id,
        mac: "42:01:0a:80:00:55".into(),
        mtu: Some(1300),
        ipv6: vec!["fd20::5".into()],
        ..VlanInterface::default()
    }
}

fn links() -> Vec<Link> {
    vec![link(2, "eth0"), link(3, "eth1"), link(4, "eth2")]
}

/// Two interfaces, the second with everything that there is.
fn pair() -> Vec<Nic> {
    let second = NetworkInterface {
        mtu: Some(1400),
        dhcpv6_refresh: Some("1".into()),
        ..interface(3)
    };
    let mut document = document(vec![interface(2), second]);
    document.instance.vlan_network_interfaces = Presence::Present(vec![vlan(1, 5)]);
    let mut settings = Settings::default();
    settings.network_interfaces.vlan_setup_enabled = true;
    let (nics, problems) = wanted(&document, &settings, &links()).unwrap();
    assert_eq!(problems, []);
    nics
}

/// A machine with every program, every unit, and Debian 12 below.
fn machine() -> Observed {
    let mut observed = Observed {
        links: links(),
        ..Observed::default()
    };
    let facts = &mut observed.facts;
    facts.programs = [
        "netplan",
        "networkctl",
        "nmcli",
        "wicked",
        "ifup",
        "dhclient",
        "dhcpcd",
    ]
    .into();
    facts.active = [
        "systemd-networkd.service",
        "NetworkManager.service",
        "wicked.service",
        "networking.service",
    ]
    .into();
    facts.networkd_version = Some(252);
    facts.networkmanager_version = Some((1, 42));
    facts.has_interfaces_file = true;
    facts.distribution = Distribution {
        id: "debian".into(),
        version: "12".into(),
    };
    observed
}

fn planned(backend: Backend, nics: &[Nic], observed: &Observed) -> Plan {
    let attempts = Attempts::default();
    plan(
        nics,
        Means::Backend(backend),
        true,
        observed,
        &attempts,
        Instant::now(),
    )
}

/// The files that a plan writes, but those in scratch.
fn written(plan: &Plan) -> Vec<&File> {
    plan.steps
        .iter()
        .filter_map(|step| match step {
            Step::Write(file) if !file.path.starts_with("/run/gce-guest/netplan") => Some(file),
            _ => None,
        })
        .collect()
}

fn commands(plan: &Plan) -> Vec<String> {
    plan.steps
        .iter()
        .filter_map(|step| match step {
            Step::Run { invocation, .. } => Some(invocation.display()),
            _ => None,
        })
        .collect()
}

/// What stands in a file below the mark, with a `|` for each line end.
fn body(plan: &Plan, name: &str) -> String {
    let files = written(plan);
    let file = files.iter().find(|file| file.path.ends_with(name));
    let file = file.unwrap_or_else(|| panic!("{name} is not among {files:?}"));
    let rest = file.contents.strip_prefix(MARK).unwrap();
    rest.trim_matches('\n').replace('\n', "|")
}

#[test]
fn files_of_networkd_are_as_they_should_be() {
    let plan = planned(Backend::Networkd, &pair(), &machine());
    assert_eq!(
        body(
            &plan,
            "/run/systemd/network/20-eth1-google-guest-agent.network"
        ),
        "[Match]|MACAddress=42:01:0a:80:00:03|Name=eth1||[Link]|MTUBytes=1400|RequiredForOnline=no||[Network]|DHCP=yes|\
         DNSDefaultRoute=false||[DHCPv4]|RouteMetric=10100|RoutesToDNS=false|RoutesToNTP=false|UseDomains=false|\
         UseHostname=false||[DHCPv6]|UseDomains=false|UseHostname=false||[IPv6AcceptRA]|RouteMetric=10100|\
         UseDomains=false"
    );
    assert_eq!(
        body(&plan, "20-gcp.eth1.5-google-guest-agent.network"),
        "[Match]|Name=gcp.eth1.5|Type=vlan||[Link]|MACAddress=42:01:0a:80:00:55|MTUBytes=1300|RequiredForOnline=no||\
         [Network]|DHCP=yes|DNSDefaultRoute=false||[DHCPv4]|RouteMetric=25205|RoutesToDNS=false|RoutesToNTP=false|\
         UseDomains=false|UseHostname=false||[IPv6AcceptRA]|RouteMetric=25205"
    );
    assert_eq!(written(&plan).len(), 2, "nothing for the primary");
    assert_eq!(commands(&plan), ["networkctl reload"]);
    assert!(plan.steps.iter().any(|step| matches!(
        step,
        Step::AddVlan {
            parent: 3,
            id: 5,
            ..
        }
    )));
}

#[test]
fn files_of_netplan_are_as_they_should_be() {
    let mut observed = machine();
    observed.has_netplan_files = true;
    let plan = planned(Backend::Netplan, &pair(), &observed);
    assert_eq!(
        body(&plan, netplan::PATH),
        "network:|  version: 2|  ethernets:|    \"a-eth1\":|      renderer: networkd|      match:|        name: \"eth1\"|\
         \u{20}       macaddress: \"42:01:0a:80:00:03\"|      dhcp4: true|      dhcp4-overrides:|        \
         use-domains: false|        use-hostname: false|        route-metric: 10100|      dhcp6: true|      \
         dhcp6-overrides:|        use-domains: false|        use-hostname: false|        route-metric: 10100|      \
         mtu: 1400|      optional: true"
    );
    assert_eq!(
        body(&plan, "10-netplan-a-eth1.network.d/override.conf"),
        "[Match]|Name=eth1||[Network]|DHCP=yes|DNSDefaultRoute=false||[DHCPv4]|RoutesToDNS=false|RoutesToNTP=false||\
         [IPv6AcceptRA]|RouteMetric=10100"
    );
    assert_eq!(
        commands(&plan),
        [
            "netplan generate --root-dir /run/gce-guest/netplan",
            "networkctl reload"
        ]
    );
    observed.facts.distribution.id = "ubuntu".into();
    let on_ubuntu = planned(Backend::Netplan, &pair(), &observed);
    assert!(body(&on_ubuntu, netplan::PATH).contains("    \"eth1\":|"));
}

#[test]
fn files_of_networkmanager_are_as_they_should_be() {
    let mut observed = machine();
    let plan = planned(Backend::NetworkManager, &pair(), &observed);
    assert_eq!(
        body(
            &plan,
            "/run/NetworkManager/system-connections/google-guest-agent-eth1.nmconnection"
        ),
        "[connection]|id=google-guest-agent-eth1|uuid=6763652d-6775-8573-8000-42010a800003|type=ethernet|\
         interface-name=eth1|autoconnect=true|autoconnect-priority=100||[ethernet]|mac-address=42:01:0A:80:00:03|\
         mtu=1400||[ipv4]|method=auto|dns-priority=200|route-metric=10100||[ipv6]|method=auto|dns-priority=200|\
         route-metric=10100"
    );
    assert_eq!(
        body(&plan, "google-guest-agent-gcp.eth1.5.nmconnection"),
        "[connection]|id=google-guest-agent-gcp.eth1.5|uuid=6763652d-6775-8573-8005-42010a800055|type=vlan|\
         interface-name=gcp.eth1.5|autoconnect=true||[ethernet]|cloned-mac-address=42:01:0A:80:00:55|mtu=1300||\
         [vlan]|flags=1|id=5|parent=eth1||[ipv4]|method=auto|dns-priority=200|route-metric=25205||[ipv6]|method=auto|\
         dns-priority=200|route-metric=25205"
    );
    let up = "nmcli --wait 45 connection up id google-guest-agent-eth1";
    assert_eq!(commands(&plan), ["nmcli connection reload", up]);
    assert!(written(&plan).iter().all(|file| file.mode == 0o600));
    observed.facts.networkmanager_version = Some((1, 18));
    let older = planned(Backend::NetworkManager, &pair(), &observed);
    assert!(
        written(&older)
            .iter()
            .all(|file| file.path.starts_with("/etc/NetworkManager"))
    );
}

#[test]
fn files_of_wicked_and_of_the_network_scripts_are_as_they_should_be() {
    let plan = planned(Backend::Wicked, &pair(), &machine());
    assert_eq!(
        body(&plan, "/etc/sysconfig/network/ifcfg-eth1"),
        "STARTMODE=hotplug|BOOTPROTO=dhcp|MTU=1400|DHCLIENT_ROUTE_PRIORITY=10100|DHCLIENT_SET_HOSTNAME=no"
    );
    assert_eq!(
        body(&plan, "/etc/sysconfig/network/ifcfg-gcp.eth1.5"),
        "STARTMODE=hotplug|BOOTPROTO=dhcp|VLAN=yes|ETHTOOL_OPTIONS='reorder_hdr off'|ETHERDEVICE=eth1|VLAN_ID=5|\
         LLADDR=42:01:0a:80:00:55|MTU=1300|DHCLIENT_ROUTE_PRIORITY=25205"
    );
    assert_eq!(commands(&plan)[0], "wicked ifreload --timeout 45 eth1");
    let plan = planned(Backend::Ifcfg, &pair(), &machine());
    assert_eq!(
        body(&plan, "/etc/sysconfig/network-scripts/ifcfg-eth1"),
        "DEVICE=eth1|HWADDR=42:01:0a:80:00:03|BOOTPROTO=dhcp|DEFROUTE=no|DHCPV6C=yes|IPV6INIT=yes|IPV6_DEFROUTE=no|\
         METRIC=10100|MTU=1400|NM_CONTROLLED=no|NOZEROCONF=yes|ONBOOT=yes|PEERDNS=no|PERSISTENT_DHCLIENT=yes"
    );
    assert_eq!(
        body(&plan, "/etc/sysconfig/network-scripts/ifcfg-gcp.eth1.5"),
        "DEVICE=gcp.eth1.5|VLAN=yes|VID=5|PHYSDEV=eth1|REORDER_HDR=no|MACADDR=42:01:0a:80:00:55|MTU=1300|BOOTPROTO=dhcp|\
         DEFROUTE=no|DHCPV6C=yes|IPV6INIT=yes|NM_CONTROLLED=no|ONBOOT=yes|PEERDNS=no|PERSISTENT_DHCLIENT=yes"
    );
    assert_eq!(commands(&plan)[0], "ifup eth1");
}

#[test]
fn clients_are_started_for_each_family_that_nobody_serves() {
    let nics = pair();
    let plan = planned(Backend::Ifupdown, &nics, &machine());
    assert_eq!(
        body(&plan, clients::INTERFACES),
        "iface eth1 inet dhcp|    metric 10100||iface gcp.eth1.5 inet dhcp|    metric 25205"
    );
    let ifup = "ifup --force --interfaces /run/gce-guest/interfaces";
    let dhclient = |family: &str, option: &str, metric: u32, name: &str| {
        let file = format!("/run/dhclient.google-guest-agent.{name}.{family}");
        format!(
            "dhclient {option} -nw -e IF_METRIC={metric} -pf {file}.pid -lf {file}.lease {name}"
        )
    };
    assert_eq!(
        commands(&plan),
        [
            format!("{ifup} eth1"),
            dhclient("ipv6", "-6", 10_100, "eth1"),
            format!("{ifup} gcp.eth1.5"),
            dhclient("ipv6", "-6", 25_205, "gcp.eth1.5"),
        ]
    );
    let mut observed = machine();
    observed.addresses = vec![Address {
        interface: 3,
        address: "10.129.0.2/32".parse().unwrap(),
    }];
    observed.clients = vec![
        client("dhclient", false, "gcp.eth1.5"),
        client("dhclient", false, "eth10"),
    ];
    let plan = planned(Backend::Dhclient, &nics, &observed);
    assert_eq!(
        commands(&plan),
        [
            dhclient("ipv6", "-6", 10_100, "eth1"),
            dhclient("ipv6", "-6", 25_205, "gcp.eth1.5"),
        ]
    );
    let plan = planned(Backend::Dhcpcd, &nics[..2], &observed);
    let options = "--nohook resolv.conf --nohook hostname --metric";
    assert_eq!(
        commands(&plan),
        [
            format!("dhcpcd --background -6 {options} 10100 eth1"),
            format!("dhcpcd --background -6 {options} 25205 gcp.eth1.5"),
        ]
    );
}

fn client(program: &str, ipv6: bool, interface: &str) -> Client {
    Client {
        program: program.into(),
        ipv4: !ipv6,
        ipv6,
        everywhere: false,
        words: vec![interface.into()],
    }
}

#[test]
fn only_a_client_that_we_started_is_ever_stopped() {
    let (nics, _) = wanted(
        &document(vec![interface(2), interface(3)]),
        &Settings::default(),
        &links(),
    )
    .unwrap();
    let mut observed = machine();
    observed.clients = vec![
        client("dhclient", false, "eth1"),
        client("dhclient", true, "eth0"),
        client("dhclient", true, "eth1"),
    ];
    assert_eq!(
        commands(&planned(Backend::Dhclient, &nics, &observed)),
        [""; 0]
    );
    let file = "/run/dhclient.google-guest-agent.eth1.ipv6.pid";
    observed.clients[2].words.push(file.into());
    assert_eq!(
        commands(&planned(Backend::Dhclient, &nics, &observed)),
        [format!(
            "dhclient -6 -r -pf {file} -lf {} eth1",
            file.replace("pid", "lease")
        )]
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn the_backend_is_what_manages_the_primary_and_can_do_what_we_need() {
    let primary = link(2, "eth0");
    let choice = |change: &dyn Fn(&mut Observed)| {
        let mut observed = machine();
        change(&mut observed);
        choose(&observed, Some(&primary)).map(|choice| choice.backend)
    };
    let networkd = |observed: &mut Observed, state: &str, file: &str| {
        let link = NetworkdLink {
            state: state.into(),
            file: Some(file.into()),
        };
        observed.networkd.insert(2, link);
    };
    let netplan = "/run/systemd/network/10-netplan-all-en.network";
    assert_eq!(
        choice(&|o| networkd(o, "configured", netplan)),
        Some(Backend::Netplan)
    );
    assert_eq!(
        choice(&|o| {
            networkd(o, "configured", netplan);
            o.facts.distribution = Distribution {
                id: "ubuntu".into(),
                version: "18.04".into(),
            };
        }),
        Some(Backend::Networkd),
        "a netplan that cannot"
    );
    let own = "/etc/systemd/network/10-primary.network";
    assert_eq!(
        choice(&|o| networkd(o, "configuring", own)),
        Some(Backend::Networkd)
    );
    for version in [None, Some(237), Some(243)] {
        let old = choice(&|o| {
            networkd(o, "configured", own);
            o.facts.networkd_version = version;
            o.facts
                .active
                .retain(|unit| *unit == "systemd-networkd.service");
        });
        assert_eq!(
            old,
            Some(Backend::Dhclient),
            "networkd {version:?} cannot reload"
        );
    }
    let connected = |o: &mut Observed, device: &str| o.facts.connected.extend([device.to_owned()]);
    assert_eq!(
        choice(&|o| connected(o, "eth0")),
        Some(Backend::NetworkManager)
    );
    // Another device with a name that begins alike does not count (D 15).
    assert_eq!(choice(&|o| connected(o, "eth01")), Some(Backend::Ifupdown));
    assert_eq!(choice(&|o| o.facts.wicked_up = true), Some(Backend::Wicked));
    assert_eq!(
        choice(&|o| o.clients.push(client("dhclient", false, "eth0"))),
        Some(Backend::Ifupdown)
    );
    assert_eq!(
        choice(&|o| {
            o.facts.active = Set::new();
            o.clients.push(client("dhcpcd", false, "eth0"));
        }),
        Some(Backend::Dhcpcd)
    );
    assert_eq!(
        choice(&|o| {
            o.facts.active = ["network.service"].into();
            o.facts.has_network_scripts = true;
        }),
        Some(Backend::Ifcfg)
    );
    assert_eq!(
        choice(&|o| o.facts.active = Set::new()),
        Some(Backend::Dhclient)
    );
    assert_eq!(
        choice(&|o| {
            o.facts.active = Set::new();
            o.facts.programs.remove("dhclient");
        }),
        Some(Backend::Dhcpcd)
    );
    assert_eq!(
        choice(&|o| o.facts = super::super::observed::Facts::default()),
        None
    );
}

#[test]
fn which_interfaces_are_set_up() {
    let table = |document: &Document, settings: &Settings| {
        wanted(document, settings, &links()).map(|(nics, problems)| {
            let nics: Vec<String> = nics
                .iter()
                .filter(|nic| nic.managed)
                .map(|nic| format!("{} {} {}", nic.position, nic.name, networkd::families(nic)))
                .collect();
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            (nics, problems)
        })
    };
    let usual = Settings::default();
    let three = document(vec![interface(2), interface(3), interface(4)]);
    let (nics, problems) = table(&three, &usual).unwrap();
    assert_eq!(
        (nics, problems.len()),
        (vec!["1 eth1 ipv4".into(), "2 eth2 ipv4".into()], 0)
    );
    let mut all = usual.clone();
    all.network_interfaces.manage_primary_nic = true;
    assert_eq!(table(&three, &all).unwrap().0.len(), 3);
    // Positions are those of metadata, whatever is missing: the second is no primary (BUG 19).
    let missing = document(vec![interface(9), interface(3)]);
    assert_eq!(table(&missing, &usual).unwrap().0, ["1 eth1 ipv4"]);
    let garbled = document(vec![NetworkInterface::default(), interface(3)]);
    assert_eq!(table(&garbled, &usual).unwrap().0, ["1 eth1 ipv4"]);
    let six = |last, ip: &str| NetworkInterface {
        ip: ip.into(),
        dhcpv6_refresh: Some(String::new()),
        ..interface(last)
    };
    let families = document(vec![interface(2), six(3, ""), six(4, "10.1.1.1")]);
    assert_eq!(
        table(&families, &usual).unwrap().0,
        ["1 eth1 ipv6", "2 eth2 yes"]
    );
    let twice = document(vec![interface(2), interface(3), interface(3)]);
    let (nics, problems) = table(&twice, &usual).unwrap();
    assert_eq!((nics.len(), problems.len()), (1, 1));
    assert!(
        problems[0]
            .starts_with("The interface eth1 is that of instance/network-interfaces/1 already")
    );
    let odd = document(vec![
        interface(2),
        NetworkInterface {
            mtu: Some(7),
            ..interface(3)
        },
    ]);
    assert!(table(&odd, &usual).unwrap().1[0].starts_with("The MTU 7 of eth1"));
}

#[test]
fn a_port_of_a_bond_or_a_bridge_is_left_to_whoever_made_that() {
    let second = NetworkInterface {
        dhcpv6_refresh: Some("1".into()),
        ..interface(3)
    };
    let document = document(vec![interface(2), second]);
    for (kind, is_left) in [
        ("bridge", true),
        ("bond", true),
        ("openvswitch", true),
        // Its ports have addresses of their own.
        ("vrf", false),
    ] {
        let port = Link {
            controller: Some(9),
            ..link(3, "eth1")
        };
        let controller = Link {
            kind: Some(kind.into()),
            device: None,
            ..link(9, "top0")
        };
        let links = [link(2, "eth0"), port, controller];
        let (nics, problems) = wanted(&document, &Settings::default(), &links).unwrap();
        let about: Vec<(&str, bool, bool)> = nics
            .iter()
            .map(|nic| (nic.name.as_str(), nic.managed, nic.ipv6))
            .collect();
        assert_eq!(about[0], ("eth0", false, false));
        assert_eq!(about[1], ("eth1", !is_left, !is_left), "{kind}");
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        if is_left {
            assert_eq!(
                told,
                ["The interface eth1 is a port of top0: it is left to whoever made that."]
            );
        } else {
            assert_eq!(told, [""; 0]);
        }
    }
}

#[test]
fn whoever_switches_interfaces_off_has_nothing_touched() {
    let usual = document(vec![interface(2), interface(3)]);
    let is_left_alone = |document: &Document, change: &dyn Fn(&mut Settings)| {
        let mut settings = Settings::default();
        change(&mut settings);
        wanted(document, &settings, &links()).is_none()
    };
    assert!(!is_left_alone(&usual, &|_| {}));
    assert!(is_left_alone(&usual, &|s| s.network_interfaces.setup = false));
    assert!(is_left_alone(&usual, &|s| s.daemons.network_daemon = false));
    assert!(is_left_alone(&usual, &|s| s.address_manager.disable = Some(true)));
    let mut by_metadata = usual.clone();
    let attributes = [("disable-address-manager".to_owned(), "true".to_owned())];
    by_metadata.instance.attributes = Presence::Present(attributes.into());
    assert!(is_left_alone(&by_metadata, &|_| {}));
    assert!(!is_left_alone(&by_metadata, &|s| s
        .address_manager
        .disable =
        Some(false)));
    assert!(
        is_left_alone(&Document::default(), &|_| {}),
        "half an answer"
    );
}

#[test]
fn a_vlan_that_cannot_be_costs_only_itself() {
    let mut document = document(vec![interface(2), interface(3)]);
    let bad_mac = VlanInterface {
        mac: "x".into(),
        ..vlan(1, 6)
    };
    let all = vec![vlan(0, 7), vlan(1, 5), vlan(1, 5), bad_mac, vlan(9, 5)];
    document.instance.vlan_network_interfaces = Presence::Present(all);
    let mut settings = Settings::default();
    let (nics, problems) = wanted(&document, &settings, &links()).unwrap();
    assert!(
        nics.iter().all(|nic| nic.vlans.is_empty()) && problems.is_empty(),
        "off by default"
    );
    settings.network_interfaces.vlan_setup_enabled = true;
    let (nics, problems) = wanted(&document, &settings, &links()).unwrap();
    let names = |nic: &Nic| {
        nic.vlans
            .iter()
            .map(|vlan| vlan.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&nics[0]),
        ["gcp.eth0.7"],
        "also on a primary that is left alone"
    );
    assert_eq!(names(&nics[1]), ["gcp.eth1.5"]);
    assert_eq!(problems.len(), 3);
    let plan = planned(Backend::Networkd, &nics, &machine());
    assert_eq!(
        written(&plan).len(),
        3,
        "the primary itself has no file of ours"
    );
    let mut long = links();
    long[1].name = "enp10s31f6".into();
    let (_, problems) = wanted(&document, &settings, &long).unwrap();
    assert!(
        problems
            .iter()
            .any(|problem| problem.to_string().contains("too long")),
        "{problems:?}"
    );
}

/// Does to a machine what networkd and the writer do.
fn simulate(plan: &Plan, observed: &mut Observed) {
    for step in &plan.steps {
        match step {
            Step::Write(file) => {
                let contents = file.contents.clone().into_bytes();
                observed.files.insert(file.path.clone(), contents);
            }
            Step::Remove(path) => drop(observed.files.remove(path)),
            _ => {}
        }
    }
    for link in &observed.links {
        let path = networkd::path(&link.name);
        let file = observed.files.contains_key(&path).then_some(path);
        let state = "configured".to_owned();
        observed
            .networkd
            .insert(link.index, NetworkdLink { state, file });
    }
}

#[test]
fn the_second_pass_does_nothing_and_what_is_not_wanted_goes() {
    let settings = Settings::default();
    let both = document(vec![interface(2), interface(3)]);
    let (nics, _) = wanted(&both, &settings, &links()).unwrap();
    let mut observed = machine();
    observed.has_netplan_files = true;
    // Of another backend, and of somebody else.
    let leftover = PathBuf::from(
        "/run/NetworkManager/system-connections/google-guest-agent-eth7.nmconnection",
    );
    observed
        .files
        .insert(leftover.clone(), format!("{MARK}\n[connection]\n").into());
    let foreign = PathBuf::from("/etc/sysconfig/network/ifcfg-eth1");
    observed
        .files
        .insert(foreign.clone(), b"BOOTPROTO=static\n".to_vec());
    let first = planned(Backend::Networkd, &nics, &observed);
    assert_eq!(
        commands(&first),
        ["nmcli connection reload", "networkctl reload"]
    );
    assert!(first.steps.contains(&Step::Remove(leftover)));
    simulate(&first, &mut observed);
    let second = planned(Backend::Networkd, &nics, &observed);
    assert_eq!(
        (second.steps.len(), second.served.len()),
        (0, 1),
        "{second:?}"
    );
    // It is renamed: its file goes, another comes.
    observed.links[1].name = "ens5".into();
    let (nics, _) = wanted(&both, &settings, &observed.links).unwrap();
    let renamed = planned(Backend::Networkd, &nics, &observed);
    assert_eq!(written(&renamed)[0].path, networkd::path("ens5"));
    assert!(
        renamed
            .steps
            .contains(&Step::Remove(networkd::path("eth1")))
    );
    simulate(&renamed, &mut observed);
    // It leaves metadata.
    let (nics, _) = wanted(&document(vec![interface(2)]), &settings, &observed.links).unwrap();
    let last = planned(Backend::Networkd, &nics, &observed);
    assert_eq!(last.steps.len(), 2, "{last:?}");
    assert!(last.steps.contains(&Step::Remove(networkd::path("ens5"))));
    assert!(observed.files.contains_key(&foreign));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_somebody_else_has_configured_is_left_to_them() {
    let nics = &pair()[..];
    let mut observed = machine();
    observed.has_netplan_files = true;
    let of = |file: &str| NetworkdLink {
        state: "configured".into(),
        file: Some(file.into()),
    };
    for (backend, file, left) in [
        (
            Backend::Networkd,
            "/etc/systemd/network/50-mine.network",
            true,
        ),
        (
            Backend::Networkd,
            "/run/systemd/network/10-netplan-eth1.network",
            true,
        ),
        (
            Backend::Networkd,
            "/usr/lib/systemd/network/80-default.network",
            false,
        ),
        (
            Backend::Netplan,
            "/run/systemd/network/10-netplan-eth1.network",
            true,
        ),
        (
            Backend::Netplan,
            "/etc/systemd/network/50-mine.network",
            true,
        ),
        (
            Backend::Netplan,
            "/run/systemd/network/10-netplan-all-en.network",
            false,
        ),
    ] {
        observed.networkd.insert(3, of(file));
        let plan = planned(backend, nics, &observed);
        let about = |file: &&File| !file.path.to_string_lossy().contains("gcp.");
        assert_eq!(!written(&plan).iter().any(about), left, "{backend}: {file}");
    }
    let ours = Some("00000000-0000-0000-0000-000000000001".to_owned());
    for (file, left) in [
        ("/etc/NetworkManager/system-connections/mine", true),
        ("/run/x", false),
    ] {
        let device = ManagedDevice {
            unmanaged: false,
            profile: ours.clone(),
        };
        observed.networkmanager.insert(3, device);
        observed.profiles = Map::from([(ours.clone().unwrap(), file.into())]);
        let plan = planned(Backend::NetworkManager, nics, &observed);
        assert_eq!(written(&plan).len() == 1, left, "{file}");
    }
    observed.networkmanager.insert(
        3,
        ManagedDevice {
            unmanaged: true,
            profile: None,
        },
    );
    let plan = planned(Backend::NetworkManager, nics, &observed);
    assert_eq!(plan.problems, [Problem::Unmanaged("eth1".into())]);
    let path = PathBuf::from("/etc/sysconfig/network/ifcfg-eth1");
    observed.files.insert(path, b"BOOTPROTO=static\n".to_vec());
    let plan = planned(Backend::Wicked, nics, &observed);
    assert!(
        plan.problems[0]
            .to_string()
            .starts_with("/etc/sysconfig/network/ifcfg-eth1 is not ours")
    );
    observed.in_interfaces_file.insert("eth1".into());
    let plan = planned(Backend::Ifupdown, nics, &observed);
    assert!(
        !commands(&plan)
            .iter()
            .any(|command| command.ends_with(" eth1")),
        "{plan:?}"
    );
}

#[test]
fn nothing_is_tried_again_and_again() {
    let (nics, _) = wanted(
        &document(vec![interface(2), interface(3)]),
        &Settings::default(),
        &links(),
    )
    .unwrap();
    let mut observed = machine();
    let path = networkd::path("eth1");
    let file = networkd::files(&nics[1]).remove(0);
    observed.files.insert(path, file.contents.into_bytes());
    let start = Instant::now();
    let mut attempts = Attempts::default();
    let means = Means::Backend(Backend::Networkd);
    // The file is there, networkd does not follow it: first it is awaited.
    let first = plan(&nics, means, false, &observed, &attempts, start);
    assert_eq!((first.steps.len(), first.awaited.len()), (0, 1));
    attempts.wait_for("eth1", start);
    let mut tries = 0;
    let mut told = 0;
    for second in 1..=3600 {
        let now = start + Duration::from_secs(second);
        let plan = plan(&nics, means, false, &observed, &attempts, now);
        assert!(plan.again_in.is_some());
        told += usize::from(!plan.problems.is_empty());
        if !commands(&plan).is_empty() {
            tries += 1;
            attempts.note("eth1", None, now);
        }
    }
    assert!((10..=20).contains(&tries), "{tries}");
    assert!(told > 3000, "and it is said");
    // What failed stays a failure until it is tried again, with the same words.
    let now = start + Duration::from_secs(4000);
    attempts.forget("eth1");
    for about in ["systemd-networkd", "eth1"] {
        attempts.note(about, Some("no bus".into()), now);
    }
    let waiting = plan(&nics, means, false, &observed, &attempts, now);
    assert_eq!(commands(&waiting), [""; 0]);
    let expected = Map::from([("systemd-networkd".to_owned(), "no bus".to_owned())]);
    assert_eq!(waiting.failures, expected);
    let later = plan(
        &nics,
        means,
        false,
        &observed,
        &attempts,
        now + Duration::from_secs(6),
    );
    assert_eq!((commands(&later).len(), later.failures.len()), (1, 0));
}

#[test]
fn the_configured_command_replaces_every_backend_and_runs_once() {
    let nics = pair();
    let mut observed = machine();
    let command = "/usr/local/bin/up  --all 'x";
    let attempts = Attempts::default();
    let now = Instant::now();
    let first = plan(
        &nics,
        Means::Command(command),
        false,
        &observed,
        &attempts,
        now,
    );
    assert_eq!(first.steps.len(), 1);
    let Step::Run {
        invocation,
        then: Some(Then::Record(record)),
        ..
    } = &first.steps[0]
    else {
        panic!("{first:?}");
    };
    // Split at blanks, no shell (BUG 20).
    assert_eq!(invocation.arguments, ["--all", "'x"]);
    observed
        .files
        .insert(record.path.clone(), record.contents.clone().into());
    let second = plan(
        &nics,
        Means::Command(command),
        false,
        &observed,
        &attempts,
        now,
    );
    assert_eq!(second.steps, []);
    let alone = plan(
        &nics[..1],
        Means::Command(command),
        false,
        &observed,
        &attempts,
        now,
    );
    assert_eq!(
        alone.steps,
        [],
        "without a second interface there is nothing to enable"
    );
    let other = plan(
        &nics,
        Means::Command("other"),
        false,
        &observed,
        &attempts,
        now,
    );
    assert_eq!(other.steps.len(), 1);
    let nothing = plan(&nics, Means::Nothing, false, &observed, &attempts, now);
    assert_eq!(nothing.problems, [Problem::NoBackend]);
}

#[test]
fn debians_default_comes_back_only_where_netplan_has_nothing_else() {
    let nics = pair();
    let of_primary = |observed: &mut Observed, file: &str| {
        let link = NetworkdLink {
            state: "configured".into(),
            file: Some(file.into()),
        };
        observed.networkd.insert(2, link);
    };
    let comes_back = |change: &dyn Fn(&mut Observed), restore: bool| {
        let mut observed = machine();
        of_primary(
            &mut observed,
            "/run/systemd/network/10-netplan-a-eth0.network",
        );
        change(&mut observed);
        let attempts = Attempts::default();
        let means = Means::Backend(Backend::Netplan);
        let plan = plan(&nics, means, restore, &observed, &attempts, Instant::now());
        let path = Path::new(netplan::DEBIAN_DEFAULT_PATH);
        written(&plan).iter().any(|file| file.path == path)
    };
    assert!(comes_back(&|_| {}, true));
    assert!(!comes_back(&|_| {}, false));
    assert!(!comes_back(&|o| o.has_netplan_files = true, true));
    assert!(!comes_back(
        &|o| o.facts.distribution.version = "13".into(),
        true
    ));
    assert!(!comes_back(
        &|o| of_primary(o, "/etc/systemd/network/x.network"),
        true
    ));
}

#[test]
fn ipv6_has_its_sysctl_where_metadata_has_ipv6_and_nowhere_else() {
    let mut observed = machine();
    observed.route_information = ["eth0", "eth1", "eth2"]
        .map(|name| (name.to_owned(), "0".to_owned()))
        .into();
    let nics = pair();
    let sysctls = |observed: &Observed| {
        let plan = planned(Backend::Networkd, &nics, observed);
        let of = |step: &Step| match step {
            Step::RouteInformation(interface) => Some(interface.clone()),
            _ => None,
        };
        plan.steps.iter().filter_map(of).collect::<Vec<_>>()
    };
    assert_eq!(sysctls(&observed), ["eth1"]);
    observed
        .route_information
        .insert("eth1".into(), "128".into());
    assert_eq!(sysctls(&observed), [""; 0]);
}
