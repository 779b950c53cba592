//! The agent as a program: a metadata server that misbehaves, signals, locks, the service manager, the legacy names.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "test code: a failure is a panic, programs are started directly, and a scenario reads best whole"
)]

mod support;

use std::os::unix::net::UnixDatagram;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use gce_guest::emulator::{Fault, Kind};
use support::vm::{PATIENCE, Vm, contents, entry, passwd};
use support::{Daemon, PROGRAM, attempt, in_sandbox, poll_until, run, text_of};

/// How often a log has a line that contains all of these.
fn lines_with(log: &str, words: &[&str]) -> usize {
    log.lines()
        .filter(|line| words.iter().all(|word| line.contains(word)))
        .count()
}

/// The lines of a log from WARNING up, but for what was late on a loaded machine.
fn trouble(log: &str) -> Vec<&str> {
    log.lines()
        .filter(|line| !line.contains("does not answer"))
        .filter(|line| line.contains(": WARNING ") || line.contains(": ERROR "))
        .collect()
}

/// Orders a fault for the next two requests, changes metadata meanwhile, and expects the change to arrive all the same,
/// with one message about the outage and one about its end.
fn survives(kind: Kind) {
    let vm = Vm::new();
    vm.set_keys(&[entry("alice")]);
    let agent = vm.agent();
    vm.settled(&agent);
    vm.live.inject(Fault::times(kind, 2));
    // This change answers the hanging GET; the two requests after it meet the fault.
    vm.set("instance/attributes/unrelated", "1");
    vm.set_keys(&[entry("alice"), entry("bob")]);
    poll_until(Duration::from_secs(60), "the change arrives", || {
        passwd("bob").starts_with("bob:")
    });
    let log = vm.settled(&agent);
    assert_eq!(trouble(&log).len(), 1, "one message for the outage:\n{log}");
    assert!(passwd("alice").starts_with("alice:"));
    assert!(contents("/home/alice/.ssh/authorized_keys").contains(support::vm::KEY));
}

#[test]
fn a_server_that_answers_503_is_waited_for() {
    in_sandbox("a_server_that_answers_503_is_waited_for", || {
        survives(Kind::Status { status: 503 });
    });
}

#[test]
fn a_server_that_sends_garbage_is_waited_for() {
    in_sandbox("a_server_that_sends_garbage_is_waited_for", || {
        survives(Kind::Garbage);
    });
}

#[test]
fn a_server_that_sends_something_else_than_json_is_waited_for() {
    in_sandbox(
        "a_server_that_sends_something_else_than_json_is_waited_for",
        || survives(Kind::NotJson),
    );
}

#[test]
fn a_server_that_breaks_off_is_waited_for() {
    in_sandbox("a_server_that_breaks_off_is_waited_for", || {
        survives(Kind::Truncated);
    });
}

#[test]
fn a_server_that_is_not_genuine_is_not_believed() {
    in_sandbox("a_server_that_is_not_genuine_is_not_believed", || {
        survives(Kind::NoFlavor);
    });
}

#[test]
fn a_redirect_is_not_followed() {
    in_sandbox("a_redirect_is_not_followed", || {
        survives(Kind::Redirect {
            to: "http://169.254.169.254/elsewhere".into(),
        });
    });
}

#[test]
fn an_unreachable_server_costs_one_message_and_its_return_another() {
    in_sandbox(
        "an_unreachable_server_costs_one_message_and_its_return_another",
        || {
            let agent = Daemon::start("agent", [PROGRAM, "agent", "--debug"]);
            let outages = |log: &str| lines_with(log, &["INFO There is no network yet."]);
            poll_until(PATIENCE, "the outage is logged", || {
                outages(&agent.said()) > 0
            });
            // Several attempts later it is still one message.
            std::thread::sleep(Duration::from_secs(4));
            assert_eq!(outages(&agent.said()), 1, "{}", agent.said());
            let vm = Vm::new();
            vm.set_keys(&[entry("alice")]);
            poll_until(Duration::from_secs(60), "alice is there", || {
                passwd("alice").starts_with("alice:")
            });
            let log = vm.settled(&agent);
            assert_eq!(outages(&log), 1, "{log}");
            assert_eq!(
                lines_with(&log, &["INFO Metadata is there after"]),
                1,
                "{log}"
            );
            assert_eq!(trouble(&log), [""; 0], "{log}");
        },
    );
}

#[test]
fn a_silent_or_dripping_server_does_not_hold_up_the_end_of_the_agent() {
    in_sandbox(
        "a_silent_or_dripping_server_does_not_hold_up_the_end_of_the_agent",
        || {
            for kind in [Kind::Hang, Kind::Drip { milliseconds: 200 }] {
                let vm = Vm::new();
                vm.live.inject(Fault::always(kind.clone()));
                let mut agent = vm.agent();
                poll_until(PATIENCE, "the agent asks", || {
                    vm.live.observed().requests > 0
                });
                let started = Instant::now();
                agent.signal("TERM");
                // The request has more than a minute, so nobody waits for its end here.
                assert!(agent.wait(PATIENCE).success(), "{kind:?}");
                println!("{kind:?}: ended after {:?}", started.elapsed());
            }
        },
    );
}

#[test]
fn sigterm_ends_the_agent_at_once_in_the_middle_of_work() {
    in_sandbox(
        "sigterm_ends_the_agent_at_once_in_the_middle_of_work",
        || {
            // Longer than the agent lets a command take, which is half a minute: its end is not waited for here.
            let slow = "[Accounts]\nuseradd_cmd = sleep 31.25\n";
            std::fs::write("/etc/default/instance_configs.cfg", slow).unwrap();
            let vm = Vm::new();
            vm.set_keys(&[entry("alice")]);
            let mut agent = vm.agent();
            poll_until(PATIENCE, "the command runs", || {
                attempt(["pgrep", "-f", "sleep 31.25"]).status.success()
            });
            let started = Instant::now();
            agent.signal("TERM");
            assert!(agent.wait(PATIENCE).success());
            println!("ended after {:?}", started.elapsed());
            assert_eq!(
                contents("/var/lib/google/google_users"),
                "",
                "nothing is recorded that did not happen"
            );
        },
    );
}

#[test]
fn a_malformed_configuration_costs_its_lines_only() {
    in_sandbox("a_malformed_configuration_costs_its_lines_only", || {
        let config = "[Accounts\nthis is no option\n[Accounts]\ndeprovision_remove = perhaps\ngroups = video\n";
        std::fs::write("/etc/default/instance_configs.cfg", config).unwrap();
        let vm = Vm::new();
        vm.set_keys(&[entry("alice")]);
        let agent = vm.agent();
        vm.settled(&agent);
        vm.set("instance/attributes/unrelated", "1");
        let log = vm.settled(&agent);
        let groups = text_of(["id", "-Gn", "alice"]);
        assert!(
            groups.contains("video") && !groups.contains("adm"),
            "the good line counts: {groups}"
        );
        assert_eq!(
            lines_with(&log, &["WARNING", "instance_configs.cfg:4", "perhaps"]),
            1,
            "{log}"
        );
        vm.set_keys(&[]);
        vm.settled(&agent);
        assert!(
            passwd("alice").starts_with("alice:"),
            "an unreadable deprovision_remove does not delete"
        );
    });
}

#[test]
fn two_agents_exclude_each_other_and_name_the_lock() {
    in_sandbox("two_agents_exclude_each_other_and_name_the_lock", || {
        let vm = Vm::new();
        let first = vm.agent();
        vm.settled(&first);
        let second = attempt([PROGRAM, "agent"]);
        assert!(
            second.status.success(),
            "a busy lock is no failure, as with the predecessors"
        );
        let told = String::from_utf8_lossy(&second.stderr).into_owned();
        assert_eq!(
            lines_with(
                &told,
                &[
                    "WARNING",
                    "Exception locking /var/lock/google_accounts.lock. File already locked by gce-guest (process"
                ]
            ),
            1,
            "{told}"
        );
        assert_eq!(
            lines_with(&told, &["WARNING", "google_networking.lock"]),
            1,
            "{told}"
        );
        drop(first);
        // The predecessors' daemon, or anything else with their lock, excludes that manager only.
        let holder = Daemon::start(
            "holder",
            ["flock", "/var/lock/google_networking.lock", "sleep", "60"],
        );
        poll_until(PATIENCE, "the lock is held", || {
            !attempt(["flock", "-n", "/var/lock/google_networking.lock", "true"])
                .status
                .success()
        });
        let agent = vm.agent();
        vm.set_keys(&[entry("alice")]);
        poll_until(PATIENCE, "alice is there", || {
            passwd("alice").starts_with("alice:")
        });
        assert!(!agent.said().contains("Pass of network"));
        drop(holder);
    });
}

#[test]
fn the_service_manager_hears_of_readiness_and_of_the_end() {
    in_sandbox(
        "the_service_manager_hears_of_readiness_and_of_the_end",
        || {
            let socket = UnixDatagram::bind("/run/notify").unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let hear = || {
                let mut buffer = [0; 256];
                let length = socket.recv(&mut buffer).unwrap();
                String::from_utf8_lossy(&buffer[..length]).into_owned()
            };
            // Without any metadata server: readiness does not wait for it.
            let mut command = std::process::Command::new(PROGRAM);
            command.arg("agent").env("NOTIFY_SOCKET", "/run/notify");
            let mut agent = Daemon::start_command("agent", &mut command);
            assert_eq!(hear(), "READY=1");
            agent.signal("TERM");
            assert_eq!(hear(), "STOPPING=1");
            assert!(agent.wait(PATIENCE).success());
        },
    );
}

#[test]
fn the_service_manager_hears_that_the_loop_is_alive_how_things_are_and_of_reloads() {
    in_sandbox(
        "the_service_manager_hears_that_the_loop_is_alive_how_things_are_and_of_reloads",
        || {
            let vm = Vm::new();
            let socket = UnixDatagram::bind("/run/notify").unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let hear_until = |wanted: &str| {
                let mut heard = Vec::new();
                while heard
                    .last()
                    .is_none_or(|last: &String| !last.starts_with(wanted))
                {
                    let mut buffer = [0; 1024];
                    let length = socket.recv(&mut buffer).unwrap();
                    heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
                }
                heard
            };
            let mut command = std::process::Command::new(PROGRAM);
            command
                .arg("agent")
                .env("NOTIFY_SOCKET", "/run/notify")
                .env("WATCHDOG_USEC", "200000");
            let agent = Daemon::start_command("agent", &mut command);
            hear_until("READY=1");
            hear_until("STATUS=accounts: ok;");
            // Also when nothing happens.
            for _ in 0..5 {
                hear_until("WATCHDOG=1");
            }
            vm.set_keys(&[entry("alice"), "no key".into()]);
            hear_until("STATUS=accounts: ok but for 1 problem;");
            let configuration = "[Daemons]\naccounts_daemon = false\n";
            std::fs::write("/etc/default/instance_configs.cfg", configuration).unwrap();
            agent.signal("HUP");
            let reloading = hear_until("RELOADING=1\nMONOTONIC_USEC=");
            let (_, at) = reloading.last().unwrap().rsplit_once('=').unwrap();
            let uptime = contents("/proc/uptime");
            let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
            assert!(
                (at.parse::<f64>().unwrap() / 1e6 - uptime).abs() < 60.0,
                "{at} {uptime}"
            );
            hear_until("READY=1");
            vm.set_keys(&[entry("alice"), entry("bob")]);
            // The network still follows, the accounts no longer do.
            let addresses = serde_json::json!(["203.0.113.10"]);
            vm.set("instance/networkInterfaces/0/forwardedIps", addresses);
            poll_until(PATIENCE, "the route is there", || {
                !text_of(["ip", "route", "show", "table", "local", "proto", "66"]).is_empty()
            });
            assert_eq!(passwd("bob"), "", "the configuration was read again");
        },
    );
}

#[test]
fn an_agent_that_ends_badly_again_and_again_waits_longer_each_time() {
    in_sandbox(
        "an_agent_that_ends_badly_again_and_again_waits_longer_each_time",
        || {
            let vm = Vm::new();
            let heard = ServiceManager::listen();
            let start = || {
                let mut command = std::process::Command::new(PROGRAM);
                command
                    .args(["agent", "--debug"])
                    .env("NOTIFY_SOCKET", "/run/notify")
                    .env("WATCHDOG_USEC", "200000");
                Daemon::start_command("agent", &mut command)
            };
            let kill = |mut agent: Daemon, signal: &str| {
                agent.signal(signal);
                assert!(!agent.wait(PATIENCE).success());
            };
            let works = |agent: &Daemon, user: &str| {
                vm.set_keys(&[entry(user)]);
                poll_until(PATIENCE, &format!("{user} is there"), || {
                    passwd(user).starts_with(user)
                });
                agent.said()
            };
            // The first start, and the one after the first bad end, are not held up.
            for user in ["alice", "bob"] {
                let agent = start();
                let log = works(&agent, user);
                assert_eq!(lines_with(&log, &["in a row"]), 0, "{log}");
                kill(agent, "KILL");
            }
            // The second bad end: it says why it waits, is alive meanwhile, and goes to work after that.
            let agent = start();
            heard.until("STATUS=the agent ended 2 times in a row");
            heard.until("WATCHDOG=1");
            let log = works(&agent, "carol");
            let warned = lines_with(&log, &["WARNING", "waits 5 s", "restart of its service"]);
            assert_eq!(warned, 1, "{log}");
            kill(agent, "ABRT");
            for seconds in [15, 35, 75] {
                let agent = start();
                heard.until(&format!("and waits {seconds} s"));
                let seen = status_when_it_waits();
                assert!(seen.contains(&format!("waits {seconds} s")), "{seen}");
                assert_eq!(lines_with(&agent.said(), &["Pass of"]), 0);
                kill(agent, "KILL");
            }
            // An end that is asked for, also of one that waits, is quick and makes all of it good.
            let mut agent = start();
            heard.until("and waits 155 s");
            let started = Instant::now();
            agent.signal("TERM");
            assert!(agent.wait(PATIENCE).success());
            println!("ended after {:?}", started.elapsed());
            heard.until("STOPPING=1");
            let agent = start();
            let log = works(&agent, "dave");
            assert_eq!(lines_with(&log, &["in a row"]), 0, "{log}");
        },
    );
}

/// The service manager's end of sd_notify(3), which takes whatever comes.
struct ServiceManager(Receiver<String>);

impl ServiceManager {
    fn listen() -> Self {
        let socket = UnixDatagram::bind("/run/notify").unwrap();
        let (messages, received) = channel();
        std::thread::spawn(move || {
            loop {
                let mut buffer = [0; 1024];
                let length = socket.recv(&mut buffer).unwrap();
                let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if messages.send(message).is_err() {
                    break;
                }
            }
        });
        Self(received)
    }

    /// Waits for a message with these words.
    fn until(&self, words: &str) {
        while !self.0.recv_timeout(PATIENCE).expect(words).contains(words) {}
    }
}

/// What `gce-guest status` says of an agent that waits: each of its managers runs, fails, and is tried later.
fn status_when_it_waits() -> String {
    let mut page = String::new();
    poll_until(PATIENCE, "the status of all", || {
        let seen = attempt([PROGRAM, "status"]);
        page = String::from_utf8_lossy(&seen.stdout).replace("\n            ", " ");
        seen.status.code() == Some(3) && page.matches("next try").count() == 6
    });
    page
}

#[test]
fn a_stop_at_any_moment_is_quick_and_leaves_nothing_half_done() {
    in_sandbox(
        "a_stop_at_any_moment_is_quick_and_leaves_nothing_half_done",
        || {
            let vm = Vm::new();
            let mut users: Vec<String> = Vec::new();
            for delay in [0, 5, 15, 30, 60, 120, 250, 500] {
                let new = (0..12).map(|number| entry(&format!("u{delay}x{number}")));
                users.extend(new);
                vm.set_keys(&users);
                let mut agent = Daemon::start("agent", [PROGRAM, "agent"]);
                poll_until(PATIENCE, "it handles signals", || {
                    agent.said().contains("watches metadata")
                });
                std::thread::sleep(Duration::from_millis(delay));
                let asked = Instant::now();
                agent.signal("TERM");
                assert!(agent.wait(PATIENCE).success());
                println!(
                    "stopped {:?} after SIGTERM, {delay} ms after its start",
                    asked.elapsed()
                );
                for lock in ["google_accounts.lock", "google_networking.lock"] {
                    run(["flock", "-n", &format!("/var/lock/{lock}"), "true"]);
                }
            }
            let agent = vm.agent();
            vm.settled(&agent);
            for user in &users {
                let name = user.split(':').next().unwrap();
                assert!(passwd(name).starts_with(name), "{name}");
                let keys = contents(&format!("/home/{name}/.ssh/authorized_keys"));
                assert!(keys.contains(support::vm::KEY), "{name}: {keys}");
            }
            run(["pwck", "-rq"]);
            run(["grpck", "-rq"]);
            // Its status is written after the pass, by way of a file of such a name.
            vm.recorded(&agent);
            let leftovers = "find /etc /home /var /run -name '*.gce-guest-*'";
            assert_eq!(text_of(["sh", "-c", leftovers]), "");
        },
    );
}

#[test]
fn forwarded_addresses_are_routed_and_come_back_when_they_are_lost() {
    in_sandbox(
        "forwarded_addresses_are_routed_and_come_back_when_they_are_lost",
        || {
            let vm = Vm::new();
            let agent = vm.agent();
            vm.settled(&agent);
            let routes = || text_of(["ip", "route", "show", "table", "local", "proto", "66"]);
            assert_eq!(routes(), "");
            vm.set(
                "instance/networkInterfaces/0/forwardedIps",
                serde_json::json!(["203.0.113.10"]),
            );
            vm.settled(&agent);
            assert_eq!(routes(), "local 203.0.113.10 dev eth0 scope host");
            let deleted = Instant::now();
            run(["ip", "route", "flush", "table", "local", "proto", "66"]);
            poll_until(PATIENCE, "the route is back", || !routes().is_empty());
            println!("the route was back after {:?}", deleted.elapsed());
            vm.set(
                "instance/networkInterfaces/0/forwardedIps",
                serde_json::json!([]),
            );
            vm.settled(&agent);
            assert_eq!(routes(), "");
        },
    );
}

#[test]
fn an_inline_startup_script_runs_and_its_output_and_fate_are_logged() {
    in_sandbox(
        "an_inline_startup_script_runs_and_its_output_and_fate_are_logged",
        || {
            let vm = Vm::new();
            vm.set(
                "instance/attributes/startup-script",
                "#!/bin/bash\necho \"I am $(id -un)\"\necho oops >&2\ntouch /var/ran\nexit 3\n",
            );
            vm.set(
                "project/attributes/startup-script",
                "touch /var/project-ran",
            );
            let said = String::from_utf8(run([PROGRAM, "scripts", "startup"]).stderr).unwrap();
            let expected = [
                "startup-script: INFO Starting startup scripts.",
                "startup-script: INFO Found startup-script in metadata.",
                "startup-script: INFO startup-script: I am root",
                "startup-script: INFO startup-script: oops",
                "startup-script: INFO startup-script: Return code 3.",
                "startup-script: INFO Finished running startup scripts.",
            ];
            assert_eq!(said.lines().collect::<Vec<_>>(), expected);
            assert!(
                std::path::Path::new("/var/ran").exists()
                    && !std::path::Path::new("/var/project-ran").exists()
            );
            assert_eq!(
                attempt(["sh", "-c", "ls -d /run/startup-*"]).stdout,
                b"",
                "the private directory is gone"
            );
        },
    );
}

#[test]
fn the_legacy_names_take_the_legacy_options() {
    in_sandbox("the_legacy_names_take_the_legacy_options", || {
        let vm = Vm::new();
        vm.set("instance/attributes/startup-script", "echo legacy");
        std::fs::create_dir("/tmp/bin").unwrap();
        for (name, _) in gce_guest::commands::legacy::NAMES {
            std::os::unix::fs::symlink(PROGRAM, format!("/tmp/bin/{name}")).unwrap();
        }
        for line in [
            vec!["google_metadata_script_runner", "--script-type", "startup"],
            vec![
                "google_metadata_script_runner",
                "--script-type=STARTUP",
                "--deb",
            ],
            vec!["google_metadata_script_runner", "startup"],
        ] {
            let said = String::from_utf8(run(in_bin(&line)).stderr).unwrap();
            assert!(
                said.contains("startup-script: INFO startup-script: legacy\n"),
                "{line:?}: {said}"
            );
        }
        for line in [
            vec!["google_metadata_script_runner"],
            vec!["google_metadata_script_runner", "--script-type", "x"],
        ] {
            let refused = attempt(in_bin(&line));
            assert_eq!(refused.status.code(), Some(1));
            assert!(
                String::from_utf8_lossy(&refused.stderr).contains("Options: [startup, shutdown]")
            );
        }
        let wrong = attempt(in_bin(&["google_clock_skew_daemon", "--no-such-option"]));
        assert_eq!(wrong.status.code(), Some(2));
        let accounts = Daemon::start(
            "accounts",
            in_bin(&["google_accounts_daemon", "--debug", "ignored"]),
        );
        let network = Daemon::start("network", in_bin(&["google_network_daemon", "-d"]));
        vm.set_keys(&[entry("alice")]);
        vm.set(
            "instance/networkInterfaces/0/forwardedIps",
            serde_json::json!(["203.0.113.10"]),
        );
        poll_until(PATIENCE, "alice is there", || {
            passwd("alice").starts_with("alice:")
        });
        poll_until(PATIENCE, "the route is there", || {
            !text_of(["ip", "route", "show", "table", "local", "proto", "66"]).is_empty()
        });
        assert!(
            !accounts.said().contains("Pass of network")
                && !network.said().contains("Pass of accounts")
        );
        drop((accounts, network));
        let agent = Daemon::start("agent", in_bin(&["google_guest_agent"]));
        vm.set_keys(&[]);
        poll_until(PATIENCE, "alice has lost her keys", || {
            contents("/home/alice/.ssh/authorized_keys").is_empty()
        });
        drop(agent);
    });
}

#[test]
fn the_clock_of_another_is_left_alone() {
    in_sandbox("the_clock_of_another_is_left_alone", || {
        let vm = Vm::new();
        std::os::unix::fs::symlink(PROGRAM, "/tmp/google_clock_skew_daemon").unwrap();
        let start = |name| Daemon::start(name, ["/tmp/google_clock_skew_daemon", "--debug"]);
        let agent = start("clock");
        let told = "google-clock-skew: INFO The clock is left alone: this process may not set it.";
        poll_until(PATIENCE, "it says so", || agent.said().contains(told));
        // A number, as Compute Engine sends it.
        vm.set("instance/virtual-clock/drift-token", 4_711);
        poll_until(PATIENCE, "the token is seen", || {
            agent
                .said()
                .contains("google-clock-skew: INFO Clock drift token has changed: 4711.")
        });
        assert_eq!(trouble(&agent.said()), [""; 0]);
        let mut second = start("second");
        assert!(second.wait(PATIENCE).success());
        assert!(
            second.said().contains("google_clock_skew.lock"),
            "{}",
            second.said()
        );
        let status = attempt([PROGRAM, "clock", "status"]);
        let shown = String::from_utf8(status.stdout).unwrap();
        assert!(
            shown.contains("there is no RTC") && shown.contains("left alone"),
            "{shown}"
        );
        let refused = attempt([PROGRAM, "clock", "sync"]);
        assert_eq!(refused.status.code(), Some(1));
        // The real machine's clock may be stepped meanwhile.
        let before = wakes(&agent, "clock-steps");
        assert!(wakes(&agent, "clock-steps") <= before + 1);
    });
}

#[test]
fn an_agent_at_rest_keeps_little_memory_and_goes_on_from_there() {
    in_sandbox(
        "an_agent_at_rest_keeps_little_memory_and_goes_on_from_there",
        || {
            let vm = Vm::new();
            vm.set_keys(&[entry("alice")]);
            let agent = vm.agent();
            vm.settled(&agent);
            let at_work = pages_of_files(&agent);
            poll_until(PATIENCE, "the memory of the first pass is back", || {
                pages_of_files(&agent) < at_work / 2
            });
            // What was given back is there again when it is needed.
            vm.set_keys(&[entry("alice"), entry("bob")]);
            poll_until(PATIENCE, "bob has his key", || {
                contents("/home/bob/.ssh/authorized_keys").contains(support::vm::KEY)
            });
            assert_eq!(trouble(&vm.settled(&agent)), [""; 0]);
        },
    );
}

/// How much of the agent and its libraries is in memory, in KiB (proc_pid_status(5)).
fn pages_of_files(agent: &Daemon) -> u64 {
    let status = contents(&format!("/proc/{}/status", agent.id()));
    let amount = status
        .lines()
        .find_map(|line| line.strip_prefix("RssFile:"));
    let amount = amount.unwrap().trim().trim_end_matches(" kB");
    amount.parse().unwrap()
}

/// How often a thread of the agent has waited for something, after a while in which nothing has happened.
fn wakes(agent: &Daemon, thread: &str) -> u64 {
    std::thread::sleep(Duration::from_secs(2));
    for task in std::fs::read_dir(format!("/proc/{}/task", agent.id())).unwrap() {
        let status = contents(task.unwrap().path().join("status").to_str().unwrap());
        if status.starts_with(&format!("Name:\t{thread}\n")) {
            let count = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            return count.unwrap().trim().parse().unwrap();
        }
    }
    panic!("no thread {thread}");
}

fn in_bin(line: &[&str]) -> Vec<String> {
    let mut words: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
    words[0] = format!("/tmp/bin/{}", words[0]);
    words
}
