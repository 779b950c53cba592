//! Scripts that run: with which program, in what environment, to what end, and what is left of them. The script itself and
//! the system's tools are the witnesses.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a failure is a panic, and programs are started directly"
)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use gce_guest::emulator::{Fault, Kind};
use serde_json::Value;
use support::vm::{PATIENCE, Vm, contents};
use support::web::Web;
use support::{
    Daemon, PROGRAM, attempt, in_sandbox, in_sandbox_with, output_within, poll_until, run, text_of,
};

const CONFIGURATION: &str = "/etc/default/instance_configs.cfg";

/// A VM whose metadata has this startup script.
fn vm_with(script: &str) -> Vm {
    let vm = Vm::new();
    vm.set("instance/attributes/startup-script", script);
    vm
}

fn configure(lines: &str) {
    fs::write(CONFIGURATION, format!("[MetadataScripts]\n{lines}\n")).unwrap();
}

/// Runs the startup scripts with success and returns the log.
fn startup() -> String {
    String::from_utf8_lossy(&run([PROGRAM, "scripts", "startup"]).stderr).into_owned()
}

/// Runs the shutdown scripts as the init system of `level` would.
fn shutdown(level: &str, options: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command
        .args(["scripts", "shutdown"])
        .args(options)
        .env("RUNLEVEL", level);
    output_within(&mut command, Duration::from_secs(120))
}

/// The records of all scripts, as `scripts status --json` prints them.
fn records() -> Vec<Value> {
    let text = text_of([PROGRAM, "scripts", "status", "--json"]);
    let records: Vec<Value> = serde_json::from_str(&text).unwrap();
    records
        .into_iter()
        .flat_map(|record| record["scripts"].as_array().unwrap().clone())
        .collect()
}

/// What is left in /run of private directories.
fn left_over() -> Vec<String> {
    fs::read_dir("/run")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("startup-") || name.starts_with("shutdown-"))
        .collect()
}

/// What a script said, without what was said about it.
fn said_by<'a>(key: &str, log: &'a str) -> Vec<&'a str> {
    let prefix = format!("-script: INFO {key}: ");
    log.lines()
        .filter_map(|line| line.split_once(&prefix).map(|(_, said)| said))
        .collect()
}

#[test]
fn the_environment_is_the_documented_one_wherever_it_is_started() {
    in_sandbox(
        "the_environment_is_the_documented_one_wherever_it_is_started",
        || {
            let _vm = vm_with(
                "#!/usr/bin/python3\nimport os\nfor name in sorted(os.environ): print(name + '=' + os.environ[name])\nprint(os.getcwd())",
            );
            let mut command = Command::new(PROGRAM);
            command
                .args(["scripts", "startup"])
                .env("SECRET_OF_THE_CALLER", "1")
                .env("LANG", "de_DE");
            let log = String::from_utf8(output_within(&mut command, PATIENCE).stderr).unwrap();
            let expected = [
                "GCE_HOSTNAME=example.us-central1-f.c.example-project.internal",
                "GCE_INSTANCE_ID=4242424242424242424",
                "GCE_INSTANCE_NAME=example",
                "GCE_MACHINE_TYPE=e2-small",
                "GCE_PROJECT_ID=example-project",
                "GCE_SCRIPT_KEY=startup-script",
                "GCE_ZONE=us-central1-f",
                "HOME=/root",
                "LANG=C.UTF-8",
                "LOGNAME=root",
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "SHELL=/bin/bash",
                "USER=root",
                "/",
                "Return code 0.",
            ];
            assert_eq!(said_by("startup-script", &log), expected);
        },
    );
}

#[test]
fn scripts_and_programs_run_from_a_noexec_directory() {
    in_sandbox_with(
        &["--allow-mounts"],
        "scripts_and_programs_run_from_a_noexec_directory",
        || {
            fs::create_dir("/noexec").unwrap();
            run(["mount", "-t", "tmpfs", "-o", "noexec", "tmpfs", "/noexec"]);
            fs::copy("/usr/bin/id", "/noexec/id").unwrap();
            assert!(
                !attempt(["sh", "-c", "/noexec/id"]).status.success(),
                "the mount is what it is for"
            );
            configure("run_dir = /noexec");
            let vm = vm_with("#!/bin/bash\necho \"I am $0\"");
            let web = Web::new();
            web.serve(
                "other.example",
                "program",
                &fs::read("/usr/bin/id").unwrap(),
            );
            vm.set(
                "instance/attributes/startup-script-url",
                "https://other.example/program",
            );
            let log = startup();
            let by_program = said_by("startup-script-url", &log).concat();
            assert!(by_program.contains("uid=0(root)"), "{log}");
            let by_script = said_by("startup-script", &log).concat();
            assert!(
                by_script.contains("I am /noexec/startup-")
                    && by_script.contains("/startup-script"),
                "{log}"
            );
            let entry = &records()[0];
            assert_eq!(entry["interpreter"], serde_json::json!([]));
            assert_eq!(
                fs::read_dir("/noexec").unwrap().count(),
                1,
                "nothing is left there"
            );
            // Where programs may be run, one runs as it is.
            configure("run_dir = /tmp");
            assert!(startup().contains("uid=0(root)"));
        },
    );
}

#[test]
fn without_the_configured_shell_another_one_runs_the_script() {
    in_sandbox(
        "without_the_configured_shell_another_one_runs_the_script",
        || {
            configure("default_shell = /no/such/bash");
            let vm = vm_with("echo \"by $(cat /proc/$$/comm), SHELL=$SHELL\"");
            let log = startup();
            assert!(log.contains("/no/such/bash (MetadataScripts.default_shell) is not installed; /bin/sh runs it."), "{log}");
            assert_eq!(
                said_by("startup-script", &log),
                ["by sh, SHELL=/bin/sh", "Return code 0."]
            );
            configure("default_shell = /bin/dash");
            assert!(startup().contains("by dash, SHELL=/bin/dash"));
            vm.set(
                "instance/attributes/startup-script",
                "#!/bin/bash\ncat /proc/$$/comm",
            );
            assert!(
                startup().contains("startup-script: bash"),
                "the #! line comes before the configuration"
            );
        },
    );
}

#[test]
fn carriage_returns_and_marks_are_named_and_mended_as_configured() {
    in_sandbox(
        "carriage_returns_and_marks_are_named_and_mended_as_configured",
        || {
            let vm = Vm::new();
            let run_with = |mode: &str, script: &str| {
                configure(&format!("normalize_crlf = {mode}"));
                vm.set("instance/attributes/startup-script", script);
                startup()
            };
            let crlf = "#!/bin/bash\r\nx=1\r\ncat -A <<<\"$x\"\r\n";
            // The line is mended, the rest is the owner's.
            let log = run_with("shebang", "#!/bin/bash\r\necho ran\n");
            assert!(
                log.contains("startup-script: ran") && log.contains("the CR was taken out"),
                "{log}"
            );
            let log = run_with("shebang", crlf);
            assert!(log.contains("a shell takes the CR for a part of each line: save it with LF, or set MetadataScripts.normalize_crlf = all"), "{log}");
            assert!(!said_by("startup-script", &log).contains(&"1$"), "{log}");
            let log = run_with("all", crlf);
            assert_eq!(said_by("startup-script", &log), ["1$", "Return code 0."]);
            let log = run_with("off", crlf);
            assert!(log.contains("WARNING startup-script: cannot be run: its #! line names /bin/bash\\r, which is not installed: the line ends in CR LF"), "{log}");
            assert_eq!(records()[0]["state"], "not-started");
            // The mark.
            let marked = "\u{feff}#!/bin/bash\necho \"by $(cat /proc/$$/comm)\"\n";
            let log = run_with("shebang", marked);
            assert!(
                log.contains("byte order mark (BOM), which was taken out")
                    && log.contains("by bash"),
                "{log}"
            );
            let log = run_with("off", marked);
            assert!(
                log.contains("byte order mark (BOM), which hides its first line"),
                "{log}"
            );
        },
    );
}

#[test]
fn output_of_any_size_and_kind_is_whole_and_comes_as_it_is_written() {
    in_sandbox(
        "output_of_any_size_and_kind_is_whole_and_comes_as_it_is_written",
        || {
            let long = 10 * 1024 * 1024;
            let _vm = vm_with(&format!(
                "#!/bin/bash\nprintf 'without a newline'; until [ -e /var/go ]; do sleep 0.05; done; echo\n\
             printf 'nul \\0 bad \\xff end\\n' >&2\n\
             head -c {long} /dev/zero | tr '\\0' x; echo\nexit 9"
            ));
            let mut runner = Daemon::start("runner", [PROGRAM, "scripts", "startup"]);
            poll_until(PATIENCE, "the script waits", || {
                attempt(["pgrep", "-f", "startup-[0-9a-f]*/startup-script"])
                    .status
                    .success()
            });
            fs::write("/var/go", "").unwrap();
            assert!(runner.wait(PATIENCE).success());
            let log = runner.said();
            let said = said_by("startup-script", &log);
            assert_eq!(said[0], "without a newline");
            assert_eq!(said[1], "nul \\u{0} bad \u{fffd} end");
            let bytes: usize = said[2..said.len() - 1].iter().map(|part| part.len()).sum();
            assert_eq!(bytes, long, "every byte of the long line");
            assert_eq!(said.last(), Some(&"Return code 9."));
            let kept = text_of([PROGRAM, "scripts", "log", "startup"]);
            assert!(kept.ends_with("startup-script: Return code 9."));
            assert!(
                kept.len() > 512 * 1024 && kept.len() < 2 * 1024 * 1024,
                "the end of it is kept: {}",
                kept.len()
            );
        },
    );
}

#[test]
fn a_line_is_logged_while_the_script_still_runs() {
    in_sandbox("a_line_is_logged_while_the_script_still_runs", || {
        let _vm = vm_with("echo first\nuntil [ -e /var/go ]; do sleep 0.05; done\necho second");
        let mut runner = Daemon::start("runner", [PROGRAM, "scripts", "startup"]);
        poll_until(PATIENCE, "the first line", || {
            runner.said().contains("startup-script: first")
        });
        assert!(!runner.said().contains("second"));
        let running = records();
        assert_eq!(running[0]["state"], "running");
        fs::write("/var/go", "").unwrap();
        assert!(runner.wait(PATIENCE).success());
        assert!(runner.said().contains("startup-script: second"));
    });
}

#[test]
fn what_a_script_leaves_in_the_background_lives_on_and_is_still_heard() {
    in_sandbox(
        "what_a_script_leaves_in_the_background_lives_on_and_is_still_heard",
        || {
            // The system's log.
            let syslog = UnixDatagram::bind("/dev/log").unwrap();
            syslog.set_nonblocking(true).unwrap();
            let mut heard = String::new();
            let mut hear = move || {
                let mut buffer = [0; 4096];
                while let Ok(length) = syslog.recv(&mut buffer) {
                    heard += &String::from_utf8_lossy(&buffer[..length]);
                    heard.push('\n');
                }
                heard.clone()
            };
            let _vm = vm_with(
                "#!/bin/bash\n(until [ -e /var/go ]; do sleep 0.05; done; echo late; echo later; touch /var/survived) &\n\
             exec > >(cat) 2>&1\necho done",
            );
            let started = Instant::now();
            startup();
            println!("the runner ended after {:?}", started.elapsed());
            poll_until(
                PATIENCE,
                "the last line, though `cat` hands it on late",
                || hear().contains("startup-script: done"),
            );
            let drains = || {
                attempt(["pgrep", "-f", "scripts drain startup startup-script"])
                    .status
                    .success()
            };
            assert!(drains(), "somebody reads on");
            fs::write("/var/go", "").unwrap();
            poll_until(PATIENCE, "the background goes on", || {
                Path::new("/var/survived").exists()
            });
            poll_until(PATIENCE, "its lines are logged", || {
                let heard = hear();
                heard.contains("startup-script: late\0")
                    && heard.contains("startup-script: later\0")
            });
            poll_until(PATIENCE, "nobody is left", || !drains());
            assert_eq!(left_over(), Vec::<String>::new());
        },
    );
}

#[test]
fn a_script_that_takes_too_long_is_ended_with_its_tree_and_the_next_one_runs() {
    in_sandbox(
        "a_script_that_takes_too_long_is_ended_with_its_tree_and_the_next_one_runs",
        || {
            let vm = vm_with("echo my turn");
            let web = Web::new();
            // It doubles up to 64 processes, none of which listens to TERM or ends by itself.
            let bomb = "#!/bin/bash\ntrap '' TERM\n\
                        grow() { [ $1 = 6 ] && exec sleep 600.25; grow $(($1 + 1)) & grow $(($1 + 1)) & wait; }\ngrow 0\n";
            web.serve("other.example", "bomb", bomb.as_bytes());
            vm.set(
                "instance/attributes/startup-script-url",
                "https://other.example/bomb",
            );
            // A loaded machine takes its time for so many.
            configure("startup_timeout = 5");
            let started = Instant::now();
            let mut runner = Daemon::start("runner", [PROGRAM, "scripts", "startup"]);
            poll_until(PATIENCE, "it has grown", || {
                text_of(["sh", "-c", "pgrep -fc '^sleep 600.25' || true"]) == "64"
            });
            assert!(runner.wait(PATIENCE).success());
            println!("ended after {:?}", started.elapsed());
            let log = runner.said();
            assert!(log.contains("WARNING startup-script-url: took longer than 5 s (MetadataScripts.startup_timeout) and was ended"), "{log}");
            assert!(log.contains("startup-script: my turn"), "{log}");
            for pattern in ["^sleep 600.25", "startup-[0-9a-f]*/startup-script"] {
                poll_until(PATIENCE, "nothing is left of it", || {
                    !attempt(["pgrep", "-f", pattern]).status.success()
                });
            }
            let records = records();
            assert_eq!(
                (&records[0]["state"], &records[0]["seconds"]),
                (&"timed-out".into(), &5.into())
            );
            assert_eq!(records[1]["state"], "exited");
        },
    );
}

#[test]
fn the_fate_of_each_script_is_in_the_log_the_state_and_the_exit_status() {
    in_sandbox(
        "the_fate_of_each_script_is_in_the_log_the_state_and_the_exit_status",
        || {
            assert!(text_of([PROGRAM, "scripts", "status"]).contains("No scripts have run"));
            let vm = vm_with("kill -9 $$");
            let log = startup();
            assert!(log.contains("startup-script: Return code -9."), "{log}");
            let entry = &records()[0];
            assert_eq!(
                (&entry["state"], &entry["signal"]),
                (&"killed".into(), &9.into())
            );
            assert_eq!(
                (&entry["source"], &entry["starts"]),
                (&"inline".into(), &1.into())
            );
            assert_eq!(entry["interpreter"], serde_json::json!(["/bin/bash"]));
            assert!(text_of([PROGRAM, "scripts", "status"]).contains("signal 9"));
            vm.set("instance/attributes/startup-script", "exit 3");
            configure("fail_on_error = true\nreport_status = true");
            vm.set("instance/attributes/enable-guest-attributes", "TRUE");
            let failed = attempt([PROGRAM, "scripts", "startup"]);
            assert_eq!(failed.status.code(), Some(1));
            let log = String::from_utf8(failed.stderr).unwrap();
            assert!(log.contains("startup-script: Return code 3."), "{log}");
            let attribute = || {
                text_of([
                    "curl",
                    "-s",
                    "-H",
                    "Metadata-Flavor: Google",
                    "http://169.254.169.254/computeMetadata/v1/instance/guest-attributes/gce-guest-scripts/startup-script",
                ])
            };
            assert_eq!(attribute(), "exit 3");
            vm.set("instance/attributes/startup-script", "true");
            startup();
            assert_eq!(attribute(), "exit 0");
            // Where guest attributes are off, that is a warning and no more.
            vm.set("instance/attributes/enable-guest-attributes", "FALSE");
            assert!(
                startup().contains("WARNING startup-script: its fate is not in a guest attribute")
            );
            let directory = fs::metadata("/run/gce-guest/scripts").unwrap();
            assert_eq!(
                (directory.permissions().mode() & 0o7777, directory.uid()),
                (0o700, 0)
            );
        },
    );
}

#[test]
fn scripts_run_once_per_instance_and_again_after_a_failure_as_configured() {
    in_sandbox(
        "scripts_run_once_per_instance_and_again_after_a_failure_as_configured",
        || {
            configure("startup_once = true");
            let vm = vm_with("echo x >> /var/runs; [ $(wc -l < /var/runs) -ge 2 ]");
            let runs = || contents("/var/runs").lines().count();
            startup();
            assert_eq!(runs(), 1);
            startup();
            assert_eq!(runs(), 2, "the first run failed, so it does not count");
            assert!(
                startup().contains("have run for this instance (MetadataScripts.startup_once)")
            );
            assert_eq!(runs(), 2);
            vm.set("instance/id", 77);
            startup();
            assert_eq!(runs(), 3, "another instance");
            configure("startup_retries = 2");
            fs::write("/var/runs", "").unwrap();
            vm.set(
                "instance/attributes/startup-script",
                "echo x >> /var/runs; [ $(wc -l < /var/runs) -ge 3 ]",
            );
            let log = startup();
            assert_eq!(runs(), 3);
            assert!(
                log.contains("started again in 1 s; 2 more of MetadataScripts.startup_retries"),
                "{log}"
            );
            let entry = &records()[0];
            assert_eq!((&entry["starts"], &entry["status"]), (&3.into(), &0.into()));
            configure("");
            fs::write("/var/runs", "").unwrap();
            startup();
            assert_eq!(runs(), 1, "by default nothing is repeated");
        },
    );
}

#[test]
fn the_package_managers_lock_is_waited_for_when_that_is_configured() {
    in_sandbox(
        "the_package_managers_lock_is_waited_for_when_that_is_configured",
        || {
            let _vm = vm_with("[ -e /var/released ] && echo after || echo before");
            // A record lock, as apt takes it.
            let holder = "import fcntl, os, time\n\
                      file = open('/var/lib/dpkg/lock-frontend', 'w')\n\
                      fcntl.lockf(file, fcntl.LOCK_EX)\n\
                      print('locked', flush=True)\n\
                      while not os.path.exists('/var/go'): time.sleep(0.05)\n\
                      open('/var/released', 'w')\n";
            let mut apt = Daemon::start("apt", ["python3", "-c", holder]);
            poll_until(PATIENCE, "the lock is held", || {
                apt.said().contains("locked")
            });
            assert!(
                startup().contains("startup-script: before"),
                "by default nobody waits"
            );
            configure("wait_for_package_lock = 1");
            let log = startup();
            assert!(
                log.contains("/var/lib/dpkg/lock-frontend is still locked by python3 (process"),
                "{log}"
            );
            assert!(log.contains("startup-script: before"), "{log}");
            configure("wait_for_package_lock = 120");
            let mut runner = Daemon::start("runner", [PROGRAM, "scripts", "startup"]);
            poll_until(PATIENCE, "it waits", || {
                runner.said().contains("Waiting for the package manager")
            });
            fs::write("/var/go", "").unwrap();
            assert!(runner.wait(PATIENCE).success());
            assert!(apt.wait(PATIENCE).success());
            assert!(
                runner.said().contains("startup-script: after"),
                "{}",
                runner.said()
            );
        },
    );
}

#[test]
fn a_runner_that_is_told_to_stop_leaves_the_script_alone() {
    in_sandbox(
        "a_runner_that_is_told_to_stop_leaves_the_script_alone",
        || {
            let _vm = vm_with(
                "#!/bin/bash\necho begins\nuntil [ -e /var/go ]; do sleep 0.05; done\necho goes on\ntouch /var/finished",
            );
            let begin = |name: &str| {
                let runner = Daemon::start(name, [PROGRAM, "scripts", "startup"]);
                poll_until(PATIENCE, "the script runs", || {
                    runner.said().contains("startup-script: begins")
                });
                runner
            };
            let mut runner = begin("runner");
            runner.signal("TERM");
            assert!(runner.wait(PATIENCE).success());
            assert_eq!(records()[0]["state"], "interrupted");
            fs::write("/var/go", "").unwrap();
            poll_until(PATIENCE, "the script ends as it would have", || {
                Path::new("/var/finished").exists()
            });
            // From the keyboard, it is the script that is meant.
            fs::remove_file("/var/go").unwrap();
            let mut runner = begin("interrupted");
            runner.signal("INT");
            assert!(runner.wait(PATIENCE).success());
            poll_until(PATIENCE, "nothing is left of it", || {
                !attempt(["pgrep", "-f", "startup-[0-9a-f]*/startup-script"])
                    .status
                    .success()
            });
        },
    );
}

#[test]
fn shutdown_scripts_run_when_the_system_goes_down_and_not_before() {
    in_sandbox(
        "shutdown_scripts_run_when_the_system_goes_down_and_not_before",
        || {
            let vm = Vm::new();
            vm.set("instance/attributes/shutdown-script", "echo bye");
            let log = |output: Output| {
                assert!(output.status.success());
                String::from_utf8(output.stderr).unwrap()
            };
            for level in ["0", "6"] {
                let log = log(shutdown(level, &[]));
                assert!(
                    log.contains("shutdown-script: INFO shutdown-script: bye"),
                    "{log}"
                );
            }
            for level in ["2", "3", "5", "S"] {
                let log = log(shutdown(level, &[]));
                assert!(
                    log.contains("The system is not going down (the run level is"),
                    "{log}"
                );
                assert!(!log.contains("bye"), "{log}");
            }
            assert!(log(shutdown("2", &["--force"])).contains("bye"));
            // Nobody to ask: not run, with a warning.
            let unknown = attempt([PROGRAM, "scripts", "shutdown"]);
            assert!(
                String::from_utf8(unknown.stderr)
                    .unwrap()
                    .contains("WARNING Whether the system is going down is not known")
            );
            configure("shutdown = false");
            assert_eq!(log(shutdown("0", &[])), "");
            // A script that takes too long is ended where that is configured, so that the machine goes down.
            vm.set("instance/attributes/shutdown-script", "sleep 3; echo late");
            configure("");
            assert!(log(shutdown("0", &[])).contains("shutdown-script: late"));
            configure("shutdown_timeout = 1");
            let ended = log(shutdown("0", &[]));
            assert!(
                ended.contains("(MetadataScripts.shutdown_timeout) and was ended"),
                "{ended}"
            );
            assert!(!ended.contains("late"), "{ended}");
        },
    );
}

/// Goes down, and expects these words of the scripts with and without a URL, and this explanation.
fn expect_last_words(by_url: &str, inline: &str, why: &str) {
    let started = Instant::now();
    let output = shutdown("0", &[]);
    println!("{why}: {:?}", started.elapsed());
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && log.contains(why), "{log}");
    assert!(
        said_by("shutdown-script-url", &log).contains(&by_url),
        "{log}"
    );
    assert!(said_by("shutdown-script", &log).contains(&inline), "{log}");
}

#[test]
fn a_shutdown_without_metadata_runs_what_was_kept() {
    in_sandbox("a_shutdown_without_metadata_runs_what_was_kept", || {
        let vm = vm_with("echo up");
        let web = Web::new();
        web.serve(
            "other.example",
            "bye",
            b"#!/bin/sh\necho \"from the web, $GCE_INSTANCE_NAME\"\n",
        );
        vm.set(
            "instance/attributes/shutdown-script-url",
            "https://other.example/bye",
        );
        vm.set("instance/attributes/shutdown-script", "echo inline one");
        startup();
        let mode = |path: &str| fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(mode("/run/gce-guest/scripts"), 0o700);
        assert_eq!(
            mode("/run/gce-guest/scripts/shutdown/shutdown-script"),
            0o600
        );
        assert_eq!(
            mode("/run/gce-guest/scripts/shutdown/shutdown-script-url"),
            0o600
        );
        // On change: what the agent will do.
        vm.set("instance/attributes/shutdown-script", "echo inline two");
        run([PROGRAM, "scripts", "cache"]);
        assert_eq!(
            web.seen(),
            ["other.example /bye"],
            "what did not change is not fetched again"
        );
        // What is in the web now counts, if it comes at once.
        web.serve("other.example", "bye", b"#!/bin/sh\necho changed since\n");
        expect_last_words("changed since", "inline two", "Starting shutdown scripts.");
        // Metadata is there and says something new; the web is gone, and the copy stands in for it.
        drop(web);
        vm.set("instance/attributes/shutdown-script", "echo inline three");
        let from_web = "from the web, example";
        expect_last_words(from_web, "inline three", "the connection failed");
        // The server is there and says nothing; nobody tries to report to it.
        configure("report_status = true");
        vm.live.inject(Fault::always(Kind::Hang));
        expect_last_words(from_web, "inline two", "No metadata (no answer within 2 s)");
        // There is no server.
        drop(vm);
        expect_last_words(
            from_web,
            "inline two",
            "No metadata (cannot reach the metadata server",
        );
        fs::remove_dir_all("/run/gce-guest").unwrap();
        let nothing = shutdown("0", &[]);
        assert_eq!(nothing.status.code(), Some(1));
        let told = String::from_utf8(nothing.stderr).unwrap();
        assert!(
            told.contains("no shutdown scripts were kept since the boot"),
            "{told}"
        );
    });
}

/// URLs, the state in the record, and what the log says.
const WHAT_CANNOT_RUN: [(&str, &str, &str); 10] = [
    (
        "https://other.example/empty",
        "exited",
        "WARNING startup-script-url: the script is empty.",
    ),
    (
        "https://other.example/utf16",
        "not-started",
        "cannot be run: it is UTF-16 text, which no shell reads: save it as UTF-8.",
    ),
    (
        "https://other.example/lost",
        "not-started",
        "its #! line names /opt/no/such/interpreter, which is not installed.",
    ),
    (
        "https://other.example/foreign",
        "not-started",
        "Exec format error",
    ),
    (
        "https://other.example/missing",
        "not-fetched",
        "cannot be fetched: the server answered 404 (there is no such object).",
    ),
    (
        "gs://bucket/directory/",
        "not-fetched",
        "it names a directory: name one object",
    ),
    (
        "gs://bucket",
        "not-fetched",
        "it names a directory: name one object",
    ),
    (
        "gs://bucket/*.sh",
        "not-fetched",
        "wildcards (* and ?) are not expanded: name one object.",
    ),
    (
        "file:///etc/shadow",
        "not-fetched",
        "scripts are fetched from gs://BUCKET/OBJECT, https:// and http:// only.",
    ),
    (
        "bucket/object",
        "not-fetched",
        "scripts are fetched from gs://BUCKET/OBJECT, https:// and http:// only.",
    ),
];

#[test]
fn what_cannot_run_is_told_with_its_reason_and_costs_itself_alone() {
    in_sandbox(
        "what_cannot_run_is_told_with_its_reason_and_costs_itself_alone",
        || {
            let vm = vm_with("echo the other one");
            let web = Web::new();
            web.serve("other.example", "empty", b"");
            web.serve(
                "other.example",
                "utf16",
                b"\xff\xfe#\0!\0/\0b\0i\0n\0/\0s\0h\0\n\0",
            );
            web.serve(
                "other.example",
                "lost",
                b"#!/opt/no/such/interpreter -x\necho\n",
            );
            web.serve("other.example", "foreign", b"\x7fELF not really a program");
            for (url, state, told) in WHAT_CANNOT_RUN {
                vm.set("instance/attributes/startup-script-url", url);
                let log = startup();
                assert!(log.contains(told), "{url}: {told:?} is not in\n{log}");
                assert!(
                    log.contains("startup-script: the other one"),
                    "{url}:\n{log}"
                );
                let records = records();
                assert_eq!(records[0]["state"], state, "{url}");
                assert_eq!(records[1]["state"], "exited", "{url}");
            }
            assert!(vm.live.remove("instance/attributes/startup-script-url"));
            configure("run_dir = /proc/no/such");
            let log = startup();
            assert!(
                log.contains(
                    "WARNING No directory can be made in /proc/no/such (MetadataScripts.run_dir)"
                ),
                "{log}"
            );
            assert!(log.contains("startup-script: the other one"), "{log}");
            assert_eq!(left_over(), Vec::<String>::new());
        },
    );
}

#[test]
fn what_would_run_is_shown_and_nothing_runs() {
    in_sandbox("what_would_run_is_shown_and_nothing_runs", || {
        let vm = Vm::new();
        assert_eq!(
            text_of([PROGRAM, "scripts", "list"]),
            "Metadata has no scripts."
        );
        vm.set(
            "instance/attributes/startup-script",
            "#!/usr/bin/env python3\nopen('/var/ran', 'w')",
        );
        vm.set("instance/attributes/startup-script-url", "gs://bucket/x.sh");
        vm.set("instance/attributes/shutdown-script", "touch /var/ran");
        let list = text_of([PROGRAM, "scripts", "list"]);
        let lines: Vec<&str> = list.lines().collect();
        assert_eq!(
            lines,
            [
                "startup-script-url    https://storage.googleapis.com/bucket/x.sh, with the service account's token",
                "startup-script        inline, 44 bytes",
                "shutdown-script       inline, 14 bytes",
            ]
        );
        let shown = text_of([PROGRAM, "scripts", "run", "startup", "--dry-run"]);
        assert!(
            shown.contains(
                "2. startup-script\n   from  inline, 44 bytes\n   by    /usr/bin/env python3\n"
            ),
            "{shown}"
        );
        let shown = text_of([PROGRAM, "scripts", "run", "shutdown", "--dry-run"]);
        assert!(
            shown.contains("by    /bin/bash (MetadataScripts.default_shell)"),
            "{shown}"
        );
        assert!(!Path::new("/var/ran").exists());
        assert_eq!(
            text_of([PROGRAM, "scripts", "log", "startup"]),
            "No startup scripts have run since the boot."
        );
    });
}

#[test]
fn the_agent_keeps_the_shutdown_scripts_and_follows_their_changes() {
    in_sandbox(
        "the_agent_keeps_the_shutdown_scripts_and_follows_their_changes",
        || {
            let vm = Vm::new();
            let agent = vm.agent();
            let kept = || contents("/run/gce-guest/scripts/shutdown/shutdown-script");
            vm.set("instance/attributes/shutdown-script", "echo one");
            poll_until(PATIENCE, "the script is kept", || kept() == "echo one");
            vm.set("instance/attributes/shutdown-script", "echo two");
            poll_until(PATIENCE, "its change is kept", || kept() == "echo two");
            let mode = text_of(["stat", "-c", "%U %a", "/run/gce-guest/scripts"]);
            assert_eq!(mode, "root 700");
            vm.set("instance/attributes/shutdown-script", "");
            poll_until(PATIENCE, "nothing is kept any more", || kept().is_empty());
            drop(agent);
        },
    );
}
