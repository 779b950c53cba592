//! `gce-guest clock`: the clock beside the RTC and the time service, for people and for programs.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use log::LevelFilter;
use serde_json::{Value, json};

use super::output::Form;
use super::{input, output, tell};
use crate::clock::cause::Cause;
use crate::clock::pass::{self, Look, look, place};
use crate::clock::plan::{Action, Asked, COARSENESS, Occasion, Reason, plan};
use crate::clock::record::Record;
use crate::clock::service::Service;
use crate::config;
use crate::config::settings::Clock as Settings;
use crate::system::root::Root;
use crate::system::{log as sinks, time};

/// How long metadata is waited for, which may set `Clock.max_step`.
const METADATA_DEADLINE: Duration = Duration::from_secs(3);

/// Arguments of `gce-guest clock`.
#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = "\
Exit status: 0 the clock is right, as far as can be told; 1 it is not, or
nobody can tell. With --dry-run: 0 when it could be told what is to be done.

Examples:
  gce-guest clock status           the clock, the RTC and the time service
  gce-guest clock status --json    the same for programs
  gce-guest clock sync --dry-run   say what would be done about the clock
  gce-guest clock sync             do it, as the agent does after a migration")]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the clock beside the RTC, the time service, and what was done last.
    Status(Form),
    /// Put the clock right: by the time service if one runs, by the RTC if not.
    #[group(skip)]
    Sync {
        /// Say what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
        /// Allow a step that is longer than Clock.max_step.
        #[arg(long)]
        force: bool,
    },
}

/// Runs `gce-guest clock`.
///
/// # Errors
/// The machine cannot be read, or the clock cannot be set.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    sinks::start(&sinks::Options::console(LevelFilter::Warn));
    let root = Root::machine();
    match arguments.verb {
        Verb::Status(form) => status(&root, form),
        Verb::Sync {
            dry_run: true,
            force,
        } => announce(&root, force),
        Verb::Sync {
            dry_run: false,
            force,
        } => synchronize(&root, force),
    }
}

fn status(root: &Root, form: Form) -> anyhow::Result<ExitCode> {
    let look = look(root).context("look at the clock")?;
    let last = Record::read(root).context("read what was done last")?;
    if form.json {
        output::print_json(&describe(&look, last.as_ref()))?;
    } else {
        output::print(&paragraph(&look, last.as_ref()))?;
    }
    Ok(verdict(is_right(&look)))
}

/// Whether the clock is right: by its service, or else by the RTC.
fn is_right(look: &Look) -> bool {
    let by_rtc = look
        .observed
        .offset
        .map(|offset| offset.unsigned_abs() <= COARSENESS);
    by_rtc.unwrap_or(look.observed.synchronized)
}

fn verdict(right: bool) -> ExitCode {
    if right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn describe(look: &Look, last: Option<&Record>) -> Value {
    let rtc = match &look.rtc {
        Ok(rtc) => json!({
            "time": rtc.time.to_string(),
            "mode": rtc.mode,
            "offset": rtc.offset.as_secs_f64(),
        }),
        Err(problem) => json!({ "problem": problem }),
    };
    json!({
        "clock": format!("{:.3}", look.clocks.realtime),
        "right": is_right(look),
        "may_set": look.observed.may_set,
        "rtc": rtc,
        "service": look.observed.service.map(Service::name),
        "synchronized": look.observed.synchronized,
        "last": last,
    })
}

fn paragraph(look: &Look, last: Option<&Record>) -> String {
    let rtc = match &look.rtc {
        Ok(rtc) => format!(
            "{} ({}); the clock is {}",
            rtc.time,
            rtc.mode.name(),
            place(rtc.offset)
        ),
        Err(problem) => problem.clone(),
    };
    let word = if look.observed.synchronized {
        "says that the clock is right"
    } else {
        "does not say that the clock is right"
    };
    let service = match look.observed.service {
        Some(service) => format!("{}, which {word}", service.name()),
        None => format!("none that is known; the kernel {word}"),
    };
    let last = match last {
        Some(last) => format!("{}: {} ({})", last.to, last.text, last.cause),
        None => "none since the boot".into(),
    };
    format!(
        "clock      {:.3}\nrtc        {rtc}\nservice    {service}\nlast pass  {last}\n",
        look.clocks.realtime
    )
}

/// The configuration that the agent has: that of the files and of metadata. Without an answer, that of the files.
fn settings(root: &Root) -> Settings {
    match input::read_within(METADATA_DEADLINE) {
        Ok(input) => input.settings.clock.clone(),
        Err(error) => {
            tell(&format!(
                "gce-guest: metadata is not there, so only the configuration in files counts: {error:#}"
            ));
            config::load(root, None).settings.clock
        }
    }
}

/// Says what a pass would do.
fn announce(root: &Root, any_step: bool) -> anyhow::Result<ExitCode> {
    let mut look = look(root).context("look at the clock")?;
    // Whoever asks may be somebody else than who does it.
    look.observed.may_set = true;
    let occasion = Occasion {
        any_step,
        ..Occasion::default()
    };
    let settings = settings(root);
    let (decided, text) = match plan(&look.observed, &settings, occasion, Asked::NotYet) {
        Action::Ask(service) => (true, format!("would ask {} to measure", service.name())),
        Action::Step(by) => {
            let to = time::shifted(time::now(), by);
            let by = by.as_secs_f64();
            (
                true,
                format!("would step the clock by {by:+.3} s, to {to:.3}"),
            )
        }
        Action::RunHwclock => (true, "would run hwclock --hctosys".into()),
        Action::Nothing(reason) => refusal(reason, &look, settings.max_step),
    };
    output::print(&format!("{text}\n"))?;
    Ok(verdict(decided))
}

/// Why nothing would be done, and whether that is as it should be.
fn refusal(reason: Reason, look: &Look, limit: u32) -> (bool, String) {
    let place = look.observed.offset.map(place).unwrap_or_default();
    match reason {
        Reason::Right => (true, format!("nothing to do: the clock is {place}")),
        Reason::TooFar => (
            false,
            format!("would refuse: the clock is {place}, and Clock.max_step is {limit} s"),
        ),
        Reason::Blind => {
            let problem = look.rtc.as_ref().err().cloned().unwrap_or_default();
            (false, format!("cannot tell: {problem}"))
        }
        Reason::Kept | Reason::Measured | Reason::NotOurs => (
            true,
            "nothing to do: a time service says that the clock is right".into(),
        ),
    }
}

fn synchronize(root: &Root, any_step: bool) -> anyhow::Result<ExitCode> {
    if !time::may_set() {
        bail!("the clock can be set as root only (CAP_SYS_TIME), and not in a container");
    }
    let occasion = Occasion {
        any_step,
        ..Occasion::default()
    };
    let outcome = pass::synchronize(root, &settings(root), &Cause::Asked, occasion)
        .context("look at the clock")?;
    if let Err(error) = outcome.record.write(root) {
        tell(&format!("gce-guest: cannot keep what was done: {error}"));
    }
    let record = outcome.record;
    if let Some(failure) = outcome.failure {
        bail!("{failure}");
    }
    if !record.problems.contains(&record.text) {
        output::print(&format!("{}\n", record.text))?;
    }
    for problem in &record.problems {
        tell(&format!("gce-guest: {problem}"));
    }
    Ok(verdict(record.problems.is_empty()))
}
