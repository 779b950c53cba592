//! What `gce-guest try` prints: three columns that a newcomer can read, with colours on a terminal only.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// The width of a line, for the column of milliseconds on the right.
const WIDTH: usize = 78;
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
        Self { coloured: io::stdout().is_terminal() && !no_color }
    }

    /// A line of prose.
    pub(crate) fn prose(&self, text: &str) {
        self.print(text);
    }

    /// A line of somebody, with the time that it took at its right end.
    pub(crate) fn say(&self, who: Speaker, text: &str, took: Option<Duration>) {
        self.print(&line(who, text, took, self.coloured));
    }

    /// Prints a line. A reader that has gone away is no reason to stop in the middle.
    fn print(&self, text: &str) {
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
}

fn line(who: Speaker, text: &str, took: Option<Duration>, coloured: bool) -> String {
    let name = format!("{:<WHO$}", who.name());
    let name = if coloured { format!("\x1b[{}m{name}\x1b[0m", who.colour()) } else { name };
    let Some(took) = took else { return format!("  {name}{text}") };
    let took = format!("{} ms", took.as_millis());
    let gap = WIDTH.saturating_sub(2 + WHO + text.chars().count() + took.len()).max(2);
    let took = if coloured { format!("\x1b[2m{took}\x1b[0m") } else { took };
    format!("  {name}{text}{:gap$}{took}", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_at_the_right_and_colours_change_no_width() {
        let plain = line(Speaker::Agent, "created user alice", Some(Duration::from_millis(31)), false);
        assert_eq!(plain.chars().count(), WIDTH);
        assert!(plain.starts_with("  agent     created user alice  ") && plain.ends_with("  31 ms"));
        assert_eq!(line(Speaker::Machine, "x", None, false), "  machine   x");
        let long = line(Speaker::Agent, &"y".repeat(100), Some(Duration::from_millis(5)), false);
        assert!(long.ends_with("y  5 ms"), "{long}");
        let coloured = line(Speaker::Agent, "x", None, true);
        assert_eq!(coloured.replace("\x1b[32m", "").replace("\x1b[0m", ""), "  agent     x");
    }
}
