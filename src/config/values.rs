//! The types that option values have: how each is read from text and written back. Pure.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Why a text is no value of its option's type; says what is accepted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("expected {0}")]
pub struct Invalid(pub String);

/// What kind of value an option has, for messages and documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A switch.
    Boolean,
    /// A switch with a third state, "not set".
    OptionalBoolean,
    /// A whole number.
    Integer {
        /// The smallest.
        min: u32,
        /// The largest.
        max: u32,
    },
    /// Any text.
    Text,
    /// Words, comma separated.
    List,
    /// MAC addresses, comma separated.
    MacList,
    /// One of these words.
    Words(&'static [&'static str]),
}

impl Kind {
    /// What a reader may write, in words.
    #[must_use]
    pub fn accepts(self) -> String {
        match self {
            Self::Boolean | Self::OptionalBoolean => "true or false".into(),
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::Text => "a text without NUL".into(),
            Self::List => "words separated by commas".into(),
            Self::MacList => "MAC addresses like 42:01:0a:00:00:02, separated by commas".into(),
            Self::Words(words) => match words {
                [] => String::new(),
                [only] => (*only).into(),
                [first @ .., last] => format!("{} or {last}", first.join(", ")),
            },
        }
    }

    /// Whether a text is a value of this kind.
    ///
    /// # Errors
    /// [`Invalid`], which says what is accepted.
    pub fn check(self, text: &str) -> Result<(), Invalid> {
        let accepted = match self {
            Self::Boolean => boolean(text).is_some(),
            Self::OptionalBoolean => text.is_empty() || boolean(text).is_some(),
            Self::Integer { min, max } => {
                text.is_empty() || number(text).is_some_and(|n| (min..=max).contains(&n))
            }
            Self::Text | Self::List => !text.contains('\0'),
            Self::MacList => list(text).all(|word| word.parse::<MacAddress>().is_ok()),
            Self::Words(words) => words.iter().any(|word| word.eq_ignore_ascii_case(text)),
        };
        if accepted {
            Ok(())
        } else {
            Err(Invalid(self.accepts()))
        }
    }
}

/// The predecessors' words for true and false, in any case: Python's `getboolean` and go-ini's (spec/core.md 3.3,
/// spec/beyond.md 2.1). `None` for anything else.
#[must_use]
pub fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "true" | "on" | "y" | "t" => Some(true),
        "0" | "no" | "false" | "off" | "n" | "f" => Some(false),
        _ => None,
    }
}

fn number(text: &str) -> Option<u32> {
    // `parse` would accept a sign.
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// The words of a comma-separated list, trimmed, without empty ones. A newline separates too: lists are continued.
fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', '\n'])
        .map(str::trim)
        .filter(|word| !word.is_empty())
}

/// A type of option value. An empty text is handled by each type: none of them mistakes it for something.
pub trait Value {
    /// Its kind.
    const KIND: Kind;

    /// Takes the value that the text stands for; an invalid text changes nothing.
    ///
    /// # Errors
    /// [`Invalid`] when the text is no value of the type.
    fn assign(&mut self, text: &str) -> Result<(), Invalid>;

    /// The text that stands for the value, as it is written into a file.
    fn render(&self) -> String;
}

impl Value for bool {
    const KIND: Kind = Kind::Boolean;

    fn assign(&mut self, text: &str) -> Result<(), Invalid> {
        *self = boolean(text).ok_or_else(|| Invalid(Self::KIND.accepts()))?;
        Ok(())
    }

    fn render(&self) -> String {
        self.to_string()
    }
}

impl Value for Option<bool> {
    const KIND: Kind = Kind::OptionalBoolean;

    fn assign(&mut self, text: &str) -> Result<(), Invalid> {
        Self::KIND.check(text)?;
        *self = boolean(text);
        Ok(())
    }

    fn render(&self) -> String {
        self.map_or_else(String::new, |value| value.to_string())
    }
}

impl Value for u8 {
    const KIND: Kind = Kind::Integer {
        min: 0,
        max: Self::MAX as u32,
    };

    /// Empty is the built-in value, as for the predecessors.
    fn assign(&mut self, text: &str) -> Result<(), Invalid> {
        if text.is_empty() {
            return Ok(());
        }
        *self = number(text)
            .and_then(|number| Self::try_from(number).ok())
            .ok_or_else(|| Invalid(Self::KIND.accepts()))?;
        Ok(())
    }

    fn render(&self) -> String {
        self.to_string()
    }
}

impl Value for u32 {
    const KIND: Kind = Kind::Integer {
        min: 0,
        max: Self::MAX,
    };

    fn assign(&mut self, text: &str) -> Result<(), Invalid> {
        if text.is_empty() {
            return Ok(());
        }
        *self = number(text).ok_or_else(|| Invalid(Self::KIND.accepts()))?;
        Ok(())
    }

    fn render(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    const KIND: Kind = Kind::Text;

    /// Empty is the built-in value: no command, shell or directory can be empty (spec/core.md 3.3).
    fn assign(&mut self, text: &str) -> Result<(), Invalid> {
        Self::KIND.check(text)?;
        if !text.is_empty() {
            text.clone_into(self);
        }
        Ok(())
    }

    fn render(&self) -> String {
        self.clone()
    }
}

impl Value for Option<String> {
    const KIND: Kind = Kind::Text;

    fn assign(&mut self, text: &str) -> Result<(), Invalid> {
        Self::KIND.check(text)?;
        *self = (!text.is_empty()).then(|| text.to_owned());
        Ok(())
    }

    fn render(&self) -> String {
        self.clone().unwrap_or_default()
    }
}

impl Value for Vec<String> {
    const KIND: Kind = Kind::List;

    fn assign(&mut self, text: &str) -> Result<(), Invalid> {
        Self::KIND.check(text)?;
        *self = list(text).map(String::from).collect();
        Ok(())
    }

    fn render(&self) -> String {
        self.join(",")
    }
}

impl Value for Vec<MacAddress> {
    const KIND: Kind = Kind::MacList;

    fn assign(&mut self, text: &str) -> Result<(), Invalid> {
        *self = list(text).map(str::parse).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn render(&self) -> String {
        let words: Vec<String> = self.iter().map(MacAddress::to_string).collect();
        words.join(",")
    }
}

/// The address of a network interface, by which metadata names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl FromStr for MacAddress {
    type Err = Invalid;

    /// Six pairs of hexadecimal digits in any case, separated by `:` or `-`.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid(Kind::MacList.accepts());
        let mut octets = [0; 6];
        let mut pairs = text.split([':', '-']);
        for octet in &mut octets {
            let pair = pairs.next().ok_or_else(invalid)?;
            if pair.len() != 2 || !pair.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(invalid());
            }
            *octet = u8::from_str_radix(pair, 16).map_err(|_| invalid())?;
        }
        match pairs.next() {
            None => Ok(Self(octets)),
            Some(_) => Err(invalid()),
        }
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Which provisioned users join `google-sudoers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SudoUsers {
    /// All of them, as the predecessors do.
    All,
    /// Nobody.
    None,
    /// These.
    Only(Vec<String>),
}

impl SudoUsers {
    /// Whether this user joins.
    #[must_use]
    pub fn includes(&self, user: &str) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Only(users) => users.iter().any(|name| name == user),
        }
    }
}

impl Value for SudoUsers {
    const KIND: Kind = Kind::List;

    /// `all`, `none`, or user names; empty is nobody, so that a lost list gives nobody root.
    fn assign(&mut self, text: &str) -> Result<(), Invalid> {
        Self::KIND.check(text)?;
        let words: Vec<String> = list(text).map(String::from).collect();
        *self = match words.as_slice() {
            [] => Self::None,
            [word] if word.eq_ignore_ascii_case("all") => Self::All,
            [word] if word.eq_ignore_ascii_case("none") => Self::None,
            _ => Self::Only(words),
        };
        Ok(())
    }

    fn render(&self) -> String {
        match self {
            Self::All => "all".into(),
            Self::None => "none".into(),
            Self::Only(users) => users.join(","),
        }
    }
}

/// An enumeration whose values are words in a file.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$meaning:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$meaning])* $variant,)+
        }

        impl Value for $name {
            const KIND: Kind = Kind::Words(&[$($word),+]);

            fn assign(&mut self, text: &str) -> Result<(), Invalid> {
                $(if text.eq_ignore_ascii_case($word) {
                    *self = Self::$variant;
                    return Ok(());
                })+
                Err(Invalid(Self::KIND.accepts()))
            }

            fn render(&self) -> String {
                match self {
                    $(Self::$variant => $word.into(),)+
                }
            }
        }
    };
}

words! {
    /// Which carriage returns are taken out of a script before it runs.
    NormalizeCrlf {
        /// The one at the end of the `#!` line, with which no interpreter is ever found.
        Shebang = "shebang",
        /// The one at the end of every line.
        All = "all",
        /// None.
        Off = "off",
    }
}

words! {
    /// Which log lines the serial console gets a copy of: these and what is worse.
    ConsoleLevel {
        /// None.
        Off = "off",
        /// What failed.
        Error = "error",
        /// What somebody should look at.
        Warning = "warning",
        /// What happens.
        Info = "info",
        /// Details, with `log_level = 4`.
        Debug = "debug",
    }
}

words! {
    /// Whether the host name is set from metadata.
    HostnameMode {
        /// Never.
        Off = "off",
        /// Until the next boot.
        Transient = "transient",
        /// In /etc/hostname.
        Static = "static",
    }
}

words! {
    /// Which part of the name is the host name.
    HostnameForm {
        /// The first label.
        Short = "short",
        /// The whole name.
        Fqdn = "fqdn",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<V: Value + Clone>(mut value: V, text: &str) -> Option<V> {
        let before = value.render();
        match value.assign(text) {
            Ok(()) => {
                assert_eq!(V::KIND.check(text), Ok(()), "{text}");
                Some(value)
            }
            Err(_) => {
                assert_eq!(
                    value.render(),
                    before,
                    "{text}: an invalid value changed something"
                );
                assert!(V::KIND.check(text).is_err(), "{text}");
                None
            }
        }
    }

    #[test]
    fn booleans_are_the_words_of_both_predecessors() {
        for word in ["1", "yes", "true", "on", "y", "t", "True", "YES", "oN"] {
            assert_eq!(read(false, word), Some(true), "{word}");
        }
        for word in ["0", "no", "false", "off", "n", "f", "False", "OFF"] {
            assert_eq!(read(true, word), Some(false), "{word}");
        }
        for word in ["", "2", "tru", "yes!", "enabled", "true false"] {
            assert_eq!(read(true, word), None, "{word}");
        }
        assert_eq!(read(Some(true), ""), Some(None));
        assert_eq!(read(None, "off"), Some(Some(false)));
        assert_eq!(read(Some(true), "maybe"), None);
    }

    #[test]
    fn numbers_are_digits_in_range() {
        assert_eq!(read(66_u8, "0"), Some(0));
        assert_eq!(read(66_u8, "255"), Some(255));
        assert_eq!(read(66_u8, ""), Some(66));
        for text in [
            "256",
            "-1",
            "+1",
            "0x42",
            "6 6",
            "boot",
            "99999999999999999999",
        ] {
            assert_eq!(read(66_u8, text), None, "{text}");
        }
        assert_eq!(read(1_u32, "4294967295"), Some(u32::MAX));
        assert_eq!(read(1_u32, "4294967296"), None);
    }

    #[test]
    fn texts_and_lists() {
        let text = String::from("built-in");
        assert_eq!(read(text.clone(), "").as_deref(), Some("built-in"));
        assert_eq!(read(text.clone(), "other").as_deref(), Some("other"));
        assert_eq!(read(text.clone(), "a\0b"), None);
        assert_eq!(read(Some(text), ""), Some(None));
        let list = vec![String::from("x")];
        assert_eq!(read(list.clone(), ""), Some(vec![]));
        assert_eq!(
            read(list, "a, b,,c\n d ,"),
            Some(["a", "b", "c", "d"].map(String::from).to_vec())
        );
        assert_eq!(
            read(vec![], "42:01:0A:00:00:02, 42-01-0a-00-00-03"),
            Some(vec![
                MacAddress([0x42, 1, 0x0a, 0, 0, 2]),
                MacAddress([0x42, 1, 0x0a, 0, 0, 3])
            ])
        );
        for bad in [
            "42:01:0a:00:00",
            "42:01:0a:00:00:02:03",
            "4:2:1:0:a:0",
            "42:01:0a:00:00:0g",
            "+4:01:0a:00:00:02",
        ] {
            assert_eq!(read(Vec::<MacAddress>::new(), bad), None, "{bad}");
        }
    }

    #[test]
    fn a_lost_list_of_sudo_users_gives_nobody_root() {
        assert_eq!(read(SudoUsers::All, ""), Some(SudoUsers::None));
        assert_eq!(read(SudoUsers::None, "ALL"), Some(SudoUsers::All));
        let only = read(SudoUsers::All, "alice, bob").unwrap();
        assert!(only.includes("bob") && !only.includes("carol"));
        assert!(SudoUsers::All.includes("carol") && !SudoUsers::None.includes("carol"));
    }

    #[test]
    fn words_are_read_in_any_case_and_written_as_documented() {
        assert_eq!(
            read(HostnameMode::Off, "Static"),
            Some(HostnameMode::Static)
        );
        assert_eq!(
            read(NormalizeCrlf::Shebang, "OFF"),
            Some(NormalizeCrlf::Off)
        );
        assert_eq!(read(NormalizeCrlf::Shebang, "on"), None);
        assert_eq!(HostnameForm::Fqdn.render(), "fqdn");
        assert_eq!(HostnameMode::KIND.accepts(), "off, transient or static");
    }
}
