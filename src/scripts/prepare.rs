//! From a file to something that can be started: what it is, which program runs it, what was wrong with it.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;

use log::warn;

use super::interpreter::{HEAD, Kind, Normalizer, Reading, read, without_return};
use crate::config::settings::MetadataScripts;
use crate::config::values::NormalizeCrlf;
use crate::system::files::{self, Directory};
use crate::system::processes::stream::InMemory;
use crate::system::processes::{self, Invocation};

/// Where there is a shell on every Unix.
const SHELL: &str = "/bin/sh";

/// A script that can be started.
#[derive(Debug)]
pub struct Ready {
    /// The command.
    pub invocation: Invocation,
    /// The program that runs it, with its argument; none for a program of its own.
    pub interpreter: Vec<String>,
    /// The program, where it had to be copied into memory.
    _memory: Option<InMemory>,
}

/// Looks at the script in a file of `directory` and says how it is started.
///
/// # Errors
/// Why it cannot be, in words for its owner.
pub fn prepare(
    directory: &Directory,
    name: &OsStr,
    settings: &MetadataScripts,
    (logger, key): (&str, &str),
) -> Result<Ready, String> {
    let path = directory.path().join(name);
    let head = files::read_stream(&path, HEAD as u64)
        .map_err(|error| format!("it cannot be read: {error}"))?;
    let reading = read(&head);
    let normalize = settings.normalize_crlf;
    for remark in remarks(&reading, normalize) {
        warn!(target: logger, "{key}: {remark}");
    }
    if needs_normalizing(&reading, normalize) {
        rewrite(directory, name, normalize == NormalizeCrlf::All)
            .map_err(|error| format!("it cannot be rewritten: {error}"))?;
    }
    let interpreter = match reading.kind {
        Kind::Program => return program(directory, &path),
        Kind::Utf16 => {
            return Err("it is UTF-16 text, which no shell reads: save it as UTF-8".into());
        }
        Kind::Empty => {
            warn!(target: logger, "{key}: the script is empty.");
            vec![OsString::from(shell(settings, (logger, key))?)]
        }
        Kind::Shell => vec![OsString::from(shell(settings, (logger, key))?)],
        // The mark hides the line from everybody, as it would from the kernel.
        Kind::Interpreted(_) if reading.byte_order_mark && normalize == NormalizeCrlf::Off => {
            vec![OsString::from(shell(settings, (logger, key))?)]
        }
        Kind::Interpreted(words) => named(words, normalize)?,
    };
    let mut words = interpreter.iter().cloned();
    let first = words.next().unwrap_or_default();
    Ok(Ready {
        invocation: Invocation::new(first, words.chain([path.into_os_string()])),
        interpreter: interpreter
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect(),
        _memory: None,
    })
}

/// The interpreter that a `#!` line names, if it is there.
fn named(words: Vec<OsString>, normalize: NormalizeCrlf) -> Result<Vec<OsString>, String> {
    let returned = words
        .last()
        .is_some_and(|word| word.to_string_lossy().ends_with('\r'));
    let words = if normalize == NormalizeCrlf::Off {
        words
    } else {
        without_return(words)
    };
    let program = words
        .first()
        .map(|word| word.to_string_lossy().into_owned());
    let program = program.unwrap_or_default();
    if processes::find(&program).is_some() {
        return Ok(words);
    }
    let why = if returned && normalize == NormalizeCrlf::Off {
        ": the line ends in CR LF, as Windows writes it; save the script with LF, or set MetadataScripts.normalize_crlf = \
         shebang"
    } else {
        ""
    };
    Err(format!(
        "its #! line names {}, which is not installed{why}",
        program.escape_debug()
    ))
}

/// The configured shell, or the one that every system has.
fn shell(settings: &MetadataScripts, (logger, key): (&str, &str)) -> Result<String, String> {
    let configured = &settings.default_shell;
    if processes::find(configured).is_some() {
        return Ok(configured.clone());
    }
    if processes::find(SHELL).is_none() {
        return Err(format!(
            "neither {configured} (MetadataScripts.default_shell) nor {SHELL} is installed"
        ));
    }
    warn!(
        target: logger,
        "{key}: {configured} (MetadataScripts.default_shell) is not installed; {SHELL} runs it."
    );
    Ok(SHELL.into())
}

/// A program of its own. Where its file system is mounted noexec it is run from a copy in memory (pains 34).
fn program(directory: &Directory, path: &Path) -> Result<Ready, String> {
    let noexec = directory.is_noexec().unwrap_or(false);
    let memory = noexec
        .then(|| InMemory::copy(path))
        .transpose()
        .map_err(|error| {
            format!("its directory is mounted noexec, and it cannot be copied into memory: {error}")
        })?;
    let path = memory
        .as_ref()
        .map_or_else(|| path.to_path_buf(), InMemory::path);
    Ok(Ready {
        invocation: Invocation::new(path, std::iter::empty::<OsString>()),
        interpreter: Vec::new(),
        _memory: memory,
    })
}

/// What its owner should know about the bytes of a script (pains 35).
fn remarks(reading: &Reading, normalize: NormalizeCrlf) -> Vec<&'static str> {
    let off = normalize == NormalizeCrlf::Off;
    let mut remarks = Vec::new();
    if reading.byte_order_mark {
        remarks.push(if off {
            "the script begins with a byte order mark (BOM), which hides its first line: save it as UTF-8 without BOM."
        } else {
            "the script begins with a byte order mark (BOM), which was taken out: save it as UTF-8 without BOM."
        });
    }
    let returns = reading.return_in_first_line || reading.return_in_others;
    if returns && normalize == NormalizeCrlf::All {
        remarks.push("the script has CR LF line ends, as Windows writes them; they were made LF (normalize_crlf = all).");
    } else if reading.return_in_others {
        remarks.push(
            "the script has CR LF line ends, as Windows writes them, and a shell takes the CR for a part of each line: \
             save it with LF, or set MetadataScripts.normalize_crlf = all.",
        );
    } else if returns && !off {
        remarks.push("the first line of the script ends in CR LF, as Windows writes it; the CR was taken out.");
    }
    remarks
}

/// Whether the file itself has to change. A CR in the `#!` line alone does no harm there: the line is a comment.
fn needs_normalizing(reading: &Reading, normalize: NormalizeCrlf) -> bool {
    match normalize {
        NormalizeCrlf::Off => false,
        NormalizeCrlf::Shebang => reading.byte_order_mark,
        // What follows the head is not known.
        NormalizeCrlf::All => !matches!(reading.kind, Kind::Program | Kind::Utf16),
    }
}

fn rewrite(directory: &Directory, name: &OsStr, all: bool) -> std::io::Result<()> {
    let temporary = OsString::from(".normalized");
    let mut file = directory.create(&temporary, 0o700)?;
    let mut normalizer = Normalizer::new(all);
    files::read_pieces(&directory.path().join(name), HEAD, |piece| {
        file.write_all(&normalizer.take(piece))
    })?;
    file.write_all(normalizer.finish())?;
    directory.rename(&temporary, name)
}
