//! The scene that is played without further arguments: the life of a user, an address and a script, in four acts.

use std::time::Instant;

use super::actor::PROGRAM;
use super::screen::{Screen, Speaker};
use super::stage::Stage;
use super::visitor::Visitor;
use super::witness;
use crate::system::processes::{self, Invocation};

/// What the script of the third act says.
const STARTUP_SCRIPT: &str = "#!/bin/sh\necho \"hello from $(hostname), running as $(id -un)\"\n";

/// Plays it.
pub(super) fn play(stage: &Stage) -> anyhow::Result<()> {
    let screen = &stage.screen;
    screen.prose("A throw-away copy of this machine, with a metadata server at 169.254.169.254");
    screen.prose("and the real agent in it. Nothing outside changes; Ctrl-C ends it.");
    stage.settle()?;
    let visitor = Visitor::arrive();
    act(screen, "1. A key for alice appears in metadata");
    let key = format!("alice:{}", visitor.public_key());
    stage.change(
        "instance/attributes/ssh-keys gets a key for alice",
        "instance/attributes/ssh-keys",
        key,
    )?;
    witness::ask(screen, &["id", "-nG", "alice"]);
    witness::ask(screen, &["cat", "/etc/sudoers.d/google_sudoers"]);
    visitor.log_in(screen);
    act(screen, "2. An address is forwarded to this machine");
    let addresses = serde_json::json!(["203.0.113.10"]);
    let path = "instance/networkInterfaces/0/forwardedIps";
    stage.change(
        "instance/network-interfaces/0/forwarded-ips gets 203.0.113.10",
        path,
        addresses,
    )?;
    witness::ask(
        screen,
        &["ip", "route", "show", "table", "local", "proto", "66"],
    );
    act(screen, "3. The owner has a startup script");
    run_startup_script(stage)?;
    act(screen, "4. Alice's key is taken away");
    stage.change(
        "instance/attributes/ssh-keys is empty again",
        "instance/attributes/ssh-keys",
        "",
    )?;
    witness::ask(screen, &["id", "-nG", "alice"]);
    witness::ask(screen, &["cat", "/home/alice/.ssh/authorized_keys"]);
    visitor.log_in(screen);
    screen.prose("");
    screen.prose("Your turn:  gce-guest try --metadata FILE.json   edit the file, watch the agent");
    screen.prose("            gce-guest try -- bash                a shell in there");
    Ok(())
}

fn act(screen: &Screen, title: &str) {
    screen.prose("");
    screen.prose(title);
}

/// Puts a script into metadata and runs it as the unit does at boot.
fn run_startup_script(stage: &Stage) -> anyhow::Result<()> {
    stage.change(
        "instance/attributes/startup-script gets a script",
        "instance/attributes/startup-script",
        STARTUP_SCRIPT,
    )?;
    let started = Instant::now();
    let runner = processes::run(&Invocation::new(PROGRAM, ["scripts", "startup", "--debug"]))?;
    let took = started.elapsed();
    let said = String::from_utf8_lossy(&runner.stderr);
    let shown: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix("startup-script: INFO "))
        .collect();
    for (index, line) in shown.iter().enumerate() {
        stage.screen.say(
            Speaker::Script,
            line,
            (index + 1 == shown.len()).then_some(took),
        );
    }
    Ok(())
}
