//! The project's own tasks: `cargo xtask test`, `install`, `package`, `bench` and `workloads`.
//!
//! Nothing in here is part of the program. What the tasks need of the machine is looked up when they run, so that a fresh
//! clone needs the Rust toolchain and nothing else.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer's tool and not the program: it runs cargo, writes files and talks to a person"
)]

mod bench;
mod boot_test;
mod commands;
mod deny;
mod install;
mod layout;
mod libtest;
mod oldest;
mod package;
mod packages;
mod test;
mod tools;
mod verdict;
mod workloads;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run every check, after installing what the tests need where it may
    Test(test::Options),
    /// Build the release and lay it out under DIR/usr, with the legacy names, man pages and completions
    Install(install::Options),
    /// Boot machines with the package, and show how long everything takes
    BootTest(boot_test::Options),
    /// Measure speed and size beside the predecessors, and write docs/benchmarks.md
    Bench(bench::Options),
    /// Count the instructions of fixed pieces of work, and compare them with those recorded
    Workloads(workloads::Options),
    #[command(hide = true)]
    BenchInside(bench::InsideOptions),
    /// Build the release as .deb and as .rpm
    Package(package::Options),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Test(options) => test::run(&options),
        Task::BootTest(options) => boot_test::run(&options),
        Task::Install(options) => install::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Bench(options) => bench::run(&options),
        Task::Workloads(options) => workloads::run(&options),
        Task::BenchInside(options) => bench::run_inside(&options).map(|()| ExitCode::SUCCESS),
        Task::Package(options) => package::run(&options).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("cargo xtask: {error:#}");
        ExitCode::FAILURE
    })
}

/// The top of the repository.
fn top() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_top_is_where_the_licence_is() {
        assert!(top().join("LICENSE").is_file());
    }
}
