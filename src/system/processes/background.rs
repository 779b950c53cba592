//! Programs that go on in the background while their output is read line by line, and end with their handle.

use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{Invocation, ProcessError, SEARCH_PATH, end, unprotect};
use crate::system::threads;

/// A program in the background. Dropping it ends the program: TERM, a moment of grace, KILL.
#[derive(Debug)]
pub struct Background {
    child: Child,
}

impl Background {
    /// Starts a program; `line` gets every line of its standard error, without the line end, from a thread of its own.
    /// Its standard output is discarded.
    ///
    /// # Errors
    /// [`ProcessError::NotInstalled`], [`ProcessError::NotStarted`].
    pub fn start(
        invocation: &Invocation,
        line: impl FnMut(&str) + Send + 'static,
    ) -> Result<Self, ProcessError> {
        Self::start_boxed(invocation, Box::new(line))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "starts a program, as its whole room does"
    )]
    fn start_boxed(
        invocation: &Invocation,
        mut line: Box<dyn FnMut(&str) + Send>,
    ) -> Result<Self, ProcessError> {
        let not_started = |reason: io::Error| ProcessError::NotStarted {
            command: invocation.display(),
            reason,
        };
        let path = invocation.path()?;
        let mut child = unprotect(&mut Command::new(path))
            .args(&invocation.arguments)
            .env_clear()
            .env("PATH", SEARCH_PATH)
            .env("LC_ALL", "C")
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(not_started)?;
        let stderr = child.stderr.take();
        let background = Self { child };
        let read = move || {
            for text in stderr
                .into_iter()
                .flat_map(|stream| BufReader::new(stream).split(b'\n'))
                .map_while(Result::ok)
            {
                line(&String::from_utf8_lossy(&text));
            }
        };
        threads::start("output", read).map_err(not_started)?;
        Ok(background)
    }

    /// Asks the program to end and waits for it.
    ///
    /// # Errors
    /// Those of kill(2) and waitpid(2).
    pub fn stop(mut self, grace: Duration) -> io::Result<ExitStatus> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let until = std::time::Instant::now() + grace;
        while std::time::Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let pid = Pid::from_child(&self.child);
            // Nothing is left to do for a child that cannot be waited for.
            let _ = end(&mut self.child, pid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn lines_arrive_and_the_program_ends_with_its_handle() {
        let (lines, received) = mpsc::channel();
        let invocation = Invocation::new("sh", ["-c", "echo $$ >&2; sleep 60"]);
        let background = Background::start(&invocation, move |line| {
            lines.send(line.to_owned()).unwrap();
        })
        .unwrap();
        let pid = received.recv_timeout(LONG).unwrap();
        drop(background);
        assert!(!std::path::Path::new("/proc").join(pid).exists());
    }

    #[test]
    fn a_stopped_program_tells_its_status() {
        let (lines, received) = mpsc::channel();
        let script = "trap 'exit 5' TERM; echo ready >&2; while :; do sleep 0.01; done";
        let invocation = Invocation::new("sh", ["-c", script]);
        let background = Background::start(&invocation, move |line| {
            lines.send(line.to_owned()).unwrap();
        })
        .unwrap();
        received.recv_timeout(LONG).unwrap();
        assert_eq!(background.stop(LONG).unwrap().code(), Some(5));
    }
}
