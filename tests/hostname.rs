//! The host name as others see it: hostname(1), getent(1), sudo(8), a real DHCP client with a real server, systemd.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "test code: a failure is a panic, programs are started directly, and a scenario reads best whole"
)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::lan;
use support::machine::{Machine, on_machine, on_machine_with};
use support::vm::{PATIENCE, Vm, contents};
use support::{Daemon, PROGRAM, attempt, in_sandbox_with, poll_until, run, text_of};

/// How long a boot and its network may take on a loaded machine.
const LONG: Duration = Duration::from_secs(120);

/// With the capability that sethostname(2) takes too.
const SANDBOX: &[&str] = &["--allow-mounts"];

/// The name of the emulator's example.
const FULL: &str = "example.us-central1-f.c.example-project.internal";

const CONFIGURATION: &str = "/etc/default/instance_configs.cfg.template";

fn configure(text: &str) {
    fs::write(CONFIGURATION, text).unwrap();
}

/// The kernel's name, by hostname(1).
fn name() -> String {
    text_of(["hostname"])
}

fn named(expected: &str) {
    poll_until(PATIENCE, &format!("the host name is {expected}"), || {
        name() == expected
    });
}

/// One pass without the agent.
fn sync() -> String {
    text_of([PROGRAM, "hostname", "sync"])
}

/// What the three places are, and whether they were written.
fn places() -> Vec<String> {
    let stamp = |path: &str| {
        let status = fs::metadata(path).unwrap();
        let written = (status.ino(), status.mtime(), status.mtime_nsec());
        format!("{} {written:?} {}", contents(path), status.mode())
    };
    vec![name(), stamp("/etc/hosts"), stamp("/etc/hostname")]
}

#[test]
fn the_agent_gives_the_machine_its_name_and_follows_metadata() {
    in_sandbox_with(
        SANDBOX,
        "the_agent_gives_the_machine_its_name_and_follows_metadata",
        || {
            // The sandbox has a line for the metadata server, which is as good as ours.
            let foreign = contents("/etc/hosts");
            configure("[Hostname]\nmode = static\n");
            let vm = Vm::new();
            let agent = vm.agent();
            named("example");
            assert_eq!(text_of(["hostname", "--fqdn"]), FULL);
            assert_eq!(contents("/etc/hostname"), "example\n");
            assert_eq!(
                contents("/etc/hosts"),
                format!("{foreign}10.128.0.2 {FULL} example  # Added by Google\n")
            );
            for asked in ["example", FULL] {
                let answer = text_of(["getent", "hosts", asked]);
                let words: Vec<&str> = answer.split_whitespace().collect();
                assert_eq!(words, ["10.128.0.2", FULL, "example"]);
            }
            let server = text_of(["getent", "hosts", "metadata.google.internal"]);
            assert!(server.starts_with("169.254.169.254 "), "{server}");
            let sudo = run(["sudo", "-n", "true"]);
            assert_eq!(String::from_utf8_lossy(&sudo.stderr), "");

            // The instance is renamed, and gets another address.
            vm.set("instance/hostname", "shop.corp.internal");
            vm.set("instance/networkInterfaces/0/ip", "10.128.0.77");
            named("shop");
            poll_until(PATIENCE, "the new address", || {
                text_of(["getent", "hosts", "shop"]).starts_with("10.128.0.77 ")
            });
            assert!(!contents("/etc/hosts").contains("example"));

            // A name that would take the metadata server's place changes nothing; it is told once.
            vm.set("instance/hostname", "metadata.google.internal");
            let refused = "it is a name of the metadata server";
            poll_until(PATIENCE, "the refusal", || agent.said().contains(refused));
            let before = places();
            vm.settled(&agent);
            vm.set("instance/hostname", "shop.corp.internal");
            poll_until(PATIENCE, "its end", || agent.said().contains("No longer"));
            assert_eq!(places(), before);
            let lines = agent.said();
            let told = |word: &str| lines.lines().filter(|line| line.contains(word)).count();
            assert_eq!(told("WARNING"), 1, "{lines}");
        },
    );
}

#[test]
fn the_options_of_the_host_name() {
    in_sandbox_with(SANDBOX, "the_options_of_the_host_name", || {
        let vm = Vm::new();
        run(["hostname", "before"]);
        fs::write("/etc/hostname", "before\n").unwrap();
        let line = |names: &str| format!("10.128.0.2 {names}  # Added by Google\n");
        let long = format!("{FULL} example");
        for (options, kernel, file, hosts) in [
            ("[Hostname]\nmode = off\n", "before", "before", None),
            (
                "[Unstable]\nset_fqdn = true\n",
                "before",
                "before",
                Some(line(&long)),
            ),
            (
                "[Hostname]\nmode = transient\n",
                "example",
                "before",
                Some(line(&long)),
            ),
            (
                "[Hostname]\nmode = transient\nform = fqdn\n",
                FULL,
                "before",
                Some(line(&long)),
            ),
            (
                "[Hostname]\nmode = static\nmanage_hosts = false\n",
                "example",
                "example",
                None,
            ),
            (
                "[Unstable]\nset_hostname = true\n",
                "example",
                "example",
                Some(line(&long)),
            ),
            (
                "[Unstable]\nset_hostname = true\nfqdn_as_hostname = true\nadditional_aliases = www, w.example.org\n",
                FULL,
                FULL,
                Some(line(&format!("{long} www w.example.org"))),
            ),
            (
                "[Hostname]\nmode = static\n[Unstable]\nfqdn_address_interface_index = 7\n",
                "example",
                "example",
                Some(format!("127.0.1.1 {long}  # Added by Google\n")),
            ),
            (
                "[Hostname]\nmode = static\n[Daemons]\nnetwork_daemon = false\n",
                "before",
                "before",
                None,
            ),
            (
                "[Hostname]\nmode = static\n[Lock]\ndisable = hostname\n",
                "before",
                "before",
                None,
            ),
        ] {
            run(["hostname", "before"]);
            fs::write("/etc/hostname", "before\n").unwrap();
            fs::write("/etc/hosts", "127.0.0.1 localhost before\n").unwrap();
            configure(options);
            sync();
            let file_now = contents("/etc/hostname");
            assert_eq!(
                (name().as_str(), file_now.trim()),
                (kernel, file),
                "{options}"
            );
            let hosts_now = contents("/etc/hosts");
            match hosts {
                None => assert_eq!(hosts_now, "127.0.0.1 localhost before\n", "{options}"),
                Some(line) => {
                    let server = "169.254.169.254 metadata.google.internal  # Added by Google\n";
                    let block = format!("{server}{line}");
                    assert!(hosts_now.ends_with(&block), "{options}{hosts_now}");
                }
            }
            let before = places();
            for _ in 0..3 {
                assert_eq!(sync(), "nothing to do", "{options}");
            }
            assert_eq!(places(), before, "{options}");
        }
        drop(vm);
    });
}

/// What one pass says on standard error; it succeeds.
fn told_by_sync() -> String {
    let output = attempt([PROGRAM, "hostname", "sync"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{told}");
    told
}

#[test]
fn files_that_somebody_keeps_elsewhere_are_left_to_them() {
    in_sandbox_with(
        SANDBOX,
        "files_that_somebody_keeps_elsewhere_are_left_to_them",
        || {
            let vm = Vm::new();
            configure("[Hostname]\nmode = static\n");
            fs::rename("/etc/hosts", "/etc/hosts.real").unwrap();
            symlink("hosts.real", "/etc/hosts").unwrap();
            let before = contents("/etc/hosts.real");
            let told = told_by_sync();
            let expected = "/etc/hosts is left as it is, because it is a link to hosts.real: have its keeper add \
                            the machine's name, or set Hostname.manage_hosts to false";
            assert!(told.contains(expected), "{told}");
            assert_eq!(contents("/etc/hosts.real"), before);
            assert_eq!(
                (name().as_str(), contents("/etc/hostname").as_str()),
                ("example", "example\n")
            );

            // As in a container.
            fs::remove_file("/etc/hosts").unwrap();
            for path in ["/etc/hosts", "/etc/hostname"] {
                fs::write(path, "").unwrap();
                let kept = format!("/tmp/kept{}", path.replace('/', "-"));
                fs::write(&kept, "before\n").unwrap();
                run(["mount", "--bind", &kept, path]);
            }
            run(["hostname", "before"]);
            let told = told_by_sync();
            for path in ["/etc/hosts", "/etc/hostname"] {
                let kept = format!("{path} is left as it is, because something is mounted there");
                assert!(told.contains(&kept), "{told}");
                assert_eq!(contents(path), "before\n");
            }
            assert_eq!(name(), "example");
            // The agent says so once.
            let agent = vm.agent();
            vm.settled(&agent);
            let log = vm.settled(&agent);
            assert_eq!(
                log.matches("/etc/hosts is left as it is").count(),
                1,
                "{log}"
            );
            // With the right lines in it there is nothing to say.
            fs::write("/tmp/kept-etc-hostname", "example\n").unwrap();
            let hosts = format!(
                "169.254.169.254 metadata.google.internal  # Added by Google\n\
                                 10.128.0.2 {FULL} example  # Added by Google\n"
            );
            fs::write("/tmp/kept-etc-hosts", hosts).unwrap();
            assert_eq!(told_by_sync(), "");
        },
    );
}

#[test]
fn files_that_cannot_be_replaced_cost_only_themselves() {
    in_sandbox_with(
        SANDBOX,
        "files_that_cannot_be_replaced_cost_only_themselves",
        || {
            let _vm = Vm::new();
            configure("[Hostname]\nmode = static\n");
            run(["mount", "--bind", "/etc", "/etc"]);
            run(["mount", "-o", "remount,bind,ro", "/etc"]);
            let output = attempt([PROGRAM, "hostname", "sync"]);
            assert_eq!(output.status.code(), Some(1));
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            for path in ["/etc/hosts", "/etc/hostname"] {
                assert!(told.contains(&format!("write {path}: Read-only")), "{told}");
            }
            assert_eq!(name(), "example");
        },
    );
}

#[test]
fn the_state_of_the_host_name_is_told() {
    in_sandbox_with(SANDBOX, "the_state_of_the_host_name_is_told", || {
        let _vm = Vm::new();
        run(["hostname", "before"]);
        let told = text_of([PROGRAM, "hostname", "status"]);
        assert!(
            told.contains("off, short") && told.contains("before"),
            "{told}"
        );
        assert!(!told.contains("to do"), "{told}");
        configure("[Hostname]\nmode = transient\n");
        let told = text_of([PROGRAM, "hostname", "status"]);
        assert!(
            told.contains("to do          change the host name from before to example"),
            "{told}"
        );
        assert!(
            told.lines()
                .all(|line| line.len() <= 80 || line.starts_with("to do")),
            "{told}"
        );
        let status: Value =
            serde_json::from_str(&text_of([PROGRAM, "hostname", "status", "--json"])).unwrap();
        assert_eq!(status["kernel"], "before");
        assert_eq!(status["name"], FULL);
        assert_eq!(status["source"], "instance/hostname");
        sync();
        let told = text_of([PROGRAM, "hostname", "status"]);
        assert!(!told.contains("to do"), "{told}");
    });
}

/// The hook files, each with its place.
const HOOKS: [(&str, &str); 5] = [
    (
        "dhclient-exit-hook.sh",
        "etc/dhcp/dhclient-exit-hooks.d/google_set_hostname",
    ),
    ("dhclient.d.sh", "etc/dhcp/dhclient.d/google_hostname.sh"),
    (
        "networkmanager-dispatcher.sh",
        "etc/NetworkManager/dispatcher.d/google_hostname.sh",
    ),
    (
        "interface-up.sh",
        "etc/networkd-dispatcher/routable.d/google_hostname.sh",
    ),
    (
        "interface-up.sh",
        "etc/sysconfig/network/scripts/google_up.sh",
    ),
];

/// Puts the hook files in their places, as a package does it.
fn install_hooks_below(root: &Path) {
    let hooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/hooks");
    for (hook, place) in HOOKS {
        let (hook, place) = (hooks.join(hook), root.join(place));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(&hook, &place).unwrap();
        fs::set_permissions(place, fs::metadata(hook).unwrap().permissions()).unwrap();
    }
}

/// The same in a sandbox, with the command that they call.
fn install_hooks() {
    let upper = ["/tmp/upper", "/tmp/work"];
    upper
        .iter()
        .for_each(|directory| fs::create_dir(directory).unwrap());
    let options = "lowerdir=/usr/bin,upperdir=/tmp/upper,workdir=/tmp/work";
    run([
        "mount", "-t", "overlay", "overlay", "-o", options, "/usr/bin",
    ]);
    symlink(PROGRAM, "/usr/bin/google_set_hostname").unwrap();
    install_hooks_below(Path::new("/"));
}

/// A network with a DHCP server that gives the machine this name: the other end of eth0, in a network namespace of its own.
fn lan(server_name: &str) -> [Daemon; 2] {
    let space = Daemon::start("lan", ["unshare", "--net", "sleep", "infinity"]);
    let id = space.id().to_string();
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    poll_until(PATIENCE, "the namespace", || {
        fs::read_link(format!("/proc/{id}/ns/net")).is_ok_and(|space| space != own)
    });
    run(["ip", "link", "set", "eth0p", "netns", &id]);
    let inside = |words: &[&str]| {
        let enter = ["nsenter", "--target", &id, "--net", "--"];
        enter
            .iter()
            .chain(words)
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    run(inside(&[
        "ip",
        "addr",
        "add",
        "10.128.0.1/20",
        "dev",
        "eth0p",
    ]));
    run(inside(&["ip", "link", "set", "eth0p", "up"]));
    let host = format!("--dhcp-host=42:01:0a:80:00:02,10.128.0.2,{server_name}");
    let option = format!("--dhcp-option-force=12,{server_name}");
    let server = Daemon::start(
        "dnsmasq",
        inside(&[
            "dnsmasq",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--port=0",
            "--interface=eth0p",
            "--bind-interfaces",
            "--user=root",
            "--dhcp-authoritative",
            "--no-ping",
            "--leasefile-ro",
            "--log-dhcp",
            "--log-facility=-",
            "--dhcp-range=10.128.0.2,10.128.0.9,255.255.240.0,2m",
            "--dhcp-option=1,255.255.255.255",
            "--dhcp-option=option:T1,4",
            "--dhcp-option=121,10.128.0.1/32,0.0.0.0,0.0.0.0/0,10.128.0.1",
            &host,
            &option,
        ]),
    );
    [space, server]
}

#[test]
fn a_dhcp_server_cannot_name_the_machine_and_renewals_change_nothing() {
    in_sandbox_with(
        &[SANDBOX, &["--nic", "eth0,42:01:0a:80:00:02"]].concat(),
        "a_dhcp_server_cannot_name_the_machine_and_renewals_change_nothing",
        || {
            let _vm = Vm::new();
            install_hooks();
            configure("[Hostname]\nmode = transient\n");
            // Debian's dhclient-script takes a name from the server when the machine has none: the worst case.
            run(["hostname", "localhost"]);
            let [_space, server] = lan("metadata.google.internal");
            // What dhclient-script is called for.
            let note = "/etc/dhcp/dhclient-exit-hooks.d/note";
            fs::write(note, "echo $reason >> /tmp/reasons\n").unwrap();
            // One after the other, each with the lease of the one before: the name must outlast them all.
            let lease = || {
                let files = ["-pf", "/tmp/dhclient.pid", "-lf", "/tmp/dhclient.leases"];
                let words = ["dhclient", "-4", "-d", "-v", "eth0"];
                let client = Daemon::start("dhclient", words.iter().chain(&files));
                poll_until(LONG, &format!("a lease of:\n{}", server.said()), || {
                    client.said().contains("bound to 10.128.0.2")
                });
                client
            };
            drop(lease());
            let offered = fs::read_to_string("/tmp/dhclient.leases").unwrap();
            assert!(
                offered.contains("metadata.google.internal"),
                "it was tried:\n{offered}"
            );
            assert_eq!(name(), "example");
            let hosts = contents("/etc/hosts");
            for _ in 0..3 {
                run(["hostname", "localhost"]);
                drop(lease());
                assert_eq!(
                    (name(), contents("/etc/hosts")),
                    ("example".into(), hosts.clone())
                );
            }
            // On a loaded machine one of them may have come to a renewal before it was ended.
            let reasons = contents("/tmp/reasons");
            let first = |reason: &&str| ["BOUND", "REBOOT"].contains(reason);
            assert_eq!(reasons.lines().filter(first).count(), 4, "{reasons}");
            // The client that goes on renews its lease by itself.
            let client = lease();
            for _ in 0..2 {
                let renewals = || contents("/tmp/reasons").matches("RENEW").count();
                let before = renewals();
                run(["hostname", "localhost"]);
                // One that is already past our hook, and is noted only now, puts nothing back.
                poll_until(LONG, &format!("a renewal of:\n{}", client.said()), || {
                    renewals() > before && name() == "example"
                });
                assert_eq!(contents("/etc/hosts"), hosts);
            }
            assert!(
                text_of(["getent", "hosts", "metadata.google.internal"])
                    .starts_with("169.254.169.254")
            );
        },
    );
}

#[test]
fn the_hooks_of_other_network_programs_put_the_name_back() {
    in_sandbox_with(
        SANDBOX,
        "the_hooks_of_other_network_programs_put_the_name_back",
        || {
            let vm = Vm::new();
            install_hooks();
            let bare = ["env", "-i", "PATH=/usr/bin:/bin"];
            let hooked = |words: &[&str]| {
                run(["hostname", "intruder"]);
                run(bare.iter().chain(words));
                name()
            };
            let manager = "/etc/NetworkManager/dispatcher.d/google_hostname.sh";
            let calls: [&[&str]; 5] = [
                &[manager, "eth0", "up"],
                &[manager, "eth0", "dhcp4-change"],
                &[
                    "IFACE=eth0",
                    "STATE=routable",
                    "/etc/networkd-dispatcher/routable.d/google_hostname.sh",
                ],
                &["/etc/sysconfig/network/scripts/google_up.sh", "-o", "eth0"],
                // As the dhclient-script of Enterprise Linux does it.
                &[
                    "new_host_name=metadata.google.internal",
                    "sh",
                    "-ec",
                    EL_SCRIPT,
                ],
            ];
            for call in calls {
                configure("");
                assert_eq!(hooked(call), "intruder", "off: {call:?}");
                configure("[Hostname]\nmode = transient\n");
                assert_eq!(hooked(call), "example", "{call:?}");
            }
            for other in [
                &[manager, "eth0", "down"],
                &[manager, "", "connectivity-change"],
            ] {
                assert_eq!(hooked(other), "intruder", "{other:?}");
            }
            // Without metadata a hook says so, is soon over, and changes nothing.
            drop(vm);
            let output = attempt(["/usr/bin/google_set_hostname"]);
            assert_eq!(
                (output.status.code(), name().as_str()),
                (Some(1), "intruder")
            );
        },
    );
}

const EL_SCRIPT: &str = "for f in /etc/dhcp/dhclient.d/*.sh; do
    subsystem=${f%.sh}
    subsystem=${subsystem##*/}
    . $f
    ${subsystem}_config
done";

/// NetworkManager has the first interface of this machine, and systemd-networkd, whose events networkd-dispatcher takes, the
/// second. There is no agent: whatever puts the name back was a hook.
#[test]
fn the_dispatchers_of_network_managers_call_the_hooks() {
    let mut servers = Vec::new();
    let prepare = |root: &Path, _: &Vm| {
        servers = lan::make();
        install_hooks_below(root);
        for (_, place) in HOOKS {
            // Beside each hook one that says that it was called.
            let note = root.join(place).with_file_name("note");
            fs::write(
                &note,
                format!("#!/bin/sh\necho called >> '/{place}.called'\n"),
            )
            .unwrap();
            fs::set_permissions(note, fs::Permissions::from_mode(0o755)).unwrap();
        }
        symlink("gce-guest", root.join("usr/bin/google_set_hostname")).unwrap();
        for (path, text) in [
            (CONFIGURATION, "[Hostname]\nmode = transient\n"),
            ("/etc/hostname", "golden-image\n"),
            (
                "/etc/NetworkManager/conf.d/test.conf",
                "[keyfile]\nunmanaged-devices=interface-name:eth1\n",
            ),
            (
                "/etc/systemd/network/10-second.network",
                "[Match]\nName=eth1\n[Network]\nDHCP=ipv4\n[DHCPv4]\nUseHostname=false\nRouteMetric=5000\n",
            ),
        ] {
            let path = root.join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let enable = ["systemctl", "--quiet", "enable", "--root"];
        let units = ["NetworkManager", "systemd-networkd", "networkd-dispatcher"];
        run(enable
            .into_iter()
            .chain([root.to_str().unwrap()])
            .chain(units));
    };
    on_machine_with(
        "the_dispatchers_of_network_managers_call_the_hooks",
        &lan::OPTIONS,
        prepare,
        |machine| {
            let expect = |what: &str| {
                let until = Instant::now() + LONG;
                while machine.text(["hostname"]) != "example" {
                    let late = Instant::now() > until;
                    let journal = ["journalctl", "--no-pager", "--lines=80"];
                    assert!(!late, "{what}:\n{}", machine.text(journal));
                    std::thread::sleep(Duration::from_millis(50));
                }
            };
            expect("after the boot");
            let calls: [(&[&str], &str); 2] = [
                (&["nmcli", "device", "connect", "eth0"], HOOKS[2].1),
                (&["networkctl", "reconfigure", "eth1"], HOOKS[3].1),
            ];
            for (call, hook) in calls {
                poll_until(LONG, "nothing else is under way", || {
                    machine.text(["networkctl", "is-online", "--interface=eth1"]);
                    let state = ["nmcli", "-g", "GENERAL.STATE", "device", "show", "eth0"];
                    machine.text(state).contains("(connected)")
                });
                let calls = || {
                    Machine::contents(&format!("/{hook}.called"))
                        .lines()
                        .count()
                };
                let before = calls();
                machine.text(["hostname", "intruder"]);
                let called = machine.attempt(call);
                assert!(called.status.success(), "{called:?}");
                expect(call[0]);
                poll_until(LONG, hook, || calls() > before);
            }
        },
    );
    drop(servers);
}

/// Writes a unit and enables it.
fn add_unit(root: &Path, name: &str, text: &str) {
    let place = format!("usr/lib/systemd/system/{name}");
    fs::write(root.join(&place), text).unwrap();
    let wants = root.join("etc/systemd/system/multi-user.target.wants");
    symlink(format!("/{place}"), wants.join(name)).unwrap();
}

#[test]
fn a_static_name_is_there_from_the_first_moment_of_the_next_boot() {
    let prepare = |root: &Path, vm: &Vm| {
        vm.set("instance/hostname", "shop.corp.internal");
        vm.set(
            "instance/attributes",
            json!({"google-instance-configs": "[Hostname]\nmode = static\n"}),
        );
        fs::write(root.join("etc/hostname"), "golden-image\n").unwrap();
        add_unit(root, "first.service", FIRST_UNIT);
        add_unit(root, "agent.service", AGENT_UNIT);
        add_unit(
            root,
            "rsyslog.service",
            "[Service]\nType=notify\nNotifyAccess=all\nExecStart=/usr/sbin/rsyslogd\n",
        );
        let syslog = root.join("usr/sbin/rsyslogd");
        fs::write(&syslog, SYSLOG).unwrap();
        fs::set_permissions(syslog, fs::Permissions::from_mode(0o755)).unwrap();
    };
    on_machine(
        "a_static_name_is_there_from_the_first_moment_of_the_next_boot",
        prepare,
        |mut machine| {
            for boot in 0..3 {
                poll_until(LONG, "the name", || machine.text(["hostname"]) == "shop");
                assert_eq!(machine.text(["hostname", "--fqdn"]), "shop.corp.internal");
                // Whom hostnamectl asks is there some time after the first processes.
                poll_until(LONG, "the boot is over", || {
                    matches!(machine.state().as_str(), "running" | "degraded")
                });
                assert_eq!(machine.text(["hostnamectl", "--static"]), "shop");
                assert_eq!(machine.text(["hostnamectl", "--transient"]), "shop");
                let journal = machine.text(["journalctl", "--output=short", "--lines=1"]);
                assert!(boot == 0 || journal.contains(" shop "), "{journal}");
                if boot == 0 {
                    poll_until(LONG, "syslog is told", || {
                        Machine::contents("/told").contains("HUP")
                    });
                }
                machine = Machine::boot(machine.power_off());
            }
            let names = Machine::contents("/names");
            let names: Vec<&str> = names.lines().collect();
            assert_eq!(names[..3], ["golden-image", "shop", "shop"], "{names:?}");
            assert_eq!(Machine::contents("/told"), "HUP\n", "it was told once");
            drop(machine.power_off());
        },
    );
}

/// Writes down what the machine is called before anything of ours runs.
const FIRST_UNIT: &str = "[Unit]\nDefaultDependencies=no\nBefore=sysinit.target\n[Service]\nType=oneshot\n\
                          ExecStart=/bin/sh -c 'hostname >> /names'\n[Install]\nWantedBy=sysinit.target\n";

/// The agent, which finds a log daemon that is starting or has started.
const AGENT_UNIT: &str = "[Service]\nExecStart=/usr/bin/gce-guest agent\n\
                          ExecStartPre=/bin/sh -c 'while [ \"$(systemctl is-active rsyslog)\" = inactive ]; do sleep 0.1; done'\n";

/// A log daemon as far as the test goes. It is still starting when the name changes.
const SYSLOG: &str = "#!/bin/sh\nuntil [ \"$(hostname)\" = shop ]; do sleep 0.1; done\nsleep 0.5\n\
                      trap 'echo HUP >> /told' HUP\nsystemd-notify --ready\nwhile :; do sleep 0.2; done\n";
