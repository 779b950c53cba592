//! What the real useradd says of its settings.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::defaults::Defaults;
use super::{Unsuitable, suitability};
use crate::system::files::Stamp;
use crate::system::processes::{self, Invocation};
use crate::system::time;

/// Where its settings are (useradd(8), FILES).
const FILES: [&str; 2] = ["/etc/default/useradd", "/etc/login.defs"];

/// The answer of `useradd -D`. It is a process, half as long as a user takes otherwise; so it counts as long as the program and
/// its settings are the same files.
#[derive(Debug, Default)]
pub struct UseraddSettings(Mutex<Option<(Vec<Stamp>, String)>>);

impl UseraddSettings {
    /// Asks already, if the answer is not known: whoever does this beside other work need not wait later.
    pub fn ask_ahead(&self) {
        // Whoever needs it asks again and says what is wrong.
        let _ = suitability::system_program("useradd").and_then(|program| self.answer(&program));
    }

    /// The settings for new users.
    pub(super) fn defaults(&self) -> Result<Defaults, Unsuitable> {
        let answer = self.answer(&suitability::system_program("useradd")?)?;
        Defaults::parse(&suitability::read_text("/etc/login.defs")?, &answer)
    }

    /// The answer of this program.
    fn answer(&self, program: &Path) -> Result<String, Unsuitable> {
        // A poisoned lock is whole: nothing in here can panic between two writes.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = time::now().as_second();
        let stamps: Vec<Stamp> = [program]
            .into_iter()
            .chain(FILES.map(Path::new))
            .map(|path| Stamp::of(path, now))
            .collect();
        let is_settled = stamps.iter().all(Stamp::is_settled);
        if let Some((before, answer)) = &*known
            && is_settled
            && *before == stamps
        {
            return Ok(answer.clone());
        }
        let answer = processes::run_successfully(&Invocation::new(program, ["-D"]));
        let answer = answer.map_err(|error| Unsuitable::new(error.to_string()))?;
        let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
        *known = Some((stamps, answer.clone()));
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files::PrivateDirectory;
    use std::ffi::OsStr;

    #[test]
    fn it_is_asked_again_when_the_program_is_another() {
        let place = PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-useradd-").unwrap();
        let (program, calls) = (place.path().join("useradd"), place.path().join("calls"));
        // By a shell: what other tests start at the same moment would have our descriptor too for a while, and a program that
        // somebody may write to cannot be run.
        let write = |says: &str| {
            let new = place.path().join("new");
            let text = format!("#!/bin/sh\necho x >> {}\necho {says}\n", calls.display());
            let script = "printf %s \"$1\" > \"$2\" && chmod 755 \"$2\" && mv \"$2\" \"$3\"";
            let words: [&OsStr; 6] = [
                "-c".as_ref(),
                script.as_ref(),
                "sh".as_ref(),
                text.as_ref(),
                new.as_ref(),
                program.as_ref(),
            ];
            processes::run_successfully(&Invocation::new("sh", words)).unwrap();
        };
        let settings = UseraddSettings::default();
        let ask = || settings.answer(&program).unwrap();
        write("one");
        assert_eq!((ask(), ask()), ("one\n".into(), "one\n".into()));
        let asked = || std::fs::read_to_string(&calls).unwrap().lines().count();
        assert_eq!(
            asked(),
            2,
            "a file that changed a moment ago proves nothing"
        );
        write("two");
        assert_eq!(ask(), "two\n");
        let wait_until_settled = || {
            while !Stamp::of(&program, time::now().as_second()).is_settled() {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        };
        wait_until_settled();
        let before = asked();
        assert_eq!((ask(), ask()), ("two\n".into(), "two\n".into()));
        assert_eq!(asked(), before + 1);
        write("three");
        assert_eq!(ask(), "three\n");
    }
}
