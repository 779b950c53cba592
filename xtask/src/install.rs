//! `cargo xtask install`: the program and its legacy names under DIR/usr/bin, man pages and shell completions under
//! DIR/usr/share. Packages and other tools build on this layout.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::commands::{self, cargo};

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

/// The name of the one binary.
const PROGRAM: &str = "gce-guest";

/// The predecessors' program names (spec/core.md 0.3, spec/beyond.md 4.1): links to the one binary.
const LEGACY_NAMES: [&str; 9] = [
    "google_accounts_daemon",
    "google_network_daemon",
    "google_clock_skew_daemon",
    "google_instance_setup",
    "google_metadata_script_runner",
    "google_guest_agent",
    "google_set_hostname",
    "google_set_multiqueue",
    "google_optimize_local_ssd",
];

/// Builds the release and lays it out.
///
/// # Errors
/// The build fails, a file of somebody else is in the way, or the file system refuses.
pub(crate) fn run(options: &Options) -> Result<()> {
    commands::succeed(&mut cargo(["build", "--release", "--package", PROGRAM]))?;
    let binary = built()?;
    let manual = make_manual(&binary.with_file_name("manual"))?;
    for line in lay_out(&binary, &manual, &options.root, options.force)? {
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

/// Files to install, by their paths below usr/share.
type Shared = BTreeMap<PathBuf, Vec<u8>>;

/// Has the man pages and completions made in `directory` and reads them. A build for tests does: what makes them is not
/// part of the program, and would be built a second time for a release.
fn make_manual(directory: &Path) -> Result<Shared> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))?;
    }
    let run = [
        "run",
        "--quiet",
        "--package",
        PROGRAM,
        "--example",
        "manual",
    ];
    commands::succeed(cargo(run).arg("--").arg(directory))?;
    let mut files = Shared::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(current) = open.pop() {
        let told = || format!("read {}", current.display());
        for entry in fs::read_dir(&current).with_context(told)? {
            let path = entry.with_context(told)?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                let contents =
                    fs::read(&path).with_context(|| format!("read {}", path.display()))?;
                files.insert(path.strip_prefix(directory)?.to_path_buf(), contents);
            }
        }
    }
    Ok(files)
}

/// Installs `binary` and the links below `root`, and what is shared; returns a line for each thing that it did or left.
///
/// Nothing is changed before everything that could be in the way has been looked at. Pages and completions have our name
/// and nobody else's: they are replaced.
fn lay_out(binary: &Path, shared: &Shared, root: &Path, force: bool) -> Result<Vec<String>> {
    let directory = root.join("usr/bin");
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let program = directory.join(PROGRAM);
    let contents = fs::read(binary).with_context(|| format!("read {}", binary.display()))?;
    let links = LEGACY_NAMES.map(|name| directory.join(name));
    refuse_foreign(&program, &links, force)?;
    let mut lines = vec![install_file(&contents, &program, 0o755)?];
    for link in &links {
        lines.push(install_link(link)?);
    }
    for (path, contents) in shared {
        let path = root.join("usr/share").join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        lines.push(install_file(contents, &path, 0o644)?);
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
fn refuse_foreign(program: &Path, links: &[PathBuf], force: bool) -> Result<()> {
    let mut foreign = Vec::new();
    let mut impossible = Vec::new();
    for path in std::iter::once(program).chain(links.iter().map(PathBuf::as_path)) {
        match present(path)? {
            Present::Nothing => {}
            Present::File if path == program => {}
            Present::Link(_) if path != program => {}
            Present::File | Present::Link(_) => foreign.push(path.display().to_string()),
            Present::Other => impossible.push(path.display().to_string()),
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

fn install_link(link: &Path) -> Result<String> {
    let shown = link.display();
    let before = present(link)?;
    if before == Present::Link(PathBuf::from(PROGRAM)) {
        return Ok(format!("unchanged  {shown} -> {PROGRAM}"));
    }
    put(link, |temporary| symlink(PROGRAM, temporary))?;
    Ok(match before {
        Present::Link(old) => format!("linked     {shown} -> {PROGRAM} (was {})", old.display()),
        Present::File => format!("linked     {shown} -> {PROGRAM} (replaced a file)"),
        Present::Nothing | Present::Other => format!("linked     {shown} -> {PROGRAM}"),
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

    /// A directory with a stand-in for the built program and room for a root.
    fn scene() -> (TempDir, PathBuf, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let binary = directory.path().join("built");
        fs::write(&binary, "new program").expect("written");
        let root = directory.path().join("root");
        (directory, binary, root)
    }

    const PAGE: &str = "man/man8/gce-guest.8";

    fn shared() -> Shared {
        Shared::from([(PAGE.into(), b"page".to_vec())])
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
        let first = lay_out(&binary, &shared(), &root, false).expect("laid out");
        assert!(first.iter().all(|line| !line.starts_with("unchanged")));
        is_laid_out(&root);
        let second = lay_out(&binary, &shared(), &root, false).expect("laid out");
        assert!(second.iter().all(|line| line.starts_with("unchanged")));
        is_laid_out(&root);
    }

    #[test]
    fn older_links_and_an_older_program_are_replaced() {
        let (_keep, binary, root) = scene();
        fs::create_dir_all(root.join("usr/bin")).expect("made");
        symlink("/opt/old/agent", bin(&root, "google_guest_agent")).expect("linked");
        fs::write(bin(&root, PROGRAM), "old program").expect("written");
        let lines = lay_out(&binary, &shared(), &root, false).expect("laid out");
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
        let error = lay_out(&binary, &shared(), &root, false).expect_err("it is in the way");
        let told = error.to_string();
        assert!(
            told.contains("google_instance_setup") && told.contains("--force"),
            "{told}"
        );
        assert_eq!(fs::read(&foreign).expect("there"), b"python");
        assert!(!bin(&root, PROGRAM).exists());
        lay_out(&binary, &shared(), &root, true).expect("laid out");
        is_laid_out(&root);
    }

    #[test]
    fn a_directory_in_the_way_is_never_replaced() {
        let (_keep, binary, root) = scene();
        fs::create_dir_all(bin(&root, PROGRAM)).expect("made");
        assert!(lay_out(&binary, &shared(), &root, true).is_err());
        assert!(bin(&root, PROGRAM).is_dir());
    }
}
