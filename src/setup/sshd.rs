//! sshd with its new host keys. systemd starts it after the set-up; elsewhere it may run already, or nobody starts it
//! (spec/core.md 9.2).

use std::time::Duration;

use anyhow::Context as _;

use super::context::Context;
use super::engine::Outcome;
use super::machine;
use crate::system::processes::{self, Invocation};
use crate::system::root::Root;

/// How long a service may take to start.
const DEADLINE: Duration = Duration::from_secs(60);

/// Where sshd's service is called ssh, as on Debian.
const CALLED_SSH: [&str; 2] = ["/etc/init.d/ssh", "/etc/init/ssh.conf"];

/// The units of sshd, of one distribution or the other.
const UNITS: [&str; 2] = ["ssh.service", "sshd.service"];

/// The step that sees to it that sshd serves the new keys.
///
/// # Errors
/// The service cannot be started.
pub fn start(context: &Context<'_>) -> anyhow::Result<Outcome> {
    let systemd = machine::has_systemd(&context.root);
    if systemd && !context.sshd_has_old_keys() {
        return Ok(Outcome::Unchanged("systemd starts it".into()));
    }
    if !context.host_keys_renewed() {
        return Ok(Outcome::Unchanged("its host keys are as they were".into()));
    }
    if processes::find("sshd").is_none() {
        return Ok(Outcome::Unchanged("it is not installed".into()));
    }
    if systemd {
        return Ok(reload_units());
    }
    let service = service(&context.root);
    let run = |verb: &str| {
        let invocation = Invocation::new("service", [service, verb]).within(DEADLINE);
        processes::run_successfully(&invocation).with_context(|| format!("{verb} sshd"))
    };
    // Not both, as the predecessors did: one that has just been started may not be ready to be told, and end.
    if run("status").is_ok() && run("reload").is_ok() {
        return Ok(Outcome::Done(format!("reloaded {service}")));
    }
    run("start")?;
    Ok(Outcome::Done(format!("started {service}")))
}

/// Tells an sshd that was let go before the instance was known. Which of the units there is, is not known.
fn reload_units() -> Outcome {
    let reloaded: Vec<&str> = UNITS
        .into_iter()
        .filter(|unit| {
            let words = ["--no-block", "try-reload-or-restart", unit];
            processes::run_successfully(&Invocation::new("systemctl", words).within(DEADLINE))
                .is_ok()
        })
        .collect();
    Outcome::Done(format!(
        "it had started with the keys of another instance; reloaded {}",
        reloaded.join(", ")
    ))
}

fn service(root: &Root) -> &'static str {
    if CALLED_SSH.iter().any(|path| root.path(path).exists()) {
        "ssh"
    } else {
        "sshd"
    }
}
