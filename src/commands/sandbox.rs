//! `gce-guest sandbox`: a command in an empty sandbox, for tests.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::sandbox::{Nic, Options, Sandbox, Shown, stages};

/// What to run, and in what sandbox.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct Arguments {
    /// The host name inside.
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// A network interface instead of the usual eth0; the address may be missing.
    #[arg(long = "nic", value_name = "NAME,MAC[,ADDRESS]", value_parser = parse_nic)]
    nics: Vec<Nic>,
    /// Where the command starts, instead of the current directory.
    #[arg(long, value_name = "DIRECTORY")]
    working_directory: Option<PathBuf>,
    /// A directory that stays live inside, read-only.
    #[arg(long = "show", value_name = "DIRECTORY=INSIDE", value_parser = parse_shown)]
    shown: Vec<Shown>,
    /// An open descriptor that the command gets; one of a directory is a way out.
    #[arg(long = "keep-fd", value_name = "NUMBER")]
    kept: Vec<RawFd>,
    /// Leave the command the right to mount, with which it can undo what protects the machine.
    #[arg(long)]
    allow_mounts: bool,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What one stage of a sandbox passes to the next.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct StageArguments {
    order: String,
    #[arg(last = true)]
    command: Vec<OsString>,
}

/// Runs the command and returns its exit status.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let defaults = Options::default();
    let sandbox = Sandbox::new(Options {
        hostname: arguments.hostname.unwrap_or(defaults.hostname),
        nics: if arguments.nics.is_empty() {
            defaults.nics
        } else {
            arguments.nics
        },
        environment: Vec::new(),
        working_directory: arguments.working_directory,
        shown: arguments.shown,
        kept: arguments.kept,
        allow_mounts: arguments.allow_mounts,
    });
    match sandbox.run(&arguments.command) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            tell(&error);
            ExitCode::from(error.exit_status())
        }
    }
}

/// The second process of a sandbox.
pub(crate) fn enter(arguments: &StageArguments) -> ExitCode {
    stage(stages::enter(&arguments.order, &arguments.command))
}

/// The first process inside a sandbox.
pub(crate) fn init(arguments: &StageArguments) -> ExitCode {
    stage(stages::start(&arguments.order, &arguments.command))
}

fn stage(result: std::io::Result<u8>) -> ExitCode {
    match result {
        Ok(status) => ExitCode::from(status),
        // The caller has ended, so there is nobody to tell.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        Err(error) => {
            tell(&error);
            ExitCode::FAILURE
        }
    }
}

fn tell(error: &dyn std::error::Error) {
    super::tell(&format!("gce-guest: {error}"));
}

fn parse_nic(text: &str) -> Result<Nic, String> {
    let mut fields = text.split(',');
    let name = fields.next().filter(|name| !name.is_empty());
    let mac = fields.next().and_then(|mac| mac.parse().ok());
    let address = fields.next().map(str::parse::<Ipv4Addr>).transpose();
    match (name, mac, address, fields.next()) {
        (Some(name), Some(mac), Ok(address), None) => Ok(Nic {
            name: name.to_owned(),
            mac,
            address,
        }),
        _ => Err("expected NAME,MAC or NAME,MAC,ADDRESS".to_owned()),
    }
}

fn parse_shown(text: &str) -> Result<Shown, String> {
    match text.rsplit_once('=') {
        Some((from, at)) if from.starts_with('/') && at.starts_with('/') => Ok(Shown {
            from: from.into(),
            at: at.into(),
        }),
        _ => Err("expected two absolute paths with = between them".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_has_a_name_a_mac_and_perhaps_an_address() {
        let nic = parse_nic("eth1,42:01:0a:81:00:02,10.129.0.2").unwrap();
        assert_eq!(nic.name, "eth1");
        assert_eq!(nic.mac.to_string(), "42:01:0a:81:00:02");
        assert_eq!(nic.address, Some(Ipv4Addr::new(10, 129, 0, 2)));
        assert_eq!(parse_nic("eth1,42:01:0a:81:00:02").unwrap().address, None);
        for bad in [
            "",
            "eth1",
            "eth1,42:01",
            "eth1,42:01:0a:81:00:02,x",
            ",42:01:0a:81:00:02",
        ] {
            assert!(parse_nic(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_shown_directory_has_two_absolute_paths() {
        let shown = parse_shown("/a=b=/c").unwrap();
        assert_eq!((shown.from, shown.at), ("/a=b".into(), "/c".into()));
        assert!(parse_shown("/a").is_err() && parse_shown("a=/b").is_err());
    }
}
