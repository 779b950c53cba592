//! HTTP/1.1 as far as a metadata server needs it: bytes to requests, answers to bytes. Pure.

use std::fmt::Write;

use percent_encoding::percent_decode_str;

/// The largest head of a request, in bytes.
pub const HEAD_LIMIT: usize = 64 * 1024;

/// The largest body of a request, in bytes. A guest attribute has at most 256 KiB.
pub const BODY_LIMIT: usize = 1024 * 1024;

/// One request, whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// In capitals, as it came.
    pub method: String,
    /// The path with its slashes, not decoded.
    pub path: String,
    /// The parameters, decoded, in their order.
    pub parameters: Vec<(String, String)>,
    /// The part of the target from the question mark on, as it came.
    pub query: String,
    /// Names in lower case, values as they came.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the connection stays open after the answer.
    pub keep_alive: bool,
}

impl Request {
    /// The value of a header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The value of a parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self
            .parameters
            .iter()
            .find(|(parameter, _)| parameter == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether a parameter says yes, in any case.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.parameter(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}

/// What the bytes that have come so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Not yet a whole request. `expects` says that the client waits for `100 Continue` before it sends the body.
    Partial {
        /// Whether the head is there, with `Expect: 100-continue`, and the body is not.
        expects: bool,
    },
    /// A request, and how many bytes it took.
    Whole(Box<Request>, usize),
    /// Nothing that could be served: the status to answer with before the connection is closed.
    Refused(u16),
}

/// Reads one request from the bytes that have come so far.
#[must_use]
pub fn parse(bytes: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut head = httparse::Request::new(&mut headers);
    let length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= HEAD_LIMIT => length,
        Ok(httparse::Status::Partial) if bytes.len() <= HEAD_LIMIT => {
            return Parsed::Partial { expects: false };
        }
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Parsed::Refused(431),
        Err(_) => return Parsed::Refused(400),
    };
    let Some(mut request) = request(&head) else {
        return Parsed::Refused(400);
    };
    if request.header("transfer-encoding").is_some() {
        return Parsed::Refused(411);
    }
    let body_length: usize = match request.header("content-length").map(str::parse) {
        None => 0,
        Some(Ok(length)) => length,
        Some(Err(_)) => return Parsed::Refused(400),
    };
    if body_length > BODY_LIMIT {
        return Parsed::Refused(413);
    }
    let Some(body) = bytes.get(length..length + body_length) else {
        let expects = request
            .header("expect")
            .is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));
        return Parsed::Partial { expects };
    };
    request.body = body.to_vec();
    Parsed::Whole(Box::new(request), length + body_length)
}

fn request(head: &httparse::Request<'_, '_>) -> Option<Request> {
    let target = head.path?;
    // The absolute form, as clients send it to a proxy, means the same.
    let target = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        None => target,
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: Vec<(String, String)> = head
        .headers
        .iter()
        .map(|header| {
            let value = String::from_utf8_lossy(header.value).into_owned();
            (header.name.to_ascii_lowercase(), value)
        })
        .collect();
    let mut request = Request {
        method: head.method?.to_owned(),
        path: path.to_owned(),
        parameters: parameters(query),
        query: if query.is_empty() {
            String::new()
        } else {
            format!("?{query}")
        },
        headers,
        body: Vec::new(),
        keep_alive: false,
    };
    let connection = request
        .header("connection")
        .unwrap_or_default()
        .to_ascii_lowercase();
    request.keep_alive = match head.version? {
        0 => connection.contains("keep-alive"),
        _ => !connection.contains("close"),
    };
    Some(request)
}

fn parameters(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The type of the body.
    pub content_type: &'static str,
    /// The version of what is answered.
    pub etag: Option<String>,
    /// What `Metadata-Flavor` says; a genuine server says `Google`.
    pub flavor: Option<&'static str>,
    /// Where a redirect leads.
    pub location: Option<String>,
    /// The body.
    pub body: Vec<u8>,
    /// What `Content-Length` says when it is not the length of the body.
    pub claimed_length: Option<usize>,
}

impl Response {
    /// An answer with a body.
    #[must_use]
    pub fn new(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            content_type,
            etag: None,
            flavor: Some("Google"),
            location: None,
            body: body.into(),
            claimed_length: None,
        }
    }

    /// A text, as the real server labels it.
    #[must_use]
    pub fn text(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200, "application/text", body)
    }

    /// JSON.
    #[must_use]
    pub fn json(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200, "application/json", body)
    }

    /// An error that says something.
    #[must_use]
    pub fn error(status: u16, text: &str) -> Self {
        let body = format!("Error {status} ({}): {text}\n", reason(status));
        Self::new(status, "text/html; charset=UTF-8", body)
    }

    /// The same with a version.
    #[must_use]
    pub fn with_etag(mut self, etag: Option<String>) -> Self {
        self.etag = etag;
        self
    }

    /// The bytes of it. `closing` tells the client that no other answer follows; `head_only` leaves the body out.
    #[must_use]
    pub fn bytes(&self, closing: bool, head_only: bool) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        let mut header = |name: &str, value: &str| {
            // Writing to a String cannot fail.
            let _ = write!(head, "{name}: {value}\r\n");
        };
        if let Some(flavor) = self.flavor {
            header("Metadata-Flavor", flavor);
        }
        header("Content-Type", self.content_type);
        if let Some(etag) = &self.etag {
            header("ETag", etag);
        }
        if let Some(location) = &self.location {
            header("Location", location);
        }
        header("Server", "Metadata Server for VM");
        header("X-XSS-Protection", "0");
        header("X-Frame-Options", "SAMEORIGIN");
        if closing {
            header("Connection", "close");
        }
        let length = self.claimed_length.unwrap_or(self.body.len());
        header("Content-Length", &length.to_string());
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if !head_only {
            bytes.reserve_exact(self.body.len());
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(text: &str) -> Request {
        match parse(text.as_bytes()) {
            Parsed::Whole(request, length) => {
                assert_eq!(length, text.len());
                *request
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn requests_are_read() {
        let request = whole(
            "GET /computeMetadata/v1/?alt=json&last_etag=a%20b+c&x HTTP/1.1\r\nHost: h\r\nMetadata-Flavor: Google\r\n\r\n",
        );
        assert_eq!(
            (request.method.as_str(), request.path.as_str()),
            ("GET", "/computeMetadata/v1/")
        );
        assert_eq!(request.parameter("last_etag"), Some("a b c"));
        assert_eq!(request.parameter("x"), Some(""));
        assert_eq!(request.header("metadata-flavor"), Some("Google"));
        assert!(request.keep_alive);
        let request = whole("PUT http://h/a HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(
            (request.path.as_str(), request.body.as_slice()),
            ("/a", &b"abc"[..])
        );
        assert!(!request.keep_alive);
    }

    #[test]
    fn what_is_no_request_gets_a_status() {
        for (text, expected) in [
            ("GET / HTTP/1.1\r\n", Parsed::Partial { expects: false }),
            (
                "PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab",
                Parsed::Partial { expects: false },
            ),
            (
                "PUT / HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-Continue\r\n\r\n",
                Parsed::Partial { expects: true },
            ),
            (
                "PUT / HTTP/1.1\r\nContent-Length: 10485760\r\n\r\n",
                Parsed::Refused(413),
            ),
            (
                "PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                Parsed::Refused(400),
            ),
            (
                "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
                Parsed::Refused(411),
            ),
            ("\u{1}\u{2}\u{3} what\r\n\r\n", Parsed::Refused(400)),
            ("GET / HTTP/9\r\n\r\n", Parsed::Refused(400)),
        ] {
            assert_eq!(parse(text.as_bytes()), expected, "{text:?}");
        }
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(HEAD_LIMIT));
        assert_eq!(parse(long.as_bytes()), Parsed::Refused(431));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101));
        assert_eq!(parse(many.as_bytes()), Parsed::Refused(431));
    }

    #[test]
    fn an_answer_is_what_it_says() {
        let answer = Response::text("body").with_etag(Some("e".into()));
        let text = String::from_utf8(answer.bytes(true, false)).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 200 OK\r\nMetadata-Flavor: Google\r\n"),
            "{text}"
        );
        assert!(
            text.contains("\r\nETag: e\r\n") && text.contains("\r\nConnection: close\r\n"),
            "{text}"
        );
        assert!(text.ends_with("Content-Length: 4\r\n\r\nbody"), "{text}");
        assert!(
            String::from_utf8(answer.bytes(false, true))
                .unwrap()
                .ends_with("Content-Length: 4\r\n\r\n")
        );
    }

    proptest! {
        #[test]
        fn every_sequence_of_bytes_is_something(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn every_damaged_request_is_something(at in 0_usize..80, byte in any::<u8>()) {
            let mut bytes = b"PUT /computeMetadata/v1/a?b=%41 HTTP/1.1\r\nContent-Length: 3\r\nExpect: x\r\n\r\nabc".to_vec();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            let _ = parse(&bytes);
        }
    }
}
