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

/// A script that metadata wants to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Its metadata key, by which it is known in the log.
    pub key: String,
    /// What the key holds.
    pub origin: Origin,
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The script itself.
    Inline(String),
    /// Where it is fetched from, as it stands there.
    Url(String),
}

/// The scripts for an occasion, in the order in which they run: the instance's as a whole where it has any, else the
/// project's; the one with a URL first (the founding document, spec/beyond.md D 33). Empty values count as absent, and
/// white space before a text is dropped, so that `#!` comes first.
#[must_use]
pub fn find(document: &Document, occasion: Occasion) -> Vec<Script> {
    let levels = [&document.instance.attributes, &document.project.attributes];
    let found = levels
        .into_iter()
        .filter_map(|attributes| attributes.present())
        .map(|level| find_in(level, occasion));
    found
        .into_iter()
        .find(|found| !found.is_empty())
        .unwrap_or_default()
}

fn find_in(attributes: &Attributes, occasion: Occasion) -> Vec<Script> {
    let key = format!("{}-script", occasion.name());
    let url_key = format!("{key}-url");
    let value = |key: &str| {
        let value = attributes.get(key)?.trim_start();
        (!value.is_empty()).then(|| value.to_owned())
    };
    let by_url = value(&url_key).map(Origin::Url).map(|origin| Script {
        key: url_key,
        origin,
    });
    let inline = value(&key)
        .map(Origin::Inline)
        .map(|origin| Script { key, origin });
    by_url.into_iter().chain(inline).collect()
}

/// What scripts are told about the VM, by its names: those of the environment, for what metadata says.
#[must_use]
pub fn environment(document: &Document) -> Vec<(String, String)> {
    let values = [
        ("GCE_INSTANCE_ID", &document.instance.id),
        ("GCE_INSTANCE_NAME", &document.instance.name),
        ("GCE_HOSTNAME", &document.instance.hostname),
        ("GCE_ZONE", &document.instance.zone),
        ("GCE_MACHINE_TYPE", &document.instance.machine_type),
        ("GCE_PROJECT_ID", &document.project.project_id),
    ];
    values
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value.present()?.clone())))
        .filter(|(_, value)| !value.is_empty() && !value.contains('\0'))
        .collect()
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

    fn found(
        instance: &[(&str, &str)],
        project: &[(&str, &str)],
        occasion: Occasion,
    ) -> Vec<(String, Origin)> {
        find(&document(instance, project), occasion)
            .into_iter()
            .map(|script| (script.key, script.origin))
            .collect()
    }

    #[test]
    fn the_instance_wins_as_a_whole() {
        let project = [("startup-script", "p"), ("shutdown-script", "ps")];
        for (instance, occasion, key, text) in [
            (
                vec![("startup-script", "i")],
                Occasion::Startup,
                "startup-script",
                "i",
            ),
            (vec![], Occasion::Startup, "startup-script", "p"),
            (
                vec![("startup-script", "")],
                Occasion::Startup,
                "startup-script",
                "p",
            ),
            (
                vec![("startup-script", " \n")],
                Occasion::Startup,
                "startup-script",
                "p",
            ),
            (
                vec![("startup-script", "i")],
                Occasion::Shutdown,
                "shutdown-script",
                "ps",
            ),
            (
                vec![("startup-script", "\n  #!/bin/sh\n")],
                Occasion::Startup,
                "startup-script",
                "#!/bin/sh\n",
            ),
        ] {
            let expected = vec![(key.to_owned(), Origin::Inline(text.to_owned()))];
            assert_eq!(
                found(&instance, &project, occasion),
                expected,
                "{instance:?}"
            );
        }
        let by_url = found(
            &[("startup-script-url", "gs://b/o")],
            &project,
            Occasion::Startup,
        );
        let expected = (
            "startup-script-url".to_owned(),
            Origin::Url("gs://b/o".into()),
        );
        assert_eq!(
            by_url,
            [expected],
            "an entry of the instance hides the project's, whatever it is"
        );
    }

    #[test]
    fn the_url_comes_first() {
        let both = [("startup-script", "x"), ("startup-script-url", "gs://b/o")];
        let keys: Vec<String> = found(&both, &[], Occasion::Startup)
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        assert_eq!(keys, ["startup-script-url", "startup-script"]);
    }

    #[test]
    fn half_an_answer_has_no_scripts() {
        assert_eq!(find(&Document::default(), Occasion::Startup), []);
        assert_eq!(environment(&Document::default()), []);
    }

    #[test]
    fn scripts_are_told_what_metadata_says() {
        let mut document = Document::default();
        document.instance.id = Presence::Present("123".into());
        document.instance.zone = Presence::Present("europe-west1-b".into());
        document.project.project_id = Presence::Present(String::new());
        let expected = [("GCE_INSTANCE_ID", "123"), ("GCE_ZONE", "europe-west1-b")];
        assert_eq!(
            environment(&document),
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }
}
