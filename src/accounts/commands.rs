//! The account commands as argument vectors. Pure.
//!
//! With the built-in commands one `useradd` does what three commands did. A command that an administrator changed is
//! honoured exactly: it runs, in the predecessors' order, with the predecessors' place-holders (spec/core.md 6.5).

use super::plan::{Creation, NameClash};
use super::sudoers;
use crate::config::settings::Accounts;
use crate::system::processes::Invocation;

/// Whether users are created as we would, and by no command of an administrator's.
#[must_use]
pub fn are_built_in(settings: &Accounts) -> bool {
    let default = Accounts::default();
    settings.useradd_cmd == default.useradd_cmd
        && settings.usermod_cmd == default.usermod_cmd
        && settings.gpasswd_add_cmd == default.gpasswd_add_cmd
}

/// The commands that create a user, in order.
#[must_use]
pub fn create(settings: &Accounts, user: &str, creation: &Creation) -> Vec<Invocation> {
    let default = Accounts::default();
    let mut commands: Vec<Invocation> = creation
        .ids
        .into_iter()
        .filter_map(|(_, gid)| create_group(user, gid, creation))
        .collect();
    if settings.useradd_cmd != default.useradd_cmd {
        let mut useradd = fill(&settings.useradd_cmd, user, "", &creation.groups);
        if let Some((uid, gid)) = creation.ids {
            useradd.arguments.extend([
                "-u".into(),
                uid.to_string().into(),
                "-g".into(),
                gid.to_string().into(),
            ]);
        }
        commands.push(useradd);
        commands.push(fill(&settings.usermod_cmd, user, "", &creation.groups));
        commands.extend(creation.sudo.then(|| give_sudo(settings, user)));
        return commands;
    }
    let (usermod_changed, gpasswd_changed) = (
        settings.usermod_cmd != default.usermod_cmd,
        settings.gpasswd_add_cmd != default.gpasswd_add_cmd,
    );
    let mut at_once = if usermod_changed {
        Vec::new()
    } else {
        creation.groups.clone()
    };
    at_once.extend((creation.sudo && !gpasswd_changed).then(|| sudoers::GROUP.to_owned()));
    let mut arguments: Vec<String> = ["-m", "-s", "/bin/bash", "-p", "*"]
        .map(String::from)
        .to_vec();
    match (creation.ids, creation.clash) {
        (Some((uid, gid)), _) => {
            arguments.extend(["-u".into(), uid.to_string(), "-g".into(), gid.to_string()]);
        }
        (None, NameClash::None) => {}
        (None, NameClash::Unused) => arguments.extend(["-g".into(), user.to_owned()]),
        (None, NameClash::Taken) => arguments.push("-N".into()),
    }
    if !at_once.is_empty() {
        arguments.extend(["-G".into(), at_once.join(",")]);
    }
    arguments.push(user.to_owned());
    commands.push(Invocation::new("useradd", arguments));
    commands
        .extend(usermod_changed.then(|| fill(&settings.usermod_cmd, user, "", &creation.groups)));
    commands.extend((creation.sudo && gpasswd_changed).then(|| give_sudo(settings, user)));
    commands
}

/// The command that brings the group of a reused home back; it fails harmlessly where the id is in use already.
fn create_group(user: &str, gid: u32, creation: &Creation) -> Option<Invocation> {
    let gid = gid.to_string();
    (creation.clash == NameClash::None)
        .then(|| Invocation::new("groupadd", ["-f", "-g", gid.as_str(), user]))
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

    fn creation() -> Creation {
        Creation {
            groups: vec!["adm".into(), "video".into()],
            sudo: true,
            ..Creation::default()
        }
    }

    #[test]
    fn the_built_in_commands_become_one() {
        let bare = Creation {
            sudo: true,
            ..Creation::default()
        };
        for (creation, expected) in [
            (creation(), "-G adm,video,google-sudoers alice"),
            (bare.clone(), "-G google-sudoers alice"),
            (
                Creation {
                    sudo: false,
                    ..bare.clone()
                },
                "alice",
            ),
            (
                Creation {
                    clash: NameClash::Unused,
                    ..bare.clone()
                },
                "-g alice -G google-sudoers alice",
            ),
            (
                Creation {
                    clash: NameClash::Taken,
                    ..bare
                },
                "-N -G google-sudoers alice",
            ),
        ] {
            let created = create(&Accounts::default(), "alice", &creation);
            assert_eq!(
                shown(&created),
                [format!("useradd -m -s /bin/bash -p * {expected}")]
            );
        }
    }

    #[test]
    fn the_ids_of_a_reused_home_are_taken_over() {
        let creation = Creation {
            ids: Some((1005, 1006)),
            ..Creation::default()
        };
        let created = create(&Accounts::default(), "alice", &creation);
        let expected = [
            "groupadd -f -g 1006 alice",
            "useradd -m -s /bin/bash -p * -u 1005 -g 1006 alice",
        ];
        assert_eq!(shown(&created), expected);
    }

    #[test]
    fn changed_commands_are_honoured_exactly() {
        let settings = Accounts {
            useradd_cmd: "adduser --shell {{x}} {user}".into(),
            ..Accounts::default()
        };
        assert_eq!(
            shown(&create(&settings, "alice", &creation())),
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
            shown(&create(&settings, "alice", &creation())),
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
            shown(&create(&settings, "alice", &creation())),
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
