//! Waiting for many file descriptors at once (epoll), being woken by another thread (eventfd), and watching a file
//! (inotify).

use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll, eventfd, poll};
use rustix::fs::inotify;
use rustix::io::Errno;

/// What is waited for at a file descriptor. A failure is told in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Whether there is something to read, or the other side has stopped sending.
    pub read: bool,
    /// Whether there is room to write.
    pub write: bool,
}

impl Interest {
    /// Reading only.
    pub const READ: Self = Self {
        read: true,
        write: false,
    };

    fn flags(self) -> epoll::EventFlags {
        let mut flags = epoll::EventFlags::empty();
        flags.set(epoll::EventFlags::IN | epoll::EventFlags::RDHUP, self.read);
        flags.set(epoll::EventFlags::OUT, self.write);
        flags
    }
}

/// What has happened at a file descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The number that it was added with.
    pub token: u64,
    /// There is something to read, possibly the end.
    pub readable: bool,
    /// There is room to write.
    pub writable: bool,
    /// The other side has gone, wholly or for writing.
    pub ended: bool,
}

/// A set of file descriptors, level-triggered.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
}

/// How many events are taken at once.
const EVENTS: usize = 256;

impl Poller {
    /// An empty set.
    ///
    /// # Errors
    /// Those of epoll_create1(2).
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        })
    }

    /// Adds a file descriptor. It leaves the set when it is closed.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn add(&self, source: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token);
        Ok(epoll::add(&self.epoll, source, data, interest.flags())?)
    }

    /// Changes what is waited for.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn modify(&self, source: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token);
        Ok(epoll::modify(&self.epoll, source, data, interest.flags())?)
    }

    /// Waits until something happens, or until the time is over; without a time, for ever.
    ///
    /// # Errors
    /// Those of epoll_wait(2) but `EINTR`.
    pub fn wait(&self, at_most: Option<Duration>) -> io::Result<Vec<Ready>> {
        let timeout = at_most
            .map(Timespec::try_from)
            .transpose()
            .map_err(io::Error::other)?;
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ended = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        let ready = events.iter().map(|event| {
            // The kernel's structure is packed: copy before borrowing.
            let (flags, data) = (event.flags, event.data);
            Ready {
                token: data.u64(),
                readable: flags.contains(epoll::EventFlags::IN),
                writable: flags.contains(epoll::EventFlags::OUT),
                ended: flags.intersects(ended),
            }
        });
        Ok(ready.collect())
    }
}

/// Wakes a thread that waits in a [`Poller`] or in a [`FileWatch`].
#[derive(Debug)]
pub struct Waker(OwnedFd);

impl Waker {
    /// A waker that has not been used.
    ///
    /// # Errors
    /// Those of eventfd(2).
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(
            0,
            EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK,
        )?))
    }

    /// Makes it readable.
    pub fn wake(&self) {
        // The only possible failure is a full counter, and then it is readable already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Makes it unreadable again.
    pub fn clear(&self) {
        // The only possible failure is that it is so already.
        let _ = rustix::io::read(&self.0, &mut [0_u8; 8]);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// How long a file that somebody has begun to write is waited for: a loaded machine may hold the writer up between emptying it
/// and filling it.
const LONGEST_WRITE: Duration = Duration::from_secs(2);

/// Watches one file by its name: writes in place, and replacement by rename as editors do it.
#[derive(Debug)]
pub struct FileWatch {
    inotify: OwnedFd,
    name: OsString,
}

impl FileWatch {
    /// Starts watching. The file need not exist; its directory must.
    ///
    /// # Errors
    /// Those of inotify_init1(2) and inotify_add_watch(2); `InvalidInput` for a path without a name.
    pub fn new(path: &Path) -> io::Result<Self> {
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"))?;
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let inotify =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let flags = inotify::WatchFlags::CLOSE_WRITE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MODIFY;
        inotify::add_watch(&inotify, directory, flags)?;
        Ok(Self {
            inotify,
            name: name.to_owned(),
        })
    }

    /// Waits until the file has been touched, then until whoever writes it has closed it, two seconds at most, and then until
    /// it has been quiet for a moment, at most ten of them: whoever writes in several steps is not read in the middle. `false`
    /// when the waker came first.
    ///
    /// # Errors
    /// Those of poll(2) and read(2).
    pub fn wait(&self, waker: &Waker, quiet: Duration) -> io::Result<bool> {
        let mut touch = None;
        while touch.is_none() {
            if self.readable(waker, None)? == Wait::Woken {
                return Ok(false);
            }
            touch = self.touched()?;
        }
        let begun = Instant::now();
        loop {
            let (at_most, until) = match touch {
                Some(Touch::Begun) => (LONGEST_WRITE, begun + LONGEST_WRITE),
                _ => (quiet, begun + quiet * 10),
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(true);
            }
            match self.readable(waker, Some(at_most.min(left)))? {
                Wait::Woken => return Ok(false),
                Wait::Quiet => return Ok(true),
                Wait::Readable => touch = self.touched()?.or(touch),
            }
        }
    }

    fn readable(&self, waker: &Waker, at_most: Option<Duration>) -> io::Result<Wait> {
        let mut polled = [
            PollFd::new(&self.inotify, PollFlags::IN),
            PollFd::new(&waker.0, PollFlags::IN),
        ];
        let timeout = at_most
            .map(Timespec::try_from)
            .transpose()
            .map_err(io::Error::other)?;
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Wait::Readable),
            Err(error) => return Err(error.into()),
        }
        Ok(if !polled[1].revents().is_empty() {
            Wait::Woken
        } else if polled[0].revents().is_empty() {
            Wait::Quiet
        } else {
            Wait::Readable
        })
    }

    /// Takes the events that are there. Returns what the last of them about the file was.
    fn touched(&self) -> io::Result<Option<Touch>> {
        const BEGUN: inotify::ReadFlags =
            inotify::ReadFlags::CREATE.union(inotify::ReadFlags::MODIFY);
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut touch = None;
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event
                        .file_name()
                        .map(|name| OsStr::from_bytes(name.to_bytes()));
                    let lost = event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW);
                    if lost || name == Some(self.name.as_os_str()) {
                        let begun = event.events().intersects(BEGUN);
                        touch = Some(if begun { Touch::Begun } else { Touch::Whole });
                    }
                }
                Err(Errno::WOULDBLOCK) => return Ok(touch),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What has happened to a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Touch {
    /// Somebody writes it, and has not closed it yet.
    Begun,
    /// It was closed, or another has taken its place.
    Whole,
}

#[derive(PartialEq, Eq)]
enum Wait {
    Readable,
    Quiet,
    Woken,
}

/// Lets a listening socket hold this many connections that have not been accepted, as far as the system allows.
///
/// # Errors
/// Those of listen(2).
pub fn set_backlog(listener: &TcpListener, connections: i32) -> io::Result<()> {
    Ok(rustix::net::listen(listener, connections)?)
}

/// Closes a connection with a reset instead of an end.
///
/// # Errors
/// Those of setsockopt(2).
pub fn reset(stream: TcpStream) -> io::Result<()> {
    let zero = Some(Duration::ZERO);
    rustix::net::sockopt::set_socket_linger(&stream, zero)?;
    drop(stream);
    Ok(())
}
