//! The account commands as argument vectors. Pure.
//!
//! With the built-in commands one `useradd` does what three commands did. A command that an administrator changed is
//! honoured exactly: it runs, in the predecessors' order, with the predecessors' place-holders (spec/core.md 6.5).

use super::sudoers;
use crate::config::settings::Accounts;
use crate::system::processes::Invocation;

/// The commands that create a user with supplementary groups and the sudo right, in order.
#[must_use]
pub fn create(settings: &Accounts, user: &str, groups: &[String]) -> Vec<Invocation> {
    let default = Accounts::default();
    let mut at_once = Vec::new();
    if settings.usermod_cmd == default.usermod_cmd {
        at_once.extend_from_slice(groups);
    }
    if settings.gpasswd_add_cmd == default.gpasswd_add_cmd {
        at_once.push(sudoers::GROUP.to_owned());
    }
    let mut commands = Vec::new();
    if settings.useradd_cmd == default.useradd_cmd {
        let mut arguments = vec![
            "-m".to_owned(),
            "-s".into(),
            "/bin/bash".into(),
            "-p".into(),
            "*".into(),
        ];
        if !at_once.is_empty() {
            arguments.extend(["-G".into(), at_once.join(",")]);
        }
        arguments.push(user.to_owned());
        commands.push(Invocation::new("useradd", arguments));
        if settings.usermod_cmd != default.usermod_cmd {
            commands.push(fill(&settings.usermod_cmd, user, "", groups));
        }
        if settings.gpasswd_add_cmd != default.gpasswd_add_cmd {
            commands.push(give_sudo(settings, user));
        }
    } else {
        commands.push(fill(&settings.useradd_cmd, user, "", groups));
        commands.push(fill(&settings.usermod_cmd, user, "", groups));
        commands.push(give_sudo(settings, user));
    }
    commands
}

/// The command that deletes a user.
#[must_use]
pub fn delete(settings: &Accounts, user: &str) -> Invocation {
    fill(&settings.userdel_cmd, user, "", &[])
}

/// The command that creates the sudoers group.
#[must_use]
pub fn create_sudoers_group(settings: &Accounts) -> Invocation {
    fill(&settings.groupadd_cmd, "", sudoers::GROUP, &[])
}

/// The command that puts a user into the sudoers group.
#[must_use]
pub fn give_sudo(settings: &Accounts, user: &str) -> Invocation {
    fill(&settings.gpasswd_add_cmd, user, sudoers::GROUP, &[])
}

/// The command that takes a user out of the sudoers group.
#[must_use]
pub fn take_sudo(settings: &Accounts, user: &str) -> Invocation {
    fill(&settings.gpasswd_remove_cmd, user, sudoers::GROUP, &[])
}

/// Splits a template into words at blanks, then fills the place-holders into each: a value never becomes a second word.
fn fill(template: &str, user: &str, group: &str, groups: &[String]) -> Invocation {
    let mut words = template.split_whitespace().map(|word| {
        let literal = word.replace("{{", "\u{1}").replace("}}", "\u{2}");
        let filled = literal
            .replace("{user}", user)
            .replace("{groups}", &groups.join(","))
            .replace("{group}", group);
        filled.replace('\u{1}', "{").replace('\u{2}', "}")
    });
    let program = words.next().unwrap_or_default();
    Invocation::new(program, words.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(commands: &[Invocation]) -> Vec<String> {
        commands.iter().map(Invocation::display).collect()
    }

    fn groups() -> Vec<String> {
        vec!["adm".into(), "video".into()]
    }

    #[test]
    fn the_built_in_commands_become_one() {
        let created = create(&Accounts::default(), "alice", &groups());
        assert_eq!(
            shown(&created),
            ["useradd -m -s /bin/bash -p * -G adm,video,google-sudoers alice"]
        );
        let created = create(&Accounts::default(), "alice", &[]);
        assert_eq!(
            shown(&created),
            ["useradd -m -s /bin/bash -p * -G google-sudoers alice"]
        );
    }

    #[test]
    fn changed_commands_are_honoured_exactly() {
        let settings = Accounts {
            useradd_cmd: "adduser --shell {{x}} {user}".into(),
            ..Accounts::default()
        };
        assert_eq!(
            shown(&create(&settings, "alice", &groups())),
            [
                "adduser --shell {x} alice",
                "usermod -G adm,video alice",
                "gpasswd -a alice google-sudoers"
            ]
        );
        let settings = Accounts {
            gpasswd_add_cmd: "pw  groupmod {group} -m {user}".into(),
            ..Accounts::default()
        };
        assert_eq!(
            shown(&create(&settings, "alice", &groups())),
            [
                "useradd -m -s /bin/bash -p * -G adm,video alice",
                "pw groupmod google-sudoers -m alice"
            ]
        );
        let settings = Accounts {
            usermod_cmd: "usermod -aG {groups} {user}".into(),
            ..Accounts::default()
        };
        assert_eq!(
            shown(&create(&settings, "alice", &groups())),
            [
                "useradd -m -s /bin/bash -p * -G google-sudoers alice",
                "usermod -aG adm,video alice"
            ]
        );
    }

    #[test]
    fn a_value_never_becomes_a_second_word_or_a_place_holder() {
        let command = fill("tool {user} {group}", "a b", "{user}", &[]);
        assert_eq!(command.arguments, ["a b", "{user}"]);
    }
}
