//! `gce-guest doctor`: what is wrong with the machine, and what to do about it.

use std::process::ExitCode;

use clap::Args;
use log::LevelFilter;

use super::output::{Form, counted, paragraph, print, print_json};
use super::{input, require_root};
use crate::doctor::{self, Verdict, Weight};
use crate::metadata::{Client, Endpoint};
use crate::system::log as sinks;

/// How long the metadata server may take to answer.
const METADATA_DEADLINE: std::time::Duration = std::time::Duration::from_secs(5);

/// Arguments of `gce-guest doctor`.
#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = "\
Exit status: 0 nothing is wrong, 3 something is, 1 it could not look.

Examples:
  gce-guest doctor
  gce-guest doctor --json | jq '.[].findings[] | select(.weight == \"failure\")'")]
pub struct Arguments {
    #[command(flatten)]
    form: Form,
}

/// Runs `gce-guest doctor`.
///
/// # Errors
/// The caller is not root, or standard output cannot be written.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    sinks::start(&sinks::Options::console(LevelFilter::Error));
    require_root("look at all that may be wrong")?;
    let client = Client::new(Endpoint::compute_engine()).with_deadline(METADATA_DEADLINE);
    let verdicts = doctor::examine(&client, || input::read_within(METADATA_DEADLINE).ok());
    let count = verdicts.iter().map(|verdict| verdict.findings.len()).sum();
    if arguments.form.json {
        print_json(&verdicts)?;
    } else {
        let mut page: String = verdicts.iter().map(lines).collect();
        page += &match count {
            0 => "\nNothing is wrong.\n".to_owned(),
            count => format!("\n{}.\n", counted(count, "finding")),
        };
        print(&page)?;
    }
    Ok(match count {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(3),
    })
}

fn lines(verdict: &Verdict) -> String {
    if verdict.findings.is_empty() {
        return paragraph(&format!("ok    {:<13}  ", verdict.check), &verdict.note);
    }
    let mut page = String::new();
    for finding in &verdict.findings {
        let word = match finding.weight {
            Weight::Failure => "FAIL",
            Weight::Warning => "warn",
        };
        page += &paragraph(&format!("{word}  {:<13}  ", verdict.check), &finding.text);
        page += &paragraph(&format!("{:21}fix: ", ""), &finding.fix);
    }
    page
}
