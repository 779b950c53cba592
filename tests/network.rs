//! The network against the real kernel. Each test has a network namespace of its own, entered by its own thread, and
//! asks `ip` (iproute2) what is there: an independent witness.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start `ip` themselves and may fail loudly"
)]
#![allow(unsafe_code, reason = "unshare(2) of the test's own thread")]

use std::process::Command;
use std::thread;

use gce_guest::system::netlink::{LOCAL_TABLE, MacAddress, NetlinkError, Route, Socket};
use rustix::io::Errno;
use rustix::thread::{UnshareFlags, unshare_unsafe};

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

const MAC: MacAddress = MacAddress([0x42, 0x01, 0x0a, 0x80, 0x00, 0x02]);

#[test]
fn links_and_addresses_are_as_ip_sees_them() {
    in_namespace(|| {
        let mut socket = Socket::open().unwrap();
        socket.create_veth("eth0", MAC, "peer0").unwrap();
        let error = socket.create_veth("eth0", MAC, "peer1").unwrap_err();
        assert_eq!(error.errno(), Some(Errno::EXIST), "{error}");

        let link = socket.link("eth0").unwrap().unwrap();
        assert_eq!((link.mac, link.up), (Some(MAC), false));
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
        ip("link add eth0 type veth peer name peer0");
        ip("link set eth0 up");
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
        let shown = ip("route show table local proto 66");
        assert_eq!(
            shown.lines().map(str::trim).collect::<Vec<_>>(),
            [
                "local 10.0.0.1 dev eth0 scope host",
                "local 10.0.0.2 dev eth0 scope host"
            ]
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
        assert_eq!(ip("-6 route show table local proto 66"), "");
    });
}
