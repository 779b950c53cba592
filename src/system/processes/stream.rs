//! Programs whose output is handed on as it comes: the owner's scripts.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::{Invocation, ProcessError, end, unprotect};
use crate::system::signals::{Interrupt, Interrupts};

/// How long output is still awaited when the program has ended and somebody holds its pipe: `tee` at the end of a process
/// substitution, say, which writes its last line just after.
const AFTERMATH: Duration = Duration::from_secs(1);

/// How a program is watched.
#[derive(Debug)]
pub struct Stream<'a> {
    /// Its whole environment.
    pub environment: &'a [(OsString, OsString)],
    /// Whether its two output streams are told apart. Together they are one pipe, and so exactly in order; apart, in the
    /// order in which the kernel sees them become readable.
    pub apart: bool,
    /// How long it may take; `None` is without limit.
    pub timeout: Option<Duration>,
    /// How long it has between TERM and KILL when that is over.
    pub grace: Duration,
    /// What ends our watching before the program has ended.
    pub interrupts: Option<&'a Interrupts>,
}

/// Where output comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Both, as one.
    Both,
}

/// What takes the output, as it comes.
pub type Output<'a> = dyn FnMut(Channel, &[u8]) + 'a;

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
    /// The reading ends of its output, where a process is left that may write to them: whoever closes one ends that
    /// process at its next line, by SIGPIPE.
    pub open: Vec<(Channel, OwnedFd)>,
}

impl Stream<'_> {
    /// Runs a program and hands on what it prints, as it comes.
    ///
    /// It is over when the program has ended and a second has passed, or everybody has closed its output: what goes on in
    /// the background does not hold us up.
    ///
    /// # Errors
    /// [`ProcessError::NotInstalled`], [`ProcessError::NotStarted`].
    pub fn run(
        &self,
        invocation: &Invocation,
        output: &mut Output<'_>,
    ) -> Result<End, ProcessError> {
        let not_started = |reason: io::Error| ProcessError::NotStarted {
            command: invocation.display(),
            reason,
        };
        let path = invocation.path()?;
        let (child, pipes) = self.spawn(&path, invocation).map_err(not_started)?;
        let open = |pid| Ok(pidfd_open(pid, PidfdFlags::empty())?);
        self.watch_or_end(child, pipes, output, open)
            .map_err(not_started)
    }

    /// Watches a program. One that cannot be watched is ended: nobody would wait for it, or know what it does.
    fn watch_or_end(
        &self,
        mut child: Child,
        pipes: Vec<(Channel, OwnedFd)>,
        output: &mut Output<'_>,
        open: impl FnOnce(Pid) -> io::Result<OwnedFd>,
    ) -> io::Result<End> {
        let pid = Pid::from_child(&child);
        let watched = open(pid).and_then(|pidfd| self.watch(&mut child, pidfd, pipes, output));
        if watched.is_err() {
            end(&mut child, pid)?;
        }
        watched
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the second place that starts programs: the owner's scripts"
    )]
    fn spawn(
        &self,
        path: &Path,
        invocation: &Invocation,
    ) -> io::Result<(Child, Vec<(Channel, OwnedFd)>)> {
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let (reader, stdout) = pipe()?;
        let (pipes, stderr) = if self.apart {
            let (second, stderr) = pipe()?;
            let pipes = vec![(Channel::Stdout, reader), (Channel::Stderr, second)];
            (pipes, stderr)
        } else {
            (vec![(Channel::Both, reader)], stdout.try_clone()?)
        };
        for (_, pipe) in &pipes {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        let child = unprotect(&mut Command::new(path))
            .args(&invocation.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::from(stdout))
            .stderr(Stdio::from(stderr))
            .spawn()?;
        Ok((child, pipes))
    }

    fn watch(
        &self,
        child: &mut Child,
        pidfd: OwnedFd,
        pipes: Vec<(Channel, OwnedFd)>,
        output: &mut Output<'_>,
    ) -> io::Result<End> {
        let pid = Pid::from_child(child);
        let mut watched = Watched::new(pidfd, pipes, self.interrupts)?;
        let until = self.timeout.map(|timeout| Instant::now() + timeout);
        let reason = match watched.until_end(until, self.interrupts, output)? {
            Seen::End => Ended::Finished(child.wait()?),
            Seen::Deadline => Ended::TimedOut(self.end(child, pid, &mut watched, output)?),
            Seen::Interrupt(Interrupt::Terminal) => {
                self.end(child, pid, &mut watched, output)?;
                Ended::Interrupted
            }
            Seen::Interrupt(Interrupt::Terminate) => {
                let (reason, open) = (Ended::Interrupted, watched.open());
                return Ok(End { reason, open });
            }
        };
        watched.drain(Instant::now() + AFTERMATH, output)?;
        let open = watched.open();
        Ok(End { reason, open })
    }

    /// Ends a program and everything in its process group: TERM, a time of grace, KILL; reads on meanwhile.
    fn end(
        &self,
        child: &mut Child,
        pid: Pid,
        watched: &mut Watched,
        output: &mut Output<'_>,
    ) -> io::Result<ExitStatus> {
        // The group may be gone by now.
        let _ = kill_process_group(pid, Signal::TERM);
        watched.until_end(Some(Instant::now() + self.grace), None, output)?;
        let _ = kill_process_group(pid, Signal::KILL);
        child.wait()
    }
}

/// A running program and its output.
///
/// The pipes are watched by edges: the kernel tells of them in the order in which they got something, which is the best
/// that can be known of the order of two streams.
struct Watched {
    epoll: OwnedFd,
    pidfd: OwnedFd,
    pipes: [Option<(Channel, File)>; 2],
    /// Pipes that may hold more than was read of them.
    unread: [bool; 2],
    buffer: Vec<u8>,
}

/// What a wait ended with.
enum Seen {
    End,
    Deadline,
    Interrupt(Interrupt),
}

/// What the kernel tells of, besides the pipes 0 and 1.
const PROCESS: u64 = 2;
const INTERRUPT: u64 = 3;

impl Watched {
    fn new(
        pidfd: OwnedFd,
        pipes: Vec<(Channel, OwnedFd)>,
        interrupts: Option<&Interrupts>,
    ) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let add = |fd: BorrowedFd<'_>, index, flags| {
            epoll::add(
                &epoll,
                fd,
                EventData::new_u64(index),
                EventFlags::IN | flags,
            )
        };
        add(pidfd.as_fd(), PROCESS, EventFlags::empty())?;
        if let Some(interrupts) = interrupts {
            add(interrupts.as_fd(), INTERRUPT, EventFlags::empty())?;
        }
        let mut watched = [None, None];
        for (index, (channel, pipe)) in pipes.into_iter().take(2).enumerate() {
            add(pipe.as_fd(), index as u64, EventFlags::ET)?;
            watched[index] = Some((channel, pipe.into()));
        }
        Ok(Self {
            epoll,
            pidfd,
            pipes: watched,
            unread: [false; 2],
            buffer: vec![0; 64 * 1024],
        })
    }

    /// Hands on output until the process has ended, the time is over, or an interrupt comes.
    fn until_end(
        &mut self,
        until: Option<Instant>,
        interrupts: Option<&Interrupts>,
        output: &mut Output<'_>,
    ) -> io::Result<Seen> {
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(Seen::Deadline);
            }
            let events = self.wait(left)?;
            let is_told_of = |source| events.iter().any(|event| data(event) == source);
            if let Some(interrupt) = interrupts
                .filter(|_| is_told_of(INTERRUPT))
                .and_then(Interrupts::take)
            {
                return Ok(Seen::Interrupt(interrupt));
            }
            self.read_from(&events, output)?;
            if is_told_of(PROCESS) {
                return Ok(Seen::End);
            }
        }
    }

    /// Hands on what is written until then, or until nobody can write any more.
    fn drain(&mut self, until: Instant, output: &mut Output<'_>) -> io::Result<()> {
        epoll::delete(&self.epoll, &self.pidfd)?;
        while self.pipes.iter().any(Option::is_some) {
            let left = until.saturating_duration_since(Instant::now());
            let events = self.wait(Some(left))?;
            self.read_from(&events, output)?;
            if left.is_zero() {
                break;
            }
        }
        Ok(())
    }

    /// Waits until there is something, or the time is over; says what, in order.
    fn wait(&self, at_most: Option<Duration>) -> io::Result<Vec<Event>> {
        let at_most = if self.unread.contains(&true) {
            Some(Duration::ZERO)
        } else {
            at_most
        };
        let timeout = at_most
            .map(Timespec::try_from)
            .transpose()
            .map_err(io::Error::other)?;
        let mut events = Vec::with_capacity(4);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(events)
    }

    /// Reads once from each pipe that there is something in.
    fn read_from(&mut self, events: &[Event], output: &mut Output<'_>) -> io::Result<()> {
        let mut indices: Vec<usize> = (0..2).filter(|index| self.unread[*index]).collect();
        for event in events {
            let index = usize::try_from(data(event)).unwrap_or(usize::MAX);
            if index < self.pipes.len() {
                // No edge follows the last one, so its end is looked for.
                let flags = event.flags;
                self.unread[index] |= flags.contains(EventFlags::HUP);
                indices.push(index);
            }
        }
        for index in indices {
            self.read(index, output)?;
        }
        Ok(())
    }

    /// Hands on one piece; forgets the pipe at its end.
    fn read(&mut self, index: usize, output: &mut Output<'_>) -> io::Result<()> {
        let Some((channel, file)) = &mut self.pipes[index] else {
            return Ok(());
        };
        match file.read(&mut self.buffer) {
            Ok(0) => (self.pipes[index], self.unread[index]) = (None, false),
            Ok(length) => {
                output(*channel, &self.buffer[..length]);
                self.unread[index] |= length == self.buffer.len();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.unread[index] = false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.unread[index] = true,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The pipes that somebody may still write to.
    fn open(self) -> Vec<(Channel, OwnedFd)> {
        let pipes = self.pipes.into_iter().flatten();
        pipes
            .map(|(channel, pipe)| (channel, pipe.into()))
            .collect()
    }
}

/// What an event is about: the structure is packed, so its parts are copied.
fn data(event: &Event) -> u64 {
    let data = event.data;
    data.u64()
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

/// Starts this very program again, with other arguments, and leaves it alone: it outlives us. It reads the inputs, one or
/// two, by [`LeftInput`], and has no output but the system's log.
///
/// # Errors
/// Those of fork(2) and execve(2).
#[expect(
    clippy::disallowed_methods,
    reason = "starts a program, as its whole room does"
)]
pub fn leave_behind(
    arguments: &[&OsStr],
    inputs: impl IntoIterator<Item = OwnedFd>,
) -> io::Result<()> {
    let mut inputs = inputs.into_iter();
    let mut input = || match inputs.next() {
        Some(input) => rustix::io::ioctl_fionbio(&input, false).map(|()| Stdio::from(input)),
        None => Ok(Stdio::null()),
    };
    // By the link and not by its target, which a package upgrade may have replaced meanwhile.
    unprotect(&mut Command::new("/proc/self/exe"))
        .arg0("gce-guest")
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .process_group(0)
        .stdin(input()?)
        // A process is given three descriptors, and nobody writes here: the second is the second to read from.
        .stdout(input()?)
        .stderr(Stdio::null())
        .spawn()
        .map(drop)
}

/// What whoever was left behind reads: the first or the second input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftInput {
    /// On standard input.
    First,
    /// On standard output, which is open for reading.
    Second,
}

impl Read for LeftInput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let from = match self {
            Self::First => rustix::stdio::stdin(),
            Self::Second => rustix::stdio::stdout(),
        };
        Ok(rustix::io::read(from, buffer)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::processes::{SEARCH_PATH, is_running};
    use rustix::event::{PollFd, PollFlags, poll};

    fn run(script: &str) -> (End, String) {
        let environment = [("PATH".into(), SEARCH_PATH.into())];
        let stream = Stream {
            environment: &environment,
            apart: false,
            timeout: None,
            grace: Duration::ZERO,
            interrupts: None,
        };
        let mut output = Vec::new();
        let invocation = Invocation::new("sh", ["-c", script]);
        let end = stream
            .run(&invocation, &mut |_, bytes| output.extend_from_slice(bytes))
            .unwrap();
        (end, String::from_utf8(output).unwrap())
    }

    #[test]
    fn a_stream_is_whole_and_in_order_and_ends_with_its_program() {
        let started = Instant::now();
        let (end, output) =
            run("echo one; echo two >&2; seq 1 20000; (sleep 30; echo late) & echo last; exit 7");
        assert!(matches!(end.reason, Ended::Finished(status) if status.code() == Some(7)));
        assert!(!end.open.is_empty(), "the child in the background holds it");
        assert!(started.elapsed() < Duration::from_secs(20));
        let numbers: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
        assert_eq!(output, format!("one\ntwo\n{numbers}last\n"));
    }

    #[test]
    fn what_comes_just_after_the_end_is_not_lost() {
        // On a busy machine even this may come too late for the second that it is awaited.
        let ran = (0..20)
            .map(|_| run("(sleep 0.1; echo late) & echo last"))
            .find(|(end, _)| end.open.is_empty());
        let (_, output) = ran.expect("everybody has closed it");
        assert_eq!(output, "last\nlate\n");
    }

    #[test]
    fn a_program_past_its_time_is_ended_with_its_group_and_heard_to_the_end() {
        let environment = [("PATH".into(), SEARCH_PATH.into())];
        let stream = Stream {
            environment: &environment,
            apart: false,
            timeout: Some(Duration::from_millis(300)),
            grace: Duration::from_secs(2),
            interrupts: None,
        };
        let script = "trap 'echo asked' TERM; (trap '' TERM; echo ready; sleep 31.5) & sleep 30 & wait; sleep 30";
        let invocation = Invocation::new("sh", ["-c", script]);
        let path = invocation.path().unwrap();
        let (child, pipes) = stream.spawn(&path, &invocation).unwrap();
        // Its time begins when it is ready, however long that takes on a loaded machine.
        let said = &mut [PollFd::new(&pipes[0].1, PollFlags::IN)];
        let a_minute = Timespec::try_from(Duration::from_secs(60)).unwrap();
        assert_eq!(poll(said, Some(&a_minute)), Ok(1));
        let mut output = Vec::new();
        let open = |pid| Ok(pidfd_open(pid, PidfdFlags::empty())?);
        let end = stream
            .watch_or_end(
                child,
                pipes,
                &mut |_, bytes| output.extend_from_slice(bytes),
                open,
            )
            .unwrap();
        assert!(matches!(end.reason, Ended::TimedOut(status) if !status.success()));
        assert_eq!(String::from_utf8(output).unwrap(), "ready\nasked\n");
        assert!(end.open.is_empty(), "nobody of the group is left");
    }

    #[test]
    fn streams_apart_are_told_apart_whole_and_in_order() {
        let environment = [("PATH".into(), SEARCH_PATH.into())];
        let stream = Stream {
            environment: &environment,
            apart: true,
            timeout: None,
            grace: Duration::ZERO,
            interrupts: None,
        };
        let script =
            "echo err >&2; sleep 0.3; echo out; sleep 0.3; exec 2>&-; seq 1 50000; (sleep 30) &";
        let (mut whole, mut order) = (Vec::new(), Vec::new());
        let invocation = Invocation::new("sh", ["-c", script]);
        let end = stream
            .run(&invocation, &mut |channel, bytes| {
                if order.last() != Some(&channel) {
                    order.push(channel);
                }
                if channel == Channel::Stdout {
                    whole.extend_from_slice(bytes);
                }
            })
            .unwrap();
        assert_eq!(order, [Channel::Stderr, Channel::Stdout]);
        let numbers: String = (1..=50_000).map(|number| format!("{number}\n")).collect();
        assert!(String::from_utf8(whole).unwrap() == format!("out\n{numbers}"));
        let open: Vec<Channel> = end.open.iter().map(|(channel, _)| *channel).collect();
        assert_eq!(
            open,
            [Channel::Stdout],
            "the child in the background holds it"
        );
    }

    #[test]
    fn a_program_that_cannot_be_watched_is_ended() {
        let environment = [("PATH".into(), SEARCH_PATH.into())];
        let stream = Stream {
            environment: &environment,
            apart: false,
            timeout: None,
            grace: Duration::ZERO,
            interrupts: None,
        };
        let invocation = Invocation::new("sh", ["-c", "sleep 30"]);
        let path = invocation.path().unwrap();
        let (child, pipes) = stream.spawn(&path, &invocation).unwrap();
        let id = child.id();
        // As where a filter of system calls does not know pidfd_open(2).
        let refused = |_| Err(rustix::io::Errno::PERM.into());
        let error = stream
            .watch_or_end(child, pipes, &mut |_, _| {}, refused)
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(!is_running(id), "nobody else would have waited for it");
    }

    #[test]
    fn a_program_in_memory_runs() {
        let copy = InMemory::copy(Path::new("/bin/true")).unwrap();
        let stream = Stream {
            environment: &[],
            apart: false,
            timeout: None,
            grace: Duration::ZERO,
            interrupts: None,
        };
        let invocation = Invocation::new(copy.path(), std::iter::empty::<OsString>());
        let end = stream.run(&invocation, &mut |_, _| {}).unwrap();
        assert!(matches!(end.reason, Ended::Finished(status) if status.success()));
    }
}
