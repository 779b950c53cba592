//! Hooks: what starts them, what they are told, who may write them, and that none of them holds anything up. The hooks are
//! the witness.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "test code: a failure is a panic, programs are started directly, and a scenario reads best whole"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};
use support::vm::{PATIENCE, Vm, contents, entry, passwd};
use support::{Daemon, PROGRAM, attempt, in_sandbox, poll_until, run, text_of};

const MIGRATE: &str = "MIGRATE_ON_HOST_MAINTENANCE";

/// Puts a hook in place.
fn hook(event: &str, name: &str, script: &str) -> PathBuf {
    let directory = Path::new("/etc/gce-guest/hooks.d").join(event);
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Changes something and waits until a hook has written its file; returns what it says.
fn caused(what: &str, change: impl FnOnce()) -> String {
    let path = format!("/tmp/{what}");
    // It may not have run before.
    let _ = fs::remove_file(&path);
    let changed = Instant::now();
    change();
    poll_until(PATIENCE, what, || Path::new(&path).exists());
    println!("{what}: the hook has written after {:?}", changed.elapsed());
    contents(&path)
}

#[test]
fn every_event_starts_its_hooks_and_tells_them_what_has_happened() {
    in_sandbox(
        "every_event_starts_its_hooks_and_tells_them_what_has_happened",
        || {
            let vm = Vm::new();
            for event in [
                "preempted",
                "maintenance",
                "maintenance-end",
                "users",
                "routes",
                "attribute-mode",
            ] {
                let write = "env | sort > /tmp/new && mv /tmp/new /tmp/$GCE_HOOK_EVENT; echo done; echo hm >&2";
                hook(event, "50-write", write);
            }
            vm.set("instance/attributes/mode", "a");
            let agent = vm.agent();
            vm.settled(&agent);
            let told = caused("preempted", || vm.set("instance/preempted", "TRUE"));
            assert!(told.contains("GCE_HOOK_VALUE=TRUE\n"), "{told}");
            let told = caused("maintenance", || {
                vm.set("instance/maintenanceEvent", MIGRATE);
            });
            assert!(
                told.contains(&format!("GCE_HOOK_VALUE={MIGRATE}\n")),
                "{told}"
            );
            caused("maintenance-end", || {
                vm.set("instance/maintenanceEvent", "NONE");
            });
            let told = caused("users", || vm.set_keys(&[entry("alice")]));
            assert!(told.contains("created user alice"), "{told}");
            let told = caused("routes", || {
                let addresses = json!(["203.0.113.10"]);
                vm.set("instance/networkInterfaces/0/forwardedIps", addresses);
            });
            assert!(told.contains("203.0.113.10"), "{told}");
            let told = caused("attribute-mode", || vm.set("instance/attributes/mode", "b"));
            let expected = [
                "GCE_HOOK_CHANGES=",
                "GCE_HOOK_COUNT=1",
                "GCE_HOOK_EVENT=attribute-mode",
                "GCE_HOOK_KEY=mode",
                "HOME=/root",
                "LANG=C.UTF-8",
            ];
            let known: Vec<&str> = told
                .lines()
                .filter(|line| expected.contains(line))
                .collect();
            assert_eq!(known, expected, "{told}");
            let others = told.lines().filter(|line| !expected.contains(line));
            let shells = ["PATH=", "PWD=", "OLDPWD=", "_=", "SHLVL="];
            let strange: Vec<&str> = others
                .filter(|line| !shells.iter().any(|name| line.starts_with(name)))
                .collect();
            assert_eq!(strange, [""; 0]);
            poll_until(PATIENCE, "the log has what they say", || {
                let said = agent.said();
                [
                    "preempted/50-write: done",
                    "preempted/50-write: hm",
                    "preempted/50-write has run (",
                ]
                .iter()
                .all(|text| said.contains(text))
            });
        },
    );
}

#[test]
fn a_hook_that_hangs_holds_nobody_up_and_what_comes_meanwhile_becomes_one() {
    in_sandbox(
        "a_hook_that_hangs_holds_nobody_up_and_what_comes_meanwhile_becomes_one",
        || {
            let vm = Vm::new();
            let wait =
                "echo \"$GCE_HOOK_COUNT\" >> /tmp/ran; until [ -e /tmp/go ]; do sleep 0.02; done";
            hook("users", "10-wait", wait);
            hook("preempted", "10-note", "touch /tmp/noted");
            let mut agent = vm.agent();
            let mut keys = Vec::new();
            for user in ["alice", "bob", "carol", "dave"] {
                keys.push(entry(user));
                vm.set_keys(&keys);
                poll_until(PATIENCE, user, || !passwd(user).is_empty());
                poll_until(PATIENCE, "the first hook", || {
                    !contents("/tmp/ran").is_empty()
                });
            }
            vm.set("instance/preempted", "TRUE");
            poll_until(PATIENCE, "another event", || {
                Path::new("/tmp/noted").exists()
            });
            vm.settled(&agent);
            assert_eq!(contents("/tmp/ran"), "1\n", "one at a time");
            fs::write("/tmp/go", "").unwrap();
            poll_until(PATIENCE, "the rest as one", || {
                contents("/tmp/ran") == "1\n3\n"
            });
            // It has written its number, and may still have to look for the file that lets it go.
            poll_until(PATIENCE, "both have ended", || {
                agent.said().matches("users/10-wait has run (").count() == 2
            });
            // A hook that hangs does not keep the agent from stopping either.
            fs::remove_file("/tmp/go").unwrap();
            keys.push(entry("eve"));
            vm.set_keys(&keys);
            poll_until(PATIENCE, "it hangs again", || {
                contents("/tmp/ran") == "1\n3\n1\n"
            });
            let asked = Instant::now();
            agent.signal("TERM");
            assert!(agent.wait(PATIENCE).success());
            println!("stopped after {:?}", asked.elapsed());
        },
    );
}

#[test]
fn only_what_root_alone_can_change_is_run() {
    in_sandbox("only_what_root_alone_can_change_is_run", || {
        run(["useradd", "alice"]);
        let touch = "touch /tmp/$(basename $0)";
        let good = hook("preempted", "good.sh", touch);
        run([
            "chown",
            "alice",
            hook("preempted", "hers", touch).to_str().unwrap(),
        ]);
        run([
            "chmod",
            "o+w",
            hook("preempted", "open", touch).to_str().unwrap(),
        ]);
        run([
            "chmod",
            "g+w",
            hook("preempted", "groups", touch).to_str().unwrap(),
        ]);
        run([
            "chmod",
            "a-x",
            hook("preempted", "text", touch).to_str().unwrap(),
        ]);
        for leftover in ["good.sh~", "good.sh.dpkg-old", ".hidden"] {
            hook("preempted", leftover, touch);
        }
        let link = good.with_file_name("link");
        std::os::unix::fs::symlink(&good, &link).unwrap();
        let maintenance = hook("maintenance", "in-an-open-directory", touch);
        run([
            "chmod",
            "o+w",
            maintenance.parent().unwrap().to_str().unwrap(),
        ]);
        let vm = Vm::new();
        vm.set("instance/maintenanceEvent", MIGRATE);
        vm.set("instance/preempted", "TRUE");
        let agent = vm.agent();
        poll_until(PATIENCE, "the good one", || {
            Path::new("/tmp/good.sh").exists()
        });
        let said = || agent.said();
        let refused = [
            (
                "hooks.d/preempted/hers is not run: it belongs to user",
                "(chown root)",
            ),
            (
                "hooks.d/preempted/open is not run: others than root can change it",
                "(chmod go-w)",
            ),
            (
                "hooks.d/preempted/groups is not run: others than root",
                "(chmod go-w)",
            ),
            (
                "hooks.d/preempted/text is not run: it is not executable",
                "(chmod u+x)",
            ),
            (
                "hooks.d/preempted/link is not run: it is a symbolic link",
                "",
            ),
            (
                "No hook for maintenance is run: /etc/gce-guest/hooks.d/maintenance: others than root",
                "",
            ),
        ];
        for (what, helps) in refused {
            poll_until(PATIENCE, what, || {
                said()
                    .lines()
                    .any(|line| line.contains(what) && line.contains(helps))
            });
        }
        vm.settled(&agent);
        for name in [
            "hers",
            "open",
            "groups",
            "text",
            "link",
            "in-an-open-directory",
            "good.sh~",
            ".hidden",
        ] {
            assert!(!Path::new("/tmp").join(name).exists(), "{name}");
        }
        look_at_the_list();
    });
}

/// What `hooks list` and `hooks run` say of that directory.
fn look_at_the_list() {
    let shown = text_of([PROGRAM, "hooks", "list"]);
    assert!(
        shown
            .lines()
            .all(|line| line.len() <= 80 || line.contains("not ")),
        "{shown}"
    );
    let listed: Value =
        serde_json::from_str(&text_of([PROGRAM, "hooks", "list", "--json"])).unwrap();
    let preempted = &listed[1];
    assert_eq!(preempted["event"], "preempted");
    assert_eq!(
        preempted["hooks"].as_array().unwrap().len(),
        6,
        "{preempted}"
    );
    assert!(
        listed[0]["refusal"]
            .as_str()
            .unwrap()
            .contains("chmod go-w")
    );
    fs::remove_file("/tmp/good.sh").unwrap();
    let dry = text_of([PROGRAM, "hooks", "run", "preempted", "--dry-run"]);
    assert!(
        dry.contains("good.sh") && dry.contains("not run: "),
        "{dry}"
    );
    assert!(!Path::new("/tmp/good.sh").exists());
    let status = |event: &str| attempt([PROGRAM, "hooks", "run", event]).status.code();
    assert_eq!(status("preempted"), Some(1), "some may not be run");
    assert!(Path::new("/tmp/good.sh").exists());
    assert_eq!(status("maintenance"), Some(1));
    assert_eq!(status("users"), Some(0), "there are none");
    assert_eq!(status("holidays"), Some(2));
    hook("users", "a", "exit 0");
    assert_eq!(status("users"), Some(0));
    hook("users", "b", "kill -9 $$");
    assert_eq!(status("users"), Some(1));
}

#[test]
fn without_hooks_the_list_says_what_there_could_be() {
    in_sandbox("without_hooks_the_list_says_what_there_could_be", || {
        let shown = text_of([PROGRAM, "hooks", "list"]);
        for event in ["preempted", "maintenance-end", "attribute-KEY"] {
            assert!(shown.contains(event), "{shown}");
        }
        assert!(shown.lines().all(|line| line.len() <= 80), "{shown}");
        let agent = Daemon::start("agent", [PROGRAM, "agent", "--debug"]);
        let vm = Vm::new();
        vm.set("instance/preempted", "TRUE");
        vm.settled(&agent);
        assert!(!agent.said().contains("hook"), "{}", agent.said());
    });
}
