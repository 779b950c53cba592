//! The store: the tree that the servers show, and its versions. Pure: no HTTP, no files, no clock.

use std::cell::OnceCell;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Map, Value, json};

use crate::emulator::tree::{self, Node};

/// The most names that a path may have where something is put; the real tree has fewer than ten. The JSON that is put
/// there has its parser's own limit.
const DEPTH_LIMIT: usize = 64;

/// The metadata of a made-up VM.
///
/// It is written like the recursive JSON answer of the real server, with two additions that the answer does not show:
/// `oslogin` (see [`crate::emulator::oslogin`]) and `token` or `identity` of a service account.
#[derive(Clone, Debug)]
pub struct Store {
    /// As it was put in.
    tree: Value,
    /// As the server shows it.
    view: Value,
    /// The whole of that as it goes out, once somebody has asked: every agent waits for it, and it can be large.
    whole: OnceCell<Written>,
}

/// A value as it goes out.
#[derive(Clone, Debug)]
struct Written {
    json: String,
    etag: String,
}

impl Written {
    fn of(value: &Value) -> Self {
        let json = value.to_string();
        let mut hasher = DefaultHasher::new();
        json.hash(&mut hasher);
        Self {
            etag: format!("{:016x}", hasher.finish()),
            json,
        }
    }
}

/// What is wrong with the text of a tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It is not JSON.
    #[error("line {line}, column {column}: {problem}")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What the parser says.
        problem: String,
    },
    /// It is JSON, but not an object.
    #[error("the whole must be an object such as {{\"instance\": {{...}}, \"project\": {{...}}}}")]
    NotAnObject,
    /// A change is not possible.
    #[error("{0}")]
    NoPlace(String),
}

impl Store {
    /// A store with this tree.
    ///
    /// # Errors
    /// [`StoreError::NotAnObject`].
    pub fn new(tree: Value) -> Result<Self, StoreError> {
        if !tree.is_object() {
            return Err(StoreError::NotAnObject);
        }
        Ok(Self {
            view: view(&tree),
            tree,
            whole: OnceCell::new(),
        })
    }

    /// A small VM with one network interface, one service account and no users: for tests and for a first try.
    #[must_use]
    pub fn example() -> Self {
        Self::parse(include_str!("example.json"))
            .expect("example.json is a JSON object: a test reads it")
    }

    /// A store with the tree that this text describes.
    ///
    /// # Errors
    /// [`StoreError::Syntax`] with line and column, [`StoreError::NotAnObject`].
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let tree = serde_json::from_slice(text.as_bytes()).map_err(|error| {
            let told = error.to_string();
            let problem = told.split(" at line ").next().unwrap_or_default();
            StoreError::Syntax {
                line: error.line(),
                column: error.column(),
                problem: problem.to_owned(),
            }
        })?;
        Self::new(tree)
    }

    /// The tree as it was put in.
    #[must_use]
    pub fn tree(&self) -> &Value {
        &self.tree
    }

    /// The place at a path as the server shows it, given as decoded names.
    #[must_use]
    pub fn node(&self, path: &[String]) -> Option<Node<'_>> {
        Node::root(&self.view).at(path)
    }

    /// The version of what is at a path: the same for the same content, another one for another; `None` for nothing.
    #[must_use]
    pub fn etag(&self, path: &[String]) -> Option<String> {
        if path.is_empty() {
            return Some(self.whole().etag.clone());
        }
        self.node(path).map(|node| Written::of(node.value).etag)
    }

    /// What is at a path with all that is below it, as JSON, and its version; `None` for nothing.
    #[must_use]
    pub fn json(&self, path: &[String]) -> Option<(String, String)> {
        if path.is_empty() {
            let whole = self.whole();
            return Some((whole.json.clone(), whole.etag.clone()));
        }
        let written = Written::of(self.node(path)?.value);
        Some((written.json, written.etag))
    }

    fn whole(&self) -> &Written {
        self.whole.get_or_init(|| Written::of(&self.view))
    }

    /// Puts a value at a path such as `instance/attributes/ssh-keys`.
    ///
    /// # Errors
    /// [`StoreError`] when the way leads through a value; the tree is then as it was.
    pub fn set(&mut self, path: &str, value: Value) -> Result<(), StoreError> {
        self.change(|tree| tree::set(tree, &place(path)?, value))
    }

    /// Merges a value into what is at a path (RFC 7386); the empty path is the root.
    ///
    /// # Errors
    /// As for [`Store::set`].
    pub fn patch(&mut self, path: &str, patch: &Value) -> Result<(), StoreError> {
        self.change(|tree| tree::patch(tree, &place(path)?, patch))
    }

    /// Takes away what is at a path. Returns whether there was something.
    pub fn remove(&mut self, path: &str) -> bool {
        let removed = tree::remove(&mut self.tree, &names(path));
        self.view = view(&self.tree);
        self.whole.take();
        removed
    }

    /// Whether guest attributes can be read and written: `enable-guest-attributes`, instance over project.
    #[must_use]
    pub fn guest_attributes_enabled(&self) -> bool {
        ["instance", "project"]
            .iter()
            .find_map(|level| {
                let value = self
                    .tree
                    .get(level)?
                    .get("attributes")?
                    .get("enable-guest-attributes")?;
                match value.as_str().unwrap_or_default() {
                    yes if yes.eq_ignore_ascii_case("true") => Some(true),
                    no if no.eq_ignore_ascii_case("false") => Some(false),
                    _ => None,
                }
            })
            .unwrap_or(false)
    }

    fn change(
        &mut self,
        change: impl FnOnce(&mut Value) -> Result<(), String>,
    ) -> Result<(), StoreError> {
        let mut tree = self.tree.clone();
        change(&mut tree).map_err(StoreError::NoPlace)?;
        *self = Self::new(tree)?;
        Ok(())
    }
}

/// The names of a path.
#[must_use]
pub fn names(path: &str) -> Vec<String> {
    path.split('/')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The names of a path where something is to be put. A tree is walked by recursion, so it must not become too deep.
fn place(path: &str) -> Result<Vec<String>, String> {
    let names = names(path);
    if names.len() > DEPTH_LIMIT {
        return Err(format!("the path has more than {DEPTH_LIMIT} names"));
    }
    Ok(names)
}

/// The tree as the real server shows it: without our additions, with what is always there.
fn view(tree: &Value) -> Value {
    let mut view = tree.clone();
    let Value::Object(root) = &mut view else {
        return view;
    };
    root.insert("oslogin".into(), json!({"authenticate": {"sessions": {}}}));
    for level in ["instance", "project"] {
        let level = root.entry(level).or_insert_with(|| json!({}));
        if let Value::Object(level) = level {
            level.entry("attributes").or_insert_with(|| json!({}));
        }
    }
    if let Some(Value::Object(instance)) = root.get_mut("instance") {
        instance
            .entry("guestAttributes")
            .or_insert_with(|| json!({}));
        if let Some(Value::Object(accounts)) = instance.get_mut("serviceAccounts") {
            show_accounts(accounts);
        }
    }
    view
}

/// Hides the secrets of the service accounts, and shows each also by its address.
fn show_accounts(accounts: &mut Map<String, Value>) {
    let mut by_address = Vec::new();
    for account in accounts.values_mut().filter_map(Value::as_object_mut) {
        account.remove("token");
        account.remove("identity");
        if let Some(address) = account.get("email").and_then(Value::as_str) {
            by_address.push((address.to_owned(), Value::Object(account.clone())));
        }
    }
    for (address, account) in by_address {
        accounts.entry(address).or_insert(account);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> Vec<String> {
        names(path)
    }

    #[test]
    fn the_example_is_read() {
        let store = Store::example();
        assert_eq!(store.node(&at("instance/name")).unwrap().text(), "example");
        assert!(!store.guest_attributes_enabled());
    }

    #[test]
    fn a_broken_text_is_told_by_line_and_column() {
        let error = Store::parse("{\n  \"instance\": {\n    \"id\": ,\n").unwrap_err();
        assert_eq!(error.to_string(), "line 3, column 11: expected value");
        assert_eq!(Store::parse("[]").unwrap_err(), StoreError::NotAnObject);
    }

    #[test]
    fn a_path_without_end_is_refused() {
        let mut store = Store::example();
        let deep = "a/".repeat(30_000);
        assert!(store.set(&deep, json!(1)).is_err());
        assert!(store.patch(&deep, &json!({"b": 1})).is_err());
        assert!(!store.remove(&deep));
    }

    #[test]
    fn versions_change_with_what_is_below_and_only_then() {
        let mut store = Store::example();
        let root = store.etag(&[]);
        let project = store.etag(&at("project"));
        store.set("instance/attributes/a", json!("1")).unwrap();
        assert_ne!(store.etag(&[]), root);
        assert_eq!(store.etag(&at("project")), project);
        assert!(store.remove("instance/attributes/a"));
        assert_eq!(store.etag(&[]), root);
        assert_eq!(store.etag(&at("what")), None);
    }

    #[test]
    fn additions_are_not_shown() {
        let store = Store::new(json!({
            "oslogin": {"users": [{"name": "canary"}]},
            "instance": {"serviceAccounts": {"default": {"email": "a@b", "token": "canary", "identity": "canary"}}}}))
        .unwrap();
        let shown = store.node(&[]).unwrap().value.to_string();
        assert!(!shown.contains("canary"), "{shown}");
        assert!(shown.contains("\"a@b\":{"), "{shown}");
    }

    #[test]
    fn a_change_that_is_not_possible_changes_nothing() {
        let mut store = Store::example();
        let before = store.tree().clone();
        assert!(store.set("instance/name/x", json!(1)).is_err());
        assert!(store.patch("", &json!(5)).is_err());
        assert_eq!(store.tree(), &before);
    }

    #[test]
    fn guest_attributes_follow_the_instance_over_the_project() {
        for (instance, project, enabled) in [
            (None, None, false),
            (None, Some("TRUE"), true),
            (Some("FALSE"), Some("TRUE"), false),
            (Some("true"), None, true),
            (Some("yes"), None, false),
        ] {
            let mut store = Store::example();
            for (level, value) in [("instance", instance), ("project", project)] {
                if let Some(value) = value {
                    store
                        .set(
                            &format!("{level}/attributes/enable-guest-attributes"),
                            json!(value),
                        )
                        .unwrap();
                }
            }
            assert_eq!(
                store.guest_attributes_enabled(),
                enabled,
                "{instance:?} {project:?}"
            );
        }
    }
}
