//! Programs whose output is handed on as it comes: the owner's scripts.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::{Invocation, ProcessError};
use crate::system::signals::{Interrupt, Interrupts};

/// How long output is still awaited when the program has ended and somebody holds its pipe: `tee` at the end of a process
/// substitution, say, which writes its last line just after.
const AFTERMATH: Duration = Duration::from_secs(1);

/// How a program is watched.
#[derive(Debug)]
pub struct Stream<'a> {
    /// Its whole environment.
    pub environment: &'a [(OsString, OsString)],
    /// How long it may take; `None` is without limit.
    pub timeout: Option<Duration>,
    /// How long it has between TERM and KILL when that is over.
    pub grace: Duration,
    /// What ends our watching before the program has ended.
    pub interrupts: Option<&'a Interrupts>,
}

/// Why the watching is over.
#[derive(Debug)]
pub enum Ended {
    /// The program has ended.
    Finished(ExitStatus),
    /// It took too long and was ended, with its process group.
    TimedOut(ExitStatus),
    /// We were asked to stop. After an interrupt from a terminal the program was ended, else it goes on.
    Interrupted,
}

/// How it ended.
#[derive(Debug)]
pub struct End {
    /// Why.
    pub reason: Ended,
    /// The reading end of its output, where a process is left that may write to it: whoever closes it ends that process at
    /// its next line, by SIGPIPE.
    pub open: Option<OwnedFd>,
}

impl Stream<'_> {
    /// Runs a program and hands on what it prints, both streams as one, in order, as it comes.
    ///
    /// It is over when the program has ended and a second has passed, or everybody has closed its output: what goes on in
    /// the background does not hold us up.
    ///
    /// # Errors
    /// [`ProcessError::NotInstalled`], [`ProcessError::NotStarted`].
    pub fn run(
        &self,
        invocation: &Invocation,
        mut output: impl FnMut(&[u8]),
    ) -> Result<End, ProcessError> {
        let not_started = |reason: io::Error| ProcessError::NotStarted {
            command: invocation.display(),
            reason,
        };
        let path = invocation.path()?;
        let (child, pipe) = self.spawn(&path, invocation).map_err(not_started)?;
        self.watch(child, pipe, &mut output).map_err(not_started)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the second place that starts programs: the owner's scripts"
    )]
    fn spawn(&self, path: &Path, invocation: &Invocation) -> io::Result<(Child, OwnedFd)> {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let child = Command::new(path)
            .args(&invocation.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::from(writer.try_clone()?))
            .stderr(Stdio::from(writer))
            .spawn()?;
        rustix::io::ioctl_fionbio(&reader, true)?;
        Ok((child, reader))
    }

    fn watch(
        &self,
        mut child: Child,
        pipe: OwnedFd,
        output: &mut impl FnMut(&[u8]),
    ) -> io::Result<End> {
        let pid = Pid::from_child(&child);
        let mut watched = Watched {
            pidfd: pidfd_open(pid, PidfdFlags::empty())?,
            pipe: Some(pipe.into()),
            buffer: vec![0; 64 * 1024],
        };
        let until = self.timeout.map(|timeout| Instant::now() + timeout);
        let reason = match watched.until_end(until, self.interrupts, output)? {
            Seen::End => Ended::Finished(child.wait()?),
            Seen::Deadline => Ended::TimedOut(self.end(&mut child, pid, &mut watched, output)?),
            Seen::Interrupt(Interrupt::Terminal) => {
                self.end(&mut child, pid, &mut watched, output)?;
                Ended::Interrupted
            }
            Seen::Interrupt(Interrupt::Terminate) => {
                let open = watched.pipe.map(OwnedFd::from);
                let reason = Ended::Interrupted;
                return Ok(End { reason, open });
            }
        };
        watched.drain(Instant::now() + AFTERMATH, output)?;
        let open = watched.pipe.map(OwnedFd::from);
        Ok(End { reason, open })
    }

    /// Ends a program and everything in its process group: TERM, a time of grace, KILL; reads on meanwhile.
    fn end(
        &self,
        child: &mut Child,
        pid: Pid,
        watched: &mut Watched,
        output: &mut impl FnMut(&[u8]),
    ) -> io::Result<ExitStatus> {
        // The group may be gone by now.
        let _ = kill_process_group(pid, Signal::TERM);
        watched.until_end(Some(Instant::now() + self.grace), None, output)?;
        let _ = kill_process_group(pid, Signal::KILL);
        child.wait()
    }
}

/// A running program and its output.
struct Watched {
    pidfd: OwnedFd,
    pipe: Option<File>,
    buffer: Vec<u8>,
}

/// What a wait ended with.
enum Seen {
    End,
    Deadline,
    Interrupt(Interrupt),
}

impl Watched {
    /// Hands on output until the process has ended, the time is over, or an interrupt comes.
    fn until_end(
        &mut self,
        until: Option<Instant>,
        interrupts: Option<&Interrupts>,
        output: &mut impl FnMut(&[u8]),
    ) -> io::Result<Seen> {
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(Seen::Deadline);
            }
            let mut waited = vec![self.pidfd.as_fd()];
            waited.extend(interrupts.map(AsFd::as_fd));
            waited.extend(self.pipe.as_ref().map(AsFd::as_fd));
            let ready = wait(&waited, left)?;
            if let Some(interrupt) = interrupts.filter(|_| ready[1]).and_then(Interrupts::take) {
                return Ok(Seen::Interrupt(interrupt));
            }
            if ready[0] {
                return Ok(Seen::End);
            }
            if self.pipe.is_some() && ready.last() == Some(&true) {
                self.read(output)?;
            }
        }
    }

    /// Hands on what is written until then, or until nobody can write any more.
    fn drain(&mut self, until: Instant, output: &mut impl FnMut(&[u8])) -> io::Result<()> {
        while let Some(pipe) = &self.pipe {
            let left = until.saturating_duration_since(Instant::now());
            if wait(&[pipe.as_fd()], Some(left))? == [true] {
                self.read(output)?;
            }
            if left.is_zero() {
                break;
            }
        }
        Ok(())
    }

    /// Hands on one piece; forgets the pipe at its end.
    fn read(&mut self, output: &mut impl FnMut(&[u8])) -> io::Result<()> {
        let Some(file) = &mut self.pipe else {
            return Ok(());
        };
        match file.read(&mut self.buffer) {
            Ok(0) => self.pipe = None,
            Ok(length) => output(&self.buffer[..length]),
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

/// Waits until one of them can be read, or the time is over; says which ones.
fn wait(descriptors: &[BorrowedFd<'_>], at_most: Option<Duration>) -> io::Result<Vec<bool>> {
    let mut polled: Vec<PollFd<'_>> = descriptors
        .iter()
        .map(|descriptor| PollFd::from_borrowed_fd(*descriptor, PollFlags::IN))
        .collect();
    let timeout = at_most
        .map(Timespec::try_from)
        .transpose()
        .map_err(io::Error::other)?;
    match poll(&mut polled, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(polled
        .iter()
        .map(|polled| !polled.revents().is_empty())
        .collect())
}

/// A program that was copied into memory, to be run although its file system is mounted noexec. It is there as long as
/// this is kept.
#[derive(Debug)]
pub struct InMemory {
    fd: OwnedFd,
}

impl InMemory {
    /// Copies a program.
    ///
    /// # Errors
    /// Those of open(2), memfd_create(2) and write(2).
    pub fn copy(path: &Path) -> io::Result<Self> {
        let fd = memfd_create("script", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map(File::from)?;
        let mut to = &fd;
        let from = rustix::fs::open(
            path,
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )?;
        io::copy(&mut File::from(from), &mut to)?;
        Ok(Self { fd: fd.into() })
    }

    /// The path by which a child of ours can run it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
    }
}

/// Starts this very program again, with other arguments, and leaves it alone: it outlives us. It reads `input` from its
/// standard input and has no output but the system's log.
///
/// # Errors
/// Those of fork(2) and execve(2).
#[expect(
    clippy::disallowed_methods,
    reason = "starts a program, as its whole room does"
)]
pub fn leave_behind(arguments: &[&OsStr], input: OwnedFd) -> io::Result<()> {
    rustix::io::ioctl_fionbio(&input, false)?;
    // By the link and not by its target, which a package upgrade may have replaced meanwhile.
    Command::new("/proc/self/exe")
        .arg0("gce-guest")
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::from(input))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::processes::SEARCH_PATH;

    fn run(script: &str, timeout: Option<Duration>) -> (End, String) {
        let environment = [("PATH".into(), SEARCH_PATH.into())];
        let stream = Stream {
            environment: &environment,
            timeout,
            grace: Duration::from_millis(300),
            interrupts: None,
        };
        let mut output = Vec::new();
        let invocation = Invocation::new("sh", ["-c", script]);
        let end = stream
            .run(&invocation, |bytes| output.extend_from_slice(bytes))
            .unwrap();
        (end, String::from_utf8(output).unwrap())
    }

    #[test]
    fn a_stream_is_whole_and_in_order_and_ends_with_its_program() {
        let started = Instant::now();
        let (end, output) = run(
            "echo one; echo two >&2; seq 1 20000; (sleep 30; echo late) & echo last; exit 7",
            None,
        );
        assert!(matches!(end.reason, Ended::Finished(status) if status.code() == Some(7)));
        assert!(end.open.is_some(), "the child in the background holds it");
        assert!(started.elapsed() < Duration::from_secs(20));
        let numbers: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
        assert_eq!(output, format!("one\ntwo\n{numbers}last\n"));
    }

    #[test]
    fn what_comes_just_after_the_end_is_not_lost() {
        let (end, output) = run("(sleep 0.2; echo late) & echo last", None);
        assert!(end.open.is_none(), "everybody has closed it");
        assert_eq!(output, "last\nlate\n");
    }

    #[test]
    fn a_program_past_its_time_is_ended_with_its_group_and_heard_to_the_end() {
        let script =
            "trap 'echo asked' TERM; (trap '' TERM; sleep 31.5) & sleep 30 & wait; sleep 30";
        let (end, output) = run(script, Some(Duration::from_millis(300)));
        assert!(matches!(end.reason, Ended::TimedOut(status) if !status.success()));
        assert_eq!(output, "asked\n");
        assert!(end.open.is_none(), "nobody of the group is left");
    }

    #[test]
    fn a_program_in_memory_runs() {
        let copy = InMemory::copy(Path::new("/bin/true")).unwrap();
        let stream = Stream {
            environment: &[],
            timeout: None,
            grace: Duration::ZERO,
            interrupts: None,
        };
        let invocation = Invocation::new(copy.path(), std::iter::empty::<OsString>());
        let end = stream.run(&invocation, |_| {}).unwrap();
        assert!(matches!(end.reason, Ended::Finished(status) if status.success()));
    }
}
