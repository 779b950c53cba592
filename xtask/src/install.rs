//! `cargo xtask install`: the program and its legacy names under DIR/usr/bin, man pages and shell completions under
//! DIR/usr/share. The packages have these and more (`cargo xtask package`).

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::commands::{self, cargo};
use crate::layout::{self, Format, Layout, PROGRAM, PROGRAMS, What};

/// Where to install.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The directory that stands for /, for instance a package's staging directory; / is the machine itself
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Replace files of others that have our names
    #[arg(long)]
    force: bool,
}

/// Builds the release and lays it out.
///
/// # Errors
/// The build fails, a file of somebody else is in the way, or the file system refuses.
pub(crate) fn run(options: &Options) -> Result<()> {
    commands::succeed(&mut cargo(["build", "--release", "--package", PROGRAM]))?;
    let binary = built()?;
    let mut layout = layout::programs(&binary)?;
    let manual = binary.with_file_name("manual");
    layout.extend(layout::manual(&manual, Format::Deb)?);
    for line in lay_out(&layout, &options.root, options.force)? {
        println!("{line}");
    }
    Ok(())
}

/// The release binary: beside the directory from which we run, whatever the target directory is called.
fn built() -> Result<PathBuf> {
    let own = std::env::current_exe().context("find the own program")?;
    let binary = own
        .parent()
        .and_then(Path::parent)
        .map(|target| target.join("release").join(PROGRAM))
        .filter(|binary| binary.is_file());
    binary.with_context(|| format!("no release/{PROGRAM} beside {}", own.display()))
}

/// Installs a layout below `root`; returns a line for each thing that it did or left.
///
/// Nothing is changed before every program that could be in the way has been looked at. Pages and completions have our name
/// and nobody else's: they are replaced.
fn lay_out(layout: &Layout, root: &Path, force: bool) -> Result<Vec<String>> {
    let programs: Vec<_> = layout
        .iter()
        .filter(|(path, _)| path.starts_with(PROGRAMS))
        .map(|(path, what)| (root.join(path), what))
        .collect();
    refuse_foreign(&programs, force)?;
    let mut lines = Vec::new();
    for (path, what) in layout {
        let path = root.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        lines.push(match what {
            What::File { contents, .. } => install_file(contents, &path, what.mode())?,
            What::Link(target) => install_link(&path, target)?,
        });
    }
    Ok(lines)
}

/// What has a name that we want.
#[derive(Debug, PartialEq, Eq)]
enum Present {
    Nothing,
    Link(PathBuf),
    File,
    Other,
}

fn present(path: &Path) -> Result<Present> {
    let looked = || format!("look at {}", path.display());
    let kind = match path.symlink_metadata() {
        Ok(status) => status.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Present::Nothing),
        Err(error) => return Err(error).with_context(looked),
    };
    Ok(if kind.is_symlink() {
        Present::Link(fs::read_link(path).with_context(looked)?)
    } else if kind.is_file() {
        Present::File
    } else {
        Present::Other
    })
}

/// A file that is the binary's is replaced, and so is a link that is a legacy name's. Anything else is somebody's.
fn refuse_foreign(programs: &[(PathBuf, &What)], force: bool) -> Result<()> {
    let mut foreign = Vec::new();
    let mut impossible = Vec::new();
    for (path, what) in programs {
        match (present(path)?, what) {
            (Present::Nothing, _)
            | (Present::File, What::File { .. })
            | (Present::Link(_), What::Link(_)) => {}
            (Present::File | Present::Link(_), _) => foreign.push(path.display().to_string()),
            (Present::Other, _) => impossible.push(path.display().to_string()),
        }
    }
    if !impossible.is_empty() {
        bail!(
            "neither a file nor a link, nothing was changed: {}",
            impossible.join(", ")
        );
    }
    if !foreign.is_empty() && !force {
        bail!(
            "not installed by us, nothing was changed: {}. Remove the package that they belong to, or replace them with --force",
            foreign.join(", ")
        );
    }
    Ok(())
}

fn install_file(contents: &[u8], path: &Path, mode: u32) -> Result<String> {
    let shown = path.display();
    if present(path)? == Present::File
        && fs::read(path)? == contents
        && path.metadata()?.permissions().mode() & 0o7777 == mode
    {
        return Ok(format!("unchanged  {shown}"));
    }
    // A program that runs cannot be written to, but its name can be given to another file.
    put(path, |temporary| {
        fs::write(temporary, contents)?;
        fs::set_permissions(temporary, Permissions::from_mode(mode))
    })?;
    Ok(format!("installed  {shown} ({} bytes)", contents.len()))
}

fn install_link(link: &Path, file: &Path) -> Result<String> {
    let (shown, target) = (link.display(), file.display());
    let before = present(link)?;
    if before == Present::Link(file.into()) {
        return Ok(format!("unchanged  {shown} -> {target}"));
    }
    put(link, |temporary| symlink(file, temporary))?;
    Ok(match before {
        Present::Link(old) => format!("linked     {shown} -> {target} (was {})", old.display()),
        Present::File => format!("linked     {shown} -> {target} (replaced a file)"),
        Present::Nothing | Present::Other => format!("linked     {shown} -> {target}"),
    })
}

/// Makes a temporary name by `make` and renames it to `path`, so that there is never a moment without the name.
fn put(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let made = make(&temporary).and_then(|()| fs::rename(&temporary, path));
    if made.is_err() {
        // The first error is the one to tell; what it left behind may not even exist.
        let _ = fs::remove_file(&temporary);
    }
    made.with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::layout::LEGACY_NAMES;

    /// A directory with a stand-in for the built program and room for a root.
    fn scene() -> (TempDir, PathBuf, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let binary = directory.path().join("built");
        fs::write(&binary, "new program").expect("written");
        let root = directory.path().join("root");
        (directory, binary, root)
    }

    const PAGE: &str = "man/man8/gce-guest.8";

    fn laid_out(binary: &Path, root: &Path, force: bool) -> Result<Vec<String>> {
        let page = What::File {
            contents: b"page".to_vec(),
            executable: false,
        };
        let mut layout = layout::programs(binary)?;
        layout.insert(Path::new("usr/share").join(PAGE), page);
        lay_out(&layout, root, force)
    }

    fn bin(root: &Path, name: &str) -> PathBuf {
        root.join("usr/bin").join(name)
    }

    fn is_laid_out(root: &Path) {
        let program = bin(root, PROGRAM);
        assert_eq!(fs::read(&program).expect("there"), b"new program");
        let mode = program.symlink_metadata().expect("there").permissions();
        assert_eq!(mode.mode() & 0o7777, 0o755);
        for name in LEGACY_NAMES {
            assert_eq!(
                fs::read_link(bin(root, name)).expect("a link"),
                Path::new(PROGRAM)
            );
        }
        let names = fs::read_dir(root.join("usr/bin")).expect("there");
        assert_eq!(names.count(), 1 + LEGACY_NAMES.len(), "and nothing else");
        let page = root.join("usr/share").join(PAGE);
        assert_eq!(fs::read(&page).expect("there"), b"page");
        let mode = page.symlink_metadata().expect("there").permissions();
        assert_eq!(mode.mode() & 0o7777, 0o644);
    }

    #[test]
    fn the_layout_is_complete_and_a_second_time_changes_nothing() {
        let (_keep, binary, root) = scene();
        let first = laid_out(&binary, &root, false).expect("laid out");
        assert!(first.iter().all(|line| !line.starts_with("unchanged")));
        is_laid_out(&root);
        let second = laid_out(&binary, &root, false).expect("laid out");
        assert!(second.iter().all(|line| line.starts_with("unchanged")));
        is_laid_out(&root);
    }

    #[test]
    fn older_links_and_an_older_program_are_replaced() {
        let (_keep, binary, root) = scene();
        fs::create_dir_all(root.join("usr/bin")).expect("made");
        symlink("/opt/old/agent", bin(&root, "google_guest_agent")).expect("linked");
        fs::write(bin(&root, PROGRAM), "old program").expect("written");
        let lines = laid_out(&binary, &root, false).expect("laid out");
        is_laid_out(&root);
        assert!(
            lines
                .iter()
                .any(|line| line.ends_with("(was /opt/old/agent)")),
            "{lines:?}"
        );
    }

    #[test]
    fn a_foreign_file_stops_everything_unless_forced() {
        let (_keep, binary, root) = scene();
        fs::create_dir_all(root.join("usr/bin")).expect("made");
        let foreign = bin(&root, "google_instance_setup");
        fs::write(&foreign, "python").expect("written");
        let error = laid_out(&binary, &root, false).expect_err("it is in the way");
        let told = error.to_string();
        assert!(
            told.contains("google_instance_setup") && told.contains("--force"),
            "{told}"
        );
        assert_eq!(fs::read(&foreign).expect("there"), b"python");
        assert!(!bin(&root, PROGRAM).exists());
        laid_out(&binary, &root, true).expect("laid out");
        is_laid_out(&root);
    }

    #[test]
    fn a_directory_in_the_way_is_never_replaced() {
        let (_keep, binary, root) = scene();
        fs::create_dir_all(bin(&root, PROGRAM)).expect("made");
        assert!(laid_out(&binary, &root, true).is_err());
        assert!(bin(&root, PROGRAM).is_dir());
    }
}
