//! `gce-guest config` as a person or a script uses it: the real binary, its output and its exit status.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use gce_guest::config::{DISTRO, INSTANCE_CONFIGS, TEMPLATE, documentation};

use crate::root::TemporaryRoot;
use crate::support::vm::Vm;
use crate::support::{PROGRAM, in_sandbox};
use crate::witness::python_reads;

fn config(root: &TemporaryRoot, arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .arg("config")
        .args(arguments)
        .arg("--root")
        .arg(root.directory())
        .output()
        .unwrap()
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn a_standard_error_that_nobody_reads_changes_no_exit_status() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = Command::new(PROGRAM)
        .args(["config", "get", "Accounts.nothing"])
        .stderr(writer)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(2));
}

#[test]
fn the_documentation_is_the_table() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let present = fs::read_to_string(file).unwrap_or_default();
    assert!(
        present == documentation::render(),
        "docs/configuration.md is out of date: cargo run -- config docs > docs/configuration.md"
    );
}

#[test]
fn the_documentation_has_every_option_of_the_founding_table() {
    let text = documentation::render();
    for option in [
        "deprovision_remove",
        "groups",
        "useradd_cmd",
        "userdel_cmd",
        "usermod_cmd",
        "gpasswd_add_cmd",
        "gpasswd_remove_cmd",
        "groupadd_cmd",
        "accounts_daemon",
        "clock_skew_daemon",
        "ip_forwarding_daemon",
        "network_daemon",
        "host_key_types",
        "optimize_local_ssd",
        "network_enabled",
        "set_boto_config",
        "set_host_keys",
        "set_multiqueue",
        "ethernet_proto_id",
        "ip_aliases",
        "target_instance_ips",
        "default_shell",
        "run_dir",
        "startup",
        "shutdown",
        "setup",
        "ip_forwarding",
        "dhcp_command",
    ] {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("| `{option}` |")));
        assert!(
            line.is_some_and(|line| line.ends_with("| Python |")),
            "{option}"
        );
    }
}

#[test]
fn check_tells_each_mistake_with_its_line_and_exits_by_the_worst() {
    let root = TemporaryRoot::with(&[(TEMPLATE, "[Accounts]\ngroups = a\n")]);
    assert_eq!(
        said(&config(&root, &["check"])),
        (Some(0), "nothing is wrong\n".into(), String::new())
    );

    root.put(DISTRO, "[Daemons]\nnetwrk_daemon = no\n[Acounts]\n");
    let (status, out, _) = said(&config(&root, &["check"]));
    assert_eq!(status, Some(0));
    assert!(out.contains(&format!(
        "warning: {DISTRO}:2: no option of this name in [Daemons]: \"netwrk_daemon = no\"; did you mean network_daemon?\n"
    )), "{out}");
    assert!(out.contains(&format!("warning: {DISTRO}:3: ")), "{out}");
    assert!(out.contains("did you mean [Accounts]?"), "{out}");
    assert!(out.ends_with("0 errors, 2 warnings\n"), "{out}");
    assert_eq!(said(&config(&root, &["check", "--strict"])).0, Some(1));

    root.put(TEMPLATE, "[Accounts]\nreuse_homedir = perhaps\nprose\n");
    let (status, out, _) = said(&config(&root, &["check"]));
    assert_eq!(status, Some(2));
    assert!(
        out.contains(&format!(
            "error: {TEMPLATE}:2: not a value of Accounts.reuse_homedir: "
        )),
        "{out}"
    );
    assert!(
        out.contains(&format!(
            "error: {TEMPLATE}:3: the line has neither '=' nor ':': \"prose\"; write it as "
        )),
        "{out}"
    );
    assert_eq!(said(&config(&root, &["check", "--strict"])).0, Some(2));
}

#[test]
fn check_takes_files_by_themselves() {
    let root = TemporaryRoot::with(&[
        (TEMPLATE, "broken\n"),
        ("/good.template", "[Accounts]\ngroups = a\n"),
        ("/odd", "\u{feff}[Accounts]\nGroups = a\ngroups = b\n"),
    ]);
    let path = |name: &str| root.path(name).display().to_string();
    assert_eq!(
        said(&config(&root, &["check", &path("/good.template")])).0,
        Some(0)
    );
    let (status, out, _) = said(&config(
        &root,
        &["check", "--strict", &path("/good.template"), &path("/odd")],
    ));
    assert_eq!(status, Some(1));
    assert!(
        out.contains("/odd:1: the file begins with a byte-order mark"),
        "{out}"
    );
    assert!(
        out.contains("/odd:3: the option was already set in line 2"),
        "{out}"
    );
    let (status, out, _) = said(&config(&root, &["check", &path("/absent"), &path("/etc")]));
    assert_eq!(status, Some(2));
    assert!(out.contains("/absent: there is no such file"), "{out}");
    assert!(
        out.contains("/etc: the file cannot be read: not a regular file"),
        "{out}"
    );
}

/// A machine with every source, and a lock.
fn machine() -> TemporaryRoot {
    TemporaryRoot::with(&[
        (TEMPLATE, "[Accounts]\ngroups = a, b\n"),
        (
            DISTRO,
            "[Lock]\ndisable = clock\n[Accounts]\ngroups = c\n[Core]\nlog_file = /x\n",
        ),
        ("/metadata", "[Accounts]\ngroups = m\nsudo = none\n"),
    ])
}

#[test]
fn show_tells_what_counts_in_the_format_of_the_files() {
    let root = machine();
    let (status, out, err) = said(&config(&root, &["show"]));
    assert_eq!(status, Some(0));
    assert!(
        err.contains("google-instance-configs in metadata is left out; --metadata"),
        "{err}"
    );
    assert!(
        err.contains(&format!("{DISTRO}:6: Core.log_file means nothing here")),
        "{err}"
    );
    let values = python_reads(out.as_bytes());
    let value = |section: &str, option: &str| {
        values
            .iter()
            .find(|v| v.0 == section && v.1 == option)
            .map(|v| v.2.as_str())
    };
    assert_eq!(value("Accounts", "groups"), Some("a,b"));
    assert_eq!(value("Daemons", "clock_skew_daemon"), Some("false"));
    assert_eq!(value("Core", "log_file"), Some("/x"));
    assert_eq!(value("MDS", "disable-https-mds-setup"), None);
    assert_eq!(said(&config(&root, &["show", "--effective"])).1, out);
}

#[test]
fn show_and_get_take_metadata_from_a_file() {
    let root = machine();
    let metadata = root.path("/metadata").display().to_string();
    let (_, out, err) = said(&config(
        &root,
        &["show", "--origin", "--metadata-file", &metadata],
    ));
    assert!(!err.contains("left out"), "{err}");
    assert!(out.contains(&format!(
        "Accounts.groups = a,b\n    {TEMPLATE}:2\n    not metadata google-instance-configs:2\n    not {DISTRO}:4\n"
    )), "{out}");
    assert!(
        out.contains("Accounts.sudo = none\n    metadata google-instance-configs:3\n"),
        "{out}"
    );
    assert!(
        out.contains(&format!(
            "Daemons.clock_skew_daemon = false\n    {DISTRO}:2 (locked)\n"
        )),
        "{out}"
    );
    assert!(
        out.contains("Accounts.allow_root = true\n    built-in\n"),
        "{out}"
    );
    assert!(out.ends_with("[Lock] disables clock\n"), "{out}");

    let (_, out, _) = said(&config(
        &root,
        &["show", "--json", "--metadata-file", &metadata],
    ));
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    let options = json["options"].as_array().unwrap();
    let groups = options.iter().find(|o| o["option"] == "groups").unwrap();
    assert_eq!(groups["value"], "a,b");
    assert_eq!(groups["origin"]["source"], "template");
    assert_eq!(groups["origin"]["line"], 2);
    assert_eq!(groups["overridden"][0]["source"], "metadata");
    assert_eq!(json["disabled"][0], "clock");
    assert_eq!(json["metadata"], "read");
    assert_eq!(json["findings"][0]["severity"], "warning");

    assert_eq!(said(&config(&root, &["get", "accounts.GROUPS"])).1, "a,b\n");
    assert_eq!(
        said(&config(
            &root,
            &["get", "Accounts.sudo", "--metadata-file", &metadata]
        ))
        .1,
        "none\n"
    );
    let (status, out, err) = said(&config(&root, &["get", "Accounts.grups"]));
    assert_eq!((status, out.as_str()), (Some(2), ""));
    assert!(err.contains("did you mean groups?"), "{err}");
}

#[test]
fn set_changes_one_line_of_the_template() {
    let root = TemporaryRoot::new();
    let (status, out, _) = said(&config(&root, &["set", "accounts.groups", "a,b"]));
    assert_eq!(status, Some(0));
    assert!(out.contains("Accounts.groups is set in"), "{out}");
    assert_eq!(root.text(TEMPLATE), "[Accounts]\ngroups = a,b\n");
    root.put(
        TEMPLATE,
        "# keep me\n[Accounts]\ngroups = a\n\tb\n; and me\n",
    );
    fs::set_permissions(root.path(TEMPLATE), fs::Permissions::from_mode(0o600)).unwrap();
    config(&root, &["set", "Accounts.groups", "100%"]);
    config(&root, &["set", "IpForwarding.ethernet_proto_id", "77"]);
    assert_eq!(
        root.text(TEMPLATE),
        "# keep me\n[Accounts]\ngroups = 100%%\n; and me\n\n[IpForwarding]\nethernet_proto_id = 77\n"
    );
    let mode = fs::metadata(root.path(TEMPLATE))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(
        said(&config(&root, &["get", "Accounts.groups"])).1,
        "100%\n"
    );
    assert_eq!(said(&config(&root, &["check", "--strict"])).0, Some(0));
}

#[test]
fn set_refuses_what_would_not_count() {
    let root = TemporaryRoot::with(&[(TEMPLATE, "[Accounts]\ngroups = a\n")]);
    let before = root.text(TEMPLATE);
    for (arguments, reason) in [
        (
            ["set", "Daemons.accounts_daemon", "perhaps"],
            "expected true or false",
        ),
        (
            ["set", "Daemons.acounts_daemon", "true"],
            "did you mean accounts_daemon?",
        ),
        (
            ["set", "Daemon.accounts_daemon", "true"],
            "did you mean [Daemons]?",
        ),
        (["set", "groups", "a"], "write it as Section.option"),
        (["set", "Instance.instance_id", "1"], "no setting"),
        (
            ["set", "Accounts.userdel_cmd", "a\n#b"],
            "cannot be written in this format",
        ),
        (
            ["set", "IpForwarding.ethernet_proto_id", "-1"],
            "a whole number from 0 to 255",
        ),
    ] {
        let (status, _, err) = said(&config(&root, &arguments));
        assert_eq!(status, Some(2), "{arguments:?}");
        assert!(err.contains(reason), "{arguments:?}: {err}");
        assert_eq!(root.text(TEMPLATE), before);
    }
    root.put(DISTRO, "[Lock]\nAccounts.groups = c\n");
    let (_, out, _) = said(&config(&root, &["set", "Accounts.groups", "x"]));
    assert!(
        out.contains(&format!(
            "it does not count: {DISTRO}:2 (locked) is stronger"
        )),
        "{out}"
    );
    let (_, out, _) = said(&config(
        &root,
        &["set", "MDS.disable-https-mds-setup", "true"],
    ));
    assert!(out.contains("it means nothing here: "), "{out}");
}

/// Without rights: said, and the lower sources are used. A root that runs this test becomes nobody for it.
#[test]
fn an_unreadable_file_is_told_to_whoever_may_not_read_it() {
    let root = TemporaryRoot::with(&[
        (TEMPLATE, "[Accounts]\ngroups = secret\n"),
        (INSTANCE_CONFIGS, "[Accounts]\ngroups = open\n"),
    ]);
    fs::set_permissions(root.path(TEMPLATE), fs::Permissions::from_mode(0o000)).unwrap();
    // Where the program lies, nobody may not go.
    let program = root.path("/gce-guest");
    // Copied by another process: a descriptor of ours that is open for writing may be inherited by a test beside us, and
    // the program could not be started (ETXTBSY).
    let copied = Command::new("cp")
        .arg(PROGRAM)
        .arg(&program)
        .status()
        .unwrap();
    assert!(copied.success());
    let mut command = Command::new(program);
    command
        .args(["config", "show", "--root"])
        .arg(root.directory());
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let (status, out, err) = said(&command.output().unwrap());
    assert_eq!(status, Some(0));
    assert!(out.contains("groups = open"), "{out}");
    assert!(
        err.contains(&format!(
            "{TEMPLATE}: the file cannot be read: Permission denied"
        )),
        "{err}"
    );
    assert!(err.contains("run as root"), "{err}");
}

/// The metadata server is asked when it is wanted, and only then; the project's text counts where the instance has none.
#[test]
fn show_asks_the_metadata_server() {
    in_sandbox("command::show_asks_the_metadata_server", || {
        let root = TemporaryRoot::new();
        let show = || said(&config(&root, &["show", "--origin", "--metadata"]));
        let (status, out, err) = show();
        assert_eq!((status, out.as_str()), (Some(1), ""));
        assert!(err.contains("cannot read google-instance-configs"), "{err}");

        let vm = Vm::new();
        let key = "attributes/google-instance-configs";
        vm.set(&format!("project/{key}"), "[Accounts]\ngroups = project\n");
        assert!(
            show()
                .1
                .contains("Accounts.groups = project\n    metadata google-instance-configs:2\n")
        );
        vm.set(
            &format!("instance/{key}"),
            "[Accounts]\n\ngroups = instance\n",
        );
        assert!(
            show()
                .1
                .contains("Accounts.groups = instance\n    metadata google-instance-configs:3\n")
        );
        assert!(said(&config(&root, &["show"])).1.contains("groups = adm,"));
    });
}
