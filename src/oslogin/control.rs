//! The programs of the OS Login package: asking them and having them act.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Pass;
use super::plan::{Action, Observed, Wanted, plan, wanted};
use crate::metadata::Document;
use crate::metadata::backoff::Backoff;
use crate::system::files;
use crate::system::processes::{self, Invocation, ProcessError};

/// The control program.
const CONTROL: &str = "google_oslogin_control";
/// Fills the cache of users.
const FILL_CACHE: &str = "google_oslogin_nss_cache";
/// The cache of users. Without it OS Login is not active, whatever the control program says.
const CACHE: &str = "/etc/oslogin_passwd.cache";
/// How long a call may take: it restarts sshd, cron and logind.
const DEADLINE: Duration = Duration::from_secs(120);

/// What is remembered between passes: when the cache was filled, and when a failed call may be tried again.
#[derive(Debug, Default)]
pub(super) struct Control {
    refreshed: Option<Instant>,
    failures: u32,
    not_before: Option<Instant>,
    problem: Option<String>,
}

impl Control {
    /// Brings OS Login in line with metadata.
    pub(super) fn reconcile(&mut self, document: &Document) -> Pass {
        let wanted = wanted(document);
        let found = match observe(wanted) {
            Ok(found) => found,
            Err(error) => return unasked(&error),
        };
        if super::is_half(document) {
            // Half an answer switches nothing.
            return Pass {
                active: matches!(found, Observed::Active { .. }),
                ..Pass::default()
            };
        }
        let mut pass = Pass {
            active: is_in_charge(wanted, found),
            problem: missing(wanted, found),
            ..Pass::default()
        };
        let actions = plan(wanted, found, self.refreshed.map(|at| at.elapsed()));
        if actions.is_empty() {
            (self.failures, self.not_before) = (0, None);
            return pass;
        }
        if let Some(left) = self
            .not_before
            .and_then(|at| at.checked_duration_since(Instant::now()))
        {
            pass.again_in = Some(left);
            pass.problem.clone_from(&self.problem);
            return pass;
        }
        self.act(&actions, wanted, &mut pass);
        pass
    }

    fn act(&mut self, actions: &[Action], wanted: Wanted, pass: &mut Pass) {
        let mut failed = None;
        for action in actions {
            match carry_out(*action) {
                Ok(()) => self.note(*action, pass),
                // A missing or failing cache filler is no reason to doubt the switch itself.
                Err(_) if *action == Action::RefreshCache => {}
                Err(error) => {
                    failed = Some(format!("OS Login could not be switched: {error}"));
                    break;
                }
            }
        }
        // What counts is what the machine says afterwards.
        match observe(wanted) {
            Ok(found) => pass.active = is_in_charge(wanted, found),
            Err(error) => {
                *pass = Pass {
                    changes: std::mem::take(&mut pass.changes),
                    ..unasked(&error)
                };
                return;
            }
        }
        if let Some(problem) = failed {
            return self.wait(&problem, pass);
        }
        if wanted != Wanted::Off && !pass.active {
            return self.wait(
                &format!("OS Login was activated and is not active; is {CACHE} there?"),
                pass,
            );
        }
        (self.failures, self.not_before) = (0, None);
    }

    fn note(&mut self, action: Action, pass: &mut Pass) {
        match action {
            Action::Activate { two_factor: false } => {
                pass.changes.push("activated OS Login".into());
            }
            Action::Activate { two_factor: true } => pass
                .changes
                .push("activated OS Login with two factors".into()),
            Action::Deactivate => pass.changes.push("deactivated OS Login".into()),
            Action::RefreshCache => self.refreshed = Some(Instant::now()),
            Action::RemoveCache => self.refreshed = None,
        }
    }

    /// Keeps the next try back: each one restarts sshd and others (spec/core.md BUG 14).
    fn wait(&mut self, problem: &str, pass: &mut Pass) {
        self.failures = self.failures.saturating_add(1);
        let wait = Backoff::default().delay(self.failures, fastrand::f64());
        self.not_before = Instant::now().checked_add(wait);
        pass.again_in = Some(wait);
        let meanwhile = if pass.active { "do not count" } else { "count" };
        self.problem = Some(format!(
            "{problem}. Keys in metadata {meanwhile} meanwhile; it is tried again later"
        ));
        pass.problem.clone_from(&self.problem);
    }
}

/// Whether the program is there.
pub(super) fn is_installed() -> bool {
    processes::find(CONTROL).is_some()
}

fn is_in_charge(wanted: Wanted, found: Observed) -> bool {
    wanted != Wanted::Off && matches!(found, Observed::Active { .. })
}

/// Whether OS Login is wanted and in charge of log-ins. Changes nothing.
pub(super) fn is_active(document: &Document) -> bool {
    let wanted = wanted(document);
    observe(wanted).is_ok_and(|found| is_in_charge(wanted, found))
}

/// What a pass would do now, and whether OS Login would be in charge after it. Changes nothing.
pub(super) fn preview(document: &Document) -> Pass {
    let wanted = wanted(document);
    let found = match observe(wanted) {
        Ok(found) => found,
        Err(error) => return unasked(&error),
    };
    // That the cache is filled from time to time is no change of the machine.
    let actions = plan(wanted, found, Some(Duration::ZERO));
    Pass {
        active: wanted != Wanted::Off && found != Observed::NotInstalled,
        changes: actions
            .iter()
            .filter_map(|action| planned(*action))
            .map(String::from)
            .collect(),
        problem: missing(wanted, found),
        ..Pass::default()
    }
}

fn planned(action: Action) -> Option<&'static str> {
    match action {
        Action::Activate { two_factor: false } => Some("activate OS Login"),
        Action::Activate { two_factor: true } => Some("activate OS Login with two factors"),
        Action::Deactivate => Some("deactivate OS Login"),
        Action::RefreshCache | Action::RemoveCache => None,
    }
}

fn unasked(error: &ProcessError) -> Pass {
    Pass {
        undecided: true,
        problem: Some(format!("cannot ask {CONTROL}: {error}")),
        ..Pass::default()
    }
}

/// What to say where OS Login is asked for and cannot be had.
fn missing(wanted: Wanted, found: Observed) -> Option<String> {
    (found == Observed::NotInstalled && wanted != Wanted::Off).then(|| {
        format!(
            "OS Login is asked for (enable-oslogin) and not installed: {CONTROL} is missing. Keys in metadata go on \
             working; install the package google-compute-engine-oslogin"
        )
    })
}

/// Asks the control program; about two factors only where that matters.
fn observe(wanted: Wanted) -> Result<Observed, ProcessError> {
    if !is_installed() {
        return Ok(Observed::NotInstalled);
    }
    let status = |two_factor: &[&str]| {
        let arguments = ["status"].iter().chain(two_factor).copied();
        processes::run(&Invocation::new(CONTROL, arguments).within(DEADLINE))
            .map(|finished| finished.status.success())
    };
    if !Path::new(CACHE).exists() || !status(&[])? {
        return Ok(Observed::Inactive);
    }
    let two_factor = wanted != Wanted::Off && status(&["--twofactor"])?;
    Ok(Observed::Active { two_factor })
}

fn carry_out(action: Action) -> Result<(), ProcessError> {
    let call = |program: &str, arguments: &[&str]| {
        let invocation = Invocation::new(program, arguments.iter().copied()).within(DEADLINE);
        processes::run_successfully(&invocation).map(drop)
    };
    match action {
        Action::Activate { two_factor: false } => call(CONTROL, &["activate"]),
        Action::Activate { two_factor: true } => call(CONTROL, &["activate", "--twofactor"]),
        Action::Deactivate => call(CONTROL, &["deactivate"]),
        Action::RefreshCache => call(FILL_CACHE, &[]),
        Action::RemoveCache => {
            // A cache that stays is found, and removed, by the next pass.
            let _ = files::remove(Path::new(CACHE));
            Ok(())
        }
    }
}
