//! The real agent, as a program of its own beside the scene, and what it says.

use std::time::{Duration, Instant};

use crate::system::channel::{self, Receiver};
use crate::system::processes::background::Background;
use crate::system::processes::{Invocation, ProcessError};

/// This very program.
pub(crate) const PROGRAM: &str = "/proc/self/exe";

/// A line of the agent's log, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// When it came.
    pub(crate) at: Instant,
    /// INFO, WARNING, ERROR or DEBUG.
    pub(crate) level: String,
    /// What it says.
    pub(crate) text: String,
}

/// The running agent.
pub(crate) struct Actor {
    lines: Receiver<Line>,
    _program: Background,
}

impl Actor {
    /// Starts the agent with details in its log.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start() -> Result<Self, ProcessError> {
        let (sender, lines) = channel::channel();
        let program = Background::start(
            &Invocation::new(PROGRAM, ["agent", "--debug"]),
            move |line| {
                if let Some(line) = parse(line, Instant::now()) {
                    // After the scene nobody listens.
                    let _ = sender.send(line);
                }
            },
        )?;
        Ok(Self {
            lines,
            _program: program,
        })
    }

    /// The next line, unless none comes for so long. `None` as well when the agent has ended.
    pub(crate) fn next(&self, patience: Duration) -> Option<Line> {
        self.lines.recv_timeout(patience).ok()
    }
}

/// Takes a line of the log apart: `<logger>: <LEVEL> <message>`.
fn parse(line: &str, at: Instant) -> Option<Line> {
    let (_, rest) = line.split_once(": ")?;
    let (level, text) = rest.split_once(' ')?;
    Some(Line {
        at,
        level: level.to_owned(),
        text: text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_are_taken_apart() {
        let at = Instant::now();
        let line = parse("google-accounts: WARNING User bob: no: really.", at).unwrap();
        assert_eq!(
            (line.level.as_str(), line.text.as_str()),
            ("WARNING", "User bob: no: really.")
        );
        assert_eq!(parse("something else", at), None);
    }
}
