//! The INI dialect of Python's `configparser`, read leniently (spec/core.md 3.4). Pure: bytes in, a [`Document`] out.
//!
//! Where Python raises and drops the whole file, this parser keeps every good line and says what was wrong with the
//! others: a byte-order mark is skipped, bytes that are not UTF-8 are replaced, a line without `=` or `:` and lines above
//! the first section are left out, a section that comes twice is one section, an option that comes twice has its last
//! value. Everything that Python accepts is read as Python 3 reads it.
//!
//! No crate on crates.io reads this dialect: docs/configuration.md has the table of what each of them gets wrong, and
//! none tells the line of a value, which every message needs.

use std::collections::HashMap;
use std::fmt;

use thiserror::Error;

/// The section whose options count in every other section of the same document.
pub const DEFAULT_SECTION: &str = "DEFAULT";

/// How many `%(name)s` may lead from one to the next, as in Python.
const INTERPOLATION_DEPTH: usize = 10;

/// The longest value that `%(name)s` may build, in bytes: ten levels of repetition could fill the memory otherwise.
const EXPANDED_LIMIT: usize = 1 << 20;

/// How many `%(name)s` one value may lead through in all: empty ones, repeated on ten levels, would take for ever without
/// making the value any longer.
const REFERENCE_LIMIT: usize = 1000;

/// A parsed file: sections in the order of the file, values as they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    sections: Vec<Section>,
}

/// A section with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The name as written; the case counts.
    pub name: String,
    /// The line of the first header, counted from 1; 0 for one that was added by a program.
    pub line: usize,
    entries: Vec<Entry>,
}

/// An option with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name in lower case.
    pub name: String,
    /// The line of the option, counted from 1; 0 for one that was added by a program.
    pub line: usize,
    /// The last line of its value, which is another one where the value is continued.
    pub last_line: usize,
    /// The value as written: continuation lines joined with a newline, `%` not yet expanded.
    pub raw: String,
}

/// What is wrong with one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxProblem {
    /// The line, counted from 1.
    pub line: usize,
    /// The line itself.
    pub text: String,
    /// What is wrong with it.
    pub kind: SyntaxKind,
}

/// The ways in which a line can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyntaxKind {
    /// The file begins with a UTF-8 byte-order mark, which is skipped.
    ByteOrderMark,
    /// The line has bytes that are not UTF-8; each is read as U+FFFD.
    NotUtf8,
    /// The line comes before the first section header and is left out.
    BeforeFirstSection,
    /// The line has neither `=` nor `:` and is left out.
    NoDelimiter,
    /// The line begins with `=` or `:` and is left out.
    NoName,
    /// The header repeats the one in this earlier line; both are one section.
    RepeatedSection {
        /// The line of the first header.
        first: usize,
    },
    /// The option repeats the one in this earlier line, whose value is lost.
    RepeatedOption {
        /// The line of the earlier value.
        first: usize,
    },
    /// Text after the closing bracket of a header is ignored.
    TextAfterHeader,
}

impl SyntaxKind {
    /// Whether something of the line is lost.
    #[must_use]
    pub fn loses_the_line(self) -> bool {
        matches!(
            self,
            Self::BeforeFirstSection | Self::NoDelimiter | Self::NoName
        )
    }
}

impl fmt::Display for SyntaxKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByteOrderMark => f.write_str("the file begins with a byte-order mark"),
            Self::NotUtf8 => f.write_str("the line is not UTF-8"),
            Self::BeforeFirstSection => f.write_str("the line comes before any [Section]"),
            Self::NoDelimiter => f.write_str("the line has neither '=' nor ':'"),
            Self::NoName => f.write_str("the line has no option name"),
            Self::RepeatedSection { first } => {
                write!(f, "the section was already opened in line {first}")
            }
            Self::RepeatedOption { first } => {
                write!(f, "the option was already set in line {first}")
            }
            Self::TextAfterHeader => f.write_str("text after the ']' is ignored"),
        }
    }
}

/// Why a value cannot be computed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InterpolationError {
    /// `%(name)s` names an option that the section does not have.
    #[error("%({0})s names no option of the section")]
    Missing(String),
    /// `%(name)s` leads back to itself or through more than ten others.
    #[error("%({0})s leads through too many others")]
    TooDeep(String),
    /// The value would be longer than a mebibyte.
    #[error("%({0})s makes the value too long")]
    TooLong(String),
    /// The value leads through more than a thousand others, counted each time.
    #[error("%({0})s is one of too many in the value")]
    TooMany(String),
}

/// A value with its `%(name)s` replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expanded {
    /// The value.
    pub text: String,
    /// Whether a `%` that Python would refuse was taken literally.
    pub stray_percent: bool,
}

impl Document {
    /// Reads a file's bytes. Never fails: what cannot be read is in the list of problems, in the order of the lines.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> (Self, Vec<SyntaxProblem>) {
        let mut reader = Reader::default();
        let body = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        if body.len() != bytes.len() {
            reader.complain(1, "", SyntaxKind::ByteOrderMark);
        }
        for (index, line) in physical_lines(body).into_iter().enumerate() {
            let text = String::from_utf8_lossy(line);
            let number = index + 1;
            if matches!(text, std::borrow::Cow::Owned(_)) {
                reader.complain(number, &text, SyntaxKind::NotUtf8);
            }
            reader.line(number, &text);
        }
        reader.finish()
    }

    /// The sections in the order of the file, [`DEFAULT_SECTION`] among them where there is one.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The section of exactly this name.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// An option of a section or, where the section lacks it, of `[DEFAULT]`. The section must be there; the option's
    /// case does not count.
    #[must_use]
    pub fn entry(&self, section: &str, option: &str) -> Option<&Entry> {
        let option = option.to_lowercase();
        self.section(section)?
            .entry(&option)
            .or_else(|| self.section(DEFAULT_SECTION)?.entry(&option))
    }

    /// The value of an option with `%(name)s` and `%%` replaced; `None` when the option is not there.
    ///
    /// # Errors
    /// [`InterpolationError`] when a `%(name)s` leads nowhere.
    pub fn value(
        &self,
        section: &str,
        option: &str,
    ) -> Result<Option<Expanded>, InterpolationError> {
        self.entry(section, option)
            .map(|entry| self.expand(section, &entry.raw))
            .transpose()
    }

    /// Replaces `%(name)s` and `%%` in a text as if it were the value of an option of this section.
    ///
    /// # Errors
    /// [`InterpolationError`] when a `%(name)s` leads nowhere.
    pub fn expand(&self, section: &str, raw: &str) -> Result<Expanded, InterpolationError> {
        let mut expanded = Expanded {
            text: String::with_capacity(raw.len()),
            stray_percent: false,
        };
        let mut references_left = REFERENCE_LIMIT;
        self.expand_into(section, raw, 1, &mut references_left, &mut expanded)?;
        Ok(expanded)
    }

    fn expand_into(
        &self,
        section: &str,
        raw: &str,
        depth: usize,
        references_left: &mut usize,
        expanded: &mut Expanded,
    ) -> Result<(), InterpolationError> {
        let mut rest = raw;
        while let Some(at) = rest.find('%') {
            expanded.text.push_str(&rest[..at]);
            let tail = &rest[at + 1..];
            if let Some(after) = tail.strip_prefix('%') {
                expanded.text.push('%');
                rest = after;
            } else if let Some((name, after)) = reference(tail) {
                *references_left = references_left
                    .checked_sub(1)
                    .ok_or_else(|| InterpolationError::TooMany(name.to_owned()))?;
                let entry = self
                    .entry(section, name)
                    .ok_or_else(|| InterpolationError::Missing(name.to_owned()))?;
                if entry.raw.contains('%') {
                    if depth >= INTERPOLATION_DEPTH {
                        return Err(InterpolationError::TooDeep(name.to_owned()));
                    }
                    self.expand_into(section, &entry.raw, depth + 1, references_left, expanded)?;
                } else {
                    expanded.text.push_str(&entry.raw);
                }
                if expanded.text.len() > EXPANDED_LIMIT {
                    return Err(InterpolationError::TooLong(name.to_owned()));
                }
                rest = after;
            } else {
                expanded.text.push('%');
                expanded.stray_percent = true;
                rest = tail;
            }
        }
        expanded.text.push_str(rest);
        Ok(())
    }

    /// Sets a raw value, adding section and option at the end where they are missing. The option's name is put in lower
    /// case.
    pub fn set(&mut self, section: &str, option: &str, raw: impl Into<String>) {
        let entry = Entry {
            name: option.to_lowercase(),
            line: 0,
            last_line: 0,
            raw: raw.into(),
        };
        let present = self.sections.iter_mut().find(|other| other.name == section);
        let Some(present) = present else {
            self.append(section, entry);
            return;
        };
        match present
            .entries
            .iter_mut()
            .find(|other| other.name == entry.name)
        {
            Some(other) => *other = entry,
            None => present.entries.push(entry),
        }
    }

    /// Adds an option that is not there to the last section, or to a new one when that has another name.
    pub(super) fn append(&mut self, section: &str, entry: Entry) {
        match self.sections.last_mut() {
            Some(last) if last.name == section => last.entries.push(entry),
            _ => self.sections.push(Section {
                name: section.to_owned(),
                line: 0,
                entries: vec![entry],
            }),
        }
    }

    /// Removes an option. Returns whether there was one.
    pub fn remove(&mut self, section: &str, option: &str) -> bool {
        let option = option.to_lowercase();
        self.sections
            .iter_mut()
            .find(|candidate| candidate.name == section)
            .is_some_and(|section| {
                let before = section.entries.len();
                section.entries.retain(|entry| entry.name != option);
                section.entries.len() != before
            })
    }
}

impl Section {
    /// The options in the order of the file.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The option of exactly this name, which is in lower case.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }
}

/// The state between two lines.
#[derive(Default)]
struct Reader {
    document: Document,
    problems: Vec<SyntaxProblem>,
    /// Where each section is, by name, and each option of it, by section and name: a file may have a hundred thousand.
    sections: HashMap<String, usize>,
    options: HashMap<(usize, String), usize>,
    /// The section that is open.
    section: Option<usize>,
    /// The option of the open section that an indented line continues.
    option: Option<usize>,
    /// How far the line of that option, or the last header, is indented, in characters.
    indent: usize,
}

impl Reader {
    fn complain(&mut self, line: usize, text: &str, kind: SyntaxKind) {
        self.problems.push(SyntaxProblem {
            line,
            text: trim(text).to_owned(),
            kind,
        });
    }

    fn line(&mut self, number: usize, line: &str) {
        let text = trim(line);
        if text.starts_with(['#', ';']) {
            return;
        }
        if text.is_empty() {
            // Kept for now: an empty line is part of the value when a continuation line follows.
            self.continue_value(number, "");
            return;
        }
        let indent = line.chars().take_while(|c| is_space(*c)).count();
        if self.option.is_some() && indent > self.indent {
            self.continue_value(number, text);
            return;
        }
        self.indent = indent;
        if let Some((name, after)) = header(text) {
            self.header(number, text, name, after);
        } else if let Some(section) = self.section {
            self.option(number, text, section);
        } else {
            self.complain(number, text, SyntaxKind::BeforeFirstSection);
        }
    }

    fn continue_value(&mut self, number: usize, text: &str) {
        if let (Some(section), Some(option)) = (self.section, self.option) {
            let entry = &mut self.document.sections[section].entries[option];
            entry.raw.push('\n');
            entry.raw.push_str(text);
            if !text.is_empty() {
                entry.last_line = number;
            }
        }
    }

    fn header(&mut self, number: usize, text: &str, name: &str, after: &str) {
        if !trim(after).is_empty() {
            self.complain(number, text, SyntaxKind::TextAfterHeader);
        }
        let sections = &mut self.document.sections;
        let index = *self.sections.entry(name.to_owned()).or_insert_with(|| {
            sections.push(Section {
                name: name.to_owned(),
                line: number,
                entries: Vec::new(),
            });
            sections.len() - 1
        });
        let first = sections[index].line;
        if first != number && name != DEFAULT_SECTION {
            self.complain(number, text, SyntaxKind::RepeatedSection { first });
        }
        self.section = Some(index);
        self.option = None;
    }

    fn option(&mut self, number: usize, text: &str, section: usize) {
        self.option = None;
        let Some(at) = text.find(['=', ':']) else {
            self.complain(number, text, SyntaxKind::NoDelimiter);
            return;
        };
        let name = trim(&text[..at]).to_lowercase();
        if name.is_empty() {
            self.complain(number, text, SyntaxKind::NoName);
            return;
        }
        let entries = &mut self.document.sections[section].entries;
        let entry = Entry {
            name: name.clone(),
            line: number,
            last_line: number,
            raw: trim(&text[at + 1..]).to_owned(),
        };
        let index = *self.options.entry((section, name)).or_insert(entries.len());
        self.option = Some(index);
        if let Some(before) = entries.get_mut(index) {
            let first = std::mem::replace(before, entry).line;
            self.complain(number, text, SyntaxKind::RepeatedOption { first });
        } else {
            entries.push(entry);
        }
    }

    fn finish(mut self) -> (Document, Vec<SyntaxProblem>) {
        for section in &mut self.document.sections {
            for entry in &mut section.entries {
                entry
                    .raw
                    .truncate(entry.raw.trim_end_matches(is_space).len());
            }
        }
        (self.document, self.problems)
    }
}

/// Splits where Python's text files do: at `\n`, `\r\n` and a lone `\r`.
pub(super) fn physical_lines(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let Some(end) = end else {
            lines.push(rest);
            break;
        };
        lines.push(&rest[..end]);
        let ending = if rest[end..].starts_with(b"\r\n") {
            2
        } else {
            1
        };
        rest = &rest[end + ending..];
    }
    lines
}

/// The name in brackets at the start of a line, and the text after the first closing bracket.
fn header(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix('[')?;
    let (name, after) = inside.split_once(']')?;
    (!name.is_empty()).then_some((name, after))
}

/// What follows a `%`: the name in `(name)s`, and the text after it.
fn reference(text: &str) -> Option<(&str, &str)> {
    let (name, after) = text.strip_prefix('(')?.split_once(')')?;
    let after = after.strip_prefix('s')?;
    (!name.is_empty()).then_some((name, after))
}

/// What Python's `str.strip` removes: Unicode white space and the four separators U+001C to U+001F.
pub(super) fn is_space(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}')
}

fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kinds(text: &str) -> Vec<(usize, SyntaxKind)> {
        let (_, problems) = Document::parse(text.as_bytes());
        problems.iter().map(|p| (p.line, p.kind)).collect()
    }

    fn raw(text: &[u8], section: &str, option: &str) -> Option<String> {
        let (document, _) = Document::parse(text);
        Some(document.entry(section, option)?.raw.clone())
    }

    #[test]
    fn each_bad_line_is_told_with_its_number_and_costs_itself() {
        let text = "stray = 1\n[A]\na = 1\nprose\n   b = 2\n= 3\n[A]\na = 4\n[B] x = 5\n";
        assert_eq!(
            kinds(text),
            [
                (1, SyntaxKind::BeforeFirstSection),
                (4, SyntaxKind::NoDelimiter),
                (6, SyntaxKind::NoName),
                (7, SyntaxKind::RepeatedSection { first: 2 }),
                (8, SyntaxKind::RepeatedOption { first: 3 }),
                (9, SyntaxKind::TextAfterHeader),
            ]
        );
        assert_eq!(raw(text.as_bytes(), "A", "a").as_deref(), Some("4"));
        // An indented line below a bad one is a line of its own and does not continue the value above.
        assert_eq!(raw(text.as_bytes(), "A", "b").as_deref(), Some("2"));
    }

    #[test]
    fn odd_bytes_cost_nothing_else() {
        let text = b"\xef\xbb\xbf[A]\r\na = caf\xe9\rb = 2\n\0c = x\0y";
        let (document, problems) = Document::parse(text);
        let kinds: Vec<_> = problems.iter().map(|p| (p.line, p.kind)).collect();
        assert_eq!(
            kinds,
            [(1, SyntaxKind::ByteOrderMark), (2, SyntaxKind::NotUtf8)]
        );
        assert_eq!(document.entry("A", "a").unwrap().raw, "caf\u{fffd}");
        assert_eq!(document.entry("A", "b").unwrap().line, 3);
        assert_eq!(document.entry("A", "\0c").unwrap().raw, "x\0y");
    }

    #[test]
    fn values_are_expanded_as_in_python_and_a_lone_percent_sign_is_itself() {
        let text = "[DEFAULT]\nbase = /srv\n[A]\na = %(base)s/%(B)s\nb = 5%%\nc = 50% of %d\nd = %(d)s\ne = %(x)s\n";
        let (document, _) = Document::parse(text.as_bytes());
        let value = |option| document.value("A", option);
        assert_eq!(value("a").unwrap().unwrap().text, "/srv/5%");
        let stray = value("c").unwrap().unwrap();
        assert_eq!(
            (stray.text.as_str(), stray.stray_percent),
            ("50% of %d", true)
        );
        assert_eq!(value("d"), Err(InterpolationError::TooDeep("d".into())));
        assert_eq!(value("e"), Err(InterpolationError::Missing("x".into())));
        assert_eq!(value("nothing"), Ok(None));
    }

    #[test]
    fn a_value_cannot_be_made_to_fill_the_memory() {
        let ten = |name: &str| format!("%({name})s").repeat(60);
        let mut text = format!("[A]\nv0 = {}\n", "x".repeat(20_000));
        for level in 1..9 {
            text.push_str(&format!("v{level} = {}\n", ten(&format!("v{}", level - 1))));
        }
        let (document, _) = Document::parse(text.as_bytes());
        assert!(matches!(
            document.value("A", "v8"),
            Err(InterpolationError::TooLong(_))
        ));
    }

    #[test]
    fn a_value_cannot_be_made_to_take_for_ever() {
        let mut text = String::from("[A]\nv0 =\n");
        for level in 1..9 {
            let references = format!("%(v{})s", level - 1).repeat(1000);
            text.push_str(&format!("v{level} = {references}\n"));
        }
        let (document, _) = Document::parse(text.as_bytes());
        assert!(document.value("A", "v1").is_ok());
        assert!(matches!(
            document.value("A", "v8"),
            Err(InterpolationError::TooMany(_))
        ));
    }

    proptest! {
        /// No bytes make the parser fail, and an option below them is read.
        #[test]
        fn nothing_above_hides_a_good_line(garbage in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut file = garbage;
            file.extend(b"\n[Last]\nlast = kept\n");
            let read = raw(&file, "Last", "last");
            prop_assert_eq!(read.as_deref(), Some("kept"));
        }

        /// Good lines between bad ones are all read.
        #[test]
        fn no_good_line_is_lost(
            lines in prop::collection::vec(
                prop_oneof![
                    Just(None),
                    "[^\\[ \t\r\n\\x0b\\x0c\\x1c-\\x1f\\p{White_Space}=:][^=:\r\n]{0,20}".prop_map(Some),
                ],
                0..30,
            )
        ) {
            let mut file = String::from("[A]\n");
            for (number, line) in lines.iter().enumerate() {
                match line {
                    Some(bad) => file.push_str(bad),
                    None => file.push_str(&format!("good{number} = {number}")),
                }
                file.push('\n');
            }
            for (number, _) in lines.iter().enumerate().filter(|(_, line)| line.is_none()) {
                let read = raw(file.as_bytes(), "A", &format!("good{number}"));
                prop_assert_eq!(read, Some(number.to_string()));
            }
        }
    }
}
