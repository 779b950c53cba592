//! Set-up at boot.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::bench::stage::Stage;
use crate::bench::subject::Subject;

/// Stands where ssh-keygen stands, and writes down how long each call took, in nanoseconds.
const TIMED_KEYGEN: &str = "#!/bin/bash
start=$EPOCHREALTIME
/usr/bin/ssh-keygen.real \"$@\"
status=$?
end=$EPOCHREALTIME
echo $(( ${end/./} - ${start/./} )) >> /tmp/keygen
exit $status
";

/// The first boot of a new instance, and the boot after it.
pub(crate) fn boots(stage: &mut Stage) -> Result<()> {
    fs::rename("/usr/bin/ssh-keygen", "/usr/bin/ssh-keygen.real")?;
    fs::write("/usr/bin/ssh-keygen", TIMED_KEYGEN)?;
    fs::set_permissions("/usr/bin/ssh-keygen", fs::Permissions::from_mode(0o755))?;
    // Another instance than the one that the machine's image was made on.
    fs::write(
        "/etc/default/instance_configs.cfg",
        "[Instance]\ninstance_id = 1\n",
    )?;
    let first = set_up(stage)?;
    stage.emit("first-boot", first);
    if let Some(slowest) = slowest_key() {
        stage.emit_baseline("first-boot", slowest);
        stage.emit("first-boot-ratio", first / slowest);
    }
    // A boot empties /run.
    for entry in fs::read_dir("/run")?.flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().contains("gce-guest") || name.to_string_lossy().contains("google")
        {
            fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()))?;
        }
    }
    let second = set_up(stage)?;
    stage.emit("second-boot", second);
    Ok(())
}

fn set_up(stage: &Stage) -> Result<f64> {
    let mut command = match stage.subject {
        Subject::GceGuest => stage.places.gce_guest(&["setup"]),
        _ => stage.places.python("google_instance_setup", &[]),
    };
    let started = Instant::now();
    let status = finish(&mut command)?;
    let took = started.elapsed().as_secs_f64();
    anyhow::ensure!(
        status,
        "{command:?} failed:\n{}",
        fs::read_to_string("/tmp/setup.log")?
    );
    Ok(took)
}

fn finish(command: &mut Command) -> Result<bool> {
    let log = fs::File::create("/tmp/setup.log")?;
    let status = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .status()
        .with_context(|| format!("run {command:?}"))?;
    Ok(status.success())
}

/// The slowest ssh-keygen of this boot, in seconds; `None` when none ran.
fn slowest_key() -> Option<f64> {
    let text = fs::read_to_string("/tmp/keygen").ok()?;
    let microseconds = text.lines().filter_map(|line| line.parse::<u64>().ok());
    microseconds.max().map(|most| most as f64 / 1e6)
}
