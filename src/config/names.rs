//! Names in the sources that nobody knows, with the nearest one that is known. Pure.

use super::findings::{self, FINDINGS_PER_FILE, Finding, Severity};
use super::generated;
use super::ini::{DEFAULT_SECTION, Entry, Section};
use super::options::{self, OPTIONS};
use super::policy::LOCK_SECTION;
use super::sources::{Source, SourceText, is_state};

/// Adds a finding for each section and each option that is not known, and for each section whose case Python would not
/// accept. Lines that we wrote ourselves are left out: they are copies, told where they come from.
pub(super) fn check(text: &SourceText, findings: &mut Vec<Finding>) {
    let before = findings.len();
    for section in text.document.sections() {
        // More are not told, and the nearest name takes a while to find.
        if findings.len() > before + FINDINGS_PER_FILE {
            return;
        }
        let name = section.name.as_str();
        let is_record = text.source == Source::InstanceConfigs && generated::is_record(name);
        let entries: Vec<&Entry> = section
            .entries()
            .iter()
            .filter(|entry| text.is_choice(entry))
            .collect();
        let is_copy = entries.is_empty() && !section.entries().is_empty();
        if name == DEFAULT_SECTION
            || name.eq_ignore_ascii_case(LOCK_SECTION)
            || is_record
            || is_copy
        {
            continue;
        }
        let header = format!("[{name}]");
        let finding = || Finding::at(Severity::Warning, &text.file, section.line, &header);
        match options::sections().find(|known| known.eq_ignore_ascii_case(name)) {
            None => findings
                .push(finding().say("no section of this name", findings::suggest_section(name))),
            Some(known) => {
                if known != name {
                    findings.push(finding().say(
                        "the section counts, but Python's programs ignore it",
                        format!("write [{known}]"),
                    ));
                }
                check_options(text, section, &entries, findings);
            }
        }
    }
}

fn check_options(
    text: &SourceText,
    section: &Section,
    entries: &[&Entry],
    findings: &mut Vec<Finding>,
) {
    for entry in entries.iter().take(FINDINGS_PER_FILE + OPTIONS.len()) {
        let line = format!("{} = {}", entry.name, entry.raw);
        let finding = || Finding::at(Severity::Warning, &text.file, entry.line, &line);
        match options::find(&section.name, &entry.name) {
            None => findings.push(finding().say(
                format!("no option of this name in [{}]", section.name),
                findings::suggest_option(&section.name, &entry.name),
            )),
            Some(option) if is_state(option) && text.source != Source::InstanceConfigs => {
                findings.push(finding().say(
                    "the instance id is no setting and is ignored",
                    "remove the line",
                ));
            }
            Some(_) => {}
        }
    }
}
