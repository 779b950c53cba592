//! Running programs in front of the user: each command line is shown before it starts.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

/// Where programs are looked for besides PATH: a user's PATH often leaves the system directories out.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// A cargo command line, run at the top of the repository with the cargo that runs us.
pub(crate) fn cargo(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(crate::top());
    // What cargo tells us of our own package would be news to the build scripts of dependencies, which are then built again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// The command line as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    std::iter::once(name)
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs a command with our own input and output.
///
/// # Errors
/// The program cannot be started, or ends with anything but success.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let line = announce(command)?;
    let status = command
        .status()
        .with_context(|| format!("cannot run {line}"))?;
    expect_success(&line, status)
}

/// Runs a command with our own output, and ends it, with everything that it started, when it takes longer than `limit`.
///
/// # Errors
/// Those of [`succeed`], and a command that was ended.
pub(crate) fn succeed_within(command: &mut Command, limit: Duration) -> Result<()> {
    let line = announce(command)?;
    let mut child = command
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot run {line}"))?;
    let until = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return expect_success(&line, status);
        }
        if Instant::now() > until {
            kill_process_group(Pid::from_child(&child), Signal::KILL)?;
            child.wait()?;
            bail!("`{line}` took longer than {} s", limit.as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Runs a command, shows what it prints (both streams, in their order) and keeps it.
///
/// # Errors
/// The program cannot be started or its output not be read. A failing program is not an error here.
pub(crate) fn transcript(command: &mut Command) -> Result<(ExitStatus, String)> {
    let line = announce(command)?;
    let (reader, writer) = io::pipe()?;
    command
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .stdin(Stdio::null());
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot run {line}"))?;
    // The command holds the writing ends; without this the end of the output would never come.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut kept = String::new();
    for text in BufReader::new(reader).split(b'\n') {
        let text = String::from_utf8_lossy(&text?).into_owned();
        println!("{text}");
        kept.push_str(&text);
        kept.push('\n');
    }
    Ok((child.wait()?, kept))
}

/// Finds a program in PATH or in the system directories.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SYSTEM_DIRECTORIES.map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

fn announce(command: &Command) -> Result<String> {
    let line = shown(command);
    println!("$ {line}");
    io::stdout().flush()?;
    Ok(line)
}

fn expect_success(line: &str, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_transcript_has_both_streams_in_their_order() {
        let (status, text) =
            transcript(&mut shell("echo 1; echo 2 >&2; echo 3; exit 4")).expect("sh runs");
        assert_eq!((status.code(), text.as_str()), (Some(4), "1\n2\n3\n"));
    }

    #[test]
    fn a_failure_names_the_command() {
        let error = succeed(&mut shell("exit 3")).expect_err("exit 3 is no success");
        assert_eq!(error.to_string(), "`sh -c exit 3` failed (exit status: 3)");
    }

    #[test]
    fn a_command_past_its_limit_is_ended() {
        let started = Instant::now();
        let error = succeed_within(&mut shell("sleep 60 & wait"), Duration::from_millis(100))
            .expect_err("it is too slow");
        assert!(error.to_string().contains("took longer"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(30));
    }
}
