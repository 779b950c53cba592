//! Where a script comes from: the forms of its URL, as a table. Pure (spec/core.md 10.3, spec/beyond.md 18).
//!
//! A URL that names an object of Cloud Storage, in any form that a predecessor knew, becomes one canonical address: https,
//! the storage host, bucket and object in the path. That is the only address to which the VM's token is ever sent.
//! Everything else is plain: fetched as it is, over http or https, without a token.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use thiserror::Error;

/// The universe of Google's own cloud: the domain below which its services are.
pub const UNIVERSE: &str = "googleapis.com";

/// What stays as it is in the name of an object within a path: RFC 3986's unreserved characters, and slashes.
const OBJECT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// What stays as it is in something that is a URL already: every character that RFC 3986 allows in one, and `%`.
const URL: &AsciiSet = &OBJECT
    .remove(b'%')
    .remove(b':')
    .remove(b'?')
    .remove(b'[')
    .remove(b']')
    .remove(b'@')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=');

/// Where a script is fetched from.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// An object of Cloud Storage: the token may be sent to this address.
    Storage {
        /// `https://storage.UNIVERSE/BUCKET/OBJECT`, percent-encoded.
        address: String,
    },
    /// Anything else, without a token.
    Plain {
        /// An http or https URL, percent-encoded, without its fragment.
        address: String,
    },
}

/// Why a URL is not fetched.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SourceError {
    /// No `scheme://`, or one that no script is fetched by.
    #[error("scripts are fetched from gs://BUCKET/OBJECT, https:// and http:// only")]
    Scheme,
    /// A bucket, or a directory in it.
    #[error("it names a directory: name one object, as in gs://BUCKET/DIRECTORY/SCRIPT")]
    Directory,
    /// `*` or `?` in a `gs://` name.
    #[error("wildcards (* and ?) are not expanded: name one object")]
    Wildcard,
    /// What stands for the bucket is no bucket's name.
    #[error("\"{0}\" is no name of a bucket: 2 or more of a-z, 0-9, '-', '_' and '.'")]
    Bucket(String),
    /// Without a host, or with a control character.
    #[error("it is not a URL")]
    Malformed,
}

impl Source {
    /// Reads the value of a `-url` key, for the universe that metadata names. White space around it does not count.
    ///
    /// # Errors
    /// Each [`SourceError`].
    pub fn parse(text: &str, universe: &str) -> Result<Self, SourceError> {
        let text = text.trim();
        if text.chars().any(char::is_control) {
            return Err(SourceError::Malformed);
        }
        let (scheme, rest) = text.split_once("://").ok_or(SourceError::Scheme)?;
        match scheme.to_ascii_lowercase().as_str() {
            "gs" => {
                let (bucket, object) = rest.split_once('/').unwrap_or((rest, ""));
                check_bucket(bucket)?;
                if object.is_empty() || object.ends_with('/') {
                    return Err(SourceError::Directory);
                }
                if object.contains(['*', '?']) {
                    return Err(SourceError::Wildcard);
                }
                let object = utf8_percent_encode(object, OBJECT).to_string();
                Ok(storage(universe, bucket, &object))
            }
            scheme @ ("http" | "https") => web(scheme, rest, universe),
            _ => Err(SourceError::Scheme),
        }
    }

    /// The address that is asked.
    #[must_use]
    pub fn address(&self) -> &str {
        match self {
            Self::Storage { address } | Self::Plain { address } => address,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&shown(self.address()))
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Storage { .. } => "Storage",
            Self::Plain { .. } => "Plain",
        };
        write!(formatter, "{kind} {{ {self} }}")
    }
}

/// A URL as it may be shown in a log: without a password and without its query, which is where signatures are.
#[must_use]
pub fn shown(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (before_query, query) = match rest.split_once('?') {
        Some((before, _)) => (before, "?..."),
        None => (rest, ""),
    };
    let (authority, path) = split_authority(before_query);
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}{query}")
}

/// The address of a redirect, as it stands in a `Location`, seen from the address that gave it. Only http and https, and
/// never from https to http.
///
/// # Errors
/// [`SourceError::Scheme`], [`SourceError::Malformed`].
pub fn redirected(from: &str, location: &str) -> Result<String, SourceError> {
    let location = location.trim();
    let (scheme, rest) = from.split_once("://").ok_or(SourceError::Malformed)?;
    let (authority, path) = split_authority(rest);
    let target = if location.contains("://") {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{scheme}://{authority}{directory}/{location}")
    };
    let (to, rest) = target.split_once("://").ok_or(SourceError::Malformed)?;
    let to = to.to_ascii_lowercase();
    let downgraded = scheme == "https" && to == "http";
    if downgraded || !matches!(to.as_str(), "http" | "https") {
        return Err(SourceError::Scheme);
    }
    plain(&to, rest)
}

fn web(scheme: &str, rest: &str, universe: &str) -> Result<Source, SourceError> {
    let (authority, path) = split_authority(rest);
    let host = authority.to_ascii_lowercase();
    // A query belongs to a signed URL or the like: it carries its own authority and is left as it is.
    if !path.contains('?')
        && let Some((bucket, object)) = object_of(&host, path.trim_start_matches('/'), universe)
    {
        // Part of a URL: what is encoded in it stays so, what should be and is not becomes so (spec/core.md BUG 34).
        return Ok(storage(universe, bucket, &encode_rest(object)));
    }
    plain(scheme, rest).map(|address| Source::Plain { address })
}

/// Bucket and object, where a host and a path name them in one of the forms of the predecessors.
fn object_of<'a>(host: &'a str, path: &'a str, universe: &str) -> Option<(&'a str, &'a str)> {
    let own = format!("storage.{universe}");
    let browser = format!("storage.cloud.{universe}");
    let in_path = host == own
        || host == browser
        || matches!(
            host,
            "storage.googleapis.com"
                | "commondatastorage.googleapis.com"
                | "storage.cloud.google.com"
        );
    let (bucket, object) = if in_path {
        path.split_once('/')?
    } else {
        let bucket = host
            .strip_suffix(&format!(".{own}"))
            .or_else(|| host.strip_suffix(".storage.googleapis.com"))?;
        (bucket, path)
    };
    let named = !object.is_empty() && !object.ends_with('/');
    (named && check_bucket(bucket).is_ok()).then_some((bucket, object))
}

fn storage(universe: &str, bucket: &str, object: &str) -> Source {
    Source::Storage {
        address: format!("https://storage.{universe}/{bucket}/{object}"),
    }
}

fn plain(scheme: &str, rest: &str) -> Result<String, SourceError> {
    let rest = rest.split('#').next().unwrap_or_default();
    let (authority, path) = split_authority(rest);
    let host = authority.rsplit('@').next().unwrap_or_default();
    if host.is_empty() || host.starts_with(':') || authority.contains(char::is_whitespace) {
        return Err(SourceError::Malformed);
    }
    let path = if path.is_empty() { "/" } else { path };
    let slash = if path.starts_with('?') { "/" } else { "" };
    Ok(format!(
        "{scheme}://{authority}{slash}{}",
        utf8_percent_encode(path, URL)
    ))
}

/// The authority of what follows `scheme://`, and the rest: path, query, fragment.
fn split_authority(rest: &str) -> (&str, &str) {
    rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()))
}

/// Encodes what is not allowed in a path, and leaves `%20` and its like alone.
fn encode_rest(object: &str) -> String {
    let bytes = object.as_bytes();
    let is_encoded = |at: usize| {
        let digits = bytes.get(at + 1..at + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let mut encoded = String::new();
    for (at, character) in object.char_indices() {
        if character == '%' && is_encoded(at) {
            encoded.push('%');
        } else {
            let mut buffer = [0; 4];
            encoded.extend(utf8_percent_encode(
                character.encode_utf8(&mut buffer),
                OBJECT,
            ));
        }
    }
    encoded
}

fn check_bucket(bucket: &str) -> Result<(), SourceError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = bucket.as_bytes();
    let good = bytes.len() >= 2
        && bytes
            .iter()
            .all(|byte| plain(*byte) || b"-_.".contains(byte))
        && [bytes.first(), bytes.last()]
            .iter()
            .all(|end| end.is_some_and(|byte| plain(*byte)));
    if good {
        Ok(())
    } else {
        Err(SourceError::Bucket(bucket.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Source, SourceError> {
        Source::parse(text, UNIVERSE)
    }

    #[test]
    fn every_form_of_an_object_becomes_the_one_address() {
        for (text, path) in [
            ("gs://bucket/object", "bucket/object"),
            ("  gs://bucket/object\r\n", "bucket/object"),
            ("GS://bucket/dir/object.sh", "bucket/dir/object.sh"),
            ("gs://b1/a name#1.sh", "b1/a%20name%231.sh"),
            ("gs://b1/100%.sh", "b1/100%25.sh"),
            ("gs://b1/a%20b", "b1/a%2520b"),
            ("gs://b1/größe", "b1/gr%C3%B6%C3%9Fe"),
            ("gs://b-1_x.y/o", "b-1_x.y/o"),
            (
                "http://bucket.storage.googleapis.com/object",
                "bucket/object",
            ),
            (
                "https://bucket.storage.googleapis.com/d/object",
                "bucket/d/object",
            ),
            (
                "https://my.example.com.storage.googleapis.com/o",
                "my.example.com/o",
            ),
            (
                "http://storage.googleapis.com/bucket/object",
                "bucket/object",
            ),
            (
                "HTTPS://Storage.GoogleAPIs.com/bucket/object",
                "bucket/object",
            ),
            (
                "https://commondatastorage.googleapis.com/bucket/object",
                "bucket/object",
            ),
            (
                "https://storage.cloud.google.com/bucket/object",
                "bucket/object",
            ),
            (
                "https://storage.cloud.googleapis.com/bucket/object",
                "bucket/object",
            ),
            (
                "https://storage.googleapis.com/bucket/a b#c",
                "bucket/a%20b%23c",
            ),
            (
                "https://storage.googleapis.com/bucket/a%20b%zz",
                "bucket/a%20b%25zz",
            ),
        ] {
            let address = format!("https://storage.googleapis.com/{path}");
            assert_eq!(parse(text), Ok(Source::Storage { address }), "{text}");
        }
    }

    #[test]
    fn everything_else_is_plain() {
        for (text, address) in [
            ("https://example.com/x.sh", "https://example.com/x.sh"),
            (" http://example.com/x.sh\n", "http://example.com/x.sh"),
            ("https://example.com", "https://example.com/"),
            ("https://example.com?x=1", "https://example.com/?x=1"),
            (
                "https://example.com/a b?c=d e#f",
                "https://example.com/a%20b?c=d%20e",
            ),
            (
                "https://example.com:8443/%41",
                "https://example.com:8443/%41",
            ),
            // Signed: its own authority, no token of ours.
            (
                "https://storage.googleapis.com/bucket/object?X-Goog-Signature=1",
                "https://storage.googleapis.com/bucket/object?X-Goog-Signature=1",
            ),
            // Not the storage host, though it looks like it.
            (
                "https://storage.googleapis.com.evil.example/bucket/o",
                "https://storage.googleapis.com.evil.example/bucket/o",
            ),
            (
                "https://storage.googleapis.com@evil.example/bucket/o",
                "https://storage.googleapis.com@evil.example/bucket/o",
            ),
            (
                "https://evil.example/storage.googleapis.com/b/o",
                "https://evil.example/storage.googleapis.com/b/o",
            ),
            (
                "https://x@storage.googleapis.com/bucket/o",
                "https://x@storage.googleapis.com/bucket/o",
            ),
            (
                "https://storage.googleapis.com:8443/bucket/o",
                "https://storage.googleapis.com:8443/bucket/o",
            ),
            (
                "https://xstorage.googleapis.com/bucket/o",
                "https://xstorage.googleapis.com/bucket/o",
            ),
            (
                "https://storage.googleapis.com/bucket/",
                "https://storage.googleapis.com/bucket/",
            ),
            (
                "https://storage.other-cloud.example/bucket/o",
                "https://storage.other-cloud.example/bucket/o",
            ),
        ] {
            let address = address.to_owned();
            assert_eq!(parse(text), Ok(Source::Plain { address }), "{text}");
        }
    }

    #[test]
    fn another_universe_has_its_own_storage_host() {
        for text in [
            "gs://bucket/o",
            "https://storage.example-universe.test/bucket/o",
            "http://bucket.storage.example-universe.test/o",
            "https://storage.cloud.example-universe.test/bucket/o",
        ] {
            let source = Source::parse(text, "example-universe.test").unwrap();
            let address = "https://storage.example-universe.test/bucket/o".to_owned();
            assert_eq!(source, Source::Storage { address }, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_fetched_is_refused_with_its_reason() {
        for (text, error) in [
            ("", SourceError::Scheme),
            ("bucket/object", SourceError::Scheme),
            ("file:///etc/shadow", SourceError::Scheme),
            ("ftp://example.com/x", SourceError::Scheme),
            ("gs://bucket", SourceError::Directory),
            ("gs://bucket/", SourceError::Directory),
            ("gs://bucket/dir/", SourceError::Directory),
            ("gs://bucket/*.sh", SourceError::Wildcard),
            ("gs://bucket/a?", SourceError::Wildcard),
            ("gs://Bucket/o", SourceError::Bucket("Bucket".into())),
            ("gs:///o", SourceError::Bucket(String::new())),
            ("gs://b/o", SourceError::Bucket("b".into())),
            ("gs://-b/o", SourceError::Bucket("-b".into())),
            ("https:///x", SourceError::Malformed),
            ("https://:80/x", SourceError::Malformed),
            ("https://a b/x", SourceError::Malformed),
            (
                "https://example.com/\r\nAuthorization: x",
                SourceError::Malformed,
            ),
        ] {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn nothing_secret_of_a_url_is_shown() {
        for (url, expected) in [
            (
                "https://user:canary@example.com/x?sig=canary#f",
                "https://example.com/x?...",
            ),
            ("https://example.com/x", "https://example.com/x"),
            ("https://example.com?canary", "https://example.com?..."),
            (
                "https://example.com/?a=canary@b",
                "https://example.com/?...",
            ),
        ] {
            assert_eq!(shown(url), expected);
        }
    }

    #[test]
    fn a_redirect_stays_on_the_web_and_on_tls() {
        let from = "https://a.example/d/x?q";
        for (location, expected) in [
            ("https://b.example/y", Ok("https://b.example/y")),
            ("//b.example/y", Ok("https://b.example/y")),
            ("/y z", Ok("https://a.example/y%20z")),
            ("y", Ok("https://a.example/d/y")),
            ("http://a.example/d/x", Err(SourceError::Scheme)),
            ("file:///etc/passwd", Err(SourceError::Scheme)),
            ("https://", Err(SourceError::Malformed)),
        ] {
            let found = redirected(from, location);
            assert_eq!(found.as_deref(), expected.as_deref(), "{location}");
        }
        assert!(redirected("http://a.example/", "https://a.example/").is_ok());
    }

    proptest! {
        #[test]
        fn the_token_goes_to_the_storage_host_only(text in "(gs|https?)://[a-z.@:/?#%* -]{0,40}(storage.googleapis.com)?[a-z./@:?#%*]{0,20}") {
            if let Ok(Source::Storage { address }) = parse(&text) {
                prop_assert!(address.starts_with("https://storage.googleapis.com/"));
                prop_assert!(address.bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert!(!address.contains(['?', '#', '@']));
            }
        }

        #[test]
        fn nothing_is_too_strange(text in any::<String>()) {
            if let Ok(source) = parse(&text) {
                let address = source.address();
                prop_assert!(!address.contains(char::is_whitespace) && !address.contains(char::is_control));
                prop_assert!(address.starts_with("http://") || address.starts_with("https://"));
            }
        }
    }
}
