//! `gce-guest try`: the real agent on a throw-away copy of this machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use crate::emulator;
use crate::sandbox::{Options, Sandbox, Shown};
use crate::scene;
use crate::system::{environment, files};

/// Where the directory of the user's metadata file is inside.
const SHOWN_AT: &str = "/run/metadata";

/// The largest metadata file, in bytes.
const SIZE_LIMIT: u64 = 16 * 1024 * 1024;

/// Arguments of `gce-guest try`.
#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = "\
Everything happens in namespaces of its own, on a copy-on-write view of this
machine, without a way out to the network. It needs root, or a user namespace
with subordinate ids (package uidmap).

Exit status: that of COMMAND; otherwise 0 when the scene came to its end, 1 when
something failed.

Examples:
  gce-guest try                      a short scene: a user, an address, a script
  gce-guest try --metadata vm.json   serve this file; edit it, watch the agent
  gce-guest try -- bash              a shell in there, with the agent at work
  gce-guest try --metadata vm.json -- id alice")]
pub struct Arguments {
    /// Serve this metadata, and again after every change of the file, until Ctrl-C.
    #[arg(long, value_name = "FILE.json")]
    metadata: Option<PathBuf>,
    /// Run a command in there while the agent works.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Arguments of the part that runs inside.
#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct InsideArguments {
    #[arg(long)]
    metadata: Option<PathBuf>,
    #[arg(last = true)]
    command: Vec<OsString>,
}

/// Sets the sandbox up and plays in it.
///
/// # Errors
/// The metadata file cannot be used, or no sandbox can be had.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut options = Options {
        hostname: "example".into(),
        ..Options::default()
    };
    let mut inside: Vec<OsString> = vec!["/proc/self/exe".into(), "try-inside".into()];
    if let Some(file) = &arguments.metadata {
        let (shown, at) = show(file)?;
        options.shown.push(shown);
        inside.extend(["--metadata".into(), at.into()]);
    }
    inside.push("--".into());
    inside.extend(arguments.command.iter().cloned());
    Ok(ExitCode::from(Sandbox::new(options).run(&inside)?))
}

/// The directory of a file, so that its changes are seen inside, and the file's path there.
fn show(file: &Path) -> anyhow::Result<(Shown, PathBuf)> {
    let told = || format!("read the metadata file {}", file.display());
    if files::read(file, SIZE_LIMIT).with_context(told)?.is_none() {
        bail!("the metadata file {} does not exist", file.display());
    }
    // Inside it has another name, which would say nothing to whoever wrote it.
    emulator::file::read(file)?;
    let file = file.canonicalize().with_context(told)?;
    let (Some(directory), Some(name)) = (file.parent(), file.file_name()) else {
        bail!("{} is no file", file.display())
    };
    Ok((
        Shown {
            from: directory.into(),
            at: SHOWN_AT.into(),
        },
        Path::new(SHOWN_AT).join(name),
    ))
}

/// Plays inside the sandbox.
///
/// # Errors
/// Those of the scene.
pub(crate) fn run_inside(arguments: &InsideArguments) -> anyhow::Result<ExitCode> {
    let no_color = environment::variable("NO_COLOR").is_some();
    match (&arguments.metadata, arguments.command.as_slice()) {
        (file, command @ [_, ..]) => scene::accompany(command, file.as_deref()),
        (Some(file), []) => scene::follow(file, no_color),
        (None, []) => scene::play(no_color),
    }
}
