//! The man pages and the completions, from the definition of the command line.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// System administration commands.
const SECTION: &str = "8";

/// Where each shell looks for completions of programs that are installed as packages, below usr/share.
const COMPLETIONS: [(Shell, &str); 3] = [
    (Shell::Bash, "bash-completion/completions/gce-guest"),
    (Shell::Zsh, "zsh/vendor-completions/_gce-guest"),
    (Shell::Fish, "fish/vendor_completions.d/gce-guest.fish"),
];

/// Every file, by its path below usr/share.
///
/// # Errors
/// There are none but those of writing to memory.
pub(crate) fn files() -> io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut command = visible(&gce_guest::cli::command());
    command.build();
    let mut files = BTreeMap::new();
    add_pages(&command, None, &mut files)?;
    for (shell, path) in COMPLETIONS {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, "gce-guest", &mut script);
        let mut script = String::from_utf8(script).map_err(io::Error::other)?;
        if shell == Shell::Bash {
            // clap_complete 4.6 writes the hyphen of a program's name in two ways, and then finds none of its verbs.
            script = script.replace("gce__subcmd__guest", "gce__guest");
        }
        files.insert(path.into(), script.into_bytes());
    }
    Ok(files)
}

/// The command without what is hidden: clap's generators take hidden commands for commands.
fn visible(command: &Command) -> Command {
    // The names in a definition live as long as the program, and so do these.
    let name: &'static str = Box::leak(command.get_name().to_owned().into_boxed_str());
    let mut copy = Command::new(name)
        .args(
            command
                .get_arguments()
                .filter(|argument| !argument.is_hide_set()),
        )
        .subcommands(
            command
                .get_subcommands()
                .filter(|verb| !verb.is_hide_set())
                .map(visible),
        )
        .subcommand_required(command.is_subcommand_required_set())
        .subcommand_value_name("COMMAND")
        .subcommand_help_heading("COMMANDS")
        .disable_help_subcommand(true);
    if command.get_version().is_some() {
        copy = copy.version(env!("CARGO_PKG_VERSION"));
    }
    if let Some(about) = command.get_about() {
        copy = copy.about(about.clone());
    }
    if let Some(about) = command.get_long_about() {
        copy = copy.long_about(about.clone());
    }
    if let Some(help) = command.get_after_help() {
        copy = copy.after_help(help.clone());
    }
    copy
}

/// The page of a command, and those of the commands below it.
fn add_pages(
    command: &Command,
    parent: Option<&str>,
    files: &mut BTreeMap<PathBuf, Vec<u8>>,
) -> io::Result<()> {
    let name = match parent {
        Some(parent) => format!("{parent}-{}", command.get_name()),
        None => command.get_name().to_owned(),
    };
    let path = format!("man/man{SECTION}/{name}.{SECTION}");
    files.insert(path.into(), page(command, &name, parent)?);
    for verb in command.get_subcommands() {
        add_pages(verb, Some(&name), files)?;
    }
    Ok(())
}

fn page(command: &Command, name: &str, parent: Option<&str>) -> io::Result<Vec<u8>> {
    let end = End::of(command);
    let man = Man::new(command.clone()).section(SECTION);
    // Without a date, so that the same sources make the same pages. clap_mangen leaves an empty argument out, and the next
    // one would be the date.
    let version = env!("CARGO_PKG_VERSION");
    let mut page =
        format!(".TH {name} {SECTION} \"\" \"gce-guest {version}\" \"Guest environment\"\n")
            .into_bytes();
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    let mut more = Roff::new();
    for paragraph in &end.description {
        more.control("PP", []).text([roman(paragraph.join("\n"))]);
    }
    page.extend(more.render().into_bytes());
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    page.extend(end.sections(parent).render().into_bytes());
    let page = String::from_utf8(page).map_err(io::Error::other)?;
    // Two breaks with an empty line between are one space, as mandoc remarks.
    Ok(page.replace(".br\n\n.br\n", ".sp\n").into_bytes())
}

/// What stands below the options in a help text.
#[derive(Default)]
struct End {
    /// Paragraphs without a heading, each of its lines.
    description: Vec<Vec<String>>,
    exit_status: Vec<String>,
    files: Vec<String>,
    examples: Vec<String>,
}

impl End {
    fn of(command: &Command) -> Self {
        let help = command.get_after_help().map(ToString::to_string);
        let mut end = Self::default();
        for paragraph in help.unwrap_or_default().split("\n\n") {
            let mut lines: Vec<String> = paragraph.lines().map(String::from).collect();
            match lines.first().map(String::as_str) {
                Some("Files:") => end.files = lines.split_off(1),
                Some("Examples:") => end.examples = lines.split_off(1),
                Some(first) if first.starts_with("Exit status") => end.exit_status = lines,
                Some(_) => end.description.push(lines),
                None => {}
            }
        }
        end
    }

    fn sections(&self, parent: Option<&str>) -> Roff {
        let mut roff = Roff::new();
        if !self.exit_status.is_empty() {
            let text = self.exit_status.join("\n");
            let text = text.strip_prefix("Exit status: ").unwrap_or(&text);
            roff.control("SH", ["EXIT STATUS"]).text([roman(text)]);
        }
        for (heading, lines) in [("FILES", &self.files), ("EXAMPLES", &self.examples)] {
            if !lines.is_empty() {
                roff.control("SH", [heading]);
                list(&mut roff, lines);
            }
        }
        if let Some(parent) = parent {
            let parent = bold(parent);
            roff.control("SH", ["SEE ALSO"])
                .text([parent, roman(format!("({SECTION})"))]);
        }
        roff
    }
}

/// Lines with something and, two blanks apart, what it is.
fn list(roff: &mut Roff, lines: &[String]) {
    for (number, line) in lines.iter().enumerate() {
        if number > 0 {
            roff.control("PP", []);
        }
        let line = line.trim();
        let (thing, meaning) = line.split_once("  ").unwrap_or((line, ""));
        roff.text([bold(thing)]);
        if !meaning.is_empty() {
            roff.control("RS", ["4"])
                .text([roman(meaning.trim())])
                .control("RE", []);
        }
    }
}
