//! One request to the metadata server, and every reason why its answer may not be one.
//!
//! No proxy, no redirects, no names; `Metadata-Flavor: Google` is required in the answer; the body is capped; there is
//! always a deadline (pains 7, 68, 69). Connections are kept alive and used again.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use thiserror::Error;
use ureq::http::{StatusCode, Uri, header};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{NextTimeout, TcpConnector};
use ureq::{Agent, Body, RequestBuilder, Timeout};

use crate::metadata::{Document, Endpoint};

/// The path below which all keys are.
const ROOT: &str = "/computeMetadata/v1/";

/// The header that a request must carry, and that a genuine answer carries.
const FLAVOR: (&str, &str) = ("Metadata-Flavor", "Google");

/// The largest body that is read, in bytes. All metadata of a VM is limited to 512 KiB by Compute Engine.
pub const BODY_LIMIT: u64 = 16 * 1024 * 1024;

/// How much longer than the server the client waits, so that the server's own time-out always comes first.
pub const MARGIN: Duration = Duration::from_secs(10);

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(3);

/// What stays as it is in the path of a URL: RFC 3986's unreserved characters, and the slashes between keys.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// The version of a part of the tree, as the server names it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Etag(String);

impl Etag {
    /// A value that no server gives: asking for a change since then is answered at once.
    #[must_use]
    pub fn none() -> Self {
        Self("0".to_owned())
    }

    /// An etag that somebody has kept. Anything but printable ASCII is as good as [`Etag::none`].
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Self::none();
        }
        Self(text.to_owned())
    }

    /// The text of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Etag {
    fn default() -> Self {
        Self::none()
    }
}

impl fmt::Debug for Etag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// In which form a key is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The value as it is; a directory as the list of its entries.
    #[default]
    Text,
    /// One value as JSON.
    Json,
    /// A directory with all that is below it, as JSON.
    Recursive,
}

/// How a key is asked for.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// The form of the answer.
    pub format: Format,
    /// Wait on the server until the etag is another one, or until the time is over.
    pub wait: Option<(Etag, Duration)>,
    /// Further parameters, such as `audience` for an identity token.
    pub parameters: Vec<(String, String)>,
}

impl Query {
    /// The value as it is.
    #[must_use]
    pub fn text() -> Self {
        Self::default()
    }

    /// One value as JSON.
    #[must_use]
    pub fn json() -> Self {
        Self {
            format: Format::Json,
            ..Self::default()
        }
    }

    /// A directory with all that is below it, as JSON.
    #[must_use]
    pub fn recursive() -> Self {
        Self {
            format: Format::Recursive,
            ..Self::default()
        }
    }

    /// The same as a hanging GET. The server answers when the etag is no longer this one, at the latest after the time
    /// (whole seconds), and then also without a change.
    #[must_use]
    pub fn wait_for_change(mut self, since: Etag, at_most: Duration) -> Self {
        self.wait = Some((since, at_most));
        self
    }

    /// The same with one more parameter.
    #[must_use]
    pub fn with_parameter(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A genuine answer with status 200.
#[derive(Clone)]
pub struct Answer {
    /// The body, as it came.
    pub body: Vec<u8>,
    /// The version of what was asked for; a server that gives none is asked anew each time.
    pub etag: Etag,
}

impl fmt::Debug for Answer {
    /// Values may be secret: only the size is shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Answer {{ {} bytes, etag {} }}",
            self.body.len(),
            self.etag
        )
    }
}

/// Why there is no answer. No variant carries anything of a value.
#[derive(Debug, Error)]
pub enum MetadataError {
    /// The server says that there is no such key. This is an answer, and asking again does not help.
    #[error("there is no metadata key {0}")]
    NotFound(String),
    /// The key is a directory, whose name ends in a slash.
    #[error("metadata key {0} is a directory: ask for {0}/")]
    Directory(String),
    /// No connection to any address of the endpoint came about.
    #[error("cannot reach the metadata server at {address}: {source}")]
    Unreachable {
        /// The last address that was tried.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The connection was there, and the answer did not come, or not whole, within the deadline.
    #[error("the metadata server at {address} did not answer within {} s", .deadline.as_secs_f32())]
    Silent {
        /// The address.
        address: SocketAddr,
        /// The deadline.
        deadline: Duration,
    },
    /// The connection ended before the answer was whole.
    #[error("the connection to the metadata server at {address} broke: {source}")]
    Broken {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A status that is neither success nor "no such key".
    #[error("the metadata server answered {0}")]
    Status(u16),
    /// The answer is not the metadata server's: it lacks `Metadata-Flavor: Google`.
    #[error(
        "the answer of {address} (status {status}) lacks the header Metadata-Flavor: Google; it is not the metadata server's"
    )]
    NotGenuine {
        /// The address.
        address: SocketAddr,
        /// The status of the answer.
        status: u16,
    },
    /// The server sends us elsewhere, where we do not go.
    #[error("the metadata server answered with a redirect ({0}), which is not followed")]
    Redirected(u16),
    /// The body is larger than [`BODY_LIMIT`].
    #[error("the answer of the metadata server is larger than {BODY_LIMIT} bytes")]
    TooLarge,
    /// It is not HTTP, not JSON, or not what was asked for.
    #[error("the answer of the metadata server cannot be read: {0}")]
    Malformed(String),
    /// The name of the key, or of a guest attribute, is not one.
    #[error("{0}")]
    BadKey(String),
}

impl MetadataError {
    /// Whether the same request may succeed later: everything but a client's mistake, and 408, 429 and 5xx of those that
    /// the server reports by status (pains 68).
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NotFound(_) | Self::Directory(_) | Self::BadKey(_) => false,
            Self::Status(status) => *status >= 500 || matches!(status, 408 | 429),
            Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::Broken { .. }
            | Self::NotGenuine { .. }
            | Self::Redirected(_)
            | Self::TooLarge
            | Self::Malformed(_) => true,
        }
    }
}

/// A client of the metadata server. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    endpoint: Endpoint,
    /// The index of the address that worked last: it is tried first.
    preferred: Arc<AtomicUsize>,
    deadline: Duration,
}

impl Client {
    /// A client of the server at an endpoint.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        let config = Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .no_delay(true)
            .user_agent(concat!("gce-guest/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT))
            .max_idle_connections(4)
            .max_idle_connections_per_host(2)
            .build();
        Self {
            agent: Agent::with_parts(config, TcpConnector::default(), Literal),
            endpoint,
            preferred: Arc::new(AtomicUsize::new(0)),
            deadline: MARGIN,
        }
    }

    /// The same with another deadline for requests that do not wait, and for what a hanging GET waits beyond the server.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The same client with connections of its own, so that [`Client::close`] touches nobody else's.
    #[must_use]
    pub fn separate(&self) -> Self {
        Self::new(self.endpoint.clone()).with_deadline(self.deadline)
    }

    /// Ends every request under way, from any thread, and refuses new ones.
    pub fn close(&self) {
        self.agent.clone().shutdown();
    }

    /// Asks for a key, such as `instance/id`, or `instance/attributes/` for a directory. The empty key is the root.
    ///
    /// # Errors
    /// Each [`MetadataError`].
    pub fn get(&self, key: &str, query: &Query) -> Result<Answer, MetadataError> {
        let key = key.trim_start_matches('/');
        let deadline = match &query.wait {
            Some((_, at_most)) => *at_most + self.deadline,
            None => self.deadline,
        };
        let path = path(key, query.format);
        self.at_each_address(|address| {
            let mut request = self.agent.get(format!("http://{address}{path}"));
            for (name, value) in parameters(query) {
                request = request.query(name, value);
            }
            let response = finish(request, deadline).call();
            read(response, address, deadline, key, query.format)
        })
    }

    /// The value of a key, as text.
    ///
    /// # Errors
    /// Each [`MetadataError`]; [`MetadataError::Malformed`] when it is not UTF-8.
    pub fn get_text(&self, key: &str) -> Result<String, MetadataError> {
        String::from_utf8(self.get(key, &Query::text())?.body)
            .map_err(|_| MetadataError::Malformed(format!("{key} is not UTF-8")))
    }

    /// A key with all that is below it.
    ///
    /// # Errors
    /// Each [`MetadataError`].
    pub fn get_json(&self, key: &str) -> Result<Value, MetadataError> {
        json(&self.get(key, &Query::recursive())?)
    }

    /// The whole document.
    ///
    /// # Errors
    /// Each [`MetadataError`]; what only a part of the document lacks is in the document.
    pub fn get_document(&self) -> Result<Document, MetadataError> {
        document(&self.get("", &Query::recursive())?)
    }

    /// Writes a guest attribute. The server takes it only where `enable-guest-attributes` is `TRUE` (spec/beyond.md 11).
    ///
    /// # Errors
    /// Each [`MetadataError`]; `Status(403)` where guest attributes are off.
    pub fn put_guest_attribute(
        &self,
        namespace: &str,
        key: &str,
        value: &str,
    ) -> Result<(), MetadataError> {
        for name in [namespace, key] {
            if name.is_empty() || name.contains('/') {
                return Err(MetadataError::BadKey(format!(
                    "\"{name}\" is no part of a guest attribute's name: it is NAMESPACE/KEY"
                )));
            }
        }
        let key = format!("instance/guest-attributes/{namespace}/{key}");
        let path = path(&key, Format::Text);
        let deadline = self.deadline;
        self.at_each_address(|address| {
            let request = self.agent.put(format!("http://{address}{path}"));
            let response = finish(request, deadline).send(value);
            read(response, address, deadline, &key, Format::Text).map(drop)
        })
    }

    /// Tries the address that worked last, then, only where no connection comes about, the others.
    fn at_each_address<T>(
        &self,
        request: impl Fn(SocketAddr) -> Result<T, MetadataError>,
    ) -> Result<T, MetadataError> {
        let addresses: Vec<SocketAddr> = self.endpoint.addresses().collect();
        let first = self.preferred.load(Ordering::Relaxed);
        let mut index = first;
        loop {
            let result = request(addresses[index]);
            match result {
                Err(MetadataError::Unreachable { .. }) => {
                    let next = (index + 1) % addresses.len();
                    if next == first {
                        return result;
                    }
                    index = next;
                }
                _ => {
                    if result.is_ok() {
                        self.preferred.store(index, Ordering::Relaxed);
                    }
                    return result;
                }
            }
        }
    }
}

impl Default for Client {
    /// A client of Compute Engine's server.
    fn default() -> Self {
        Self::new(Endpoint::default())
    }
}

/// The JSON of an answer.
///
/// # Errors
/// [`MetadataError::Malformed`], with the place but not the text.
pub fn json(answer: &Answer) -> Result<Value, MetadataError> {
    serde_json::from_slice(&answer.body).map_err(|error| {
        MetadataError::Malformed(format!(
            "it is not JSON (line {}, column {})",
            error.line(),
            error.column()
        ))
    })
}

/// The document of an answer for the root.
///
/// # Errors
/// [`MetadataError::Malformed`] when it is not a JSON object.
pub fn document(answer: &Answer) -> Result<Document, MetadataError> {
    let value = json(answer)?;
    if !value.is_object() {
        return Err(MetadataError::Malformed("it is not a JSON object".into()));
    }
    Ok(Document::parse(&value))
}

/// The path of a key. A recursive request is for a directory, whose name ends in a slash (spec/core.md 5.1).
fn path(key: &str, format: Format) -> String {
    let slash = match format {
        Format::Recursive if !key.is_empty() && !key.ends_with('/') => "/",
        _ => "",
    };
    format!("{ROOT}{}{slash}", utf8_percent_encode(key, PATH))
}

/// The parameters of the URL, in the predecessors' order.
fn parameters(query: &Query) -> Vec<(&str, String)> {
    let mut parameters = Vec::new();
    match query.format {
        Format::Text => {}
        Format::Json => parameters.push(("alt", "json".to_owned())),
        Format::Recursive => {
            parameters.push(("alt", "json".to_owned()));
            parameters.push(("recursive", "true".to_owned()));
        }
    }
    if let Some((etag, at_most)) = &query.wait {
        parameters.push(("last_etag", etag.0.clone()));
        parameters.push(("timeout_sec", at_most.as_secs().to_string()));
        parameters.push(("wait_for_change", "true".to_owned()));
    }
    let further = query.parameters.iter();
    parameters.extend(further.map(|(name, value)| (name.as_str(), value.clone())));
    parameters
}

/// What every request has.
fn finish<B>(request: RequestBuilder<B>, deadline: Duration) -> RequestBuilder<B> {
    request
        .header(FLAVOR.0, FLAVOR.1)
        .config()
        .timeout_global(Some(deadline))
        .build()
}

/// Judges an answer: first where it comes from and its status, then its form, and only then its body.
fn read(
    response: Result<ureq::http::Response<Body>, ureq::Error>,
    address: SocketAddr,
    deadline: Duration,
    key: &str,
    format: Format,
) -> Result<Answer, MetadataError> {
    let mut response = response.map_err(|error| failure(error, address, deadline))?;
    let status = response.status();
    judge(status, response.headers(), address, key)?;
    let header = |name: header::HeaderName| response.headers().get(name)?.to_str().ok();
    if format != Format::Text
        && !header(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json"))
    {
        return Err(MetadataError::Malformed(
            "its content type is not application/json".into(),
        ));
    }
    // A body that ends with the connection cannot be told from half a body.
    if header(header::CONTENT_LENGTH).is_none() && header(header::TRANSFER_ENCODING).is_none() {
        return Err(MetadataError::Malformed(
            "it does not say how long it is".into(),
        ));
    }
    let etag = header(header::ETAG).map_or_else(Etag::none, Etag::from_text);
    let body = response.body_mut().with_config().limit(BODY_LIMIT);
    let body = body
        .read_to_vec()
        .map_err(|error| failure(error, address, deadline))?;
    Ok(Answer { body, etag })
}

/// What status and headers say. Only success comes back as such.
fn judge(
    status: StatusCode,
    headers: &header::HeaderMap,
    address: SocketAddr,
    key: &str,
) -> Result<(), MetadataError> {
    let code = status.as_u16();
    let genuine = headers
        .get(FLAVOR.0)
        .is_some_and(|flavor| flavor == FLAVOR.1);
    if status.is_server_error() || matches!(code, 408 | 429) {
        return Err(MetadataError::Status(code));
    }
    if !genuine {
        return Err(MetadataError::NotGenuine {
            address,
            status: code,
        });
    }
    if status.is_redirection() {
        let location = headers.get(header::LOCATION);
        let to_directory = location
            .and_then(|value| value.to_str().ok())
            .and_then(|location| location.split('?').next())
            .is_some_and(|location| location.ends_with(&format!("{}/", path(key, Format::Text))));
        return Err(match (code, to_directory) {
            (301, true) => MetadataError::Directory(key.to_owned()),
            _ => MetadataError::Redirected(code),
        });
    }
    match code {
        200 => Ok(()),
        404 => Err(MetadataError::NotFound(key.to_owned())),
        _ => Err(MetadataError::Status(code)),
    }
}

/// What a failure of the HTTP client means here.
fn failure(error: ureq::Error, address: SocketAddr, deadline: Duration) -> MetadataError {
    match error {
        ureq::Error::Timeout(Timeout::Connect) => MetadataError::Unreachable {
            address,
            source: io::ErrorKind::TimedOut.into(),
        },
        ureq::Error::Timeout(_) => MetadataError::Silent { address, deadline },
        ureq::Error::BodyExceedsLimit(_) => MetadataError::TooLarge,
        ureq::Error::Io(source) => match source.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::TimedOut => MetadataError::Unreachable { address, source },
            // A system without IPv6 says so in its own way.
            _ if source.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
                MetadataError::Unreachable { address, source }
            }
            _ => MetadataError::Broken { address, source },
        },
        other => MetadataError::Malformed(other.to_string()),
    }
}

/// Takes the address out of the URL and never asks anybody for one.
#[derive(Debug)]
struct Literal;

impl Resolver for Literal {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let address = authority
            .parse::<SocketAddr>()
            .map_err(|_| ureq::Error::HostNotFound)?;
        let mut addresses = self.empty();
        addresses.push(address);
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_paths() {
        for (key, format, expected) in [
            ("", Format::Recursive, "/computeMetadata/v1/"),
            (
                "instance/id",
                Format::Text,
                "/computeMetadata/v1/instance/id",
            ),
            (
                "instance/disks",
                Format::Recursive,
                "/computeMetadata/v1/instance/disks/",
            ),
            (
                "instance/disks/",
                Format::Recursive,
                "/computeMetadata/v1/instance/disks/",
            ),
            (
                "instance/attributes/a b?c",
                Format::Json,
                "/computeMetadata/v1/instance/attributes/a%20b%3Fc",
            ),
        ] {
            assert_eq!(path(key, format), expected);
        }
    }

    #[test]
    fn parameters_are_those_of_the_predecessors() {
        let query = Query::recursive()
            .wait_for_change(Etag::from_text("abc"), Duration::from_millis(75_500))
            .with_parameter("audience", "x y");
        let words: Vec<String> = parameters(&query)
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            words.join("&"),
            "alt=json&recursive=true&last_etag=abc&timeout_sec=75&wait_for_change=true&audience=x y"
        );
        assert!(parameters(&Query::text()).is_empty());
    }

    #[test]
    fn an_etag_that_could_break_a_request_is_none() {
        assert_eq!(Etag::from_text("5bf7d4a2").as_str(), "5bf7d4a2");
        for bad in ["", "a b", "a\r\nX: y", "é"] {
            assert_eq!(Etag::from_text(bad), Etag::none(), "{bad:?}");
        }
    }

    fn judged(status: u16, flavor: Option<&'static str>, location: Option<&'static str>) -> String {
        let mut headers = header::HeaderMap::new();
        if let Some(flavor) = flavor {
            headers.insert("metadata-flavor", flavor.parse().unwrap());
        }
        if let Some(location) = location {
            headers.insert(header::LOCATION, location.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        match judge(status, &headers, address, "instance/disks") {
            Ok(()) => "ok".into(),
            Err(error) => format!("{error:?}")
                .split([' ', '('])
                .next()
                .unwrap()
                .into(),
        }
    }

    #[test]
    fn status_and_flavor_decide_before_the_body() {
        let google = Some("Google");
        let directory =
            Some("http://metadata.google.internal/computeMetadata/v1/instance/disks/?a=b");
        for (status, flavor, location, expected) in [
            (200, google, None, "ok"),
            (200, None, None, "NotGenuine"),
            (200, Some("google"), None, "NotGenuine"),
            (404, google, None, "NotFound"),
            (404, None, None, "NotGenuine"),
            (503, None, None, "Status"),
            (429, None, None, "Status"),
            (403, google, None, "Status"),
            (204, google, None, "Status"),
            (301, google, directory, "Directory"),
            (302, google, directory, "Redirected"),
            (301, google, Some("http://evil.example/"), "Redirected"),
            (301, None, directory, "NotGenuine"),
        ] {
            assert_eq!(
                judged(status, flavor, location),
                expected,
                "{status} {flavor:?}"
            );
        }
    }

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        for (status, transient) in [
            (400, false),
            (403, false),
            (408, true),
            (429, true),
            (500, true),
            (503, true),
        ] {
            assert_eq!(
                MetadataError::Status(status).is_transient(),
                transient,
                "{status}"
            );
        }
        assert!(!MetadataError::NotFound("k".into()).is_transient());
        assert!(MetadataError::TooLarge.is_transient());
    }
}
