//! Editing `authorized_keys`: only our marked pairs are ever touched. Pure, bytes in and bytes out (spec/core.md 6.6a).

/// The line before each key of ours.
pub const MARKER: &str = "# Added by Google";

/// The new contents of a file that shall hold exactly `keys` of ours; `None` when it holds them already.
///
/// Foreign lines survive byte for byte and in order, with whatever line ends and encoding they have. A file whose last
/// line has no end gets one before something is added to it.
#[must_use]
pub fn edit(present: &[u8], keys: &[&str]) -> Option<Vec<u8>> {
    let (foreign, own) = separate(present);
    if own
        .iter()
        .map(|line| trimmed(line))
        .eq(keys.iter().map(|key| key.as_bytes()))
    {
        return None;
    }
    let mut edited = foreign.concat();
    if !keys.is_empty() && edited.last().is_some_and(|byte| *byte != b'\n') {
        edited.push(b'\n');
    }
    for key in keys {
        edited.extend_from_slice(MARKER.as_bytes());
        edited.push(b'\n');
        edited.extend_from_slice(key.as_bytes());
        edited.push(b'\n');
    }
    Some(edited)
}

/// How many keys of ours a file holds.
#[must_use]
pub fn own_keys(present: &[u8]) -> usize {
    separate(present).1.len()
}

/// The keys of ours in a file, without their line ends.
#[must_use]
pub fn own_lines(present: &[u8]) -> Vec<&[u8]> {
    separate(present).1.into_iter().map(trimmed).collect()
}

/// Splits a file into foreign lines and the keys after our markers. A marker without a key after it is ours and no key.
fn separate(present: &[u8]) -> (Vec<&[u8]>, Vec<&[u8]>) {
    let (mut foreign, mut own) = (Vec::new(), Vec::new());
    let mut marked = false;
    for line in present.split_inclusive(|byte| *byte == b'\n') {
        if trimmed(line) == MARKER.as_bytes() {
            marked = true;
        } else if marked {
            own.push(line);
            marked = false;
        } else {
            foreign.push(line);
        }
    }
    (foreign, own)
}

fn trimmed(line: &[u8]) -> &[u8] {
    line.trim_ascii_end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edited(present: &str, keys: &[&str]) -> Option<String> {
        edit(present.as_bytes(), keys).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn our_pairs_are_replaced_and_nothing_else() {
        for (present, keys, expected) in [
            ("", vec![], None),
            ("", vec!["k1"], Some("# Added by Google\nk1\n")),
            ("own\n", vec!["k1"], Some("own\n# Added by Google\nk1\n")),
            ("own", vec!["k1"], Some("own\n# Added by Google\nk1\n")),
            ("own", vec![], None),
            (
                "own\r\n\r\n",
                vec!["k1"],
                Some("own\r\n\r\n# Added by Google\nk1\n"),
            ),
            (
                "# Added by Google\nk1\nown\n",
                vec!["k2"],
                Some("own\n# Added by Google\nk2\n"),
            ),
            ("# Added by Google\nk1\nown\n", vec!["k1"], None),
            ("# Added by Google\r\nk1\r\nown\r\n", vec!["k1"], None),
            ("a\n# Added by Google\nk1\nb\n", vec![], Some("a\nb\n")),
            (
                "# Added by Google\n# Added by Google\nk1\nown\n",
                vec![],
                Some("own\n"),
            ),
            (
                "own\n# Added by Google",
                vec!["k1"],
                Some("own\n# Added by Google\nk1\n"),
            ),
            ("# Added by Google and friends\nown\n", vec![], None),
        ] {
            assert_eq!(
                edited(present, &keys).as_deref(),
                expected,
                "{present:?} {keys:?}"
            );
        }
    }

    fn foreign_of(file: &[u8]) -> Vec<u8> {
        separate(file).0.concat()
    }

    proptest! {
        #[test]
        fn foreign_bytes_survive_in_order_and_the_edit_is_stable(
            pieces in prop::collection::vec(prop_oneof![
                prop::collection::vec(any::<u8>(), 0..30),
                Just(b"# Added by Google\n".to_vec()),
                Just(b"# Added by Google\r\nkey\r\n".to_vec()),
                Just(b"\n".to_vec()),
            ], 0..12),
            keys in prop::collection::vec("[a-z]{3,8} [A-Za-z]{1,20}", 0..4),
        ) {
            let file = pieces.concat();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let after = edit(&file, &keys).unwrap_or_else(|| file.clone());
            let mut expected = foreign_of(&file);
            if !keys.is_empty() && edit(&file, &keys).is_some() && expected.last().is_some_and(|byte| *byte != b'\n') {
                expected.push(b'\n');
            }
            prop_assert_eq!(foreign_of(&after), expected);
            prop_assert_eq!(own_keys(&after), keys.len());
            prop_assert_eq!(edit(&after, &keys), None);
        }
    }
}
