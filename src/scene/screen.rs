//! What `gce-guest try` prints: three columns that a newcomer can read, with colours on a terminal only.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// The width of a line, for the column of milliseconds on the right.
const WIDTH: usize = 78;
/// The width of the margin on the left.
const INDENT: usize = 2;
/// The width of the column that says who speaks.
const WHO: usize = 10;

/// Who speaks on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// What changed in metadata.
    Metadata,
    /// What the agent did.
    Agent,
    /// What the owner's script printed.
    Script,
    /// What other programs find on the machine afterwards.
    Machine,
}

impl Speaker {
    fn name(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Agent => "agent",
            Self::Script => "script",
            Self::Machine => "machine",
        }
    }

    /// The terminal's colour: yellow, green, magenta, blue.
    fn colour(self) -> &'static str {
        match self {
            Self::Metadata => "33",
            Self::Agent => "32",
            Self::Script => "35",
            Self::Machine => "34",
        }
    }
}

/// Standard output, with or without colours.
#[derive(Debug)]
pub(crate) struct Screen {
    coloured: bool,
}

impl Screen {
    /// Standard output; colours only when it is a terminal and `NO_COLOR` is not set (no-color.org).
    pub(crate) fn standard_output(no_color: bool) -> Self {
        Self {
            coloured: io::stdout().is_terminal() && !no_color,
        }
    }

    /// A line of prose.
    pub(crate) fn prose(&self, text: &str) {
        self.print(text);
    }

    /// What somebody says, on as many lines as it takes, with the time that it took at the right end of the last one.
    pub(crate) fn say(&self, who: Speaker, text: &str, took: Option<Duration>) {
        let mut lines = wrapped(text, WIDTH - INDENT - WHO).into_iter().peekable();
        let mut name = who.name();
        while let Some(text) = lines.next() {
            let took = took.filter(|_| lines.peek().is_none());
            self.print(&line(who, name, &text, took, self.coloured));
            name = "";
        }
    }

    /// Prints a line. A reader that has gone away is no reason to stop in the middle.
    fn print(&self, text: &str) {
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
}

/// Breaks a text at blanks so that each line has at most `width` characters, but for longer words. Lines after the first
/// are indented like the first and two more.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let indent = " ".repeat(text.len() - text.trim_start().len());
    let mut lines: Vec<String> = Vec::new();
    let mut line = indent.clone();
    for word in text.split_whitespace() {
        let is_first = line.trim().is_empty();
        if !is_first && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::replace(&mut line, format!("{indent}  {word}")));
        } else {
            line.push_str(if is_first { "" } else { " " });
            line.push_str(word);
        }
    }
    lines.push(line);
    lines
}

fn line(who: Speaker, name: &str, text: &str, took: Option<Duration>, coloured: bool) -> String {
    let name = format!("{name:<WHO$}");
    let name = if coloured {
        format!("\x1b[{}m{name}\x1b[0m", who.colour())
    } else {
        name
    };
    let Some(took) = took else {
        return format!("  {name}{text}");
    };
    let took = format!("{} ms", took.as_millis());
    let gap = WIDTH
        .saturating_sub(INDENT + WHO + text.chars().count() + took.len())
        .max(2);
    let took = if coloured {
        format!("\x1b[2m{took}\x1b[0m")
    } else {
        took
    };
    format!("  {name}{text}{:gap$}{took}", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_at_the_right_and_colours_change_no_width() {
        let took = Some(Duration::from_millis(31));
        let plain = line(Speaker::Agent, "agent", "created user alice", took, false);
        assert_eq!(plain.chars().count(), WIDTH);
        assert!(
            plain.starts_with("  agent     created user alice  ") && plain.ends_with("  31 ms")
        );
        assert_eq!(
            line(Speaker::Machine, "machine", "x", None, false),
            "  machine   x"
        );
        let coloured = line(Speaker::Agent, "agent", "x", None, true);
        assert_eq!(
            coloured.replace("\x1b[32m", "").replace("\x1b[0m", ""),
            "  agent     x"
        );
    }

    #[test]
    fn long_texts_are_broken_at_blanks() {
        assert_eq!(wrapped("one two three", 8), ["one two", "  three"]);
        assert_eq!(wrapped("  groups=1 2 3", 10), ["  groups=1", "    2 3"]);
        assert_eq!(wrapped("unbreakable", 5), ["unbreakable"]);
        assert_eq!(wrapped("", 5), [""]);
    }
}
