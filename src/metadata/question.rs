//! What is asked: a key, a form, perhaps a wait; and what comes back. Pure.

use std::fmt;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::metadata::document::Document;
use crate::metadata::error::MetadataError;

/// The path below which all keys are.
const ROOT: &str = "/computeMetadata/v1/";

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
    /// What time it is for the server, as it wrote it (RFC 9110, 5.6.7); `None` when it did not say.
    pub date: Option<String>,
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

impl Answer {
    /// The JSON of it.
    ///
    /// # Errors
    /// [`MetadataError::Malformed`], with the place but not the text.
    pub fn json(&self) -> Result<Value, MetadataError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            MetadataError::Malformed(format!(
                "it is not JSON (line {}, column {})",
                error.line(),
                error.column()
            ))
        })
    }

    /// The document, where the root was asked for.
    ///
    /// # Errors
    /// [`MetadataError::Malformed`] when it is not a JSON object.
    pub fn document(&self) -> Result<Document, MetadataError> {
        let value = self.json()?;
        if !value.is_object() {
            return Err(MetadataError::Malformed("it is not a JSON object".into()));
        }
        Ok(Document::parse(&value))
    }
}

/// The path of a key. A recursive request is for a directory, whose name ends in a slash (spec/core.md 5.1).
pub(crate) fn path(key: &str, format: Format) -> String {
    let slash = match format {
        Format::Recursive if !key.is_empty() && !key.ends_with('/') => "/",
        _ => "",
    };
    format!("{ROOT}{}{slash}", utf8_percent_encode(key, PATH))
}

/// The parameters of the URL, in the predecessors' order.
pub(crate) fn parameters(query: &Query) -> Vec<(&str, String)> {
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
}
