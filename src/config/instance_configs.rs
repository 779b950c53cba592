//! instance_configs.cfg as set-up writes it, for the programs that look for their options there.

use super::file::{self, WriteError};
use super::format;
use super::generated::{
    GENERATED_SECTION, LISTED_SECTIONS, OVERRIDDEN_SECTION, digest, is_record, key,
};
use super::ini::{DEFAULT_SECTION, Document, Entry};
use super::options::{self, OPTIONS, OptionSpec, Since};
use super::policy::LOCK_SECTION;
use super::sources::{INSTANCE_CONFIGS, Source, SourceText, Sources, is_state};
use crate::system::order::{InOrder, Map};
use crate::system::root::Root;

/// What the top of the file says.
const HEADER: &str = "Written by gce-guest at each boot, so that other programs find their options here. Do not edit it: put \
    changes into /etc/default/instance_configs.cfg.template and run /usr/bin/google_instance_setup. The values are the \
    effective ones; the section Generated records which of them nobody chose here.";

/// Writes instance_configs.cfg below a root: the effective value of every option that the predecessors wrote and of every
/// other one that somebody set, and options that we do not know as they are. Called at set-up.
///
/// `instance_id` is put where a predecessor looks for it, so that going back to one does not renew the host keys.
/// Returns whether the file's bytes were others before.
///
/// # Errors
/// [`WriteError`]; the file is then as it was.
pub fn write_instance_configs(
    root: &Root,
    metadata_config: Option<&str>,
    instance_id: Option<&str>,
) -> Result<bool, WriteError> {
    // The lock is taken first: what is kept of the file must be what is replaced.
    let _lock = file::lock(root, INSTANCE_CONFIGS)?;
    let sources = Sources::read(root, metadata_config);
    let mut listing = Listing::default();
    listing.unknown_options(&sources.texts);
    let chosen: Vec<(&OptionSpec, String)> = OPTIONS
        .iter()
        .filter_map(|option| Some((option, sources.chosen_by_hand(option)?)))
        .collect();
    let loaded = sources.resolve();
    for (option, effective) in OPTIONS.iter().zip(&loaded.options) {
        let by_hand = chosen
            .iter()
            .find(|(other, _)| other.path() == option.path());
        if is_state(option) {
            let id = instance_id
                .map(String::from)
                .or_else(|| by_hand.map(|(_, raw)| raw.clone()));
            listing.put(
                option.section,
                option.name,
                &id.unwrap_or_else(|| "0".into()),
            );
            continue;
        }
        let origin = effective.origin;
        let from_here = origin.source == Source::InstanceConfigs && !origin.locked;
        if from_here {
            listing.put(
                option.section,
                option.name,
                &format::escape(&effective.value),
            );
        } else if is_listed(option) || origin.source != Source::BuiltIn {
            listing.generated(option.section, option.name, &effective.value);
        }
        if let Some((_, raw)) = by_hand
            && !from_here
        {
            listing.put(OVERRIDDEN_SECTION, &key(option.section, option.name), raw);
        }
    }
    file::write_text(root, INSTANCE_CONFIGS, &listing.render())
}

/// Whether the predecessors' file had this option in any case.
fn is_listed(option: &OptionSpec) -> bool {
    option.since == Since::Python
}

/// The file that is being put together.
#[derive(Default)]
struct Listing {
    values: Map<(String, String), String>,
    record: Vec<(String, String)>,
}

impl Listing {
    /// A value that nobody chose here.
    fn generated(&mut self, section: &str, name: &str, value: &str) {
        let raw = format::escape(value);
        let record = (key(section, name), digest(&raw));
        // Without a record the value would count as somebody's choice.
        if format::is_writable(GENERATED_SECTION, &record.0, &record.1)
            && self.put(section, name, &raw)
        {
            self.record.push(record);
        }
    }

    /// Adds a value unless there is one, or it would not be read back.
    fn put(&mut self, section: &str, name: &str, raw: &str) -> bool {
        let key = (section.to_owned(), name.to_owned());
        let put = !self.values.contains_key(&key) && format::is_writable(section, name, raw);
        if put {
            self.values.insert(key, raw.to_owned());
        }
        put
    }

    /// Copies what is in no table: other programs may look for it here. Locks are read where they were written, and
    /// copied only when they were written here.
    fn unknown_options(&mut self, texts: &[SourceText]) {
        for text in texts {
            let here = text.source == Source::InstanceConfigs;
            for section in text.document.sections() {
                let is_lock = section.name.eq_ignore_ascii_case(LOCK_SECTION);
                if section.name == DEFAULT_SECTION || is_record(&section.name) || is_lock && !here {
                    continue;
                }
                for entry in section.entries() {
                    if options::find(&section.name, &entry.name).is_some() {
                        continue;
                    }
                    let Ok(value) = text.document.expand(&section.name, &entry.raw) else {
                        if here {
                            self.put(&section.name, &entry.name, &entry.raw);
                        }
                        continue;
                    };
                    if here && text.is_choice(entry) {
                        self.put(&section.name, &entry.name, &format::escape(&value.text));
                    } else if !here {
                        self.generated(&section.name, &entry.name, &value.text);
                    }
                }
            }
        }
    }

    /// The sections of the predecessors in their order, then the others, the records last; options by name.
    fn render(mut self) -> String {
        let rank = |section: &str| match section {
            OVERRIDDEN_SECTION => 3,
            GENERATED_SECTION => 4,
            _ if LISTED_SECTIONS.contains(&section) || section == "Instance" => 0,
            _ if section.eq_ignore_ascii_case(LOCK_SECTION) => 2,
            _ => 1,
        };
        for (name, digest) in self.record {
            self.values.insert((GENERATED_SECTION.into(), name), digest);
        }
        let mut values: Vec<_> = self.values.into_iter().collect();
        // Stable: within a rank they stay in the order of section and name.
        values.put_in_order_by(|((section, _), _)| rank(section));
        let mut document = Document::default();
        for ((section, name), raw) in values {
            let entry = Entry {
                name,
                line: 0,
                last_line: 0,
                raw,
            };
            document.append(&section, entry);
        }
        format::render(&document, Some(HEADER))
    }
}
