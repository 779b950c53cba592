//! Writing a configuration as Python's programs write it (spec/core.md 3.5). Pure.

use super::ini::{DEFAULT_SECTION, Document, Section, is_space};

/// Where header lines are wrapped, in characters, without the `# `.
const HEADER_WIDTH: usize = 70;

/// The text of a file: the header as comment lines, then each section with `option = value` lines and an empty line after
/// it. `[DEFAULT]` comes first, as in Python. A newline inside a value becomes a newline and a tab.
pub(super) fn render(document: &Document, header: Option<&str>) -> String {
    let mut text = String::new();
    if let Some(header) = header {
        for line in wrap(header) {
            text.push_str("# ");
            text.push_str(&line);
            text.push('\n');
        }
        text.push('\n');
    }
    let is_default = |section: &&Section| section.name == DEFAULT_SECTION;
    let sections = document.sections();
    let defaults = sections
        .iter()
        .filter(|section| is_default(section) && !section.entries().is_empty());
    let others = sections.iter().filter(|section| !is_default(section));
    for section in defaults.chain(others) {
        text.push('[');
        text.push_str(&section.name);
        text.push_str("]\n");
        for entry in section.entries() {
            text.push_str(&option_line(&entry.name, &entry.raw));
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

/// `option = value` without a newline at the end. An empty value leaves the blank behind the `=`, as in Python.
pub(super) fn option_line(option: &str, raw: &str) -> String {
    format!("{option} = {}", raw.replace('\n', "\n\t"))
}

/// The raw value that stands for a text: Python and we read it back as this text.
pub(super) fn escape(text: &str) -> String {
    text.replace('%', "%%")
}

/// Whether a section, an option and a raw value come out of a file as they go in. A value cannot begin or end with white
/// space, its second line cannot begin with `#`, and so on.
pub(super) fn is_writable(section: &str, option: &str, raw: &str) -> bool {
    let mut document = Document::default();
    document.set(section, option, raw);
    let (read, problems) = Document::parse(render(&document, None).as_bytes());
    problems.is_empty()
        && matches!(read.sections(), [only] if only.name == section
            && matches!(only.entries(), [entry] if entry.name == option.to_lowercase() && entry.raw == raw))
}

/// The words of a text in lines of at most [`HEADER_WIDTH`]. Words are not broken at hyphens; one that is longer than a
/// line is, and begins on the line before it, as Python's `textwrap` does.
fn wrap(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut width = 0;
    for word in text.split(is_space).filter(|word| !word.is_empty()) {
        let mut rest: Vec<char> = word.chars().collect();
        let gap = usize::from(width > 0);
        if width + gap + rest.len() > HEADER_WIDTH {
            let fits = HEADER_WIDTH.saturating_sub(width + gap);
            if rest.len() > HEADER_WIDTH && fits > 0 {
                line.extend((gap > 0).then_some(' '));
                line.extend(rest.drain(..fits));
            }
            lines.push(std::mem::take(&mut line));
            width = 0;
            while rest.len() > HEADER_WIDTH {
                lines.push(rest.drain(..HEADER_WIDTH).collect());
            }
        }
        if width > 0 {
            line.push(' ');
            width += 1;
        }
        width += rest.len();
        line.extend(rest);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines.retain(|line| !line.is_empty());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_looks_as_python_writes_it() {
        let mut document = Document::default();
        document.set("Accounts", "Groups", "a,b");
        document.set("Accounts", "note", "one\ntwo");
        document.set("MetadataScripts", "run_dir", "");
        document.set("DEFAULT", "x", "1");
        assert_eq!(
            render(&document, Some("Two words.")),
            "# Two words.\n\n[DEFAULT]\nx = 1\n\n[Accounts]\ngroups = a,b\nnote = one\n\ttwo\n\n\
             [MetadataScripts]\nrun_dir = \n\n"
        );
    }

    #[test]
    fn what_would_not_come_back_is_told_before_it_is_written() {
        for (section, option, raw) in [
            ("A]", "a", "1"),
            ("", "a", "1"),
            ("A", "a=b", "1"),
            ("A", "", "1"),
            ("A", "#a", "1"),
            ("A", "[a]", "1"),
            ("A", "a", " 1"),
            ("A", "a", "1\n#2"),
            ("A", "a", "1\n [B]\n"),
            ("A", "a", "1\r2"),
            ("A\nB", "a", "1"),
        ] {
            assert!(
                !is_writable(section, option, raw),
                "{section} {option} {raw}"
            );
        }
        for (section, option, raw) in [
            ("A", "a", ""),
            ("A", "Two Words", "x = y ; z # w"),
            ("A", "a", "1\n\n2\n[B]"),
            ("DEFAULT", "a", "%(b)s"),
        ] {
            assert!(
                is_writable(section, option, raw),
                "{section} {option} {raw}"
            );
        }
    }
}
