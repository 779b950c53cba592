//! argv (and argv[0]) -> command -> exit status, nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    gce_guest::cli::run(std::env::args_os())
}
