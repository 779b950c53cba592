//! One connection of the server: what has come, what is to go out, and what it waits for. It never blocks.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::emulator::fault::Delivery;
use crate::emulator::http::{self, Parsed, Request, Response};
use crate::emulator::service::Waiting;
use crate::system::events::{self, Interest};

/// How much is read at once.
const CHUNK: usize = 16 * 1024;

/// How much is kept of what a client sends before it is served.
const INPUT_LIMIT: usize = http::HEAD_LIMIT + http::BODY_LIMIT + CHUNK;

/// How long a client that was refused may go on sending before the connection is cut.
const LINGER: Duration = Duration::from_secs(2);

/// What the form of an answer depends on, besides the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Asked {
    /// Without the body.
    head_only: bool,
    /// The connection ends with this answer.
    closing: bool,
}

impl Asked {
    pub(crate) fn of(request: &Request) -> Self {
        Self {
            head_only: request.method == "HEAD",
            closing: !request.keep_alive,
        }
    }

    pub(crate) fn bytes(self, response: &Response) -> Arc<Vec<u8>> {
        response.bytes(self.closing, self.head_only).into()
    }
}

/// What a connection is doing.
#[derive(Debug)]
enum State {
    /// Taking in a request. `told_to_go_on` after `100 Continue`.
    Reading { told_to_go_on: bool },
    /// Holding a hanging GET.
    Holding {
        waiting: Waiting,
        asked: Asked,
        until: Option<Instant>,
    },
    /// Never answering.
    Silent,
    /// Sending an answer.
    Writing(Output),
    /// Waiting, after a refusal, for the client to stop sending, lest the end overtakes the answer.
    Draining { until: Instant },
}

#[derive(Debug)]
struct Output {
    bytes: Arc<Vec<u8>>,
    sent: usize,
    after: After,
    /// When the next byte may go out, and how long after it the one after that.
    pace: Option<(Instant, Duration)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// The next request.
    Read,
    /// The end.
    Close,
    /// The end, once the client has stopped sending.
    Drain,
    /// The rest of a request.
    GoOn,
}

/// What the server does next for a connection.
#[derive(Debug)]
pub(crate) enum Next {
    /// Ask again.
    Again,
    /// A request has come: answer it.
    Serve(Box<Request>),
    /// Nothing before something happens.
    Blocked,
    /// It is over.
    Closed,
}

#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    ended: bool,
    broken: bool,
    state: State,
    interest: Interest,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            input: Vec::new(),
            ended: false,
            broken: false,
            state: State::Reading {
                told_to_go_on: false,
            },
            interest: Interest::READ,
        })
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.state, State::Holding { .. })
    }

    /// The hanging GET that it holds.
    pub(crate) fn waiting(&self) -> Option<(&Waiting, Asked)> {
        match &self.state {
            State::Holding { waiting, asked, .. } => Some((waiting, *asked)),
            _ => None,
        }
    }

    /// When it wants to be advanced even if nothing happens.
    pub(crate) fn due(&self) -> Option<Instant> {
        match &self.state {
            State::Holding { until, .. } => *until,
            State::Writing(output) => output.pace.map(|(next, _)| next),
            State::Draining { until } => Some(*until),
            State::Reading { .. } | State::Silent => None,
        }
    }

    /// What is to be polled for, where that has changed.
    pub(crate) fn new_interest(&mut self) -> Option<Interest> {
        let wanted = Interest {
            read: !self.ended && self.input.len() < INPUT_LIMIT,
            write: matches!(&self.state, State::Writing(output) if output.pace.is_none()),
        };
        (wanted != self.interest).then(|| {
            self.interest = wanted;
            wanted
        })
    }

    /// Takes in what has come, once: the poll loop comes back when there is more.
    pub(crate) fn read(&mut self) {
        let mut chunk = [0_u8; CHUNK];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.ended = true,
            Ok(length) if matches!(self.state, State::Draining { .. }) => {
                let _ = length;
            }
            Ok(length) => self.input.extend_from_slice(&chunk[..length]),
            Err(error) if is_passing(&error) => {}
            Err(_) => self.broken = true,
        }
    }

    /// Goes as far as it can without waiting.
    pub(crate) fn advance(&mut self, now: Instant) -> Next {
        if self.broken {
            return Next::Closed;
        }
        match &mut self.state {
            State::Reading { told_to_go_on } => match http::parse(&self.input) {
                Parsed::Whole(request, length) => {
                    self.input.drain(..length);
                    if self.input.is_empty() {
                        // An idle connection keeps no buffer.
                        self.input = Vec::new();
                    }
                    Next::Serve(request)
                }
                Parsed::Refused(status) => {
                    let response = Response::error(status, "the request cannot be served.");
                    let bytes = response.bytes(true, false).into();
                    self.write(bytes, After::Drain, None);
                    Next::Again
                }
                Parsed::Partial { .. } if self.ended => Next::Closed,
                Parsed::Partial { expects: true } if !*told_to_go_on => {
                    let bytes = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec().into();
                    self.write(bytes, After::GoOn, None);
                    Next::Again
                }
                Parsed::Partial { .. } => Next::Blocked,
            },
            State::Writing(_) => self.send(now),
            State::Draining { until } if self.ended || now >= *until => Next::Closed,
            State::Holding { .. } | State::Silent if self.ended => Next::Closed,
            State::Holding { .. } | State::Silent | State::Draining { .. } => Next::Blocked,
        }
    }

    fn send(&mut self, now: Instant) -> Next {
        let State::Writing(output) = &mut self.state else {
            return Next::Again;
        };
        let mut left = &output.bytes[output.sent..];
        if let Some((next, pace)) = &mut output.pace {
            if now < *next {
                return if self.ended {
                    Next::Closed
                } else {
                    Next::Blocked
                };
            }
            if pace.is_zero() {
                output.pace = None;
            } else {
                *next = now + *pace;
                left = &left[..left.len().min(1)];
            }
        }
        match (&self.stream).write(left) {
            Ok(length) => output.sent += length,
            Err(error) if is_passing(&error) => return Next::Blocked,
            Err(_) => return Next::Closed,
        }
        if output.sent < output.bytes.len() {
            return Next::Again;
        }
        match output.after {
            After::Close => return Next::Closed,
            After::Read => {
                self.state = State::Reading {
                    told_to_go_on: false,
                }
            }
            After::GoOn => {
                self.state = State::Reading {
                    told_to_go_on: true,
                }
            }
            After::Drain => {
                // The client learns that nothing more comes; if it has gone already, that is the end too.
                if self.stream.shutdown(Shutdown::Write).is_err() {
                    return Next::Closed;
                }
                self.input = Vec::new();
                self.state = State::Draining {
                    until: now + LINGER,
                };
            }
        }
        Next::Again
    }

    fn write(&mut self, bytes: Arc<Vec<u8>>, after: After, pace: Option<(Instant, Duration)>) {
        self.state = State::Writing(Output {
            bytes,
            sent: 0,
            after,
            pace,
        });
    }

    /// Starts an answer.
    pub(crate) fn deliver(&mut self, delivery: Delivery, asked: Asked, now: Instant) {
        let after = if asked.closing {
            After::Close
        } else {
            After::Read
        };
        match delivery {
            Delivery::Answer(response, Duration::ZERO) => {
                self.write(asked.bytes(&response), after, None);
            }
            Delivery::Answer(response, delay) => {
                self.write(
                    asked.bytes(&response),
                    after,
                    Some((now + delay, Duration::ZERO)),
                );
            }
            Delivery::Slowly(response, pace) => {
                self.write(asked.bytes(&response), after, Some((now, pace)));
            }
            Delivery::Bytes(bytes) => self.write(bytes.into(), After::Close, None),
            Delivery::Never => self.state = State::Silent,
            Delivery::Cut { reset } => {
                if reset && let Ok(stream) = self.stream.try_clone() {
                    // A reset that does not come about is an end.
                    let _ = events::reset(stream);
                }
                self.broken = true;
            }
        }
    }

    /// Holds a hanging GET.
    pub(crate) fn hold(&mut self, waiting: Waiting, asked: Asked, now: Instant) {
        // A time beyond the end of the clock is no end.
        let until = waiting.at_most.and_then(|at_most| now.checked_add(at_most));
        self.state = State::Holding {
            waiting,
            asked,
            until,
        };
    }

    /// Answers the hanging GET that it holds.
    pub(crate) fn answer_held(&mut self, bytes: Arc<Vec<u8>>) {
        if let State::Holding { asked, .. } = &self.state {
            let after = if asked.closing {
                After::Close
            } else {
                After::Read
            };
            self.write(bytes, after, None);
        }
    }
}

/// Whether a failed read or write may be tried again.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
