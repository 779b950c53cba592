//! Which scripts metadata wants to run. Pure (spec/core.md 10.2).

use crate::metadata::document::{Attributes, Document};

/// When scripts run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// At boot.
    Startup,
    /// When the system goes down.
    Shutdown,
}

impl Occasion {
    /// The name in metadata keys and in log lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Shutdown => "shutdown",
        }
    }

    /// The predecessors' logger name (spec/core.md 4).
    #[must_use]
    pub fn logger(self) -> &'static str {
        match self {
            Self::Startup => "startup-script",
            Self::Shutdown => "shutdown-script",
        }
    }
}

/// A script to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Its metadata key, by which it is known in the log.
    pub key: String,
    /// Its text.
    pub body: String,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The scripts, in the order in which they run.
    pub scripts: Vec<Script>,
    /// Keys that ask for a script that this version cannot fetch.
    pub unsupported: Vec<String>,
}

/// The scripts for an occasion: the instance's as a whole where it has any, else the project's. Empty values count as
/// absent, and white space before the text is dropped, so that `#!` comes first.
#[must_use]
pub fn find(document: &Document, occasion: Occasion) -> Found {
    let levels = [&document.instance.attributes, &document.project.attributes];
    let found = levels
        .into_iter()
        .filter_map(|attributes| attributes.present())
        .map(|level| find_in(level, occasion));
    found
        .into_iter()
        .find(|found| *found != Found::default())
        .unwrap_or_default()
}

fn find_in(attributes: &Attributes, occasion: Occasion) -> Found {
    let key = format!("{}-script", occasion.name());
    let url_key = format!("{key}-url");
    let value = |key: &str| attributes.get(key).map_or("", |value| value.trim_start());
    let mut found = Found::default();
    if !value(&url_key).is_empty() {
        found.unsupported.push(url_key);
    }
    if !value(&key).is_empty() {
        found.scripts.push(Script {
            body: value(&key).to_owned(),
            key,
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::document::Presence;

    fn document(instance: &[(&str, &str)], project: &[(&str, &str)]) -> Document {
        let attributes = |pairs: &[(&str, &str)]| {
            Presence::Present(
                pairs
                    .iter()
                    .map(|(key, value)| ((*key).into(), (*value).into()))
                    .collect(),
            )
        };
        let mut document = Document::default();
        document.instance.attributes = attributes(instance);
        document.project.attributes = attributes(project);
        document
    }

    fn keys_and_bodies(found: &Found) -> Vec<(&str, &str)> {
        found
            .scripts
            .iter()
            .map(|script| (script.key.as_str(), script.body.as_str()))
            .collect()
    }

    #[test]
    fn the_instance_wins_as_a_whole() {
        let project = [("startup-script", "p"), ("shutdown-script", "ps")];
        for (instance, occasion, expected) in [
            (
                vec![("startup-script", "i")],
                Occasion::Startup,
                vec![("startup-script", "i")],
            ),
            (vec![], Occasion::Startup, vec![("startup-script", "p")]),
            (
                vec![("startup-script", "")],
                Occasion::Startup,
                vec![("startup-script", "p")],
            ),
            (
                vec![("startup-script", "i")],
                Occasion::Shutdown,
                vec![("shutdown-script", "ps")],
            ),
            (
                vec![("startup-script", "\n  #!/bin/sh\n")],
                Occasion::Startup,
                vec![("startup-script", "#!/bin/sh\n")],
            ),
        ] {
            let found = find(&document(&instance, &project), occasion);
            assert_eq!(keys_and_bodies(&found), expected, "{instance:?}");
        }
        let by_url = find(
            &document(&[("startup-script-url", "gs://b/o")], &project),
            Occasion::Startup,
        );
        assert!(
            by_url.scripts.is_empty(),
            "an entry of the instance hides the project's, whatever it is"
        );
        assert_eq!(by_url.unsupported, ["startup-script-url"]);
    }

    #[test]
    fn half_an_answer_has_no_scripts() {
        assert_eq!(
            find(&Document::default(), Occasion::Startup),
            Found::default()
        );
    }
}
