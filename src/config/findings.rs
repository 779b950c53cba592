//! What is wrong with a configuration: where, what, and what to do about it. Pure.

use std::fmt;

use super::ini::{SyntaxKind, SyntaxProblem};
use super::options::{self, OPTIONS};

/// How many findings of one file are told one by one; the rest is a number.
pub(super) const FINDINGS_PER_FILE: usize = 100;

/// How much of an offending line is quoted, in characters.
const QUOTED: usize = 80;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Everything that was written counts, but something looks like a mistake.
    Warning,
    /// Something that was written does not count.
    Error,
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file, or the name of the metadata key.
    pub file: String,
    /// The line, counted from 1; `None` when it is about the whole file.
    pub line: Option<usize>,
    /// The offending text, shortened and printable; empty when it is about the whole file.
    pub text: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub fix: String,
}

impl Finding {
    /// A finding about a line.
    pub(super) fn at(severity: Severity, file: &str, line: usize, text: &str) -> Self {
        Self {
            severity,
            file: file.to_owned(),
            line: (line > 0).then_some(line),
            text: quote(text),
            problem: String::new(),
            fix: String::new(),
        }
    }

    /// A finding about a whole file.
    pub(super) fn about(severity: Severity, file: &str) -> Self {
        Self::at(severity, file, 0, "")
    }

    /// The same with what is wrong and what to do.
    pub(super) fn say(mut self, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        self.problem = problem.into();
        self.fix = fix.into();
        self
    }

    /// A finding for a line that the parser complained about.
    pub(super) fn syntax(file: &str, problem: &SyntaxProblem) -> Self {
        let severity = if problem.kind.loses_the_line() {
            Severity::Error
        } else {
            Severity::Warning
        };
        let fix = match problem.kind {
            SyntaxKind::ByteOrderMark => "save the file as UTF-8 without it",
            SyntaxKind::NotUtf8 => "save the file as UTF-8",
            SyntaxKind::BeforeFirstSection => "move it below its [Section], or begin it with '#'",
            SyntaxKind::NoDelimiter => {
                "write it as 'option = value', indent it to continue the value above, or begin it with '#'"
            }
            SyntaxKind::NoName => "write it as 'option = value'",
            SyntaxKind::RepeatedSection { .. } => {
                "put the options under one header; Python refuses the whole file"
            }
            SyntaxKind::RepeatedOption { .. } => {
                "remove one of the two; the last one counts, and Python refuses the whole file"
            }
            SyntaxKind::TextAfterHeader => "put it on a line of its own",
        };
        Self::at(severity, file, problem.line, &problem.text).say(problem.kind.to_string(), fix)
    }
}

impl fmt::Display for Finding {
    /// `file:line: problem: "text"; fix`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.problem)?;
        if !self.text.is_empty() {
            write!(f, ": \"{}\"", self.text)?;
        }
        if !self.fix.is_empty() {
            write!(f, "; {}", self.fix)?;
        }
        Ok(())
    }
}

/// Leaves the first findings of each file and puts a number in place of the rest: ten thousand bad lines are one mistake.
pub(super) fn limit(findings: Vec<Finding>) -> Vec<Finding> {
    let mut kept: Vec<Finding> = Vec::new();
    let mut left_out: Vec<(String, usize, Severity)> = Vec::new();
    for finding in findings {
        if kept
            .iter()
            .filter(|other| other.file == finding.file)
            .count()
            < FINDINGS_PER_FILE
        {
            kept.push(finding);
        } else if let Some((_, count, severity)) =
            left_out.iter_mut().find(|(file, ..)| *file == finding.file)
        {
            *count += 1;
            *severity = finding.severity.max(*severity);
        } else {
            left_out.push((finding.file, 1, finding.severity));
        }
    }
    kept.extend(left_out.into_iter().map(|(file, count, severity)| {
        Finding::about(severity, &file).say(
            format!("{count} more findings"),
            "repair the ones above and check again",
        )
    }));
    kept
}

/// A text as it may stand in a message: one line, printable, not too long.
fn quote(text: &str) -> String {
    let mut quoted = String::new();
    for (index, character) in text.chars().enumerate() {
        if index == QUOTED {
            quoted.push_str("...");
            break;
        }
        if character.is_control() {
            quoted.extend(character.escape_default());
        } else {
            quoted.push(character);
        }
    }
    quoted
}

/// What to do about a section that is not known.
pub(super) fn suggest_section(name: &str) -> String {
    match nearest(
        name,
        &mut options::sections().chain([super::policy::LOCK_SECTION]),
    ) {
        Some(known) => format!("did you mean [{known}]?"),
        None => "see docs/configuration.md for the sections that are known".into(),
    }
}

/// What to do about an option that its section does not have.
pub(super) fn suggest_option(section: &str, name: &str) -> String {
    let elsewhere = OPTIONS
        .iter()
        .find(|option| option.name.eq_ignore_ascii_case(name));
    let here = OPTIONS
        .iter()
        .filter(|option| option.section.eq_ignore_ascii_case(section));
    if let Some(option) = elsewhere {
        format!("{} belongs to [{}]", option.name, option.section)
    } else if let Some(known) = nearest(name, &mut here.map(|option| option.name)) {
        format!("did you mean {known}?")
    } else if let Some(known) = nearest(name, &mut OPTIONS.iter().map(|option| option.name)) {
        let section = OPTIONS
            .iter()
            .find(|option| option.name == known)
            .map_or("", |option| option.section);
        format!("did you mean {known} in [{section}]?")
    } else {
        "see docs/configuration.md for the options that are known".into()
    }
}

/// The known name nearest to one that is not known, when it is near enough to be a slip of the fingers.
pub(super) fn nearest<'a>(name: &str, known: &mut dyn Iterator<Item = &'a str>) -> Option<&'a str> {
    let name: String = name.to_lowercase().chars().take(QUOTED).collect();
    let limit = (name.chars().count() / 3).max(1);
    known
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&name, &candidate.to_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_fingers_finds_its_name_and_nonsense_does_not() {
        assert_eq!(suggest_section("Acounts"), "did you mean [Accounts]?");
        assert_eq!(
            suggest_section("instancesetup"),
            "did you mean [InstanceSetup]?"
        );
        assert!(suggest_section("zzzzzz").starts_with("see docs/"));
        assert_eq!(
            suggest_option("Daemons", "account_daemon"),
            "did you mean accounts_daemon?"
        );
        assert_eq!(
            suggest_option("Daemons", "deprovision_remove"),
            "deprovision_remove belongs to [Accounts]"
        );
        assert_eq!(
            suggest_option("Daemons", "set_host_key"),
            "did you mean set_host_keys in [InstanceSetup]?"
        );
    }

    #[test]
    fn a_message_is_one_printable_line() {
        let text = format!("a\0b\u{1b}[31m{}", "x".repeat(200));
        let finding = Finding::at(Severity::Error, "f", 3, &text).say("bad", "do better");
        let line = finding.to_string();
        assert!(
            line.starts_with("f:3: bad: \"a\\u{0}b\\u{1b}[31mxxx"),
            "{line}"
        );
        assert!(line.ends_with("...\"; do better"), "{line}");
        assert!(line.len() < 160);
    }

    #[test]
    fn ten_thousand_findings_of_a_file_are_a_hundred_and_a_number() {
        let many = (1..=10_000)
            .map(|line| Finding::at(Severity::Error, "f", line, "x").say("p", ""))
            .chain([Finding::at(Severity::Warning, "g", 1, "y").say("p", "")])
            .collect();
        let limited = limit(many);
        assert_eq!(limited.len(), 102);
        assert!(limited.iter().any(|finding| finding.file == "g"));
        assert!(limited[101].problem.contains("9900 more"));
    }
}
