//! One pass over accounts and OS Login, as the agent reports it.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::accounts::apply::{Outcome, apply};
use crate::accounts::keys::{DesiredKeys, LineError, desired};
use crate::accounts::memory::Memory;
use crate::accounts::observe::observe;
use crate::accounts::plan::{KeysFile, Observed, Plan, UserChange, UserState, plan};
use crate::accounts::reading::Reading;
use crate::accounts::sources::Sources;
use crate::accounts::wording::{Detail, Step, Tense};
use crate::accounts::{ledger, names};
use crate::agent::report::{Change, Input, Report};
use crate::config::policy::Function;
use crate::config::settings;
use crate::metadata::{Client, Endpoint, Query};
use crate::oslogin::{self, OsLogin, Pass, Request};
use crate::system::order::Map;
use crate::system::time;

/// What is remembered between passes.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    oslogin: OsLogin,
    sources: Sources,
    reading: Reading,
    memory: Memory,
}

impl Accounts {
    /// Brings OS Login and accounts in line with metadata.
    pub(super) fn reconcile(&mut self, input: &Input) -> Report {
        if !input.settings.daemons.accounts_daemon {
            return Report::default();
        }
        let settings = &input.settings.accounts;
        let now = time::now();
        let oslogin = if input.settings.policy.allows(Function::OsLogin) {
            self.oslogin.reconcile(&request(input))
        } else {
            Pass::default()
        };
        if let Some(report) = undecided(&oslogin) {
            return report;
        }
        self.sources.refresh();
        let changed = self.reading.read(&input.document, now);
        self.memory.note(changed);
        let nobody = oslogin.active.then(|| self.reading.keys().without_users());
        let desired = nobody.as_ref().unwrap_or(self.reading.keys());
        let instance_id = input.document.instance.id.present().cloned();
        let (mut observed, ledger_problems) = match self.memory.observe(
            desired,
            settings,
            instance_id,
            &self.sources,
            &input.etag,
            now,
        ) {
            Ok(observed) => observed,
            Err(error) => return unreadable(&error),
        };
        observed.oslogin = oslogin.active;
        let plan = plan(desired, settings, &observed);
        let outcome = apply(&plan, settings, &self.sources);
        let next_expiry = (!oslogin.active).then(|| self.reading.next_expiry());
        let mut report = Report {
            again_in: [until_expiry(next_expiry.flatten(), now), oslogin.again_in]
                .into_iter()
                .flatten()
                .min(),
            ..report_of(&oslogin, desired, ledger_problems)
        };
        let made =
            |step: &Step<'_>| change(step, Tense::Made, &observed, settings, Detail::Fingerprints);
        report.changes.extend(outcome.changes.iter().map(made));
        tell(&plan, &outcome, &mut report);
        if oslogin.active {
            self.memory.forget();
        } else {
            self.memory.learn(desired, observed, &plan, &outcome);
        }
        report
    }
}

/// What a pass would do now. Changes nothing.
pub(super) fn preview(input: &Input) -> Report {
    if !input.settings.daemons.accounts_daemon {
        return Report::default();
    }
    let settings = &input.settings.accounts;
    let oslogin = if input.settings.policy.allows(Function::OsLogin) {
        oslogin::preview(&request(input))
    } else {
        Pass::default()
    };
    if let Some(report) = undecided(&oslogin) {
        return report;
    }
    let desired = desired_with(&oslogin, input, time::now());
    let instance_id = input.document.instance.id.present().cloned();
    let mut sources = Sources::default();
    sources.refresh();
    let (mut observed, ledger_problems) =
        match observe(desired.users.keys(), settings, instance_id, &sources) {
            Ok(observed) => observed,
            Err(error) => return unreadable(&error),
        };
    observed.oslogin = oslogin.active;
    let plan = plan(&desired, settings, &observed);
    let mut report = report_of(&oslogin, &desired, ledger_problems);
    preview_plan(&plan, &observed, settings, &mut report);
    tell(&plan, &Outcome::default(), &mut report);
    report
}

/// Puts the changes of a plan into a report, and what is known to stand in their way.
fn preview_plan(
    plan: &Plan,
    observed: &Observed,
    settings: &settings::Accounts,
    report: &mut Report,
) {
    let planned = |step: &Step<'_>| change(step, Tense::Planned, observed, settings, Detail::Lines);
    let machine = plan.machine.iter().map(|change| Step::Machine(*change));
    report.changes.extend(machine.map(|step| planned(&step)));
    for user in &plan.users {
        let refusal = match observed.users.get(&user.name) {
            Some(UserState::Present {
                keys: KeysFile::Refused(reason),
                ..
            }) => Some(reason),
            _ => None,
        };
        for change in &user.changes {
            match (change, refusal) {
                (UserChange::SetKeys { .. } | UserChange::RemoveKeysFile, Some(reason)) => {
                    let text = format!("user {}: {reason}", user.name);
                    report.failures.insert(user.name.clone(), text);
                }
                _ => report.changes.push(planned(&Step::User(user, change))),
            }
        }
    }
    let is_kept = plan.ledger_is_recorded && plan.users.is_empty();
    if !is_kept {
        report.changes.push(Change {
            subject: Some(format!("{}/{}", ledger::DIRECTORY, ledger::NAMES_FILE)),
            ..Change::from("record it in the ledger of managed users")
        });
    }
}

/// What metadata wants, and nobody once OS Login is in charge: users come from there then.
fn desired_with(oslogin: &Pass, input: &Input, now: Timestamp) -> DesiredKeys {
    let desired = desired(&input.document, now);
    if oslogin.active {
        return desired.without_users();
    }
    desired
}

/// What OS Login is judged by.
fn request(input: &Input) -> Request<'_> {
    Request {
        document: &input.document,
        settings: &input.settings.os_login,
        authorities: &authorities,
    }
}

/// Whether OS Login is wanted and in charge of log-ins.
pub(super) fn oslogin_is_active(input: &Input) -> bool {
    input.settings.policy.allows(Function::OsLogin) && oslogin::is_active(&request(input))
}

/// The keys of the authorities whose certificates OS Login takes, one to a line (spec/beyond.md 6.4).
fn authorities() -> Result<String, String> {
    let client = Client::new(Endpoint::compute_engine());
    let answer = client.get("oslogin/certificates", &Query::text());
    let answer = answer.map_err(|error| error.to_string())?;
    let answer = answer.json().map_err(|error| error.to_string())?;
    let listed = answer.get("trustedCertificateAuthorities");
    let listed = listed.and_then(Value::as_array).into_iter().flatten();
    let key =
        |authority: &Value| Some(authority.get("publicKey")?.as_str()?.trim().to_owned() + "\n");
    let keys: String = listed.filter_map(key).collect();
    if keys.is_empty() {
        return Err("the metadata server names none".into());
    }
    Ok(keys)
}

/// What to report where nobody knows who decides about log-ins: nobody gains or loses anything by that.
fn undecided(oslogin: &Pass) -> Option<Report> {
    let problem = oslogin.problem.as_ref().filter(|_| oslogin.undecided)?;
    let told =
        format!("{problem}; users stay as they are until it is known who decides about log-ins");
    Some(Report::failed("OS Login", told))
}

fn unreadable(error: &std::io::Error) -> Report {
    Report::failed(
        "state",
        format!("cannot read the state of accounts: {error}"),
    )
}

/// What is known before anything is planned.
fn report_of(oslogin: &Pass, desired: &DesiredKeys, ledger_problems: Vec<String>) -> Report {
    let switch = |what: &String| Change {
        subject: Some("OS Login".into()),
        key: Some("enable-oslogin".into()),
        ..Change::from(what.as_str())
    };
    let mut report = Report {
        changes: oslogin.changes.iter().map(switch).collect(),
        problems: refused_lines(desired),
        ..Report::default()
    };
    for problem in ledger_problems.into_iter().chain(oslogin.problem.clone()) {
        report.problems.insert(problem.clone(), problem);
    }
    report
}

fn change(
    step: &Step<'_>,
    tense: Tense,
    observed: &Observed,
    settings: &settings::Accounts,
    detail: Detail,
) -> Change {
    let (before, after) = step.before_and_after(observed, settings, detail);
    Change {
        what: step.sentence(tense),
        subject: Some(step.subject()),
        key: step.key(observed).map(String::from),
        before,
        after,
    }
}

/// Puts what stands in the way of a plan, and what came of it, into words.
fn tell(plan: &Plan, outcome: &Outcome<'_>, report: &mut Report) {
    for notice in &plan.notices {
        report.problems.insert(notice.clone(), notice.clone());
    }
    for (user, reason) in &plan.refused {
        let text = format!("user {user}: {reason}");
        report.problems.insert(user.clone(), text);
    }
    let blocked = plan.blocked.iter();
    let blocked = blocked.map(|(subject, reason)| (subject, reason.clone()));
    let failed = outcome.failures.iter();
    let failed = failed.map(|(subject, error)| (subject, format!("{error:#}")));
    for (subject, reason) in blocked.chain(failed) {
        let what = match names::check(subject) {
            Ok(()) => format!("user {subject}"),
            Err(_) => subject.clone(),
        };
        report
            .failures
            .insert(subject.clone(), format!("{what}: {reason}"));
    }
}

/// The lines of keys that were refused. One that has expired is as it should be and no problem.
fn refused_lines(desired: &DesiredKeys) -> Map<String, String> {
    let refused = desired
        .problems
        .iter()
        .filter(|problem| problem.reason != LineError::Expired);
    refused
        .map(|problem| {
            let place = format!("line {} of {}", problem.line, problem.source.path());
            let user = problem
                .user
                .as_ref()
                .map(|user| format!(" (user {user})"))
                .unwrap_or_default();
            let text = format!(
                "{place}{user}: {}; the line is ignored, the others count",
                problem.reason
            );
            (place, text)
        })
        .collect()
}

/// When the next key expires, counted from `now`, and just past that moment.
fn until_expiry(next: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    let left = next?.duration_since(now);
    Some(Duration::try_from(left).unwrap_or_default() + Duration::from_millis(1))
}
