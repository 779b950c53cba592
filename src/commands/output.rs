//! What commands print: whole pages to standard output, in lines that fit a terminal.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

/// The width of a page.
const WIDTH: usize = 80;

// The form of a page, for people or for programs. What describes an arguments' type would describe the command.
#[derive(Args, Clone, Copy, Debug)]
#[group(skip)]
pub(super) struct Form {
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// Writes a page to standard output.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    super::print(text.as_bytes()).map(drop)
}

/// The same for a value, as JSON on several lines.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    print(&text)
}

/// Prints a chain of reasons, each with whether it holds, and returns whether all do, as an exit status.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn print_chain<'a>(
    links: impl IntoIterator<Item = (bool, &'a str)>,
) -> anyhow::Result<ExitCode> {
    let (mut page, mut all_hold) = (String::new(), true);
    for (holds, text) in links {
        all_hold &= holds;
        let word = if holds { "ok  " } else { "FAIL" };
        page += &format!("{word}  {text}\n");
    }
    print(&page)?;
    Ok(if all_hold {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A text in lines of at most 80 columns, but for longer words: the first line begins with `first`, the others are
/// indented as far.
#[must_use]
pub(super) fn paragraph(first: &str, text: &str) -> String {
    let indent = first.chars().count();
    let mut page = first.to_owned();
    let mut column = indent;
    for (number, word) in text.split_whitespace().map(escaped).enumerate() {
        let length = word.chars().count();
        if number > 0 && column + 1 + length > WIDTH {
            page.push('\n');
            page.push_str(&" ".repeat(indent));
            column = indent;
        } else if number > 0 {
            page.push(' ');
            column += 1;
        }
        page.push_str(&word);
        column += length;
    }
    page.push('\n');
    page
}

/// What is between two lists of lines: those that are gone after `-`, those that are new after `+`, indented. What both
/// begin and end with is left out.
#[must_use]
pub(super) fn difference(before: &[String], after: &[String]) -> String {
    let head = before
        .iter()
        .zip(after)
        .take_while(|(before, after)| before == after)
        .count();
    let (before, after) = (&before[head..], &after[head..]);
    let tail = before
        .iter()
        .rev()
        .zip(after.iter().rev())
        .take_while(|(before, after)| before == after)
        .count();
    let gone = before[..before.len() - tail].iter().map(|line| ("-", line));
    let new = after[..after.len() - tail].iter().map(|line| ("+", line));
    gone.chain(new)
        .map(|(sign, line)| format!("    {sign} {}\n", escaped(line)))
        .collect()
}

/// A text that cannot command a terminal: lines of files may be anybody's.
#[must_use]
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        if character.is_control() && character != '\t' {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// A count with its noun: `1 change`, `2 changes`.
#[must_use]
pub(super) fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_fit_the_page_and_stay_indented() {
        let text = "word ".repeat(40);
        let page = paragraph("  accounts  ", &text);
        assert!(page.lines().all(|line| line.len() <= WIDTH), "{page}");
        assert!(
            page.lines()
                .skip(1)
                .all(|line| line.starts_with("            word")),
            "{page}"
        );
        assert_eq!(page.split_whitespace().count(), 41);
        assert_eq!(paragraph("a ", ""), "a \n");
        assert_eq!(paragraph("a ", "\u{1b}[2J"), "a \\u{1b}[2J\n");
        let long = "x".repeat(100);
        assert_eq!(
            paragraph("a ", &format!("b {long}")),
            format!("a b\n  {long}\n")
        );
    }

    #[test]
    fn differences_leave_out_what_stays() {
        let lines = |text: &str| {
            text.split(' ')
                .filter(|word| !word.is_empty())
                .map(String::from)
                .collect::<Vec<_>>()
        };
        for (before, after, expected) in [
            ("", "", ""),
            ("a b", "a b", ""),
            ("", "a", "    + a\n"),
            ("a b c", "a x c", "    - b\n    + x\n"),
            ("a a", "a", "    - a\n"),
            ("", "\u{1b}[2J", "    + \\u{1b}[2J\n"),
        ] {
            assert_eq!(
                difference(&lines(before), &lines(after)),
                expected,
                "{before} / {after}"
            );
        }
    }
}
