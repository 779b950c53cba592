//! Following a metadata file that the user edits: what changed in it, and what the agent did about it.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use super::screen::{Screen, Speaker};
use super::stage::Stage;
use crate::emulator::file::{self, Follower};
use crate::system::channel;
use crate::system::signals;

/// How often the agent's own words, without a change of the file, are looked for.
const GLANCE: Duration = Duration::from_millis(100);

/// What the file says anew, or why it cannot be used.
type News = Result<(), String>;

/// Follows until Ctrl-C.
pub(super) fn follow(path: &Path, screen: Screen) -> anyhow::Result<()> {
    let stage = Stage::open(screen, file::read(path)?)?;
    let (news, received) = channel::channel::<Option<News>>();
    let interrupt = news.clone();
    signals::forward(move |request| {
        if request == signals::Request::Stop {
            // The loop may have ended already.
            let _ = interrupt.send(None);
        }
        true
    })
    .context("watch for Ctrl-C")?;
    let mut shown = tree(&stage);
    let _follower = Follower::start(path, &stage.live, move |result| {
        // The loop may have ended already.
        let _ = news.send(Some(result.map_err(|error| error.to_string())));
    })
    .context("watch the file")?;
    stage.screen.prose(
        "The agent works on a throw-away copy of this machine. Edit the file; Ctrl-C ends it.",
    );
    let reaction = stage.settle()?;
    stage
        .screen
        .say(Speaker::Metadata, "the file as it is", None);
    stage.show(&reaction);
    loop {
        match received.recv_timeout(GLANCE) {
            Ok(Some(Ok(()))) => {
                let tree = tree(&stage);
                let changes = differences(&shown, &tree);
                shown = tree;
                if changes.is_empty() {
                    continue;
                }
                for change in changes {
                    stage.screen.say(Speaker::Metadata, &change, None);
                }
                let reaction = stage.settle()?;
                stage.show(&reaction);
            }
            Ok(Some(Err(problem))) => stage.screen.say(Speaker::Metadata, &problem, None),
            Ok(None) | Err(channel::RecvTimeoutError::Disconnected) => return Ok(()),
            Err(channel::RecvTimeoutError::Timeout) => overhear(&stage),
        }
    }
}

/// Shows what the agent does by itself: a route that it mends, a key that expires.
fn overhear(stage: &Stage) {
    while let Some(line) = stage.next_line(Duration::ZERO) {
        if line.level != "DEBUG" {
            stage
                .screen
                .say(Speaker::Agent, line.text.trim_end_matches('.'), None);
        }
    }
}

fn tree(stage: &Stage) -> Value {
    stage.live.read(|store| store.tree().clone())
}

/// What differs, a line for each place, without values: they may be secret, and are long.
fn differences(before: &Value, after: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(before, after, "", &mut found);
    found
}

fn compare(before: &Value, after: &Value, path: &str, found: &mut Vec<String>) {
    match (before, after) {
        _ if before == after => {}
        (Value::Object(before), Value::Object(after)) => {
            let below = |name: &str| {
                if path.is_empty() {
                    name.to_owned()
                } else {
                    format!("{path}/{name}")
                }
            };
            for (name, old) in before {
                match after.get(name) {
                    Some(new) => compare(old, new, &below(name), found),
                    None => found.push(format!("{} is gone", below(name))),
                }
            }
            let new = after.keys().filter(|name| !before.contains_key(*name));
            found.extend(new.map(|name| format!("{} is new", below(name))));
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (index, (old, new)) in before.iter().zip(after).enumerate() {
                compare(old, new, &format!("{path}/{index}"), found);
            }
        }
        _ => found.push(format!("{path} has changed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_are_named_by_their_place() {
        let before = json!({"instance": {"attributes": {"a": "1", "b": "2"}, "nics": [{"ips": ["x"]}]}, "id": 1});
        let after = json!({"instance": {"attributes": {"a": "9", "c": "3"}, "nics": [{"ips": ["x", "y"]}]}, "id": 1});
        assert_eq!(
            differences(&before, &after),
            [
                "instance/attributes/a has changed",
                "instance/attributes/b is gone",
                "instance/attributes/c is new",
                "instance/nics/0/ips has changed",
            ]
        );
        assert!(differences(&before, &before).is_empty());
    }
}
