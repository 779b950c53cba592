//! Seeing into the agent: plan, apply, status, history, explain, as programs in a sandbox.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "test code: a failure is a panic, programs are started directly, and a scenario reads best whole"
)]

mod support;

#[path = "insight/doctor.rs"]
mod doctor;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::vm::{KEY, PATIENCE, Vm, contents, entry, passwd, reread_configuration};
use support::{Daemon, PROGRAM, attempt, in_sandbox, in_sandbox_with, poll_until, run, text_of};

/// What the program says on its standard output.
fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The exit status of the program with these arguments, and its standard output.
fn gce_guest(arguments: &[&str]) -> (Option<i32>, String) {
    let output = attempt([&[PROGRAM], arguments].concat());
    (output.status.code(), said(&output))
}

fn json_of(arguments: &[&str]) -> Value {
    let (_, text) = gce_guest(arguments);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}:\n{text}"))
}

/// The part of a manager in an answer.
fn manager<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let mut managers = answer["managers"].as_array().unwrap().iter();
    managers
        .find(|manager| manager["manager"] == name)
        .unwrap_or_else(|| panic!("no {name} in {answer}"))
}

const ROUTES: [&str; 7] = ["ip", "route", "show", "table", "local", "proto", "66"];
const ADDRESSES: &str = "instance/networkInterfaces/0/forwardedIps";

/// Where a machine changes. The rest of it is the host's: large, and the same for every test.
const PLACES: [&str; 7] = ["/etc", "/home", "/opt", "/run", "/srv", "/tmp", "/var"];

/// Everything of the machine that a dry run could have changed: each file with what it says and its times but the one of
/// the last access, the routes and the addresses.
fn machine() -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open: Vec<PathBuf> = PLACES.iter().map(PathBuf::from).collect();
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let status = path.symlink_metadata().unwrap();
            let mut told = format!(
                "{:o} {} {} {} {}.{} {}.{}",
                status.mode(),
                status.uid(),
                status.gid(),
                status.size(),
                status.mtime(),
                status.mtime_nsec(),
                status.ctime(),
                status.ctime_nsec()
            );
            if status.is_dir() {
                open.push(path.clone());
            } else if status.is_file() && status.size() < 1 << 20 {
                let mut hasher = DefaultHasher::new();
                std::fs::read(&path).unwrap().hash(&mut hasher);
                told += &format!(" {:x}", hasher.finish());
            }
            found.insert(path, told);
        }
    }
    for command in [
        vec!["ip", "route", "show", "table", "all"],
        vec!["ip", "-6", "route", "show", "table", "all"],
        vec!["ip", "-details", "address"],
        vec!["hostname"],
        vec!["getent", "passwd"],
        vec!["getent", "group"],
    ] {
        // Lifetimes count down by themselves, and the kernel gives a link its own IPv6 address in its own time.
        let by_itself = ["valid_lft", "expires", "fe80:", "ff00::"];
        let text = text_of(&command);
        let steady = text
            .lines()
            .filter(|line| !by_itself.iter().any(|word| line.contains(word)));
        found.insert(
            PathBuf::from(command.join(" ")),
            steady.collect::<Vec<_>>().join("\n"),
        );
    }
    found
}

/// What differs between two pictures of the machine.
fn differences(
    before: &BTreeMap<PathBuf, String>,
    after: &BTreeMap<PathBuf, String>,
) -> Vec<String> {
    let paths = before.keys().chain(after.keys());
    let mut differing: Vec<String> = paths
        .filter(|path| before.get(*path) != after.get(*path))
        .map(|path| path.display().to_string())
        .collect();
    differing.dedup();
    differing
}

#[test]
fn a_plan_says_what_would_be_done_and_does_nothing_and_apply_does_it() {
    in_sandbox(
        "a_plan_says_what_would_be_done_and_does_nothing_and_apply_does_it",
        || {
            let vm = Vm::new();
            run(["useradd", "-m", "carol"]);
            std::fs::create_dir_all("/home/carol/.ssh").unwrap();
            std::fs::write("/home/carol/.ssh/authorized_keys", "# her own\n").unwrap();
            run(["chown", "-R", "carol:", "/home/carol"]);
            vm.set_keys(&[entry("alice"), entry("carol"), "bad line".into()]);
            vm.set(ADDRESSES, json!(["203.0.113.10"]));
            vm.set("instance/attributes/shutdown-script", "echo bye");

            let before = machine();
            let (status, text) = gce_guest(&["plan", "--diff"]);
            assert_eq!(status, Some(2), "{text}");
            for expected in [
                "* create user alice with sudo, groups",
                "* write 1 key of user carol to authorized_keys (from\n    instance/attributes/ssh-keys)",
                "* add user carol to google-sudoers",
                "* add 203.0.113.10 to eth0 (instance/network-interfaces/0/forwarded-ips)",
                "    + local 203.0.113.10 dev eth0 proto 66",
                "* keep a copy of the shutdown-script for a shutdown without network",
                &format!("    + # Added by Google\n    + {KEY}"),
                "problem: line 3 of instance/attributes/ssh-keys",
            ] {
                assert!(text.contains(expected), "{expected:?} in:\n{text}");
            }
            assert!(
                !text.contains("her own"),
                "what stays is no difference:\n{text}"
            );
            let planned = json_of(&["plan", "--json"]);
            let (status, _) = gce_guest(&["plan"]);
            assert_eq!(status, Some(2));
            assert_eq!(
                differences(&before, &machine()),
                [""; 0],
                "a plan changes nothing"
            );
            assert!(planned["pending"].as_u64().unwrap() > 5, "{planned}");

            // What was planned is what is done.
            let done = json_of(&["apply", "--once", "--json"]);
            assert!(passwd("alice").starts_with("alice:"));
            assert_eq!(text_of(ROUTES), "local 203.0.113.10 dev eth0 scope host");
            assert!(contents("/home/carol/.ssh/authorized_keys").contains(KEY));
            let subjects = |answer: &Value| -> Vec<Value> {
                let changes = manager(answer, "accounts")["changes"].as_array().unwrap();
                let subjects = changes.iter().map(|change| change["subject"].clone());
                // The ledger is what is recorded of the others, and no change that is told.
                subjects
                    .filter(|subject| *subject != "/var/lib/google/google_users")
                    .collect()
            };
            assert_eq!(subjects(&planned), subjects(&done));

            let before = machine();
            let (status, text) = gce_guest(&["plan"]);
            assert_eq!(status, Some(0), "{text}");
            assert!(text.ends_with("Nothing to do.\n"), "{text}");
            assert_eq!(differences(&before, &machine()), [""; 0]);
            let (status, text) = gce_guest(&["apply", "--once"]);
            assert_eq!(status, Some(0), "{text}");

            // What somebody breaks, and what metadata takes back, is in the next plan.
            run(["ip", "route", "flush", "table", "local", "proto", "66"]);
            vm.set_keys(&[entry("carol")]);
            let (status, text) = gce_guest(&["plan", "--diff"]);
            assert_eq!(status, Some(2));
            assert!(
                text.contains("* remove the authorized_keys of user alice"),
                "{text}"
            );
            assert!(text.contains(&format!("    - {KEY}")), "{text}");
            assert!(text.contains("* add 203.0.113.10 to eth0"), "{text}");
            let (status, text) = gce_guest(&["plan", "--only", "network", "--json"]);
            assert_eq!(status, Some(2));
            let one: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(one["managers"].as_array().unwrap().len(), 1);
        },
    );
}

#[test]
fn apply_leaves_the_machine_to_an_agent_and_names_it() {
    in_sandbox("apply_leaves_the_machine_to_an_agent_and_names_it", || {
        let vm = Vm::new();
        let agent = vm.agent();
        vm.settled(&agent);
        let refused = attempt([PROGRAM, "apply", "--once"]);
        assert_eq!(refused.status.code(), Some(1));
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        let holder = format!(
            "accounts is in the hands of gce-guest (process {})",
            agent.id()
        );
        assert!(told.contains(&holder), "{told}");
        drop(agent);
        let without_metadata = {
            drop(vm);
            attempt([PROGRAM, "plan"])
        };
        assert_eq!(without_metadata.status.code(), Some(1));
        let told = String::from_utf8_lossy(&without_metadata.stderr).into_owned();
        assert!(told.contains("cannot reach the metadata server"), "{told}");
    });
}

#[test]
fn status_says_how_each_manager_is_and_waits_for_the_first_pass() {
    in_sandbox(
        "status_says_how_each_manager_is_and_waits_for_the_first_pass",
        || {
            let (status, text) = gce_guest(&["status"]);
            assert_eq!(status, Some(1), "{text}");
            assert!(text.contains("not running"), "{text}");
            let (status, _) = gce_guest(&["status", "--wait", "--timeout", "0"]);
            assert_eq!(status, Some(4));

            // Without metadata the agent waits, and so does whoever waits for it.
            let agent = Daemon::start("agent", [PROGRAM, "agent", "--debug"]);
            poll_until(PATIENCE, "the agent is seen", || {
                gce_guest(&["status"]).0 == Some(3)
            });
            let (status, _) = gce_guest(&["status", "--wait", "--timeout", "1"]);
            assert_eq!(status, Some(4));
            let mut waiting =
                Daemon::start("waiting", [PROGRAM, "status", "--wait", "--timeout", "200"]);

            // All of it at once: the agent asks again and again meanwhile.
            let vm = Vm::with(|live| {
                let keys = "instance/attributes/ssh-keys";
                live.set(keys, entry("alice")).unwrap();
                live.set(ADDRESSES, json!(["203.0.113.10"])).unwrap();
            });
            let waited = waiting.wait(Duration::from_secs(200));
            assert!(waited.success(), "{}", waiting.said());
            assert!(
                passwd("alice").starts_with("alice:"),
                "the first pass is done"
            );
            vm.settled(&agent);
            let etag = vm.live.read(|store| store.etag(&[])).unwrap();
            let mut seen = Value::Null;
            poll_until(PATIENCE, "the last pass is in the status", || {
                seen = json_of(&["status", "--json"]);
                ["accounts", "network"]
                    .iter()
                    .all(|name| manager(&seen, name)["etag"] == json!(etag))
            });
            assert_eq!(seen["running"], true);
            let accounts = manager(&seen, "accounts");
            assert_eq!(accounts["state"], "ok");
            assert_eq!(accounts["pid"], agent.id());
            assert_eq!(accounts["endpoint"], "169.254.169.254:80");
            assert_eq!(
                accounts["last_change"]["key"],
                "instance/attributes/ssh-keys"
            );
            assert_eq!(
                manager(&seen, "network")["last_change"]["after"][0],
                "local 203.0.113.10 dev eth0 proto 66"
            );

            // A pass that changes nothing writes nothing.
            let file = Path::new("/run/gce-guest/status/network.json");
            let written = || {
                (
                    file.metadata().unwrap().ino(),
                    file.metadata().unwrap().ctime_nsec(),
                )
            };
            let passes = || agent.said().matches("Pass of network").count();
            let before = (written(), passes());
            run(["ip", "address", "add", "198.51.100.1/32", "dev", "eth0"]);
            poll_until(PATIENCE, "another pass", || passes() > before.1);
            std::thread::sleep(Duration::from_millis(300));
            assert_eq!(written(), before.0);

            // A failure is told with its next try, and its end.
            std::fs::write(
                "/etc/default/instance_configs.cfg",
                "[Accounts]\nuseradd_cmd = false\n",
            )
            .unwrap();
            reread_configuration(&agent);
            vm.set_keys(&[entry("alice"), entry("bob")]);
            poll_until(PATIENCE, "the failure is seen", || {
                gce_guest(&["status"]).0 == Some(3)
            });
            let failing = json_of(&["status", "--json"]);
            let accounts = manager(&failing, "accounts");
            assert_eq!(accounts["state"], "failing");
            assert!(
                accounts["failures"][0]
                    .as_str()
                    .unwrap()
                    .contains("user bob"),
                "{accounts}"
            );
            assert!(accounts["next_try"].is_string(), "{accounts}");
            let (_, text) = gce_guest(&["status"]);
            assert!(text.contains("accounts  fails since 20"), "{text}");
            assert!(
                text.lines().all(|line| line.chars().count() <= 80),
                "{text}"
            );
            std::fs::remove_file("/etc/default/instance_configs.cfg").unwrap();
            agent.signal("HUP");
            poll_until(PATIENCE, "all is well again", || {
                gce_guest(&["status"]).0 == Some(0)
            });
            // The history is written after the status, and the next thing is a kill.
            poll_until(PATIENCE, "bob's key is in the history", || {
                gce_guest(&["history"])
                    .1
                    .contains("wrote 1 key of user bob")
            });

            // After its end nobody takes the last words for the present; the next agent knows what was done before.
            drop(agent);
            let (status, text) = gce_guest(&["status"]);
            assert_eq!(status, Some(1), "{text}");
            let agent = vm.agent();
            // Those that `settled` does not wait for may take longer.
            vm.settled(&agent);
            poll_until(PATIENCE, "all have made their first pass", || {
                gce_guest(&["status"]).0 == Some(0)
            });
            let (_, text) = gce_guest(&["status"]);
            assert!(text.contains("wrote 1 key of user bob"), "{text}");

            let holder = {
                drop(agent);
                Daemon::start(
                    "holder",
                    ["flock", "/var/lock/google_networking.lock", "sleep", "60"],
                )
            };
            poll_until(PATIENCE, "the holder is named", || {
                gce_guest(&["status"])
                    .1
                    .contains("not run by us: flock (process")
            });
            drop(holder);
        },
    );
}

#[test]
fn the_history_tells_what_was_done_and_why_and_holds_no_key() {
    in_sandbox(
        "the_history_tells_what_was_done_and_why_and_holds_no_key",
        || {
            assert_eq!(
                gce_guest(&["history"]),
                (Some(0), "Nothing was changed.\n".into())
            );
            let vm = Vm::new();
            vm.set_keys(&[entry("alice")]);
            vm.set(ADDRESSES, json!(["203.0.113.10"]));
            let agent = vm.agent();
            vm.settled(&agent);
            vm.set_keys(&[]);
            vm.settled(&agent);
            let changes = |text: &str| -> Vec<Value> {
                let all = json_of(&["history", "--json"]);
                let all = all.as_array().unwrap().clone();
                let has = |entry: &Value| entry["change"].as_str().unwrap().contains(text);
                all.into_iter().filter(has).collect()
            };
            poll_until(PATIENCE, "the removal is recorded", || {
                !changes("removed the authorized_keys").is_empty()
            });
            let written = &changes("wrote 1 key of user alice")[0];
            assert_eq!(written["manager"], "accounts");
            assert_eq!(written["key"], "instance/attributes/ssh-keys");
            assert_eq!(written["before"], json!([]));
            std::fs::write("/tmp/key", KEY).unwrap();
            // As ssh-keygen says it: bits, fingerprint, comment, type.
            let witness = text_of(["ssh-keygen", "-lf", "/tmp/key"]);
            let fingerprint = witness.split(' ').nth(1).unwrap();
            assert_eq!(
                written["after"],
                json!([format!("ssh-ed25519 {fingerprint} a@example")])
            );
            assert!(written["etag"].as_str().unwrap().len() > 1, "{written}");
            let time: jiff::Timestamp = written["time"].as_str().unwrap().parse().unwrap();
            assert!(
                time.duration_until(jiff::Timestamp::now()).abs()
                    < jiff::SignedDuration::from_hours(1)
            );
            let removed = &changes("removed the authorized_keys")[0];
            assert_eq!(removed["before"], written["after"]);
            assert_eq!(removed["key"], "ssh-keys");
            let route = &changes("Changing eth0 IPs")[0];
            assert_eq!(route["key"], "instance/network-interfaces/0/forwarded-ips");

            let file = "/var/log/gce-guest/history.jsonl";
            assert!(!contents(file).contains("AAAA"), "{}", contents(file));
            for (path, mode) in [("/var/log/gce-guest", 0o700), (file, 0o600)] {
                assert_eq!(
                    Path::new(path).metadata().unwrap().mode() & 0o7777,
                    mode,
                    "{path}"
                );
            }
            let other = attempt([
                "setpriv",
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                PROGRAM,
                "history",
            ]);
            assert_eq!(other.status.code(), Some(1));
            assert!(String::from_utf8_lossy(&other.stderr).contains("run it as root"));

            // A writer that was killed in the middle of a line costs that line.
            let mut torn = std::fs::OpenOptions::new().append(true).open(file).unwrap();
            torn.write_all(b"{\"time\":\"2026-").unwrap();
            vm.set_keys(&[entry("bob")]);
            poll_until(PATIENCE, "bob is recorded", || {
                !changes("wrote 1 key of user bob").is_empty()
            });
            let (_, last) = gce_guest(&["history", "--last", "1", "--diff"]);
            assert!(
                last.contains("wrote 1 key of user bob")
                    && last.contains(&format!("    + ssh-ed25519 {fingerprint}")),
                "{last}"
            );
            assert_eq!(
                gce_guest(&["history", "--manager", "network"])
                    .1
                    .lines()
                    .count(),
                1
            );

            // A second look changes nothing, and is not recorded.
            let before = contents(file);
            vm.settled(&agent);
            assert_eq!(contents(file), before);
        },
    );
}

#[test]
fn a_full_disk_costs_the_history_and_not_the_work() {
    in_sandbox_with(
        &["--allow-mounts"],
        "a_full_disk_costs_the_history_and_not_the_work",
        || {
            std::fs::create_dir_all("/var/log/gce-guest").unwrap();
            run([
                "mount",
                "-t",
                "tmpfs",
                "-o",
                "size=4k,nr_inodes=1",
                "none",
                "/var/log/gce-guest",
            ]);
            let vm = Vm::new();
            let agent = vm.agent();
            vm.set_keys(&[entry("alice")]);
            let log = vm.settled(&agent);
            assert!(
                contents("/home/alice/.ssh/authorized_keys").contains(KEY),
                "{log}"
            );
            poll_until(PATIENCE, "it is told", || {
                agent
                    .said()
                    .contains("Cannot write the history of the agent")
            });
            vm.set_keys(&[entry("alice"), entry("bob")]);
            let log = vm.settled(&agent);
            assert_eq!(
                log.matches("Cannot write the history").count(),
                1,
                "once:\n{log}"
            );
            // The agent may be trying to write there.
            poll_until(PATIENCE, "nobody is there", || {
                attempt(["umount", "/var/log/gce-guest"]).status.success()
            });
            vm.set_keys(&[entry("alice"), entry("bob"), entry("carol")]);
            poll_until(PATIENCE, "it is written again", || {
                agent
                    .said()
                    .contains("Writing the history of the agent again")
            });
        },
    );
}

#[test]
fn an_option_is_explained_with_its_value_origin_meaning_and_effect() {
    in_sandbox(
        "an_option_is_explained_with_its_value_origin_meaning_and_effect",
        || {
            let vm = Vm::new();
            std::fs::write(
                "/etc/default/instance_configs.cfg.template",
                "\n[Accounts]\ngroups = video\n",
            )
            .unwrap();
            vm.set(
                "instance/attributes/google-instance-configs",
                "[Accounts]\nsudo = none\n",
            );
            let (status, text) = gce_guest(&["explain", "option", "accounts.GROUPS"]);
            assert_eq!(status, Some(0));
            for expected in [
                "option     Accounts.groups\n",
                "value      video\n",
                "from       /etc/default/instance_configs.cfg.template:3\n",
                "default    adm,dip,",
                "meaning    ",
                "affects    users, their keys and rights",
            ] {
                assert!(text.contains(expected), "{expected:?} in:\n{text}");
            }
            let (_, text) = gce_guest(&["explain", "option", "Accounts.sudo"]);
            assert!(
                text.contains("value      none\n") && text.contains("google-instance-configs"),
                "{text}"
            );
            let (status, _) = gce_guest(&["explain", "option", "Accounts.grups"]);
            assert_eq!(status, Some(2));
            drop(vm);
            let (status, text) = gce_guest(&["explain", "option", "Accounts.sudo"]);
            assert_eq!(status, Some(0));
            assert!(text.contains("metadata is left out"), "{text}");
        },
    );
}

#[test]
fn what_hangs_in_one_manager_does_not_delay_the_others() {
    in_sandbox(
        "what_hangs_in_one_manager_does_not_delay_the_others",
        || {
            let vm = Vm::new();
            let agent = vm.agent();
            vm.settled(&agent);
            let converge = |address: &str| {
                let started = Instant::now();
                vm.set(ADDRESSES, json!([address]));
                poll_until(PATIENCE, "the route is there", || {
                    text_of(ROUTES).contains(address)
                });
                started.elapsed()
            };
            let usual = converge("203.0.113.10");
            drop(agent);

            // Accounts hang in a configured command; the network goes on, and so does the end of the agent.
            std::fs::write(
                "/etc/default/instance_configs.cfg",
                "[Accounts]\nuseradd_cmd = sleep 28.5\n",
            )
            .unwrap();
            vm.set_keys(&[entry("alice")]);
            let mut agent = vm.agent();
            let hangs = || attempt(["pgrep", "-f", "sleep 28.5"]).status.success();
            poll_until(PATIENCE, "accounts hang", hangs);
            let meanwhile = converge("203.0.113.11");
            assert!(!agent.said().contains("Pass of accounts"), "it still hangs");
            println!("routes: {usual:?} usually, {meanwhile:?} while accounts hang");
            agent.signal("TERM");
            assert!(agent.wait(PATIENCE).success());
            std::fs::remove_file("/etc/default/instance_configs.cfg").unwrap();

            // The shutdown script hangs in its download; accounts and network go on.
            let silent = std::net::TcpListener::bind(("169.254.169.254", 8081)).unwrap();
            vm.set(
                "instance/attributes/shutdown-script-url",
                "http://169.254.169.254:8081/x",
            );
            let agent = vm.agent();
            let (_connection, _) = silent.accept().unwrap();
            vm.set_keys(&[entry("bob")]);
            poll_until(PATIENCE, "bob is there", || {
                passwd("bob").starts_with("bob:")
            });
            converge("203.0.113.12");
            assert!(
                !agent.said().contains("Pass of scripts"),
                "{}",
                agent.said()
            );
        },
    );
}

#[test]
fn closed_pipes_full_disks_and_ordinary_users_are_told_apart() {
    let name = "closed_pipes_full_disks_and_ordinary_users_are_told_apart";
    in_sandbox(name, || {
        let vm = Vm::new();
        vm.set_keys(&[entry("alice")]);
        run([PROGRAM, "apply", "--once"]);
        let bash = |line: &str| attempt(["bash", "-o", "pipefail", "-c", line]);
        for command in [
            "plan --json",
            "history --json",
            "status --json",
            "doctor --json",
            "accounts list",
            "accounts list --json",
            "explain user alice",
            "explain option Accounts.groups",
            "config show",
            "metadata get instance/ --recursive",
            "--help",
        ] {
            // A reader that has had enough is nobody's fault, and a full disk is told.
            let piped = bash(&format!("{PROGRAM} {command} 2> /tmp/told | true"));
            assert_ne!(piped.status.code(), Some(101), "{command}");
            let told = contents("/tmp/told");
            assert!(!told.contains("roken pipe"), "{command}: {told}");
            let full = bash(&format!("{PROGRAM} {command} > /dev/full"));
            assert_eq!(full.status.code(), Some(1), "{command}");
        }
        for command in [
            "agent",
            "plan",
            "apply --once",
            "history",
            "doctor",
            "accounts list",
            "accounts sync",
            "explain user alice",
            "setup",
        ] {
            let line =
                format!("setpriv --reuid=65534 --regid=65534 --clear-groups {PROGRAM} {command}");
            let refused = bash(&line);
            assert_eq!(refused.status.code(), Some(1), "{command}");
            let told = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(told.contains("run it as root"), "{command}: {told}");
            assert_eq!(told.lines().count(), 1, "{command}: {told}");
        }
    });
}
