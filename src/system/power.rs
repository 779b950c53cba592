//! Whether the system is going down.

use std::time::Duration;

use super::environment;
use super::processes::{self, Invocation};
use super::services;

/// How long systemd may take to answer; at a shutdown it may have much to do, and the answer decides.
const ANSWER: Duration = Duration::from_secs(60);

/// What is known about the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Power {
    /// It is going down: halt, power-off or reboot.
    GoingDown,
    /// It goes on; the text says who says so, and in which words.
    Up(String),
    /// Nobody can tell; the text says why.
    Unknown(String),
}

/// Asks whoever runs this system: systemd, or else the run level of SysV init, Upstart and OpenRC.
#[must_use]
pub fn state() -> Power {
    if services::has_systemd() {
        let invocation = Invocation::new("systemctl", ["is-system-running"]);
        return match processes::run(&invocation.within(ANSWER)) {
            Ok(finished) => by_systemd(&String::from_utf8_lossy(&finished.stdout)),
            Err(error) => Power::Unknown(error.to_string()),
        };
    }
    let inherited = ["RC_RUNLEVEL", "RUNLEVEL"]
        .into_iter()
        .find_map(environment::variable)
        .map(|level| level.to_string_lossy().into_owned());
    if let Some(level) = inherited {
        return by_run_level(&level);
    }
    match processes::run(&Invocation::new("runlevel", std::iter::empty::<&str>())) {
        Ok(finished) => by_run_level(&String::from_utf8_lossy(&finished.stdout)),
        Err(error) => Power::Unknown(error.to_string()),
    }
}

/// By what `systemctl is-system-running` prints (systemctl(1)).
fn by_systemd(printed: &str) -> Power {
    match printed.trim() {
        "stopping" => Power::GoingDown,
        "initializing" | "starting" | "running" | "degraded" | "maintenance" => {
            Power::Up(format!("systemd says \"{}\"", printed.trim()))
        }
        other => Power::Unknown(format!("systemd says \"{other}\"")),
    }
}

/// By a run level, or by the previous and the present one as runlevel(8) prints them.
fn by_run_level(printed: &str) -> Power {
    match printed.split_whitespace().last() {
        // OpenRC's are names; "off" is the first of two at the end of a Debian.
        Some("0" | "6" | "shutdown" | "reboot" | "off") => Power::GoingDown,
        None | Some("unknown") => Power::Unknown("there is no run level".into()),
        Some(level) => Power::Up(format!("the run level is {level}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stopping_is_going_down() {
        assert_eq!(by_systemd("stopping\n"), Power::GoingDown);
        for state in [
            "initializing",
            "starting",
            "running",
            "degraded",
            "maintenance",
        ] {
            assert!(matches!(by_systemd(state), Power::Up(_)), "{state}");
        }
        for state in ["", "offline", "unknown"] {
            assert!(matches!(by_systemd(state), Power::Unknown(_)), "{state}");
        }
    }

    #[test]
    fn run_levels_are_those_of_three_init_systems() {
        for printed in ["0", "N 6", "2 0\n", "shutdown", "reboot", "off"] {
            assert_eq!(by_run_level(printed), Power::GoingDown, "{printed}");
        }
        for printed in ["N 2", "5 3\n", "1", "S", "default"] {
            assert!(matches!(by_run_level(printed), Power::Up(_)), "{printed}");
        }
        for printed in ["", "unknown"] {
            assert!(
                matches!(by_run_level(printed), Power::Unknown(_)),
                "{printed}"
            );
        }
    }
}
