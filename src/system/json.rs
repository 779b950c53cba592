//! JSON objects, put together in one place.
//!
//! `serde_json::json!` compiles for each member of an object what copies its name, turns the value into JSON, and puts both
//! into a map: some eighty bytes more than a list of names and values, with the tables for unwinding.

use serde_json::{Map, Value};

/// The object of these members.
#[must_use]
pub fn object<const N: usize>(mut members: [(&str, Value); N]) -> Value {
    from_slice(&mut members)
}

fn from_slice(members: &mut [(&str, Value)]) -> Value {
    let mut object = Map::new();
    for (name, value) in members {
        object.insert((*name).to_owned(), value.take());
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_what_the_macro_makes() {
        let made = object([
            ("b", 1.into()),
            ("a", Some("text").into()),
            ("c", Value::Null),
        ]);
        assert_eq!(made, serde_json::json!({"a": "text", "b": 1, "c": null}));
        assert_eq!(object([]), serde_json::json!({}));
    }
}
