//! The HTTP server: one thread, one poll loop, any number of connections.
//!
//! A hanging GET is a connection that is not written to until the store changes; two thousand of them cost a few
//! megabytes, and a change answers them one after the other with the same bytes. Every answer is one write.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::emulator::connection::{Asked, Connection, Next};
use crate::emulator::control;
use crate::emulator::fault::Delivery;
use crate::emulator::http::{Request, Response};
use crate::emulator::live::{Live, Seen};
use crate::emulator::service::{self, Outcome, Waiting};
use crate::system::events::{self, Interest, Poller, Ready, Waker};
use crate::system::threads;
use crate::system::time;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 4096;

/// The numbers under which the waker and the listener are polled; connections come after them.
const WAKER: u64 = 0;
const LISTENER: u64 = 1;
const FIRST_CONNECTION: u64 = 2;

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Metadata,
    Control,
}

/// A running server. It stops when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves a store as a metadata server on this listener, in a thread of its own.
    ///
    /// # Errors
    /// Those of setting up the socket, the poll loop and the thread.
    pub fn start(listener: TcpListener, live: &Live) -> io::Result<Self> {
        Self::start_as(listener, live, Role::Metadata)
    }

    /// Serves the control port on this listener. There is no protection: listen on loopback.
    ///
    /// # Errors
    /// As for [`Server::start`].
    pub fn start_control(listener: TcpListener, live: &Live) -> io::Result<Self> {
        Self::start_as(listener, live, Role::Control)
    }

    /// A metadata server on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// As for [`Server::start`], and those of bind(2).
    pub fn start_on_loopback(live: &Live) -> io::Result<Self> {
        Self::start(TcpListener::bind(("127.0.0.1", 0))?, live)
    }

    fn start_as(listener: TcpListener, live: &Live, role: Role) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        events::set_backlog(&listener, BACKLOG)?;
        let address = listener.local_addr()?;
        let waker = live.subscribe()?;
        let poller = Poller::new()?;
        poller.add(&*waker, WAKER, Interest::READ)?;
        poller.add(&listener, LISTENER, Interest::READ)?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut serving = Loop {
            poller,
            waker: Arc::clone(&waker),
            listener,
            role,
            live: live.clone(),
            connections: HashMap::new(),
            timers: BinaryHeap::new(),
            next: FIRST_CONNECTION,
            told: (0, 0),
        };
        let stopped = Arc::clone(&stop);
        let thread = threads::start("emulator", move || serving.run(&stopped))?;
        Ok(Self {
            address,
            stop,
            waker,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it and closes all its connections.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been told by the panic hook already.
            let _ = thread.join();
        }
    }
}

struct Loop {
    poller: Poller,
    waker: Arc<Waker>,
    listener: TcpListener,
    role: Role,
    live: Live,
    connections: HashMap<u64, Connection>,
    /// When to look at which connection; entries of connections that have moved on are harmless.
    timers: BinaryHeap<Reverse<(Instant, u64)>>,
    next: u64,
    /// How many hanging GETs and connections it has told of.
    told: (usize, usize),
}

impl Loop {
    fn run(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            let at_most = self
                .timers
                .peek()
                .map(|Reverse((when, _))| when.saturating_duration_since(Instant::now()));
            match self.poller.wait(at_most) {
                Ok(ready) => ready.into_iter().for_each(|ready| self.handle(ready)),
                Err(error) => {
                    log::error!("The emulator stops: cannot wait for connections: {error}");
                    return;
                }
            }
            self.run_timers();
            self.tell();
        }
        self.connections.clear();
        self.tell();
    }

    /// Lets those who watch the servers know how many connections there are, and how many wait.
    fn tell(&mut self) {
        let held = self.connections.values().filter(|it| it.is_waiting());
        let now = (held.count(), self.connections.len());
        let before = std::mem::replace(&mut self.told, now);
        if before != now {
            self.live.observe(|observed| {
                observed.waiting = observed.waiting + now.0 - before.0;
                observed.connections = observed.connections + now.1 - before.1;
            });
        }
    }

    fn handle(&mut self, ready: Ready) {
        match ready.token {
            WAKER => {
                self.waker.clear();
                self.answer_changed();
            }
            LISTENER => self.accept(),
            token => {
                let Some(connection) = self.connections.get_mut(&token) else {
                    return;
                };
                if ready.readable || ready.ended {
                    connection.read();
                }
                self.advance(token);
            }
        }
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    let token = self.next;
                    self.next += 1;
                    let connection = Connection::new(stream);
                    let added = connection.and_then(|connection| {
                        self.poller
                            .add(connection.stream(), token, Interest::READ)?;
                        Ok(connection)
                    });
                    match added {
                        Ok(connection) => {
                            self.connections.insert(token, connection);
                        }
                        Err(error) => log::warn!("The emulator drops a connection: {error}"),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // Out of file descriptors, most likely: what is open can go on, and a later attempt may succeed.
                    log::warn!("The emulator cannot accept a connection: {error}");
                    std::thread::sleep(Duration::from_millis(10));
                    return;
                }
            }
        }
    }

    /// Carries a connection as far as it goes without waiting.
    fn advance(&mut self, token: u64) {
        loop {
            let Some(connection) = self.connections.get_mut(&token) else {
                return;
            };
            match connection.advance(Instant::now()) {
                Next::Again => {}
                Next::Serve(request) => self.serve(token, &request),
                Next::Closed => {
                    self.connections.remove(&token);
                    return;
                }
                Next::Blocked => {
                    let (interest, due) = (connection.new_interest(), connection.due());
                    if let Some(interest) = interest
                        && let Err(error) = self.poller.modify(connection.stream(), token, interest)
                    {
                        log::warn!("The emulator drops a connection: {error}");
                        self.connections.remove(&token);
                        return;
                    }
                    if let Some(due) = due {
                        self.timers.push(Reverse((due, token)));
                    }
                    return;
                }
            }
        }
    }

    fn serve(&mut self, token: u64, request: &Request) {
        let delivery = match self.role {
            Role::Control => Ok(Delivery::Answer(
                control::answer(&self.live, request),
                Duration::ZERO,
            )),
            Role::Metadata => self.metadata(request),
        };
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        let asked = Asked::of(request);
        match delivery {
            Ok(delivery) => connection.deliver(delivery, asked, Instant::now()),
            Err(waiting) => connection.hold(waiting, asked, Instant::now()),
        }
    }

    /// The answer to a request with what a fault makes of it, or what it waits for.
    fn metadata(&self, request: &Request) -> Result<Delivery, Waiting> {
        let mut state = self.live.state();
        let seen = Seen {
            method: request.method.clone(),
            target: format!("{}{}", request.path, request.query),
            received: Instant::now(),
        };
        self.live.remember(&mut state, seen);
        let key = request
            .path
            .strip_prefix("/computeMetadata/v1/")
            .unwrap_or_default();
        let fault = state.faults.take(key, fastrand::f64);
        let outcome = service::answer(&mut state.store, request, time::now());
        let changed = matches!(outcome, Outcome::Changed(_));
        let right = match (outcome, &fault) {
            (Outcome::Answer(response) | Outcome::Changed(response), _) => Ok(response),
            (Outcome::Wait(waiting), Some(_)) => Ok(waiting.answer(&state.store)),
            (Outcome::Wait(waiting), None) => Err(waiting),
        };
        drop(state);
        if changed {
            self.live.wake();
        }
        let right = right?;
        Ok(match fault {
            Some(fault) => fault.apply(right),
            None => Delivery::Answer(right, Duration::ZERO),
        })
    }

    /// Answers every hanging GET for which there is something new: the same question is answered once.
    fn answer_changed(&mut self) {
        let mut answers = HashMap::new();
        let mut answered = Vec::new();
        let live = self.live.clone();
        let state = live.state();
        for (token, connection) in &mut self.connections {
            let Some((waiting, asked)) = connection.waiting() else {
                continue;
            };
            let bytes = answers
                .entry((waiting.subject(), asked))
                .or_insert_with(|| {
                    let response: Option<Response> = waiting.answer_if_changed(&state.store);
                    response.map(|response| asked.bytes(&response))
                });
            if let Some(bytes) = bytes {
                connection.answer_held(Arc::clone(bytes));
                answered.push(*token);
            }
        }
        drop(state);
        // First: who has an answer is not to be taken for one who waits.
        self.tell();
        for token in answered {
            self.advance(token);
        }
    }

    fn run_timers(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((when, token))) = self.timers.peek().copied() {
            if when > now {
                return;
            }
            self.timers.pop();
            let Some(connection) = self.connections.get_mut(&token) else {
                continue;
            };
            if connection.due().is_none_or(|due| due > now) {
                continue;
            }
            if let Some((waiting, asked)) = connection.waiting() {
                let bytes = asked.bytes(&waiting.answer(&self.live.state().store));
                connection.answer_held(bytes);
                self.tell();
            }
            self.advance(token);
        }
    }
}
