//! Signals as events: each is handed to a closure in a thread of its own.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level::emulate_default_handler;

use super::threads;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// Hands every signal to `handler` until it returns `false`.
///
/// # Errors
/// The handlers or the thread cannot be made.
pub fn forward(mut handler: impl FnMut(Request) -> bool + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    threads::start("signals", move || {
        for signal in signals.forever() {
            let request = if signal == SIGHUP {
                Request::Reload
            } else {
                Request::Stop
            };
            if !handler(request) {
                break;
            }
        }
    })?;
    Ok(())
}

/// Work that is done when SIGTERM or SIGINT ends the process. Dropped, it is not done, and those signals end nobody.
#[derive(Debug)]
pub struct LastWork {
    handle: Handle,
}

impl LastWork {
    /// Has `work` done, in a thread of its own, before the signal ends the process as it would have without us.
    ///
    /// # Errors
    /// The handlers or the thread cannot be made.
    pub fn before_the_end(work: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        let handle = signals.handle();
        threads::start("last-work", move || {
            if let Some(signal) = signals.forever().next() {
                work();
                // SIGTERM and SIGINT end the process, so there is no result.
                let _ = emulate_default_handler(signal);
            }
        })?;
        Ok(Self { handle })
    }
}

impl Drop for LastWork {
    fn drop(&mut self) {
        self.handle.close();
    }
}

/// A signal that asks a one-shot program to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// SIGTERM: from the service manager.
    Terminate,
    /// SIGINT: from the keyboard.
    Terminal,
}

/// Asks to stop, as a descriptor that becomes readable.
#[derive(Debug)]
pub struct Interrupts {
    stream: UnixStream,
}

impl Interrupts {
    /// Takes SIGTERM and SIGINT from here on, for the rest of the process.
    ///
    /// # Errors
    /// The handlers cannot be made.
    pub fn new() -> io::Result<Self> {
        let (stream, own) = UnixStream::pair()?;
        stream.set_nonblocking(true)?;
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        threads::start("signals", move || {
            for signal in signals.forever() {
                let byte = if signal == SIGINT { b'I' } else { b'T' };
                // Nobody listens any more: the program is about to end.
                let _ = (&own).write_all(&[byte]);
            }
        })?;
        Ok(Self { stream })
    }

    /// Waits for a time, or until one comes.
    #[must_use]
    pub fn wait(&self, time: Duration) -> Option<Interrupt> {
        let mut polled = [PollFd::new(&self.stream, PollFlags::IN)];
        // A time that no clock can hold is as good as no limit.
        let timeout = Timespec::try_from(time).ok();
        // An error is as good as the end of the wait.
        let _ = poll(&mut polled, timeout.as_ref());
        self.take()
    }

    /// The next one that has come.
    #[must_use]
    pub fn take(&self) -> Option<Interrupt> {
        let mut byte = [0];
        match (&self.stream).read(&mut byte) {
            Ok(1) if byte == *b"I" => Some(Interrupt::Terminal),
            Ok(1) => Some(Interrupt::Terminate),
            _ => None,
        }
    }
}

impl AsFd for Interrupts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
