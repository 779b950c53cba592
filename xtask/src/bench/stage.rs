//! Inside a sandbox: the machine on which one subject is measured once.
//!
//! The metadata server, a syslog that takes everything and keeps nothing, the subject's processes, and ways to wait for the
//! state of the machine.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use serde_json::json;

use super::sample::{LOOK, Sample, Who};
use super::server::Server;
use super::subject::{Places, Subject};
use super::witness::{self, Memory};

/// The user that every machine has from the beginning, and its keys.
pub(crate) const USER: &str = "alice";
pub(crate) const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPUZWnCVkYZTJ7C6vHzRdmAcgUfm2fpt1PlFXvHrJb0";

/// How long anything may take before a measurement has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// The path of the keys in metadata.
pub(crate) const SSH_KEYS: &str = "instance/attributes/ssh-keys";

/// The machine.
pub(crate) struct Stage {
    pub(crate) subject: Subject,
    /// How much work is measured.
    pub(crate) size: u32,
    /// Whether the short run is wanted.
    pub(crate) quick: bool,
    pub(crate) places: Places,
    pub(crate) server: Server,
    /// How many bytes the log has taken.
    pub(crate) logged: Arc<AtomicU64>,
    processes: Vec<Child>,
}

impl Stage {
    /// Sets the machine up. No subject runs yet.
    pub(crate) fn new(subject: Subject, size: u32, quick: bool) -> Result<Self> {
        let first = fs::read_to_string("/proc/1/cmdline")?;
        ensure!(
            first.split('\0').nth(1) == Some("sandbox-init"),
            "only in a sandbox: this changes users and routes"
        );
        let places = Places::found();
        let logged = Arc::new(AtomicU64::new(0));
        take_log(&logged).context("listen on /dev/log")?;
        // The instance is known: for none of them this is a first boot, in which one of them makes host keys.
        fs::create_dir_all("/etc/default")?;
        fs::write(
            "/etc/default/instance_configs.cfg",
            "[Instance]\ninstance_id = 4242424242424242424\n",
        )?;
        let server = Server::start(&places)?;
        Ok(Self {
            subject,
            size,
            quick,
            places,
            server,
            logged,
            processes: Vec::new(),
        })
    }

    /// Hands a figure out.
    pub(crate) fn emit(&self, line: &str, value: f64) {
        self.emit_sized(line, self.size, value);
    }

    /// The same with a size that is not that of the run.
    pub(crate) fn emit_sized(&self, line: &str, size: u32, value: f64) {
        print(line, Who::Subject(self.subject), size, value);
    }

    /// Hands a figure out that is nobody's.
    pub(crate) fn emit_baseline(&self, line: &str, value: f64) {
        print(line, Who::Baseline, self.size, value);
    }

    /// Starts the subject's daemons; the moment is the one before the first of them.
    pub(crate) fn start_daemons(&mut self) -> Result<Instant> {
        let commands = self.subject.daemons(&self.places);
        let started = Instant::now();
        for (number, mut command) in commands.into_iter().enumerate() {
            let log = File::create(format!("/tmp/daemon-{number}.log"))?;
            command
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log);
            let child = command
                .spawn()
                .with_context(|| format!("start {command:?}"))?;
            self.processes.push(child);
        }
        Ok(started)
    }

    /// Ends the subject's daemons.
    pub(crate) fn stop_daemons(&mut self) -> Result<()> {
        for mut process in self.processes.drain(..) {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// The subject's processes and everything that they have started.
    pub(crate) fn running(&self) -> Vec<u32> {
        let roots: Vec<u32> = self.processes.iter().map(Child::id).collect();
        witness::descendants(&roots)
    }

    /// What the subject has said, for a failure.
    fn said(&self) -> String {
        (0..self.processes.len())
            .filter_map(|number| fs::read_to_string(format!("/tmp/daemon-{number}.log")).ok())
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Starts the subject on a machine with one user, and waits until it has dealt with that.
    pub(crate) fn settle_with_a_user(&mut self) -> Result<()> {
        self.server.set(SSH_KEYS, &json!(entry(USER)))?;
        self.start_daemons()?;
        self.wait_for("the first key", || has_key(USER, KEY))?;
        self.settle()
    }

    /// Waits until the subject waits for the next change and has nothing else to do.
    pub(crate) fn settle(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let mut idle_since = Instant::now();
        let mut before = witness::work(&self.running()).ticks;
        while idle_since.elapsed() < Duration::from_millis(300) {
            ensure!(Instant::now() < until, "never at rest:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(50));
            let now = witness::work(&self.running()).ticks;
            let is_waiting = self.server.waiting()? >= self.subject.watches();
            if now != before || !is_waiting {
                idle_since = Instant::now();
            }
            before = now;
        }
        Ok(())
    }

    /// Waits for a state of the machine and returns how long it took. Looks often at first and less often later, so that
    /// the looking costs less than 1 % of what is measured.
    pub(crate) fn wait_for(
        &mut self,
        what: &str,
        mut is_there: impl FnMut() -> bool,
    ) -> Result<Duration> {
        let started = Instant::now();
        while !is_there() {
            let so_far = started.elapsed();
            if so_far > PATIENCE {
                bail!("not within {PATIENCE:?}: {what}\n{}", self.said());
            }
            for process in &mut self.processes {
                if let Some(status) = process.try_wait()? {
                    bail!(
                        "a daemon has ended ({status}) before {what}\n{}",
                        self.said()
                    );
                }
            }
            let pause = so_far / 200;
            std::thread::sleep(pause.clamp(Duration::from_micros(100), Duration::from_millis(20)));
        }
        Ok(started.elapsed())
    }

    /// The memory of the subject, as the process outside sees it.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let ids: Vec<String> = self.running().iter().map(ToString::to_string).collect();
        println!("{LOOK} {}", ids.join(" "));
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        let mut numbers = answer.split_whitespace().map(str::parse::<u64>);
        let mut next = || numbers.next().and_then(Result::ok);
        match (next(), next(), next()) {
            (Some(resident), Some(proportional), Some(anonymous)) => Ok(Memory {
                resident,
                proportional,
                anonymous,
            }),
            _ => bail!("the memory cannot be looked at: {answer}"),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // It may have ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn print(line: &str, who: Who, size: u32, value: f64) {
    let sample = Sample {
        line: line.to_owned(),
        who,
        size,
        value,
    };
    println!("{}", sample.shown());
}

/// A syslog that counts.
fn take_log(logged: &Arc<AtomicU64>) -> Result<()> {
    // What systemd sets at boot; the kernel's own limit is 10 datagrams.
    fs::write("/proc/sys/net/unix/max_dgram_qlen", "512\n")
        .context("lengthen the queues of sockets")?;
    let socket = UnixDatagram::bind("/dev/log")?;
    let logged = Arc::clone(logged);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 256 * 1024];
        while let Ok(length) = socket.recv(&mut buffer) {
            logged.fetch_add(length as u64, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// Takes everything that comes out of a pipe, and counts it.
pub(crate) fn drain(mut pipe: impl Read + Send + 'static, logged: &Arc<AtomicU64>) {
    let logged = Arc::clone(logged);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 256 * 1024];
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            logged.fetch_add(length as u64, Ordering::Relaxed);
        }
    });
}

/// A line of metadata for a user.
pub(crate) fn entry(user: &str) -> String {
    format!("{user}:{KEY} {user}")
}

/// The file of a user's keys.
pub(crate) fn keys_of(user: &str) -> String {
    format!("/home/{user}/.ssh/authorized_keys")
}

/// Whether a user's file of keys has this in it.
pub(crate) fn has_key(user: &str, words: &str) -> bool {
    fs::read_to_string(keys_of(user)).is_ok_and(|text| text.contains(words))
}

/// Runs a program with success and without a word, and returns how long it took.
pub(crate) fn time_of(program: &str, arguments: &[&str]) -> Result<Duration> {
    let started = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("run {program}"))?;
    ensure!(
        status.success(),
        "{program} {arguments:?} failed ({status})"
    );
    Ok(started.elapsed())
}

/// Changes of a directory, told by the kernel as they happen.
pub(crate) struct Changes(OwnedFd);

impl Changes {
    /// Watches the files of a directory.
    pub(crate) fn of(directory: &str) -> Result<Self> {
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC)?;
        let flags = inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::CLOSE_WRITE;
        inotify::add_watch(&watch, directory, flags)
            .with_context(|| format!("watch {directory}"))?;
        Ok(Self(watch))
    }

    /// Looks at each change until a state is there.
    pub(crate) fn wait_for(&self, what: &str, mut is_there: impl FnMut() -> bool) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let mut buffer = [0_u8; 4096];
        while !is_there() {
            ensure!(Instant::now() < until, "not within {PATIENCE:?}: {what}");
            let second = Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            };
            if poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&second))? > 0 {
                rustix::io::read(&self.0, &mut buffer)?;
            }
        }
        Ok(())
    }
}
