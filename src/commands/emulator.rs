//! `gce-guest emulator`: a metadata server on its own.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;
use log::LevelFilter;

use super::tell;
use crate::emulator::file::{self, FileError, Follower};
use crate::emulator::{Fault, Live, Server, Store};
use crate::system::channel;
use crate::system::{log as sinks, signals};

/// Arguments of `gce-guest emulator`.
#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = "\
FILE is the JSON that a real server answers for the root, recursively. It is
followed: a change of it is served at once, and a file that is broken leaves
what is served as it is. See docs/metadata.md for what is modelled and for the
control port.

Exit status: 0 after SIGINT or SIGTERM, 1 when it cannot start, 2 wrong usage.

Examples:
  gce-guest emulator --print-example > vm.json
  gce-guest emulator --metadata vm.json --control 127.0.0.1:8081
  gce-guest metadata --endpoint 127.0.0.1:8080 get instance/ --recursive
  curl -X PUT -d '\"blue\"' 127.0.0.1:8081/metadata/instance/attributes/colour
  gce-guest emulator --fault '{\"kind\":\"status\",\"status\":503,\"probability\":0.1}'")]
pub struct Arguments {
    /// Serve this file and follow its changes; without one, a small example.
    #[arg(long, value_name = "FILE")]
    metadata: Option<PathBuf>,
    /// Where to serve; may be given more than once. Port 0 is any free port.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: Vec<SocketAddr>,
    /// Take changes and faults here. Everybody who can connect may change everything, so only loopback is taken.
    #[arg(long, value_name = "ADDRESS:PORT")]
    control: Option<SocketAddr>,
    /// Order a fault from the beginning, as JSON; may be given more than once.
    #[arg(long, value_name = "JSON", value_parser = fault)]
    fault: Vec<Fault>,
    /// Print the example and end.
    #[arg(long)]
    print_example: bool,
}

fn fault(text: &str) -> Result<Fault, String> {
    serde_json::from_slice(text.as_bytes()).map_err(|error| error.to_string())
}

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// The file cannot be read, or an address cannot be listened on.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.print_example {
        let example = serde_json::to_string_pretty(Store::example().tree())?;
        print(&example)?;
        return Ok(ExitCode::SUCCESS);
    }
    sinks::start(&sinks::Options::console(LevelFilter::Info));
    let store = match &arguments.metadata {
        Some(path) => file::read(path)?,
        None => Store::example(),
    };
    let live = Live::new(store);
    live.set_faults(arguments.fault.clone());
    let follower = arguments.metadata.as_ref().map(|path| {
        let name = path.display().to_string();
        Follower::start(path, &live, move |result| report(&name, result))
            .with_context(|| format!("watch {}", path.display()))
    });
    let _follower = follower.transpose()?;
    let (stop, stopped) = channel::channel();
    signals::forward(move |request| request != signals::Request::Stop || stop.send(()).is_err())
        .context("watch for signals")?;
    let mut servers = Vec::new();
    for address in &arguments.listen {
        let server = Server::start(bind(*address)?, &live).context("start the server")?;
        print(&format!("metadata server on {}", server.address()))?;
        servers.push(server);
    }
    if let Some(address) = arguments.control {
        ensure!(
            address.ip().is_loopback(),
            "the control port has no protection: listen on 127.0.0.1 or [::1], not on {address}"
        );
        let server =
            Server::start_control(bind(address)?, &live).context("start the control port")?;
        print(&format!("control port on {}", server.address()))?;
        servers.push(server);
    }
    // The sender is gone only when a signal has come or the thread for signals has failed: both are the end.
    let _ = stopped.recv();
    Ok(ExitCode::SUCCESS)
}

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("listen on {address}"))
}

fn report(name: &str, result: Result<(), FileError>) {
    match result {
        Ok(()) => tell(&format!("{name} has changed and is served.")),
        Err(error) => tell(&format!("{error}. What was served before stays.")),
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")
        .and_then(|()| stdout.flush())
        .context("write to standard output")
}
