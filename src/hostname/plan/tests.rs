use super::*;

use crate::metadata::document::Presence;
use crate::system::order::Map;

const FULL: &str = "web.us-central1-f.c.example.internal";

fn document(hostname: &str) -> Document {
    let mut document = Document::default();
    document.instance.hostname = Presence::Present(hostname.into());
    document.instance.attributes = Presence::Present(Map::new());
    document.instance.network_interfaces = Presence::Present(vec![
        nic("10.128.0.2", &[]),
        nic("10.129.0.2", &["2600:1900::2"]),
        nic("", &["2600:1900::3"]),
        nic("", &[]),
    ]);
    document
}

fn nic(ip: &str, ipv6s: &[&str]) -> NetworkInterface {
    NetworkInterface {
        ip: ip.into(),
        ipv6s: ipv6s.iter().map(ToString::to_string).collect(),
        ..NetworkInterface::default()
    }
}

fn settings(mode: HostnameMode, form: HostnameForm) -> Settings {
    let mut settings = Settings::default();
    settings.hostname.mode = mode;
    settings.hostname.form = form;
    settings
}

/// A machine that has been called something else so far.
fn machine() -> Observed {
    Observed {
        kernel: "old".into(),
        file: Some(b"# a comment\n\nold\n".to_vec()),
        hosts: Some(b"127.0.0.1 localhost\n".to_vec()),
        ..Observed::default()
    }
}

/// What a plan does, in words; the machine is then as planned.
fn planned(document: &Document, settings: &Settings, observed: &mut Observed) -> Vec<String> {
    let plan = plan(document, settings, observed);
    let words = plan.changes.iter().map(ToString::to_string).collect();
    for change in plan.changes {
        match change {
            Change::Hosts { contents, .. } => observed.hosts = Some(contents),
            Change::File { to, .. } => observed.file = Some(format!("{to}\n").into_bytes()),
            Change::Kernel { to, .. } => observed.kernel = to,
        }
    }
    words
}

#[test]
fn every_mode_and_form_sets_what_it_says_and_then_rests() {
    use HostnameForm::{Fqdn, Short};
    use HostnameMode::{Off, Static, Transient};
    let hosts = format!("put {FULL} for 10.128.0.2 into /etc/hosts");
    for (mode, form, expected) in [
        (Off, Short, vec![]),
        (Off, Fqdn, vec![]),
        (
            Transient,
            Short,
            vec![hosts.clone(), "change the host name from old to web".into()],
        ),
        (
            Static,
            Short,
            vec![
                hosts.clone(),
                "put web into /etc/hostname".into(),
                "change the host name from old to web".into(),
            ],
        ),
        (
            Static,
            Fqdn,
            vec![
                hosts.clone(),
                format!("put {FULL} into /etc/hostname"),
                format!("change the host name from old to {FULL}"),
            ],
        ),
    ] {
        let (document, settings, mut machine) = (document(FULL), settings(mode, form), machine());
        assert_eq!(planned(&document, &settings, &mut machine), expected);
        assert_eq!(
            planned(&document, &settings, &mut machine),
            Vec::<String>::new()
        );
    }
}

#[test]
fn the_go_agents_words_mean_the_same() {
    use HostnameMode::{Off, Static, Transient};
    let wishes = |change: fn(&mut Settings)| {
        let mut settings = Settings::default();
        change(&mut settings);
        let wishes = Wishes::new(&settings);
        (wishes.mode, wishes.form, wishes.hosts)
    };
    let short = HostnameForm::Short;
    assert_eq!(wishes(|_| ()), (Off, short, false));
    assert_eq!(
        wishes(|settings| settings.unstable.set_hostname = true),
        (Static, short, true)
    );
    assert_eq!(
        wishes(|settings| settings.unstable.set_fqdn = true),
        (Off, short, true)
    );
    assert_eq!(
        wishes(|settings| {
            settings.unstable.set_hostname = true;
            settings.unstable.fqdn_as_hostname = true;
        }),
        (Static, HostnameForm::Fqdn, true)
    );
    assert_eq!(
        wishes(|settings| {
            settings.unstable.set_hostname = true;
            settings.hostname.mode = Transient;
            settings.hostname.manage_hosts = false;
        }),
        (Transient, short, false)
    );
    for off in [
        |settings: &mut Settings| settings.daemons.network_daemon = false,
        |settings: &mut Settings| settings.policy.disable(Function::Hostname),
        |settings: &mut Settings| settings.policy.disable(Function::Network),
    ] {
        let mut settings = settings(Static, short);
        settings.unstable.set_fqdn = true;
        off(&mut settings);
        assert!(Wishes::new(&settings).is_nothing());
    }
}

#[test]
fn a_new_name_and_a_new_address_are_followed() {
    let settings = settings(HostnameMode::Static, HostnameForm::Short);
    let (mut document, mut machine) = (document(FULL), machine());
    planned(&document, &settings, &mut machine);
    document.instance.hostname = Presence::Present("db.c.example.internal".into());
    document.instance.network_interfaces = Presence::Present(vec![nic("10.128.0.77", &[])]);
    planned(&document, &settings, &mut machine);
    let hosts = String::from_utf8(machine.hosts.unwrap()).unwrap();
    assert!(hosts.contains("10.128.0.77 db.c.example.internal db  # Added by Google\n"));
    assert!(
        !hosts.contains("web") && !hosts.contains("10.128.0.2 "),
        "{hosts}"
    );
    assert_eq!(machine.kernel, "db");
}

#[test]
fn the_owners_attribute_beats_the_platforms_name_and_a_bad_one_costs_only_itself() {
    let settings = settings(HostnameMode::Transient, HostnameForm::Short);
    for (attribute, name, problems) in [
        ("", "web", 0),
        ("shop.example.com\n", "shop", 0),
        ("metadata.google.internal", "web", 1),
        ("two words", "web", 1),
    ] {
        let mut document = document(FULL);
        let attributes = Map::from([("hostname".to_owned(), attribute.to_owned())]);
        document.instance.attributes = Presence::Present(attributes);
        let plan = plan(&document, &settings, &machine());
        assert_eq!(plan.name.unwrap().0.short(), name, "{attribute}");
        assert_eq!(plan.problems.len(), problems, "{attribute}");
    }
    let hijack = plan(&document("metadata.google.internal"), &settings, &machine());
    assert_eq!(hijack.changes, []);
    assert_eq!(
        hijack.problems[0].to_string(),
        "Could not use the host name \"metadata.google.internal\" (instance/hostname): it is a name of the metadata \
         server."
    );
}

#[test]
fn half_an_answer_changes_nothing() {
    let settings = settings(HostnameMode::Static, HostnameForm::Short);
    let mut without_attributes = document(FULL);
    without_attributes.instance.attributes = Presence::Absent;
    let mut without_name = document(FULL);
    without_name.instance.hostname = Presence::Malformed("a list".into());
    for document in [without_attributes, without_name] {
        assert_eq!(plan(&document, &settings, &machine()), Plan::default());
    }
    let mut without_nics = document(FULL);
    without_nics.instance.network_interfaces = Presence::Absent;
    let plan = plan(&without_nics, &settings, &machine());
    assert!(
        !plan
            .changes
            .iter()
            .any(|change| matches!(change, Change::Hosts { .. }))
    );
}

#[test]
fn a_name_that_is_too_long_for_linux_is_set_in_its_short_form() {
    let settings = settings(HostnameMode::Transient, HostnameForm::Fqdn);
    let set = |full: &str| {
        let mut machine = machine();
        planned(&document(full), &settings, &mut machine);
        let hosts = String::from_utf8(machine.hosts.unwrap()).unwrap();
        (machine.kernel, hosts)
    };
    let longest = format!("{}.internal", "a".repeat(55));
    assert_eq!(set(&longest).0, longest);
    let longer = format!("{}.internal", "a".repeat(56));
    let (kernel, hosts) = set(&longer);
    assert_eq!(kernel, "a".repeat(56));
    assert!(
        hosts.contains(&format!("10.128.0.2 {longer} {kernel}  #")),
        "{hosts}"
    );
    let problems = plan(&document(&longer), &settings, &machine()).problems;
    assert_eq!(problems.len(), 1);
    let cut = format!("{}.internal", "a".repeat(70));
    let problems = plan(&document(&cut), &settings, &machine()).problems;
    assert_eq!(problems.len(), 2, "cut, and still too long: {problems:?}");
}

#[test]
fn the_address_is_that_of_the_interface_in_the_order_of_metadata() {
    for (index, expected) in [
        (0, "10.128.0.2 "),
        (1, "10.129.0.2 "),
        (1, "2600:1900::2 "),
        (2, "2600:1900::3 "),
        (3, "127.0.1.1 "),
        (9, "127.0.1.1 "),
    ] {
        let mut settings = settings(HostnameMode::Transient, HostnameForm::Short);
        settings.unstable.fqdn_address_interface_index = index;
        settings.unstable.additional_aliases = vec!["www".into(), "bad alias".into()];
        let mut machine = machine();
        let problems = plan(&document(FULL), &settings, &machine).problems.len();
        assert_eq!(problems, if index < 3 { 1 } else { 2 });
        planned(&document(FULL), &settings, &mut machine);
        let hosts = String::from_utf8(machine.hosts.unwrap()).unwrap();
        assert!(
            hosts.contains(&format!("{expected}{FULL} web www  # Added by Google\n")),
            "{hosts}"
        );
    }
}
