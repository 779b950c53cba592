//! `cargo xtask package`: the release as .deb.
//!
//! It is made of the layout (`layout`), in a staging directory, by the packer of the distribution: `dpkg-deb` decides what is
//! a valid package, and gives the same bytes for the same files. Metadata and scripts are in packaging/debian; what stands
//! between @ in them is filled in here.

mod deb;
mod documents;
mod release;
mod stage;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::commands;
use crate::layout::{self, Format, Layout};

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

/// What to build.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Package this program instead of building the release
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// The processor to build for
    #[arg(long, value_enum, default_value_t = Architecture::Amd64)]
    architecture: Architecture,
    /// Where the packages go
    #[arg(long, value_name = "DIR", default_value = "target/packages")]
    out: PathBuf,
}

/// The processors of the platform, by their names in Debian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Architecture {
    Amd64,
    Arm64,
}

impl Architecture {
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
    layout: Layout,
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

/// Builds the packages and says what came of it.
///
/// # Errors
/// A build or a packer fails, a packer is missing, or two builds differ.
pub(crate) fn run(options: &Options) -> Result<()> {
    for path in build(options)? {
        let size = path.metadata()?.len();
        println!("{} ({size} bytes)", path.display());
    }
    Ok(())
}

/// Builds the packages and returns where they are.
///
/// # Errors
/// Those of [`run`].
pub(crate) fn build(options: &Options) -> Result<Vec<PathBuf>> {
    let top = crate::top();
    let time = time(&top)?;
    let scratch = top.join("target/package-stage");
    let binary = match &options.binary {
        Some(binary) => release::stripped(binary, &scratch)?,
        None => release::build(&top, options.architecture)?,
    };
    let mut layout = layout::programs(&binary)?;
    layout.extend(layout::manual(&scratch.join("manual"))?);
    layout.extend(layout::system(Format::Deb)?);
    layout.extend(documents::all(time)?);
    let package = Package {
        architecture: options.architecture,
        time,
        c_library: release::c_library(&binary)?,
        layout: stage::compressed(layout)?,
    };
    let out = top.join(&options.out);
    fs::create_dir_all(&out).with_context(|| format!("create {}", out.display()))?;
    Ok(vec![deb::build(&package, &scratch, &out)?])
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
