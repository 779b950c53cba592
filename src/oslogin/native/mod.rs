//! OS Login set up by ourselves: sshd, the name service, PAM and sudo, as the Go agent does it (spec/beyond.md 6).
//!
//! `edits` and `plan` are pure: from the bytes of the files and what is wanted to the bytes that they shall have. `observe`
//! reads, `apply` writes: the configuration of sshd only after sshd itself has found nothing wrong with it.

mod apply;
mod edits;
mod observe;
mod plan;

use std::path::Path;
use std::time::{Duration, Instant};

use self::plan::{Features, Observed, Plan};
use super::{Pass, Request};
use crate::config::settings;
use crate::metadata::backoff::Backoff;
use crate::system::files::Stamp;
use crate::system::processes::{self, Invocation};
use crate::system::{files, services, time};

/// The unit of the package that fills the cache of users.
const CACHE_UNIT: &str = "google-oslogin-cache.service";
/// The program behind it, where there is no systemd.
const FILL_CACHE: &str = "google_oslogin_nss_cache";
/// How long that may take.
const CACHE_DEADLINE: Duration = Duration::from_secs(30);
/// How old the cache of users may become.
const CACHE_LIFETIME: Duration = Duration::from_secs(6 * 60 * 60);
/// The caches, which would go on answering.
const CACHES: [&str; 2] = ["/etc/oslogin_passwd.cache", "/etc/oslogin_group.cache"];

/// What is remembered between passes: when the cache was filled, and when something that failed may be tried again.
#[derive(Debug, Default)]
pub(super) struct Native {
    filled: Option<Instant>,
    failures: u32,
    not_before: Option<Instant>,
    problem: String,
    /// What the last look came from, if it found OS Login neither wanted nor there.
    absent: Option<Basis>,
}

/// What decides where OS Login is not wanted: with the same, another look would find the same.
#[derive(Debug, PartialEq, Eq)]
struct Basis {
    settings: settings::OsLogin,
    stamps: Vec<Stamp>,
}

impl Basis {
    /// What decides now; nothing where OS Login is wanted, or that is not known, or a file has changed a moment ago.
    fn of(request: &Request<'_>) -> Option<Self> {
        let document = request.document;
        if super::is_wanted(document) || super::is_half(document) {
            return None;
        }
        let stamps = observe::stamps(time::now().as_second());
        stamps.iter().all(Stamp::is_settled).then(|| Self {
            settings: request.settings.clone(),
            stamps,
        })
    }
}

impl Native {
    /// Whether OS Login is not wanted, and the last look found nothing of it in files that are the same now: then there is
    /// nothing to do, with whatever driver.
    pub(super) fn is_absent(&mut self, request: &Request<'_>) -> bool {
        self.absent = self
            .absent
            .take()
            .filter(|absent| Basis::of(request).as_ref() == Some(absent));
        self.absent.is_some()
    }

    /// Brings the files in line with metadata.
    pub(super) fn reconcile(&mut self, request: &Request<'_>) -> Pass {
        // Before anything is read: a change after this moment shows the next time.
        let basis = Basis::of(request);
        let (observed, plan) = match look(request) {
            Ok(found) => found,
            Err(pass) => return pass,
        };
        let mut pass = Pass {
            active: plan.active,
            problem: plan.refused.clone(),
            ..Pass::default()
        };
        if plan.is_empty() {
            (self.failures, self.not_before) = (0, None);
            self.fill_cache(plan.active);
            self.absent = basis.filter(|_| pass == Pass::default());
            return pass;
        }
        if let Some(left) = self
            .not_before
            .and_then(|at| at.checked_duration_since(Instant::now()))
        {
            return self.held_back(left, unswitched(&plan, &observed));
        }
        match apply::apply(&plan, &observed) {
            Ok(()) => {
                (self.failures, self.not_before) = (0, None);
                pass.changes.extend(words(&plan, Tense::Made));
                self.fill_cache(plan.active);
                pass
            }
            Err(error) => {
                let wait = self.wait(&error);
                self.held_back(wait, unswitched(&plan, &observed))
            }
        }
    }

    /// Fills the cache of users from time to time, and empties it when OS Login goes. It only makes look-ups quicker, so
    /// a failure is nobody's concern.
    fn fill_cache(&mut self, active: bool) {
        if !active {
            if self.filled.take().is_some() {
                for path in CACHES {
                    let _ = files::remove(Path::new(path));
                }
            }
            return;
        }
        if self.filled.is_some_and(|at| at.elapsed() < CACHE_LIFETIME) {
            return;
        }
        self.filled = Some(Instant::now());
        if !services::start_in_background(CACHE_UNIT) {
            let nothing = std::iter::empty::<&str>();
            let _ = processes::run(&Invocation::new(FILL_CACHE, nothing).within(CACHE_DEADLINE));
        }
    }

    /// Keeps the next try back (spec/core.md BUG 14). Returns for how long.
    fn wait(&mut self, error: &anyhow::Error) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let wait = Backoff::default().delay(self.failures, fastrand::f64());
        self.not_before = Instant::now().checked_add(wait);
        self.problem = format!("OS Login could not be switched: {error:#}");
        wait
    }

    /// A pass that leaves things as they are until the next try.
    fn held_back(&self, wait: Duration, pass: Pass) -> Pass {
        let meanwhile = if pass.undecided {
            "Keys in metadata that did not count do not come back meanwhile"
        } else {
            "Keys in metadata count meanwhile"
        };
        let problem = &self.problem;
        Pass {
            problem: Some(format!("{problem}. {meanwhile}; it is tried again later")),
            again_in: Some(wait),
            ..pass
        }
    }
}

/// Who decides about log-ins where a plan could not be carried out. Where OS Login is wanted and was set up before, at least
/// in part, nobody can say: its owner has not asked for keys in metadata, and it may do its work. Else it is not in charge.
fn unswitched(plan: &Plan, observed: &Observed) -> Pass {
    Pass {
        undecided: plan.active && Plan::as_it_is(observed).active,
        ..Pass::default()
    }
}

/// What a pass would do now. Changes nothing.
pub(super) fn preview(request: &Request<'_>) -> Pass {
    match look(request) {
        Err(pass) => pass,
        Ok((_, plan)) => Pass {
            active: plan.active,
            changes: words(&plan, Tense::Planned).into_iter().collect(),
            problem: plan.refused,
            ..Pass::default()
        },
    }
}

/// Whether OS Login is wanted and set up, though perhaps not in all its parts. Changes nothing.
pub(super) fn is_active(request: &Request<'_>) -> bool {
    look(request).is_ok_and(|(observed, plan)| {
        plan.active && (plan.is_empty() || Plan::as_it_is(&observed).active)
    })
}

/// Looks at the machine and plans; or the pass where that cannot be.
fn look(request: &Request<'_>) -> Result<(Observed, Plan), Pass> {
    let wanted = super::is_wanted(request.document);
    let observed = observe::observe(wanted).map_err(|error| Pass {
        undecided: true,
        problem: Some(format!("OS Login cannot be looked at: {error}")),
        ..Pass::default()
    })?;
    if super::is_half(request.document) {
        // Half an answer switches nothing.
        let plan = Plan::as_it_is(&observed);
        return Ok((observed, plan));
    }
    let wanted = wanted.then(|| Features::of(request.document));
    let authorities = wanted
        .filter(|features| plan::needs_authorities(*features, request.settings, &observed))
        .and_then(|_| authorities(request, &observed));
    let plan = plan::plan(wanted, request.settings, authorities.as_deref(), &observed);
    Ok((observed, plan))
}

/// The authorities of certificates: those of the metadata server, or else those that it named before.
fn authorities(request: &Request<'_>, observed: &Observed) -> Option<String> {
    (request.authorities)()
        .inspect_err(|error| log::debug!("The authorities of OS Login's certificates: {error}"))
        .ok()
        .or_else(|| observed.authorities())
}

enum Tense {
    Made,
    Planned,
}

/// What a plan changes, in words.
fn words(plan: &Plan, tense: Tense) -> Option<String> {
    let paths: Vec<&str> = plan.paths().collect();
    if paths.is_empty() {
        return None;
    }
    let what = match (plan.active, tense) {
        (true, _) => "set OS Login up in",
        (false, Tense::Made) => "took OS Login out of",
        (false, Tense::Planned) => "take OS Login out of",
    };
    Some(format!("{what} {}", paths.join(", ")))
}
