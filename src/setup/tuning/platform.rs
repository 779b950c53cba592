//! What the metadata says of the machine that matters to tuning. Pure.

use crate::metadata::document::Document;

/// Prefixes of the machine types whose NICs belong to accelerators and are spread over NUMA nodes (spec/beyond.md 20.1).
const ACCELERATOR_TYPES: [&str; 9] = [
    "a3-highgpu-8g",
    "a3-megagpu-8g",
    "a3-edgegpu-8g",
    "a3-ultragpu-",
    "a4-highgpu-",
    "a4x-highgpu-",
    "a4x-maxgpu-",
    "c4n-",
    "c4x-",
];

/// The kind of machine, as far as it is known. Nothing is known before metadata has answered, and then only what is right
/// on every machine is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platform {
    machine_type: String,
    only_physical_nics: bool,
}

impl Platform {
    /// What the document says. An empty or missing list of NICs says nothing (spec/beyond.md D 35).
    #[must_use]
    pub fn of(document: &Document) -> Self {
        let nics = document.instance.network_interfaces.present();
        let mut nics = nics.into_iter().flatten().peekable();
        let machine_type = document.instance.machine_type.present();
        Self {
            machine_type: machine_type.cloned().unwrap_or_default(),
            only_physical_nics: nics.peek().is_some()
                && nics.all(|nic| nic.physical_nic_id.is_some()),
        }
    }

    /// The machine type, such as `n2-standard-8`; empty while it is not known.
    #[must_use]
    pub fn machine_type(&self) -> &str {
        &self.machine_type
    }

    /// Whether metadata has said what machine this is.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !self.machine_type.is_empty()
    }

    /// A machine with several NICs that belong to accelerators: queues and interrupts follow the NUMA nodes.
    #[must_use]
    pub fn is_accelerator(&self) -> bool {
        self.only_physical_nics || ACCELERATOR_TYPES.iter().any(|prefix| self.is(prefix))
    }

    /// One of the large bare machines: receive flow steering, long rings, fixed moderation.
    #[must_use]
    pub fn is_x4(&self) -> bool {
        self.is("x4-")
    }

    /// Where every transmit queue serves every processor.
    #[must_use]
    pub fn is_a4x(&self) -> bool {
        self.is("a4x-")
    }

    /// Where the rings have their own length.
    #[must_use]
    pub fn is_a4x_max(&self) -> bool {
        self.is("a4x-maxgpu-")
    }

    /// Where the host shares memory between machines (spec/core.md 9.4).
    #[must_use]
    pub fn is_e2(&self) -> bool {
        self.is("e2-")
    }

    fn is(&self, prefix: &str) -> bool {
        self.machine_type.starts_with(prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn platform(instance: &Value) -> Platform {
        Platform::of(&Document::parse(&json!({ "instance": instance })))
    }

    #[test]
    fn machine_types_are_told_apart() {
        for (name, accelerator, other) in [
            ("a3-highgpu-8g", true, ""),
            ("a3-highgpu-1g", false, ""),
            ("a3-ultragpu-8g", true, ""),
            ("a3-megagpu-8g", true, ""),
            ("a3-edgegpu-8g", true, ""),
            ("a4-highgpu-8g", true, ""),
            ("a4x-highgpu-4g", true, "a4x"),
            ("a4x-maxgpu-4g-metal", true, "a4x a4x-max"),
            ("c4n-standard-8", true, ""),
            ("c4x-standard-8", true, ""),
            ("x4-megamem-960-metal", false, "x4"),
            ("e2-micro", false, "e2"),
            ("n2-standard-4", false, ""),
        ] {
            let platform =
                platform(&json!({"machineType": format!("projects/1/machineTypes/{name}")}));
            assert_eq!(platform.machine_type(), name);
            assert_eq!(platform.is_accelerator(), accelerator, "{name}");
            let kinds = [
                (platform.is_x4(), "x4"),
                (platform.is_a4x(), "a4x"),
                (platform.is_a4x_max(), "a4x-max"),
                (platform.is_e2(), "e2"),
            ];
            let kinds: Vec<&str> = kinds
                .iter()
                .filter(|(is, _)| *is)
                .map(|(_, kind)| *kind)
                .collect();
            assert_eq!(kinds.join(" "), other, "{name}");
        }
    }

    #[test]
    fn physical_nics_make_an_accelerator_only_when_all_are() {
        let physical = json!({"mac": "42:01:0a:00:00:02", "physicalNicId": 3});
        let plain = json!({"mac": "42:01:0a:00:00:03"});
        for (nics, accelerator) in [
            (json!([physical]), true),
            (json!([physical, physical]), true),
            (json!([physical, plain]), false),
            (json!([]), false),
            (Value::Null, false),
            (json!("nonsense"), false),
        ] {
            let platform =
                platform(&json!({"networkInterfaces": nics, "machineType": "n2-standard-4"}));
            assert_eq!(platform.is_accelerator(), accelerator, "{nics}");
        }
        assert!(!Platform::default().is_accelerator());
    }
}
