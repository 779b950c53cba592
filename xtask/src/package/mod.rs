//! `cargo xtask package`: the release as .deb and as .rpm.
//!
//! Both are made of one layout (`layout`), laid out once in a staging directory, by the packers of the distributions:
//! `dpkg-deb` and `rpmbuild` decide what is a valid package, and both give the same bytes for the same files. Metadata and
//! scripts are in packaging/debian and packaging/rpm; what stands between @ in them is filled in here.

mod deb;
mod documents;
mod licences;
mod release;
mod reproducible;
mod rpm;
mod stage;
mod standard_library;
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use self::licences::Crate;
use crate::commands;
use crate::layout::{self, Format, Layout};
use crate::verdict::Verdict;

/// What follows the version in a package's: raised when only the packaging changes.
const REVISION: &str = "1";

/// Who stands behind a package, unless DEBFULLNAME and DEBEMAIL say who builds it.
const MAINTAINER: (&str, &str) = ("gce-guest maintainers", "maintainers@gce-guest.example");

/// The packages whose place this one takes, under the names that they have had in distributions and in Google's own.
const PREDECESSORS: [&str; 8] = [
    "gce-compute-image-packages",
    "google-compute-daemon",
    "google-compute-engine",
    "google-compute-engine-guest-configs",
    "google-guest-agent",
    "google-startup-scripts",
    "python-google-compute-engine",
    "python3-google-compute-engine",
];

/// What others may depend on when they want one of these.
const PROVIDED: [&str; 3] = [
    "google-compute-engine",
    "google-guest-agent",
    "python3-google-compute-engine",
];

/// What to build.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only this format (may be given more than once)
    #[arg(long, value_name = "FORMAT", value_enum)]
    only: Vec<Format>,
    /// Package this program instead of building the release, for a trial: stripped, and compressed in a hurry
    #[arg(long, value_name = "FILE", conflicts_with = "check_reproducible")]
    binary: Option<PathBuf>,
    /// The processor to build for
    #[arg(long, value_enum, default_value_t = Architecture::native())]
    architecture: Architecture,
    /// Where the packages go
    #[arg(long, value_name = "DIR", default_value = "target/packages")]
    out: PathBuf,
    /// Print what would be in the packages, with modes and sizes, and build none
    #[arg(long)]
    list: bool,
    /// Build everything a second time, from a copy of the sources at another place, and compare the bytes
    #[arg(long)]
    check_reproducible: bool,
}

/// The processors of the platform, by their names in Debian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Architecture {
    Amd64,
    Arm64,
}

impl Architecture {
    /// That of the machine on which we run.
    fn native() -> Self {
        if cfg!(target_arch = "aarch64") {
            Self::Arm64
        } else {
            Self::Amd64
        }
    }

    fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    fn rpm(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    fn rust_target(self) -> String {
        format!("{}-unknown-linux-gnu", self.rpm())
    }
}

/// What both formats are made of.
#[derive(Debug)]
struct Package {
    architecture: Architecture,
    /// The time that counts as the packages', in seconds since 1970.
    time: u64,
    /// The oldest C library with everything that the program asks of it, such as `2.34`.
    c_library: String,
    /// Whether this is only a trial, which need not be small.
    trial: bool,
    /// The terms of all that is in the program, as one expression.
    licences: String,
    layout: Layout,
}

impl Options {
    fn formats(&self) -> Vec<Format> {
        [Format::Deb, Format::Rpm]
            .into_iter()
            .filter(|format| self.only.is_empty() || self.only.contains(format))
            .collect()
    }
}

impl Package {
    fn version() -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    fn maintainer() -> String {
        let or = |name: &str, other: &str| std::env::var(name).unwrap_or_else(|_| other.to_owned());
        format!(
            "{} <{}>",
            or("DEBFULLNAME", MAINTAINER.0),
            or("DEBEMAIL", MAINTAINER.1)
        )
    }

    /// The units that are enabled: those that say where they belong.
    fn units(&self) -> Vec<String> {
        // A template is enabled by whoever has an instance of it.
        let is_template = |path: &Path| path.to_string_lossy().contains("@.");
        let has_place = |what: &layout::What| match what {
            layout::What::File { contents, .. } => contents
                .split(|byte| *byte == b'\n')
                .any(|line| line == b"[Install]"),
            layout::What::Link(_) => false,
        };
        let inside = |path: &Path| path.parent() == Some(Path::new(layout::UNITS));
        self.layout
            .iter()
            .filter(|(path, what)| inside(path) && !is_template(path) && has_place(what))
            .filter_map(|(path, _)| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect()
    }

    /// The scripts of init systems without units.
    fn init_scripts(&self) -> Vec<String> {
        self.layout
            .keys()
            .filter(|path| path.parent() == Some(Path::new("etc/init.d")))
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect()
    }
}

/// Does what the options say.
///
/// # Errors
/// A build or a packer fails, a packer is missing, or two builds differ.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.list {
        return list(options);
    }
    let paths = build(options)?;
    for path in &paths {
        println!(
            "package        {} ({} bytes)",
            path.display(),
            path.metadata()?.len()
        );
    }
    if options.check_reproducible {
        reproducible::check(options, &paths)?;
    }
    Ok(())
}

/// Builds the packages as a step of the checks, and tries their program. That two builds are the same is not tried there: a release takes minutes.
///
/// # Errors
/// Those of [`run`], a program that does not do its work, and errors that lintian finds.
pub(crate) fn check() -> Result<Verdict> {
    let options = Options {
        only: Vec::new(),
        binary: None,
        architecture: Architecture::native(),
        out: PathBuf::from("target/packages"),
        list: false,
        check_reproducible: false,
    };
    let paths = build(&options)?;
    release::try_out(
        &release::place(&crate::top(), options.architecture),
        &crate::top().join("target/package-stage"),
    )?;
    for path in &paths {
        if path.extension().is_some_and(|extension| extension == "deb") {
            require("lintian", "lintian")?;
            let lintian = ["--fail-on", "error", "--allow-root"];
            commands::succeed(Command::new("lintian").args(lintian).arg(path))?;
        }
    }
    Ok(Verdict::passed(format!("{} packages", paths.len())))
}

/// Builds the program of the packages for this machine, and returns where it is.
///
/// # Errors
/// It cannot be built, or is too large.
pub(crate) fn program() -> Result<PathBuf> {
    let architecture = Architecture::native();
    let linked = licences::linked(&architecture.rust_target())?;
    let top = crate::top();
    let _lock = stage::lock(&top.join("target/package-stage"))?;
    shipped(&top, architecture, &linked)
}

/// Builds the program of the packages, and looks at it.
fn shipped(top: &Path, architecture: Architecture, linked: &[Crate]) -> Result<PathBuf> {
    let release = release::build(top, architecture)?;
    release::examine(&release, linked)?;
    Ok(release.program)
}

/// Builds the packages and returns where they are.
///
/// # Errors
/// Those of [`run`].
pub(crate) fn build(options: &Options) -> Result<Vec<PathBuf>> {
    let top = crate::top();
    let linked = licences::linked(&options.architecture.rust_target())?;
    let scratch = top.join("target/package-stage");
    let _lock = stage::lock(&scratch)?;
    let binary = match &options.binary {
        Some(binary) => release::stripped(binary, &scratch)?,
        None => shipped(&top, options.architecture, &linked)?,
    };
    pack(options, &top, &binary, &linked, &top.join(&options.out))
}

/// Makes packages of what was built from the sources at `top`.
fn pack(
    options: &Options,
    top: &Path,
    binary: &Path,
    linked: &[Crate],
    out: &Path,
) -> Result<Vec<PathBuf>> {
    let scratch = top.join("target/package-stage");
    fs::create_dir_all(out).with_context(|| format!("create {}", out.display()))?;
    let mut paths = Vec::new();
    for format in options.formats() {
        let package = Package {
            architecture: options.architecture,
            time: time(&crate::top())?,
            c_library: release::c_library(binary)?,
            trial: options.binary.is_some(),
            licences: licences::expression(linked),
            layout: everything(format, top, binary, linked)?,
        };
        paths.push(match format {
            Format::Deb => deb::build(&package, &scratch, out)?,
            Format::Rpm => rpm::build(&package, &scratch, out)?,
        });
    }
    Ok(paths)
}

/// What is in a package.
fn everything(format: Format, top: &Path, binary: &Path, linked: &[Crate]) -> Result<Layout> {
    let mut layout = layout::programs(binary)?;
    layout.extend(layout::manual(
        &top.join("target/package-stage/manual"),
        format,
    )?);
    layout.extend(layout::system(format)?);
    layout.extend(documents::all(format, time(&crate::top())?, linked)?);
    stage::compressed(layout)
}

/// Prints what is in the packages. The program stands for itself: it need not be built for that.
fn list(options: &Options) -> Result<()> {
    let linked = licences::linked(&options.architecture.rust_target())?;
    for format in options.formats() {
        println!("{format:?} for {}:", options.architecture.debian());
        let own = std::env::current_exe().context("find the own program")?;
        for (path, what) in everything(format, &crate::top(), &own, &linked)? {
            let note = match &what {
                layout::What::Link(target) => format!("-> {}", target.display()),
                layout::What::File { .. } if layout::is_configuration(&path) => {
                    "configuration".to_owned()
                }
                layout::What::File { .. } => String::new(),
            };
            let line = format!("  {:o} /{} {note}", what.mode(), path.display());
            println!("{}", line.trim_end());
        }
    }
    Ok(())
}

/// The time of the packages: SOURCE_DATE_EPOCH, or that of the last commit.
fn time(top: &Path) -> Result<u64> {
    if let Ok(text) = std::env::var("SOURCE_DATE_EPOCH") {
        return text
            .parse()
            .with_context(|| format!("SOURCE_DATE_EPOCH is {text}, and no number of seconds"));
    }
    let output = Command::new("git")
        .args(["log", "-1", "--format=%ct"])
        .current_dir(top)
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    match text.map(|text| text.parse()) {
        Ok(Ok(time)) => Ok(time),
        _ => bail!(
            "no commit says of when this is: set SOURCE_DATE_EPOCH to the seconds since 1970 that the packages are to bear"
        ),
    }
}

/// A template of packaging/ with its @NAME@ filled in.
fn fill_in(template: &str, values: &[(&str, &str)]) -> Result<String> {
    let path = crate::top().join("packaging").join(template);
    let mut text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    for (name, value) in values {
        text = text.replace(&format!("@{name}@"), value);
    }
    Ok(text)
}

/// A program that this task cannot do without.
fn require(program: &str, package: &str) -> Result<()> {
    if commands::find(program).is_none() {
        bail!("{program} is not installed; it is in the package {package}");
    }
    Ok(())
}
