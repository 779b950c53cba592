//! docs/configuration.md, written from the table of options. Pure.

use std::fmt::Write as _;

use super::options::{self, OPTIONS, OptionSpec, Status};
use super::policy::Function;
use super::values::Kind;

/// What stands above the tables.
const ABOVE: &str = include_str!("documentation/above.md");

/// What stands below them.
const BELOW: &str = include_str!("documentation/below.md");

/// The whole document.
#[must_use]
pub fn render() -> String {
    let mut text = String::from(
        "<!-- Written by `gce-guest config docs > docs/configuration.md`, from src/config/options.rs and\n\
         src/config/documentation/: change it there. -->\n\n",
    );
    text.push_str(ABOVE);
    for section in options::sections() {
        let of_section = || {
            OPTIONS
                .iter()
                .filter(move |option| option.section == section && has_effect(option))
        };
        if of_section().next().is_none() {
            continue;
        }
        let _ = write!(
            text,
            "\n### [{section}]\n\n| Option | Default | Value | Meaning | Since |\n| --- | --- | --- | --- | --- |\n"
        );
        for option in of_section() {
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} | {} |",
                option.name,
                code(&option.default_text()),
                accepts(option.kind()),
                cell(&meaning(option)),
                option.since.name()
            );
        }
    }
    text.push_str(
        "\n## Options that are known and mean nothing here\n\n\
         They are accepted, so that a file of a predecessor needs no change; `config check` says so when one has another\n\
         value than its default.\n\n| Option | What it did | Why not here | Since |\n| --- | --- | --- | --- |\n",
    );
    for option in OPTIONS {
        if let Status::Nothing(why) = option.status {
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} |",
                option.path(),
                cell(option.meaning),
                cell(why),
                option.since.name()
            );
        }
    }
    text.push_str("\n## What `disable` in [Lock] switches off\n\n| Word | Pins |\n| --- | --- |\n");
    for function in Function::ALL {
        let pins: Vec<String> = function
            .pins()
            .iter()
            .map(|(section, name, value)| format!("`{section}.{name} = {value}`"))
            .collect();
        let _ = writeln!(text, "| `{}` | {} |", function.word(), pins.join(", "));
    }
    text.push_str(BELOW);
    text
}

fn has_effect(option: &OptionSpec) -> bool {
    !matches!(option.status, Status::Nothing(_))
}

fn meaning(option: &OptionSpec) -> String {
    match option.status {
        Status::Deprecated(instead) => {
            format!("Deprecated, use `{instead}`. {}", option.meaning)
        }
        Status::Effective | Status::Nothing(_) => option.meaning.to_owned(),
    }
}

fn accepts(kind: Kind) -> String {
    match kind {
        Kind::Boolean => "boolean".into(),
        Kind::OptionalBoolean => "boolean or empty".into(),
        Kind::Integer { max: u32::MAX, .. } => "number".into(),
        Kind::Integer { min, max } => format!("number, {min} to {max}"),
        Kind::Text => "text".into(),
        Kind::List => "list".into(),
        Kind::MacList => "list of MAC addresses".into(),
        Kind::Words(words) => words
            .iter()
            .map(|word| format!("`{word}`"))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

fn code(text: &str) -> String {
    if text.is_empty() {
        "(empty)".into()
    } else {
        format!("`{}`", cell(text))
    }
}

/// A text that stays inside its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
