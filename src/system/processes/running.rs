//! The programs that run on this machine, by name.

use std::io;
use std::path::Path;

use crate::system::files::{self, Directory};

/// The longest file of /proc that is read here, in bytes.
const LIMIT: u64 = 64 * 1024;

/// A program that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its process id.
    pub id: u32,
    /// Its name as the kernel keeps it: at most 15 bytes (proc(5), `comm`).
    pub name: String,
}

impl Running {
    /// The systemd service that it belongs to, such as `chrony.service`; `None` without one.
    #[must_use]
    pub fn service(&self) -> Option<String> {
        let groups = files::read_stream(Path::new(&format!("/proc/{}/cgroup", self.id)), LIMIT);
        service_of(&String::from_utf8_lossy(&groups.ok()?))
    }
}

/// The first program of one of these names. Those of containers are left out: they are not this machine's.
///
/// # Errors
/// /proc cannot be read.
pub fn find(names: &[&str]) -> io::Result<Option<Running>> {
    let proc = Directory::open(Path::new("/proc"))?;
    let own = namespace("self");
    for entry in proc.names()? {
        let Some(id) = entry.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // It may have ended meanwhile.
        let Ok(name) = files::read_stream(Path::new(&format!("/proc/{id}/comm")), LIMIT) else {
            continue;
        };
        let name = String::from_utf8_lossy(&name).trim_end().to_owned();
        if names.contains(&name.as_str()) && namespace(&id.to_string()) == own {
            return Ok(Some(Running { id, name }));
        }
    }
    Ok(None)
}

/// The process namespace of a process; `None` when nobody lets us know.
fn namespace(process: &str) -> Option<std::path::PathBuf> {
    let directory = Directory::open(Path::new(&format!("/proc/{process}/ns"))).ok()?;
    directory.read_link("pid".as_ref()).ok()
}

/// The service in the text of cgroup(7): the last component of a path that is one.
fn service_of(groups: &str) -> Option<String> {
    let paths = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let mut names = paths.filter_map(|path| path.rsplit('/').next());
    names
        .find(|name| name.ends_with(".service"))
        .map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_the_end_of_the_path() {
        for (groups, service) in [
            ("0::/system.slice/chrony.service\n", Some("chrony.service")),
            (
                "12:cpu:/\n1:name=systemd:/system.slice/ntp.service\n0::/\n",
                Some("ntp.service"),
            ),
            ("0::/user.slice/user-0.slice/session-1.scope\n", None),
            ("", None),
        ] {
            assert_eq!(service_of(groups).as_deref(), service, "{groups}");
        }
    }

    #[test]
    fn a_program_is_found_by_its_name() {
        let own = files::read_stream(Path::new("/proc/self/comm"), LIMIT).unwrap();
        let own = String::from_utf8(own).unwrap();
        let found = find(&["no-such-program", own.trim_end()]).unwrap();
        assert_eq!(found.unwrap().name, own.trim_end());
        assert_eq!(find(&["no-such-program"]).unwrap(), None);
    }
}
