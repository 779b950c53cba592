//! JSON to [`Document`]. Pure, and total: whatever the answer is, a document comes out.
//!
//! Names are matched without regard to case and dashes, so that `networkInterfaces` (the server's JSON),
//! `network-interfaces` (its paths) and `NetworkInterfaces` are the same; but the names of attributes are exactly
//! themselves. Numbers are taken for text and text for numbers. What cannot be read costs only itself and leaves a line in
//! [`Document::problems`].

use serde_json::{Map, Value};

use crate::metadata::document::{
    Attributes, Document, Instance, NetworkInterface, Presence, Project, VlanInterface,
};
use crate::system::order::InOrder;

impl Document {
    /// Reads the recursive answer for the root.
    #[must_use]
    pub fn parse(value: &Value) -> Self {
        let mut reader = Reader::default();
        let root = Place::root(value);
        let instance = reader.instance(&root.field("instance"));
        let project = reader.project(&root.field("project"));
        let universe_domain = reader.text(&root.field("universe").field("universeDomain"));
        Self {
            instance,
            project,
            universe_domain,
            problems: reader.problems,
        }
    }

    /// Reads the recursive answer for the root from its bytes.
    ///
    /// # Errors
    /// Where the bytes are not JSON.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes).map(|value| Self::parse(&value))
    }
}

/// A value with the way to it, for messages.
#[derive(Clone)]
struct Place<'a> {
    name: String,
    value: Option<&'a Value>,
}

impl<'a> Place<'a> {
    fn root(value: &'a Value) -> Self {
        Self {
            name: String::new(),
            value: Some(value),
        }
    }

    /// A field of an object; absent in everything else. `null` is as good as absent.
    fn field(&self, name: &str) -> Self {
        let value = match self.value {
            Some(Value::Object(object)) => find(object, name),
            _ => None,
        };
        Self {
            name: if self.name.is_empty() {
                name.to_owned()
            } else {
                format!("{}.{name}", self.name)
            },
            value: value.filter(|value| !value.is_null()),
        }
    }

    fn item(&self, index: usize, value: &'a Value) -> Self {
        Self {
            name: format!("{}[{index}]", self.name),
            value: Some(value),
        }
    }

    fn is_wrong(&self, wanted: &str) -> String {
        let kind = match self.value {
            None => "missing",
            Some(Value::Null) => "null",
            Some(Value::Bool(_)) => "a boolean",
            Some(Value::Number(_)) => "a number",
            Some(Value::String(_)) => "a text",
            Some(Value::Array(_)) => "a list",
            Some(Value::Object(_)) => "an object",
        };
        format!("{} is {kind} where {wanted} is expected", self.name)
    }
}

/// A field by its name, else by its name without regard to case and dashes.
fn find<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).or_else(|| {
        let found = object.iter().find(|(key, _)| plain(key).eq(plain(name)));
        found.map(|(_, value)| value)
    })
}

/// A name without regard to case and dashes.
fn plain(name: &str) -> impl Iterator<Item = u8> + '_ {
    name.bytes()
        .filter(|byte| !matches!(byte, b'-' | b'_'))
        .map(|byte| byte.to_ascii_lowercase())
}

/// Text of a scalar.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(if *value { "TRUE" } else { "FALSE" }.to_owned()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The last component of a resource name such as `projects/1/zones/us-central1-f`.
fn last_component(name: String) -> String {
    match name.rsplit_once('/') {
        Some((_, last)) => last.to_owned(),
        None => name,
    }
}

impl<T> Presence<T> {
    fn map<U>(self, function: impl FnOnce(T) -> U) -> Presence<U> {
        match self {
            Self::Absent => Presence::Absent,
            Self::Malformed(problem) => Presence::Malformed(problem),
            Self::Present(value) => Presence::Present(function(value)),
        }
    }
}

/// Collects the problems while the values are read.
#[derive(Default)]
struct Reader {
    problems: Vec<String>,
}

impl Reader {
    fn malformed<T>(&mut self, problem: String) -> Presence<T> {
        self.problems.push(problem.clone());
        Presence::Malformed(problem)
    }

    fn instance(&mut self, place: &Place<'_>) -> Instance {
        self.expect_object(place);
        Instance {
            attributes: self.attributes(&place.field("attributes")),
            id: self.text(&place.field("id")),
            name: self.text(&place.field("name")),
            hostname: self.text(&place.field("hostname")),
            zone: self.text(&place.field("zone")).map(last_component),
            machine_type: self.text(&place.field("machineType")).map(last_component),
            network_interfaces: self.network_interfaces(&place.field("networkInterfaces")),
            vlan_network_interfaces: self.vlans(&place.field("vlanNetworkInterfaces")),
            drift_token: self.text(&place.field("virtualClock").field("driftToken")),
            maintenance_event: self.text(&place.field("maintenanceEvent")),
            preempted: self.boolean(&place.field("preempted")),
        }
    }

    fn project(&mut self, place: &Place<'_>) -> Project {
        self.expect_object(place);
        Project {
            attributes: self.attributes(&place.field("attributes")),
            project_id: self.text(&place.field("projectId")),
            numeric_project_id: self.text(&place.field("numericProjectId")),
        }
    }

    fn expect_object(&mut self, place: &Place<'_>) {
        if place.value.is_some_and(|value| !value.is_object()) {
            self.problems.push(place.is_wrong("an object"));
        }
    }

    fn text(&mut self, place: &Place<'_>) -> Presence<String> {
        match place.value {
            None => Presence::Absent,
            Some(value) => match scalar(value) {
                Some(text) => Presence::Present(text),
                None => self.malformed(place.is_wrong("a text")),
            },
        }
    }

    fn boolean(&mut self, place: &Place<'_>) -> Presence<bool> {
        match place.value {
            None => Presence::Absent,
            Some(value) => {
                match scalar(value).and_then(|text| crate::metadata::attributes::boolean(&text)) {
                    Some(value) => Presence::Present(value),
                    None => self.malformed(place.is_wrong("TRUE or FALSE")),
                }
            }
        }
    }

    /// All attributes or none: one that cannot be read could be `ssh-keys`, and must not look like "no keys".
    fn attributes(&mut self, place: &Place<'_>) -> Presence<Attributes> {
        let object = match place.value {
            None => return Presence::Absent,
            Some(Value::Object(object)) => object,
            Some(_) => return self.malformed(place.is_wrong("an object")),
        };
        let mut attributes = Attributes::new();
        for (name, value) in object {
            let Some(text) = scalar(value) else {
                let value = Place {
                    name: format!("{}.{name}", place.name),
                    value: Some(value),
                };
                return self.malformed(value.is_wrong("a text"));
            };
            attributes.insert(name.clone(), text);
        }
        Presence::Present(attributes)
    }

    fn network_interfaces(&mut self, place: &Place<'_>) -> Presence<Vec<NetworkInterface>> {
        let items = match place.value {
            None => return Presence::Absent,
            Some(Value::Array(items)) => items,
            Some(_) => return self.malformed(place.is_wrong("a list")),
        };
        let interfaces = items.iter().enumerate().map(|(index, item)| {
            self.network_interface(&place.item(index, item))
                .unwrap_or_else(|problem| {
                    self.problems.push(problem);
                    NetworkInterface::default()
                })
        });
        Presence::Present(interfaces.collect())
    }

    /// One interface; a list that is none makes the whole entry unreadable, lest its routes look unwanted.
    fn network_interface(&mut self, place: &Place<'_>) -> Result<NetworkInterface, String> {
        Ok(NetworkInterface {
            mac: mac(place)?,
            ip: optional_text(&place.field("ip"))?.unwrap_or_default(),
            ipv6s: self.unimportant_texts(&place.field("ipv6s")),
            forwarded_ips: self.texts(&place.field("forwardedIps"))?,
            forwarded_ipv6s: self.texts(&place.field("forwardedIpv6s"))?,
            ip_aliases: self.texts(&place.field("ipAliases"))?,
            target_instance_ips: self.texts(&place.field("targetInstanceIps"))?,
            // One that cannot be read is none: it only keeps addresses from taking its place.
            gateway: optional_text(&place.field("gateway"))
                .unwrap_or_default()
                .unwrap_or_default(),
            dhcpv6_refresh: optional_text(&place.field("dhcpv6Refresh"))?,
            mtu: self.number(&place.field("mtu")),
            // One that cannot be read is none: it matters to queues only.
            physical_nic_id: optional_text(&place.field("physicalNicId")).unwrap_or_default(),
        })
    }

    /// `{"<parent>": {"<vlan>": {...}}}`, or the same as lists.
    fn vlans(&mut self, place: &Place<'_>) -> Presence<Vec<VlanInterface>> {
        let parents = match place.value {
            None => return Presence::Absent,
            Some(value @ (Value::Object(_) | Value::Array(_))) => entries(place, value),
            Some(_) => return self.malformed(place.is_wrong("an object")),
        };
        let mut vlans = Vec::new();
        for (key, parent) in parents {
            let children = parent
                .value
                .map_or_else(Vec::new, |value| entries(&parent, value));
            for (_, child) in children {
                match self.vlan(&key, &child) {
                    Ok(vlan) => vlans.push(vlan),
                    Err(problem) => self.problems.push(problem),
                }
            }
        }
        vlans.put_in_order_by(|vlan| (vlan.parent, vlan.vlan));
        Presence::Present(vlans)
    }

    fn vlan(&mut self, parent: &str, place: &Place<'_>) -> Result<VlanInterface, String> {
        let named = optional_text(&place.field("parentInterface"))?.unwrap_or_default();
        let named = last_component(named.trim_end_matches('/').to_owned());
        let index = named.parse().or_else(|_| parent.parse());
        let vlan = self
            .number(&place.field("vlan"))
            .and_then(|vlan| u16::try_from(vlan).ok());
        Ok(VlanInterface {
            parent: index.map_err(|_| format!("{} does not name its parent", place.name))?,
            vlan: vlan
                .filter(|vlan| (1..=4094).contains(vlan))
                .ok_or_else(|| place.field("vlan").is_wrong("a VLAN id"))?,
            mac: mac(place)?,
            mtu: self.number(&place.field("mtu")),
            ip: optional_text(&place.field("ip"))?.unwrap_or_default(),
            ipv6: self.texts(&place.field("ipv6"))?,
            gateway: optional_text(&place.field("gateway"))?.unwrap_or_default(),
            gateway_ipv6: optional_text(&place.field("gatewayIpv6"))?.unwrap_or_default(),
        })
    }

    /// A list of texts. An item that is none costs only itself.
    fn texts(&mut self, place: &Place<'_>) -> Result<Vec<String>, String> {
        let items = match place.value {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(place.is_wrong("a list")),
        };
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match item {
                Value::String(text) => texts.push(text.clone()),
                _ => self
                    .problems
                    .push(place.item(index, item).is_wrong("a text")),
            }
        }
        Ok(texts)
    }

    /// A list of texts on which no route depends: one that is none is left out with a line.
    fn unimportant_texts(&mut self, place: &Place<'_>) -> Vec<String> {
        self.texts(place).unwrap_or_else(|problem| {
            self.problems.push(problem);
            Vec::new()
        })
    }

    /// A number, possibly as text; anything else is left out with a line.
    fn number(&mut self, place: &Place<'_>) -> Option<u32> {
        let value = place.value?;
        let number = scalar(value).and_then(|text| text.parse().ok());
        if number.is_none() {
            self.problems.push(place.is_wrong("a number"));
        }
        number
    }
}

fn mac(place: &Place<'_>) -> Result<String, String> {
    if place.value.is_some_and(|value| !value.is_object()) {
        return Err(place.is_wrong("an object"));
    }
    let field = place.field("mac");
    match field.value {
        Some(Value::String(mac)) if !mac.is_empty() => Ok(mac.clone()),
        _ => Err(field.is_wrong("a MAC address")),
    }
}

fn optional_text(place: &Place<'_>) -> Result<Option<String>, String> {
    place
        .value
        .map(|value| scalar(value).ok_or_else(|| place.is_wrong("a text")))
        .transpose()
}

/// The members of an object or list, each with its name or index.
fn entries<'a>(place: &Place<'a>, value: &'a Value) -> Vec<(String, Place<'a>)> {
    match value {
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| {
                let name = format!("{}.{key}", place.name);
                let value = Some(value);
                (key.clone(), Place { name, value })
            })
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, value)| (index.to_string(), place.item(index, value)))
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn real() -> Value {
        json!({
            "instance": {
                "attributes": {"ssh-keys": "a:ssh-ed25519 AAAA", "sshKeys": "", "enable-oslogin": "TRUE"},
                "hostname": "vm.c.project.internal", "id": 4_242_424_242_424_242_424_u64, "name": "vm",
                "machineType": "projects/1/machineTypes/n1-standard-2", "zone": "projects/1/zones/us-central1-f",
                "maintenanceEvent": "NONE", "preempted": "FALSE", "virtualClock": {"driftToken": "0"},
                "networkInterfaces": [{
                    "ip": "10.128.0.2", "mac": "42:01:0a:80:00:02", "mtu": 1460, "dhcpv6Refresh": "1",
                    "forwardedIps": ["203.0.113.7"], "forwardedIpv6s": ["2001:db8::1"],
                    "ipAliases": ["10.128.5.0/28"], "targetInstanceIps": []}],
                "vlanNetworkInterfaces": {"0": {"5": {"mac": "42:01:0a:80:00:05", "vlan": 5, "mtu": 1400,
                    "parentInterface": "/computeMetadata/v1/instance/network-interfaces/0/",
                    "ip": "10.0.5.2", "gateway": "10.0.5.1", "ipv6": ["2001:db8:5::2"], "gatewayIpv6": "fe80::1"}}},
                "somethingNew": {"a": [1]}},
            "project": {"projectId": "project", "numericProjectId": 1, "attributes": {}},
            "universe": {"universeDomain": "googleapis.com"}})
    }

    #[test]
    fn a_real_answer_is_read_completely() {
        let document = Document::parse(&real());
        assert_eq!(document.problems, Vec::<String>::new());
        let Document {
            instance,
            project,
            universe_domain,
            ..
        } = document;
        let text = |text: &str| Presence::Present(text.to_owned());
        assert_eq!(instance.attributes.present().unwrap().len(), 3);
        assert_eq!(instance.id, text("4242424242424242424"));
        assert_eq!(instance.hostname, text("vm.c.project.internal"));
        assert_eq!(instance.machine_type, text("n1-standard-2"));
        assert_eq!(instance.zone, text("us-central1-f"));
        assert_eq!(instance.drift_token, text("0"));
        assert_eq!(instance.preempted, Presence::Present(false));
        assert_eq!(project.project_id, text("project"));
        assert_eq!(project.numeric_project_id, text("1"));
        assert_eq!(project.attributes, Presence::Present(Attributes::new()));
        assert_eq!(universe_domain, text("googleapis.com"));
        let interface = &instance.network_interfaces.present().unwrap()[0];
        assert_eq!(interface.mac, "42:01:0a:80:00:02");
        assert_eq!(interface.forwarded_ips, ["203.0.113.7"]);
        assert_eq!(interface.forwarded_ipv6s, ["2001:db8::1"]);
        assert_eq!(interface.ip_aliases, ["10.128.5.0/28"]);
        assert_eq!(interface.dhcpv6_refresh.as_deref(), Some("1"));
        assert_eq!(interface.mtu, Some(1460));
        let vlan = &instance.vlan_network_interfaces.present().unwrap()[0];
        assert_eq!((vlan.parent, vlan.vlan, vlan.mtu), (0, 5, Some(1400)));
        assert_eq!(
            (vlan.ip.as_str(), vlan.gateway.as_str()),
            ("10.0.5.2", "10.0.5.1")
        );
    }

    /// The same document with every field name but those of attributes changed.
    fn renamed(value: &Value, rename: fn(&str) -> String) -> Value {
        match value {
            Value::Object(object) => Value::Object(
                object
                    .iter()
                    .map(|(key, value)| match key.as_str() {
                        "attributes" => (rename(key), value.clone()),
                        _ => (rename(key), renamed(value, rename)),
                    })
                    .collect(),
            ),
            Value::Array(items) => items.iter().map(|item| renamed(item, rename)).collect(),
            other => other.clone(),
        }
    }

    #[test]
    fn camel_kebab_and_any_case_are_the_same_names() {
        let kebab = |name: &str| {
            name.chars().fold(String::new(), |mut name, character| {
                if character.is_ascii_uppercase() {
                    name.push('-');
                }
                name.push(character.to_ascii_lowercase());
                name
            })
        };
        let expected = Document::parse(&real());
        assert_eq!(Document::parse(&renamed(&real(), kebab)), expected);
        assert_eq!(
            Document::parse(&renamed(&real(), str::to_ascii_uppercase)),
            expected
        );
    }

    #[test]
    fn absent_empty_and_malformed_attributes_are_three_things() {
        let parsed = |value: Value| Document::parse(&value).instance.attributes;
        assert_eq!(parsed(json!({})), Presence::Absent);
        assert_eq!(parsed(json!({"instance": {}})), Presence::Absent);
        assert_eq!(
            parsed(json!({"instance": {"attributes": null}})),
            Presence::Absent
        );
        assert_eq!(
            parsed(json!({"instance": {"attributes": {}}})),
            Presence::Present(Attributes::new())
        );
        for wrong in [
            json!([]),
            json!(""),
            json!(0),
            json!({"ssh-keys": {}}),
            json!({"ssh-keys": null}),
        ] {
            let attributes = parsed(json!({"instance": {"attributes": wrong}}));
            assert!(
                matches!(attributes, Presence::Malformed(_)),
                "{attributes:?}"
            );
        }
        let numbers = parsed(json!({"instance": {"attributes": {"a": 1, "b": true, "c": "x"}}}));
        let numbers = numbers.present().unwrap();
        assert_eq!(
            (numbers["a"].as_str(), numbers["b"].as_str()),
            ("1", "TRUE")
        );
    }

    #[test]
    fn a_malformed_entry_costs_only_itself_and_keeps_its_place() {
        let mut value = real();
        let good = value["instance"]["networkInterfaces"][0].clone();
        value["instance"]["networkInterfaces"] = json!([
            {"mac": 7},
            {"mac": "42:01:0a:80:00:03", "forwardedIps": ["192.0.2.1", 5, "192.0.2.2"], "mtu": "1500"},
            {"mac": "42:01:0a:80:00:04", "forwardedIps": "192.0.2.1"},
            "what",
            good,
        ]);
        let document = Document::parse(&value);
        let interfaces = document.instance.network_interfaces.present().unwrap();
        let macs: Vec<&str> = interfaces
            .iter()
            .map(|interface| interface.mac.as_str())
            .collect();
        assert_eq!(macs, ["", "42:01:0a:80:00:03", "", "", "42:01:0a:80:00:02"]);
        assert_eq!(interfaces[1].forwarded_ips, ["192.0.2.1", "192.0.2.2"]);
        assert_eq!(interfaces[1].mtu, Some(1500));
        assert_eq!(
            document.problems,
            [
                "instance.networkInterfaces[0].mac is a number where a MAC address is expected",
                "instance.networkInterfaces[1].forwardedIps[1] is a number where a text is expected",
                "instance.networkInterfaces[2].forwardedIps is a text where a list is expected",
                "instance.networkInterfaces[3] is a text where an object is expected",
            ]
        );
    }

    #[test]
    fn problems_name_the_field_and_never_the_value() {
        let document = Document::parse(&json!({"instance": {
            "attributes": {"ssh-keys": ["canary"]}, "hostname": {"canary": "canary"}, "networkInterfaces": "canary",
            "preempted": "canary"}, "project": "canary"}));
        assert_eq!(document.problems.len(), 5, "{:?}", document.problems);
        assert!(!format!("{:?}", document.problems).contains("canary"));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z0-9:./]{0,8}".prop_map(Value::from),
        ];
        let name = prop_oneof![
            Just("instance"),
            Just("project"),
            Just("attributes"),
            Just("networkInterfaces"),
            Just("mac"),
            Just("forwarded-ips"),
            Just("vlanNetworkInterfaces"),
            Just("virtual-clock"),
            Just("0"),
            Just("universe"),
        ];
        leaf.prop_recursive(6, 64, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((name.clone().prop_map(str::to_owned), inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_json_gives_a_document(value in any_json()) {
            let document = Document::parse(&value);
            let attributes = value.get("instance").and_then(|instance| instance.get("attributes"));
            if !attributes.is_some_and(Value::is_object) {
                prop_assert_eq!(document.instance.attributes.present(), None);
            }
        }

        #[test]
        fn every_sequence_of_bytes_gives_a_document_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Document::from_bytes(&bytes);
        }
    }
}
