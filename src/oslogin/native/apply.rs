//! Carrying out a plan: the files, each in one step, and then the services that read them.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};

use super::observe::{DIRECTORIES, PENDING};
use super::plan::{File, Observed, Plan};
use crate::system::files::{self, Attributes, PrivateDirectory};
use crate::system::processes::{self, Invocation};
use crate::system::root::Root;
use crate::system::{selinux, services};

/// How long a program may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Services that keep what they have read of the name service or of PAM. Those that do not run stay so.
const READERS: [&str; 5] = ["nscd", "unscd", "systemd-logind", "cron", "crond"];

/// Carries out a plan. Nothing is changed before sshd has accepted its new configuration.
///
/// # Errors
/// What could not be done, with the path or the program. What was done stays, and the next pass goes on from there.
pub(super) fn apply(plan: &Plan, observed: &Observed) -> anyhow::Result<()> {
    if let Some(Some(candidate)) = plan.files.get(&File::Sshd) {
        check(candidate, observed)?;
    }
    if let Some(Some(rule)) = plan.files.get(&File::Sudoers)
        && processes::find("visudo").is_some()
    {
        let visudo = Invocation::new("visudo", ["-cf", "/dev/stdin"]).with_input(rule.clone());
        processes::run_successfully(&visudo).context("check the sudo rule of OS Login")?;
    }
    if plan.directories {
        for path in DIRECTORIES {
            files::create_directories(Path::new(path), 0o750)
                .with_context(|| format!("create {path}"))?;
        }
    }
    if !plan.files.is_empty() {
        mark_pending()?;
    }
    for (file, contents) in &plan.files {
        write(*file, contents.as_deref())?;
    }
    if plan.reload {
        reload()?;
        files::remove(Path::new(PENDING)).with_context(|| format!("remove {PENDING}"))?;
    }
    Ok(())
}

fn write(file: File, contents: Option<&[u8]>) -> anyhow::Result<()> {
    let path = Path::new(file.path());
    let Some(contents) = contents else {
        return files::remove(path)
            .map(drop)
            .with_context(|| format!("remove {}", path.display()));
    };
    if let Some(parent) = path.parent() {
        files::create_directories(parent, 0o755)
            .with_context(|| format!("create {}", parent.display()))?;
    }
    let attributes = match file {
        File::Sudoers | File::TrustedCa => Attributes::mode(file.mode()).owned_by(0, 0),
        _ => Attributes::keep_mode_or(file.mode()),
    };
    let attributes = attributes.labelled(selinux::default_context(&Root::machine(), path));
    put(file, path, contents, &attributes).with_context(|| format!("write {}", path.display()))
}

fn put(file: File, path: &Path, contents: &[u8], attributes: &Attributes) -> io::Result<()> {
    match file {
        // Nobody else's, so a link or the named pipe of a predecessor goes.
        File::TrustedCa if !path.symlink_metadata().is_ok_and(|found| found.is_file()) => {
            files::remove(path)?;
            files::replace(path, contents, attributes)
        }
        File::Sudoers | File::TrustedCa => files::replace(path, contents, attributes),
        _ => files::replace(&files::behind_links(path)?, contents, attributes),
    }
}

/// Has sshd read a configuration before it is put in place: one that it refuses would lock everybody out. What it says
/// against the present one as well, such as that there are no host keys yet, is no fault of ours.
fn check(candidate: &[u8], observed: &Observed) -> anyhow::Result<()> {
    let place = PrivateDirectory::create(Path::new("/run"), "gce-guest-sshd-")
        .context("create a directory in /run")?;
    let verdict = |bytes: &[u8]| -> anyhow::Result<Option<String>> {
        let path = place.path().join("sshd_config");
        files::replace(&path, bytes, &Attributes::mode(0o600))
            .with_context(|| format!("write {}", path.display()))?;
        let sshd = Invocation::new("sshd", ["-t".as_ref(), "-f".as_ref(), path.as_os_str()]);
        let finished = processes::run(&sshd.within(DEADLINE))
            .context("ask sshd about its new configuration")?;
        let told = String::from_utf8_lossy(&finished.stderr).trim().to_owned();
        let name = path.display().to_string();
        Ok((!finished.status.success()).then(|| told.replace(&name, "sshd_config")))
    };
    let Some(refused) = verdict(candidate)? else {
        return Ok(());
    };
    let present = observed.files.get(&File::Sshd).map(|bytes| verdict(bytes));
    if let Some(Ok(Some(before))) = present
        && before == refused
    {
        return Ok(());
    }
    bail!("sshd refuses the configuration that OS Login needs, so nothing was changed: {refused}");
}

fn mark_pending() -> anyhow::Result<()> {
    let path = Path::new(PENDING);
    if let Some(parent) = path.parent() {
        files::create_directories(parent, 0o755)
            .with_context(|| format!("create {}", parent.display()))?;
    }
    files::replace(path, b"", &Attributes::mode(0o600)).with_context(|| format!("write {PENDING}"))
}

/// Tells the services that read the files. Only sshd must know: the others may be missing, or fail.
fn reload() -> anyhow::Result<()> {
    for name in READERS {
        if let Err(error) = services::restart_if_running(name) {
            log::debug!("Cannot restart {name}: {error}");
        }
    }
    services::reload_sshd().context("have sshd read its configuration again")
}
