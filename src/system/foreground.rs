//! A program that takes our place at the terminal: our standard streams, our environment, our process group. While it
//! runs, signals that were sent to us are passed on to it.
//!
//! The counterpart of [`super::processes`], whose programs are tools with captured output.

use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, kill_process, pidfd_open, wait, waitpid,
};

/// The signals that are passed on.
const PASSED_ON: [Signal; 4] = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT];

/// Which children are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reap {
    /// Only the program.
    Program,
    /// Every process whose parent has ended, as the first process of a process namespace has to.
    Everything,
}

/// Signals that no longer interrupt the calling thread but wait to be read; as before when it is dropped.
///
/// The calling thread should be the only one, or the others get the signals. A terminal that was ours before is ours
/// again afterwards: a shell that ran meanwhile may have left it to a process group that has ended.
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
    before: libc::sigset_t,
    /// Our process group, when the terminal spoke to it.
    foreground: Option<Pid>,
}

/// A signal that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its number.
    pub signal: Signal,
    /// Whether the terminal sent it, and so sent it to the whole process group, the program included.
    pub by_terminal: bool,
}

impl Signals {
    /// Holds back TERM, INT, HUP and QUIT, CHLD to wake the caller, and TTOU so that the terminal can be taken back.
    ///
    /// # Errors
    /// Those of pthread_sigmask(3) and signalfd(2).
    #[expect(unsafe_code, reason = "rustix has no signal masks and no signalfd")]
    pub fn hold() -> io::Result<Self> {
        let mut set = empty_set();
        for signal in PASSED_ON.into_iter().chain([Signal::CHILD, Signal::TTOU]) {
            // SAFETY: `set` is an initialised set and the number is one of the fixed list.
            unsafe { libc::sigaddset(&raw mut set, signal.as_raw()) };
        }
        let mut before = empty_set();
        // SAFETY: both sets are initialised and outlive the call.
        let error =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut before) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        // SAFETY: the set is initialised and outlives the call; -1 asks for a new descriptor.
        let fd =
            unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            let error = io::Error::last_os_error();
            restore(&before);
            return Err(error);
        }
        // SAFETY: signalfd has just returned it, so it is open and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            fd,
            before,
            foreground: own_group().filter(|own| foreground_group() == Some(*own)),
        })
    }

    /// The next signal that has arrived; `None` when there is none.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn next(&self) -> io::Result<Option<Received>> {
        let mut buffer = [0_u8; size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.fd, &mut buffer) {
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // signalfd(2): ssi_signo, ssi_errno and ssi_code are the first three words.
        let word = |index: usize| {
            let bytes = [0, 1, 2, 3].map(|byte| buffer[4 * index + byte]);
            i32::from_ne_bytes(bytes)
        };
        let by_terminal = word(2) == libc::SI_KERNEL;
        Ok(Signal::from_named_raw(word(0)).map(|signal| Received {
            signal,
            by_terminal,
        }))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        if let Some(group) = self.foreground
            && foreground_group() != self.foreground
        {
            // A terminal that is gone is no loss any more.
            let _ = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), group);
        }
        restore(&self.before);
    }
}

/// The process group that the terminal on standard input speaks to; `None` without one, or when it is in another
/// process namespace.
fn foreground_group() -> Option<Pid> {
    rustix::termios::tcgetpgrp(rustix::stdio::stdin()).ok()
}

/// Our process group; `None` when its leader is in another process namespace.
#[expect(
    unsafe_code,
    reason = "rustix does not expect the group to be elsewhere, where its number is 0"
)]
fn own_group() -> Option<Pid> {
    // SAFETY: getpgrp(2) takes nothing, cannot fail, and only reads.
    Pid::from_raw(unsafe { libc::getpgrp() })
}

#[expect(unsafe_code, reason = "rustix has no signal sets")]
fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the pointer is to memory for one set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: sigemptyset has initialised it; it cannot fail on a valid pointer.
    unsafe { set.assume_init() }
}

#[expect(unsafe_code, reason = "rustix has no signal masks")]
fn restore(set: &libc::sigset_t) {
    // SAFETY: the set is initialised and outlives the call; the old mask is not asked for. Fails only for an unknown
    // first argument.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, set, std::ptr::null_mut()) };
}

/// A program to start in our place.
#[derive(Debug)]
pub struct Program<'a> {
    /// A path, or a name that is looked up in the environment's PATH.
    pub program: &'a OsStr,
    /// The name that it is told it has, when that is another than `program`.
    pub name: Option<&'a OsStr>,
    /// The arguments, without the program's own name.
    pub arguments: &'a [OsString],
    /// Variables that are added to our own environment.
    pub environment: &'a [(OsString, OsString)],
    /// Where it starts; `None` for our own working directory.
    pub directory: Option<&'a Path>,
}

/// Starts a program with our standard streams and returns its process id. No signal is blocked in it.
///
/// # Errors
/// Those of fork(2) and execve(2).
#[expect(unsafe_code, reason = "the signal mask is reset between fork and exec")]
#[expect(
    clippy::disallowed_methods,
    reason = "a program in our place has our environment and no deadline"
)]
pub fn start(program: &Program<'_>) -> io::Result<Pid> {
    let mut command = Command::new(program.program);
    command.args(program.arguments);
    command.envs(
        program
            .environment
            .iter()
            .map(|(name, value)| (name, value)),
    );
    if let Some(name) = program.name {
        command.arg0(name);
    }
    if let Some(directory) = program.directory {
        command.current_dir(directory);
    }
    let none = empty_set();
    let reset = move || {
        restore(&none);
        Ok(())
    };
    // SAFETY: between fork and exec only pthread_sigmask is called, which is async-signal-safe and allocates nothing.
    unsafe { command.pre_exec(reset) };
    Ok(Pid::from_child(&command.spawn()?))
}

/// Waits for the end of a program while signals are passed on to it.
///
/// A signal that the terminal sent is not passed on: the terminal sent it to the program as well.
///
/// # Errors
/// Those of poll(2), waitpid(2) and kill(2).
pub fn wait_for(program: Pid, signals: &Signals, reap: Reap) -> io::Result<WaitStatus> {
    let pidfd = pidfd_open(program, PidfdFlags::empty())?;
    loop {
        if let Some(status) = collect(program, reap)? {
            return Ok(status);
        }
        let mut polled = [
            PollFd::new(&pidfd, PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
        ];
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        while let Some(received) = signals.next()? {
            if PASSED_ON.contains(&received.signal) && !received.by_terminal {
                match kill_process(program, received.signal) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

/// Takes note of ended children; the status of the program when it is among them.
fn collect(program: Pid, reap: Reap) -> io::Result<Option<WaitStatus>> {
    loop {
        let ended = match reap {
            Reap::Program => waitpid(Some(program), WaitOptions::NOHANG),
            Reap::Everything => wait(WaitOptions::NOHANG),
        };
        match ended {
            Ok(Some((pid, status))) if pid == program => return Ok(Some(status)),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The exit status as shells give it: the program's own, or 128 and the number of the signal that ended it.
#[must_use]
pub fn exit_status(status: WaitStatus) -> u8 {
    let number = status.exit_status().or_else(|| {
        status
            .terminating_signal()
            .map(|signal| signal.saturating_add(128))
    });
    number
        .and_then(|number| u8::try_from(number).ok())
        .unwrap_or(u8::MAX)
}
