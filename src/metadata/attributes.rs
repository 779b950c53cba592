//! The grammar of attribute values, and which of two levels counts. Pure.

use crate::metadata::document::{Attributes, Document};

/// Reads a boolean attribute.
///
/// The union of the predecessors' grammars (spec/beyond.md 3.2): what Go's `ParseBool` takes (`1 t T TRUE true True` and
/// `0 f F FALSE false False`), and `true` and `false` in any case, as the Python daemons did. Anything else is no answer.
#[must_use]
pub fn boolean(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" => Some(true),
        "0" | "f" | "F" => Some(false),
        _ if value.eq_ignore_ascii_case("true") => Some(true),
        _ if value.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A boolean attribute of one level; absent and unreadable values are `None`.
#[must_use]
pub fn boolean_of(attributes: Option<&Attributes>, name: &str) -> Option<bool> {
    attributes?.get(name).and_then(|value| boolean(value))
}

/// The effective boolean: the project's value, overridden by a readable one of the instance (spec/beyond.md 3.2).
#[must_use]
pub fn effective_boolean(document: &Document, name: &str) -> Option<bool> {
    boolean_of(document.instance.attributes.present(), name)
        .or_else(|| boolean_of(document.project.attributes.present(), name))
}

/// The effective text: the instance's value where it is not empty, else the project's (spec/core.md 6.9, 5.6).
#[must_use]
pub fn effective_text<'a>(document: &'a Document, name: &str) -> Option<&'a str> {
    let non_empty = |attributes: Option<&'a Attributes>| {
        attributes?
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    };
    non_empty(document.instance.attributes.present())
        .or_else(|| non_empty(document.project.attributes.present()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::document::Presence;

    #[test]
    fn booleans_are_the_union_of_both_predecessors() {
        for yes in ["1", "t", "T", "TRUE", "true", "True", "tRuE"] {
            assert_eq!(boolean(yes), Some(true), "{yes}");
        }
        for no in ["0", "f", "F", "FALSE", "false", "False", "fAlSe"] {
            assert_eq!(boolean(no), Some(false), "{no}");
        }
        for neither in ["", " true", "true ", "yes", "no", "on", "2", "TRUEE"] {
            assert_eq!(boolean(neither), None, "{neither:?}");
        }
    }

    fn document(instance: Option<&str>, project: Option<&str>) -> Document {
        let level = |value: Option<&str>| {
            Presence::Present(
                value
                    .map(|value| ("key".to_owned(), value.to_owned()))
                    .into_iter()
                    .collect(),
            )
        };
        let mut document = Document::default();
        document.instance.attributes = level(instance);
        document.project.attributes = level(project);
        document
    }

    #[test]
    fn a_readable_instance_value_overrides_the_project() {
        for (instance, project, boolean, text) in [
            (None, None, None, None),
            (None, Some("true"), Some(true), Some("true")),
            (Some("false"), Some("true"), Some(false), Some("false")),
            (Some("what"), Some("true"), Some(true), Some("what")),
            (Some(""), Some("true"), Some(true), Some("true")),
            (Some("TRUE"), Some("0"), Some(true), Some("TRUE")),
        ] {
            let document = document(instance, project);
            assert_eq!(
                effective_boolean(&document, "key"),
                boolean,
                "{instance:?} {project:?}"
            );
            assert_eq!(
                effective_text(&document, "key"),
                text,
                "{instance:?} {project:?}"
            );
        }
        assert_eq!(effective_boolean(&Document::default(), "key"), None);
    }
}
