//! External programs: argument vectors, a clean environment, a process group of their own, a deadline, then TERM, then KILL.
//!
//! Never a shell. What a program prints is kept up to a limit and drained past it, so that no program blocks on us.

pub mod background;
pub mod running;
pub mod stream;
pub mod table;

use std::ffi::{CStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use thiserror::Error;

/// How much of each output stream is kept, in bytes.
const OUTPUT_LIMIT: usize = 64 * 1024;

/// How long a program has between TERM and KILL.
const GRACE: Duration = Duration::from_secs(2);

/// Where tools are looked for; the environment's PATH is not ours to trust.
pub const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program to run, with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// A path, or a name that is looked up in [`SEARCH_PATH`].
    pub program: OsString,
    /// The arguments, without the program's own name.
    pub arguments: Vec<OsString>,
    /// What the program reads from its standard input.
    pub input: Vec<u8>,
    /// How long it may take.
    pub deadline: Duration,
}

impl Invocation {
    /// A program with its arguments, nothing on standard input, and a deadline of 30 s.
    pub fn new(
        program: impl Into<OsString>,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        let mut list = Vec::new();
        for argument in arguments {
            list.push(argument.into());
        }
        Self {
            program: program.into(),
            arguments: list,
            input: Vec::new(),
            deadline: Duration::from_secs(30),
        }
    }

    /// The same with another deadline.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The same with bytes on standard input.
    #[must_use]
    pub fn with_input(mut self, input: Vec<u8>) -> Self {
        self.input = input;
        self
    }

    /// Where the program is.
    fn path(&self) -> Result<PathBuf, ProcessError> {
        let name = self.program.to_string_lossy();
        find(&name).ok_or_else(|| ProcessError::NotInstalled {
            program: name.into_owned(),
        })
    }

    /// The command line as a person would write it, for messages.
    #[must_use]
    pub fn display(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.arguments);
        words
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// What a program did.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status, or the signal that ended it.
    pub status: ExitStatus,
    /// Its standard output, up to 64 KiB.
    pub stdout: Vec<u8>,
    /// Its standard error, up to 64 KiB.
    pub stderr: Vec<u8>,
}

/// Why a program did not do its work.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// There is no such program.
    #[error("{program} is not installed")]
    NotInstalled {
        /// The name that was looked up.
        program: String,
    },
    /// It could not be started or watched.
    #[error("cannot run {command}: {reason}")]
    NotStarted {
        /// The command line.
        command: String,
        /// What the system said.
        reason: io::Error,
    },
    /// It took longer than its deadline and was ended.
    #[error("{command} did not finish within {} s and was ended", .deadline.as_secs_f32())]
    TimedOut {
        /// The command line.
        command: String,
        /// The deadline that it had.
        deadline: Duration,
    },
    /// It ended with a failure.
    #[error("{command} failed ({status}){}", told(.stderr))]
    Failed {
        /// The command line.
        command: String,
        /// Its exit status, or the signal that ended it.
        status: ExitStatus,
        /// What it said on standard error.
        stderr: String,
    },
}

/// The first line of what a failed program said, for its error message.
fn told(stderr: &str) -> String {
    stderr
        .lines()
        .find(|line| !line.trim().is_empty())
        .map_or_else(String::new, |line| format!(": {}", line.trim()))
}

/// The id of this process.
#[must_use]
pub fn own_id() -> u32 {
    std::process::id()
}

/// Whether a process of this id is there.
#[must_use]
pub fn is_running(id: u32) -> bool {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// Finds a program: a path as it is, a name in [`SEARCH_PATH`].
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return is_executable(Path::new(program)).then(|| PathBuf::from(program));
    }
    SEARCH_PATH
        .split(':')
        .map(|directory| Path::new(directory).join(program))
        .find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Runs a program to its end and returns how it ended, success or not.
///
/// # Errors
/// [`ProcessError::NotInstalled`], [`ProcessError::NotStarted`], [`ProcessError::TimedOut`].
pub fn run(invocation: &Invocation) -> Result<Finished, ProcessError> {
    let not_started = |reason: io::Error| ProcessError::NotStarted {
        command: invocation.display(),
        reason,
    };
    let path = invocation.path()?;
    let mut child = spawn(&path, invocation).map_err(not_started)?;
    let watched = watch(&mut child, invocation);
    let pid = Pid::from_child(&child);
    match watched {
        Ok(Some((stdout, stderr))) => {
            let status = child.wait().map_err(not_started)?;
            Ok(Finished {
                status,
                stdout,
                stderr,
            })
        }
        Ok(None) => {
            end(&mut child, pid).map_err(not_started)?;
            Err(ProcessError::TimedOut {
                command: invocation.display(),
                deadline: invocation.deadline,
            })
        }
        Err(source) => {
            end(&mut child, pid).map_err(not_started)?;
            Err(not_started(source))
        }
    }
}

/// Runs a program and takes any end but success as an error.
///
/// # Errors
/// Those of [`run`], and [`ProcessError::Failed`].
pub fn run_successfully(invocation: &Invocation) -> Result<Finished, ProcessError> {
    let finished = run(invocation)?;
    if finished.status.success() {
        return Ok(finished);
    }
    Err(ProcessError::Failed {
        command: invocation.display(),
        status: finished.status,
        stderr: String::from_utf8_lossy(&finished.stderr).into_owned(),
    })
}

/// The score by which the kernel chooses whom to end when memory is short (proc_pid_oom_score_adj(5)).
const MEMORY_SCORE: &CStr = c"/proc/self/oom_score_adj";

/// The score of a program that is ended only after everybody else, as the predecessors' unit has it.
const PROTECTED: &[u8] = b"-999";

/// Has the kernel end other processes before this one when memory is short. What we start is not protected.
///
/// # Errors
/// Those of open(2) and write(2): without the privilege the score may not be lowered.
pub fn protect_from_memory_shortage() -> io::Result<()> {
    Ok(write_memory_score(PROTECTED)?)
}

fn write_memory_score(score: &[u8]) -> Result<(), rustix::io::Errno> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(MEMORY_SCORE, flags, Mode::empty())?;
    rustix::io::write(&file, score).map(drop)
}

/// Has a child be like any other process to the kernel, where this one is protected.
fn unprotect(command: &mut Command) -> &mut Command {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut first = [0];
    let own = rustix::fs::open(MEMORY_SCORE, flags, Mode::empty());
    let is_protected =
        own.is_ok_and(|own| rustix::io::read(&own, &mut first) == Ok(1)) && first == *b"-";
    if is_protected {
        let reset = || {
            // A child that stays protected is no reason not to start it.
            let _ = write_memory_score(b"0");
            Ok(())
        };
        #[expect(unsafe_code, reason = "there is no other moment between fork and exec")]
        // SAFETY: the closure calls open(2), write(2) and close(2), which are async-signal-safe, and allocates nothing.
        unsafe {
            command.pre_exec(reset);
        }
    }
    command
}

#[expect(clippy::disallowed_methods, reason = "the one place that starts tools")]
fn spawn(path: &Path, invocation: &Invocation) -> io::Result<Child> {
    unprotect(&mut Command::new(path))
        .args(&invocation.arguments)
        .env_clear()
        .env("PATH", SEARCH_PATH)
        .env("LC_ALL", "C")
        .current_dir("/")
        .process_group(0)
        .stdin(if invocation.input.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// The two output streams while they are drained.
struct Streams {
    files: [Option<File>; 2],
    kept: [Vec<u8>; 2],
}

impl Streams {
    /// Reads what is there; forgets a stream at its end.
    fn drain(&mut self, index: usize) -> io::Result<()> {
        let mut buffer = [0_u8; 16 * 1024];
        let Some(file) = &mut self.files[index] else {
            return Ok(());
        };
        match file.read(&mut buffer) {
            Ok(0) => self.files[index] = None,
            Ok(length) => {
                let room = OUTPUT_LIMIT.saturating_sub(self.kept[index].len());
                self.kept[index].extend_from_slice(&buffer[..length.min(room)]);
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                ) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Drains the child's output until it has ended; `None` when the deadline came first.
///
/// The end is that of the process, not of its pipes: a background child that keeps them open holds nobody up.
fn watch(child: &mut Child, invocation: &Invocation) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let until = Instant::now() + invocation.deadline;
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    feed(child, &invocation.input);
    let stdout = child
        .stdout
        .take()
        .map(|stream| File::from(OwnedFd::from(stream)));
    let stderr = child
        .stderr
        .take()
        .map(|stream| File::from(OwnedFd::from(stream)));
    for file in [&stdout, &stderr].into_iter().flatten() {
        rustix::io::ioctl_fionbio(file, true)?;
    }
    let mut streams = Streams {
        files: [stdout, stderr],
        kept: [Vec::new(), Vec::new()],
    };
    loop {
        let Some(left) = until.checked_duration_since(Instant::now()) else {
            return Ok(None);
        };
        let (ended, ready) = wait_for(&pidfd, &streams, left)?;
        for (index, ready) in ready.into_iter().enumerate() {
            if ready || ended {
                streams.drain(index)?;
            }
        }
        if ended {
            for index in 0..2 {
                // What was written before the end is in the pipe by now; read it until the pipe is empty.
                let mut before = usize::MAX;
                while streams.files[index].is_some() && streams.kept[index].len() != before {
                    before = streams.kept[index].len();
                    streams.drain(index)?;
                }
            }
            let [stdout, stderr] = streams.kept;
            return Ok(Some((stdout, stderr)));
        }
    }
}

/// Writes standard input from a thread of its own, so that a child that reads late blocks nobody.
fn feed(child: &mut Child, input: &[u8]) {
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        std::thread::spawn(move || {
            // A program that does not read its input is no error of ours.
            let _ = stdin.write_all(&input);
        });
    }
}

/// Waits for the end of the process or for output: (ended, which streams are ready).
fn wait_for(pidfd: &OwnedFd, streams: &Streams, left: Duration) -> io::Result<(bool, [bool; 2])> {
    let mut polled = vec![PollFd::new(pidfd, PollFlags::IN)];
    let open: Vec<usize> = (0..2)
        .filter(|index| streams.files[*index].is_some())
        .collect();
    polled.extend(
        streams
            .files
            .iter()
            .flatten()
            .map(|file| PollFd::from_borrowed_fd(file.as_fd(), PollFlags::IN)),
    );
    let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
    match poll(&mut polled, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let mut ready = [false; 2];
    for (position, index) in open.into_iter().enumerate() {
        ready[index] = !polled[position + 1].revents().is_empty();
    }
    Ok((!polled[0].revents().is_empty(), ready))
}

/// Ends a program and everything in its process group: TERM, a moment of grace, KILL.
fn end(child: &mut Child, pid: Pid) -> io::Result<()> {
    let _ = kill_process_group(pid, Signal::TERM);
    let until = Instant::now() + GRACE;
    while Instant::now() < until {
        if child.try_wait()?.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = kill_process_group(pid, Signal::KILL);
    child.wait().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Invocation {
        Invocation::new("sh", ["-c", script])
    }

    #[test]
    fn output_and_status_are_told_apart() {
        let finished = run(&shell("echo out; echo err >&2; exit 3")).unwrap();
        assert_eq!(finished.status.code(), Some(3));
        assert_eq!(finished.stdout, b"out\n");
        assert_eq!(finished.stderr, b"err\n");
    }

    #[test]
    fn input_arrives_and_the_environment_is_clean() {
        let finished = run(
            &shell("cat; env | cut -d= -f1 | sort | tr '\\n' ' '").with_input(b"in\n".to_vec())
        )
        .unwrap();
        assert_eq!(finished.stdout, b"in\nLC_ALL PATH PWD ");
    }

    #[test]
    fn a_missing_program_is_its_own_error() {
        let error = run(&Invocation::new("no-such-tool", ["x"])).unwrap_err();
        assert!(
            matches!(error, ProcessError::NotInstalled { .. }),
            "{error}"
        );
    }

    #[test]
    fn a_program_past_its_deadline_is_ended_with_its_children() {
        let mark = format!("{}.5", 4_000 + std::process::id());
        let started = Instant::now();
        let error =
            run(&shell(&format!("sleep {mark} & sleep {mark}")).within(Duration::from_millis(200)))
                .unwrap_err();
        assert!(matches!(error, ProcessError::TimedOut { .. }), "{error}");
        assert!(started.elapsed() < Duration::from_secs(20));
        // They are killed, and gone when each of them has had a processor again.
        let left = || {
            let count = format!("ps ax -o args | grep -c '^sleep {mark}'");
            let left = run(&shell(&count)).unwrap();
            String::from_utf8_lossy(&left.stdout).trim().to_owned()
        };
        let until = Instant::now() + Duration::from_secs(60);
        while left() != "0" {
            assert!(Instant::now() < until, "{} are left", left());
        }
    }

    #[test]
    fn much_output_neither_blocks_nor_grows() {
        let finished = run(&shell(
            "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2",
        ))
        .unwrap();
        assert!(finished.status.success());
        assert_eq!(
            (finished.stdout.len(), finished.stderr.len()),
            (OUTPUT_LIMIT, OUTPUT_LIMIT)
        );
    }

    #[test]
    fn a_background_child_with_the_pipe_holds_nobody_up() {
        let started = Instant::now();
        let finished = run(&shell("sleep 30 & echo done")).unwrap();
        assert_eq!(finished.stdout, b"done\n");
        assert!(started.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_failure_names_the_command_and_what_it_said() {
        let error = run_successfully(&shell("echo 'no such thing' >&2; exit 1")).unwrap_err();
        let told = error.to_string();
        assert!(
            told.contains("exit 1") && told.ends_with("no such thing"),
            "{told}"
        );
    }
}
