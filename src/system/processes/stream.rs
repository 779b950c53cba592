//! Programs whose output is handed on as it comes, without a deadline: the owner's scripts.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{Invocation, ProcessError, find};

/// The most that a pipe can hold when its program ends, in bytes: pipe(7). What comes after that is from somebody else.
const PIPE_LIMIT: usize = 1024 * 1024;

/// Runs a program without a deadline and hands on what it prints, both streams as one, as it comes.
///
/// It is over when the program has ended: what it wrote before that is handed on, and children of it that go on in the
/// background keep the pipe without holding us up.
///
/// # Errors
/// [`ProcessError::NotInstalled`], [`ProcessError::NotStarted`].
pub fn stream(
    invocation: &Invocation,
    environment: &[(&str, &str)],
    mut output: impl FnMut(&[u8]),
) -> Result<ExitStatus, ProcessError> {
    let not_started = |reason: io::Error| ProcessError::NotStarted {
        command: invocation.display(),
        reason,
    };
    let name = invocation.program.to_string_lossy();
    let path = find(&name).ok_or_else(|| ProcessError::NotInstalled {
        program: name.into_owned(),
    })?;
    let (mut child, pipe) = spawn_streamed(&path, invocation, environment).map_err(not_started)?;
    hand_on(&child, pipe, &mut output).map_err(not_started)?;
    child.wait().map_err(not_started)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the second place that starts programs: the owner's scripts"
)]
fn spawn_streamed(
    path: &Path,
    invocation: &Invocation,
    environment: &[(&str, &str)],
) -> io::Result<(Child, OwnedFd)> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let child = Command::new(path)
        .args(&invocation.arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::from(writer.try_clone()?))
        .stderr(Stdio::from(writer))
        .spawn()?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    Ok((child, reader))
}

/// Hands on output until the process has ended and the pipe is empty, or closed.
fn hand_on(child: &Child, pipe: OwnedFd, output: &mut impl FnMut(&[u8])) -> io::Result<()> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let mut pipe = Some(File::from(pipe));
    let mut buffer = vec![0_u8; 64 * 1024];
    let mut left_over = PIPE_LIMIT;
    loop {
        let mut polled = vec![PollFd::new(&pidfd, PollFlags::IN)];
        polled.extend(pipe.iter().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        match poll(&mut polled, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let ended = !polled[0].revents().is_empty();
        while let Some(file) = &mut pipe {
            match file.read(&mut buffer) {
                Ok(0) => pipe = None,
                Ok(length) => {
                    output(&buffer[..length]);
                    left_over = if ended {
                        left_over.saturating_sub(length)
                    } else {
                        left_over
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            if !ended || left_over == 0 {
                break;
            }
        }
        if ended {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::system::processes::SEARCH_PATH;

    #[test]
    fn a_stream_is_whole_and_in_order_and_ends_with_its_program() {
        let script =
            "echo one; echo two >&2; seq 1 20000; (sleep 30; echo late) & echo last; exit 7";
        let mut output = Vec::new();
        let started = Instant::now();
        let status = stream(
            &Invocation::new("sh", ["-c", script]),
            &[("PATH", SEARCH_PATH)],
            |bytes| output.extend_from_slice(bytes),
        )
        .unwrap();
        assert_eq!(status.code(), Some(7));
        assert!(started.elapsed() < Duration::from_secs(20));
        let numbers: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
        assert_eq!(
            String::from_utf8(output).unwrap(),
            format!("one\ntwo\n{numbers}last\n")
        );
    }
}
