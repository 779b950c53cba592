//! What the guest environment works with: the metadata server, the clock, sshd, sudo.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Verdict;
use crate::accounts::location::{KeysFiles, Location, locate};
use crate::accounts::sudoers;
use crate::metadata::{Client, MetadataError, Query};
use crate::system::http_date;
use crate::system::processes::{self, Invocation};
use crate::system::root::Root;
use crate::system::time;

/// How far the clock may be from the metadata server's, in seconds, before keys expire at a wrong time that matters.
const CLOCK_TOLERANCE: i64 = 60;

/// How long a program that is asked may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Whether the metadata server answers and is genuine, and whether the clock agrees with it.
pub(super) fn metadata(client: &Client) -> Vec<Verdict> {
    let (mut server, mut clock) = (Verdict::new("metadata"), Verdict::new("clock"));
    let asked = Instant::now();
    let answer = client.get("instance/id", &Query::text());
    let took = asked.elapsed().as_millis();
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            server.fail(error.to_string(), remedy(&error));
            return vec![server];
        }
    };
    server.note = format!("{} answers in {took} ms", client.address());
    match answer.date.as_deref().and_then(http_date::parse) {
        Some(date) => compare_clocks(&mut clock, time::now(), date),
        None => clock.note = "the metadata server does not say what time it is".into(),
    }
    vec![server, clock]
}

fn remedy(error: &MetadataError) -> &'static str {
    match error {
        MetadataError::NotGenuine { .. } | MetadataError::Redirected(_) => {
            "something else answers in its place: look for a proxy, a firewall rule or a route for the address \
             (`ip route get 169.254.169.254`)"
        }
        MetadataError::Unreachable { .. } => {
            "see that an interface is up and has a route to it (`ip route get 169.254.169.254`), and that no firewall \
             is in the way"
        }
        _ => {
            "ask it yourself (`gce-guest metadata get instance/id`); if it stays like this, look at its side"
        }
    }
}

/// Keys expire by this machine's clock.
fn compare_clocks(clock: &mut Verdict, here: Timestamp, there: Timestamp) {
    let ahead = here.as_second() - there.as_second();
    let apart = ahead.abs();
    clock.note = format!("{apart} s from the metadata server's");
    if apart > CLOCK_TOLERANCE {
        let (direction, early) = if ahead > 0 {
            ("ahead of", "early")
        } else {
            ("behind", "late")
        };
        clock.fail(
            format!("the clock is {apart} s {direction} the metadata server's, so keys expire too {early}"),
            "set the clock and run a time daemon (chrony, systemd-timesyncd or ntpd)",
        );
    }
}

/// Whether sshd can start and takes the keys that we write.
pub(super) fn sshd() -> Verdict {
    let mut verdict = Verdict::new("sshd");
    if processes::find("sshd").is_none() {
        verdict.warn(
            "sshd is not installed, so keys are of no use",
            "install the OpenSSH server",
        );
        return verdict;
    }
    let configured =
        match processes::run_successfully(&Invocation::new("sshd", ["-T"]).within(DEADLINE)) {
            Ok(finished) => String::from_utf8_lossy(&finished.stdout).into_owned(),
            Err(error) => {
                verdict.fail(
                    error.to_string(),
                    "mend it until `sshd -t` says nothing; `ssh-keygen -A` makes host keys",
                );
                return verdict;
            }
        };
    let is_off = |line: &str| line.eq_ignore_ascii_case("pubkeyauthentication no");
    if configured.lines().any(is_off) {
        verdict.fail(
            "sshd takes no keys at all (PubkeyAuthentication no)",
            "remove that line from /etc/ssh/sshd_config and what it includes, and reload sshd",
        );
    }
    // Any user will do: where it depends on the user, sshd is asked about this one.
    let keys_files = KeysFiles::read(&Root::machine());
    let patterns = keys_files.patterns("nobody");
    let patterns = patterns.unwrap_or_else(|| keys_files.written().to_owned());
    match locate(&patterns, "nobody", 65534, Path::new("/home/nobody")) {
        Location::BelowHome(names) => {
            let file: std::path::PathBuf = names.iter().collect();
            verdict.note(format!("takes keys from ~/{}", file.display()))
        }
        Location::Refused(reason) => {
            verdict.fail(
                reason,
                "let AuthorizedKeysFile in sshd_config name .ssh/authorized_keys, and reload sshd",
            );
            verdict
        }
    }
}

/// Whether sudo accepts its files, and ours is among them.
pub(super) fn sudoers() -> Verdict {
    let mut verdict = Verdict::new("sudoers");
    if processes::find("visudo").is_none() {
        verdict.warn(
            "sudo is not installed, so nobody gets root's rights by it",
            "install sudo",
        );
        return verdict;
    }
    let ours = Path::new(sudoers::DIRECTORY).join(sudoers::FILE);
    match processes::run(&Invocation::new("visudo", ["-c"]).within(DEADLINE)) {
        Err(error) => verdict.fail(
            error.to_string(),
            "run `visudo -c` and see what it waits for",
        ),
        Ok(finished) if !finished.status.success() => {
            let text = [finished.stderr, finished.stdout].concat();
            let text = String::from_utf8_lossy(&text).into_owned();
            let line = text.lines().find(|line| !line.contains("parsed OK"));
            verdict.fail(
                format!("sudo refuses its configuration: {}", line.unwrap_or("no reason given").trim()),
                "mend the file that it names with `visudo -f FILE`; for mode and owner, chmod 0440 and chown root:root",
            );
        }
        Ok(finished) => {
            let text = String::from_utf8_lossy(&finished.stdout).into_owned();
            let is_read = text
                .lines()
                .any(|line| line.starts_with(&format!("{}:", ours.display())));
            if ours.exists() && !is_read {
                verdict.fail(
                    format!("sudo does not read {}", ours.display()),
                    format!(
                        "add the line `@includedir {}` to /etc/sudoers with visudo",
                        sudoers::DIRECTORY
                    ),
                );
            }
        }
    }
    verdict.note("visudo finds nothing wrong")
}
