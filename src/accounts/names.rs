//! Which names may become users. Pure.
//!
//! One rule for every place that takes a name from metadata or from the ledger, before any command sees it
//! (spec/core.md 6.5, SEC 5, SEC 8).

use thiserror::Error;

/// The longest user name that Linux tools agree on, in bytes.
const LONGEST: usize = 32;

/// Why a name is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, PartialOrd, Ord)]
pub enum NameError {
    /// Nothing before the colon.
    #[error("it is empty")]
    Empty,
    /// Longer than useradd(8) and utmp(5) accept.
    #[error("it is longer than 32 characters")]
    TooLong,
    /// Would be read as an option, or is not a name character.
    #[error("only letters, digits, '.', '_' and '-' are allowed, and '-' not at the beginning")]
    Character,
    /// Tools would take it for a user id.
    #[error("it consists of digits only, which tools take for a user id")]
    Number,
    /// `.` and `..` are directories: the home would not be below /home.
    #[error("'.' and '..' are directories")]
    Directory,
}

/// Checks a user name.
///
/// # Errors
/// The first rule that it breaks.
pub fn check(name: &str) -> Result<(), NameError> {
    let is_name_character =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() {
        Err(NameError::Empty)
    } else if name.len() > LONGEST {
        Err(NameError::TooLong)
    } else if name.starts_with('-') || !name.bytes().all(is_name_character) {
        Err(NameError::Character)
    } else if matches!(name, "." | "..") {
        Err(NameError::Directory)
    } else if name.bytes().all(|byte| byte.is_ascii_digit()) {
        Err(NameError::Number)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_told_from_what_only_looks_like_one() {
        let longest = "a".repeat(32);
        for good in [
            "alice",
            "user_1",
            ".a",
            "a.b-c",
            "A",
            "0day",
            "a-",
            longest.as_str(),
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let too_long = "a".repeat(33);
        for (bad, why) in [
            ("", NameError::Empty),
            (too_long.as_str(), NameError::TooLong),
            ("-a", NameError::Character),
            ("a b", NameError::Character),
            ("a$", NameError::Character),
            ("a/b", NameError::Character),
            ("a\n", NameError::Character),
            ("ä", NameError::Character),
            (".", NameError::Directory),
            ("..", NameError::Directory),
            ("1000", NameError::Number),
        ] {
            assert_eq!(check(bad), Err(why), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn an_accepted_name_is_harmless_to_shells_paths_and_options(name in "\\PC{0,40}") {
            if check(&name).is_ok() {
                prop_assert!(!name.starts_with('-') && !name.contains(['/', ':', ' ', '\n', '$', ';']));
                prop_assert!(name.len() <= 32 && name != "." && name != "..");
            }
        }
    }
}
