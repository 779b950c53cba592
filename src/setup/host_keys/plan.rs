//! Which host keys to generate. Pure.
//!
//! A host key is renewed when the disk has come to another instance, and only then: whoever has logged in before must not
//! be told that the machine has changed. What is missing altogether is made at once, whatever the instance is.

use serde::{Deserialize, Serialize};

use crate::system::order::{Map, Set};

/// Host keys by type, each with the public key: the second word of the `.pub` file.
pub type Keys = Map<String, String>;

/// What we made, for an instance or in a boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// The keys.
    pub keys: Keys,
    /// The types that were tried without success.
    #[serde(default)]
    pub unfinished: Set<String>,
}

/// What there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The private keys in the directory; an unreadable public key is an empty text.
    pub present: Keys,
    /// The instance for which host keys were last generated.
    pub stored: Option<String>,
    /// What we made for the present instance, or in this boot before it was known.
    pub made: Made,
}

/// Why keys are generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// None are: they are this instance's.
    SameInstance,
    /// None are: what is there is taken for this instance's, as asked.
    Kept,
    /// There was none at all.
    NoneAtAll,
    /// The last run did not finish.
    Unfinished,
    /// The disk was set up for another instance, or never.
    NewInstance,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The types to generate.
    pub generate: Set<String>,
    /// Why.
    pub reason: Reason,
}

/// The configured types that can be part of a file's name, in lower case, and those that cannot (spec/core.md BUG 29).
#[must_use]
pub fn types(configured: &[String]) -> (Set<String>, Vec<String>) {
    let mut types = Set::new();
    let mut refused = Vec::new();
    for word in configured {
        let word = word.trim();
        let lower = word.to_ascii_lowercase();
        if is_type(&lower) {
            types.insert(lower);
        } else if !word.is_empty() {
            refused.push(word.to_owned());
        }
    }
    (types, refused)
}

/// Whether a word can be a type in the name of a key file.
fn is_type(word: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !word.is_empty() && word.len() <= 32 && word.bytes().all(valid)
}

/// The type of the private key in a file of this name.
#[must_use]
pub fn type_of(file_name: &str) -> Option<&str> {
    let word = file_name.strip_prefix("ssh_host_")?.strip_suffix("_key")?;
    is_type(word).then_some(word)
}

/// What to do before it is known which instance this is: a machine without any host key gets them.
#[must_use]
pub fn before_metadata(observed: &Observed, configured: &Set<String>) -> Plan {
    let none = observed.present.is_empty();
    Plan {
        generate: configured.iter().filter(|_| none).cloned().collect(),
        reason: if none {
            Reason::NoneAtAll
        } else {
            Reason::SameInstance
        },
    }
}

/// What to do for an instance. With `keep`, present keys are this instance's, whatever was stored.
#[must_use]
pub fn for_instance(
    observed: &Observed,
    configured: &Set<String>,
    instance: &str,
    keep: bool,
) -> Plan {
    let none = observed.present.is_empty();
    let same = observed.stored.as_deref() == Some(instance);
    let unfinished = observed.made.unfinished.iter();
    let unfinished = unfinished
        .filter(|name| configured.contains(*name))
        .cloned();
    let is_ours = |name: &String| {
        let public = observed.present.get(name);
        public.is_some_and(|public| {
            !public.is_empty() && observed.made.keys.get(name) == Some(public)
        })
    };
    let (generate, reason): (Set<String>, Reason) = match (none, same, keep) {
        (true, ..) => (configured.clone(), Reason::NoneAtAll),
        (false, true, _) => (unfinished.collect(), Reason::Unfinished),
        (false, false, true) => (Set::new(), Reason::Kept),
        (false, false, false) => {
            let all = configured.iter().chain(observed.present.keys());
            let generate = all.filter(|name| !is_ours(name)).cloned().collect();
            (generate, Reason::NewInstance)
        }
    };
    let reason = match reason {
        Reason::Unfinished if generate.is_empty() => Reason::SameInstance,
        reason => reason,
    };
    Plan { generate, reason }
}

/// The types that would leave another instance's key in place: those that were there before and could not be renewed. As
/// long as there is one, the instance id is not stored.
#[must_use]
pub fn stale(observed: &Observed, plan: &Plan, failed: &Set<String>) -> Set<String> {
    if plan.reason != Reason::NewInstance {
        return Set::new();
    }
    let present = |name: &&String| observed.present.contains_key(*name);
    failed.iter().filter(present).cloned().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(words: &[&str]) -> Set<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn keys(words: &[&str], end: &str) -> Keys {
        let key = |word: &&str| ((*word).to_owned(), format!("{word}{end}"));
        words.iter().map(key).collect()
    }

    fn observed(
        present: &[&str],
        stored: Option<&str>,
        made: &[&str],
        unfinished: &[&str],
    ) -> Observed {
        Observed {
            present: keys(present, ""),
            stored: stored.map(String::from),
            made: Made {
                keys: keys(made, ""),
                unfinished: set(unfinished),
            },
        }
    }

    #[test]
    fn keys_are_renewed_for_another_instance_and_for_no_other_reason() {
        type Case<'a> = (
            &'a [&'a str],
            Option<&'a str>,
            &'a [&'a str],
            &'a [&'a str],
            bool,
            &'a [&'a str],
            Reason,
        );
        use Reason::{Kept, NewInstance, NoneAtAll, SameInstance, Unfinished};
        let (all, two) = (&["dsa", "ecdsa", "rsa"], &["ecdsa", "rsa"]);
        #[rustfmt::skip]
        let cases: [Case<'_>; 9] = [
            // The disk of another instance, or of nobody: those that are there too, configured or not.
            (&["dsa", "rsa"], Some("1"), &[], &[], false, all, NewInstance),
            (&["rsa"], None, &[], &[], false, two, NewInstance),
            // A crash after the first of them.
            (&["dsa", "rsa"], Some("1"), &["rsa"], &[], false, &["dsa", "ecdsa"], NewInstance),
            // Made in this boot, before the instance was known.
            (two, None, two, &[], false, &[], NewInstance),
            // The same instance: a missing type is somebody's wish.
            (&["rsa"], Some("2"), &[], &[], false, &[], SameInstance),
            (&["rsa"], Some("2"), &["rsa"], &["ecdsa", "foo"], false, &["ecdsa"], Unfinished),
            (&[], Some("2"), &[], &[], false, two, NoneAtAll),
            (&[], Some("1"), &[], &[], true, two, NoneAtAll),
            // A package that is installed on a running machine.
            (&["rsa"], None, &[], &[], true, &[], Kept),
        ];
        for (present, stored, made, unfinished, keep, generate, reason) in cases {
            let observed = observed(present, stored, made, unfinished);
            let plan = for_instance(&observed, &set(&["ecdsa", "rsa"]), "2", keep);
            let generate = set(generate);
            assert_eq!(
                plan,
                Plan { generate, reason },
                "{present:?} {stored:?} {made:?}"
            );
        }
    }

    #[test]
    fn before_the_instance_is_known_only_a_machine_without_keys_gets_them() {
        let configured = set(&["ecdsa"]);
        let none = before_metadata(&observed(&[], Some("1"), &[], &[]), &configured);
        assert_eq!(none.generate, configured);
        let some = before_metadata(&observed(&["dsa"], Some("1"), &[], &[]), &configured);
        assert_eq!(some.generate, set(&[]));
    }

    #[test]
    fn a_key_that_is_another_than_the_one_we_made_is_renewed() {
        let mut observed = observed(&["rsa"], Some("1"), &["rsa"], &[]);
        observed.made.keys = keys(&["rsa"], " of another");
        let plan = for_instance(&observed, &set(&["rsa"]), "2", false);
        assert_eq!(plan.generate, set(&["rsa"]));
        observed.present = keys(&["rsa"], "");
        observed.present.insert("rsa".into(), String::new());
        observed.made.keys.insert("rsa".into(), String::new());
        let plan = for_instance(&observed, &set(&["rsa"]), "2", false);
        assert_eq!(
            plan.generate,
            set(&["rsa"]),
            "nor is an unreadable one ours"
        );
    }

    #[test]
    fn a_key_that_could_not_be_renewed_is_stale_and_a_missing_one_is_not() {
        let observed = observed(&["dsa"], Some("1"), &[], &[]);
        let plan = for_instance(&observed, &set(&["ecdsa", "foo"]), "2", false);
        assert_eq!(stale(&observed, &plan, &set(&["foo"])), set(&[]));
        assert_eq!(
            stale(&observed, &plan, &set(&["dsa", "foo"])),
            set(&["dsa"])
        );
    }

    #[test]
    fn types_are_words_that_can_be_in_a_files_name() {
        let configured = [" ecdsa ", "RSA", "", "../x", "a b", "ed25519"].map(String::from);
        let (types, refused) = types(&configured);
        assert_eq!(types, set(&["ecdsa", "ed25519", "rsa"]));
        assert_eq!(refused, ["../x", "a b"]);
        for (name, expected) in [
            ("ssh_host_ed25519_key", Some("ed25519")),
            ("ssh_host_rsa_key.pub", None),
            ("ssh_host_key", None),
            ("ssh_host__key", None),
            ("ssh_host_RSA_key", None),
            ("xssh_host_rsa_key", None),
        ] {
            assert_eq!(type_of(name), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn after_a_whole_run_nothing_is_left_to_do(
            present in prop::collection::btree_set("[a-d]", 0..4),
            configured in prop::collection::btree_set("[a-d]", 0..4),
            stored in prop::option::of("[12]"),
            unfinished in prop::collection::btree_set("[a-d]", 0..3),
        ) {
            let configured: Set<String> = configured.into_iter().collect();
            let unfinished = unfinished.into_iter().collect();
            let key = |name: &String| (name.clone(), format!("old {name}"));
            let mut observed = Observed {
                present: present.iter().map(key).collect(),
                stored,
                made: Made { keys: Keys::new(), unfinished },
            };
            let first = for_instance(&observed, &configured, "2", false);
            for name in &first.generate {
                observed.present.insert(name.clone(), format!("new {name}"));
                observed.made.keys.insert(name.clone(), format!("new {name}"));
                observed.made.unfinished.remove(name);
            }
            // Killed before the id is stored, or not: the second run makes nothing anew.
            let again = for_instance(&observed, &configured, "2", false);
            prop_assert!(again.generate.is_empty() || observed.present.is_empty());
            observed.stored = Some("2".into());
            let after = for_instance(&observed, &configured, "2", false);
            prop_assert!(after.generate.is_empty() || observed.present.is_empty());
            if first.reason == Reason::NewInstance {
                prop_assert!(observed.present.values().all(|key| key.starts_with("new")));
            }
        }
    }
}
