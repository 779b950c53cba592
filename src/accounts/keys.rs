//! From the metadata text to keys per user. Pure: the time is an argument.
//!
//! A total parser: a line that cannot be understood costs that line (spec/core.md 6.3, 6.4; spec/beyond.md 5).

use jiff::Timestamp;
use serde_json::Value;
use thiserror::Error;

use super::names::{self, NameError};
use crate::metadata::attributes::boolean;
use crate::metadata::document::{Attributes, Document, Presence};
use crate::system::iso_8601;
use crate::system::order::{InOrder, Map};

/// Where a line of keys stands in metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The instance attribute `sshKeys`, which hides the project's keys.
    InstanceLegacy,
    /// The instance attribute `ssh-keys`.
    Instance,
    /// The project attribute `ssh-keys`.
    Project,
    /// The project attribute `sshKeys`.
    ProjectLegacy,
}

impl Source {
    /// The metadata key, as a person would look it up.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::InstanceLegacy => "instance/attributes/sshKeys",
            Self::Instance => "instance/attributes/ssh-keys",
            Self::Project => "project/attributes/ssh-keys",
            Self::ProjectLegacy => "project/attributes/sshKeys",
        }
    }
}

/// A public key of a user, as its line in `authorized_keys` shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The whole line, without the user's name before it and without a line end.
    pub line: String,
    /// When it ceases to be valid; `None` for a key without expiry.
    pub expires: Option<Timestamp>,
    /// Where it stands in metadata.
    pub source: Source,
}

/// What metadata says about keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredKeys {
    /// The valid keys of every user, in the order of metadata.
    pub users: Map<String, Vec<Key>>,
    /// Lines that were refused.
    pub problems: Vec<Problem>,
    /// Whether every source could be read. Otherwise a user who is not listed may still be wanted.
    pub complete: bool,
}

impl DesiredKeys {
    /// The next moment at which a key expires.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.users
            .values()
            .flatten()
            .filter_map(|key| key.expires)
            .min()
    }

    /// The same with no users at all.
    #[must_use]
    pub fn without_users(&self) -> Self {
        Self {
            users: Map::new(),
            problems: self.problems.clone(),
            complete: self.complete,
        }
    }
}

/// A line that was refused, named without any key material.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The metadata key.
    pub source: Source,
    /// The line number in it, from 1.
    pub line: usize,
    /// The name before the colon, if there is a proper one.
    pub user: Option<String>,
    /// Why it was refused.
    pub reason: LineError,
}

/// Why a line of keys is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, PartialOrd, Ord)]
pub enum LineError {
    /// No colon.
    #[error("there is no ':' between a user name and a key")]
    Incomplete,
    /// The part before the colon.
    #[error("the user name is not usable: {0}")]
    Name(NameError),
    /// A control character, which could forge lines of `authorized_keys`.
    #[error("the key contains a control character")]
    Control,
    /// No key type that sshd knows.
    #[error("there is no SSH public key after the user name")]
    NotAKey,
    /// `google-ssh` and no readable `expireOn` after it: fails closed (SEC 3).
    #[error(
        "the key is a temporary one (google-ssh) whose expireOn cannot be read, so it counts as expired"
    )]
    UnreadableExpiry,
    /// Past its time. Expected, not a fault of the line.
    #[error("the key has expired")]
    Expired,
}

/// The key types that OpenSSH knows, without the suffix of certificates.
const KEY_TYPES: [&str; 8] = [
    "ssh-rsa",
    "ssh-dss",
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// Reads all keys that metadata wants on this instance at `now` (spec/core.md 6.3).
#[must_use]
pub fn desired(document: &Document, now: Timestamp) -> DesiredKeys {
    let mut desired = DesiredKeys {
        complete: true,
        ..DesiredKeys::default()
    };
    let mut keys = Vec::new();
    for (source, text) in sources(document) {
        match text {
            Some(text) => read_lines(text, source, now, &mut keys, &mut desired.problems),
            None => desired.complete = false,
        }
    }
    // The users in order, so that none is put between others; the keys of each stay in the order of metadata.
    keys.put_in_order_by(|(user, _)| user.clone());
    for (user, key) in keys {
        add(desired.users.get_or_insert_with(user, Vec::new), key);
    }
    desired
}

/// The texts that count, in their order; `None` where metadata does not say whether there is one.
pub(super) fn sources(document: &Document) -> Vec<(Source, Option<&str>)> {
    let (instance, project) = (&document.instance.attributes, &document.project.attributes);
    let mut sources = vec![
        (Source::InstanceLegacy, instance, "sshKeys"),
        (Source::Instance, instance, "ssh-keys"),
    ];
    if !project_keys_blocked(instance) {
        sources.extend([
            (Source::Project, project, "ssh-keys"),
            (Source::ProjectLegacy, project, "sshKeys"),
        ]);
    }
    let texts = sources.into_iter();
    texts
        .map(|(source, attributes, name)| (source, text_of(attributes, name)))
        .collect()
}

fn text_of<'a>(attributes: &'a Presence<Attributes>, name: &str) -> Option<&'a str> {
    let value = attributes.present()?.get(name);
    Some(value.map_or("", String::as_str))
}

/// Whether the instance hides the project's keys: by `block-project-ssh-keys`, or by the legacy `sshKeys`.
fn project_keys_blocked(instance: &Presence<Attributes>) -> bool {
    let value = |name: &str| {
        instance
            .present()
            .and_then(|attributes| attributes.get(name))
            .map_or("", String::as_str)
    };
    !value("sshKeys").is_empty() || boolean(value("block-project-ssh-keys")) == Some(true)
}

fn read_lines(
    text: &str,
    source: Source,
    now: Timestamp,
    keys: &mut Vec<(String, Key)>,
    problems: &mut Vec<Problem>,
) {
    for (index, line) in text.split('\n').enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        match read_line(line, source, now) {
            Ok(key) => keys.push(key),
            Err(reason) => problems.push(problem(line, source, index + 1, reason)),
        }
    }
}

/// Adds a key to those of its user, unless it is there.
pub(super) fn add(keys: &mut Vec<Key>, key: Key) {
    if !keys.iter().any(|present| present.line == key.line) {
        keys.push(key);
    }
}

/// The report on a line that was refused.
pub(super) fn problem(text: &str, source: Source, line: usize, reason: LineError) -> Problem {
    let name = name_of(text).filter(|name| names::check(name).is_ok());
    Problem {
        source,
        line,
        user: name.map(String::from),
        reason,
    }
}

/// What stands where a line has the user's name.
pub(super) fn name_of(line: &str) -> Option<&str> {
    line.split_once(':').map(|(name, _)| name.trim())
}

/// Reads a line without blanks at its ends.
pub(super) fn read_line(
    line: &str,
    source: Source,
    now: Timestamp,
) -> Result<(String, Key), LineError> {
    let (name, key) = line.split_once(':').ok_or(LineError::Incomplete)?;
    let (name, key) = (name.trim(), key.trim());
    names::check(name).map_err(LineError::Name)?;
    let is_plain = key.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    let is_control = |character: char| character.is_control() && character != '\t';
    if !is_plain && key.chars().any(is_control) {
        return Err(LineError::Control);
    }
    let comment = comment_of(key).ok_or(LineError::NotAKey)?;
    let expires = expiry(comment)?;
    if expires.is_some_and(|expires| now > expires) {
        return Err(LineError::Expired);
    }
    Ok((
        name.to_owned(),
        Key {
            line: key.to_owned(),
            expires,
            source,
        },
    ))
}

/// The comment of a key line, in which options may stand before the type; `None` when it is no key (SEC 4).
fn comment_of(key: &str) -> Option<&str> {
    let (first, rest) = split_word(key);
    if is_key_type(first) {
        return key_comment(first, rest);
    }
    let (_, rest) = split_options(key)?;
    let (kind, rest) = split_word(rest);
    if is_key_type(kind) {
        key_comment(kind, rest)
    } else {
        None
    }
}

/// What follows the base64 part, if that part really is a key of the type before it.
fn key_comment<'a>(kind: &str, rest: &'a str) -> Option<&'a str> {
    let (blob, comment) = split_word(rest);
    holds_type(blob, kind).then_some(comment)
}

fn is_key_type(word: &str) -> bool {
    let plain = word.strip_suffix("-cert-v01@openssh.com").unwrap_or(word);
    KEY_TYPES.iter().any(|kind| {
        *kind == plain || kind.strip_suffix("@openssh.com") == Some(plain) && plain != word
    })
}

/// The first word and what follows the blanks after it.
fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches([' ', '\t']);
    // By bytes: both blanks are ASCII, and thousands of lines are read on every change of metadata.
    match text.bytes().position(|byte| matches!(byte, b' ' | b'\t')) {
        Some(end) => (&text[..end], text[end..].trim_start_matches([' ', '\t'])),
        None => (text, ""),
    }
}

/// The options before a key type (sshd(8), "AUTHORIZED_KEYS FILE FORMAT"): no blanks but inside double quotes.
fn split_options(text: &str) -> Option<(&str, &str)> {
    let (mut quoted, mut escaped) = (false, false);
    for (index, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => {
                return Some((
                    &text[..index],
                    text[index..].trim_start_matches([' ', '\t']),
                ));
            }
            _ => {}
        }
    }
    None
}

/// Whether the base64 text begins with a length and the type's name (RFC 4253 6.6), so that it can be a key at all.
fn holds_type(blob: &str, kind: &str) -> bool {
    let body = blob.trim_end_matches('=');
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    if body.is_empty() || blob.len() - body.len() > 2 || !body.bytes().all(is_base64) {
        return false;
    }
    let length = u32::try_from(kind.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut wanted = length.iter().chain(kind.as_bytes());
    let mut decoded = decode_base64(body.bytes());
    wanted.all(|byte| decoded.next() == Some(*byte)) && decoded.next().is_some()
}

/// Decodes base64 characters, which the caller has checked; bits that make no whole byte are dropped.
fn decode_base64(characters: impl Iterator<Item = u8>) -> impl Iterator<Item = u8> {
    let (mut bits, mut count) = (0_u32, 0);
    characters.filter_map(move |character| {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        count += 6;
        (count >= 8).then(|| {
            count -= 8;
            u8::try_from(bits >> count & 0xff).unwrap_or_default()
        })
    })
}

/// When a key with this comment expires. Only the literal `google-ssh` and a JSON object after it say anything.
fn expiry(comment: &str) -> Result<Option<Timestamp>, LineError> {
    let (first, json) = split_word(comment);
    if first != "google-ssh" {
        return Ok(None);
    }
    let value: Value =
        serde_json::from_slice(json.as_bytes()).map_err(|_| LineError::UnreadableExpiry)?;
    let text = value
        .get("expireOn")
        .and_then(Value::as_str)
        .ok_or(LineError::UnreadableExpiry)?;
    parse_time(text)
        .map(Some)
        .ok_or(LineError::UnreadableExpiry)
}

/// RFC 3339, with or without a colon in the offset, or the legacy form as strptime(3) reads it.
fn parse_time(text: &str) -> Option<Timestamp> {
    iso_8601::parse(text).or_else(|| iso_8601::parse(&written_out(text)?))
}

/// What strptime(3) takes for `%Y-%m-%dT%H:%M:%S%z`, with as many digits as RFC 3339 has: there, numbers may be shorter, with
/// blanks before them, and the year may have a sign.
fn written_out(text: &str) -> Option<String> {
    let is_negative = text.starts_with('-');
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (year, text) = number(text, 4)?;
    let (month, text) = number(text.strip_prefix('-')?, 2)?;
    let (day, text) = number(text.strip_prefix('-')?, 2)?;
    let (hour, text) = number(text.strip_prefix('T')?, 2)?;
    let (minute, text) = number(text.strip_prefix(':')?, 2)?;
    let (second, offset) = number(text.strip_prefix(':')?, 2)?;
    let digits = offset.strip_prefix(['-', '+'])?;
    if !matches!(digits.len(), 4 | 6) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let sign = if is_negative && year != 0 { '-' } else { '+' };
    Some(format!(
        "{sign}{year:06}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{offset}"
    ))
}

/// A number of at most so many digits, and what follows it.
fn number(text: &str, digits: usize) -> Option<(u16, &str)> {
    let text = text.trim_start_matches(|character: char| character.is_ascii_whitespace());
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let length = text.bytes().take(digits).take_while(is_digit).count();
    let (number, rest) = text.split_at(length);
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPUZWnCVkYZTJ7C6vHzRdmAcgUfm2fpt1PlFXvHrJb0";

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    fn attributes(pairs: &[(&str, &str)]) -> Presence<Attributes> {
        Presence::Present(
            pairs
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
        )
    }

    fn document(instance: &[(&str, &str)], project: &[(&str, &str)]) -> Document {
        let mut document = Document::default();
        document.instance.attributes = attributes(instance);
        document.project.attributes = attributes(project);
        document
    }

    fn read(line: &str) -> Result<(String, Key), LineError> {
        read_line(line, Source::Instance, now())
    }

    fn names_of(desired: &DesiredKeys) -> Vec<&str> {
        desired.users.keys().map(String::as_str).collect()
    }

    #[test]
    fn sources_and_their_precedence() {
        let [i, p] = ["i", "p"].map(|user| format!("{user}:{ED25519}"));
        let both = [("ssh-keys", i.as_str())];
        let project = [("ssh-keys", p.as_str())];
        for (instance, expected) in [
            (both.to_vec(), vec!["i", "p"]),
            (vec![("sshKeys", i.as_str())], vec!["i"]),
            (
                vec![("ssh-keys", i.as_str()), ("block-project-ssh-keys", "TRUE")],
                vec!["i"],
            ),
            (
                vec![
                    ("ssh-keys", i.as_str()),
                    ("block-project-ssh-keys", "false"),
                ],
                vec!["i", "p"],
            ),
            (
                vec![("ssh-keys", i.as_str()), ("block-project-ssh-keys", "")],
                vec!["i", "p"],
            ),
            (vec![("sshKeys", "")], vec!["p"]),
        ] {
            let desired = desired(&document(&instance, &project), now());
            assert_eq!(names_of(&desired), expected, "{instance:?}");
            assert!(desired.complete);
        }
        let order = [
            ("sshKeys", format!("a:{ED25519} 4")),
            ("ssh-keys", format!("a:{ED25519} 3")),
        ];
        let order: Vec<_> = order
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let desired = desired(&document(&order[1..], &order), now());
        let lines: Vec<_> = desired.users["a"].iter().map(|key| key.source).collect();
        assert_eq!(lines, [Source::Instance, Source::ProjectLegacy]);
    }

    #[test]
    fn half_an_answer_is_marked_as_such() {
        let mut half = document(&[], &[]);
        half.instance.attributes = Presence::Absent;
        assert!(!desired(&half, now()).complete);
        let mut half = document(&[], &[]);
        half.project.attributes = Presence::Malformed("a list".into());
        assert!(!desired(&half, now()).complete);
        half.instance.attributes = attributes(&[("block-project-ssh-keys", "true")]);
        assert!(
            desired(&half, now()).complete,
            "project keys do not count, so nothing is missing"
        );
    }

    #[test]
    fn every_form_of_key_line_is_understood() {
        let options = "from=\"10.0.0.0/8,a b\",command=\"echo \\\"x y\\\"\",no-pty";
        for rest in [
            ED25519.to_owned(),
            format!("{ED25519} First Last@PC"),
            format!("{options} {ED25519} comment"),
            format!("restrict\t{ED25519}"),
            "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7 google".to_owned(),
            "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIA== yubikey".to_owned(),
            "ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29tAAAAIA==".to_owned(),
            "sk-ssh-ed25519-cert-v01@openssh.com AAAAI3NrLXNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29tAAAAIA==".to_owned(),
        ] {
            let (user, key) = read(&format!("alice:{rest}")).unwrap_or_else(|error| panic!("{rest}: {error}"));
            assert_eq!((user.as_str(), key.line), ("alice", rest));
        }
    }

    #[test]
    fn bad_lines_are_refused_for_what_is_wrong_with_them() {
        for (line, reason) in [
            ("no colon here", LineError::Incomplete),
            ("alice:", LineError::NotAKey),
            ("alice:ssh-ed25519", LineError::NotAKey),
            ("alice:ssh-ed25519 !!!!", LineError::NotAKey),
            (
                "alice:ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIGPUZWnCVkYZTJ7C6vHz",
                LineError::NotAKey,
            ),
            ("alice:-----BEGIN PRIVATE KEY-----", LineError::NotAKey),
            (":ssh-rsa AAAA", LineError::Name(NameError::Empty)),
            ("a b:ssh-rsa AAAA", LineError::Name(NameError::Character)),
            ("..:ssh-rsa AAAA", LineError::Name(NameError::Directory)),
            ("alice:ssh-rsa AAAA\rroot key", LineError::Control),
            ("alice:ssh-rsa AAAA \u{85} x", LineError::Control),
        ] {
            assert_eq!(read(line).unwrap_err(), reason, "{line:?}");
        }
    }

    #[test]
    fn expiry_is_read_in_every_form_and_fails_closed() {
        let key = |json: &str| {
            read(&format!("a:{ED25519} google-ssh {json}")).map(|(_, key)| key.expires.is_some())
        };
        for (time, expected) in [
            ("2026-01-02T03:04:06+0000", Ok(true)),
            ("2026-01-02T03:04:04+0000", Err(LineError::Expired)),
            ("2026-01-02T03:04:06Z", Ok(true)),
            ("2026-01-02T03:04:04.5Z", Err(LineError::Expired)),
            ("2026-01-02T04:04:06+01:00", Ok(true)),
            ("2026-01-02T04:04:04+0100", Err(LineError::Expired)),
            ("tomorrow", Err(LineError::UnreadableExpiry)),
            ("", Err(LineError::UnreadableExpiry)),
        ] {
            let json = format!("{{\"userName\":\"a@example.com\",\"expireOn\":\"{time}\"}}");
            assert_eq!(key(&json), expected, "{time}");
        }
        for json in ["", "{", "{}", "{\"expireOn\":5}", "[]"] {
            assert_eq!(key(json), Err(LineError::UnreadableExpiry), "{json}");
        }
        assert_eq!(
            read(&format!("a:{ED25519} not google-ssh {{}}")).map(|(_, key)| key.expires),
            Ok(None)
        );
        let with_options = read(&format!(
            "a:from=\"x y\" {ED25519} google-ssh {{\"expireOn\":\"1999-01-01T00:00:00Z\"}}"
        ));
        assert_eq!(
            with_options.unwrap_err(),
            LineError::Expired,
            "options do not hide the expiry"
        );
    }

    /// The reader whose grammar [`written_out`] has.
    #[expect(clippy::disallowed_methods, reason = "what ours is compared with")]
    fn by_strptime(text: &str) -> Option<Timestamp> {
        let strict = text.parse::<Timestamp>().ok();
        strict.or_else(|| Timestamp::strptime("%Y-%m-%dT%H:%M:%S%z", text).ok())
    }

    #[test]
    fn the_legacy_form_is_read_as_strptime_reads_it() {
        for (text, expected) in [
            ("2026-01-02T03:04:05+0000", Some("2026-01-02T03:04:05Z")),
            ("2026-1-2T3:4:5+0000", Some("2026-01-02T03:04:05Z")),
            ("2026-1-2T3:4:5-0130", Some("2026-01-02T04:34:05Z")),
            (" 2026- 1-\t2T 3: 4: 5+000000", Some("2026-01-02T03:04:05Z")),
            ("26-1-2T3:4:5+0000", Some("0026-01-02T03:04:05Z")),
            ("+2026-1-2T3:4:5+0000", Some("2026-01-02T03:04:05Z")),
            ("-2026-1-2T3:4:5+0000", Some("-002026-01-02T03:04:05Z")),
            ("-0-1-2T3:4:5+0000", Some("0000-01-02T03:04:05Z")),
            ("2026-12-31T23:59:60+0000", Some("2026-12-31T23:59:59Z")),
            ("2026-12-31T23:59:61+0000", None),
            ("2026-02-29T0:0:0+0000", None),
            ("2028-2-29T0:0:0+0000", Some("2028-02-29T00:00:00Z")),
            ("2026-1-2T24:0:0+0000", None),
            ("2026-1-2T3:4:5", None),
            ("2026-1-2T3:4:5Z", None),
            ("2026-1-2T3:4:5+00", None),
            ("2026-1-2T3:4:5+00:00", None),
            ("2026-1-2T3:4:5+2600", None),
            ("2026-1-2T3:4:5.5+0000", None),
            ("2026-1-2t3:4:5+0000", None),
            ("2026-1-2T3:4:5+0000 ", None),
            ("2026-1-2T3:4:5 +0000", None),
            ("02026-1-2T3:4:5+0000", None),
            ("2026-001-2T3:4:5+0000", None),
            ("2026-\u{663}-2T3:4:5+0000", None),
            ("-9999-1-1T0:0:0+2300", None),
            ("2026--2T3:4:5+0000", None),
        ] {
            let read = parse_time(text);
            assert_eq!(read, by_strptime(text), "{text:?}");
            let expected = expected.map(|time| time.parse().unwrap());
            assert_eq!(read, expected, "{text:?}");
        }
    }

    #[test]
    fn problems_name_the_place_and_never_the_key() {
        let text = format!("\n\nbad line\nalice:{ED25519}\nalice:{ED25519}\nbob:nonsense");
        let desired = desired(&document(&[("ssh-keys", &text)], &[]), now());
        assert_eq!(desired.users["alice"].len(), 1, "a duplicate counts once");
        let places: Vec<_> = desired
            .problems
            .iter()
            .map(|problem| (problem.line, problem.user.as_deref()))
            .collect();
        assert_eq!(places, [(3, None), (6, Some("bob"))]);
    }

    proptest! {
        #[test]
        fn no_time_is_read_otherwise_than_by_strptime(
            year in "[-+ ]?[0-9]{1,5}", month in "-[ 0]?[0-9]{0,2}", day in "-[ 0]?[0-9]{1,2}", hour in "[Tt ]?[ 0]?[0-9]{1,2}",
            minute in ":?[ 0]?[0-9]{1,2}", second in ":[ 0]?[0-9]{0,3}", offset in "[-+Z][0-2][0-9]:?([0-5][0-9]){0,2}|[-+]0000 ?",
        ) {
            let text = [year, month, day, hour, minute, second, offset].concat();
            prop_assert_eq!(parse_time(&text), by_strptime(&text), "{:?}", text);
        }

        #[test]
        fn any_text_is_parsed_without_a_panic_and_yields_single_lines(text in "(\\PC|[\n\r:\" \\\\]){0,200}") {
            let desired = desired(&document(&[("ssh-keys", &text)], &[]), now());
            for key in desired.users.values().flatten() {
                prop_assert!(!key.line.contains(['\n', '\r']));
            }
        }
    }
}
