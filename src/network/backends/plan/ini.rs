//! The text of files that are lists of keys and values.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::network::backends::MARK;

/// A key of a file with its value; one without a value is left out.
pub(super) type Key<'a> = (&'a str, Option<Cow<'a, str>>);

/// A section of an INI file: its name, and its keys; one without keys is left out.
pub(super) type Section<'a> = (&'a str, &'a [Key<'a>]);

/// The value of a key, if it has one.
pub(super) fn value(value: Option<impl ToString>) -> Option<Cow<'static, str>> {
    value.map(|value| value.to_string().into())
}

/// The text of an INI file of ours.
pub(super) fn ini(sections: &[Section<'_>]) -> String {
    let mut text = format!("{MARK}\n");
    for (name, keys) in sections {
        let mut keys = keys
            .iter()
            .filter_map(|(key, value)| Some((key, value.as_ref()?)))
            .peekable();
        if keys.peek().is_none() {
            continue;
        }
        // Writing into a text cannot fail.
        let _ = writeln!(text, "\n[{name}]");
        for (key, value) in keys {
            let _ = writeln!(text, "{key}={value}");
        }
    }
    text
}
