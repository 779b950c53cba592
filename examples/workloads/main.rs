//! Three fixed pieces of work, for `cargo xtask workloads`, which counts their instructions. The same input every time: no
//! clock, no file, no network.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer's tool: it prints what came of the work, so that none of it is left out"
)]

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

use gce_guest::accounts::keys;
use gce_guest::accounts::plan::{Account, KeysFile, NameClash, Observed, UserState};
use gce_guest::config::Settings;
use gce_guest::metadata::Document;
use gce_guest::network;
use gce_guest::system::netlink::{Link, Route};
use gce_guest::system::order::Map;
use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::{Value, json};

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let result = match name.as_str() {
        "users" => users(),
        "routes" => routes(),
        "document" => document(),
        _ => {
            eprintln!("workloads users|routes|document");
            return ExitCode::from(2);
        }
    };
    println!("{result}");
    ExitCode::SUCCESS
}

/// Parses and plans 2,500 users: a third is missing, a third has an old key, and a third is as it should be.
fn users() -> usize {
    let lines: Vec<String> = (0..2500)
        .map(|number| format!("{}:{}", user(number), key(number)))
        .collect();
    let text = tree(&json!({"ssh-keys": lines.join("\n")}), &json!([])).to_string();
    let document = parsed(&text);
    let desired = keys::desired(&document, Timestamp::UNIX_EPOCH);
    let users: Map<String, UserState> = (0..2500)
        .map(|number| (user(number), state(number)))
        .collect();
    let observed = Observed {
        users,
        sudoers_group: true,
        ..Observed::default()
    };
    let plan = gce_guest::accounts::plan::plan(&desired, &Settings::default().accounts, &observed);
    plan.users.iter().map(|user| user.changes.len()).sum()
}

fn user(number: u32) -> String {
    format!("user-{number:04}")
}

fn key(number: u32) -> String {
    format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{number:043} user-{number}@example.com")
}

fn state(number: u32) -> UserState {
    if number.is_multiple_of(3) {
        return UserState::Missing {
            group: NameClash::None,
            left_home: None,
        };
    }
    let of = if number % 3 == 1 { number } else { number + 1 };
    let file = format!("# Added by Google\n{}\n", key(of));
    UserState::Present {
        account: Account {
            uid: 1000 + number,
            gid: 1000 + number,
            home: format!("/home/user-{number:04}").into(),
            shell: "/bin/bash".into(),
        },
        in_sudoers: true,
        keys: KeysFile::Contents(file.into_bytes()),
    }
}

/// Plans 1,000 routes: half of them are there, and as many are there that are not wanted.
fn routes() -> usize {
    let addresses: Vec<String> = (0..1000)
        .map(|number| address(number).to_string())
        .collect();
    let mac = "42:01:0a:80:00:02";
    let nics = json!([{"mac": mac, "ip": "10.128.0.2", "forwardedIps": addresses}]);
    let document = parsed(&tree(&json!({}), &nics).to_string());
    let settings = Settings::default();
    let link = Link {
        index: 2,
        name: "eth0".into(),
        mac: mac.parse().ok(),
        up: true,
        ethernet: true,
        ..Link::default()
    };
    let protocol = settings.ip_forwarding.ethernet_proto_id;
    let present = (500..1500).map(|number| Route::local(IpNet::from(address(number)), 2, protocol));
    let observed = network::Observed {
        links: vec![link],
        routes: present.collect(),
        ..network::Observed::default()
    };
    network::plan(&document, &settings, &observed).changes.len()
}

fn address(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(
        u32::from(Ipv4Addr::new(198, 18, 0, 1)) + number,
    ))
}

/// Parses a document of 512 KB: attributes of all sizes, as an owner puts scripts and settings there.
fn document() -> usize {
    let mut attributes = serde_json::Map::new();
    let mut size = 0;
    for number in 0_usize.. {
        let line = format!("value {number} of \"some\" text\\with escapes\n");
        let value = line.repeat(1 + number % 50);
        size += value.len();
        attributes.insert(format!("attribute-{number}"), value.into());
        if size > 512 * 1000 {
            break;
        }
    }
    let text = tree(&Value::from(attributes), &json!([])).to_string();
    let document = parsed(&text);
    document.instance.attributes.present().map_or(0, Map::len)
}

fn tree(attributes: &Value, nics: &Value) -> Value {
    json!({
        "instance": {"attributes": attributes, "id": 4_242_424_242_424_242_424_u64, "networkInterfaces": nics},
        "project": {"attributes": {}, "projectId": "example-project"},
    })
}

fn parsed(text: &str) -> Document {
    Document::from_bytes(text.as_bytes()).unwrap_or_default()
}
