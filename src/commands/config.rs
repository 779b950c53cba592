//! `gce-guest config`: what counts, where it comes from, what is wrong with it, and a safe way to change it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::output::counted;
use super::tell;
use crate::config::options::{self, OPTIONS, Status};
use crate::config::policy::Function;
use crate::config::{self, Effective, Finding, Loaded, Origin, Severity, Source, documentation};
use crate::metadata::{Client, Endpoint};
use crate::system::json::object;
use crate::system::{files, root::Root};

/// How long the metadata server may take to answer a person.
const METADATA_DEADLINE: Duration = Duration::from_secs(3);

/// The largest text that `--metadata-file` takes, in bytes.
const METADATA_LIMIT: u64 = 1 << 20;

/// Arguments of `gce-guest config`.
#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = "\
Exit status: 0 done; each command's own --help says what else there is.

Examples:
  gce-guest config show --origin     what counts, and where it is from
  gce-guest config check             what is wrong, and how to put it right
  gce-guest config set Daemons.clock_skew_daemon false

Files:
  /etc/default/instance_configs.cfg.template   what you set
  /etc/default/instance_configs.cfg.distro     what the distribution sets
  /etc/default/instance_configs.cfg            all of it, for other programs")]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The directory that stands for /.
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show every option with the value that counts.
    #[command(after_help = "\
Exit status: 0 shown, what is wrong with the files is told on standard error;
1 the metadata that was asked for cannot be read.

Examples:
  gce-guest config show             the values that count, as a file
  gce-guest config show --origin    each with the file and line it comes from
  gce-guest config show --metadata  with google-instance-configs as well
  gce-guest config show --json      everything, for programs")]
    Show(Show),
    /// Print the value of one option.
    #[command(after_help = "\
Exit status: 0 printed, 1 the metadata that was asked for cannot be read, 2 no
option has the name.

Examples:
  gce-guest config get Accounts.groups")]
    Get(Get),
    /// Say what is wrong with the configuration, line by line, and how to put it right.
    #[command(after_help = "\
Exit status: 0 nothing but perhaps warnings, 1 warnings with --strict, or the
metadata that was asked for cannot be read, 2 something that is written does not
count.

Examples:
  gce-guest config check                       the files of this machine
  gce-guest config check --strict my.template  one file, before it is installed")]
    Check(Check),
    /// Set an option in /etc/default/instance_configs.cfg.template, leaving every other line of it alone.
    #[command(after_help = "\
Exit status: 0 set; 2 not set, with the reason.

Examples:
  gce-guest config set Daemons.clock_skew_daemon false")]
    Set(Set),
    /// Write /etc/default/instance_configs.cfg with the values that count, for programs that look for them there.
    ///
    /// Set-up does so at boot. What somebody changed in the file is kept.
    #[command(after_help = "\
Exit status: 0 written or up to date, 1 not written; the file is then as it was.

Examples:
  gce-guest config write --metadata")]
    Write(WriteFile),
    /// Print docs/configuration.md.
    #[command(hide = true)]
    Docs,
}

#[derive(Args, Debug)]
#[group(skip)]
struct Show {
    /// The values that count, in the format of the files; this is the default.
    #[arg(long, conflicts_with = "origin")]
    effective: bool,
    /// Where each value comes from, and which sources it overrides.
    #[arg(long)]
    origin: bool,
    /// Everything, as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    metadata: MetadataArguments,
}

#[derive(Args, Debug)]
#[group(skip)]
struct Get {
    /// The option.
    #[arg(value_name = "SECTION.OPTION")]
    option: String,
    #[command(flatten)]
    metadata: MetadataArguments,
}

#[derive(Args, Debug)]
#[group(skip)]
struct Check {
    /// Files to check, each by itself; without any, the files of this machine together.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Fail on warnings too.
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    metadata: MetadataArguments,
}

#[derive(Args, Debug)]
#[group(skip)]
struct Set {
    /// The option.
    #[arg(value_name = "SECTION.OPTION")]
    option: String,
    /// Its value.
    #[arg(allow_hyphen_values = true)]
    value: String,
}

#[derive(Args, Debug)]
#[group(skip)]
struct WriteFile {
    #[command(flatten)]
    metadata: MetadataArguments,
}

#[derive(Args, Debug)]
#[group(skip)]
struct MetadataArguments {
    /// Ask the metadata server for google-instance-configs; without it that source is left out.
    #[arg(long)]
    metadata: bool,
    /// Take this file's text for google-instance-configs.
    #[arg(long, value_name = "FILE", conflicts_with = "metadata")]
    metadata_file: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// The metadata that was asked for cannot be read, or standard output cannot be written.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let root = Root::at(&arguments.root);
    let mut output = io::stdout().lock();
    let status = match &arguments.command {
        Command::Show(show) => run_show(show, &root, &mut output),
        Command::Get(get) => run_get(get, &root, &mut output),
        Command::Check(check) => run_check(check, &root, &mut output),
        Command::Set(set) => run_set(set, &root, &mut output),
        Command::Write(write) => run_write(write, &root, &mut output),
        Command::Docs => output
            .write_all(documentation::render().as_bytes())
            .map(|()| ExitCode::SUCCESS)
            .map_err(Into::into),
    }?;
    output.flush().context("cannot write standard output")?;
    Ok(status)
}

fn run_write(write: &WriteFile, root: &Root, output: &mut impl Write) -> anyhow::Result<ExitCode> {
    let metadata = write.metadata.read()?;
    let written = config::write_instance_configs(root, metadata.as_deref(), None)?;
    let outcome = if written { "written" } else { "up to date" };
    writeln!(output, "{}: {outcome}", config::INSTANCE_CONFIGS)?;
    Ok(ExitCode::SUCCESS)
}

fn run_show(show: &Show, root: &Root, output: &mut impl Write) -> anyhow::Result<ExitCode> {
    let metadata = show.metadata.read()?;
    let loaded = config::load(root, metadata.as_deref());
    if show.json {
        let text = serde_json::to_string_pretty(&as_json(&loaded, show.metadata.is_read()))?;
        writeln!(output, "{text}")?;
        return Ok(ExitCode::SUCCESS);
    }
    if show.origin {
        write_origins(&loaded, output)?;
    } else {
        write_effective(&loaded, output)?;
    }
    for finding in &loaded.warnings {
        tell(&finding.to_string());
    }
    if !show.metadata.is_read() {
        tell("note: google-instance-configs in metadata is left out; --metadata asks for it");
    }
    Ok(ExitCode::SUCCESS)
}

fn run_get(get: &Get, root: &Root, output: &mut impl Write) -> anyhow::Result<ExitCode> {
    let option = match config::find_option(&get.option) {
        Ok(option) => option,
        Err(fix) => {
            tell(&format!("gce-guest: no option '{}': {fix}", get.option));
            return Ok(ExitCode::from(2));
        }
    };
    let metadata = get.metadata.read()?;
    let loaded = config::load(root, metadata.as_deref());
    let value = loaded
        .option(option.section, option.name)
        .map_or("", |option| option.value.as_str());
    writeln!(output, "{value}")?;
    Ok(ExitCode::SUCCESS)
}

fn run_check(check: &Check, root: &Root, output: &mut impl Write) -> anyhow::Result<ExitCode> {
    let findings: Vec<Finding> = if check.files.is_empty() {
        let metadata = check.metadata.read()?;
        config::load(root, metadata.as_deref()).warnings
    } else {
        let each = check.files.iter();
        each.flat_map(|file| config::check_file(file)).collect()
    };
    for finding in &findings {
        let severity = severity_word(finding.severity);
        writeln!(output, "{severity}: {finding}")?;
    }
    let count = |severity| {
        findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    if errors + warnings == 0 {
        writeln!(output, "nothing is wrong")?;
    } else {
        let (errors, warnings) = (counted(errors, "error"), counted(warnings, "warning"));
        writeln!(output, "{errors}, {warnings}")?;
    }
    Ok(match (errors, warnings) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) if check.strict => ExitCode::from(1),
        (0, _) => ExitCode::SUCCESS,
        _ => ExitCode::from(2),
    })
}

fn run_set(set: &Set, root: &Root, output: &mut impl Write) -> anyhow::Result<ExitCode> {
    let option = match config::set_in_template(root, &set.option, &set.value) {
        Ok(option) => option,
        Err(error) => {
            tell(&format!("gce-guest: {error}"));
            return Ok(ExitCode::from(2));
        }
    };
    writeln!(output, "{} is set in {}", option.path(), config::TEMPLATE)?;
    let loaded = config::load(root, None);
    let origin = loaded
        .option(option.section, option.name)
        .map(|option| option.origin);
    match option.status {
        Status::Nothing(why) => writeln!(output, "it means nothing here: {why}")?,
        _ if origin.is_some_and(|origin| origin.locked) => {
            let origin = origin.map_or_else(String::new, |origin| origin.to_string());
            writeln!(output, "it does not count: {origin} is stronger")?;
        }
        _ => writeln!(output, "reload the agent (SIGHUP) to put it to use")?,
    }
    Ok(ExitCode::SUCCESS)
}

impl MetadataArguments {
    fn is_read(&self) -> bool {
        self.metadata || self.metadata_file.is_some()
    }

    /// The text of `google-instance-configs` where it was asked for and is there.
    fn read(&self) -> anyhow::Result<Option<String>> {
        if let Some(file) = &self.metadata_file {
            let bytes = files::read(file, METADATA_LIMIT)
                .and_then(|bytes| bytes.ok_or_else(|| io::ErrorKind::NotFound.into()))
                .with_context(|| format!("cannot read {}", file.display()))?;
            return Ok(Some(String::from_utf8_lossy(&bytes).into_owned()));
        }
        if !self.metadata {
            return Ok(None);
        }
        let document = Client::new(Endpoint::compute_engine())
            .with_deadline(METADATA_DEADLINE)
            .get_document()
            .context("cannot read google-instance-configs")?;
        let text = config::metadata_config(
            document.instance.attributes.present(),
            document.project.attributes.present(),
        );
        Ok(text.map(String::from))
    }
}

/// Options with an effect, and the others where somebody set them.
fn shown(loaded: &Loaded) -> impl Iterator<Item = &Effective> {
    OPTIONS
        .iter()
        .zip(&loaded.options)
        .filter(|(option, effective)| {
            !matches!(option.status, Status::Nothing(_))
                || effective.origin.source != Source::BuiltIn
        })
        .map(|(_, effective)| effective)
}

fn write_effective(loaded: &Loaded, output: &mut impl Write) -> io::Result<()> {
    let mut file = config::ConfigFile::default();
    for option in shown(loaded) {
        // What cannot be written in this format was read from it, or is built in: there is none.
        let _ = file.set_option(option.section, option.name, &option.value, true);
    }
    output.write_all(file.to_text().as_bytes())
}

fn write_origins(loaded: &Loaded, output: &mut impl Write) -> io::Result<()> {
    for option in shown(loaded) {
        let value = option.value.replace('\n', " ");
        writeln!(output, "{}.{} = {value}", option.section, option.name)?;
        writeln!(output, "    {}", option.origin)?;
        for overridden in &option.overridden {
            writeln!(output, "    not {overridden}")?;
        }
    }
    for function in loaded.settings.policy.disabled() {
        writeln!(output, "[Lock] disables {}", function.word())?;
    }
    Ok(())
}

fn as_json(loaded: &Loaded, metadata_read: bool) -> Value {
    let disabled = loaded.settings.policy.disabled().map(Function::word);
    let metadata = if metadata_read { "read" } else { "left out" };
    object([
        ("options", shown(loaded).map(option_json).collect()),
        ("disabled", disabled.collect()),
        ("metadata", metadata.into()),
        (
            "findings",
            loaded.warnings.iter().map(finding_json).collect(),
        ),
    ])
}

fn option_json(option: &Effective) -> Value {
    let known = options::find(option.section, option.name);
    let has_effect = !matches!(known.map(|known| known.status), Some(Status::Nothing(_)));
    object([
        ("section", option.section.into()),
        ("option", option.name.into()),
        ("value", option.value.clone().into()),
        (
            "default",
            known.map(options::OptionSpec::default_text).into(),
        ),
        ("effect", has_effect.into()),
        ("origin", origin_json(&option.origin)),
        (
            "overridden",
            option.overridden.iter().map(origin_json).collect(),
        ),
    ])
}

fn origin_json(origin: &Origin) -> Value {
    object([
        ("source", origin.source.word().into()),
        ("place", origin.source.place().into()),
        ("line", origin.line.into()),
        ("locked", origin.locked.into()),
    ])
}

fn finding_json(finding: &Finding) -> Value {
    object([
        ("severity", severity_word(finding.severity).into()),
        ("file", finding.file.clone().into()),
        ("line", finding.line.into()),
        ("text", finding.text.clone().into()),
        ("problem", finding.problem.clone().into()),
        ("fix", finding.fix.clone().into()),
    ])
}

fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}
