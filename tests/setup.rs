//! Instance set-up with real parts: ssh-keygen, an sshd that serves the new keys, a disk that is full, and the metadata
//! server on its real address, or not there.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a failure is a panic, and programs are started directly"
)]

mod support;

#[path = "setup/host_keys.rs"]
mod host_keys;
#[path = "setup/image.rs"]
mod image;
#[path = "setup/options.rs"]
mod options;
#[path = "setup/run.rs"]
mod run;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::{PROGRAM, output_within, text_of};

/// How long a set-up may take on a loaded machine: it makes RSA keys.
const PATIENCE: Duration = Duration::from_secs(120);

/// The instance of the example document.
const INSTANCE: &str = "4242424242424242424";

/// What became of a set-up.
struct Ran {
    /// Its exit status.
    status: i32,
    /// Its record.
    record: Value,
    /// Its log.
    log: String,
}

impl Ran {
    /// How a step ended.
    fn result(&self, step: &str) -> &str {
        self.step(step)["result"].as_str().unwrap()
    }

    /// What a step said.
    fn detail(&self, step: &str) -> &str {
        self.step(step)["detail"].as_str().unwrap()
    }

    fn step(&self, name: &str) -> &Value {
        let steps = self.record["steps"].as_array().unwrap();
        let found = steps.iter().find(|step| step["step"] == name);
        found.unwrap_or_else(|| panic!("no step {name} in {}", self.record))
    }

    /// The steps that the next run has to complete.
    fn failures(&self) -> Vec<&str> {
        let steps = self.record["steps"].as_array().unwrap();
        let failed = |step: &&Value| step["result"] == "failed" || step["result"] == "not-reached";
        let failures = steps.iter().filter(failed);
        failures
            .map(|step| step["step"].as_str().unwrap())
            .collect()
    }
}

/// Runs the set-up to its end.
fn set_up() -> Ran {
    set_up_with(&[])
}

fn set_up_with(options: &[&str]) -> Ran {
    let mut command = Command::new(PROGRAM);
    command.args(["setup", "--json", "--debug"]).args(options);
    let output = output_within(&mut command, PATIENCE);
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let record = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("no record ({error}):\n{log}"));
    Ran {
        status: output.status.code().unwrap(),
        record,
        log,
    }
}

fn configure(text: &str) {
    std::fs::write("/etc/default/instance_configs.cfg.template", text).unwrap();
}

/// The fingerprints of the host keys on disk by type, of the private halves, by ssh-keygen.
fn fingerprints() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir("/etc/ssh").unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let key_type = name
            .strip_prefix("ssh_host_")
            .and_then(|rest| rest.strip_suffix("_key"));
        if let Some(key_type) = key_type {
            let public = text_of(["ssh-keygen", "-y", "-f", path.to_str().unwrap()]);
            let kept = std::fs::read_to_string(path.with_extension("pub")).unwrap();
            assert!(
                kept.starts_with(&public[..80.min(public.len())]),
                "two halves of one key"
            );
            let words: Vec<&str> = public.split(' ').collect();
            found.insert(key_type.to_owned(), words[1].to_owned());
        }
    }
    found
}

/// Puts the host keys of an image in place of those that are there. They are of types that are quick to make.
fn image_host_keys() -> BTreeMap<String, String> {
    remove_host_keys();
    for key_type in ["ecdsa", "ed25519"] {
        let file = format!("/etc/ssh/ssh_host_{key_type}_key");
        support::run(["ssh-keygen", "-q", "-t", key_type, "-N", "", "-f", &file]);
    }
    fingerprints()
}

/// Removes every host key: the machine of a fresh image.
fn remove_host_keys() {
    support::run(["sh", "-c", "rm -f /etc/ssh/ssh_host_*"]);
}
