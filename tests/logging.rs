//! Where the log goes, and that no log holds the agent up: syslog by its own socket, and a real journal.
//!
//! Debian packages: mmdebstrap, systemd-container.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a failure is a panic, and programs are started directly"
)]

mod support;

use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::machine::{Machine, on_machine};
use support::vm::{PATIENCE, Vm, contents, entry, passwd};
use support::{Daemon, PROGRAM, in_sandbox, poll_until, run};

/// A syslog daemon that only listens, all the time: `useradd` and its like wait for one that does not.
struct Syslog {
    lines: Arc<Mutex<Vec<String>>>,
    socket: Arc<UnixDatagram>,
    listener: JoinHandle<()>,
}

impl Syslog {
    fn start() -> Self {
        let socket = Arc::new(UnixDatagram::bind("/dev/log").unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (from, into) = (Arc::clone(&socket), Arc::clone(&lines));
        let listener = std::thread::spawn(move || {
            let mut buffer = vec![0; 256 * 1024];
            while let Ok(length @ 1..) = from.recv(&mut buffer) {
                let line = String::from_utf8_lossy(&buffer[..length]).into_owned();
                into.lock().unwrap().push(line);
            }
        });
        Self {
            lines,
            socket,
            listener,
        }
    }

    fn stop(self) {
        self.socket.shutdown(std::net::Shutdown::Both).unwrap();
        self.listener.join().unwrap();
        std::fs::remove_file("/dev/log").unwrap();
    }

    /// Everything that was not returned before, up to the first line that contains this.
    fn lines_until(&self, wanted: &str) -> Vec<String> {
        let mut found = None;
        poll_until(PATIENCE, wanted, || {
            let lines = self.lines.lock().unwrap();
            found = lines.iter().position(|line| line.contains(wanted));
            found.is_some()
        });
        let mut lines = self.lines.lock().unwrap();
        lines.drain(..=found.unwrap()).collect()
    }
}

fn set_level(vm: &Vm, level: &str) {
    let text = format!("[Core]\nlog_level = {level}\n");
    vm.set("instance/attributes/google-instance-configs", text);
}

#[test]
fn syslog_gets_the_predecessors_lines_and_a_restart_of_it_loses_none() {
    in_sandbox(
        "syslog_gets_the_predecessors_lines_and_a_restart_of_it_loses_none",
        || {
            let (vm, syslog) = (Vm::new(), Syslog::start());
            vm.set_keys(&[entry("alice")]);
            let mut agent = Daemon::start("agent", [PROGRAM, "agent"]);
            let lines = syslog.lines_until("Created user alice");
            let begins = "<30>google-accounts: INFO Created user alice";
            let last = lines.last().unwrap();
            assert!(
                last.starts_with(begins) && last.ends_with(".\0"),
                "{last:?}"
            );
            syslog.stop();
            vm.set_keys(&[entry("alice"), entry("bob")]);
            poll_until(PATIENCE, "bob is there", || {
                passwd("bob").starts_with("bob:")
            });
            let syslog = Syslog::start();
            syslog.lines_until("<30>google-accounts: INFO Created user bob");
            agent.signal("TERM");
            syslog.lines_until("<30>gce-guest: INFO Stopped.\0");
            assert!(agent.wait(PATIENCE).success());
            assert_eq!(agent.said(), "", "and nothing on standard error");
        },
    );
}

#[test]
fn a_log_that_nobody_reads_holds_no_agent_up() {
    in_sandbox("a_log_that_nobody_reads_holds_no_agent_up", || {
        let vm = Vm::new();
        std::fs::create_dir_all("/run/systemd/journal").unwrap();
        let _unread = UnixDatagram::bind("/run/systemd/journal/socket").unwrap();
        set_level(&vm, "4");
        let mut users: Vec<String> = (0..40).map(|number| entry(&format!("u{number}"))).collect();
        vm.set_keys(&users);
        let mut agent = Daemon::start("agent", [PROGRAM, "agent"]);
        poll_until(PATIENCE, "all users are there", || {
            !passwd("u39").is_empty()
        });
        users.push(entry("last"));
        vm.set_keys(&users);
        poll_until(PATIENCE, "and the next change", || {
            !passwd("last").is_empty()
        });
        let asked = Instant::now();
        agent.signal("TERM");
        assert!(agent.wait(PATIENCE).success());
        println!("stopped after {:?}", asked.elapsed());
    });
}

#[test]
fn the_level_is_that_of_the_configuration_from_any_source() {
    in_sandbox(
        "the_level_is_that_of_the_configuration_from_any_source",
        || {
            let (vm, syslog) = (Vm::new(), Syslog::start());
            let agent = Daemon::start("agent", [PROGRAM, "agent"]);
            vm.set_keys(&[entry("alice")]);
            syslog.lines_until("<30>google-accounts: INFO Created user alice");
            set_level(&vm, "4");
            syslog.lines_until("<31>google-accounts: DEBUG Pass of accounts");
            // At the level of errors nothing is left to say; then everything is said again.
            set_level(&vm, "0");
            vm.set_keys(&[entry("alice"), entry("bob")]);
            poll_until(PATIENCE, "bob is there", || !passwd("bob").is_empty());
            set_level(&vm, "1");
            vm.set_keys(&[entry("alice"), "carol".into()]);
            let lines = syslog.lines_until("WARNING Line 2 of instance/attributes/ssh-keys");
            let created = |line: &String| line.contains("Created user bob");
            assert!(!lines.iter().any(created), "{lines:#?}");
            drop(agent);
            // The same from a file, for scripts.
            let configure = |level: &str| {
                let text = format!("[Core]\nlog_level = {level}\n");
                std::fs::write("/etc/default/instance_configs.cfg", text).unwrap();
                vm.set(
                    "instance/attributes/startup-script",
                    format!("echo at level {level}"),
                );
                run([PROGRAM, "scripts", "startup"]);
            };
            configure("1");
            configure("3");
            let lines = syslog.lines_until("<30>startup-script: INFO startup-script: at level 3");
            assert!(
                !lines.iter().any(|line| line.contains("at level 1")),
                "{lines:#?}"
            );
        },
    );
}

#[test]
fn no_sink_ever_gets_a_secret() {
    const SECRET: &str = "canary-4711";
    in_sandbox("no_sink_ever_gets_a_secret", || {
        let (vm, syslog) = (Vm::new(), Syslog::start());
        let token = "instance/serviceAccounts/default/token";
        vm.set(token, format!("{SECRET}-token"));
        vm.set(
            "instance/attributes/password",
            format!("{SECRET}-attribute"),
        );
        let script = format!("PASSWORD={SECRET}-script\necho \"the script ran\"");
        vm.set("instance/attributes/startup-script", script);
        // Whoever has such a URL may read the object.
        let signed = format!("http://169.254.169.254/s.sh?X-Goog-Signature={SECRET}-signature");
        vm.set("instance/attributes/shutdown-script-url", signed);
        vm.set(
            "project/attributes/windows-keys",
            format!("{SECRET}-windows"),
        );
        set_level(&vm, "4");
        std::fs::write(
            "/etc/default/instance_configs.cfg",
            "[Core]\nlog_level = 4\n",
        )
        .unwrap();
        std::fs::write("/dev/console", "").unwrap();
        vm.set_keys(&[entry("alice"), format!("bob:ssh-rsa {SECRET}-no-key")]);
        let agent = Daemon::start("agent", [PROGRAM, "agent", "--debug", "--console"]);
        vm.settled(&agent);
        let mut startup = std::process::Command::new(PROGRAM);
        let proxy = format!("http://user:{SECRET}-proxy@127.0.0.1:9");
        startup
            .args(["scripts", "startup", "--debug", "--console"])
            .env("http_proxy", proxy);
        let said = support::output_within(&mut startup, Duration::from_secs(120));
        assert!(said.status.success());
        agent.signal("TERM");
        let sinks = [
            ("syslog", syslog.lines_until("INFO Stopped.").concat()),
            ("standard error of the agent", agent.said()),
            (
                "standard error of scripts",
                String::from_utf8_lossy(&said.stderr).into_owned(),
            ),
            ("the console", contents("/dev/console")),
        ];
        let all: String = sinks.iter().map(|(_, text)| text.as_str()).collect();
        for known in ["the script ran", "Created user alice", "DEBUG"] {
            assert!(all.contains(known), "{known}");
        }
        for (sink, text) in sinks {
            assert!(!text.is_empty(), "{sink} got something");
            assert!(!text.contains(SECRET), "{sink}: {text}");
        }
    });
}

#[test]
fn standard_error_that_nobody_reads_or_that_is_gone_is_no_failure() {
    in_sandbox(
        "standard_error_that_nobody_reads_or_that_is_gone_is_no_failure",
        || {
            let vm = Vm::new();
            vm.set_keys(&[entry("alice")]);
            let (reader, writer) = std::io::pipe().unwrap();
            let mut agent = std::process::Command::new(PROGRAM)
                .args(["agent", "--debug"])
                .stderr(writer)
                .spawn()
                .unwrap();
            for number in 0..100 {
                // Each is a pass of every manager with its details: more than a pipe holds.
                vm.set("instance/attributes/number", number.to_string().repeat(100));
                std::thread::sleep(Duration::from_millis(2));
            }
            poll_until(PATIENCE, "alice is there", || !passwd("alice").is_empty());
            drop(reader);
            vm.set_keys(&[entry("alice"), entry("bob")]);
            poll_until(PATIENCE, "bob is there", || !passwd("bob").is_empty());
            run(["kill", "-TERM", &agent.id().to_string()]);
            assert!(agent.wait().unwrap().success());
        },
    );
}

/// What the journal of a machine has, as its own tool tells it.
fn journal(machine: &Machine, filter: &[&str]) -> Vec<Value> {
    let words = ["journalctl", "--no-pager", "--all", "--output=json"];
    let shown = machine.text(words.iter().chain(filter));
    shown
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn messages(entries: &[Value]) -> Vec<&str> {
    entries
        .iter()
        .filter_map(|entry| entry["MESSAGE"].as_str())
        .collect()
}

#[test]
fn the_journal_gets_fields_and_a_restart_of_it_loses_nothing() {
    on_machine(
        "the_journal_gets_fields_and_a_restart_of_it_loses_nothing",
        |_, vm| {
            // Faster than the journal writes, and with a line that no datagram takes.
            let script = "echo said; for n in $(seq 1 5000); do echo out $n; done; sleep 1\n\
                          echo complained >&2\nprintf 'two\\rparts\\n'\n\
                          (sleep 3; echo late; echo late complaint >&2) & exit 3";
            vm.set("instance/attributes/startup-script", script);
        },
        |machine| {
            poll_until(Duration::from_secs(60), "the boot is over", || {
                matches!(machine.state().as_str(), "running" | "degraded")
            });
            look_at_the_scripts(&machine);
            look_at_the_agent(&machine);
            look_at_the_watchdog(&machine);
        },
    );
}

fn look_at_the_scripts(machine: &Machine) {
    let ended = [
        "-t",
        "startup-script",
        "_SYSTEMD_UNIT=google-startup-scripts.service",
    ];
    poll_until(PATIENCE, "the script's background is heard", || {
        messages(&journal(machine, &["-t", "startup-script"]))
            .contains(&"INFO startup-script: late complaint")
    });
    let entries = journal(machine, &ended);
    let with = |message: &str| {
        let is_it = |entry: &&Value| entry["MESSAGE"] == message;
        let found: Vec<&Value> = entries.iter().filter(is_it).collect();
        assert_eq!(found.len(), 1, "{message}: {:#?}", messages(&entries));
        found[0]
    };
    for (message, stream) in [
        ("INFO startup-script: said", "stdout"),
        ("INFO startup-script: out 5000", "stdout"),
        ("INFO startup-script: complained", "stderr"),
        ("INFO startup-script: two\\rparts", "stdout"),
        ("INFO startup-script: late", "stdout"),
        ("INFO startup-script: late complaint", "stderr"),
    ] {
        let entry = with(message);
        assert_eq!(entry["GCE_GUEST_STREAM"], stream, "{entry}");
        assert_eq!(entry["GCE_GUEST_SCRIPT"], "startup-script");
        assert_eq!(entry["PRIORITY"], "6");
        assert_eq!(entry["SYSLOG_FACILITY"], "3");
        assert_eq!(entry["SYSLOG_IDENTIFIER"], "startup-script");
        assert_eq!(entry["_TRANSPORT"], "journal");
    }
    assert!(with("INFO startup-script: Return code 3.")["GCE_GUEST_STREAM"].is_null());
    let out: Vec<&str> = messages(&entries)
        .into_iter()
        .filter(|message| message.starts_with("INFO startup-script: out "))
        .collect();
    assert_eq!(out.len(), 5000, "nothing is lost, and in order:");
    assert!(
        out.iter()
            .enumerate()
            .all(|(n, line)| line.ends_with(&format!(" {}", n + 1)))
    );
    poll_until(PATIENCE, "the console has them, too", || {
        let console = Machine::console();
        ["said", "complained", "Return code 3."]
            .iter()
            .all(|text| console.contains(&format!("startup-script: INFO startup-script: {text}")))
    });
}

fn look_at_the_agent(machine: &Machine) {
    let started = machine.attempt([
        "systemd-run",
        "--unit=agent",
        "--property=Type=notify",
        "/usr/bin/gce-guest",
        "agent",
    ]);
    assert!(started.status.success(), "{started:?}");
    let (alice, long) = (entry("alice"), "x".repeat(300_000));
    machine.vm.set_keys(std::slice::from_ref(&alice));
    let of_agent = || journal(machine, &["-u", "agent.service"]);
    let told = |text: &str| {
        poll_until(PATIENCE, text, || {
            messages(&of_agent())
                .iter()
                .any(|message| message.starts_with(text))
        });
        let entries = of_agent();
        entries
            .into_iter()
            .find(|entry| {
                entry["MESSAGE"]
                    .as_str()
                    .is_some_and(|message| message.starts_with(text))
            })
            .unwrap()
    };
    let created = told("INFO Created user alice");
    assert_eq!(created["SYSLOG_IDENTIFIER"], "google-accounts");
    assert_eq!(created["GCE_GUEST_MANAGER"], "accounts");
    // Without a journal for a while; then with another one.
    machine.attempt([
        "systemctl",
        "kill",
        "--signal=KILL",
        "systemd-journald.service",
    ]);
    machine.vm.set_keys(&[alice.clone(), entry("bob")]);
    told("INFO Created user bob");
    let units = [
        "systemd-journald.socket",
        "systemd-journald-dev-log.socket",
        "systemd-journald.service",
    ];
    machine.attempt(["systemctl", "stop"].iter().chain(&units));
    machine
        .vm
        .set_keys(&[alice.clone(), entry("bob"), entry("carol")]);
    poll_until(PATIENCE, "carol is there", || {
        machine.attempt(["id", "carol"]).status.success()
    });
    machine.attempt(["systemctl", "start"].iter().chain(&units));
    told("INFO Created user carol");
    // A message that fits no datagram.
    let settings = format!("[Core]\nlog_level = {long}\n");
    machine
        .vm
        .set("instance/attributes/google-instance-configs", settings);
    let large = told("WARNING ");
    assert!(large["MESSAGE"].as_str().unwrap().len() > 100, "{large}");
    machine.attempt(["systemctl", "stop", "agent"]);
    told("INFO Stopped.");
}

/// With a real service manager: it hears that the loop is alive, and ends a process that is not.
fn look_at_the_watchdog(machine: &Machine) {
    let words = "systemd-run --unit=watched --property=Type=notify --property=WatchdogSec=6 /usr/bin/gce-guest agent";
    assert!(machine.attempt(words.split(' ')).status.success());
    let show = |property: &str| {
        let property = format!("--property={property}");
        machine.text(["systemctl", "show", "--value", &property, "watched"])
    };
    poll_until(PATIENCE, "how things are", || {
        show("StatusText").contains("accounts: ok")
    });
    let before = show("WatchdogTimestampMonotonic");
    poll_until(PATIENCE, "a sign of life", || {
        show("WatchdogTimestampMonotonic") != before
    });
    machine.attempt(["systemctl", "kill", "--signal=STOP", "watched"]);
    poll_until(PATIENCE, "it is missed", || show("Result") == "watchdog");
}

#[test]
fn the_console_gets_what_is_configured() {
    in_sandbox("the_console_gets_what_is_configured", || {
        let vm = Vm::new();
        vm.set("instance/attributes/startup-script", "echo hello");
        vm.set("instance/attributes/shutdown-script", "#!/nonexistent\n");
        let copied = |level: &str, options: &[&str]| {
            let text = format!("[Core]\nconsole_level = {level}\n");
            std::fs::write("/etc/default/instance_configs.cfg", text).unwrap();
            std::fs::write("/dev/console", "").unwrap();
            run([PROGRAM, "scripts", "startup"].iter().chain(options));
            let force = [PROGRAM, "scripts", "shutdown", "--force"];
            run(force.iter().chain(options));
            contents("/dev/console")
        };
        assert_eq!(copied("info", &[]), "", "nobody has asked for it");
        assert_eq!(copied("off", &["--console"]), "");
        let warnings = copied("warning", &["--console"]);
        assert!(
            warnings.starts_with("shutdown-script: WARNING "),
            "{warnings}"
        );
        assert_eq!(warnings.lines().count(), 1, "{warnings}");
        let all = copied("info", &["--console"]);
        assert!(
            all.contains("startup-script: INFO startup-script: hello\n"),
            "{all}"
        );
    });
}
