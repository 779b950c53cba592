//! The end of a sandbox: that of its command, by a signal, at a terminal, by force. Nothing is left.
//!
//! Debian packages: iproute2, procps.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a failure is a panic, and programs are started directly"
)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use support::outside::{
    PATIENCE, machine, processes_with, said, sandboxed, sleeping, unique_sleep,
};
use support::{Daemon, PROGRAM, attempt, in_sandbox, poll_until, run, text_of};

#[test]
fn the_exit_status_is_the_commands() {
    assert_eq!(sandboxed(&[], "exit 42").status.code(), Some(42));
    assert_eq!(sandboxed(&[], "kill -9 $$").status.code(), Some(128 + 9));
    assert_eq!(
        sandboxed(&[], "kill -TERM $$").status.code(),
        Some(128 + 15)
    );
    for (command, status) in [("/no/such/command", 127), ("/etc/hostname", 126)] {
        let output = attempt([PROGRAM, "sandbox", "--", command]);
        assert_eq!(output.status.code(), Some(status), "{}", said(&output));
        assert_eq!(said(&output).lines().count(), 1, "{}", said(&output));
        assert!(said(&output).contains(command), "{}", said(&output));
    }
}

#[test]
fn daemons_end_with_the_command() {
    let mark = unique_sleep();
    let output = sandboxed(
        &[],
        &format!("setsid sleep {mark} & setsid sleep {mark} & exit 5"),
    );
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(processes_with(&mark), []);
}

#[test]
fn zombies_are_reaped() {
    in_sandbox("zombies_are_reaped", || {
        for _ in 0..20 {
            run(["sh", "-c", "(sh -c true &)"]);
        }
        poll_until(PATIENCE, "no zombie is left", || {
            !text_of(["ps", "-e", "-o", "stat="]).contains('Z')
        });
    });
}

#[test]
fn a_killed_caller_takes_everything_down() {
    let before = machine();
    let mark = unique_sleep();
    let script = format!("setsid sleep {mark} & exec sleep {mark}");
    let words = [PROGRAM, "sandbox", "--", "sh", "-c", script.as_str()];
    let start = || {
        Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut sandbox = start();
    poll_until(PATIENCE, "both programs run", || {
        sleeping(&processes_with(&mark)) == 2
    });
    sandbox.kill().unwrap();
    sandbox.wait().unwrap();
    poll_until(PATIENCE, "nothing is left", || {
        processes_with(&mark).is_empty()
    });
    // At every moment of its start as well.
    for delay in 0..25 {
        let mut sandbox = start();
        thread::sleep(Duration::from_micros(800 * delay));
        sandbox.kill().unwrap();
        sandbox.wait().unwrap();
        poll_until(PATIENCE, "nothing is left", || {
            processes_with(&mark).is_empty()
        });
    }
    assert_eq!(machine(), before);
}

/// A command that ignores no signal: a shell's background job ignores INT and QUIT, and so would what it starts.
fn all_signals(mut env: Command) -> Command {
    env.arg("--default-signal=INT,QUIT,HUP,TERM");
    env
}

#[test]
fn signals_reach_the_command() {
    let before = machine();
    for (signal, number) in [("INT", 2), ("TERM", 15), ("HUP", 1), ("QUIT", 3)] {
        let mark = unique_sleep();
        let mut sandbox = Daemon::start_command(
            &format!("gce-guest-test-{mark}"),
            all_signals(Command::new("env"))
                .args([PROGRAM, "sandbox", "--", "sh", "-c"])
                .arg(format!(
                    "trap 'echo got; exit 33' {signal}; setsid sleep {mark} & echo ready; wait"
                )),
        );
        poll_until(PATIENCE, "the command runs", || {
            sandbox.said().contains("ready")
        });
        sandbox.signal(signal);
        assert_eq!(sandbox.wait(PATIENCE).code(), Some(33), "{signal}");
        assert_eq!(sandbox.said(), "ready\ngot\n");
        assert_eq!(processes_with(&mark), []);

        let mut sandbox = Daemon::start_command(
            &format!("gce-guest-test-{mark}"),
            all_signals(Command::new("env")).args([PROGRAM, "sandbox", "--", "sleep", &mark]),
        );
        poll_until(PATIENCE, "the command runs", || {
            sleeping(&processes_with(&mark)) == 1
        });
        sandbox.signal(signal);
        assert_eq!(
            sandbox.wait(PATIENCE).code(),
            Some(128 + number),
            "{signal}"
        );
        assert_eq!(processes_with(&mark), []);
        fs::remove_file(format!("/tmp/gce-guest-test-{mark}.log")).unwrap();
    }
    assert_eq!(machine(), before);
}

#[test]
fn it_is_there_and_gone_in_no_time() {
    let mut durations: Vec<Duration> = (0..9)
        .map(|_| {
            let started = Instant::now();
            run([PROGRAM, "sandbox", "--", "/bin/true"]);
            started.elapsed()
        })
        .collect();
    durations.sort();
    println!(
        "set-up, /bin/true, tear-down: {:?} (median of 9)",
        durations[4]
    );
    // Twenty milliseconds on an idle machine; this catches a wait for a timeout, which even the quickest would have.
    assert!(durations[0] < Duration::from_secs(1), "{durations:?}");
}

/// A command at a terminal of its own (script(1)).
struct Terminal {
    child: Child,
    screen: ChildStdout,
    keyboard: ChildStdin,
    shown: Vec<u8>,
    seen: usize,
}

impl Terminal {
    /// Starts a bash command, which has `script` in its environment as `SCRIPT`. Bash waits for what it runs when
    /// Control-C is pressed, and has its status; dash, which `script` takes where `SHELL` is not set, ends at once.
    fn start(command: &str, script: &str) -> Self {
        // Whoever started the tests may ignore what is pressed here, and a shell that was started so cannot trap it.
        let mut child = Command::new("env")
            .arg("--default-signal=INT,QUIT,TSTP,HUP,TERM")
            .args(["script", "-qefc", command, "/dev/null"])
            .env("SHELL", "/bin/bash")
            .env("SCRIPT", script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            screen: child.stdout.take().unwrap(),
            keyboard: child.stdin.take().unwrap(),
            child,
            shown: Vec::new(),
            seen: 0,
        }
    }

    /// Waits until the screen shows a text after the last one that was awaited.
    fn await_text(&mut self, text: &str) {
        loop {
            let new = &self.shown[self.seen..];
            let position = new
                .windows(text.len())
                .position(|part| part == text.as_bytes());
            if let Some(position) = position {
                self.seen += position + text.len();
                return;
            }
            assert!(self.read(), "{text} is not shown: {}", self.text());
        }
    }

    fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    /// Reads a piece; `false` at the end.
    fn read(&mut self) -> bool {
        let mut screen = [PollFd::new(&self.screen, PollFlags::IN)];
        let shows = poll(&mut screen, Some(&Timespec::try_from(PATIENCE).unwrap())).unwrap() > 0;
        assert!(shows, "nothing more is shown: {}", self.text());
        let mut buffer = [0; 4096];
        let length = self.screen.read(&mut buffer).unwrap();
        self.shown.extend_from_slice(&buffer[..length]);
        length > 0
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown).into_owned()
    }

    /// Waits for the end of the command: all that the screen showed, and the exit status.
    fn end(mut self) -> (String, Option<i32>) {
        while self.read() {}
        let status = self.child.wait().unwrap();
        (self.text(), status.code())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Stopped meanwhile, our own processes see the terminal's signal after the command has dealt with it: passed on, it
/// would be one more.
#[test]
fn control_c_reaches_the_command_once() {
    let mark = unique_sleep();
    let script = format!(
        "trap 'echo got; trap \"echo again\" INT' INT; trap 'exit 7' TERM; setsid sleep {mark} & \
         echo ready; while :; do sleep 0.05; done"
    );
    // Not the last command of the shell, which would make it the program that is stopped.
    let command = format!("{PROGRAM} sandbox -- sh -c \"$SCRIPT\"; exit $?");
    let mut terminal = Terminal::start(&command, &script);
    terminal.await_text("ready");
    let ours: Vec<String> = processes_with(&mark)
        .into_iter()
        .filter(|process| {
            process.command.contains(" sandbox") && !process.command.starts_with("sh")
        })
        .filter(|process| !process.command.starts_with("script"))
        .map(|process| process.id)
        .collect();
    assert_eq!(ours.len(), 3);
    let signal_all = |signal: &str| {
        for process in &ours {
            run(["kill", signal, process]);
        }
    };
    signal_all("-STOP");
    terminal.press(b"\x03");
    terminal.await_text("got");
    signal_all("-CONT");
    // Signals of lower numbers are read first, so what there is of INT has been passed on before this.
    run(["kill", "-TERM", &ours[0]]);
    let (shown, status) = terminal.end();
    assert!(!shown.contains("again"), "{shown}");
    assert_eq!(status, Some(7), "{shown}");
    assert_eq!(processes_with(&mark), []);
}

#[test]
fn a_shell_inside_has_job_control_and_gives_the_terminal_back() {
    let command =
        format!("{PROGRAM} sandbox -- bash --norc -i; echo status $?; read line; echo got $line");
    let mut terminal = Terminal::start(&command, "");
    for (awaited, keys) in [
        ("# ", "stty -echo; PS1='next> '; echo quiet\n"),
        ("quiet\r\n", ""),
        ("next> ", "sh -c 'echo started; exec sleep 4000'\n"),
        ("started", "\x1a"),
        // A shell that ends like this leaves the terminal to its own process group.
        ("Stopped", "kill -9 $$\n"),
        ("status 137", "hello\n"),
    ] {
        terminal.await_text(awaited);
        terminal.press(keys.as_bytes());
    }
    let (shown, status) = terminal.end();
    assert!(shown.contains("got hello"), "{shown}");
    assert_eq!(status, Some(0), "{shown}");
}
