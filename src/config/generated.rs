//! instance_configs.cfg: which of its lines we wrote, and which somebody chose.
//!
//! Set-up writes the effective values there, because other tools look for their options in this file. If those lines
//! counted as choices at the next boot, a value would stay for ever after its metadata key, its line in the
//! distribution's file or its built-in value is gone (spec/core.md BUG 2). So the file says itself which lines are
//! generated: the section `[Generated]` has a digest of each value that we put there. A line counts as somebody's choice
//! when its digest is missing or another one. The record is in the file and not in /var, because a copied or restored
//! file then brings the truth with it, and it is a section and not a comment, because a predecessor that rewrites the
//! file keeps unknown sections and drops comments.
//!
//! A hand-edited value that a stronger source overrides would be lost when the file is written again. It is kept in
//! `[Overridden]` and counts again when the stronger source is gone.
//!
//! A file without `[Generated]` is a predecessor's or an administrator's. When it lists all sections of the
//! predecessors, they wrote it, and a value that equals the built-in one is nobody's choice.

use super::ini::{Document, Entry, Section};
use super::options::{self, OptionSpec};
use crate::system::order::Set;

/// The digests of the values that we wrote.
pub(super) const GENERATED_SECTION: &str = "Generated";

/// The hand-edited values that stronger sources override; their `%(name)s` are looked up there.
pub(super) const OVERRIDDEN_SECTION: &str = "Overridden";

/// The sections that every file written by a predecessor has.
pub(super) const LISTED_SECTIONS: [&str; 6] = [
    "Accounts",
    "Daemons",
    "InstanceSetup",
    "IpForwarding",
    "MetadataScripts",
    "NetworkInterfaces",
];

/// Whether a section is our record and no setting.
pub(super) fn is_record(section: &str) -> bool {
    section == GENERATED_SECTION || section == OVERRIDDEN_SECTION
}

/// The lines of an instance_configs.cfg that are nobody's choice.
pub(super) fn lines(document: &Document) -> Set<usize> {
    let record = document.section(GENERATED_SECTION);
    let listing = LISTED_SECTIONS
        .iter()
        .all(|name| document.section(name).is_some());
    let is_generated = |section: &Section, entry: &Entry| match record {
        Some(record) => record
            .entry(&key(&section.name, &entry.name))
            .is_some_and(|digest_then| digest_then.raw == digest(&entry.raw)),
        None => listing && is_built_in(document, section, entry),
    };
    let all = document.sections().iter();
    all.flat_map(|section| section.entries().iter().map(move |entry| (section, entry)))
        .filter(|(section, entry)| is_generated(section, entry))
        .map(|(_, entry)| entry.line)
        .collect()
}

fn is_built_in(document: &Document, section: &Section, entry: &Entry) -> bool {
    let Some(option) = options::find(&section.name, &entry.name) else {
        return false;
    };
    let Ok(value) = document.expand(&section.name, &entry.raw) else {
        return false;
    };
    option.canonical(&value.text) == Ok(option.default_text())
}

/// What an option is called in the two records.
pub(super) fn key(section: &str, option: &str) -> String {
    format!("{section}.{option}").to_lowercase()
}

/// FNV-1a in 64 bits: enough to see an edit, and the same for ever, which the standard library's hash is not.
pub(super) fn digest(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// The hand-edited value that a file keeps for an option that a stronger source overrides.
pub(super) fn overridden<'a>(document: &'a Document, option: &OptionSpec) -> Option<&'a Entry> {
    let key = key(option.section, option.name);
    document.section(OVERRIDDEN_SECTION)?.entry(&key)
}
