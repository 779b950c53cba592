//! Fetching a script into a file: attempts, redirects, limits, and who may see the token (pains 38).
//!
//! The token goes out with the first request to the storage host and with no other: not after a redirect, wherever it
//! leads, and not when the request is repeated without it. The body goes to the file as it comes, never whole into memory.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use log::{info, warn};
use thiserror::Error;

use super::source::{Source, SourceError, redirected, shown};
use crate::system::files::GrowingFile;
use crate::system::web::{Answer, Times, Web, WebError};

/// How many redirects are followed.
const REDIRECTS: usize = 5;

/// The longest wait that a server may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(120);

/// How patient and how generous a fetch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The time of each step.
    pub times: Times,
    /// How often it is tried, for failures that may pass.
    pub attempts: u32,
    /// The wait after the first failure; it doubles up to `longest_wait`.
    pub first_wait: Duration,
    /// The longest wait between two attempts.
    pub longest_wait: Duration,
    /// The largest script, in bytes.
    pub size: u64,
    /// In each `window`, at least this many bytes come, or the server is taken to have stalled.
    pub slowest: u64,
    /// See `slowest`.
    pub window: Duration,
    /// How often the progress of a long download is logged.
    pub progress: Duration,
}

impl Limits {
    /// For copies that are kept for later: a few attempts now, and more in the next pass.
    #[must_use]
    pub fn for_copies() -> Self {
        Self {
            attempts: 3,
            ..Self::patient()
        }
    }

    /// For a boot, where the network may come up late: about two minutes of failures are waited out (pains 31).
    #[must_use]
    pub fn patient() -> Self {
        Self {
            times: Times {
                connect: Duration::from_secs(15),
                stall: Duration::from_secs(30),
                total: Duration::from_secs(60 * 60),
            },
            attempts: 8,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(30),
            size: 1024 * 1024 * 1024,
            slowest: 1024,
            window: Duration::from_secs(60),
            progress: Duration::from_secs(5),
        }
    }

    /// For a shutdown, where there is a copy to fall back to: one attempt of 2 s in all (pains 9, 32).
    #[must_use]
    pub fn hasty() -> Self {
        let two = Duration::from_secs(2);
        Self {
            times: Times {
                connect: two,
                stall: two,
                total: two,
            },
            attempts: 1,
            ..Self::patient()
        }
    }
}

/// Who says what the `Authorization` header is: the metadata client's token, or none on a VM without a service account.
pub type Authorization<'a> = &'a (dyn Fn() -> Result<Option<String>, String> + Sync);

/// Why a script was not fetched.
#[derive(Debug, Error)]
pub enum FetchError {
    /// No answer.
    #[error("{0}")]
    Web(#[from] WebError),
    /// An answer without the script.
    #[error("the server answered {status}{}", meaning(*.status))]
    Status {
        /// Its status.
        status: u16,
        /// How long it asks to wait before the next try.
        retry_after: Option<Duration>,
    },
    /// More redirects than are followed.
    #[error("it is redirected more than {REDIRECTS} times")]
    Redirects,
    /// A redirect to where we do not go.
    #[error("it is redirected to {to}, which is not followed: {source}")]
    Redirect {
        /// The target, as it may be shown.
        to: String,
        /// What is wrong with it.
        source: SourceError,
    },
    /// It is larger than the limit.
    #[error("it is larger than {} MiB", .0 / 1024 / 1024)]
    TooLarge(u64),
    /// The body does not come, or too slowly.
    #[error("the download stalled after {0} bytes")]
    Stalled(u64),
    /// The connection ended in the middle of the body.
    #[error("the connection broke after {bytes} bytes: {source}")]
    Broken {
        /// How much came.
        bytes: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The body is shorter than the answer promised.
    #[error("only {got} of {promised} bytes came")]
    Short {
        /// How much came.
        got: u64,
        /// `Content-Length`.
        promised: u64,
    },
    /// It is compressed for the transport, which was not asked for.
    #[error("it is sent with Content-Encoding {0}, which was not asked for")]
    Encoded(String),
    /// It cannot be kept.
    #[error("it cannot be written: {0}; another place is set by MetadataScripts.run_dir")]
    Write(io::Error),
    /// Neither with the token nor without it.
    #[error("with the token: {with}; without it: {without}")]
    Both {
        /// What the first try met.
        with: Box<FetchError>,
        /// What the second try met.
        without: Box<FetchError>,
    },
}

fn meaning(status: u16) -> &'static str {
    match status {
        401 => " (not authorised)",
        403 => " (forbidden: may the VM's service account, and its scopes, read it?)",
        404 => " (there is no such object)",
        429 => " (too many requests)",
        500.. => " (its own failure)",
        _ => "",
    }
}

impl FetchError {
    fn is_transient(&self) -> bool {
        match self {
            Self::Web(error) => error.is_transient(),
            Self::Status { status, .. } => *status >= 500 || matches!(status, 408 | 429),
            Self::Stalled(_) | Self::Broken { .. } | Self::Short { .. } => true,
            _ => false,
        }
    }

    /// How long the server asks to wait. One that is overloaded or being mended knows best (RFC 9110 10.2.3).
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status {
                status: 429 | 503,
                retry_after,
            } => *retry_after,
            _ => None,
        }
    }

    /// Whether the same request without the token may have another answer.
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Status { status, .. } if (400..500).contains(status))
            && !self.is_transient()
    }
}

/// A fetch of one script.
#[derive(Clone, Copy)]
pub struct Fetch<'a> {
    /// The name under which is logged.
    pub logger: &'a str,
    /// The metadata key, for messages.
    pub key: &'a str,
    /// How patient it is.
    pub limits: &'a Limits,
    /// Where the token comes from.
    pub authorization: Authorization<'a>,
}

impl Fetch<'_> {
    /// Fetches into an empty file. Returns the number of bytes.
    ///
    /// # Errors
    /// Each [`FetchError`]: that of the last attempt. The file then holds whatever came.
    pub fn run(&self, source: &Source, file: &mut GrowingFile) -> Result<u64, FetchError> {
        let logger = self.logger;
        let web = Web::new(self.limits.times);
        let token = match source {
            Source::Plain { .. } => None,
            Source::Storage { .. } => self.token(),
        };
        let Some(token) = token else {
            info!(target: logger, "Downloading url from {source}.");
            return self.attempts(&web, source, None, file);
        };
        info!(target: logger, "Downloading url from {source} using authentication token.");
        match self.attempts(&web, source, Some(&token), file) {
            Err(with) if with.is_refusal() => {
                info!(target: logger, "{}: {with}. Attempting unauthenticated download.", self.key);
                self.attempts(&web, source, None, file)
                    .map_err(|without| FetchError::Both {
                        with: Box::new(with),
                        without: Box::new(without),
                    })
            }
            result => result,
        }
    }

    fn token(&self) -> Option<String> {
        let why = match (self.authorization)() {
            Ok(Some(token)) => return Some(token),
            Ok(None) => String::new(),
            Err(why) => format!(" ({why})"),
        };
        info!(
            target: self.logger,
            "Authentication token not found{why}. Attempting unauthenticated download."
        );
        None
    }

    fn attempts(
        &self,
        web: &Web,
        source: &Source,
        token: Option<&str>,
        file: &mut GrowingFile,
    ) -> Result<u64, FetchError> {
        let mut wait = self.limits.first_wait;
        let mut attempt = 1;
        loop {
            file.restart().map_err(FetchError::Write)?;
            match self.attempt(web, source.address(), token, file) {
                Err(error) if error.is_transient() && attempt < self.limits.attempts => {
                    let pause = wait
                        .mul_f64(1.0 + fastrand::f64())
                        .min(self.limits.longest_wait);
                    let pause = error
                        .retry_after()
                        .map_or(pause, |asked| asked.clamp(pause, LONGEST_ASKED.max(pause)));
                    warn!(
                        target: self.logger,
                        "Could not download {source}. {error}. Attempt {} of {} follows in {:.1} s.",
                        attempt + 1, self.limits.attempts, pause.as_secs_f32()
                    );
                    std::thread::sleep(pause);
                    wait = (wait * 2).min(self.limits.longest_wait);
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    /// One attempt, with its redirects.
    fn attempt(
        &self,
        web: &Web,
        address: &str,
        token: Option<&str>,
        file: &mut GrowingFile,
    ) -> Result<u64, FetchError> {
        let mut answer = web.get(address, token)?;
        let mut address = address.to_owned();
        for _ in 0..REDIRECTS {
            let location = match (answer.status, &answer.location) {
                (301 | 302 | 303 | 307 | 308, Some(location)) => location,
                (200, _) => return self.receive(answer, file),
                _ => return Err(refused(&answer)),
            };
            address = redirected(&address, location).map_err(|source| FetchError::Redirect {
                to: shown(location),
                source,
            })?;
            log::debug!(target: self.logger, "{}: redirected to {}.", self.key, shown(&address));
            // Without the token, wherever it leads: the address was chosen by the server, not by the owner.
            answer = web.get(&address, None)?;
        }
        match answer.status {
            200 => self.receive(answer, file),
            300..400 => Err(FetchError::Redirects),
            _ => Err(refused(&answer)),
        }
    }

    fn receive(&self, answer: Answer, file: &mut GrowingFile) -> Result<u64, FetchError> {
        if let Some(encoding) = answer.encoding {
            return Err(FetchError::Encoded(encoding));
        }
        let promised = answer.length;
        if promised.is_some_and(|length| length > self.limits.size) {
            return Err(FetchError::TooLarge(self.limits.size));
        }
        let mut pace = Pace::new(self, promised);
        let mut body = answer.into_body();
        let mut buffer = vec![0_u8; 64 * 1024];
        loop {
            match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    file.write_all(&buffer[..length])
                        .map_err(FetchError::Write)?;
                    pace.received(length as u64)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return Err(FetchError::Stalled(pace.bytes));
                }
                Err(source) => {
                    return Err(FetchError::Broken {
                        bytes: pace.bytes,
                        source,
                    });
                }
            }
        }
        match promised {
            Some(promised) if promised != pace.bytes => Err(FetchError::Short {
                got: pace.bytes,
                promised,
            }),
            _ => Ok(pace.bytes),
        }
    }
}

fn refused(answer: &Answer) -> FetchError {
    FetchError::Status {
        status: answer.status,
        retry_after: answer.retry_after,
    }
}

/// How a download gets on.
struct Pace<'a> {
    fetch: &'a Fetch<'a>,
    promised: Option<u64>,
    started: Instant,
    bytes: u64,
    told: Instant,
    window: (Instant, u64),
}

impl<'a> Pace<'a> {
    fn new(fetch: &'a Fetch<'a>, promised: Option<u64>) -> Self {
        let now = Instant::now();
        Self {
            fetch,
            promised,
            started: now,
            bytes: 0,
            told: now,
            window: (now, 0),
        }
    }

    fn received(&mut self, length: u64) -> Result<(), FetchError> {
        let limits = self.fetch.limits;
        self.bytes += length;
        if self.bytes > limits.size {
            return Err(FetchError::TooLarge(limits.size));
        }
        let now = Instant::now();
        if now - self.window.0 >= limits.window {
            if self.bytes - self.window.1 < limits.slowest {
                return Err(FetchError::Stalled(self.bytes));
            }
            self.window = (now, self.bytes);
        }
        if now - self.told >= limits.progress {
            self.told = now;
            let mebibytes = |bytes: u64| bytes as f64 / 1024.0 / 1024.0;
            let of = self
                .promised
                .map(|promised| format!(" of {:.1}", mebibytes(promised)))
                .unwrap_or_default();
            info!(
                target: self.fetch.logger,
                "{}: {:.1}{of} MiB downloaded after {:.0} s.",
                self.fetch.key, mebibytes(self.bytes), (now - self.started).as_secs_f32()
            );
        }
        Ok(())
    }
}
