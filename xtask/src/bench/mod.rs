//! `cargo xtask bench`: this program beside its predecessors, on one machine, in one run.
//!
//! The rows are in `rows`. For each of them and for each subject a sandbox is made in which this very program runs again
//! (`bench-inside`), sets the machine up (`stage`), starts the subject and measures it (`measures`). Figures come out as lines
//! of text (`sample`). Who is asked is the kernel (`witness`) and the state of the machine, never a subject's own log.

mod chart;
mod figures;
mod goal;
mod measures;
mod provide;
#[path = "../../../tests/foreign/registry.rs"]
mod registry;
mod report;
mod rows;
mod run;
mod sample;
mod server;
mod stage;
mod subject;
mod witness;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::builder::PossibleValuesParser;

use self::figures::Figures;
use self::report::Table;
use self::rows::{Measure, ROWS, Row};
use self::stage::Stage;
use self::subject::{Places, Subject};

/// A whole number with commas between groups of three digits.
pub(crate) fn grouped(value: u64) -> String {
    chart::grouped(value as f64)
}

/// What to measure.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without rows the figures and charts are written to docs/benchmarks.md and docs/benchmarks/,
with rows they are only printed. The long run takes up to 25 minutes, the short one up to 8,
on a machine that has nothing else to do.")]
pub(crate) struct Options {
    /// Measure with fewer runs and smaller sizes
    #[arg(long)]
    quick: bool,
    /// The shell script google_set_multiqueue, for the row queues
    #[arg(long, value_name = "FILE")]
    set_multiqueue: Option<PathBuf>,
    /// Only these rows
    #[arg(value_name = "ROW", value_parser = PossibleValuesParser::new(ROWS.iter().map(|row| row.name)))]
    rows: Vec<String>,
}

/// What the run inside a sandbox is told.
#[derive(Debug, clap::Args)]
pub(crate) struct InsideOptions {
    row: String,
    subject: Subject,
    size: u32,
    #[arg(long)]
    quick: bool,
}

/// Measures, prints a table, and writes the document.
///
/// # Errors
/// The release cannot be built, there is no sandbox, or the document cannot be written. A row that fails is a note.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let places = Places::found();
    let started = Instant::now();
    provide::release(&places)?;
    provide::set_multiqueue(&places, options.set_multiqueue.as_deref())?;
    let (subjects, mut notes) = provide::subjects(&places);
    let circumstances = provide::circumstances(&places);
    let mut figures = Figures::default();
    for row in ROWS.iter().filter(|row| options.wants(row)) {
        if row.name == "queues" && options.set_multiqueue.is_none() {
            notes.push("queues: no --set-multiqueue FILE was given".to_owned());
            continue;
        }
        let before = Instant::now();
        println!("{} ...", row.name);
        let outcome = run::row(row, &subjects, &places, options.quick);
        println!(
            "{}: {} figures in {:.0} s",
            row.name,
            outcome.samples.len(),
            before.elapsed().as_secs_f64()
        );
        figures.extend(outcome.samples);
        notes.extend(outcome.notes);
    }
    let table = Table::of(&figures);
    println!("\n{}", table.text());
    for note in &notes {
        println!("not measured: {note}");
    }
    if options.rows.is_empty() {
        report::write(
            &crate::top().join("docs"),
            &figures,
            &table,
            &circumstances,
            &notes,
        )?;
        println!("written: docs/benchmarks.md");
    }
    println!("took {:.0} s", started.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}

impl Options {
    fn wants(&self, row: &Row) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|name| name == row.name)
    }
}

/// Measures one subject once, in the sandbox that this is.
///
/// # Errors
/// Whatever keeps the row from being measured.
pub(crate) fn run_inside(options: &InsideOptions) -> Result<()> {
    let row = ROWS
        .iter()
        .find(|row| row.name == options.row)
        .context("no such row")?;
    let (Measure::Alone(measure) | Measure::Together(measure)) = row.measure else {
        bail!("{} is not measured in a sandbox", row.name);
    };
    measure(&mut Stage::new(
        options.subject,
        options.size,
        options.quick,
    )?)
}
