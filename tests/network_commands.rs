//! `gce-guest network` and `gce-guest explain route` beside `ip`, and the agent when its network is at odds with metadata.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "test code: a failure is a panic, programs are started directly, and a scenario reads best whole"
)]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::vm::Vm;
use support::{PROGRAM, attempt, in_sandbox, run, text_of};

/// The routes of ours, by `ip`: destinations only.
fn ours() -> Vec<String> {
    let mut found = Vec::new();
    for family in ["-4", "-6"] {
        let shown = text_of([
            "ip", family, "route", "show", "table", "local", "proto", "66",
        ]);
        found.extend(
            shown
                .lines()
                .filter_map(|line| line.split(' ').nth(1).map(String::from)),
        );
    }
    found
}

/// Runs the program; its status, and what it says on both streams.
fn told(words: &[&str]) -> (Option<i32>, String) {
    let output = attempt([PROGRAM].iter().chain(words));
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// What sets interfaces up, as the page and the data have it, whatever decides on it.
fn backends_are_told() {
    let configuration = "/etc/default/instance_configs.cfg.template";
    let client = "/usr/local/sbin/dhclient";
    fs::write(client, "#!/bin/sh\nexit 0\n").unwrap();
    run(["chmod", "755", client]);
    let section = "[NetworkInterfaces]\n";
    for (option, backend, line) in [
        ("", json!("dhclient"), "dhclient: it is installed"),
        (
            "dhcp_command = up -v\n",
            json!("NetworkInterfaces.dhcp_command"),
            "NetworkInterfaces.dhcp_command: the configuration has it",
        ),
        ("setup = false\n", Value::Null, "nothing: switched off"),
    ] {
        fs::write(configuration, format!("{section}{option}")).unwrap();
        let page = told(&["network", "status"]).1;
        assert!(
            page.lines()
                .any(|told| told == format!("set up through {line}")),
            "{page}"
        );
        let page: Value = serde_json::from_str(&told(&["network", "status", "--json"]).1).unwrap();
        assert_eq!(page["backend"], backend, "{page:#}");
    }
    fs::remove_file(configuration).unwrap();
}

#[test]
fn the_state_of_the_network_is_told_brought_in_line_and_explained() {
    in_sandbox(
        "the_state_of_the_network_is_told_brought_in_line_and_explained",
        || {
            let vm = Vm::new();
            let long = "2600:1900:4000:1234:5678:9abc:def0:1234";
            vm.set(
                "instance/networkInterfaces",
                json!([
                    {
                        "mac": "42:01:0a:80:00:02", "ip": "10.128.0.2",
                        "forwardedIps": ["203.0.113.10"], "ipAliases": ["10.1.0.7/24"],
                        "forwardedIpv6s": [long], "targetInstanceIps": ["203.0.113.11"]
                    },
                    {"mac": "42:01:0a:80:00:77", "ip": "10.129.0.2", "forwardedIps": ["203.0.113.12"]}
                ]),
            );
            run("ip route add local 9.9.9.9 dev eth0 table local scope host proto 66".split(' '));
            let (status, page) = told(&["network", "status"]);
            assert_eq!(status, Some(1), "routes are missing:\n{page}");
            let mut tables = page.split("\n\n").take(2).flat_map(str::lines);
            assert!(tables.all(|line| line.len() <= 80), "{page}");
            assert!(page.contains("to do: remove 9.9.9.9 from eth0"), "{page}");
            backends_are_told();
            let (status, refused) = told(&["explain", "route", "203.0.113.10"]);
            assert!(
                refused.contains("FAIL  the next pass will add 203.0.113.10"),
                "{refused}"
            );
            assert_eq!(status, Some(1));

            let (status, said) = told(&["network", "sync", "--once"]);
            assert_eq!(
                status,
                Some(0),
                "a NIC that is not there is no failure:\n{said}"
            );
            assert!(said.contains("removing [9.9.9.9]"), "{said}");
            assert_eq!(
                ours(),
                ["10.1.0.0/24", "203.0.113.10", "203.0.113.11", long]
            );
            assert!(told(&["network", "sync"]).1.starts_with("nothing to do\n"));
            let (_, past) = told(&["history"]);
            assert!(past.contains("removing [9.9.9.9]"), "{past}");

            let (_, page) = told(&["network", "status", "--json"]);
            let page: Value = serde_json::from_str(&page).unwrap();
            let first = &page["interfaces"][0];
            assert_eq!(
                (&first["interface"], &first["up"]),
                (&json!("eth0"), &json!(true))
            );
            let shown = text_of(["ip", "-o", "addr", "show", "eth0"]);
            for address in first["addresses"].as_array().unwrap() {
                assert!(shown.contains(address.as_str().unwrap()), "{shown}");
            }
            let routes = first["routes"].as_array().unwrap();
            let present =
                |route: &&Value| route["state"] == "present" && route["since"].is_string();
            assert_eq!(routes.iter().filter(present).count(), 4, "{page:#}");
            assert_eq!(page["interfaces"][1]["routes"][0]["state"], "missing");

            // The machine of this test is the metadata server itself.
            let server = &page["metadata_server"][0];
            assert_eq!(
                (&server["address"], &server["state"]),
                (&json!("169.254.169.254"), &json!("none"))
            );
            let (status, said) = told(&["explain", "route", "169.254.169.254"]);
            assert_eq!(status, Some(0), "{said}");
            let reason = "no route of its own is needed: the machine has this address itself";
            assert!(said.contains(reason), "{said}");

            let (status, said) = told(&["explain", "route", "10.1.0.99"]);
            assert_eq!(status, Some(0), "{said}");
            assert!(
                said.contains("local 10.1.0.0/24 dev eth0 proto 66, ours, for "),
                "{said}"
            );
            let (status, said) = told(&["explain", "route", "203.0.113.12"]);
            assert_eq!(status, Some(1), "{said}");
            assert!(said.contains("(42:01:0a:80:00:77) is not there"), "{said}");

            // Beside the agent there is nothing to bring in line.
            let agent = vm.agent();
            vm.settled(&agent);
            let (status, said) = told(&["network", "sync"]);
            assert_eq!(status, Some(1), "{said}");
            assert!(said.contains("network is in the hands of "), "{said}");
        },
    );
}
