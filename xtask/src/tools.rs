//! Programs from crates.io that the tasks use: the user's own where they fit, else one below target/tools.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::commands::{self, cargo};

/// A subcommand of cargo.
#[derive(Debug)]
pub(crate) struct Tool {
    /// The crate, and the program.
    pub(crate) name: &'static str,
    /// The version that we are written for; a later patch level of it does as well.
    pub(crate) version: &'static str,
}

impl Tool {
    /// How a person gets it.
    pub(crate) fn advice(&self) -> String {
        format!(
            "cargo install --locked {} --version {}",
            self.name, self.version
        )
    }

    /// One that fits and is there, ours or the user's.
    pub(crate) fn find(&self) -> Option<PathBuf> {
        let own = directory().join("bin").join(self.name);
        if own.is_file() && self.is_recorded() {
            return Some(own);
        }
        let users = commands::find(self.name)?;
        let version = self.version_of(&users)?;
        if self.fits(&version) {
            return Some(users);
        }
        println!(
            "{} is version {version}; {} is wanted",
            users.display(),
            self.version
        );
        None
    }

    /// One that fits, which is built below target/tools when there is none.
    ///
    /// # Errors
    /// It cannot be built.
    pub(crate) fn provide(&self) -> Result<PathBuf> {
        if let Some(tool) = self.find() {
            return Ok(tool);
        }
        let install = [
            "install",
            "--locked",
            self.name,
            "--version",
            self.version,
            "--root",
        ];
        commands::succeed(cargo(install).arg(directory()))
            .with_context(|| format!("install {}, which this task needs", self.name))?;
        self.find()
            .with_context(|| format!("{} was installed and is not there", self.name))
    }

    /// Whether cargo has written down that ours is of this version. Not every tool can be asked.
    fn is_recorded(&self) -> bool {
        let recorded = format!("\"{} {} (", self.name, self.version);
        fs::read_to_string(directory().join(".crates.toml"))
            .is_ok_and(|record| record.contains(&recorded))
    }

    fn version_of(&self, tool: &Path) -> Option<String> {
        let output = Command::new(tool).arg("--version").output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        Some(text.trim().strip_prefix(self.name)?.trim().to_owned())
    }

    /// Whether a version will do: the same up to the patch level, and no older.
    fn fits(&self, version: &str) -> bool {
        let parts = |version: &str| -> Option<(String, u64)> {
            let (series, patch) = version.rsplit_once('.')?;
            Some((series.to_owned(), patch.parse().ok()?))
        };
        match (parts(version), parts(self.version)) {
            (Some((series, patch)), Some((wanted_series, wanted_patch))) => {
                series == wanted_series && patch >= wanted_patch
            }
            _ => false,
        }
    }
}

fn directory() -> PathBuf {
    crate::top().join("target/tools")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_later_patch_level_of_the_version_fits() {
        let tool = Tool {
            name: "cargo-x",
            version: "0.20.2",
        };
        for (version, expected) in [
            ("0.20.2", true),
            ("0.20.9", true),
            ("0.20.1", false),
            ("0.19.2", false),
            ("0.21.2", false),
            ("0.20.2-rc.1", false),
            ("", false),
        ] {
            assert_eq!(tool.fits(version), expected, "{version}");
        }
    }
}
