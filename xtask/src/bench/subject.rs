//! Who is measured, where their programs are, and how they are started.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Subject {
    /// This project's release.
    GceGuest,
    /// The three daemons of the PyPI package `google-compute-engine`.
    Python,
    /// Debian's `google-guest-agent`.
    Go,
}

impl Subject {
    /// All of them, in the order of the tables.
    pub(crate) const ALL: [Self; 3] = [Self::GceGuest, Self::Python, Self::Go];

    /// Its name on the command line and in what is printed between the processes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::GceGuest => "gce-guest",
            Self::Python => "python",
            Self::Go => "go",
        }
    }

    /// Its name for readers.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::GceGuest => "gce-guest",
            Self::Python => "Python daemons",
            Self::Go => "Go agent",
        }
    }

    /// The subject with this name.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|subject| subject.name() == name)
    }

    /// How many hanging GETs it holds when it has nothing to do: one for each process.
    pub(crate) fn watches(self) -> u64 {
        match self {
            Self::Python => 3,
            Self::GceGuest | Self::Go => 1,
        }
    }

    /// What keeps the machine in line: the commands of its daemons.
    pub(crate) fn daemons(self, places: &Places) -> Vec<Command> {
        match self {
            Self::GceGuest => vec![places.gce_guest(&["agent"])],
            Self::Python => ["accounts", "network", "clock_skew"]
                .iter()
                .map(|name| places.python(&format!("google_{name}_daemon"), &[]))
                .collect(),
            Self::Go => vec![places.go("google_guest_agent", &[])],
        }
    }

    /// What runs the owner's startup scripts.
    pub(crate) fn script_runner(self, places: &Places) -> Command {
        match self {
            Self::GceGuest => places.gce_guest(&["scripts", "startup"]),
            Self::Python => places.python(
                "google_metadata_script_runner",
                &["--script-type", "startup"],
            ),
            Self::Go => places.go("google_metadata_script_runner", &["startup"]),
        }
    }
}

/// Where the programs are, all below `target`.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    target: PathBuf,
}

impl Places {
    /// Those of this repository: `target` is the directory from which we run, whatever it is called.
    pub(crate) fn found() -> Self {
        let own = std::env::current_exe().unwrap_or_default();
        let target = own.ancestors().nth(2).unwrap_or(Path::new("target"));
        Self {
            target: target.to_path_buf(),
        }
    }

    /// The program of the packages, which is measured.
    pub(crate) fn release(&self) -> PathBuf {
        self.own().join("release/gce-guest")
    }

    /// The directory of what the benchmarks put down.
    pub(crate) fn own(&self) -> PathBuf {
        self.target.join("bench")
    }

    /// A copy of the release for sandboxes and the emulator: it shares no memory with the one that is measured.
    pub(crate) fn tool(&self) -> PathBuf {
        self.own().join("tool/gce-guest")
    }

    /// Where the copy of the shell script is that `--set-multiqueue` names.
    pub(crate) fn set_multiqueue(&self) -> PathBuf {
        self.own().join("set_multiqueue")
    }

    /// Where programs that others wrote are unpacked.
    pub(crate) fn foreign(&self) -> PathBuf {
        self.target.join("foreign-clients")
    }

    /// Whether a subject's programs are there.
    pub(crate) fn has(&self, subject: Subject) -> bool {
        let program = match subject {
            Subject::GceGuest => self.release(),
            Subject::Python => self.foreign().join("venv/bin/google_accounts_daemon"),
            Subject::Go => self
                .foreign()
                .join("debian/root/usr/bin/google_guest_agent"),
        };
        program.is_file()
    }

    pub(crate) fn gce_guest(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.release());
        command.args(arguments);
        command
    }

    /// By the interpreter, because the first line of a script names the place where the environment was made.
    pub(crate) fn python(&self, script: &str, arguments: &[&str]) -> Command {
        let bin = self.foreign().join("venv/bin");
        let mut command = Command::new(bin.join("python"));
        command.arg(bin.join(script)).args(arguments);
        command
    }

    pub(crate) fn go(&self, program: &str, arguments: &[&str]) -> Command {
        let bin = self.foreign().join("debian/root/usr/bin");
        let mut command = Command::new(bin.join(program));
        command.args(arguments);
        command
    }
}
