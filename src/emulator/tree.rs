//! The tree of metadata: names, paths, directories, and how values are written. Pure.
//!
//! The tree is the JSON of the server (`networkInterfaces`); its paths have dashes (`network-interfaces`). Both lead to the
//! same place, except below `attributes` and `guestAttributes`, where names are exactly themselves.

use std::fmt::Write;

use serde_json::{Map, Value};

/// Lists that are one value; all other lists are directories, with the numbers from 0 as names.
const VALUE_LISTS: [&str; 6] = ["aliases", "dnsServers", "ipv6", "ipv6s", "scopes", "tags"];

/// Objects whose members have names of their own.
const EXACT: [&str; 2] = ["attributes", "guestAttributes"];

/// A place in the tree.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    /// What is there.
    pub value: &'a Value,
    /// The last name on the way to it, as in the JSON; empty for the root.
    pub name: &'a str,
    /// Whether the names below it are exactly themselves.
    exact: bool,
}

impl<'a> Node<'a> {
    /// The root of a tree.
    #[must_use]
    pub fn root(value: &'a Value) -> Self {
        Self {
            value,
            name: "",
            exact: false,
        }
    }

    /// The place at a path, given as decoded names.
    #[must_use]
    pub fn at(self, path: &[String]) -> Option<Self> {
        path.iter().try_fold(self, |node, name| node.child(name))
    }

    /// One step down.
    #[must_use]
    pub fn child(self, name: &str) -> Option<Self> {
        if !self.is_directory() {
            return None;
        }
        match self.value {
            Value::Object(object) => {
                let key = key_of(object, name, self.exact)?;
                let (key, value) = object.get_key_value(key)?;
                Some(self.below(key, value))
            }
            Value::Array(items) => {
                let index: usize = name.parse().ok()?;
                Some(self.below("", items.get(index)?))
            }
            _ => None,
        }
    }

    fn below(self, name: &'a str, value: &'a Value) -> Self {
        Self {
            value,
            name,
            exact: self.exact || EXACT.contains(&name),
        }
    }

    /// Whether its path ends in a slash.
    #[must_use]
    pub fn is_directory(self) -> bool {
        match self.value {
            Value::Object(_) => true,
            Value::Array(_) => !VALUE_LISTS.contains(&self.name),
            _ => false,
        }
    }

    /// What is in it: each name as it is in a path, and the place.
    #[must_use]
    pub fn children(self) -> Vec<(String, Node<'a>)> {
        let children: Vec<(String, Node<'a>)> = match self.value {
            Value::Object(object) => object
                .iter()
                .map(|(key, value)| {
                    let name = if self.exact { key.clone() } else { kebab(key) };
                    (name, self.below(key, value))
                })
                .collect(),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(index, value)| (index.to_string(), self.below("", value)))
                .collect(),
            _ => Vec::new(),
        };
        children
            .into_iter()
            .filter(|(_, child)| !child.value.is_null())
            .collect()
    }

    /// The entries of a directory, one to a line; directories end in a slash.
    #[must_use]
    pub fn listing(self) -> Vec<String> {
        self.children()
            .into_iter()
            .map(|(name, child)| {
                if child.is_directory() {
                    name + "/"
                } else {
                    name
                }
            })
            .collect()
    }

    /// The value as text.
    #[must_use]
    pub fn text(self) -> String {
        match self.value {
            Value::String(text) => text.clone(),
            Value::Bool(true) => "TRUE".to_owned(),
            Value::Bool(false) => "FALSE".to_owned(),
            Value::Number(number) => number.to_string(),
            // Tags are documented as JSON also in the text form; other lists have a line for each item.
            Value::Array(items) if self.name != "tags" => items
                .iter()
                .map(|item| self.below("", item).text() + "\n")
                .collect(),
            other => other.to_string(),
        }
    }

    /// All values below a directory, `path value` to a line, as `recursive=true&alt=text` writes them.
    #[must_use]
    pub fn recursive_text(self) -> String {
        let mut text = String::new();
        self.write_lines("", &mut text);
        text
    }

    fn write_lines(self, prefix: &str, text: &mut String) {
        for (name, child) in self.children() {
            if child.is_directory() {
                child.write_lines(&format!("{prefix}{name}/"), text);
            } else {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{prefix}{name} {}", child.text().trim_end());
            }
        }
    }
}

/// The key of an object that a name of a path means.
fn key_of<'a>(object: &'a Map<String, Value>, name: &str, exact: bool) -> Option<&'a str> {
    let keys = || object.iter().map(|(key, _)| key.as_str());
    keys().find(|key| *key == name).or_else(|| {
        if exact {
            None
        } else {
            keys().find(|key| kebab(key) == name)
        }
    })
}

/// `networkInterfaces` to `network-interfaces`.
#[must_use]
pub fn kebab(name: &str) -> String {
    let mut kebab = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            kebab.push('-');
        }
        kebab.push(character.to_ascii_lowercase());
    }
    kebab
}

/// `network-interfaces` to `networkInterfaces`.
#[must_use]
pub fn camel(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut upper = false;
    for character in name.chars() {
        if character == '-' && !camel.is_empty() {
            upper = true;
        } else if std::mem::take(&mut upper) {
            camel.push(character.to_ascii_uppercase());
        } else {
            camel.push(character);
        }
    }
    camel
}

/// Puts a value at a path, making the objects on the way.
///
/// # Errors
/// When the way leads through a value, or past the end of a list.
pub fn set(tree: &mut Value, path: &[String], value: Value) -> Result<(), String> {
    *reach(tree, path)? = value;
    Ok(())
}

/// Merges a value into what is at a path, by JSON merge patch (RFC 7386): objects are merged, `null` removes.
///
/// # Errors
/// Those of [`set`].
pub fn patch(tree: &mut Value, path: &[String], patch: &Value) -> Result<(), String> {
    if patch.is_null() && !path.is_empty() {
        remove(tree, path);
        return Ok(());
    }
    merge(reach(tree, path)?, patch);
    Ok(())
}

/// Takes away what is at a path. Returns whether there was something.
pub fn remove(tree: &mut Value, path: &[String]) -> bool {
    let Some((last, parents)) = path.split_last() else {
        *tree = Value::Object(Map::new());
        return true;
    };
    if Node::root(tree).at(path).is_none() {
        return false;
    }
    match reach(tree, parents) {
        Ok(Value::Object(object)) => {
            let exact = parents
                .iter()
                .any(|name| EXACT.contains(&camel(name).as_str()));
            let key = key_of(object, last, exact).map(str::to_owned);
            key.is_some_and(|key| object.remove(&key).is_some())
        }
        Ok(Value::Array(items)) => match last.parse::<usize>() {
            Ok(index) if index < items.len() => {
                items.remove(index);
                true
            }
            _ => false,
        },
        _ => false,
    }
}

fn reach<'a>(tree: &'a mut Value, path: &[String]) -> Result<&'a mut Value, String> {
    let mut exact = false;
    let mut place = tree;
    for name in path {
        if place.is_null() {
            *place = Value::Object(Map::new());
        }
        place = match place {
            Value::Object(object) => {
                let key = match key_of(object, name, exact) {
                    Some(key) => key.to_owned(),
                    None if exact => name.clone(),
                    None => camel(name),
                };
                exact = exact || EXACT.contains(&key.as_str());
                object.entry(key).or_insert(Value::Null)
            }
            Value::Array(items) => {
                let index: usize = name
                    .parse()
                    .map_err(|_| format!("{name} is no place in a list"))?;
                if index == items.len() {
                    items.push(Value::Null);
                }
                items
                    .get_mut(index)
                    .ok_or_else(|| format!("the list has no place {index}"))?
            }
            _ => return Err(format!("there is a value on the way to {name}")),
        };
    }
    Ok(place)
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Value::Object(object) = target {
        for (name, value) in patch {
            if value.is_null() {
                object.remove(name);
            } else {
                merge(object.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('/')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn tree() -> Value {
        json!({"instance": {
            "attributes": {"ssh-keys": "k", "sshKeys": "old", "camelCase": "c"},
            "disks": [{"deviceName": "boot", "index": 0}], "tags": ["a", "b"], "preempted": false,
            "networkInterfaces": [{"ip": "10.0.0.2", "forwardedIps": ["192.0.2.1"], "dnsServers": ["169.254.169.254"]}],
            "licenses": [], "nothing": null}})
    }

    #[test]
    fn paths_lead_to_values_by_both_names() {
        let tree = tree();
        let text = |at: &str| Node::root(&tree).at(&path(at)).map(Node::text);
        for (at, expected) in [
            ("instance/network-interfaces/0/ip", Some("10.0.0.2")),
            ("instance/networkInterfaces/0/ip", Some("10.0.0.2")),
            (
                "instance/network-interfaces/0/forwarded-ips/0",
                Some("192.0.2.1"),
            ),
            (
                "instance/network-interfaces/0/dns-servers",
                Some("169.254.169.254\n"),
            ),
            ("instance/network-interfaces/0/dns-servers/0", None),
            ("instance/network-interfaces/1/ip", None),
            ("instance/attributes/ssh-keys", Some("k")),
            ("instance/attributes/sshKeys", Some("old")),
            ("instance/attributes/camel-case", None),
            ("instance/preempted", Some("FALSE")),
            ("instance/tags", Some("[\"a\",\"b\"]")),
            ("instance/disks/0/index", Some("0")),
        ] {
            assert_eq!(text(at).as_deref(), expected, "{at}");
        }
    }

    #[test]
    fn listings_have_dashes_and_slashes() {
        let tree = tree();
        let listing = |at: &str| Node::root(&tree).at(&path(at)).unwrap().listing();
        assert_eq!(
            listing("instance"),
            [
                "attributes/",
                "disks/",
                "licenses/",
                "network-interfaces/",
                "preempted",
                "tags"
            ]
        );
        assert_eq!(
            listing("instance/attributes"),
            ["camelCase", "ssh-keys", "sshKeys"]
        );
        assert_eq!(listing("instance/network-interfaces"), ["0/"]);
        assert_eq!(listing("instance/licenses"), Vec::<String>::new());
    }

    #[test]
    fn the_recursive_text_is_the_documented_one() {
        let tree = tree();
        let disks = Node::root(&tree).at(&path("instance/disks")).unwrap();
        assert_eq!(disks.recursive_text(), "0/device-name boot\n0/index 0\n");
    }

    #[test]
    fn values_are_set_patched_and_removed() {
        let mut tree = tree();
        set(&mut tree, &path("instance/attributes/new-key"), json!("n")).unwrap();
        set(
            &mut tree,
            &path("instance/virtual-clock/drift-token"),
            json!("7"),
        )
        .unwrap();
        set(
            &mut tree,
            &path("instance/network-interfaces/0/forwarded-ips/1"),
            json!("192.0.2.9"),
        )
        .unwrap();
        assert_eq!(tree["instance"]["attributes"]["new-key"], "n");
        assert_eq!(tree["instance"]["virtualClock"]["driftToken"], "7");
        assert_eq!(
            tree["instance"]["networkInterfaces"][0]["forwardedIps"],
            json!(["192.0.2.1", "192.0.2.9"])
        );
        assert!(set(&mut tree, &path("instance/tags/9"), json!(1)).is_err());
        assert!(set(&mut tree, &path("instance/preempted/x"), json!(1)).is_err());
        patch(
            &mut tree,
            &path("instance/attributes/sshKeys"),
            &Value::Null,
        )
        .unwrap();
        patch(
            &mut tree,
            &[],
            &json!({"instance": {"disks": null, "attributes": {"ssh-keys": "2"}}}),
        )
        .unwrap();
        assert_eq!(
            tree["instance"]["attributes"],
            json!({"ssh-keys": "2", "camelCase": "c", "new-key": "n"})
        );
        assert!(tree["instance"].get("disks").is_none());
        assert!(remove(
            &mut tree,
            &path("instance/network-interfaces/0/forwarded-ips/0")
        ));
        assert!(!remove(&mut tree, &path("instance/attributes/camel-case")));
        assert!(!remove(&mut tree, &path("instance/what")));
    }

    proptest! {
        #[test]
        fn names_go_both_ways(name in "[a-z][a-z0-9]{0,6}([A-Z][a-z0-9]{0,5}){0,3}") {
            prop_assert_eq!(camel(&kebab(&name)), name);
        }

        #[test]
        fn what_is_set_is_there(names in prop::collection::vec("[a-z]{1,6}(-[a-z]{1,4})?", 1..5), number in any::<i32>()) {
            let mut tree = Value::Null;
            set(&mut tree, &names, json!(number)).unwrap();
            prop_assert_eq!(Node::root(&tree).at(&names).map(Node::text), Some(number.to_string()));
            prop_assert!(remove(&mut tree, &names));
            prop_assert!(Node::root(&tree).at(&names).is_none());
        }
    }
}
