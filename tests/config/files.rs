//! The files of a machine: what set-up writes, what survives the next boots, and files that are no files.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::Instant;

use gce_guest::config::{
    self, ConfigFile, DISTRO, INSTANCE_CONFIGS, Loaded, Severity, Source, TEMPLATE, state,
};

use crate::root::TemporaryRoot;
use crate::witness::{python_reads, python_rewrites};

/// A set-up at boot: the file is written, and read again as every program does until the next boot.
fn boot(root: &TemporaryRoot, metadata: Option<&str>) -> Loaded {
    config::write_instance_configs(&root.root(), metadata, Some("4711")).unwrap();
    root.load(metadata)
}

fn groups(loaded: &Loaded) -> String {
    loaded.option("Accounts", "groups").unwrap().value.clone()
}

const BUILT_IN: &str = "adm,dip,docker,lxd,plugdev,video";

/// BUG 2: what came from metadata goes with it, though set-up wrote it into a file that is a source.
#[test]
fn values_from_metadata_are_not_permanent() {
    let root = TemporaryRoot::new();
    let metadata = "[Accounts]\ngroups = m\n[MyTool]\nx = 1\n";
    let loaded = boot(&root, Some(metadata));
    assert_eq!(groups(&loaded), "m");
    let written = root.text(INSTANCE_CONFIGS);
    assert!(written.contains("\ngroups = m\n"), "{written}");
    assert!(written.contains("[MyTool]\nx = 1\n"), "{written}");
    assert!(root.load(None).warnings.is_empty());
    assert_eq!(groups(&root.load(None)), BUILT_IN);
    let loaded = boot(&root, None);
    assert_eq!(groups(&loaded), BUILT_IN);
    assert!(!root.text(INSTANCE_CONFIGS).contains("MyTool"));
}

/// The same for the distribution's file and for built-in values of another version.
#[test]
fn values_from_a_package_change_with_the_package() {
    let root = TemporaryRoot::with(&[(DISTRO, "[Accounts]\ngroups = old\n")]);
    assert_eq!(groups(&boot(&root, None)), "old");
    root.put(DISTRO, "[Accounts]\ngroups = new\n");
    assert_eq!(groups(&root.load(None)), "new");
    fs::remove_file(root.path(DISTRO)).unwrap();
    assert_eq!(groups(&root.load(None)), BUILT_IN);
}

#[test]
fn an_edit_of_the_generated_file_lasts_and_is_told_apart() {
    let root = TemporaryRoot::with(&[(DISTRO, "[Accounts]\ngroups = distro\n")]);
    boot(&root, None);
    let edited = root
        .text(INSTANCE_CONFIGS)
        .replace("groups = distro", "groups = mine")
        .replace("[Daemons]\n", "[Daemons]\nmy_own = 1\n");
    root.put(INSTANCE_CONFIGS, edited);
    for _ in 0..3 {
        let loaded = boot(&root, None);
        assert_eq!(groups(&loaded), "mine");
        let option = loaded.option("Accounts", "groups").unwrap();
        assert_eq!(option.origin.source, Source::InstanceConfigs);
        assert!(root.text(INSTANCE_CONFIGS).contains("\nmy_own = 1\n"));
    }
    // Set back to what the distribution says, it is still a choice: it was edited.
    assert!(!config::write_instance_configs(&root.root(), None, Some("4711")).unwrap());
}

#[test]
fn an_edit_that_metadata_overrides_comes_back_when_metadata_goes() {
    let root = TemporaryRoot::new();
    boot(&root, None);
    let edited = root
        .text(INSTANCE_CONFIGS)
        .replace("run_dir = \n", "run_dir = /srv/100%%\n");
    root.put(INSTANCE_CONFIGS, edited);
    let run_dir = |loaded: &Loaded| loaded.settings.metadata_scripts.run_dir.clone();
    for _ in 0..2 {
        let loaded = boot(&root, Some("[MetadataScripts]\nrun_dir = /m\n"));
        assert_eq!(run_dir(&loaded).as_deref(), Some("/m"));
    }
    for _ in 0..2 {
        let loaded = boot(&root, None);
        assert_eq!(run_dir(&loaded).as_deref(), Some("/srv/100%"));
    }
    assert!(!root.text(INSTANCE_CONFIGS).contains("[Overridden]"));
}

/// A line that cannot be used is somebody's line all the same.
#[test]
fn a_bad_line_is_kept_until_somebody_repairs_it() {
    let root = TemporaryRoot::with(&[(
        INSTANCE_CONFIGS,
        "[Daemons]\nnetwork_daemon = %(gone)s\naccounts_daemon = flase\n",
    )]);
    for _ in 0..3 {
        let loaded = boot(&root, None);
        assert!(loaded.settings.daemons.accounts_daemon);
        assert_eq!(loaded.warnings.len(), 2, "{:?}", loaded.warnings);
        let written = root.text(INSTANCE_CONFIGS);
        assert!(written.contains("accounts_daemon = flase"), "{written}");
        assert!(written.contains("network_daemon = %(gone)s"), "{written}");
    }
}

/// Moving from the Python daemons: their file lists every option; only what differs is somebody's choice.
#[test]
fn a_predecessors_file_is_taken_over() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config_corpus");
    for name in ["field_python_written.cfg", "field_go_packaged.cfg"] {
        let theirs = fs::read_to_string(format!("{corpus}/{name}")).unwrap();
        let theirs = theirs.replace("network_daemon = true", "network_daemon = off");
        let root = TemporaryRoot::with(&[
            (INSTANCE_CONFIGS, theirs.as_str()),
            (
                DISTRO,
                "[InstanceSetup]\nset_host_keys = false\n[Daemons]\nnetwork_daemon = true\n",
            ),
        ]);
        for _ in 0..3 {
            let loaded = root.load(None);
            assert!(!loaded.settings.daemons.network_daemon, "{name}");
            assert!(!loaded.settings.instance_setup.set_host_keys, "{name}");
            assert!(loaded.warnings.is_empty(), "{name}: {:?}", loaded.warnings);
            config::write_instance_configs(&root.root(), None, None).unwrap();
        }
    }
}

/// Going back to a predecessor for a boot: it rewrites the file, drops comments and keeps our record, as a section.
#[test]
fn a_predecessor_that_rewrites_the_file_keeps_the_record() {
    let root = TemporaryRoot::new();
    boot(&root, Some("[Accounts]\ngroups = m\n"));
    let edited = root
        .text(INSTANCE_CONFIGS)
        .replace("startup = true", "startup = false");
    root.put(INSTANCE_CONFIGS, python_rewrites(edited.as_bytes()));
    assert!(!root.text(INSTANCE_CONFIGS).contains("Written by gce-guest"));
    let loaded = root.load(None);
    assert_eq!(groups(&loaded), BUILT_IN);
    assert!(!loaded.settings.metadata_scripts.startup);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

/// Time grows with the size of a file and not with its square, which would be minutes.
#[test]
fn a_file_of_a_hundred_thousand_options_is_read() {
    let numbers = || 0..100_000;
    let options: String = numbers().map(|n| format!("x{n}=\n")).collect();
    let sections: String = numbers().map(|n| format!("[s{n}]\n")).collect();
    for text in [format!("[Accounts]\n{options}"), sections] {
        let root = TemporaryRoot::with(&[(TEMPLATE, &text), (INSTANCE_CONFIGS, &text)]);
        let started = Instant::now();
        let loaded = root.load(Some(&text));
        assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
        assert!((100..400).contains(&loaded.warnings.len()));
    }
}

/// In a file of a few lines, written by hand, each line is a choice.
#[test]
fn a_short_file_written_by_hand_counts_whole() {
    let root = TemporaryRoot::with(&[
        (INSTANCE_CONFIGS, "[InstanceSetup]\nset_host_keys = true\n"),
        (DISTRO, "[InstanceSetup]\nset_host_keys = false\n"),
    ]);
    for _ in 0..3 {
        assert!(boot(&root, None).settings.instance_setup.set_host_keys);
    }
}

/// The legacy layout, with every effective value, read by Python; ours beside it do not disturb.
#[test]
fn python_finds_every_value_in_the_generated_file() {
    let root = TemporaryRoot::with(&[
        (
            TEMPLATE,
            "[Accounts]\nuseradd_cmd = add 100%% {user}\ngroups = a,\n  b\n[Lock]\nAccounts.groups = c\n[Extra]\nKey = v\n",
        ),
        (
            DISTRO,
            "[Accounts]\nreuse_homedir = Yes\n[Extra]\nkey = weaker\nother = 2\n",
        ),
    ]);
    let loaded = boot(&root, None);
    let written = root.text(INSTANCE_CONFIGS);
    let values = python_reads(written.as_bytes());
    let value = |section: &str, option: &str| {
        let found = values.iter().find(|(s, o, _)| s == section && o == option);
        found.map(|(_, _, value)| value.as_str())
    };
    assert_eq!(value("Accounts", "useradd_cmd"), Some("add 100% {user}"));
    assert_eq!(value("Accounts", "groups"), Some("c"));
    assert_eq!(value("Accounts", "reuse_homedir"), Some("true"));
    assert_eq!(value("Instance", "instance_id"), Some("4711"));
    assert_eq!(value("Extra", "key"), Some("v"));
    assert_eq!(value("Extra", "other"), Some("2"));
    assert!(
        !written.contains("[Lock]"),
        "a lock is read where it was written"
    );
    for option in config::options::OPTIONS {
        let effective = loaded.option(option.section, option.name).unwrap();
        if option.since == config::options::Since::Python && option.name != "instance_id" {
            assert_eq!(
                value(option.section, option.name),
                Some(effective.value.as_str())
            );
        }
    }
    // A second boot changes nothing.
    assert!(!config::write_instance_configs(&root.root(), None, Some("4711")).unwrap());
}

#[test]
fn the_generated_file_has_the_legacy_layout() {
    let root = TemporaryRoot::with(&[(TEMPLATE, "[Extra]\nkey = v\n")]);
    boot(&root, None);
    let written = root.text(INSTANCE_CONFIGS);
    let sections: Vec<&str> = written
        .lines()
        .filter(|line| line.starts_with('['))
        .collect();
    assert_eq!(
        sections,
        [
            "[Accounts]",
            "[Daemons]",
            "[Instance]",
            "[InstanceSetup]",
            "[IpForwarding]",
            "[MetadataScripts]",
            "[NetworkInterfaces]",
            "[Extra]",
            "[Generated]",
        ]
    );
    assert!(written.starts_with("# Written by gce-guest"));
    assert!(
        written
            .lines()
            .all(|line| !line.starts_with('#') || line.len() <= 72)
    );
}

#[test]
fn writing_keeps_the_mode_takes_the_lock_and_leaves_no_other_file() {
    let root = TemporaryRoot::with(&[(INSTANCE_CONFIGS, "")]);
    fs::set_permissions(
        root.path(INSTANCE_CONFIGS),
        fs::Permissions::from_mode(0o640),
    )
    .unwrap();
    boot(&root, None);
    let mode = fs::metadata(root.path(INSTANCE_CONFIGS))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o640);
    assert_eq!(fs::read_dir(root.path("/etc/default")).unwrap().count(), 1);
    // The predecessors' lock, held by another program: flock(1) of util-linux.
    let lock = root.path("/var/lock/google_instance_configs.lock");
    let before = root.text(INSTANCE_CONFIGS);
    let mut holder = Command::new("flock")
        .arg("--exclusive")
        .arg(&lock)
        .args(["sh", "-c", "echo held; read -r end"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 5];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut said).unwrap();
    let metadata = Some("[Accounts]\ngroups = x\n");
    let error = config::write_instance_configs(&root.root(), metadata, None).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("google_instance_configs.lock is locked"),
        "{error}"
    );
    assert_eq!(root.text(INSTANCE_CONFIGS), before);
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert!(config::write_instance_configs(&root.root(), metadata, None).unwrap());
    // A new file has the mode that the predecessors' had.
    let root = TemporaryRoot::new();
    boot(&root, None);
    let mode = fs::metadata(root.path(INSTANCE_CONFIGS))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o644);
}

/// The functions of the founding document, by their meaning there.
#[test]
fn the_library_of_the_founding_document() {
    let root = TemporaryRoot::with(&[(
        "/etc/default/tool.cfg",
        "[a]\nOption = lower\nbad = maybe\noff = NO\n[A]\noption = upper\n",
    )]);
    let (mut file, findings) = ConfigFile::read(&root.root(), "/etc/default/tool.cfg");
    assert!(findings.is_empty());
    assert_eq!(file.option_string("a", "OPTION").as_deref(), Some("lower"));
    assert_eq!(file.option_string("A", "option").as_deref(), Some("upper"));
    assert_eq!(file.option_string("B", "option"), None);
    assert_eq!(file.option_bool("a", "off"), Ok(false));
    assert_eq!(file.option_bool("a", "absent"), Ok(true));
    assert!(file.option_bool("a", "bad").is_err());
    // SEC 1: absent is not true where that deletes accounts.
    assert_eq!(
        file.option_bool("Accounts", "deprovision_remove"),
        Ok(false)
    );
    assert_eq!(file.option_bool("Daemons", "accounts_daemon"), Ok(true));

    file.set_option("a", "option", "other", false).unwrap();
    assert_eq!(file.option_string("a", "option").as_deref(), Some("lower"));
    file.set_option("a", "option", "100% other", true).unwrap();
    file.set_option("New", "Key", "", false).unwrap();
    assert!(file.set_option("New", "a=b", "x", true).is_err());
    assert!(
        file.write(&root.root(), "/etc/default/tool.cfg", Some("A header."))
            .unwrap()
    );
    let written = root.text("/etc/default/tool.cfg");
    assert!(
        written.starts_with("# A header.\n\n[a]\noption = 100%% other\n"),
        "{written}"
    );
    assert!(written.ends_with("[New]\nkey = \n\n"), "{written}");
    assert!(root.path("/var/lock/google_tool.lock").exists());
    let python = python_reads(written.as_bytes());
    let expected = |s: &str, o: &str, v: &str| (s.to_owned(), o.to_owned(), v.to_owned());
    assert!(python.contains(&expected("a", "option", "100% other")));
    assert!(python.contains(&expected("New", "key", "")));
    let (again, _) = ConfigFile::read(&root.root(), "/etc/default/tool.cfg");
    assert_eq!(
        again.option_string("a", "option").as_deref(),
        Some("100% other")
    );
    // A file that is absent is empty.
    let (absent, findings) = ConfigFile::read(&root.root(), "/etc/default/absent.cfg");
    assert!(findings.is_empty());
    assert_eq!(absent.option_string("a", "b"), None);
}

/// Host keys stay when a machine moves from the Python daemons: the id is found where they kept it.
#[test]
fn the_instance_id_is_found_in_both_places() {
    let root = TemporaryRoot::new();
    let settings = root.load(None).settings;
    let id = |root: &TemporaryRoot| state::instance_id(&root.root(), &settings).unwrap();
    assert_eq!(id(&root), None);
    root.put(INSTANCE_CONFIGS, "[Instance]\ninstance_id = 0\n");
    assert_eq!(id(&root), None);
    root.put(INSTANCE_CONFIGS, "[Instance]\ninstance_id = 111\n");
    assert_eq!(id(&root).as_deref(), Some("111"));
    // Writing the file without knowing the id does not lose it.
    config::write_instance_configs(&root.root(), None, None).unwrap();
    assert_eq!(id(&root).as_deref(), Some("111"));
    // Neither template nor metadata can set it (BUG 3).
    root.put(TEMPLATE, "[Instance]\ninstance_id = 222\n");
    assert_eq!(id(&root).as_deref(), Some("111"));
    root.put("/etc/google_instance_id", "333\n");
    assert_eq!(id(&root).as_deref(), Some("333"));
    root.put("/etc/google_instance_id", "\n");
    assert_eq!(id(&root).as_deref(), Some("111"));
    // A directory, as for the second Go agent.
    root.put(TEMPLATE, "[Instance]\ninstance_id_dir = /etc\n");
    root.put("/etc/google_instance_id", "444");
    let settings = root.load(None).settings;
    assert_eq!(
        state::instance_id_path(&root.root(), &settings),
        "/etc/google_instance_id"
    );
    let id = state::instance_id(&root.root(), &settings).unwrap();
    assert_eq!(id.as_deref(), Some("444"));
    // Unreadable is not "never set up".
    fs::remove_file(root.path("/etc/google_instance_id")).unwrap();
    fs::create_dir(root.path("/etc/google_instance_id")).unwrap();
    assert!(state::instance_id(&root.root(), &settings).is_err());
}

/// Each of these takes the template's place; the message names it, and the distribution's file counts.
#[test]
fn what_is_no_file_is_told_and_the_lower_sources_count() {
    type Make = fn(&TemporaryRoot);
    let cases: [(&str, Make); 6] = [
        ("not a regular file", |root| {
            fs::create_dir(root.path(TEMPLATE)).unwrap();
        }),
        ("not a regular file", |root| {
            let made = Command::new("mkfifo")
                .arg(root.path(TEMPLATE))
                .status()
                .unwrap();
            assert!(made.success());
        }),
        ("cannot be read", |root| {
            // A socket cannot be opened at all.
            drop(UnixListener::bind(root.path(TEMPLATE)).unwrap());
        }),
        ("cannot be read", |root| {
            symlink(root.path(TEMPLATE), root.path(TEMPLATE)).unwrap();
        }),
        ("larger than", |root| {
            root.put(TEMPLATE, vec![b'x'; 10 << 20]);
        }),
        ("not a regular file", |root| {
            symlink("/dev/zero", root.path(TEMPLATE)).unwrap();
        }),
    ];
    for (problem, make) in cases {
        let root = TemporaryRoot::with(&[(DISTRO, "[Accounts]\ngroups = distro\n")]);
        make(&root);
        let loaded = root.load(Some("[Daemons]\nnetwork_daemon = false\n"));
        assert_eq!(groups(&loaded), "distro");
        assert!(!loaded.settings.daemons.network_daemon);
        assert_eq!(loaded.warnings.len(), 1);
        let warning = &loaded.warnings[0];
        assert_eq!(
            (warning.severity, warning.file.as_str()),
            (Severity::Error, TEMPLATE)
        );
        assert!(warning.problem.contains(problem), "{warning}");
        assert!(warning.fix.contains("the lower sources count"), "{warning}");
    }
}

#[test]
fn files_of_garbage_cost_nothing_but_messages() {
    let mut random = fastrand::Rng::with_seed(99);
    let noise: Vec<u8> = (0..100_000).map(|_| random.u8(..)).collect();
    let mut long = b"[Accounts]\ngroups = ".to_vec();
    long.extend(vec![b'g'; 900_000]);
    for garbage in [
        vec![0; 50_000],
        noise,
        vec![b'['; 10_000],
        b"=\n".repeat(300_000),
        long,
    ] {
        let root = TemporaryRoot::with(&[(DISTRO, "[Daemons]\naccounts_daemon = no\n")]);
        root.put(TEMPLATE, &garbage);
        let loaded = root.load(Some(&"%".repeat(10_000)));
        assert!(!loaded.settings.daemons.accounts_daemon);
        assert!(!loaded.warnings.is_empty() || garbage.len() > 800_000);
        assert!(loaded.warnings.len() < 250, "{}", loaded.warnings.len());
        assert!(
            loaded
                .warnings
                .iter()
                .all(|warning| warning.to_string().len() < 800)
        );
        // It can still be written.
        config::write_instance_configs(&root.root(), None, None).unwrap();
        python_reads(root.text(INSTANCE_CONFIGS).as_bytes());
    }
}

#[test]
fn a_directory_in_place_of_the_generated_file_is_left_alone() {
    let root = TemporaryRoot::new();
    fs::create_dir(root.path(INSTANCE_CONFIGS)).unwrap();
    let error = config::write_instance_configs(&root.root(), None, None).unwrap_err();
    assert!(error.to_string().contains(INSTANCE_CONFIGS), "{error}");
    assert!(root.path(INSTANCE_CONFIGS).is_dir());
}
