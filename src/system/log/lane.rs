//! A lane: an outlet with a queue before it, so that whoever logs is not held up by whoever reads.
//!
//! As long as the outlet takes what comes, a message is sent by the thread that logs it, and there is no queue and no other
//! thread. When the outlet is busy or gone, messages are kept, up to a limit, and a thread sends them in order when it can,
//! and ends. What is past the limit is counted, and the count is told.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::Level;

use super::entry::Entry;
use super::outlet::{self, Kind, Outlet, Places, Sent};
use crate::system::threads;

/// How much is kept, in bytes.
const LIMIT: usize = 1024 * 1024;

/// How much is kept where whoever logs waits, in bytes.
const PATIENT_LIMIT: usize = 256 * 1024;

/// How many messages are sent with one system call.
const BATCH: usize = 64;

/// How long a socket that takes much at once is left to its reader before it is sent more: the reader would be woken, and we
/// as well, for each single message.
const BREATH: Duration = Duration::from_micros(100);

/// How long an outlet may be gone before the next best is used.
const GONE: Duration = Duration::from_secs(5);

/// How often a better outlet is looked for, while there are messages.
const LOOK: Duration = Duration::from_secs(10);

/// The first and the longest wait before a busy outlet is tried again.
const WAITS: (Duration, Duration) = (Duration::from_millis(2), Duration::from_secs(1));

/// How long whoever logs waits for room in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// Not at all: a daemon.
    None,
    /// As long as the queue moves at least this often; for standard error without limit, as any program does it.
    UpTo(Duration),
}

#[derive(Clone, Debug)]
pub(super) struct Lane(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    places: Places,
    /// The best outlet of this lane.
    best: Kind,
    priorities: bool,
    patience: Patience,
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug)]
struct State {
    outlet: Outlet,
    queue: VecDeque<Entry>,
    /// The datagrams of the first of them, for the outlet that there is.
    formed: VecDeque<Vec<u8>>,
    /// Whether messages are gathered, to be sent together.
    is_held: bool,
    /// The size of what is in the queue.
    size: usize,
    /// How many messages found no room since the last one that did.
    lost: u64,
    is_sending: bool,
    /// Nothing has moved for as long as patience lasts.
    is_stuck: bool,
    gone: Option<Instant>,
    looked: Instant,
}

impl Lane {
    /// A lane to the best outlet from `best` on.
    pub(super) fn to_best(
        places: Places,
        best: Kind,
        priorities: bool,
        patience: Patience,
    ) -> Self {
        let outlet = Outlet::best(&places, best, priorities);
        Self::new(outlet, places, best, priorities, patience)
    }

    /// A lane to this outlet and no other.
    pub(super) fn to(outlet: Outlet, places: Places, patience: Patience) -> Self {
        let kind = outlet.kind();
        Self::new(outlet, places, kind, false, patience)
    }

    fn new(
        outlet: Outlet,
        places: Places,
        best: Kind,
        priorities: bool,
        patience: Patience,
    ) -> Self {
        Self(Arc::new(Shared {
            places,
            best,
            priorities,
            patience,
            state: Mutex::new(State {
                outlet,
                queue: VecDeque::new(),
                formed: VecDeque::new(),
                is_held: false,
                size: 0,
                lost: 0,
                is_sending: false,
                is_stuck: false,
                gone: None,
                looked: Instant::now(),
            }),
            moved: Condvar::new(),
        }))
    }

    /// What it leads to at present.
    pub(super) fn kind(&self) -> Kind {
        self.0.lock().outlet.kind()
    }

    /// Sends a message, now or later.
    pub(super) fn deliver(&self, entry: Entry) {
        let shared = &self.0;
        let mut state = shared.lock();
        if state.queue.is_empty() && !state.is_sending && !state.is_held {
            state.look(shared);
            if state.send(&entry, shared) == Sent::Done {
                // Of a long line the rest may be still to come.
                if state.outlet.go_on() != Sent::Done {
                    shared.start_sending(&mut state);
                }
                return;
            }
        }
        state = shared.room_for(state, entry.size());
        if state.size > 0 && state.size + entry.size() > shared.limit() {
            state.lost += 1;
            return;
        }
        state.size += entry.size();
        state.queue.push_back(entry);
        if state.is_held && !state.is_sending {
            let is_full = state.queue.len() >= BATCH || state.size > shared.limit() / 2;
            if !is_full || state.send_queue(shared) == Sent::Done {
                return;
            }
        }
        shared.start_sending(&mut state);
    }

    /// Gathers what comes from here on, to send many messages with one system call.
    pub(super) fn hold(&self) {
        self.0.lock().is_held = true;
    }

    /// Sends what was gathered; a message is sent as it comes again.
    pub(super) fn release(&self) {
        let shared = &self.0;
        let mut state = shared.lock();
        state.is_held = false;
        if !state.is_sending && !state.queue.is_empty() {
            state.look(shared);
            if state.send_queue(shared) != Sent::Done || state.outlet.go_on() != Sent::Done {
                shared.start_sending(&mut state);
            }
        }
    }

    /// Waits until everything is sent, and read where that can be known, or the time is over.
    pub(super) fn finish(&self, within: Duration) {
        let until = Instant::now() + within;
        let shared = &self.0;
        let mut state = shared.lock();
        while state.is_sending {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = shared.moved.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        // The journal learns the unit of a process from /proc: whoever has ended by then belongs to none.
        while state.outlet.unread() > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing between two changes of the state panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn limit(&self) -> usize {
        match self.patience {
            Patience::None => LIMIT,
            Patience::UpTo(_) => PATIENT_LIMIT,
        }
    }

    /// Waits for room in the queue, as patiently as this lane is.
    fn room_for<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        size: usize,
    ) -> MutexGuard<'a, State> {
        let Patience::UpTo(longest) = self.patience else {
            return state;
        };
        while state.size + size > self.limit()
            && state.size > 0
            && state.is_sending
            && !state.is_stuck
        {
            let before = state.size;
            let waited = self.moved.wait_timeout(state, longest);
            let (after, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = after;
            let moved = state.size != before;
            state.is_stuck = timeout.timed_out() && !moved && state.outlet.kind() != Kind::Stderr;
        }
        state
    }

    fn start_sending(self: &Arc<Self>, state: &mut State) {
        if !state.is_sending {
            let shared = Arc::clone(self);
            // Without a thread, the next message tries again.
            state.is_sending = threads::start("log", move || shared.send_all()).is_ok();
        }
    }

    /// Sends what is in the queue, and ends when it is empty.
    fn send_all(&self) {
        let mut wait = WAITS.0;
        let mut was_promised = false;
        loop {
            let mut state = self.lock();
            let (before, count) = (state.size, state.queue.len());
            state.send_queue(self);
            let takes_much = count - state.queue.len() >= BATCH;
            if state.queue.is_empty()
                && state.tell_of_lost(self)
                && state.outlet.go_on() == Sent::Done
            {
                (state.is_sending, state.is_stuck) = (false, false);
                self.moved.notify_all();
                return;
            }
            let moved = state.size != before;
            if moved {
                state.is_stuck = false;
                self.moved.notify_all();
            }
            // A socket with somebody at the other side tells when it takes something again. One that says so and takes
            // nothing is waited for like one that cannot tell.
            let socket = (state.gone.is_none() && (moved || !was_promised))
                .then(|| state.outlet.socket())
                .flatten();
            drop(state);
            wait = if moved {
                WAITS.0
            } else {
                (wait * 2).min(WAITS.1)
            };
            was_promised = socket.is_some_and(|socket| outlet::takes_more(&socket, wait));
            if !was_promised {
                std::thread::sleep(wait);
            } else if takes_much {
                std::thread::sleep(BREATH);
            }
        }
    }
}

impl State {
    /// Sends what is in the queue, as far as it is taken.
    fn send_queue(&mut self, shared: &Shared) -> Sent {
        while !self.queue.is_empty() {
            let sent = self.send_several();
            if sent > 0 {
                self.gone = None;
            }
            for _ in 0..sent {
                self.take_first();
            }
            // The first one by itself, with all that can become of it.
            if sent == 0
                && let Some(entry) = self.queue.pop_front()
            {
                let sent = self.send(&entry, shared);
                self.queue.push_front(entry);
                if sent != Sent::Done {
                    return sent;
                }
                self.take_first();
            }
        }
        Sent::Done
    }

    /// Sends the first messages together; how many were taken.
    fn send_several(&mut self) -> usize {
        if self.queue.len() < 2 {
            return 0;
        }
        for entry in self.queue.iter().take(BATCH).skip(self.formed.len()) {
            let Some(datagram) = self.outlet.datagram(entry) else {
                return 0;
            };
            self.formed.push_back(datagram);
        }
        self.outlet.send_several(self.formed.iter().take(BATCH))
    }

    /// The first message is sent.
    fn take_first(&mut self) {
        self.formed.pop_front();
        if let Some(entry) = self.queue.pop_front() {
            self.size -= entry.size();
        }
    }

    fn go_to(&mut self, outlet: Outlet) {
        self.outlet = outlet;
        self.formed.clear();
    }

    /// Sends one message; where nobody is at the other side for too long, to the next best.
    fn send(&mut self, entry: &Entry, shared: &Shared) -> Sent {
        let sent = self.outlet.send(entry, &shared.places);
        if sent != Sent::Gone {
            self.gone = None;
            return sent;
        }
        let since = *self.gone.get_or_insert_with(Instant::now);
        if since.elapsed() < GONE {
            return Sent::Busy;
        }
        self.gone = None;
        self.looked = Instant::now();
        self.go_to(Outlet::best(&shared.places, shared.best, shared.priorities));
        self.outlet.send(entry, &shared.places)
    }

    /// Goes back to a better outlet that has come.
    fn look(&mut self, shared: &Shared) {
        if self.outlet.kind() > shared.best && self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            let found = Outlet::best(&shared.places, shared.best, shared.priorities);
            if found.kind() < self.outlet.kind() {
                self.go_to(found);
            }
        }
    }

    /// Tells how many messages found no room; `true` when there is nothing to tell any more.
    fn tell_of_lost(&mut self, shared: &Shared) -> bool {
        if self.lost == 0 {
            return true;
        }
        let entry = Entry {
            level: Level::Warn,
            target: "gce-guest".into(),
            message: format!(
                "{} lines of the log are lost: nobody took them for too long.",
                self.lost
            ),
            fields: Vec::new(),
        };
        let told = self.send(&entry, shared) == Sent::Done;
        if told {
            self.lost = 0;
        }
        told
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "test code in a directory of its own"
)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::path::{Path, PathBuf};

    use crate::system::files::PrivateDirectory;

    const PATIENCE: Duration = Duration::from_secs(20);

    struct Place(PrivateDirectory);

    impl Place {
        fn new() -> Self {
            Self(PrivateDirectory::create(&std::env::temp_dir(), "log-").unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn places(&self) -> Places {
            Places {
                journal: self.path("journal"),
                syslog: self.path("syslog"),
            }
        }

        fn listen(&self, name: &str) -> UnixDatagram {
            let socket = UnixDatagram::bind(self.path(name)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        }
    }

    fn entry(message: &str) -> Entry {
        Entry {
            level: Level::Info,
            target: "gce-guest".into(),
            message: message.into(),
            fields: Vec::new(),
        }
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = vec![0; 64 * 1024];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    fn lane(place: &Place, patience: Patience) -> Lane {
        Lane::to_best(place.places(), Kind::Journal, false, patience)
    }

    #[test]
    fn the_best_outlet_that_is_there_is_used() {
        let place = Place::new();
        assert_eq!(lane(&place, Patience::None).kind(), Kind::Stderr);
        let syslog = place.listen("syslog");
        let to_syslog = lane(&place, Patience::None);
        to_syslog.deliver(entry("hello"));
        assert_eq!(heard(&syslog), "<30>gce-guest: INFO hello\0");
        let journal = place.listen("journal");
        lane(&place, Patience::None).deliver(entry("hello"));
        assert!(heard(&journal).starts_with("MESSAGE=INFO hello\nPRIORITY=6\n"));
    }

    #[test]
    fn what_is_said_while_nobody_listens_is_kept_and_follows_in_order() {
        let place = Place::new();
        let first = place.listen("syslog");
        let lane = lane(&place, Patience::None);
        lane.deliver(entry("1"));
        assert!(heard(&first).contains("INFO 1"));
        drop(first);
        std::fs::remove_file(place.path("syslog")).unwrap();
        for number in 2..6 {
            lane.deliver(entry(&number.to_string()));
        }
        let second = place.listen("syslog");
        for number in 2..6 {
            assert_eq!(heard(&second), format!("<30>gce-guest: INFO {number}\0"));
        }
        lane.deliver(entry("6"));
        assert!(heard(&second).contains("INFO 6"));
    }

    #[test]
    fn a_full_socket_holds_nobody_up_and_what_found_no_room_is_counted() {
        let place = Place::new();
        let journal = place.listen("journal");
        let lane = lane(&place, Patience::None);
        let (started, text) = (Instant::now(), "x".repeat(1000));
        for number in 0..3000 {
            lane.deliver(entry(&format!("{number} {text}")));
        }
        assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
        let mut next = 0;
        let lost = loop {
            let message = heard(&journal);
            if let Some(rest) = message.strip_prefix("MESSAGE=WARNING ") {
                break rest.split(' ').next().unwrap().parse::<u64>().unwrap();
            }
            assert!(
                message.starts_with(&format!("MESSAGE=INFO {next} ")),
                "{message}"
            );
            next += 1;
        };
        assert!(next > 500, "{next} were kept");
        assert_eq!(next + lost, 3000);
    }

    #[test]
    fn a_patient_lane_loses_nothing_to_a_slow_reader() {
        let place = Place::new();
        let journal = place.listen("journal");
        let lane = lane(&place, Patience::UpTo(PATIENCE));
        let reader = std::thread::spawn(move || {
            for number in 0..3000 {
                let message = heard(&journal);
                assert!(
                    message.starts_with(&format!("MESSAGE=INFO {number} ")),
                    "{message}"
                );
            }
        });
        let text = "x".repeat(1000);
        for number in 0..3000 {
            lane.deliver(entry(&format!("{number} {text}")));
        }
        lane.finish(PATIENCE);
        reader.join().unwrap();
    }

    #[test]
    fn what_is_gathered_arrives_in_order_however_slow_the_reader() {
        let place = Place::new();
        let journal = place.listen("journal");
        let lane = lane(&place, Patience::UpTo(PATIENCE));
        lane.deliver(entry("before"));
        lane.hold();
        for number in 0..BATCH - 1 {
            lane.deliver(entry(&number.to_string()));
        }
        assert!(heard(&journal).starts_with("MESSAGE=INFO before\n"));
        journal.set_nonblocking(true).unwrap();
        let nothing = journal.recv(&mut [0; 1]).unwrap_err();
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
        journal.set_nonblocking(false).unwrap();
        lane.release();
        let count = 3000;
        let reader = std::thread::spawn(move || {
            for number in 0..count {
                let message = heard(&journal);
                assert!(
                    message.starts_with(&format!("MESSAGE=INFO {number}\n")),
                    "{message}"
                );
            }
            // One that no datagram holds goes with the others, in its place.
            assert_eq!(heard(&journal), "", "a descriptor comes in place of bytes");
            assert!(heard(&journal).starts_with("MESSAGE=INFO after\n"));
        });
        lane.hold();
        for number in BATCH - 1..count {
            lane.deliver(entry(&number.to_string()));
        }
        lane.deliver(entry(&"x".repeat(1024 * 1024 - 1024)));
        lane.deliver(entry("after"));
        lane.release();
        lane.finish(PATIENCE);
        reader.join().unwrap();
    }

    #[test]
    fn a_message_of_any_size_arrives() {
        let place = Place::new();
        let journal = place.listen("journal");
        let lane = lane(&place, Patience::None);
        lane.deliver(entry(&"x".repeat(1024 * 1024 - 1024)));
        lane.deliver(entry("small"));
        assert_eq!(heard(&journal), "", "a descriptor comes in place of bytes");
        assert!(heard(&journal).starts_with("MESSAGE=INFO small\n"));
    }

    #[test]
    fn the_end_waits_for_what_is_kept_and_not_for_ever() {
        let place = Place::new();
        let journal = place.listen("journal");
        let lane = lane(&place, Patience::None);
        for number in 0..1000 {
            lane.deliver(entry(&number.to_string()));
        }
        let started = Instant::now();
        lane.finish(Duration::from_millis(50));
        assert!(started.elapsed() < PATIENCE);
        let reader = std::thread::spawn(move || {
            for _ in 0..1000 {
                heard(&journal);
            }
        });
        lane.finish(PATIENCE);
        reader.join().unwrap();
    }

    #[test]
    fn a_line_that_a_stream_takes_in_parts_arrives_whole() {
        let place = Place::new();
        let path = place.path("pipe");
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        // Open for both, so that opening it waits for nobody.
        let both = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path);
        let mut reader = both.unwrap();
        let outlet = Outlet::Console(outlet::Stream::device(&path));
        let lane = Lane::to(outlet, place.places(), Patience::None);
        let text = "x".repeat(300_000);
        lane.deliver(entry(&text));
        let expected = format!("gce-guest: INFO {text}\n");
        let mut read = vec![0; expected.len()];
        std::io::Read::read_exact(&mut reader, &mut read).unwrap();
        assert!(read == expected.as_bytes());
        lane.finish(PATIENCE);
    }

    #[test]
    fn a_console_is_a_copy_that_may_be_missing() {
        let place = Place::new();
        let path = place.path("console");
        let outlet = |path: &Path| Outlet::Console(outlet::Stream::device(path));
        let missing = Lane::to(outlet(&path), place.places(), Patience::None);
        missing.deliver(entry("lost"));
        std::fs::write(&path, "").unwrap();
        missing.deliver(entry("there"));
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "gce-guest: INFO there\n"
        );
    }
}
