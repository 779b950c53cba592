//! One request to the metadata server, and the judgement of what comes back.
//!
//! No proxy, no redirects, no names; `Metadata-Flavor: Google` is required in the answer; the body is capped; there is
//! always a deadline (pains 7, 68, 69). Connections are kept alive and used again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use ureq::http::{StatusCode, Uri, header};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{NextTimeout, TcpConnector};
use ureq::{Agent, Body, RequestBuilder};

use crate::metadata::document::Document;
use crate::metadata::endpoint::Endpoint;
use crate::metadata::error::{self, BODY_LIMIT, MetadataError};
use crate::metadata::question::{Answer, Etag, Format, Query, parameters, path};

/// The header that a request must carry, and that a genuine answer carries.
const FLAVOR: (&str, &str) = ("Metadata-Flavor", "Google");

/// How much longer than the server the client waits, so that the server's own time-out always comes first.
pub const MARGIN: Duration = Duration::from_secs(10);

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(3);

/// The buffers of a connection, in bytes, which ureq fills with zeros first. A whole request and the head of an answer must
/// each fit into one; the body of an answer comes in pieces.
const REQUEST_BUFFER: usize = 8 * 1024;
const ANSWER_BUFFER: usize = 16 * 1024;

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
            .output_buffer_size(REQUEST_BUFFER)
            .input_buffer_size(ANSWER_BUFFER)
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

    /// The same client with connections of its own, so that [`Client::close`] touches nobody else's. Which address works is
    /// known to both.
    #[must_use]
    pub fn separate(&self) -> Self {
        Self {
            preferred: Arc::clone(&self.preferred),
            ..Self::new(self.endpoint.clone()).with_deadline(self.deadline)
        }
    }

    /// The address that answered last; before any answer, the one that is asked first.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let mut addresses = self.endpoint.addresses();
        let preferred = addresses.nth(self.preferred.load(Ordering::Relaxed));
        preferred.unwrap_or_else(|| self.endpoint.first())
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
        self.at_each_address(&|address| {
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
        self.get(key, &Query::recursive())?.json()
    }

    /// The whole document.
    ///
    /// # Errors
    /// Each [`MetadataError`]; what only a part of the document lacks is in the document.
    pub fn get_document(&self) -> Result<Document, MetadataError> {
        self.get("", &Query::recursive())?.document()
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
        self.at_each_address(&|address| {
            let request = self.agent.put(format!("http://{address}{path}"));
            let response = finish(request, deadline).send(value);
            read(response, address, deadline, &key, Format::Text)
        })
        .map(drop)
    }

    /// Tries the address that worked last, then, only where no connection comes about, the others.
    fn at_each_address(
        &self,
        request: &dyn Fn(SocketAddr) -> Result<Answer, MetadataError>,
    ) -> Result<Answer, MetadataError> {
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
    let mut response = response.map_err(|error| error::failure(error, address, deadline))?;
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
    let length = header(header::CONTENT_LENGTH);
    if length.is_none() && header(header::TRANSFER_ENCODING).is_none() {
        return Err(MetadataError::Malformed(
            "it does not say how long it is".into(),
        ));
    }
    let length = length.and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > BODY_LIMIT) {
        return Err(MetadataError::TooLarge);
    }
    let etag = header(header::ETAG).map_or_else(Etag::none, Etag::from_text);
    let date = header(header::DATE).map(String::from);
    let body = response.body_mut().with_config().limit(BODY_LIMIT);
    let body = body
        .read_to_vec()
        .map_err(|error| error::failure(error, address, deadline))?;
    Ok(Answer { body, etag, date })
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
}
