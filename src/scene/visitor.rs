//! Alice, who logs in: with a real sshd and a key pair of her own where OpenSSH is installed.

use std::time::{Duration, Instant};

use super::screen::{Screen, Speaker};
use crate::system::channel;
use crate::system::files;
use crate::system::processes::background::Background;
use crate::system::processes::{self, Invocation};

/// A public key for machines on which no key pair can be made; nobody has its private half.
const EXAMPLE_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPUZWnCVkYZTJ7C6vHzRdmAcgUfm2fpt1PlFXvHrJb0 alice@example";

/// Her private key, in the sandbox's own /tmp.
const KEY: &str = "/tmp/alice";
/// The key of the sandbox's sshd.
const HOST_KEY: &str = "/tmp/ssh_host_ed25519_key";

/// How long sshd has to come up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Alice.
pub(super) struct Visitor {
    public_key: String,
    sshd: Option<Background>,
}

impl Visitor {
    /// Makes a key pair and starts sshd, where both can be had. Without them she only has a key.
    pub(super) fn arrive() -> Self {
        let can_log_in = ["ssh", "sshd", "ssh-keygen"]
            .iter()
            .all(|program| processes::find(program).is_some());
        let key = if can_log_in { make_keys() } else { None };
        let sshd = key.as_ref().and_then(|_| start_sshd());
        Self {
            public_key: key.unwrap_or_else(|| EXAMPLE_KEY.to_owned()),
            sshd,
        }
    }

    /// Her public key, as it goes into metadata.
    pub(super) fn public_key(&self) -> &str {
        &self.public_key
    }

    /// Tries to log in and shows what comes of it.
    pub(super) fn log_in(&self, screen: &Screen) {
        if self.sshd.is_none() {
            return;
        }
        let command = if processes::find("sudo").is_some() {
            "sudo -n id -un"
        } else {
            "id -un"
        };
        screen.say(
            Speaker::Machine,
            &format!("$ ssh alice@localhost {command}"),
            None,
        );
        let started = Instant::now();
        let options = [
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
        ];
        let mut arguments = vec!["-F", "/dev/null", "-i", KEY];
        arguments.extend(options.iter().flat_map(|option| ["-o", option]));
        arguments.extend(["alice@127.0.0.1", command]);
        let answer = match processes::run(&Invocation::new("ssh", arguments)) {
            Ok(finished) => [finished.stdout, finished.stderr].concat(),
            Err(error) => error.to_string().into_bytes(),
        };
        let answer = String::from_utf8_lossy(&answer);
        screen.say(
            Speaker::Machine,
            &format!("  {}", answer.trim()),
            Some(started.elapsed()),
        );
    }
}

/// Makes both key pairs and returns the line of her public key.
fn make_keys() -> Option<String> {
    for file in [KEY, HOST_KEY] {
        let arguments = [
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            "alice@example",
            "-f",
            file,
        ];
        processes::run_successfully(&Invocation::new("ssh-keygen", arguments)).ok()?;
    }
    let line = files::read(format!("{KEY}.pub").as_ref(), 4096).ok()??;
    Some(String::from_utf8_lossy(&line).trim().to_owned())
}

fn start_sshd() -> Option<Background> {
    let sshd = processes::find("sshd")?;
    let options = [
        format!("HostKey={HOST_KEY}"),
        "ListenAddress=127.0.0.1".into(),
        "PidFile=none".into(),
        "UsePAM=no".into(),
    ];
    let mut arguments: Vec<String> = ["-D", "-e", "-f", "/dev/null"].map(String::from).to_vec();
    arguments.extend(
        options
            .into_iter()
            .flat_map(|option| ["-o".to_owned(), option]),
    );
    let (up, is_up) = channel::channel();
    let sshd = Background::start(&Invocation::new(sshd, arguments), move |line| {
        if line.contains("Server listening") {
            // Whoever waited may have given up.
            let _ = up.send(());
        }
    });
    let sshd = sshd.ok()?;
    is_up.recv_timeout(PATIENCE).ok()?;
    Some(sshd)
}
