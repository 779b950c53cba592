//! Somebody with a key pair outside a machine, who logs in to it by ssh.

use std::fs;
use std::process::Output;

use super::{attempt, run};

/// The key pair.
const KEY: &str = "/run/visitor";

/// Makes the key pair.
pub(crate) fn make_key() {
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", KEY]);
}

/// The public key, as a line for metadata.
pub(crate) fn key_of(user: &str) -> String {
    let key = fs::read_to_string(format!("{KEY}.pub")).unwrap();
    format!("{user}:{}", key.trim())
}

/// Logs in to `user@address` and runs a command; the host key must be the one that was seen before, if any was.
pub(crate) fn ssh(target: &str, command: &str) -> Output {
    attempt([
        "ssh",
        "-F",
        "/dev/null",
        "-i",
        KEY,
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=accept-new",
        "-o",
        "UserKnownHostsFile=/run/known",
        "-o",
        "ConnectTimeout=10",
        target,
        command,
    ])
}
