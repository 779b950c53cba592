//! What `gce-guest try` plays inside its sandbox: a metadata server, the real agent, and what comes of every change.
//!
//! This room sees all the others, as `commands` does, and acts only on the sandbox that it runs in. `stage` holds the
//! server and the agent, `story` is the scene that is played without further arguments, `follow` watches a file that the
//! user edits, `witness` and `visitor` ask other programs what they find, `screen` prints.

mod actor;
mod follow;
mod screen;
mod stage;
mod story;
mod visitor;
mod witness;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use self::screen::Screen;
use self::stage::Stage;
use crate::emulator::{Store, file};
use crate::system::foreground::{self, Program, Reap, Signals};

/// Plays the story.
///
/// # Errors
/// The metadata server or the agent cannot be started, or a step did not come to its end.
pub(crate) fn play(no_color: bool) -> anyhow::Result<ExitCode> {
    let stage = Stage::open(Screen::standard_output(no_color), Store::example())?;
    story::play(&stage)?;
    Ok(ExitCode::SUCCESS)
}

/// Follows a file until Ctrl-C.
///
/// # Errors
/// The file cannot be read at the beginning, or the metadata server or the agent cannot be started.
pub(crate) fn follow(path: &Path, no_color: bool) -> anyhow::Result<ExitCode> {
    follow::follow(path, Screen::standard_output(no_color))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs a command at the terminal while the agent works; it starts when the agent has done what the metadata asks for.
///
/// # Errors
/// The metadata server or the agent cannot be started, or the command cannot.
pub(crate) fn accompany(command: &[OsString], path: Option<&Path>) -> anyhow::Result<ExitCode> {
    // Before any other thread is there, so that the signals wait for us in all of them.
    let signals = Signals::hold().context("hold signals back")?;
    let store = path.map_or_else(|| Ok(Store::example()), file::read)?;
    let stage = Stage::open(Screen::standard_output(true), store)?;
    let _follower = path
        .map(|path| file::Follower::start(path, &stage.live, |_| {}))
        .transpose()?;
    stage.settle()?;
    let (program, arguments) = command.split_first().context("find the command")?;
    let program = Program {
        program,
        name: None,
        arguments,
        environment: &[],
        directory: None,
    };
    let pid = foreground::start(&program)
        .with_context(|| format!("start {}", program.program.display()))?;
    let status =
        foreground::wait_for(pid, &signals, Reap::Program).context("wait for the command")?;
    Ok(ExitCode::from(foreground::exit_status(status)))
}
