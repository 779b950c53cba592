//! The network against the real kernel. Each test has a network namespace of its own, entered by its own thread, and
//! asks `ip` (iproute2) what is there: an independent witness.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests start `ip` themselves and may fail loudly"
)]
#![allow(unsafe_code, reason = "unshare(2) of the test's own thread")]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use gce_guest::config::Settings;
use gce_guest::metadata::Document;
use gce_guest::metadata::document::{NetworkInterface, Presence};
use gce_guest::network::{
    InterfaceError, Monitor, Report, State, apply, interface_by_mac, observe, plan, reconcile,
};
use gce_guest::system::files::PrivateDirectory;
use gce_guest::system::netlink::{LOCAL_TABLE, MacAddress, NetlinkError, Route, Socket};
use gce_guest::system::root::Root;
use gce_guest::system::time;
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, UnshareFlags, set_capabilities, unshare_unsafe,
};

/// Far longer than anything here takes on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(20);

const MAC: &str = "42:01:0a:80:00:02";
const SECOND_MAC: &str = "42:01:0a:80:00:03";

/// Runs a test in a network namespace of its own.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(|| {
        // SAFETY: only the network namespace of this thread changes; file descriptors and memory stay shared.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
        ip("link set lo up");
        test();
    });
    if let Err(failure) = thread.join() {
        std::panic::resume_unwind(failure);
    }
}

/// What `ip` prints; it must succeed.
fn ip(arguments: &str) -> String {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .expect("these tests need iproute2");
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Makes a NIC that is up: one end of a veth pair, whose other end is up too.
fn add_nic(name: &str, mac: &str) {
    ip(&format!(
        "link add {name} address {mac} type veth peer name {name}p"
    ));
    ip(&format!("link set {name}p up"));
    ip(&format!("link set {name} up"));
}

/// Makes a NIC of which the kernel has nothing more to tell by itself: it has no link-local addresses, which are there once
/// nobody else is found to have them, seconds later, and that it has a carrier is known.
fn add_quiet_nic(name: &str, mac: &str) {
    ip(&format!(
        "link add {name} address {mac} type veth peer name {name}p"
    ));
    let ends = [name.to_owned(), format!("{name}p")];
    for end in &ends {
        ip(&format!("link set {end} addrgenmode none"));
        ip(&format!("link set {end} up"));
    }
    for end in &ends {
        eventually("a carrier", || {
            ip(&format!("link show {end}")).contains(" state UP ")
        });
    }
}

fn nic(mac: &str, forwarded: &[&str]) -> NetworkInterface {
    NetworkInterface {
        mac: mac.into(),
        ip: "10.128.0.2".into(),
        forwarded_ips: forwarded.iter().map(ToString::to_string).collect(),
        ..NetworkInterface::default()
    }
}

fn document(nics: Vec<NetworkInterface>) -> Document {
    let mut document = Document::default();
    document.instance.network_interfaces = Presence::Present(nics);
    document
}

/// One pass, which must be possible.
fn pass(document: &Document) -> Report {
    pass_with(document, &Settings::default())
}

fn pass_with(document: &Document, settings: &Settings) -> Report {
    reconcile(document, settings, &state(), time::now()).unwrap()
}

thread_local! {
    /// The files of this thread's namespace.
    static FILES: PrivateDirectory =
        PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-network-").unwrap();
}

fn state() -> State {
    FILES.with(|files| State::at(Root::at(files.path())))
}

/// Our routes as `ip` lists them: "ADDRESS INTERFACE".
fn ours() -> BTreeSet<String> {
    let mut ours = BTreeSet::new();
    for family in ["-4", "-6"] {
        for line in ip(&format!(
            "{family} route show table local type local proto 66"
        ))
        .lines()
        {
            let words: Vec<_> = line.split_whitespace().collect();
            let ["local", prefix, "dev", interface, ..] = words[..] else {
                panic!("ip says {line:?}");
            };
            ours.insert(format!("{prefix} {interface}"));
        }
    }
    ours
}

fn set<const N: usize>(routes: [&str; N]) -> BTreeSet<String> {
    routes.map(String::from).into()
}

/// Everybody's routes of all tables but ours, sorted. What the kernel adds for a link in its own time, once it has a
/// carrier and its link-local address is known to be free, says nothing of us.
fn foreign() -> Vec<String> {
    let mut lines: Vec<_> = ["-4", "-6"]
        .iter()
        .flat_map(|family| {
            ip(&format!("{family} route show table all"))
                .lines()
                .map(String::from)
                .collect::<Vec<_>>()
        })
        .filter(|line| {
            !["proto 66", "fe80::", "ff00::/8"]
                .iter()
                .any(|part| line.contains(part))
        })
        .collect();
    lines.sort();
    lines
}

/// Waits until something holds; panics when it never does.
fn eventually(what: &str, holds: impl Fn() -> bool) -> Duration {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < DEADLINE, "{what}: never");
        thread::sleep(Duration::from_millis(1));
    }
    started.elapsed()
}

#[test]
fn links_and_addresses_are_as_ip_sees_them() {
    in_namespace(|| {
        let mac: MacAddress = MAC.parse().unwrap();
        let mut socket = Socket::open().unwrap();
        socket.create_veth("eth0", mac, "peer0").unwrap();
        let error = socket.create_veth("eth0", mac, "peer1").unwrap_err();
        assert_eq!(error.errno(), Some(Errno::EXIST), "{error}");

        let link = socket.link("eth0").unwrap().unwrap();
        assert_eq!((link.mac, link.up), (Some(mac), false));
        assert_eq!(link.kind.as_deref(), Some("veth"));
        assert_eq!(
            link.lower,
            socket.link("peer0").unwrap().map(|peer| peer.index)
        );
        assert_eq!(socket.link("eth9").unwrap(), None);
        assert!(ip("link show eth0").contains("link/ether 42:01:0a:80:00:02"));

        let address = "10.128.0.2/24".parse().unwrap();
        let address_v6 = "fd00::2/64".parse().unwrap();
        socket.add_address(link.index, address).unwrap();
        socket.add_address(link.index, address_v6).unwrap();
        socket.set_link_up(link.index, true).unwrap();
        let shown = ip("addr show eth0");
        assert!(shown.contains("inet 10.128.0.2/24 "), "{shown}");
        assert!(shown.contains("inet6 fd00::2/64 "), "{shown}");
        assert!(shown.contains(",UP"), "{shown}");
        let listed: Vec<_> = socket
            .addresses()
            .unwrap()
            .into_iter()
            .filter(|listed| listed.interface == link.index)
            .map(|listed| listed.address)
            .collect();
        assert!(listed.starts_with(&[address]), "{listed:?}");
        assert!(listed.contains(&address_v6), "{listed:?}");
        socket.delete_address(link.index, address).unwrap();
        assert!(!ip("addr show eth0").contains("10.128.0.2"));

        let names: Vec<_> = socket
            .links()
            .unwrap()
            .into_iter()
            .map(|link| link.name)
            .collect();
        for name in ["lo", "eth0", "peer0"] {
            assert!(names.iter().any(|listed| listed == name), "{names:?}");
        }
        socket.delete_link(link.index).unwrap();
        assert_eq!(socket.link("peer0").unwrap(), None);
    });
}

#[test]
fn one_refused_request_of_a_batch_costs_only_itself() {
    in_namespace(|| {
        add_nic("eth0", MAC);
        let mut socket = Socket::open().unwrap();
        let index = socket.link("eth0").unwrap().unwrap().index;
        let route = |text: &str| Route::local(text.parse().unwrap(), index, 66);
        let absent = Route::local("10.0.0.9/32".parse().unwrap(), 9999, 66);
        let wanted = [
            route("10.0.0.1/32"),
            absent,
            route("10.0.0.2/32"),
            route("fd00::1/128"),
        ];
        let requests: Vec<_> = wanted.iter().map(Route::addition).collect();
        let results = socket.batch(&requests);
        let refused: Vec<_> = results
            .iter()
            .map(|result| result.as_ref().err().and_then(NetlinkError::errno))
            .collect();
        assert_eq!(refused, [None, Some(Errno::NODEV), None, None]);
        assert_eq!(
            ours(),
            set(["10.0.0.1 eth0", "10.0.0.2 eth0", "fd00::1 eth0"])
        );
        assert!(
            ip("route show table local proto 66")
                .lines()
                .all(|line| line.contains(" scope host"))
        );
        let listed = socket.routes(LOCAL_TABLE).unwrap();
        assert!(listed.contains(&wanted[0]), "{listed:?}");
        let v6 = Route {
            priority: 1024,
            ..wanted[3]
        };
        assert!(listed.contains(&v6), "{listed:?}");
        let results = socket.batch(&[wanted[0].deletion(), v6.deletion()]);
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        assert_eq!(ours(), set(["10.0.0.2 eth0"]));
        // Refused from the first to the last, over several batches.
        let requests: Vec<_> = (0..1000).map(|_| absent.addition()).collect();
        let results = socket.batch(&requests);
        assert_eq!(results.len(), 1000);
        for result in results {
            assert_eq!(result.unwrap_err().errno(), Some(Errno::NODEV));
        }
    });
}

#[test]
fn all_kinds_of_addresses_on_two_nics_become_routes_and_go_again() {
    in_namespace(|| {
        add_nic("eth0", MAC);
        add_nic("eth1", SECOND_MAC);
        ip("addr add 10.128.0.2/32 dev eth0");
        let before = foreign();
        let first = NetworkInterface {
            forwarded_ipv6s: vec!["2600:1900::7".into(), "2600:1901::/96".into()],
            ip_aliases: vec!["10.1.2.99/24".into()],
            target_instance_ips: vec!["10.3.0.1".into()],
            ..nic(MAC, &["1.1.1.1", "1.1.1.1/32", "10.128.0.2"])
        };
        let second = nic(&SECOND_MAC.to_uppercase(), &["1.1.1.2"]);
        let document_full = document(vec![first, second]);
        let report = pass(&document_full);
        assert_eq!(report.failures.len(), 0, "{:?}", report.failures);
        assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
        assert_eq!(
            ours(),
            set([
                "1.1.1.1 eth0",
                "1.1.1.2 eth1",
                "10.1.2.0/24 eth0",
                "10.3.0.1 eth0",
                "2600:1900::7 eth0",
                "2600:1901::/96 eth0"
            ])
        );
        assert!(ip("route get 10.1.2.3").starts_with("local 10.1.2.3 dev lo"));
        assert_eq!(foreign(), before);
        assert_eq!(pass(&document_full).done, []);

        let report = pass(&document(vec![
            nic(MAC, &["1.1.1.2"]),
            nic(SECOND_MAC, &[]),
        ]));
        assert_eq!(report.failures.len(), 0, "{:?}", report.failures);
        assert_eq!(ours(), set(["1.1.1.2 eth0"]));

        let mut off = Settings::default();
        off.daemons.ip_forwarding_daemon = false;
        pass_with(&document_full, &off);
        assert_eq!(ours(), set([]));
        assert_eq!(foreign(), before);
    });
}

/// A thousand addresses of 1.1.0.0/16.
fn thousand() -> Vec<String> {
    (0..1000)
        .map(|number| format!("1.1.{}.{}", number / 250, number % 250 + 1))
        .collect()
}

/// Has `ip` add or delete our routes, and returns how long it takes.
fn by_ip_batch(addresses: &[&str], verb: &str) -> Duration {
    let command = |address: &&str| {
        format!("route {verb} to local {address}/32 proto 66 scope host dev eth0\n")
    };
    let batch: String = addresses.iter().map(command).collect();
    let started = Instant::now();
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(batch.as_bytes()).unwrap();
    drop(input);
    assert!(child.wait().unwrap().success());
    started.elapsed()
}

#[test]
fn a_thousand_routes_come_and_go_in_one_pass() {
    in_namespace(|| {
        add_nic("eth0", MAC);
        let texts = thousand();
        let addresses: Vec<_> = texts.iter().map(String::as_str).collect();

        let by_ip = by_ip_batch(&addresses, "add");
        assert_eq!(ours().len(), 1000);
        // What `ip` wrote is what we would have written.
        assert_eq!(pass(&document(vec![nic(MAC, &addresses)])).done, []);

        let timed = |document: &Document| {
            let started = Instant::now();
            let report = pass(document);
            assert_eq!(report.failures.len(), 0);
            (report.done.len(), started.elapsed())
        };
        let (removed, out) = timed(&document(vec![nic(MAC, &[])]));
        assert_eq!((removed, ours().len()), (1000, 0));
        let (added, into) = timed(&document(vec![nic(MAC, &addresses)]));
        assert_eq!((added, ours().len()), (1000, 1000));
        let (changed, still) = timed(&document(vec![nic(MAC, &addresses)]));
        assert_eq!(changed, 0);
        let out_by_ip = by_ip_batch(&addresses, "del");
        println!(
            "1,000 routes: in {into:?}, out {out:?}; `ip -batch`: in {by_ip:?}, out {out_by_ip:?}"
        );
        println!("a pass over them that changes nothing: {still:?}");
    });
}

#[test]
fn ten_thousand_addresses_garbage_and_overlaps_cost_only_themselves() {
    in_namespace(|| {
        add_nic("eth0", MAC);
        let mut texts: Vec<String> = (0..10_000)
            .map(|number| {
                format!(
                    "1.{}.{}.{}",
                    1 + number / 62_500,
                    number / 250,
                    number % 250 + 1
                )
            })
            .collect();
        for garbage in [
            "garbage",
            "999.9.9.9/99",
            "127.0.0.1",
            "0.0.0.0/0",
            "",
            "169.254.169.254",
        ] {
            texts.push(garbage.into());
        }
        let first = NetworkInterface {
            ip_aliases: ["1.1.0.0/16", "1.1.1.0/24", "1.1.1.77/24", "1.1.1.1"]
                .map(String::from)
                .into(),
            ..nic(MAC, &texts.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let document = document(vec![first]);
        let started = Instant::now();
        let report = pass(&document);
        println!("10,000 addresses in {:?}", started.elapsed());
        assert_eq!(report.failures.len(), 0);
        assert_eq!(report.problems.len(), 6, "{:?}", report.problems);
        assert_eq!(report.messages().count(), 6);
        assert_eq!(ours().len(), 10_002);
        assert!(ours().contains("1.1.1.0/24 eth0"));
        let again = pass(&document);
        assert_eq!(again.done, []);
        assert_eq!(again.problems, report.problems);
    });
}

/// A process that is ended with the test, whatever becomes of it.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_second_pass_says_nothing_to_the_kernel() {
    in_namespace(|| {
        add_quiet_nic("eth0", MAC);
        let document = document(vec![nic(MAC, &["1.1.1.1", "10.0.0.5/24", "fd00::1"])]);
        assert_eq!(pass(&document).done.len(), 3);
        let child = Command::new("ip")
            .args(["monitor", "link", "address", "route"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut witness = Ended(child);
        let (sender, lines) = mpsc::channel();
        let output = BufReader::new(witness.0.stdout.take().unwrap());
        let reader = thread::spawn(move || {
            for line in output.lines() {
                let _ = sender.send(line.unwrap());
            }
        });
        // The witness listens once it tells of a change that we make for it.
        let heard = |lines: &mpsc::Receiver<String>, mark: &str| {
            let started = Instant::now();
            let mut before = Vec::new();
            loop {
                assert!(started.elapsed() < DEADLINE, "ip monitor says nothing");
                ip(&format!("route add {mark} dev lo proto 99"));
                ip(&format!("route del {mark} dev lo proto 99"));
                while let Ok(line) = lines.recv_timeout(Duration::from_millis(50)) {
                    if line.contains(mark) {
                        return before;
                    }
                    before.push(line);
                }
            }
        };
        heard(&lines, "192.0.2.1");
        let report = pass(&document);
        let told = heard(&lines, "192.0.2.2");
        drop(witness);
        reader.join().unwrap();
        assert_eq!(report.done, []);
        let told: Vec<_> = told
            .iter()
            .filter(|line| !line.contains("192.0.2.1"))
            .collect();
        assert!(told.is_empty(), "{told:?}");
    });
}

#[test]
fn foreign_routes_of_any_protocol_survive() {
    in_namespace(|| {
        add_nic("eth0", MAC);
        ip("addr add 10.128.0.2/32 dev eth0");
        ip("route add 10.128.0.1 dev eth0 scope link");
        ip("route add default via 10.128.0.1 dev eth0");
        let protocols = ["kernel", "boot", "static", "dhcp", "bird", "67", "255"];
        for (number, protocol) in protocols.into_iter().enumerate() {
            ip(&format!(
                "route add to local 5.5.5.{number}/32 proto {protocol} scope host dev eth0"
            ));
            ip(&format!(
                "-6 route add to local fd05::{number} proto {protocol} dev eth0"
            ));
        }
        // Our mark in another table is not ours either.
        ip("route add local 6.6.6.6/32 dev eth0 table 100 proto 67");
        ip("route add 7.7.7.7/32 dev eth0 table main proto 66");
        let before = foreign();
        let table_main = ip("route show table main proto 66");
        let wanted = document(vec![nic(MAC, &["1.1.1.1", "5.5.5.5", "fd00::1"])]);
        let report = pass(&wanted);
        assert_eq!(report.failures.len(), 0, "{:?}", report.failures);
        assert_eq!(report.held.len(), 1);
        assert_eq!(ours(), set(["1.1.1.1 eth0", "fd00::1 eth0"]));
        assert_eq!(foreign(), before);
        pass(&document(vec![]));
        assert_eq!(ours(), set([]));
        assert_eq!(foreign(), before);
        assert_eq!(ip("route show table main proto 66"), table_main);
    });
}

#[test]
fn an_address_that_somebody_else_blocks_fails_alone_and_says_why() {
    in_namespace(|| {
        add_nic("eth0", MAC);
        ip("route add unreachable 5.5.5.5 table local proto static");
        let document = document(vec![nic(MAC, &["1.1.1.1", "5.5.5.5"])]);
        for _ in 0..2 {
            let report = pass(&document);
            let told: Vec<_> = report.messages().collect();
            assert_eq!(told.len(), 1);
            assert!(
                told[0].starts_with(
                    "Could not add 5.5.5.5 to eth0 (instance/network-interfaces/0/forwarded-ips): "
                ) && told[0].contains("Somebody else's route"),
                "{told:?}"
            );
            assert_eq!(ours(), set(["1.1.1.1 eth0"]));
        }
        ip("route del unreachable 5.5.5.5 table local");
        assert_eq!(pass(&document).failures.len(), 0);
        assert_eq!(ours().len(), 2);
    });
}

#[test]
fn ipv6_that_is_switched_off_costs_only_ipv6() {
    in_namespace(|| {
        add_nic("eth0", MAC);
        std::fs::write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "1").unwrap();
        let report = pass(&document(vec![nic(MAC, &["1.1.1.1", "fd00::1"])]));
        assert_eq!(ours(), set(["1.1.1.1 eth0"]));
        let told: Vec<_> = report.messages().collect();
        assert_eq!(told.len(), 1);
        assert!(told[0].contains("IPv6 is disabled"), "{told:?}");
    });
}

#[test]
fn without_the_right_to_change_routes_nothing_breaks_and_it_is_said() {
    in_namespace(|| {
        add_nic("eth0", MAC);
        let none = CapabilitySet::empty();
        let sets = CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        };
        set_capabilities(None, sets).unwrap();
        let report = pass(&document(vec![nic(MAC, &["1.1.1.1", "1.1.1.2"])]));
        assert_eq!((report.done.len(), report.failures.len()), (0, 2));
        assert!(report.messages().all(|told| told.contains("CAP_NET_ADMIN")));
    });
}

#[test]
fn the_nic_is_found_below_a_bridge_and_a_macvlan_with_its_address() {
    in_namespace(|| {
        // A lower index than the NIC's own, to be met first.
        ip(&format!("link add br0 address {MAC} type bridge"));
        ip("link set br0 up");
        add_nic("eth0", MAC);
        ip("link set eth0 master br0");
        add_nic("eth1", SECOND_MAC);
        ip("link add link eth1 name mac1 type macvlan mode passthru");
        ip("link set mac1 up");
        for name in ["br0", "eth0"] {
            assert!(ip(&format!("link show {name}")).contains(MAC));
        }
        for name in ["mac1", "eth1"] {
            assert!(ip(&format!("link show {name}")).contains(SECOND_MAC));
        }
        let found = |mac: &str| interface_by_mac(mac).unwrap().map(|link| link.name);
        assert_eq!(found(&MAC.to_uppercase()).as_deref(), Some("eth0"));
        assert_eq!(found(SECOND_MAC).as_deref(), Some("eth1"));
        assert_eq!(found("42:01:0a:80:00:99"), None);
        let nics = vec![nic(MAC, &["1.1.1.1"]), nic(SECOND_MAC, &["1.1.1.2"])];
        pass(&document(nics));
        assert_eq!(ours(), set(["1.1.1.1 eth0", "1.1.1.2 eth1"]));
        // With the hardware gone its address on a bridge is nobody's.
        ip("link del eth0");
        assert_eq!(found(MAC), None);
        assert!(matches!(
            interface_by_mac("garbage"),
            Err(InterfaceError::Malformed(_))
        ));
    });
}

#[test]
fn a_renamed_interface_is_the_same_nic() {
    in_namespace(|| {
        add_nic("eth0", MAC);
        let document = document(vec![nic(MAC, &["1.1.1.1", "fd00::1"])]);
        pass(&document);
        ip("link set eth0 down");
        let report = pass(&document);
        assert_eq!(report.failures.len(), 0, "{:?}", report.failures);
        assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
        ip("link set eth0 name ens4");
        ip("link set ens4 up");
        let report = pass(&document);
        assert_eq!((report.failures.len(), report.problems.len()), (0, 0));
        assert_eq!(ours(), set(["1.1.1.1 ens4", "fd00::1 ens4"]));
    });
}

#[test]
fn an_interface_that_goes_in_the_middle_of_a_pass_costs_only_itself() {
    in_namespace(|| {
        add_nic("eth0", MAC);
        add_nic("eth1", SECOND_MAC);
        let settings = Settings::default();
        pass(&document(vec![
            nic(MAC, &[]),
            nic(SECOND_MAC, &["1.1.1.3"]),
        ]));
        let document = document(vec![
            nic(MAC, &["1.1.1.1"]),
            nic(SECOND_MAC, &["1.1.1.2", "fd00::2"]),
        ]);
        let planned = plan(&document, &settings, &observe(&state()).unwrap());
        assert_eq!(planned.changes.len(), 4);
        ip("link del eth1");
        let outcome = apply(&planned);
        assert_eq!(outcome.done.len(), 1);
        let refused: Vec<_> = outcome
            .failures
            .iter()
            .map(|failure| {
                (
                    failure.change.interface.name.as_str(),
                    failure.error.errno(),
                )
            })
            .collect();
        assert_eq!(refused, [("eth1", Some(Errno::NODEV)); 2]);
        let report = pass(&document);
        assert_eq!((report.done.len(), report.failures.len()), (0, 0));
        assert_eq!(report.pending.len(), 1);
        // It comes back as another device: hot-plug.
        add_nic("eth7", SECOND_MAC);
        pass(&document);
        assert_eq!(
            ours(),
            set(["1.1.1.1 eth0", "1.1.1.2 eth7", "fd00::2 eth7"])
        );
    });
}

/// A loop as the agent has it, in the namespace of the caller: a pass at the start and at each word of the monitor.
/// Returns after the first pass.
fn start_loop(document: Document) -> thread::JoinHandle<()> {
    let (sender, ready) = mpsc::channel();
    let thread = thread::spawn(move || {
        let mut monitor = Monitor::open().unwrap();
        pass(&document);
        sender.send(()).unwrap();
        // An interface with this name ends the loop.
        while interface_exists("eth0") {
            if monitor.wait(Some(DEADLINE)).unwrap() {
                pass(&document);
            }
        }
    });
    ready.recv_timeout(DEADLINE).unwrap();
    thread
}

fn interface_exists(name: &str) -> bool {
    Socket::open().unwrap().link(name).unwrap().is_some()
}

/// Whether our routes are there, asked without `ip` so that the measurement is not that of its start.
fn present(count: usize) -> bool {
    let routes = Socket::open().unwrap().routes(LOCAL_TABLE).unwrap();
    routes.iter().filter(|route| route.protocol == 66).count() == count
}

#[test]
fn whatever_others_break_is_mended_at_once() {
    in_namespace(|| {
        add_nic("eth0", MAC);
        ip("addr add 10.128.0.2/32 dev eth0");
        let wanted = set(["1.1.1.1 eth0", "10.0.0.0/24 eth0", "fd00::1 eth0"]);
        let agent = start_loop(document(vec![nic(
            MAC,
            &["1.1.1.1", "10.0.0.5/24", "fd00::1"],
        )]));
        assert_eq!(ours(), wanted);
        let fastest = Cell::new(DEADLINE);
        let mended = |what: &str, commands: &[&str]| {
            for command in commands {
                ip(command);
            }
            let took = eventually(what, || present(3));
            assert_eq!(ours(), wanted, "{what}");
            println!("{what}: mended {took:?} after the command");
            fastest.set(fastest.get().min(took));
        };
        mended(
            "a deleted route",
            &["route del local 1.1.1.1 dev eth0 table local"],
        );
        mended(
            "a deleted IPv6 route",
            &["-6 route del local fd00::1 dev eth0 table local"],
        );
        mended(
            "all of our routes flushed",
            &["route flush table local proto 66"],
        );
        mended(
            "the address flushed and added again",
            &["addr flush dev eth0", "addr add 10.128.0.2/32 dev eth0"],
        );
        mended("the address flushed", &["addr flush dev eth0"]);
        mended(
            "the link down and up",
            &["link set eth0 down", "link set eth0 up"],
        );
        mended(
            "our route replaced by another",
            &[
                "route replace local 1.1.1.1/32 dev eth0 table local proto 99 scope host",
                "route del local 1.1.1.1/32 dev eth0 table local proto 99",
            ],
        );
        mended(
            "the interface renamed",
            &["link set eth0 name x", "link set x name eth0"],
        );
        // The promise; it takes some 20 ms. A loaded machine holds one or the other up, and not every one of them.
        assert!(fastest.get() < Duration::from_secs(1), "{fastest:?}");
        ip("link del eth0");
        agent.join().unwrap();
    });
}

/// Two NICs; the second has the better default route.
fn two_ways_out() -> Document {
    add_nic("eth0", MAC);
    add_nic("eth1", SECOND_MAC);
    ip("addr add 10.128.0.2/32 dev eth0");
    primary_way_out();
    ip("addr add 10.129.0.2/24 dev eth1");
    ip("route add default via 10.129.0.1 dev eth1");
    ip("-6 route add default via fe80::1 dev eth0 metric 1024");
    ip("-6 route add default via fe80::1 dev eth1 metric 1");
    let first = NetworkInterface {
        dhcpv6_refresh: Some("1".into()),
        ..nic(MAC, &[])
    };
    document(vec![first, nic(SECOND_MAC, &[])])
}

fn primary_way_out() {
    ip("route add 10.128.0.1 dev eth0 scope link");
    ip("route add default via 10.128.0.1 dev eth0 metric 1024");
}

/// The way to the metadata server, as the kernel would take it.
fn way(more: &str) -> String {
    ip(&format!("route get 169.254.169.254 {more}"))
}

/// Our routes to the metadata server, by their protocol id.
fn to_server(protocol: u8) -> String {
    let list = |family, server| ip(&format!("{family} route show {server} proto {protocol}"));
    list("-4", "169.254.169.254") + &list("-6", "fd20:ce::254")
}

#[test]
fn the_metadata_server_is_reached_by_the_primary_nic_alone() {
    in_namespace(|| {
        let document = two_ways_out();
        let dhcp = "169.254.169.254 via 10.129.0.1 dev eth1 proto dhcp metric 100";
        ip(&format!("route add {dhcp}"));
        let before = foreign();
        assert!(way("").contains("dev eth1"));
        let report = pass(&document);
        assert_eq!(report.messages().count(), 0, "{report:?}");
        assert!(way("").contains("via 10.128.0.1 dev eth0"), "{}", way(""));
        let v6 = ip("-6 route get fd20:ce::254");
        assert!(v6.contains("via fe80::1 dev eth0"), "{v6}");
        assert!(way("oif eth1").contains("via 10.129.0.1 dev eth1"));
        assert!(ip("route get 198.51.100.1").contains("dev eth1"));
        assert_eq!(foreign(), before);
        assert_eq!(pass(&document).done, []);

        // Another protocol id moves them.
        let mut settings = Settings::default();
        settings.ip_forwarding.ethernet_proto_id = 77;
        assert_eq!(pass_with(&document, &settings).failures.len(), 0);
        assert_eq!(
            (to_server(66).as_str(), to_server(77).lines().count()),
            ("", 2)
        );
        pass(&document);
        assert_eq!(
            (to_server(77).as_str(), to_server(66).lines().count()),
            ("", 2)
        );

        // One NIC alone needs none, and so on; each time they come back.
        let none = |what: &str, document: &Document, settings: &Settings| {
            pass_with(document, settings);
            assert_eq!(to_server(66), "", "{what}");
            assert_eq!(foreign(), before, "{what}");
        };
        let mut one = document.clone();
        if let Presence::Present(nics) = &mut one.instance.network_interfaces {
            nics.truncate(1);
        }
        none("one NIC", &one, &Settings::default());
        pass(&document);
        assert_eq!(to_server(66).lines().count(), 2);
        let mut settings = Settings::default();
        settings.network_interfaces.setup = false;
        none("switched off", &document, &settings);

        // A machine that is the metadata server itself, and a route of an administrator.
        ip("addr add 169.254.169.254/32 dev lo");
        pass(&document);
        assert!(!to_server(66).contains("169.254.169.254"));
        assert!(way("").starts_with("local 169.254.169.254 dev lo"));
        ip("addr del 169.254.169.254/32 dev lo");
        ip("route add 169.254.169.254 via 10.129.0.1 dev eth1");
        pass(&document);
        assert!(way("").contains("dev eth1"), "an administrator's wins");
        ip("route del 169.254.169.254 proto 66");
        ip("route add 169.254.169.254 via 10.129.0.1 dev eth1 metric 1 proto 99");
        assert_eq!(pass(&document).failures.len(), 0, "one of our rank stays");
        assert!(ip("route show proto 99").contains("dev eth1 metric 1"));
    });
}

#[test]
fn the_metadata_server_is_reached_by_one_of_several_equal_ways_out() {
    in_namespace(|| {
        add_nic("eth0", MAC);
        add_nic("eth1", SECOND_MAC);
        ip("addr add 10.128.0.2/24 dev eth0");
        ip("addr add 10.129.0.2/24 dev eth1");
        let ways = "nexthop via 10.129.0.1 dev eth1 nexthop via 10.128.0.1 dev eth0";
        ip(&format!("route add default {ways}"));
        ip("addr add 2001:db8::2/64 dev eth0 nodad");
        ip("addr add 2001:db8:1::2/64 dev eth1 nodad");
        let ways = "nexthop via 2001:db8:1::1 dev eth1 nexthop via 2001:db8::1 dev eth0";
        ip(&format!("-6 route add default {ways}"));
        let first = NetworkInterface {
            dhcpv6_refresh: Some("1".into()),
            ..nic(MAC, &[])
        };
        let document = document(vec![first, nic(SECOND_MAC, &["1.1.1.1"])]);
        let report = pass(&document);
        assert_eq!(report.messages().count(), 0, "{report:?}");
        assert!(way("").contains("via 10.128.0.1 dev eth0"), "{}", way(""));
        let v6 = ip("-6 route get fd20:ce::254");
        assert!(v6.contains("via 2001:db8::1 dev eth0"), "{v6}");
        assert_eq!(pass(&document).done, []);

        // The same by a next hop object, which routes share.
        ip("route del default");
        ip("nexthop add id 1 via 10.129.0.1 dev eth1");
        ip("nexthop add id 2 via 10.128.0.9 dev eth0");
        ip("nexthop add id 3 group 1/2");
        ip("route add default nhid 3");
        assert_eq!(pass(&document).failures.len(), 0);
        assert!(way("").contains("via 10.128.0.9 dev eth0"), "{}", way(""));
        assert_eq!(pass(&document).done, []);
    });
}

#[test]
fn the_way_to_the_metadata_server_is_mended_and_follows_the_gateway() {
    in_namespace(|| {
        let agent = start_loop(two_ways_out());
        let by = |gateway: &str| way("").contains(&format!("via {gateway} dev eth0"));
        assert!(by("10.128.0.1"));
        ip("route del 169.254.169.254 proto 66");
        eventually("a deleted route", || by("10.128.0.1"));
        ip("link set eth0 down");
        ip("link set eth0 up");
        assert!(!by("10.128.0.1"), "the kernel took it along");
        primary_way_out();
        eventually("the link down and up", || by("10.128.0.1"));
        ip("route replace default via 10.128.0.9 dev eth0 metric 1024 onlink");
        eventually("another gateway", || by("10.128.0.9"));
        ip("link del eth0");
        agent.join().unwrap();
    });
}

#[test]
fn a_nic_that_appears_later_is_served_without_a_restart() {
    in_namespace(|| {
        add_nic("eth0", MAC);
        let agent = start_loop(document(vec![
            nic(MAC, &["1.1.1.1"]),
            nic(SECOND_MAC, &["1.1.1.2", "fd00::2"]),
        ]));
        assert_eq!(ours(), set(["1.1.1.1 eth0"]));
        add_nic("eth1", SECOND_MAC);
        eventually("the second NIC", || present(3));
        assert_eq!(
            ours(),
            set(["1.1.1.1 eth0", "1.1.1.2 eth1", "fd00::2 eth1"])
        );
        ip("link del eth0");
        agent.join().unwrap();
    });
}

#[test]
fn the_monitor_is_silent_about_what_does_not_matter() {
    in_namespace(|| {
        add_quiet_nic("eth0", MAC);
        ip("addr add 10.128.0.2/24 dev eth0");
        let document = document(vec![nic(MAC, &["1.1.1.1", "fd00::1"])]);
        let mut monitor = Monitor::open().unwrap();
        while monitor.wait(Some(Duration::from_millis(100))).unwrap() {}
        pass(&document);
        ip("route add 192.0.2.0/24 via 10.128.0.1");
        ip("route del 192.0.2.0/24 via 10.128.0.1");
        ip("route add blackhole 192.0.2.0/24 table 100");
        ip("route flush table 100");
        ip("addr change 10.128.0.2/24 dev eth0 valid_lft 1000 preferred_lft 1000");
        ip("link set eth0 txqueuelen 77");
        assert!(!monitor.wait(Some(Duration::from_millis(300))).unwrap());
        ip("route del local 1.1.1.1 dev eth0 table local");
        assert!(monitor.wait(Some(DEADLINE)).unwrap());
        // One burst is one word.
        for number in 0..20 {
            ip(&format!("addr add 10.128.0.{}/24 dev eth0", 100 + number));
        }
        let mut words = 0;
        while monitor.wait(Some(Duration::from_millis(300))).unwrap() {
            words += 1;
        }
        assert!((1..=20).contains(&words), "{words}");
    });
}

#[test]
fn lost_events_count_as_a_change() {
    in_namespace(|| {
        add_nic("eth0", MAC);
        let mut monitor = Monitor::open().unwrap();
        // More events than any buffer holds, of a kind that does not matter by itself.
        let texts: Vec<String> = (0..60_000_u32)
            .map(|number| {
                format!(
                    "1.{}.{}.{}",
                    number >> 16,
                    (number >> 8) & 255,
                    number & 255
                )
            })
            .collect();
        let document = document(vec![nic(
            MAC,
            &texts.iter().map(String::as_str).collect::<Vec<_>>(),
        )]);
        assert_eq!(pass(&document).failures.len(), 0);
        assert!(monitor.wait(Some(Duration::from_secs(1))).unwrap());
        let settled = pass(&document);
        assert_eq!(settled.done, []);
    });
}
