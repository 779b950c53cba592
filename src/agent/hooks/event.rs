//! What hooks are started for: what has changed between two metadata documents, and what managers have changed. Pure.

use crate::metadata::Document;
use crate::system::order::Map;

/// How many changes a hook is told of.
const TOLD: usize = 100;

/// What has happened. Its name is that of the directory with its hooks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// The platform is about to stop this preemptible VM.
    Preempted,
    /// Maintenance of the host is about to begin.
    Maintenance,
    /// It is over: the VM has migrated, or nothing came of it.
    MaintenanceEnd,
    /// An attribute in metadata has appeared, changed or gone.
    Attribute(String),
    /// Users, keys or groups were changed.
    Users,
    /// Routes were changed.
    Routes,
}

impl Event {
    /// The events that have a name of their own, and what each is.
    pub const FIXED: [(Self, &'static str); 5] = [
        (Self::Preempted, "the VM is about to be preempted"),
        (
            Self::Maintenance,
            "maintenance of the host is about to begin",
        ),
        (Self::MaintenanceEnd, "maintenance of the host is over"),
        (Self::Users, "users or keys were changed"),
        (Self::Routes, "routes were changed"),
    ];

    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Preempted => "preempted".into(),
            Self::Maintenance => "maintenance".into(),
            Self::MaintenanceEnd => "maintenance-end".into(),
            Self::Attribute(key) => format!("attribute-{key}"),
            Self::Users => "users".into(),
            Self::Routes => "routes".into(),
        }
    }

    /// The event of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let fixed = Self::FIXED.into_iter().map(|(event, _)| event);
        let found = fixed.into_iter().find(|event| event.name() == name);
        found.or_else(|| {
            let key = name.strip_prefix("attribute-")?;
            is_key(key).then(|| Self::Attribute(key.to_owned()))
        })
    }
}

/// Whether a directory may have this name: the platform's own rule for keys, which leaves no way out of the directory.
fn is_key(key: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=128).contains(&key.len()) && key.bytes().all(allowed)
}

/// An event with what a hook is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What has happened.
    pub event: Event,
    /// The value in metadata, for what has one and is no attribute.
    pub value: Option<String>,
    /// What was changed, one line each.
    pub changes: Vec<String>,
    /// How many events became this one.
    pub count: u32,
}

impl Notice {
    /// A single event.
    #[must_use]
    pub fn new(event: Event) -> Self {
        Self {
            event,
            value: None,
            changes: Vec::new(),
            count: 1,
        }
    }

    /// The same with a value.
    #[must_use]
    pub fn with_value(self, value: &str) -> Self {
        Self {
            value: Some(value.to_owned()),
            ..self
        }
    }

    /// The same with what was changed.
    #[must_use]
    pub fn with_changes(self, changes: impl IntoIterator<Item = String>) -> Self {
        Self {
            changes: changes.into_iter().take(TOLD).collect(),
            ..self
        }
    }

    /// Takes in a later one of the same event: the latest value counts.
    pub fn merge(&mut self, later: Self) {
        self.value = later.value;
        self.changes.extend(later.changes);
        self.changes.truncate(TOLD);
        self.count = self.count.saturating_add(later.count);
    }
}

/// What was seen last.
#[derive(Debug, Default)]
pub struct Watch {
    preempted: bool,
    maintenance: Option<String>,
    attributes: Option<Map<String, String>>,
}

impl Watch {
    /// Compares a document with what was seen before. What the document does not say has not changed.
    ///
    /// The first one tells of a preemption and of maintenance that are announced, because the agent may have been started
    /// again meanwhile; to attributes it is what later ones are compared with.
    pub fn look(&mut self, document: &Document) -> Vec<Notice> {
        let mut notices = Vec::new();
        let instance = &document.instance;
        if let Some(preempted) = instance.preempted.present().copied() {
            if preempted && !self.preempted {
                notices.push(Notice::new(Event::Preempted).with_value("TRUE"));
            }
            self.preempted = preempted;
        }
        if let Some(now) = instance.maintenance_event.present() {
            let before = self.maintenance.replace(now.clone());
            notices.extend(maintenance(before.as_deref().unwrap_or("NONE"), now));
        }
        if let (Some(project), Some(own)) = (
            document.project.attributes.present(),
            instance.attributes.present(),
        ) {
            let mut now = project.clone();
            now.extend(own.clone());
            if let Some(before) = &self.attributes {
                notices.extend(changed(before, &now).map(|key| Notice::new(Event::Attribute(key))));
            }
            self.attributes = Some(now);
        }
        notices
    }
}

fn maintenance(before: &str, now: &str) -> Option<Notice> {
    if before == now {
        return None;
    }
    let event = if now == "NONE" {
        Event::MaintenanceEnd
    } else {
        Event::Maintenance
    };
    Some(Notice::new(event).with_value(now))
}

fn changed<'a>(
    before: &'a Map<String, String>,
    now: &'a Map<String, String>,
) -> impl Iterator<Item = String> + 'a {
    let gone = before.keys().filter(|key| !now.contains_key(*key));
    let new = now
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(*value));
    let keys = gone.chain(new.map(|(key, _)| key));
    keys.filter(|key| is_key(key)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(preempted: &str, maintenance: &str, attributes: &[(&str, &str)]) -> Document {
        let attributes: Map<&str, &str> = attributes.iter().copied().collect();
        Document::parse(&json!({
            "instance": {"preempted": preempted, "maintenanceEvent": maintenance, "attributes": attributes},
            "project": {"attributes": {"everywhere": "1", "own": "project's"}},
        }))
    }

    fn names(notices: &[Notice]) -> Vec<String> {
        notices.iter().map(|notice| notice.event.name()).collect()
    }

    #[test]
    fn each_change_is_an_event_once() {
        const MIGRATE: &str = "MIGRATE_ON_HOST_MAINTENANCE";
        let mut watch = Watch::default();
        let mut look = |preempted, maintenance, attributes| {
            names(&watch.look(&document(preempted, maintenance, attributes)))
        };
        let none: [&str; 0] = [];
        assert_eq!(look("FALSE", "NONE", &[("own", "a")]), none);
        assert_eq!(look("FALSE", "NONE", &[("own", "a")]), none);
        let own = [("own", "b"), ("x/../y", "1")];
        assert_eq!(
            look("FALSE", MIGRATE, &own),
            ["maintenance", "attribute-own"]
        );
        assert_eq!(look("FALSE", MIGRATE, &own), none);
        assert_eq!(look("TRUE", "NONE", &own), ["preempted", "maintenance-end"]);
        let gone = look("TRUE", "TERMINATE_ON_HOST_MAINTENANCE", &[]);
        assert_eq!(
            gone,
            ["maintenance", "attribute-own"],
            "the project's counts again"
        );
    }

    #[test]
    fn what_was_announced_before_the_start_is_told_and_half_an_answer_tells_nothing() {
        let mut watch = Watch::default();
        let first = watch.look(&document(
            "TRUE",
            "TERMINATE_ON_HOST_MAINTENANCE",
            &[("a", "1")],
        ));
        assert_eq!(names(&first), ["preempted", "maintenance"]);
        assert_eq!(watch.look(&Document::default()), []);
        let again = document("TRUE", "TERMINATE_ON_HOST_MAINTENANCE", &[("a", "1")]);
        assert_eq!(watch.look(&again), []);
    }

    #[test]
    fn names_lead_into_no_other_directory() {
        for (event, _) in Event::FIXED {
            assert_eq!(Event::named(&event.name()), Some(event));
        }
        let attribute = Event::Attribute("My_key-1".into());
        assert_eq!(Event::named("attribute-My_key-1"), Some(attribute));
        for wrong in ["", "other", "attribute-", "attribute-..", "attribute-a/b"] {
            assert_eq!(Event::named(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn events_that_come_faster_than_hooks_become_one() {
        let mut first = Notice::new(Event::Users).with_changes(["Created user a".into()]);
        first.merge(Notice::new(Event::Users).with_changes(["Created user b".into()]));
        assert_eq!(first.count, 2);
        assert_eq!(first.changes, ["Created user a", "Created user b"]);
    }
}
