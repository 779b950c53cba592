//! Which texts are host names, and which of them this machine may have. Pure.

use std::fmt;

use thiserror::Error;

/// The longest label, in bytes (RFC 1035, 2.3.4).
const LABEL_LIMIT: usize = 63;

/// The longest name of several labels, in bytes: what the length octets of RFC 1035 leave of 255.
const NAME_LIMIT: usize = 253;

/// The longest host name that Linux takes, in bytes (`HOST_NAME_MAX`).
pub const HOST_NAME_MAX: usize = 64;

/// Why a text cannot be the name of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Refusal {
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It is no host name (RFC 1123, 2.1).
    #[error("it is no host name (labels of letters, digits and hyphens, with dots between them)")]
    Malformed,
    /// Programs would take it for an address.
    #[error("it looks like an address")]
    Numeric,
    /// With it the machine would talk to itself instead of the metadata server (spec/core.md SEC 14).
    #[error("it is a name of the metadata server")]
    MetadataServer,
    /// It means every machine itself.
    #[error("it is a name of the loopback interface")]
    Loopback,
}

/// A name that the machine may have, with its domain where it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    full: String,
    short: usize,
}

impl Name {
    /// The whole name.
    #[must_use]
    pub fn full(&self) -> &str {
        &self.full
    }

    /// Its first label.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.full[..self.short]
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.full)
    }
}

/// Reads a name. White space around it and a dot at its end are not part of it.
///
/// A first label of more than 63 bytes is cut there (pains.md 49); the second value says whether it was.
///
/// # Errors
/// A [`Refusal`].
pub fn parse(text: &str) -> Result<(Name, bool), Refusal> {
    let text = text.trim();
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() {
        return Err(Refusal::Empty);
    }
    // Before anything is cut, so that what is cut is whole characters.
    if !text.is_ascii() {
        return Err(Refusal::Malformed);
    }
    let (first, domain) = text.split_once('.').unwrap_or((text, ""));
    let cut = first.len() > LABEL_LIMIT;
    let first = if cut {
        first[..LABEL_LIMIT].trim_end_matches('-')
    } else {
        first
    };
    let full = if text.contains('.') {
        format!("{first}.{domain}")
    } else {
        first.to_owned()
    };
    check(&full)?;
    let short = first.len();
    Ok((Name { full, short }, cut))
}

fn check(full: &str) -> Result<(), Refusal> {
    if full.len() > NAME_LIMIT || !full.split('.').all(is_label) {
        return Err(Refusal::Malformed);
    }
    let lower = full.to_ascii_lowercase();
    let mut labels = lower.split('.');
    let (first, last) = (labels.next(), labels.next_back());
    let is_number =
        |label: Option<&str>| label.is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
    if is_number(first) || is_number(last) {
        return Err(Refusal::Numeric);
    }
    // "metadata" alone is the server too, by the search domain google.internal.
    if first == Some("metadata")
        || lower.contains("metadata.goog")
        || format!(".{lower}").ends_with(".google.internal")
    {
        return Err(Refusal::MetadataServer);
    }
    if first == Some("localhost") || last == Some("localhost") {
        return Err(Refusal::Loopback);
    }
    Ok(())
}

fn is_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !label.is_empty()
        && label.len() <= LABEL_LIMIT
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    #[test]
    fn names_have_a_first_label_and_a_domain() {
        for (text, full, short) in [
            ("web", "web", "web"),
            (
                "web-1.c.example.internal",
                "web-1.c.example.internal",
                "web-1",
            ),
            (" web.example.com.\n", "web.example.com", "web"),
            ("Web.Example.COM", "Web.Example.COM", "Web"),
            ("3com.example.com", "3com.example.com", "3com"),
            (
                "metadata-cache.example.com",
                "metadata-cache.example.com",
                "metadata-cache",
            ),
        ] {
            let (name, cut) = parse(text).unwrap();
            assert_eq!(
                (name.full(), name.short(), cut),
                (full, short, false),
                "{text}"
            );
        }
    }

    #[test]
    fn long_labels_are_cut_to_63_bytes() {
        let long = "a".repeat(70);
        let (name, cut) = parse(&format!("{long}.example.com")).unwrap();
        assert_eq!((name.short(), cut), (&long[..63], true));
        assert_eq!(name.full(), format!("{}.example.com", &long[..63]));
        let hyphen = format!("{}-{}", "a".repeat(62), "b".repeat(9));
        assert_eq!(parse(&hyphen).unwrap().0.full(), "a".repeat(62));
        assert_eq!(parse(&"a".repeat(63)).unwrap().0.full().len(), 63);
        // A label of the domain is not ours to shorten.
        assert_eq!(parse(&format!("web.{long}.com")), Err(Refusal::Malformed));
        assert_eq!(
            parse(&format!("web{}", ".example".repeat(32))),
            Err(Refusal::Malformed)
        );
    }

    #[test]
    fn what_is_no_host_name_is_refused() {
        for (refusal, texts) in [
            (Refusal::Empty, &["", " \n", "."][..]),
            (
                Refusal::Malformed,
                &[
                    "a b", "a\nb", "-a", "a-", "a..b", ".a", "a.-b.c", "a_b", "a/b", "wéb", "a#b",
                    "a\tb", "\u{0}", "http://a", "fd00::1", "$(id)",
                ],
            ),
            (
                Refusal::Numeric,
                &["10.128.0.2", "12345", "7.example.com", "web.0"],
            ),
            (
                Refusal::MetadataServer,
                &[
                    "metadata.google.internal",
                    "METADATA.Google.Internal.",
                    "x.metadata.google.internal",
                    "metadata.google.internal.example.com",
                    "metadata",
                    "metadata.c.example.internal",
                    "metadata.goog",
                    "google.internal",
                    "web.google.internal",
                ],
            ),
            (
                Refusal::Loopback,
                &[
                    "localhost",
                    "localhost.localdomain",
                    "web.localhost",
                    "LocalHost",
                ],
            ),
        ] {
            for text in texts {
                assert_eq!(parse(text), Err(refusal), "{text:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_name_is_one_word_that_reads_back(text in ".{0,300}|[a-z0-9.-]{1,100}") {
            if let Ok((name, _)) = parse(&text) {
                prop_assert!(name.short().len() <= LABEL_LIMIT && name.full().starts_with(name.short()));
                prop_assert!(name.full().bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'));
                prop_assert_eq!(parse(name.full()), Ok((name, false)));
            }
        }
    }
}
