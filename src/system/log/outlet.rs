//! Where messages leave the program. Nothing in here waits: what cannot be taken now is the lane's to keep.

use std::io::{IoSlice, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::entry::Entry;

/// How much is written to a stream at once: a pipe that can be written to at all takes this much without blocking.
const CHUNK: usize = 4096;

/// The longest datagram that is tried where syslog has refused a longer one, in bytes.
const SHORTENED: usize = 8 * 1024;

/// Where the sockets are.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// The journal's native socket.
    pub(super) journal: PathBuf,
    /// Syslog's socket.
    pub(super) syslog: PathBuf,
}

/// Kinds of outlets, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Journal,
    Syslog,
    Stderr,
    Console,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is gone from us, or can never be sent.
    Done,
    /// Not now: the other side has too much to read.
    Busy,
    /// There is nobody at the other side.
    Gone,
}

#[derive(Debug)]
pub(super) enum Outlet {
    Journal(UnixDatagram),
    Syslog(UnixDatagram),
    Stderr(Stream),
    Console(Stream),
}

impl Outlet {
    /// The best one that is there, of `from` and those after it. Standard error always is.
    pub(super) fn best(places: &Places, from: Kind, priorities: bool) -> Self {
        let journal = || connect(&places.journal).map(Self::Journal);
        let syslog = || connect(&places.syslog).map(Self::Syslog);
        let found = match from {
            Kind::Journal => journal().or_else(syslog),
            Kind::Syslog => syslog(),
            Kind::Stderr | Kind::Console => None,
        };
        found.unwrap_or_else(|| Self::Stderr(Stream::stderr(priorities)))
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Journal(_) => Kind::Journal,
            Self::Syslog(_) => Kind::Syslog,
            Self::Stderr(_) => Kind::Stderr,
            Self::Console(_) => Kind::Console,
        }
    }

    /// Sends a message, over a new connection where the old one has ended.
    pub(super) fn send(&mut self, entry: &Entry, places: &Places) -> Sent {
        let (socket, path, send): (_, _, fn(&UnixDatagram, &Entry) -> Sent) = match self {
            Self::Stderr(stream) | Self::Console(stream) => return stream.send(entry),
            Self::Journal(socket) => (socket, &places.journal, send_to_journal),
            Self::Syslog(socket) => (socket, &places.syslog, send_to_syslog),
        };
        match send(socket, entry) {
            Sent::Gone => match connect(path) {
                Some(new) => {
                    *socket = new;
                    send(socket, entry)
                }
                None => Sent::Gone,
            },
            sent => sent,
        }
    }

    /// The bytes of one message in one datagram; `None` for streams.
    pub(super) fn datagram(&self, entry: &Entry) -> Option<Vec<u8>> {
        match self {
            Self::Journal(_) => Some(entry.journal()),
            Self::Syslog(_) => Some(entry.datagram()),
            Self::Stderr(_) | Self::Console(_) => None,
        }
    }

    /// Sends datagrams, as many of them as are taken at once, and says how many those are. With none [`Self::send`] tells why.
    pub(super) fn send_several<'a>(&self, datagrams: impl Iterator<Item = &'a Vec<u8>>) -> usize {
        let (Self::Journal(socket) | Self::Syslog(socket)) = self else {
            return 0;
        };
        let mut parts = Vec::new();
        for datagram in datagrams {
            parts.push(([IoSlice::new(datagram)], SendAncillaryBuffer::default()));
        }
        let mut messages = Vec::new();
        for (part, control) in &mut parts {
            messages.push(MMsgHdr::new(part, control));
        }
        rustix::net::sendmmsg(socket, &mut messages, SendFlags::NOSIGNAL).unwrap_or(0)
    }

    /// Goes on with a message that was written in part.
    pub(super) fn go_on(&mut self) -> Sent {
        match self {
            Self::Stderr(stream) | Self::Console(stream) => stream.go_on(),
            Self::Journal(_) | Self::Syslog(_) => Sent::Done,
        }
    }

    /// Another descriptor of its socket, to wait for; `None` for a stream, which is asked before each write.
    pub(super) fn socket(&self) -> Option<UnixDatagram> {
        match self {
            Self::Journal(socket) | Self::Syslog(socket) => socket.try_clone().ok(),
            Self::Stderr(_) | Self::Console(_) => None,
        }
    }

    /// How much the other side has not read yet; 0 where that is not known.
    pub(super) fn unread(&self) -> usize {
        match self {
            Self::Journal(socket) | Self::Syslog(socket) => unread(socket),
            Self::Stderr(_) | Self::Console(_) => 0,
        }
    }
}

/// Waits until a socket takes something again; `false` when it does not within this time.
pub(super) fn takes_more(socket: &UnixDatagram, at_most: Duration) -> bool {
    let Ok(timeout) = Timespec::try_from(at_most) else {
        return false;
    };
    let mut polled = [PollFd::new(socket, PollFlags::OUT)];
    poll(&mut polled, Some(&timeout)).is_ok_and(|ready| ready > 0)
}

fn connect(path: &Path) -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    socket.connect(path).ok()?;
    Some(socket)
}

fn send_to_journal(socket: &UnixDatagram, entry: &Entry) -> Sent {
    let bytes = entry.journal();
    match socket.send(&bytes) {
        // Too large for a datagram: as a file in memory that cannot change any more.
        Err(error) if is_too_large(&error) => match send_file(socket, &bytes) {
            Ok(()) => Sent::Done,
            Err(errno) => outcome(&errno.into()),
        },
        Err(error) => outcome(&error),
        Ok(_) => Sent::Done,
    }
}

fn send_file(socket: &UnixDatagram, bytes: &[u8]) -> Result<(), Errno> {
    let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC;
    let file = rustix::fs::memfd_create("journal-message", flags)?;
    let mut writer = std::fs::File::from(file);
    writer.write_all(bytes).map_err(|_| Errno::NOMEM)?;
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&writer, seals)?;
    let descriptors = [writer.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    rustix::net::sendmsg(
        socket,
        &[IoSlice::new(&[])],
        &mut control,
        SendFlags::empty(),
    )?;
    Ok(())
}

fn send_to_syslog(socket: &UnixDatagram, entry: &Entry) -> Sent {
    let mut bytes = entry.datagram();
    loop {
        match socket.send(&bytes) {
            Err(error) if is_too_large(&error) && bytes.len() > SHORTENED => {
                bytes.truncate(SHORTENED - 5);
                bytes.extend_from_slice(b" ...\0");
            }
            Err(error) => return outcome(&error),
            Ok(_) => return Sent::Done,
        }
    }
}

fn is_too_large(error: &std::io::Error) -> bool {
    // ENOBUFS is what a datagram meets that does not fit the sender's buffer even when that is empty (sd_journal_print's
    // own rule).
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MSGSIZE | Errno::NOBUFS)
    )
}

fn outcome(error: &std::io::Error) -> Sent {
    match Errno::from_io_error(error) {
        Some(Errno::AGAIN | Errno::INTR | Errno::NOBUFS | Errno::NOMEM) => Sent::Busy,
        // It can never be sent, to anybody.
        Some(Errno::MSGSIZE) => Sent::Done,
        _ => Sent::Gone,
    }
}

/// Bytes that were sent and that nobody has read (unix(7), SIOCOUTQ).
fn unread(socket: &UnixDatagram) -> usize {
    use std::os::fd::AsRawFd;
    let mut bytes: libc::c_int = 0;
    #[expect(unsafe_code, reason = "no crate has this request for sockets")]
    // SAFETY: TIOCOUTQ, which is SIOCOUTQ on a socket, writes one int to the address, and that is one.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    usize::try_from(bytes)
        .ok()
        .filter(|_| answer == 0)
        .unwrap_or(0)
}

/// A stream of lines. What it takes only in part it keeps, and goes on with later.
#[derive(Debug)]
pub(super) struct Stream {
    /// A device to open, and it, open; `None` is standard error.
    device: Option<(PathBuf, Option<OwnedFd>)>,
    /// Whether lines begin with their priority, which the journal takes off again (sd-daemon(3)).
    priorities: bool,
    rest: Vec<u8>,
}

impl Stream {
    pub(super) fn stderr(priorities: bool) -> Self {
        Self {
            device: None,
            priorities,
            rest: Vec::new(),
        }
    }

    /// A terminal that is opened when there is something to say.
    pub(super) fn device(path: &Path) -> Self {
        Self {
            device: Some((path.to_owned(), None)),
            priorities: false,
            rest: Vec::new(),
        }
    }

    fn send(&mut self, entry: &Entry) -> Sent {
        match self.go_on() {
            Sent::Done => {}
            other => return other,
        }
        let line = entry.line();
        self.rest = if self.priorities {
            format!("<{}>{line}\n", entry.severity()).into_bytes()
        } else {
            format!("{line}\n").into_bytes()
        };
        let whole = self.rest.len();
        match self.go_on() {
            // It has begun, so the rest of it follows.
            Sent::Busy if self.rest.len() < whole => Sent::Done,
            Sent::Busy => {
                self.rest.clear();
                Sent::Busy
            }
            other => other,
        }
    }

    fn go_on(&mut self) -> Sent {
        let mut is_reopened = false;
        while !self.rest.is_empty() {
            match self.write() {
                Ok(written) => drop(self.rest.drain(..written)),
                Err(Errno::AGAIN) => return Sent::Busy,
                Err(Errno::INTR) => {}
                // A terminal that hangs up, as the console does when a getty begins or ends, takes lines from whoever
                // opens it again.
                Err(_) if self.close() && !is_reopened => is_reopened = true,
                // A stream that is gone takes its lines with it, and must not end the program.
                Err(_) => self.rest.clear(),
            }
        }
        Sent::Done
    }

    /// Closes the device; `false` when none was open.
    fn close(&mut self) -> bool {
        let open = self.device.as_mut().and_then(|(_, open)| open.take());
        open.is_some()
    }

    fn write(&mut self) -> Result<usize, Errno> {
        let chunk = &self.rest[..self.rest.len().min(CHUNK)];
        let Some((path, open)) = &mut self.device else {
            let stderr = rustix::stdio::stderr();
            return if is_writable(stderr)? {
                rustix::io::write(stderr, chunk)
            } else {
                Err(Errno::AGAIN)
            };
        };
        let device = match open {
            Some(device) => device,
            None => {
                let flags = OFlags::WRONLY
                    | OFlags::APPEND
                    | OFlags::NOCTTY
                    | OFlags::NONBLOCK
                    | OFlags::CLOEXEC;
                open.insert(rustix::fs::open(&*path, flags, Mode::empty())?)
            }
        };
        rustix::io::write(device, chunk)
    }
}

/// Standard error is shared with others and so stays blocking: it is written to only when it takes something.
fn is_writable(fd: impl AsFd) -> Result<bool, Errno> {
    let mut polled = [PollFd::new(&fd, PollFlags::OUT)];
    poll(&mut polled, Some(&Timespec::default()))?;
    Ok(!polled[0].revents().is_empty())
}
