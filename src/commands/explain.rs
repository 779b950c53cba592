//! `gce-guest explain option`: what an option is set to, by whom, what it means and what it affects.

use std::process::ExitCode;
use std::time::Duration;

use super::input;
use super::output::{paragraph, print};
use super::tell;
use crate::config;
use crate::config::options::{OptionSpec, Status};
use crate::system::root::Root;

/// How long the metadata server may take to answer a person.
const METADATA_DEADLINE: Duration = Duration::from_secs(3);

/// Runs `gce-guest explain option`: what it is set to, by whom, what it means and what it affects.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn option(name: &str) -> anyhow::Result<ExitCode> {
    let option = match config::find_option(name) {
        Ok(option) => option,
        Err(fix) => {
            tell(&format!("gce-guest: no option '{name}': {fix}"));
            return Ok(ExitCode::from(2));
        }
    };
    let metadata = input::read_within(METADATA_DEADLINE);
    let loaded = match &metadata {
        Ok(input) => config::load(&Root::machine(), input::metadata_config(&input.document)),
        Err(_) => config::load(&Root::machine(), None),
    };
    let mut page = String::new();
    let mut say = |first: &str, text: &str| page += &paragraph(&format!("{first:<9}  "), text);
    say("option", &option.path());
    if let Some(effective) = loaded.option(option.section, option.name) {
        let shown = |value: &str| {
            if value.is_empty() {
                "(empty)".to_owned()
            } else {
                value.to_owned()
            }
        };
        say("value", &shown(&effective.value));
        say("from", &effective.origin.to_string());
        for overridden in &effective.overridden {
            say("not from", &overridden.to_string());
        }
        say("default", &shown(&option.default_text()));
    }
    say("meaning", &plain(option.meaning));
    say("affects", &affects(option));
    for finding in loaded
        .warnings
        .iter()
        .filter(|finding| finding.text.contains(option.name))
    {
        say("problem", &finding.to_string());
    }
    if let Err(error) = metadata {
        say(
            "note",
            &format!("google-instance-configs in metadata is left out: {error:#}"),
        );
    }
    print(&page)?;
    Ok(ExitCode::SUCCESS)
}

/// What an option has an effect on, and when.
fn affects(option: &OptionSpec) -> String {
    let what = match option.status {
        Status::Nothing(why) => return format!("nothing here: {why}"),
        Status::Deprecated(_) | Status::Effective => match option.section {
            "Accounts" | "OSLogin" => "users, their keys and rights (the accounts manager)",
            "IpForwarding" | "NetworkInterfaces" | "addressManager" => {
                "routes and interfaces (the network manager)"
            }
            "MetadataScripts" => {
                return "startup and shutdown scripts, from their next run on".into();
            }
            "InstanceSetup" | "Instance" => return "set-up, at the next boot".into(),
            "Clock" => "the clock",
            "Hostname" => "the host name",
            _ => "the agent as a whole",
        },
    };
    let instead = match option.status {
        Status::Deprecated(instead) => format!("; deprecated, use {instead}"),
        _ => String::new(),
    };
    format!("{what}, when the agent starts or reads the configuration again (SIGHUP){instead}")
}

/// A meaning without the signs of its document.
fn plain(meaning: &str) -> String {
    meaning.replace('`', "")
}
