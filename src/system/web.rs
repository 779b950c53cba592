//! One request to the web, the way this machine is set up for it: its certificate store, the proxies of its environment.
//!
//! Redirects are not followed: the caller sees them and decides. Every step has a time limit. Never used for the metadata
//! server, which is reached without proxies and by its address (`metadata::client`).

use std::io::{self, Read};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use rustls::AlertDescription;
use thiserror::Error;
use ureq::http::{HeaderName, Response, Uri, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, Proxy, Timeout};

use super::{cryptography, environment, http_date, time};

/// How long each step of a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Until the connection is there: name, TCP, proxy, TLS.
    pub connect: Duration,
    /// Until the head of the answer is there, and for each piece of the body.
    pub stall: Duration,
    /// For all of it.
    pub total: Duration,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum WebError {
    /// The host's name cannot be resolved, now.
    #[error("the name {0} cannot be resolved")]
    Name(String),
    /// No connection, or one that broke.
    #[error("the connection failed: {0}")]
    Connection(io::Error),
    /// A step took longer than it may.
    #[error("it took too long to {0}")]
    TimedOut(&'static str),
    /// The other side is not who it must be, or does not speak TLS.
    #[error("no trusted connection: {0}")]
    Tls(String),
    /// The address, the proxy or the answer makes no sense.
    #[error("{0}")]
    Malformed(String),
}

impl WebError {
    /// Whether the same request may succeed in a moment: a network that comes up, a server that restarts.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Name(_) | Self::Connection(_) | Self::TimedOut(_) => true,
            Self::Tls(_) | Self::Malformed(_) => false,
        }
    }
}

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// `Location`, where a redirect leads.
    pub location: Option<String>,
    /// `Content-Length`, in bytes.
    pub length: Option<u64>,
    /// `Retry-After`: how long to wait before the next try.
    pub retry_after: Option<Duration>,
    /// `Content-Encoding`, where the body is not what it stands for.
    pub encoding: Option<String>,
    body: Body,
}

impl Answer {
    /// The body, as it comes. A stall is an error of the kind `TimedOut`.
    pub fn into_body(self) -> impl Read {
        Stalling(self.body.into_with_config().limit(u64::MAX).reader())
    }
}

/// A body whose time limits are told as such, through TLS as well as without.
struct Stalling<R>(R);

impl<R: Read> Read for Stalling<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
            match inner {
                Some(ureq::Error::Timeout(_)) => io::Error::new(io::ErrorKind::TimedOut, error),
                _ => error,
            }
        })
    }
}

/// A client of the web.
#[derive(Debug)]
pub struct Web {
    times: Times,
    certificates: OnceLock<Result<RootCerts, String>>,
}

impl Web {
    /// A client. The certificate store is read when the first https request is made.
    #[must_use]
    pub fn new(times: Times) -> Self {
        Self {
            times,
            certificates: OnceLock::new(),
        }
    }

    /// Asks for an address, with an `Authorization` header where one is given. A redirect is an answer like any other.
    ///
    /// # Errors
    /// Each [`WebError`].
    pub fn get(&self, address: &str, authorization: Option<&str>) -> Result<Answer, WebError> {
        let uri: Uri = address
            .parse()
            .map_err(|error| WebError::Malformed(format!("it is not a URL: {error}")))?;
        let host = uri.host().unwrap_or_default().to_owned();
        let agent = self.agent(&uri)?;
        let mut request = agent.get(address);
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        request
            .call()
            .map(answer)
            .map_err(|error| failure(error, &host))
    }

    fn agent(&self, uri: &Uri) -> Result<Agent, WebError> {
        let secure = uri.scheme_str() == Some("https");
        let mut config = Agent::config_builder()
            .proxy(proxy(uri, secure)?)
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(concat!("gce-guest/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(self.times.total))
            .timeout_connect(Some(self.times.connect))
            .timeout_recv_response(Some(self.times.stall))
            .timeout_per_read(Some(self.times.stall))
            .timeout_per_write(Some(self.times.stall));
        if secure {
            let roots = self.certificates.get_or_init(certificates);
            let roots = roots.clone().map_err(WebError::Tls)?;
            let tls = TlsConfig::builder()
                .root_certs(roots)
                .unversioned_rustls_crypto_provider(Arc::new(cryptography::provider()));
            config = config.tls_config(tls.build());
        }
        Ok(config.build().new_agent())
    }
}

/// The system's certificate store, or what keeps us from reading it.
fn certificates() -> Result<RootCerts, String> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why = found.errors.first().map(ToString::to_string);
        return Err(format!(
            "there is no certificate store (install ca-certificates){}",
            why.map(|why| format!(": {why}")).unwrap_or_default()
        ));
    }
    let certificates: Vec<Certificate<'static>> = found
        .certs
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned())
        .collect();
    Ok(RootCerts::from(certificates.into_iter()))
}

/// The proxy that the environment names for a URL, if any: `https_proxy`, `http_proxy`, `all_proxy`, and `no_proxy` for
/// hosts without one; small letters before capitals, as curl does it.
fn proxy(uri: &Uri, secure: bool) -> Result<Option<Proxy>, WebError> {
    let by_scheme: [&str; 2] = if secure {
        ["https_proxy", "HTTPS_PROXY"]
    } else {
        ["http_proxy", "HTTP_PROXY"]
    };
    let named = by_scheme
        .into_iter()
        .chain(["all_proxy", "ALL_PROXY"])
        .find_map(|name| Some((name, environment::variable(name)?.into_string().ok()?)));
    let Some((name, value)) = named else {
        return Ok(None);
    };
    let excepted = Proxy::try_from_env().is_some_and(|proxy| proxy.is_no_proxy(uri));
    if excepted {
        return Ok(None);
    }
    // The value may hold a password, so it is not shown.
    Proxy::new(&value).map(Some).map_err(|_| {
        WebError::Malformed(format!(
            "the value of {name} in the environment is no proxy"
        ))
    })
}

fn answer(response: Response<Body>) -> Answer {
    let text = |name: HeaderName| {
        let value = response.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    Answer {
        status: response.status().as_u16(),
        location: text(header::LOCATION),
        length: text(header::CONTENT_LENGTH).and_then(|length| length.trim().parse().ok()),
        retry_after: text(header::RETRY_AFTER).and_then(|value| retry_after(&value, time::now())),
        encoding: text(header::CONTENT_ENCODING)
            .filter(|encoding| !encoding.eq_ignore_ascii_case("identity")),
        body: response.into_body(),
    }
}

/// The time that a server asks for: seconds, or a date (RFC 9110 10.2.3).
fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = http_date::parse(value)?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

fn failure(error: ureq::Error, host: &str) -> WebError {
    match error {
        ureq::Error::HostNotFound => WebError::Name(host.to_owned()),
        ureq::Error::Timeout(step) => WebError::TimedOut(match step {
            Timeout::Resolve | Timeout::Connect => "connect",
            Timeout::Global => "finish",
            _ => "answer",
        }),
        ureq::Error::Rustls(error) => WebError::Tls(untrusted(&error)),
        ureq::Error::Tls(text) => WebError::Tls(text.to_owned()),
        ureq::Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(inner) => WebError::Tls(untrusted(inner)),
            None if error.kind() == io::ErrorKind::TimedOut => WebError::TimedOut("answer"),
            None if is_of_the_name(&error) => WebError::Name(host.to_owned()),
            None => WebError::Connection(error),
        },
        ureq::Error::ConnectionFailed => {
            WebError::Connection(io::ErrorKind::ConnectionRefused.into())
        }
        other => WebError::Malformed(other.to_string()),
    }
}

/// getaddrinfo(3) has no error kind of its own in the standard library.
fn is_of_the_name(error: &io::Error) -> bool {
    error.raw_os_error().is_none() && error.to_string().contains("address information")
}

/// What is wrong with the other side, in words.
fn untrusted(error: &rustls::Error) -> String {
    use rustls::CertificateError as Wrong;
    match error {
        rustls::Error::InvalidCertificate(Wrong::UnknownIssuer) => {
            "the certificate is signed by nobody in the system's certificate store".into()
        }
        rustls::Error::InvalidCertificate(Wrong::Expired | Wrong::ExpiredContext { .. }) => {
            "the certificate has expired, or the clock of this machine is wrong".into()
        }
        rustls::Error::InvalidCertificate(
            Wrong::NotValidYet | Wrong::NotValidYetContext { .. },
        ) => "the certificate is not valid yet, or the clock of this machine is wrong".into(),
        rustls::Error::InvalidCertificate(
            Wrong::NotValidForName | Wrong::NotValidForNameContext { .. },
        ) => "the certificate is for another name".into(),
        // What a server says that has no cipher in common with us, or that wants a certificate of ours in TLS 1.2.
        rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            "the server refuses the handshake: have it allow AES-GCM (TLS_AES_128_GCM_SHA256 of TLS 1.3, or ECDHE and \
             AES-GCM of TLS 1.2), and ask for no certificate of its clients"
                .into()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now: Timestamp = "1994-11-06T08:49:00Z".parse().unwrap();
        for (value, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("-5", None),
            ("", None),
        ] {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(value, now), expected, "{value}");
        }
    }
}
