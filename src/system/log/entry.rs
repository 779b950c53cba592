//! One message, and its forms: the predecessors' line, syslog's datagram, the journal's fields. Pure.

use std::fmt::Write;

use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, Record};

/// The syslog facility of daemons, as its number.
const FACILITY: u8 = 3;

/// What every field of ours in the journal begins with.
const PREFIX: &str = "GCE_GUEST_";

/// A message with everything that the sinks make of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) level: Level,
    /// The logger's name.
    pub(super) target: String,
    pub(super) message: String,
    /// What the journal is told besides: (name, value), such as `manager`, `accounts`.
    pub(super) fields: Vec<(String, String)>,
}

impl Entry {
    pub(super) fn of(record: &Record<'_>) -> Self {
        let mut fields = Fields(Vec::new());
        // The visitor below has no errors.
        let _ = record.key_values().visit(&mut fields);
        // Most lines fit: to let it grow piece by piece takes longer than all the rest.
        let mut message = String::with_capacity(160);
        let _ = write!(message, "{}", record.args());
        Self {
            level: record.level(),
            target: record.target().to_owned(),
            message,
            fields: fields.0,
        }
    }

    /// About how much memory it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        let fields = self
            .fields
            .iter()
            .map(|(name, value)| name.len() + value.len());
        128 + self.target.len() + self.message.capacity() + fields.sum::<usize>()
    }

    /// The predecessors' format, on one line: control characters are escaped, so that no message forges a second line.
    pub(super) fn line(&self) -> String {
        let mut line = String::with_capacity(self.target.len() + self.message.len() + 16);
        self.append_line(&mut line);
        line
    }

    /// The datagram for /dev/log: `<PRI>line NUL`, without a time and a host name of its own (spec/core.md 4).
    pub(super) fn datagram(&self) -> Vec<u8> {
        let mut line = String::with_capacity(self.target.len() + self.message.len() + 24);
        // Writing to a string does not fail.
        let _ = write!(line, "<{}>", FACILITY * 8 + self.severity());
        self.append_line(&mut line);
        line.push('\0');
        line.into_bytes()
    }

    fn append_line(&self, line: &mut String) {
        for part in [&self.target, ": ", self.level_name(), " "] {
            line.push_str(part);
        }
        escape(&self.message, |_| false, line);
    }

    /// The severity of syslog(3) and the journal: 3 error to 7 debug.
    pub(super) fn severity(&self) -> u8 {
        match self.level {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        }
    }

    /// The fields of the journal's native protocol.
    ///
    /// `SYSLOG_IDENTIFIER` and `MESSAGE` are what the journal makes of the predecessors' lines, so that `journalctl -t
    /// google-accounts` and whoever greps for `INFO` go on finding them. Line breaks stay: a field cannot forge another.
    pub(super) fn journal(&self) -> Vec<u8> {
        let mut message = format!("{} ", self.level_name());
        escape(&self.message, |character| character == '\n', &mut message);
        let mut bytes = Vec::with_capacity(self.size() + 128);
        field(&mut bytes, "MESSAGE", &message);
        field(&mut bytes, "PRIORITY", &self.severity().to_string());
        field(&mut bytes, "SYSLOG_FACILITY", &FACILITY.to_string());
        field(&mut bytes, "SYSLOG_IDENTIFIER", &self.target);
        for (name, value) in &self.fields {
            field(&mut bytes, &field_name(name), value);
        }
        bytes
    }

    fn level_name(&self) -> &'static str {
        match self.level {
            Level::Error => "ERROR",
            Level::Warn => "WARNING",
            Level::Info => "INFO",
            Level::Debug | Level::Trace => "DEBUG",
        }
    }
}

fn escape(text: &str, keep: impl Fn(char) -> bool, into: &mut String) {
    // Control characters are below the space, the one of deletion, and of two bytes of which the first is 0xC2.
    let is_plain = |byte: u8| byte == b'\t' || byte >= b' ' && byte != 0x7f && byte != 0xc2;
    if text.bytes().all(is_plain) {
        into.push_str(text);
        return;
    }
    for character in text.chars() {
        if character.is_control() && character != '\t' && !keep(character) {
            into.extend(character.escape_default());
        } else {
            into.push(character);
        }
    }
}

/// Appends one field: `NAME=value`, or with a length where the value has line breaks
/// (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).
fn field(bytes: &mut Vec<u8>, name: &str, value: &str) {
    bytes.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        bytes.push(b'\n');
        bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        bytes.push(b'=');
    }
    bytes.extend_from_slice(value.as_bytes());
    bytes.push(b'\n');
}

/// The name of a field of ours: capitals, digits and underscores, at most 64 of them.
fn field_name(name: &str) -> String {
    let allowed = |character: char| match character.to_ascii_uppercase() {
        character @ ('A'..='Z' | '0'..='9') => character,
        _ => '_',
    };
    PREFIX
        .chars()
        .chain(name.chars().map(allowed))
        .take(64)
        .collect()
}

/// The key-value pairs of a record, as text.
struct Fields(Vec<(String, String)>);

impl<'a> VisitSource<'a> for Fields {
    fn visit_pair(&mut self, key: Key<'a>, value: Value<'a>) -> Result<(), Error> {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = write!(text, "{value}");
        self.0.push((key.as_str().to_owned(), text));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(level: Level, message: &str) -> Entry {
        Entry {
            level,
            target: "google-accounts".into(),
            message: message.into(),
            fields: vec![("manager".into(), "accounts".into())],
        }
    }

    #[test]
    fn lines_have_the_predecessors_format() {
        let line = |level, message| entry(level, message).line();
        assert_eq!(
            line(Level::Info, "Removing user a."),
            "google-accounts: INFO Removing user a."
        );
        assert_eq!(line(Level::Warn, "x"), "google-accounts: WARNING x");
        let datagram = |level| entry(level, "x").datagram();
        assert_eq!(datagram(Level::Error), b"<27>google-accounts: ERROR x\0");
        assert_eq!(datagram(Level::Warn), b"<28>google-accounts: WARNING x\0");
        assert_eq!(datagram(Level::Info), b"<30>google-accounts: INFO x\0");
        assert_eq!(datagram(Level::Debug), b"<31>google-accounts: DEBUG x\0");
    }

    #[test]
    fn a_message_cannot_forge_a_second_line() {
        let forged = entry(Level::Info, "user a\nroot: INFO all is well\u{7}");
        let line = "google-accounts: INFO user a\\nroot: INFO all is well\\u{7}";
        assert_eq!(forged.line(), line);
        assert_eq!(forged.datagram(), format!("<30>{line}\0").as_bytes());
    }

    #[test]
    fn the_journal_gets_fields_and_a_message_cannot_forge_one() {
        assert_eq!(
            String::from_utf8(entry(Level::Warn, "tab\tbell\u{7}").journal()).unwrap(),
            "MESSAGE=WARNING tab\tbell\\u{7}\nPRIORITY=4\nSYSLOG_FACILITY=3\n\
             SYSLOG_IDENTIFIER=google-accounts\nGCE_GUEST_MANAGER=accounts\n"
        );
        let forged = entry(Level::Info, "a\nPRIORITY=0").journal();
        let length = ("INFO a\nPRIORITY=0".len() as u64).to_le_bytes();
        let expected = [
            b"MESSAGE\n".as_slice(),
            &length,
            b"INFO a\nPRIORITY=0\nPRIORITY=6\n",
        ];
        assert!(forged.starts_with(&expected.concat()));
    }

    #[test]
    fn names_of_fields_are_those_that_the_journal_takes() {
        for (name, taken) in [
            ("stream", "GCE_GUEST_STREAM"),
            ("next-try.at", "GCE_GUEST_NEXT_TRY_AT"),
        ] {
            assert_eq!(field_name(name), taken);
        }
        assert_eq!(field_name(&"x".repeat(100)).len(), 64);
    }
}
