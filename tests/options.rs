//! Every option that has an effect on a running machine, off and on: what it changes is seen there, not in our own words.
//!
//! The options of accounts have their tests in `accounts.rs` and `accounts_rules.rs`; how values are read and which source
//! wins is in `config.rs`.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a failure is a panic, and programs are started directly"
)]

mod support;

use serde_json::json;
use support::vm::{KEY, Vm, contents, entry, passwd};
use support::{PROGRAM, attempt, in_sandbox, run, text_of};

fn configure(text: &str) {
    std::fs::write("/etc/default/instance_configs.cfg.template", text).unwrap();
}

/// The addresses of our routes after a fresh agent has settled on this configuration.
fn routes(vm: &Vm, configuration: &str, protocol: &str) -> Vec<String> {
    configure(configuration);
    let agent = vm.agent();
    vm.settled(&agent);
    shown(protocol)
        .lines()
        .filter_map(|line| line.split(' ').nth(1).map(String::from))
        .collect()
}

/// The routes of the local table with a protocol id, by `ip`.
fn shown(protocol: &str) -> String {
    text_of(["ip", "route", "show", "table", "local", "proto", protocol])
}

#[test]
fn the_switches_of_forwarded_addresses() {
    in_sandbox("the_switches_of_forwarded_addresses", || {
        let vm = Vm::new();
        vm.set(
            "instance/networkInterfaces/0/forwardedIps",
            json!(["203.0.113.1"]),
        );
        vm.set(
            "instance/networkInterfaces/0/ipAliases",
            json!(["10.1.0.0/28"]),
        );
        vm.set(
            "instance/networkInterfaces/0/targetInstanceIps",
            json!(["203.0.113.2"]),
        );
        let all = ["10.1.0.0/28", "203.0.113.1", "203.0.113.2"];
        let none: [&str; 0] = [];
        assert_eq!(routes(&vm, "", "66"), all);
        for (option, expected) in [
            ("[IpForwarding]\nip_aliases = false\n", &all[1..]),
            ("[IpForwarding]\ntarget_instance_ips = false\n", &all[..2]),
            (
                "[IpForwarding]\nforwarded_ips = false\n",
                &["10.1.0.0/28", "203.0.113.2"],
            ),
            (
                "[IpForwarding]\nip_aliases_except = 42-01-0A-80-00-02\n",
                &all[1..],
            ),
            (
                "[IpForwarding]\nforwarded_ips_except = 42:01:0a:80:00:02\n",
                &["10.1.0.0/28", "203.0.113.2"],
            ),
            (
                "[IpForwarding]\ntarget_instance_ips_except = 42:01:0a:80:00:02\n",
                &all[..2],
            ),
            ("[NetworkInterfaces]\nip_forwarding = false\n", &none),
            ("", &all),
            ("[Daemons]\nip_forwarding_daemon = false\n", &none),
            ("[IpForwarding]\nip_aliases = true\n", &all),
        ] {
            assert_eq!(routes(&vm, option, "66"), expected, "{option}");
        }
    });
}

#[test]
fn another_protocol_id_moves_our_routes_and_nobody_elses() {
    in_sandbox(
        "another_protocol_id_moves_our_routes_and_nobody_elses",
        || {
            let vm = Vm::new();
            vm.set(
                "instance/networkInterfaces/0/forwardedIps",
                json!(["203.0.113.1", "203.0.113.2"]),
            );
            let all = ["203.0.113.1", "203.0.113.2"];
            assert_eq!(routes(&vm, "", "66"), all);
            assert_eq!(
                routes(&vm, "[IpForwarding]\nethernet_proto_id = 77\n", "77"),
                all,
                "our routes of 66 are moved"
            );
            assert_eq!(shown("66"), "");
            // Somebody else's with our number of yesterday.
            let foreign = "local 9.9.9.9 dev eth0 scope host";
            let add = "ip route add local 9.9.9.9 dev eth0 scope host table local proto 77";
            run(add.split(' '));
            assert_eq!(
                routes(&vm, "[IpForwarding]\nethernet_proto_id = 88\n", "88"),
                all
            );
            assert_eq!(shown("77"), foreign);
            run(["ip", "route", "flush", "table", "local", "proto", "88"]);
            let switched_off = routes(&vm, "[Daemons]\nnetwork_daemon = false\n", "66");
            assert_eq!(switched_off, [""; 0]);
        },
    );
}

#[test]
fn the_switch_of_accounts_and_the_lock_that_metadata_cannot_open() {
    in_sandbox(
        "the_switch_of_accounts_and_the_lock_that_metadata_cannot_open",
        || {
            let vm = Vm::new();
            vm.set_keys(&[entry("alice")]);
            for off in [
                "[Daemons]\naccounts_daemon = false\n",
                "[Lock]\ndisable = accounts\n",
            ] {
                configure(off);
                vm.set(
                    "instance/attributes/google-instance-configs",
                    "[Daemons]\naccounts_daemon = true\n",
                );
                let agent = vm.agent();
                vm.settled(&agent);
                assert_eq!(passwd("alice"), "", "{off}");
            }
            configure("");
            // Before the agent starts, which would find them switched on.
            vm.set(
                "instance/attributes/google-instance-configs",
                "[Daemons]\naccounts_daemon = false\n",
            );
            let agent = vm.agent();
            vm.settled(&agent);
            assert_eq!(passwd("alice"), "", "metadata switches it off");
            vm.set("instance/attributes/google-instance-configs", "");
            vm.settled(&agent);
            assert!(
                passwd("alice").starts_with("alice:"),
                "and its values go with it"
            );
        },
    );
}

#[test]
fn a_users_own_keys_are_kept_where_that_is_configured() {
    in_sandbox("a_users_own_keys_are_kept_where_that_is_configured", || {
        let vm = Vm::new();
        let own = KEY.replace("a@example", "her own");
        for (configuration, left) in [
            ("", String::new()),
            ("[Accounts]\nkeep_own_keys = true\n", format!("{own}\n")),
        ] {
            configure(configuration);
            vm.set_keys(&[entry("alice")]);
            let agent = vm.agent();
            vm.settled(&agent);
            let path = "/home/alice/.ssh/authorized_keys";
            std::fs::write(path, format!("{}{own}\n", contents(path))).unwrap();
            vm.set_keys(&[]);
            vm.settled(&agent);
            assert_eq!(contents(path), left, "{configuration}");
        }
    });
}

#[test]
fn the_options_of_scripts() {
    in_sandbox("the_options_of_scripts", || {
        let vm = Vm::new();
        vm.set(
            "instance/attributes/startup-script",
            "echo \"$0\" >/tmp/ran; readlink /proc/$$/exe >>/tmp/ran",
        );
        let ran = |configuration: &str| {
            configure(configuration);
            // It may not have run before.
            let _ = std::fs::remove_file("/tmp/ran");
            run([PROGRAM, "scripts", "startup"]);
            contents("/tmp/ran")
                .lines()
                .map(String::from)
                .collect::<Vec<_>>()
        };
        let (usual, dash) = (ran(""), text_of(["readlink", "-f", "/bin/dash"]));
        assert!(
            usual[0].starts_with("/run/") && usual[1].ends_with("/bash"),
            "{usual:?}"
        );
        assert_eq!(
            ran("[MetadataScripts]\nstartup = false\n"),
            Vec::<String>::new()
        );
        let with_dash = ran("[MetadataScripts]\ndefault_shell = /bin/dash\n");
        assert_eq!(with_dash[1], dash);
        std::fs::create_dir("/var/scripts").unwrap();
        assert!(
            ran("[MetadataScripts]\nrun_dir = /var/scripts\n")[0]
                .starts_with("/var/scripts/startup-")
        );
        configure("[MetadataScripts]\nrun_dir = /nonexistent\n");
        let missing = attempt([PROGRAM, "scripts", "startup"]);
        let told = String::from_utf8_lossy(&missing.stderr).into_owned();
        assert!(
            missing.status.success() && told.contains("run_dir"),
            "{told}"
        );
    });
}
