//! Writes the man pages and the completions below a directory that stands for usr/share. `cargo xtask install` runs it; it
//! is an example so that the program itself does not carry what makes them.
//!
//!     cargo run --example manual -- DIRECTORY
#![allow(
    clippy::disallowed_methods,
    reason = "not part of the program: it writes new files into a directory of its caller"
)]

mod pages;

use std::path::PathBuf;

use anyhow::Context;

fn main() -> anyhow::Result<()> {
    let directory = std::env::args_os().nth(1);
    let directory = PathBuf::from(directory.context("say where: manual DIRECTORY")?);
    for (path, contents) in pages::files().context("make the pages")? {
        let path = directory.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("create {}", parent.display()))?;
        }
        std::fs::write(&path, contents).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
