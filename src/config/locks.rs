//! Reading `[Lock]`: which options are pinned, and what metadata may not set ([`super::policy`] has the syntax).

use super::Settings;
use super::findings::{self, Finding, Severity};
use super::ini::{Entry, Section};
use super::options::{self, OPTIONS, OptionSpec};
use super::policy::{DISABLE, Function, IGNORE_METADATA, LOCK_SECTION, Policy};
use super::sources::{Origin, Source, SourceText, is_state};

/// A value that nothing can change.
#[derive(Clone, Debug)]
pub(super) struct Pin {
    section: &'static str,
    name: &'static str,
    pub(super) value: String,
    pub(super) origin: Origin,
}

/// Everything that `[Lock]` sections say.
#[derive(Debug, Default)]
pub(super) struct Locks {
    pub(super) policy: Policy,
    pins: Vec<Pin>,
    /// Options that metadata may not set.
    shut: Vec<(&'static str, &'static str)>,
}

impl Locks {
    /// Reads the `[Lock]` sections of the local sources, the strongest first. One in metadata is refused: metadata is
    /// what they are against.
    pub(super) fn collect(texts: &[SourceText], findings: &mut Vec<Finding>) -> Self {
        let mut locks = Self::default();
        // What is off is known before any pin: off is stronger, whatever their order and their files.
        for is_disable in [true, false] {
            for text in texts {
                for section in text.sections_named(LOCK_SECTION) {
                    if text.source == Source::Metadata {
                        if is_disable {
                            findings.push(refuse(text, section));
                        }
                        continue;
                    }
                    for entry in section.entries() {
                        if (entry.name == DISABLE) == is_disable {
                            locks.entry(text, section, entry, findings);
                        }
                    }
                }
            }
        }
        locks
    }

    /// The value that an option is pinned at.
    pub(super) fn pin(&self, option: &OptionSpec) -> Option<&Pin> {
        self.pins
            .iter()
            .find(|pin| (pin.section, pin.name) == (option.section, option.name))
    }

    /// Whether metadata may not set an option.
    pub(super) fn shuts_out_metadata(&self, option: &OptionSpec) -> bool {
        self.shut.contains(&(option.section, option.name))
    }

    fn entry(
        &mut self,
        text: &SourceText,
        section: &Section,
        entry: &Entry,
        findings: &mut Vec<Finding>,
    ) {
        let line = format!("{} = {}", entry.name, entry.raw);
        let finding = || Finding::at(Severity::Error, &text.file, entry.line, &line);
        let value = match text.document.expand(&section.name, &entry.raw) {
            Ok(value) => value.text,
            Err(error) => {
                findings.push(finding().say(error.to_string(), "write the value itself"));
                // What was to be locked stays out of metadata's reach.
                entry.raw.clone()
            }
        };
        let origin = Origin {
            source: text.source,
            line: Some(entry.line),
            locked: true,
        };
        match entry.name.as_str() {
            DISABLE => {
                for word in words(&value) {
                    match Function::named(word) {
                        Some(function) => self.disable(function, origin),
                        None => findings.push(finding().say(
                            format!("nothing called '{word}' can be disabled"),
                            suggest_function(word),
                        )),
                    }
                }
            }
            IGNORE_METADATA => {
                for word in words(&value) {
                    if let Err(fix) = self.shut_out(word) {
                        findings.push(finding().say(format!("no option '{word}'"), fix));
                    }
                }
            }
            word if !word.contains('.') => findings.push(finding().say(
                "nothing of this name can be locked",
                format!("write Section.option, {DISABLE} or {IGNORE_METADATA}"),
            )),
            path => match option_at(path) {
                Ok(option) => self.pin_option(option, &value, origin, finding, findings),
                Err(fix) => findings.push(finding().say("nothing of this name can be locked", fix)),
            },
        }
    }

    fn disable(&mut self, function: Function, origin: Origin) {
        self.policy.disable(function);
        for &(section, name, value) in function.pins() {
            let is_pinned = self
                .pins
                .iter()
                .any(|pin| (pin.section, pin.name) == (section, name));
            if !is_pinned {
                self.pins.push(Pin {
                    section,
                    name,
                    value: value.to_owned(),
                    origin,
                });
            }
        }
    }

    fn pin_option(
        &mut self,
        option: &'static OptionSpec,
        value: &str,
        origin: Origin,
        finding: impl Fn() -> Finding,
        findings: &mut Vec<Finding>,
    ) {
        self.shut.push((option.section, option.name));
        if let Err(invalid) = option.assign(&mut Settings::default(), value) {
            findings.push(finding().say(
                format!("not a value of {}", option.path()),
                format!("write {}; until then metadata cannot set it", invalid.0),
            ));
        } else if let Some(other) = self.pin(option) {
            if other.value != value {
                findings.push(finding().say(
                    format!(
                        "{} is already locked at '{}' by {}",
                        option.path(),
                        other.value,
                        other.origin
                    ),
                    "remove one of the two",
                ));
            }
        } else {
            self.pins.push(Pin {
                section: option.section,
                name: option.name,
                value: value.to_owned(),
                origin,
            });
        }
    }

    /// Keeps metadata from setting what a word names: `*`, `Section.*` or `Section.option`.
    fn shut_out(&mut self, word: &str) -> Result<(), String> {
        let covers: Vec<_> = match word.strip_suffix(".*") {
            _ if word == "*" => OPTIONS.iter().collect(),
            Some(section) => {
                let of_section: Vec<_> = OPTIONS
                    .iter()
                    .filter(|option| option.section.eq_ignore_ascii_case(section))
                    .collect();
                if of_section.is_empty() {
                    return Err(findings::suggest_section(section));
                }
                of_section
            }
            None => vec![option_at(word)?],
        };
        self.shut.extend(
            covers
                .into_iter()
                .map(|option| (option.section, option.name)),
        );
        Ok(())
    }
}

/// The finding for a `[Lock]` in metadata.
fn refuse(text: &SourceText, section: &Section) -> Finding {
    let header = format!("[{}]", section.name);
    Finding::at(Severity::Error, &text.file, section.line, &header)
        .say("metadata cannot lock anything", "put it into the template")
}

/// The option that `Section.option` names, in any case, or what to write instead.
pub(super) fn option_at(path: &str) -> Result<&'static OptionSpec, String> {
    let Some((section, name)) = path.split_once('.') else {
        return Err("write it as Section.option".into());
    };
    match options::find(section, name) {
        Some(option) if is_state(option) => Err("the instance id is no setting".into()),
        Some(option) => Ok(option),
        None if options::sections().any(|known| known.eq_ignore_ascii_case(section)) => {
            Err(findings::suggest_option(section, name))
        }
        None => Err(findings::suggest_section(section)),
    }
}

fn suggest_function(word: &str) -> String {
    let known = Function::ALL.map(Function::word);
    match findings::nearest(word, &mut known.into_iter()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("what can be: {}", known.join(", ")),
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', '\n'])
        .map(str::trim)
        .filter(|word| !word.is_empty())
}
