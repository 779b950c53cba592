//! Reading the keys of metadata again after a change, at the cost of what has changed. Pure: the time is an argument.
//!
//! Thousands of lines are read in milliseconds, and of those a change of metadata has seldom changed more than one. So the
//! document that was read last is kept with what came of it, the two texts are compared, and only the users that the
//! differing lines name are read again, from the whole of the new text. What comes out is what [`keys::desired`] makes of
//! the new document alone (a property below holds it to that): nothing can go stale, because nothing is taken over but for
//! bytes that are the same.

use std::sync::Arc;

use jiff::Timestamp;

use super::keys::{self, DesiredKeys, Problem, Source};
use crate::metadata::document::Document;
use crate::system::order::{InOrder, Set};

/// With more differing lines than this everything is read anew, which is then as quick.
const LINES_LIMIT: usize = 32;

/// How many bytes are compared at once.
const BLOCK: usize = 1024;

/// The users whose keys may be others than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Any of them.
    Any,
    /// Nobody else.
    Users(Set<String>),
}

impl Default for Changed {
    /// Nobody.
    fn default() -> Self {
        Self::Users(Set::new())
    }
}

impl Changed {
    /// The users, where they are known.
    #[must_use]
    pub fn users(&self) -> Option<&Set<String>> {
        match self {
            Self::Any => None,
            Self::Users(users) => Some(users),
        }
    }

    /// Takes in what changed after that.
    pub fn add(&mut self, later: Self) {
        match (&mut *self, later) {
            (Self::Any, _) => {}
            (Self::Users(users), Self::Users(more)) => users.extend(more),
            (Self::Users(_), Self::Any) => *self = Self::Any,
        }
    }
}

/// The keys of the document that was read last.
#[derive(Debug, Default)]
pub struct Reading {
    last: Option<(Arc<Document>, Timestamp)>,
    desired: DesiredKeys,
    /// When the first of the keys expires: to look for it takes as long as all the rest.
    next_expiry: Option<Timestamp>,
}

impl Reading {
    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &DesiredKeys {
        &self.desired
    }

    /// The next moment at which a key expires.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.next_expiry
    }

    /// Reads a document, and says whose keys may differ from those of the one before.
    pub fn read(&mut self, document: &Arc<Document>, now: Timestamp) -> Changed {
        let before = self.last.replace((Arc::clone(document), now));
        let before = before.filter(|(_, then)| !self.expires_between(*then, now));
        let differences = before
            .as_ref()
            .and_then(|(before, _)| differences(before, document));
        let Some(differences) = differences else {
            self.desired = keys::desired(document, now);
            self.next_expiry = self.desired.next_expiry();
            return Changed::Any;
        };
        let names: Set<String> = differences
            .iter()
            .flat_map(|difference| difference.old.iter().chain(&difference.new))
            .filter_map(|line| keys::name_of(line).map(String::from))
            .collect();
        for difference in &differences {
            self.update_problems(difference, now);
        }
        let mut expiring = false;
        for name in &names {
            let keys = keys_of(name, document, now);
            expiring |= keys.iter().any(|key| key.expires.is_some());
            let before = if keys.is_empty() {
                self.desired.users.remove(name)
            } else {
                self.desired.users.insert(name.clone(), keys)
            };
            expiring |= before.iter().flatten().any(|key| key.expires.is_some());
        }
        if expiring {
            self.next_expiry = self.desired.next_expiry();
        }
        Changed::Users(names)
    }

    /// Whether a key is valid at one of two times and not at the other. The clock may have been set back.
    fn expires_between(&self, then: Timestamp, now: Timestamp) -> bool {
        let is_expired = |problem: &Problem| problem.reason == keys::LineError::Expired;
        self.next_expiry.is_some_and(|expires| now > expires)
            || now < then && self.desired.problems.iter().any(is_expired)
    }

    /// Puts the refused lines of a difference in the place of those that were there.
    fn update_problems(&mut self, difference: &Difference<'_>, now: Timestamp) {
        let source = difference.source;
        let mut refused = Vec::new();
        for (index, line) in difference.new.iter().map(|line| line.trim()).enumerate() {
            if let Some(reason) = read(line, source, now).and_then(Result::err) {
                refused.push((index, line, reason));
            }
        }
        let problems = &mut self.desired.problems;
        let is_here = |problem: &Problem| problem.source == source;
        if refused.is_empty() && !problems.iter().any(is_here) {
            return;
        }
        let before = difference.lines_before();
        let (old, new) = (difference.old.len(), difference.new.len());
        problems.retain_mut(|problem| {
            if !is_here(problem) || problem.line <= before {
                return true;
            }
            let is_kept = problem.line > before + old;
            if is_kept {
                problem.line = problem.line - old + new;
            }
            is_kept
        });
        let refused = refused.into_iter();
        problems.extend(
            refused.map(|(index, line, reason)| {
                keys::problem(line, source, before + index + 1, reason)
            }),
        );
        problems.put_in_order_by(|problem| (problem.source, problem.line));
    }
}

type Line = Result<(String, keys::Key), keys::LineError>;

/// A line that is not empty, read.
fn read(line: &str, source: Source, now: Timestamp) -> Option<Line> {
    (!line.is_empty()).then(|| keys::read_line(line, source, now))
}

/// All valid keys of one user.
fn keys_of(name: &str, document: &Document, now: Timestamp) -> Vec<keys::Key> {
    let mut found = Vec::new();
    for (source, text) in keys::sources(document) {
        let lines = text.unwrap_or_default().split('\n').map(str::trim_start);
        for line in lines.filter(|line| line.starts_with(name)) {
            let line = line.trim_end();
            if keys::name_of(line) == Some(name)
                && let Ok((_, key)) = keys::read_line(line, source, now)
            {
                keys::add(&mut found, key);
            }
        }
    }
    found
}

/// The lines in which two texts differ.
#[derive(Debug)]
struct Difference<'a> {
    source: Source,
    /// The text before both.
    before: &'a str,
    /// How many lines after that are the same all the same.
    same: usize,
    old: Vec<&'a str>,
    new: Vec<&'a str>,
}

impl Difference<'_> {
    fn lines_before(&self) -> usize {
        self.same + self.before.bytes().filter(|byte| *byte == b'\n').count()
    }
}

/// Where two documents differ; `None` where they cannot be compared, or differ in much.
fn differences<'a>(old: &'a Document, new: &'a Document) -> Option<Vec<Difference<'a>>> {
    let (old, new) = (keys::sources(old), keys::sources(new));
    if old.len() != new.len() {
        return None;
    }
    let mut differences = Vec::new();
    for ((source, old), (_, new)) in old.into_iter().zip(new) {
        let (old, new) = (old?, new?);
        if old == new {
            continue;
        }
        let difference = compare(source, old, new);
        if difference.old.len() + difference.new.len() > LINES_LIMIT {
            return None;
        }
        differences.push(difference);
    }
    Some(differences)
}

fn compare<'a>(source: Source, old: &'a str, new: &'a str) -> Difference<'a> {
    let same = same_at_beginning(old.as_bytes(), new.as_bytes());
    let start = old.as_bytes()[..same]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let (before, old, new) = (&old[..start], &old[start..], &new[start..]);
    let same = same_at_end(old.as_bytes(), new.as_bytes());
    // From the first line end in the part that is the same, both go on with the same lines.
    let end = old.as_bytes()[old.len() - same..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(0, |length| same - length);
    let (mut old, mut new): (Vec<&str>, Vec<&str>) = (
        old[..old.len() - end].split('\n').collect(),
        new[..new.len() - end].split('\n').collect(),
    );
    while !old.is_empty() && old.last() == new.last() {
        old.pop();
        new.pop();
    }
    let pairs = old.iter().zip(&new);
    let same = pairs.take_while(|(old, new)| old == new).count();
    Difference {
        source,
        before,
        same,
        old: old.split_off(same),
        new: new.split_off(same),
    }
}

/// How many bytes are the same at the beginning.
fn same_at_beginning(one: &[u8], other: &[u8]) -> usize {
    let blocks = one.chunks_exact(BLOCK).zip(other.chunks_exact(BLOCK));
    let same = blocks.take_while(|(one, other)| one == other).count() * BLOCK;
    let rest = one[same..].iter().zip(&other[same..]);
    same + rest.take_while(|(one, other)| one == other).count()
}

/// How many bytes are the same at the end.
fn same_at_end(one: &[u8], other: &[u8]) -> usize {
    let blocks = one.rchunks_exact(BLOCK).zip(other.rchunks_exact(BLOCK));
    let same = blocks.take_while(|(one, other)| one == other).count() * BLOCK;
    let (one, other) = (&one[..one.len() - same], &other[..other.len() - same]);
    let rest = one.iter().rev().zip(other.iter().rev());
    same + rest.take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::document::{Attributes, Presence};
    use proptest::prelude::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPUZWnCVkYZTJ7C6vHzRdmAcgUfm2fpt1PlFXvHrJb0";

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn document(texts: &[Option<String>; 4]) -> Arc<Document> {
        let attributes = |legacy: &Option<String>, text: &Option<String>| {
            let mut attributes = Attributes::new();
            let pairs = [("sshKeys", legacy), ("ssh-keys", text)];
            for (name, value) in pairs {
                attributes.extend(value.clone().map(|value| (name.to_owned(), value)));
            }
            Presence::Present(attributes)
        };
        let mut document = Document::default();
        document.instance.attributes = attributes(&texts[0], &texts[1]);
        document.project.attributes = attributes(&texts[2], &texts[3]);
        Arc::new(document)
    }

    fn lines(count: usize) -> Vec<String> {
        (0..count)
            .map(|number| format!("user{number}:{KEY} {number}"))
            .collect()
    }

    fn instance(lines: &[String]) -> Arc<Document> {
        document(&[None, Some(lines.join("\n")), None, None])
    }

    #[test]
    fn one_line_more_or_less_concerns_its_user_only() {
        let all = lines(3000);
        let mut reading = Reading::default();
        assert_eq!(reading.read(&instance(&all), time(0)), Changed::Any);
        for place in [0, 1, 1500, 2999, 3000] {
            let mut more = all.clone();
            more.insert(place, format!("somebody:{KEY} x"));
            let only = Changed::Users(["somebody".to_owned()].into());
            for lines in [&more, &all] {
                let document = instance(lines);
                assert_eq!(reading.read(&document, time(0)), only, "{place}");
                assert_eq!(*reading.keys(), keys::desired(&document, time(0)));
            }
        }
        assert_eq!(
            reading.read(&instance(&all), time(0)),
            Changed::default(),
            "the same again"
        );
        assert_eq!(
            reading.read(&instance(&all[..2000]), time(0)),
            Changed::Any,
            "much has changed"
        );
    }

    fn line() -> impl Strategy<Value = String> {
        let user = prop::sample::select(vec!["a", "b", "ab", "c", " a", "a ", "é", ""]);
        let rest = prop::sample::select(vec!["", "\r", " x", " y", " google-ssh {}"]);
        prop_oneof![
            6 => (user, rest).prop_map(|(user, rest)| format!("{user}:{KEY}{rest}")),
            1 => (0_i64..4).prop_map(|second| format!("b:{KEY} google-ssh {{\"expireOn\":\"{}\"}}", time(second))),
            1 => Just(String::new()),
            1 => Just("a:nothing".to_owned()),
            1 => Just("é".to_owned()),
        ]
    }

    fn text() -> impl Strategy<Value = Option<String>> {
        prop::option::weighted(
            0.8,
            prop::collection::vec(line(), 0..8).prop_map(|lines| lines.join("\n")),
        )
    }

    proptest! {
        /// Whatever was read before, and whatever the clock does, the keys are those of the document alone; and nobody's
        /// differ who is not named.
        #[test]
        fn what_was_read_before_does_not_matter(
            base in prop::collection::vec(line(), 0..40),
            edits in prop::collection::vec((0_usize..40, prop::option::of(line()), text(), any::<bool>(), 0_i64..4), 1..8),
        ) {
            let mut reading = Reading::default();
            let mut lines = base;
            for (place, line, other, moves, second) in edits {
                let place = place.min(lines.len());
                match line {
                    Some(line) => lines.insert(place, line),
                    None if place < lines.len() => drop(lines.remove(place)),
                    None => {}
                }
                let other = other.filter(|_| moves);
                let document = document(&[None, Some(lines.join("\n")), other, None]);
                let before = reading.keys().clone();
                let changed = reading.read(&document, time(second));
                let expected = keys::desired(&document, time(second));
                prop_assert_eq!(reading.keys(), &expected);
                prop_assert_eq!(reading.next_expiry(), expected.next_expiry());
                if let Some(named) = changed.users() {
                    for name in before.users.keys().chain(expected.users.keys()) {
                        if before.users.get(name) != expected.users.get(name) {
                            prop_assert!(named.contains(name), "{}", name);
                        }
                    }
                }
            }
        }

        #[test]
        fn texts_differ_where_they_differ(
            one in prop::collection::vec(line(), 0..40),
            other in prop::collection::vec(line(), 0..40),
        ) {
            let (one, other) = (one.join("\n"), other.join("\n"));
            let found = compare(Source::Instance, &one, &other);
            let before = found.lines_before();
            for (text, lines) in [(&one, &found.old), (&other, &found.new)] {
                let all: Vec<&str> = text.split('\n').collect();
                prop_assert_eq!(&all[before..before + lines.len()], lines.as_slice());
            }
            let rest = |text: &str, lines: &[&str]| text.split('\n').skip(before + lines.len()).map(String::from).collect::<Vec<_>>();
            prop_assert_eq!(rest(&one, &found.old), rest(&other, &found.new));
        }
    }
}
