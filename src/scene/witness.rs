//! What other programs find on the machine: nobody needs to believe the agent's own words.

use super::screen::{Screen, Speaker};
use crate::system::processes::{self, Invocation};

/// Runs a command and shows it with what it prints. A program that is not installed is left out.
pub(super) fn ask(screen: &Screen, words: &[&str]) {
    let Some((program, arguments)) = words.split_first() else {
        return;
    };
    if processes::find(program).is_none() {
        return;
    }
    screen.say(Speaker::Machine, &format!("$ {}", words.join(" ")), None);
    let answer = match processes::run(&Invocation::new(*program, arguments.iter().copied())) {
        Ok(finished) if finished.stdout.trim_ascii().is_empty() => finished.stderr,
        Ok(finished) => finished.stdout,
        Err(error) => error.to_string().into_bytes(),
    };
    for line in String::from_utf8_lossy(&answer)
        .lines()
        .filter(|line| !line.trim().is_empty())
    {
        screen.say(Speaker::Machine, &format!("  {}", line.trim_end()), None);
    }
}
