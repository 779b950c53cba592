//! Where log lines go: the journal or syslog where there is one, else standard error, in the predecessors' line format.
//!
//! One line format everywhere: `<logger-name>: <LEVEL> <message>` (spec/core.md 4). The logger name is the `target` of
//! the `log` macros, so that people who grep for `google-accounts` go on finding it. The logger is the one global of
//! the program.

use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::environment;

/// Where and how much is logged.
#[derive(Clone, Debug)]
pub struct Options {
    /// The syslog socket; `None` keeps syslog out of it. A missing socket is no failure (spec/core.md BUG 6).
    pub syslog: Option<PathBuf>,
    /// Whether lines go to standard error even when syslog takes them.
    pub stderr: bool,
    /// The lowest level on standard error. Syslog never gets DEBUG.
    pub level: LevelFilter,
    /// Whether lines on standard error begin with their priority, which the journal takes off again (sd-daemon(3)).
    pub priorities: bool,
}

impl Options {
    /// What the daemons and one-shot programs use: syslog, standard error only with `--debug` or without syslog.
    ///
    /// As a unit whose standard error goes to the journal, that and not syslog: the journal is behind both, and the unit
    /// may say that the serial console gets the lines as well (`journal+console`).
    #[must_use]
    pub fn program(debug: bool) -> Self {
        let journal = stderr_is_the_journal();
        Self {
            syslog: (!journal).then(|| PathBuf::from("/dev/log")),
            stderr: debug || journal,
            level: if debug {
                LevelFilter::Debug
            } else {
                LevelFilter::Info
            },
            priorities: journal,
        }
    }

    /// Lines on standard error only, for commands that a person runs.
    #[must_use]
    pub fn console(level: LevelFilter) -> Self {
        Self {
            syslog: None,
            stderr: true,
            level,
            priorities: false,
        }
    }
}

/// Whether standard error is connected to the journal: the variable names the device and inode (systemd.exec(5)).
fn stderr_is_the_journal() -> bool {
    let named = environment::variable("JOURNAL_STREAM");
    let own = rustix::fs::fstat(rustix::stdio::stderr());
    match (named, own) {
        (Some(named), Ok(own)) => named == *format!("{}:{}", own.st_dev, own.st_ino),
        _ => false,
    }
}

/// Starts logging. A second call is ignored: the first caller of the process decides.
pub fn start(options: &Options) {
    let syslog = options.syslog.as_ref().and_then(|path| {
        let socket = UnixDatagram::unbound().ok()?;
        socket.connect(path).ok()?;
        Some(socket)
    });
    let stderr = options.stderr || syslog.is_none();
    let (level, priorities) = (options.level, options.priorities);
    if log::set_boxed_logger(Box::new(Sinks {
        syslog,
        stderr,
        level,
        priorities,
    }))
    .is_ok()
    {
        log::set_max_level(level);
    }
}

struct Sinks {
    syslog: Option<UnixDatagram>,
    stderr: bool,
    level: LevelFilter,
    priorities: bool,
}

impl Log for Sinks {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.level
    }

    fn log(&self, record: &Record<'_>) {
        // Logger names have a dash and Rust modules cannot: what libraries say is of interest from WARNING up.
        let of_a_library = !record.target().contains('-') && record.level() > Level::Warn;
        if of_a_library || !self.enabled(record.metadata()) {
            return;
        }
        let line = line(record);
        if self.stderr {
            // Standard error that is gone must not end the program.
            let severity = priority(record.level()).unwrap_or(7) & 7;
            let text = if self.priorities {
                format!("<{severity}>{line}\n")
            } else {
                format!("{line}\n")
            };
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
        if let (Some(syslog), Some(priority)) = (&self.syslog, priority(record.level())) {
            // A syslog daemon that is being restarted loses a line; it must not hold us up.
            let _ = syslog.send(format!("<{priority}>{line}\0").as_bytes());
        }
    }

    fn flush(&self) {}
}

/// One record in the predecessors' format, on one line: control characters are escaped.
fn line(record: &Record<'_>) -> String {
    let level = match record.level() {
        Level::Error => "ERROR",
        Level::Warn => "WARNING",
        Level::Info => "INFO",
        Level::Debug | Level::Trace => "DEBUG",
    };
    let mut line = format!("{}: {level} ", record.target());
    for character in record.args().to_string().chars() {
        if character.is_control() && character != '\t' {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

/// The syslog priority of facility daemon; DEBUG is never sent (spec/core.md 4).
fn priority(level: Level) -> Option<u8> {
    match level {
        Level::Error => Some(27),
        Level::Warn => Some(28),
        Level::Info => Some(30),
        Level::Debug | Level::Trace => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(level: Level, message: &str) -> String {
        line(
            &Record::builder()
                .level(level)
                .target("google-accounts")
                .args(format_args!("{message}"))
                .build(),
        )
    }

    #[test]
    fn lines_have_the_predecessors_format() {
        assert_eq!(
            formatted(Level::Info, "Removing user a."),
            "google-accounts: INFO Removing user a."
        );
        assert_eq!(formatted(Level::Warn, "x"), "google-accounts: WARNING x");
        assert_eq!(priority(Level::Error), Some(27));
        assert_eq!(priority(Level::Debug), None);
    }

    #[test]
    fn a_message_cannot_forge_a_second_line() {
        let forged = formatted(Level::Info, "user a\nroot: INFO all is well\u{7}");
        assert_eq!(
            forged,
            "google-accounts: INFO user a\\nroot: INFO all is well\\u{7}"
        );
    }
}
