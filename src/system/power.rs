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
    let variable =
        |name| environment::variable(name).map(|value| value.to_string_lossy().into_owned());
    let inherited = Inherited {
        openrc_goes_down: variable("RC_GOINGDOWN"),
        run_level: variable("RUNLEVEL"),
        openrc_run_level: variable("RC_RUNLEVEL"),
    };
    inherited.power(|| {
        let runlevel = Invocation::new("runlevel", std::iter::empty::<&str>());
        match processes::run(&runlevel) {
            Ok(finished) => by_run_level(&String::from_utf8_lossy(&finished.stdout)),
            Err(error) => Power::Unknown(error.to_string()),
        }
    })
}

/// What init systems other than systemd tell the scripts that they run.
struct Inherited {
    /// `RC_GOINGDOWN`, which OpenRC sets at the end.
    openrc_goes_down: Option<String>,
    /// `RUNLEVEL`, that of SysV init and Upstart.
    run_level: Option<String>,
    /// `RC_RUNLEVEL`, that of OpenRC: the old one while services are stopped for a new one.
    openrc_run_level: Option<String>,
}

impl Inherited {
    /// What they say together. `ask` asks who keeps the run level of the machine.
    fn power(&self, ask: impl FnOnce() -> Power) -> Power {
        if self.openrc_goes_down.as_deref() == Some("YES") {
            return Power::GoingDown;
        }
        if let Some(level) = &self.run_level {
            return by_run_level(level);
        }
        let told = self.openrc_run_level.as_deref().map(by_run_level);
        if told == Some(Power::GoingDown) {
            return Power::GoingDown;
        }
        match (ask(), told) {
            (Power::Unknown(_), Some(told)) => told,
            (asked, _) => asked,
        }
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
        Some("0" | "6" | "shutdown" | "reboot") => Power::GoingDown,
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
    fn openrc_says_that_it_goes_down_and_its_run_level_lags_behind() {
        let inherited = |openrc_goes_down: Option<&str>, run_level: Option<&str>| Inherited {
            openrc_goes_down: openrc_goes_down.map(String::from),
            run_level: run_level.map(String::from),
            openrc_run_level: Some("default".into()),
        };
        let unasked = || unreachable!("it is known");
        let power = inherited(Some("YES"), None).power(unasked);
        assert_eq!(power, Power::GoingDown);
        let power = inherited(None, Some("6")).power(unasked);
        assert_eq!(power, Power::GoingDown);
        let power = inherited(None, None).power(|| by_run_level("2 0\n"));
        assert_eq!(power, Power::GoingDown);
        let power = inherited(None, None).power(|| by_run_level("unknown\n"));
        assert_eq!(power, by_run_level("default"));
        let power = inherited(None, None).power(|| by_run_level("N 2\n"));
        assert_eq!(power, by_run_level("2"));
    }

    #[test]
    fn run_levels_are_those_of_three_init_systems() {
        for printed in ["0", "N 6", "2 0\n", "shutdown", "reboot"] {
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
