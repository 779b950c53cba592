//! What runs on the machine, as /proc tells it (proc(5)).

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::files;

/// The largest command line that is read, in bytes.
const LIMIT: u64 = 64 * 1024;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub id: u32,
    /// The name of its program, cut to 15 bytes.
    pub name: String,
    /// Its command line, the program first. Empty for a thread of the kernel.
    pub arguments: Vec<String>,
}

impl Process {
    /// Whether it runs a program of this name, itself or by an interpreter (`python3 /usr/bin/NAME`).
    #[must_use]
    pub fn runs(&self, name: &str) -> bool {
        let words = self.arguments.iter().take(2);
        words
            .filter_map(|word| Path::new(word).file_name())
            .any(|word| word == name)
    }

    /// Whether it is this very program, under whatever name.
    #[must_use]
    pub fn is_like_us(&self) -> bool {
        is_like_us(self.id)
    }
}

/// Every process that can be seen; one that ends meanwhile is left out.
#[must_use]
pub fn all() -> Vec<Process> {
    let names = files::Directory::open(Path::new("/proc")).and_then(|open| open.names());
    let ids = names.unwrap_or_default().into_iter();
    ids.filter_map(|name| name.to_str()?.parse().ok())
        .filter_map(process)
        .collect()
}

fn process(id: u32) -> Option<Process> {
    let directory = place(id);
    let read = |name: &str| files::read_stream(&directory.join(name), LIMIT).ok();
    let line = read("cmdline")?;
    let words = line.split(|byte| *byte == 0);
    Some(Process {
        id,
        name: String::from_utf8_lossy(&read("comm")?)
            .trim_end()
            .to_owned(),
        arguments: words
            .filter(|word| !word.is_empty())
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect(),
    })
}

/// The name of our program.
const OURS: &str = "gce-guest";

/// Whether a process runs the program that this one runs. An update may have put another file in its place meanwhile, so
/// its name counts as well. The kernel shows nobody without `CAP_SYS_PTRACE` what a process runs that has acted as another
/// user, as the agent does in home directories; the name that it goes by has to do then.
#[must_use]
pub fn is_like_us(id: u32) -> bool {
    let identity = |program: &Path| {
        let status = program.metadata().ok()?;
        Some((status.dev(), status.ino()))
    };
    let program = place(id).join("exe");
    let named = std::fs::read_link(&program).unwrap_or_default();
    let name = named.file_name().unwrap_or_default().to_string_lossy();
    // The kernel says so of a file that has lost its name (proc(5)).
    let is_ours = name.trim_end_matches(" (deleted)") == OURS;
    let own = identity(Path::new("/proc/self/exe"));
    let goes_by = || files::read_stream(&place(id).join("comm"), LIMIT).unwrap_or_default();
    is_ours
        || own.is_some() && identity(&program) == own
        || named.as_os_str().is_empty() && goes_by().trim_ascii_end() == OURS.as_bytes()
}

fn place(id: u32) -> PathBuf {
    Path::new("/proc").join(id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_among_them_and_like_us() {
        let own = std::process::id();
        let all = all();
        let process = all.iter().find(|process| process.id == own).unwrap();
        assert!(process.is_like_us());
        let program = std::env::current_exe().unwrap();
        let name = program.file_name().unwrap().to_str().unwrap();
        assert!(process.runs(name), "{process:?}");
        assert!(!process.runs("google_guest_agent"));
    }

    #[test]
    fn a_script_runs_under_the_name_of_its_interpreter() {
        let process = Process {
            id: 1,
            name: "python3".into(),
            arguments: ["/usr/bin/python3", "/usr/bin/google_accounts_daemon", "-d"]
                .map(String::from)
                .to_vec(),
        };
        assert!(process.runs("google_accounts_daemon") && process.runs("python3"));
        assert!(!process.runs("-d"));
    }
}
