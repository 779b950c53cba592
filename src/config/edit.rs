//! Setting one option in a file that a person keeps: every other byte of it stays, comments included.

use std::io;

use thiserror::Error;

use super::file::{self, WriteError};
use super::format;
use super::ini::{Document, is_space, physical_lines};
use super::options::OptionSpec;
use super::sources::{FILE_LIMIT, TEMPLATE};
use super::values::Invalid;
use super::{Settings, locks};
use crate::system::files::{self, Attributes};
use crate::system::order::InOrder;
use crate::system::root::Root;

/// Why an option of the template was not set. The template is then as it was.
#[derive(Debug, Error)]
pub enum SetError {
    /// No option has this name; the text says what to write instead.
    #[error("no option '{path}': {fix}")]
    Unknown {
        /// What was asked for.
        path: String,
        /// What to write instead.
        fix: String,
    },
    /// The value is not of the option's kind.
    #[error("not a value of {path}: '{value}'; {invalid}")]
    Invalid {
        /// The option.
        path: String,
        /// The value.
        value: String,
        /// What is accepted.
        invalid: Invalid,
    },
    /// The template cannot be read.
    #[error("cannot read {TEMPLATE}: {0}")]
    Read(io::Error),
    /// The template cannot be changed in one place.
    #[error("{TEMPLATE}: {0}")]
    Edit(#[from] EditError),
    /// The template cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// The option that `Section.option` names, in any case.
///
/// # Errors
/// What to write instead.
pub fn find_option(path: &str) -> Result<&'static OptionSpec, String> {
    locks::option_at(path)
}

/// Sets an option in the template below a root and leaves every other byte of it as it is. The value is checked first.
///
/// # Errors
/// Each [`SetError`].
pub fn set_in_template(
    root: &Root,
    path: &str,
    value: &str,
) -> Result<&'static OptionSpec, SetError> {
    let option = find_option(path).map_err(|fix| SetError::Unknown {
        path: path.to_owned(),
        fix,
    })?;
    option
        .assign(&mut Settings::default(), value)
        .map_err(|invalid| SetError::Invalid {
            path: option.path(),
            value: value.to_owned(),
            invalid,
        })?;
    let _lock = file::lock(root, TEMPLATE)?;
    let place = root.path(TEMPLATE);
    let before = files::read(&place, FILE_LIMIT)
        .map_err(SetError::Read)?
        .unwrap_or_default();
    let edited = set(&before, option.section, option.name, value)?;
    if edited != before {
        files::replace(&place, &edited, &Attributes::keep_mode_or(0o644)).map_err(|reason| {
            WriteError::Io {
                path: TEMPLATE.to_owned(),
                reason,
            }
        })?;
    }
    Ok(option)
}

/// Why an option cannot be set without disturbing the rest of the file.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum EditError {
    /// The name or the value would not be read back as it is.
    #[error("the value cannot be written in this format")]
    NotWritable,
    /// The file is too odd for a change of one line.
    #[error("the file cannot be changed without disturbing its other lines; change it by hand")]
    Disturbs,
}

/// The file with the option set to this value.
///
/// The lines of the option are replaced where it is there; else a line is added behind the last option of its section;
/// else the section is added at the end. The result is read again: it must differ in this option and in nothing else.
pub(super) fn set(
    bytes: &[u8],
    section: &str,
    option: &str,
    value: &str,
) -> Result<Vec<u8>, EditError> {
    let raw = format::escape(value);
    if !format::is_writable(section, option, &raw) {
        return Err(EditError::NotWritable);
    }
    let (before, _) = Document::parse(bytes);
    let edited = splice(bytes, &before, section, option, &raw);
    let (after, _) = Document::parse(&edited);
    let mut wanted = before;
    wanted.set(section, option, raw);
    if same(&wanted, &after) {
        Ok(edited)
    } else {
        Err(EditError::Disturbs)
    }
}

fn splice(bytes: &[u8], document: &Document, section: &str, option: &str, raw: &str) -> Vec<u8> {
    let line = format::option_line(&option.to_lowercase(), raw);
    let Some(present) = document.section(section) else {
        let mut added = format!("[{section}]\n{line}");
        if !bytes.is_empty() {
            added.insert(0, '\n');
        }
        return replace_lines(bytes, usize::MAX, usize::MAX, &added, 0);
    };
    if let Some(entry) = present.entry(&option.to_lowercase()) {
        return replace_lines(bytes, entry.line, entry.last_line, &line, entry.line);
    }
    let last = present.entries().iter().max_by_key(|entry| entry.line);
    let (anchor, behind) = last.map_or((present.line, present.line), |entry| {
        (entry.line, entry.last_line)
    });
    replace_lines(bytes, behind + 1, behind, &line, anchor)
}

/// Puts a text in place of the lines `first..=last`, counted from 1; `first = last + 1` inserts, past the end appends. The
/// text is indented like the line `like` and has the line ending of the file.
fn replace_lines(bytes: &[u8], first: usize, last: usize, text: &str, like: usize) -> Vec<u8> {
    let lines = physical_lines(bytes);
    let ending = lines.first().map_or("\n", |line| {
        let after = &bytes[offset(bytes, line) + line.len()..];
        match after {
            [b'\r', b'\n', ..] => "\r\n",
            [b'\r', ..] => "\r",
            _ => "\n",
        }
    });
    let model = like.checked_sub(1).and_then(|index| lines.get(index));
    let model = String::from_utf8_lossy(model.copied().unwrap_or_default());
    let model = model.strip_prefix('\u{feff}').unwrap_or(&model);
    let indent: String = model.chars().take_while(|c| is_space(*c)).collect();
    let text: Vec<String> = text
        .split('\n')
        .map(|line| format!("{indent}{line}"))
        .collect();
    let text = text.join(ending);
    let start = lines
        .get(first.saturating_sub(1))
        .map_or(bytes.len(), |line| offset(bytes, line));
    let end = lines
        .get(last)
        .map_or(bytes.len(), |line| offset(bytes, line));
    let mut edited = bytes[..start].to_vec();
    if !edited.is_empty() && !edited.ends_with(b"\n") && !edited.ends_with(b"\r") {
        edited.extend(ending.bytes());
    }
    edited.extend(text.bytes());
    edited.extend(ending.bytes());
    edited.extend(&bytes[end.max(start)..]);
    edited
}

/// Where a line begins in the bytes that it is a part of.
fn offset(bytes: &[u8], line: &[u8]) -> usize {
    line.as_ptr() as usize - bytes.as_ptr() as usize
}

/// Whether two documents say the same, wherever their lines are.
fn same(one: &Document, other: &Document) -> bool {
    let contents = |document: &Document| -> Vec<(String, Vec<(String, String)>)> {
        let mut sections: Vec<_> = document
            .sections()
            .iter()
            .map(|section| {
                let mut entries: Vec<_> = section
                    .entries()
                    .iter()
                    .map(|entry| (entry.name.clone(), entry.raw.clone()))
                    .collect();
                entries.put_in_order();
                (section.name.clone(), entries)
            })
            .collect();
        sections.put_in_order();
        sections
    };
    contents(one) == contents(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edited(text: &str, section: &str, option: &str, value: &str) -> String {
        String::from_utf8(set(text.as_bytes(), section, option, value).unwrap()).unwrap()
    }

    #[test]
    fn one_line_changes_and_no_other() {
        let file =
            "# mine\n[Accounts]\n; why\ngroups = a,\n  b\n\n[Daemons]\naccounts_daemon = true";
        assert_eq!(
            edited(file, "Accounts", "Groups", "c"),
            "# mine\n[Accounts]\n; why\ngroups = c\n\n[Daemons]\naccounts_daemon = true"
        );
        assert_eq!(
            edited(file, "Accounts", "sudo", "none"),
            "# mine\n[Accounts]\n; why\ngroups = a,\n  b\nsudo = none\n\n[Daemons]\naccounts_daemon = true"
        );
        assert_eq!(
            edited(file, "Daemons", "network_daemon", "no"),
            format!("{file}\nnetwork_daemon = no\n")
        );
        assert_eq!(
            edited(file, "Clock", "max_step", "9"),
            format!("{file}\n\n[Clock]\nmax_step = 9\n")
        );
        assert_eq!(edited("", "A", "a", "5%"), "[A]\na = 5%%\n");
    }

    #[test]
    fn indented_files_and_other_line_endings_stay_what_they_are() {
        assert_eq!(
            edited("  [A]\n  a = 1\n  [B]\n  b = 2\n", "A", "c", "3"),
            "  [A]\n  a = 1\n  c = 3\n  [B]\n  b = 2\n"
        );
        assert_eq!(
            edited("[A]\r\na = 1\r\n[B]\r\n", "A", "a", "2\n3"),
            "[A]\r\na = 2\r\n\t3\r\n[B]\r\n"
        );
    }

    proptest! {
        /// On any bytes: the option has the value afterwards and everything else what it had, or nothing is changed.
        #[test]
        fn nothing_else_changes(
            lines in prop::collection::vec(
                prop::sample::select(vec![
                    "[A]", "[B]", " [A]", "[DEFAULT]", "a = 1", "  a: 2", "b =", "   more", "\tx", "", "# c", "prose", "  prose",
                    "\u{feff}", "a = 9",
                ]),
                0..12,
            ),
            ending in prop::sample::select(vec!["\n", "\r\n", "\r"]),
            closed in any::<bool>(),
            value in "[a-z%]{0,5}",
        ) {
            let mut file = lines.join(ending);
            if closed {
                file.push_str(ending);
            }
            let (before, _) = Document::parse(file.as_bytes());
            match set(file.as_bytes(), "A", "a", &value) {
                Ok(edited) => {
                    let (after, _) = Document::parse(&edited);
                    prop_assert_eq!(after.value("A", "a").unwrap().unwrap().text, value);
                    for section in before.sections() {
                        for entry in section.entries() {
                            if (section.name.as_str(), entry.name.as_str()) != ("A", "a") {
                                let now = after.section(&section.name).unwrap().entry(&entry.name).unwrap();
                                prop_assert_eq!(&now.raw, &entry.raw);
                            }
                        }
                    }
                }
                Err(error) => prop_assert_eq!(error, EditError::Disturbs),
            }
        }
    }
}
