//! The configuration management library of the founding document: one file, its options, and a safe way to write it.
//!
//! | Founding document | here |
//! | --- | --- |
//! | GetOptionString | [`ConfigFile::option_string`] |
//! | GetOptionBool | [`ConfigFile::option_bool`] |
//! | SetOption | [`ConfigFile::set_option`] |
//! | WriteConfig | [`ConfigFile::write`] |
//!
//! The program's own settings come from [`super::load`], which knows all sources; this module is for whoever works on one
//! file of this dialect, such as instance_configs.cfg or boto.cfg.

use std::io;
use std::path::Path;

use thiserror::Error;

use super::findings::Finding;
use super::format;
use super::ini::Document;
use super::options;
use super::sources::{FILE_LIMIT, unreadable};
use super::values::{Invalid, boolean};
use crate::system::files::{self, Attributes};
use crate::system::locks::{FileLock, LockError};
use crate::system::root::Root;

/// Where the lock files are (spec/core.md 11.1).
const LOCK_DIRECTORY: &str = "/var/lock";

/// One configuration file in memory.
#[derive(Clone, Debug, Default)]
pub struct ConfigFile {
    document: Document,
}

/// Why an option cannot be set.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("[{section}] {option}: the value cannot be written in this format")]
pub struct NotWritable {
    /// The section.
    pub section: String,
    /// The option.
    pub option: String,
}

/// Why a file was not written. The old file is then as it was.
#[derive(Debug, Error)]
pub enum WriteError {
    /// Another program is writing it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The file or its lock's directory cannot be written.
    #[error("cannot write {path}: {reason}")]
    Io {
        /// The file, as the machine names it.
        path: String,
        /// What the system said.
        reason: io::Error,
    },
}

impl ConfigFile {
    /// Reads a file below a root. One that is absent is empty; one that cannot be read is empty too, with a finding, as
    /// are bad lines: nothing here fails.
    #[must_use]
    pub fn read(root: &Root, path: &str) -> (Self, Vec<Finding>) {
        match files::read(&root.path(path), FILE_LIMIT) {
            Ok(bytes) => Self::parse(path, &bytes.unwrap_or_default()),
            Err(error) => (Self::default(), vec![unreadable(path, &error)]),
        }
    }

    /// Reads a text. The path is for findings.
    #[must_use]
    pub fn parse(path: &str, bytes: &[u8]) -> (Self, Vec<Finding>) {
        let (document, problems) = Document::parse(bytes);
        let findings = problems
            .iter()
            .map(|problem| Finding::syntax(path, problem))
            .collect();
        (Self { document }, findings)
    }

    /// The contents.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The value of an option, `None` when section or option is absent or a `%(name)s` in it leads nowhere. The section's
    /// case counts, the option's does not.
    #[must_use]
    pub fn option_string(&self, section: &str, option: &str) -> Option<String> {
        let value = self.document.value(section, option).ok()??;
        Some(value.text)
    }

    /// The value of a boolean option. Absent means the built-in value for an option that we know and true for any other:
    /// for the predecessors absent was true, which made `deprovision_remove` delete accounts (spec/core.md SEC 1).
    ///
    /// # Errors
    /// [`Invalid`] when the value is no boolean.
    pub fn option_bool(&self, section: &str, option: &str) -> Result<bool, Invalid> {
        match self.option_string(section, option) {
            Some(text) => boolean(&text).ok_or_else(|| Invalid("true or false".into())),
            None => Ok(options::find(section, option)
                .and_then(|known| boolean(&known.default_text()))
                .unwrap_or(true)),
        }
    }

    /// Sets an option, adding its section where it is missing. Without `overwrite` a value that is there stays, be it in
    /// the section or in `[DEFAULT]`. A `%` in the value is written so that it is read back as a `%`.
    ///
    /// # Errors
    /// [`NotWritable`] for a name or a value that would not be read back as it is.
    pub fn set_option(
        &mut self,
        section: &str,
        option: &str,
        value: &str,
        overwrite: bool,
    ) -> Result<(), NotWritable> {
        let raw = format::escape(value);
        if !format::is_writable(section, option, &raw) {
            return Err(NotWritable {
                section: section.to_owned(),
                option: option.to_owned(),
            });
        }
        if overwrite || self.document.entry(section, option).is_none() {
            self.document.set(section, option, raw);
        }
        Ok(())
    }

    /// The file as it would be written, without a header.
    #[must_use]
    pub fn to_text(&self) -> String {
        format::render(&self.document, None)
    }

    /// Writes the file below a root: under its lock, in one step, with the mode of the file that is there or else 0644,
    /// the header wrapped into comment lines above it. Returns whether its bytes were others before.
    ///
    /// # Errors
    /// [`WriteError`]; the file is then as it was.
    pub fn write(&self, root: &Root, path: &str, header: Option<&str>) -> Result<bool, WriteError> {
        let _lock = lock(root, path)?;
        write_text(root, path, &format::render(&self.document, header))
    }

    /// The same with this mode, whatever the mode of the file that is there.
    ///
    /// # Errors
    /// [`WriteError`]; the file is then as it was.
    pub fn write_with_mode(
        &self,
        root: &Root,
        path: &str,
        header: Option<&str>,
        mode: u32,
    ) -> Result<bool, WriteError> {
        let _lock = lock(root, path)?;
        let text = format::render(&self.document, header);
        let (place, attributes) = (root.path(path), Attributes::mode(mode));
        match files::owner_and_mode(&place) {
            Ok(Some((_, present))) if present != mode => replace(root, path, &text, &attributes),
            _ => write_text_as(root, path, &text, &attributes),
        }
    }
}

impl From<Document> for ConfigFile {
    fn from(document: Document) -> Self {
        Self { document }
    }
}

/// Takes the lock that the predecessors take to write this file: `google_<stem>.lock`, the stem being the name without
/// its last extension.
pub(super) fn lock(root: &Root, path: &str) -> Result<FileLock, WriteError> {
    let failed = |reason| WriteError::Io {
        path: path.to_owned(),
        reason,
    };
    let stem = Path::new(path)
        .file_stem()
        .ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?
        .to_string_lossy();
    let directory = root.path(LOCK_DIRECTORY);
    files::create_directories(&directory, 0o755).map_err(failed)?;
    Ok(FileLock::try_take(
        &directory.join(format!("google_{stem}.lock")),
    )?)
}

/// Replaces a file whose lock is held. Returns whether its bytes were others before.
pub(super) fn write_text(root: &Root, path: &str, text: &str) -> Result<bool, WriteError> {
    write_text_as(root, path, text, &Attributes::keep_mode_or(0o644))
}

fn write_text_as(
    root: &Root,
    path: &str,
    text: &str,
    attributes: &Attributes,
) -> Result<bool, WriteError> {
    let present = files::read(&root.path(path), FILE_LIMIT).ok().flatten();
    if present.is_some_and(|present| present == text.as_bytes()) {
        return Ok(false);
    }
    replace(root, path, text, attributes)
}

fn replace(
    root: &Root,
    path: &str,
    text: &str,
    attributes: &Attributes,
) -> Result<bool, WriteError> {
    files::replace(&root.path(path), text.as_bytes(), attributes)
        .map(|()| true)
        .map_err(|reason| WriteError::Io {
            path: path.to_owned(),
            reason,
        })
}
