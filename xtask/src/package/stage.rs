//! A layout on disk, as the packers want it.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};

use crate::layout::{Layout, What};

/// Writes a layout below the new directory `root`, with the modes of the table whatever the umask is.
pub(super) fn write(layout: &Layout, root: &Path) -> Result<()> {
    if root.exists() {
        fs::remove_dir_all(root).with_context(|| format!("remove {}", root.display()))?;
    }
    make_directory(root)?;
    for (path, what) in layout {
        let mut parent = root.to_path_buf();
        for part in path.parent().unwrap_or(Path::new("")) {
            parent.push(part);
            if !parent.is_dir() {
                make_directory(&parent)?;
            }
        }
        let path = root.join(path);
        let told = || format!("write {}", path.display());
        match what {
            What::Link(target) => symlink(target, &path).with_context(told)?,
            What::File { contents, .. } => {
                fs::write(&path, contents).with_context(told)?;
                fs::set_permissions(&path, Permissions::from_mode(what.mode()))
                    .with_context(told)?;
            }
        }
    }
    Ok(())
}

/// Holds others up that want to use the same staging directory, as long as the value lives.
pub(super) fn lock(scratch: &Path) -> Result<File> {
    let told = || format!("lock {}", scratch.display());
    fs::create_dir_all(scratch).with_context(told)?;
    let file = File::open(scratch).with_context(told)?;
    flock(&file, FlockOperation::LockExclusive).with_context(told)?;
    Ok(file)
}

fn make_directory(path: &Path) -> Result<()> {
    let told = || format!("create {}", path.display());
    fs::create_dir_all(path).with_context(told)?;
    fs::set_permissions(path, Permissions::from_mode(0o755)).with_context(told)
}

/// The same layout with its man pages compressed, as both families of distributions want them.
pub(super) fn compressed(layout: Layout) -> Result<Layout> {
    let mut compressed = Layout::new();
    for (path, what) in layout {
        match what {
            What::File { contents, .. } if path.starts_with("usr/share/man") => {
                let mut name = path.into_os_string();
                name.push(".gz");
                compressed.insert(name.into(), file(gzip(&contents)?));
            }
            other => {
                compressed.insert(path, other);
            }
        }
    }
    Ok(compressed)
}

/// A file that is no program.
pub(super) fn file(contents: Vec<u8>) -> What {
    What::File {
        contents,
        executable: false,
    }
}

/// Compressed by gzip(1), without a name and a time in it.
pub(super) fn gzip(contents: &[u8]) -> Result<Vec<u8>> {
    let mut child = Command::new("gzip")
        .args(["-9", "--no-name", "--stdout"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("run gzip")?;
    let mut input = child.stdin.take().context("gzip reads nothing")?;
    let contents = contents.to_vec();
    // From a thread: gzip may want its output read before it has read its input.
    let writer = std::thread::spawn(move || input.write_all(&contents));
    let output = child.wait_with_output().context("read from gzip")?;
    let written = writer.join().is_ok_and(|result| result.is_ok());
    if !written || !output.status.success() {
        bail!("gzip failed ({})", output.status);
    }
    Ok(output.stdout)
}
