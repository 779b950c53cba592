//! What a person sees of the scripts.

use std::process::ExitCode;

use anyhow::Context;

use super::is_running;
use crate::commands::print;
use crate::config::settings::MetadataScripts;
use crate::metadata::Document;
use crate::scripts::cache;
use crate::scripts::fate::Record;
use crate::scripts::find::{self, Occasion, Origin, Script};
use crate::scripts::interpreter::{HEAD, Kind, read, without_return};
use crate::scripts::source::Source;
use crate::scripts::state::State;

const OCCASIONS: [Occasion; 2] = [Occasion::Startup, Occasion::Shutdown];

/// Which scripts metadata wants to run.
pub(super) fn list(settings: &MetadataScripts, document: &Document) -> anyhow::Result<ExitCode> {
    let mut text = String::new();
    for occasion in OCCASIONS {
        for script in find::find(document, occasion) {
            let what = origin(&script, document);
            let off = if is_enabled(settings, occasion) {
                ""
            } else {
                "  (switched off)"
            };
            text += &format!("{:<20}  {what}{off}\n", script.key);
        }
    }
    if text.is_empty() {
        text = "Metadata has no scripts.\n".into();
    }
    print(text.as_bytes())
}

fn is_enabled(settings: &MetadataScripts, occasion: Occasion) -> bool {
    match occasion {
        Occasion::Startup => settings.startup,
        Occasion::Shutdown => settings.shutdown,
    }
}

fn origin(script: &Script, document: &Document) -> String {
    match &script.origin {
        Origin::Inline(text) => format!("inline, {} bytes", text.len()),
        Origin::Url(url) => match Source::parse(url, cache::universe(document)) {
            Ok(source @ Source::Storage { .. }) => {
                format!("{source}, with the service account's token")
            }
            Ok(source) => source.to_string(),
            Err(error) => format!("cannot be fetched: {error}"),
        },
    }
}

/// What would run, from where, and with which interpreter.
pub(super) fn dry_run(
    occasion: Occasion,
    settings: &MetadataScripts,
    document: &Document,
) -> anyhow::Result<ExitCode> {
    let mut text = String::new();
    if !is_enabled(settings, occasion) {
        text += &format!(
            "Nothing would run: MetadataScripts.{} is false.\n",
            occasion.name()
        );
        return print(text.as_bytes());
    }
    let scripts = find::find(document, occasion);
    for (number, script) in scripts.iter().enumerate() {
        text += &format!("{}. {}\n", number + 1, script.key);
        text += &format!("   from  {}\n", origin(script, document));
        let by = match &script.origin {
            Origin::Inline(body) => interpreter(body, settings),
            Origin::Url(_) => format!("its #! line, else {}", settings.default_shell),
        };
        text += &format!("   by    {by}\n");
    }
    if scripts.is_empty() {
        text += &format!("Metadata has no {} scripts.\n", occasion.name());
    }
    let base = settings.run_dir.as_deref().filter(|base| !base.is_empty());
    text += &format!("in a private directory of {}\n", base.unwrap_or("/run"));
    print(text.as_bytes())
}

fn interpreter(body: &str, settings: &MetadataScripts) -> String {
    let head = &body.as_bytes()[..body.len().min(HEAD)];
    match read(head).kind {
        Kind::Interpreted(words) => without_return(words)
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .join(" "),
        Kind::Shell | Kind::Empty => {
            format!("{} (MetadataScripts.default_shell)", settings.default_shell)
        }
        Kind::Program => "itself: it is a program".into(),
        Kind::Utf16 => "nothing: it is UTF-16 text".into(),
    }
}

/// What became of the scripts since the boot.
pub(super) fn status(state: &State, json: bool) -> anyhow::Result<ExitCode> {
    let records = OCCASIONS
        .iter()
        .map(|occasion| {
            let record = state.record(*occasion);
            record.with_context(|| format!("read the record of the {} scripts", occasion.name()))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let records: Vec<Record> = records.into_iter().flatten().collect();
    if json {
        let mut text = serde_json::to_vec_pretty(&records)?;
        text.push(b'\n');
        return print(&text);
    }
    let mut text = String::new();
    for record in &records {
        text += &lines(record);
    }
    if text.is_empty() {
        text = "No scripts have run since the boot.\n".into();
    }
    print(text.as_bytes())
}

fn lines(record: &Record) -> String {
    let mut text = String::new();
    for entry in &record.scripts {
        let when = entry.ended.as_ref().or(entry.started.as_ref());
        let when = when.map(|when| format!(", {when}")).unwrap_or_default();
        let starts = if entry.starts > 1 {
            format!(", started {} times", entry.starts)
        } else {
            String::new()
        };
        let reason = entry
            .fate
            .reason()
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        text += &format!(
            "{:<20}  {}{starts}{when}{reason}\n",
            entry.key,
            entry.fate.words()
        );
    }
    if record.finished.is_none() && !is_running(record.runner) {
        text += &format!(
            "The run of {} did not finish: its process is gone.\n",
            record.began
        );
    }
    text
}

/// What the scripts of an occasion said when they last ran since the boot.
pub(super) fn log(state: &State, occasion: Occasion) -> anyhow::Result<ExitCode> {
    let log = state.log(occasion);
    let log = log.with_context(|| format!("read the output of the {} scripts", occasion.name()))?;
    print(&log.unwrap_or_else(|| {
        format!("No {} scripts have run since the boot.\n", occasion.name()).into_bytes()
    }))
}
