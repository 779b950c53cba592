//! Files for netplan (netplan-yaml(5)) with systemd-networkd below it, in /run.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::File;
use super::ini::{ini, value};
use super::networkd::families;
use super::nics::Nic;
use crate::network::backends::MARK;
use crate::network::backends::observed::Distribution;
use crate::system::processes::Invocation;

/// Our file, under the predecessors' name.
pub const PATH: &str = "/run/netplan/20-google-guest-agent-ethernet.yaml";

/// A root directory with our file and no other.
const SCRATCH: &str = "/run/gce-guest/netplan";

/// How long netplan may take, a Python program, while a machine boots.
const GENERATE_DEADLINE: Duration = Duration::from_secs(60);

/// What netplan calls the files that it makes for networkd, up to the key of the interface.
pub const GENERATED: &str = "/run/systemd/network/10-netplan-";

/// Debian's image default, which the Go agent removed from images (pains 3).
pub const DEBIAN_DEFAULT_PATH: &str = "/etc/netplan/90-default.yaml";

/// What stands in it.
pub const DEBIAN_DEFAULT: &str = "\
network:
  version: 2
  ethernets:
    all-en:
      match:
        name: en*
      dhcp4: true
      dhcp4-overrides:
        use-domains: true
      dhcp6: true
      dhcp6-overrides:
        use-domains: true
    all-eth:
      match:
        name: eth*
      dhcp4: true
      dhcp4-overrides:
        use-domains: true
      dhcp6: true
      dhcp6-overrides:
        use-domains: true
";

/// The key of an interface. On Debian it sorts before the `all-en` of the image's own file, which matches it too.
#[must_use]
pub fn key(interface: &str, distribution: &Distribution) -> String {
    match distribution.id.as_str() {
        "debian" => format!("a-{interface}"),
        _ => interface.to_owned(),
    }
}

/// The name of the drop-in beside it.
pub const DROP_IN_NAME: &str = "override.conf";

/// The file that netplan makes for networkd of an interface.
#[must_use]
pub fn generated(key: &str) -> PathBuf {
    PathBuf::from(format!("{GENERATED}{key}.network"))
}

/// The keys of the interfaces in our file, as it is on disk.
#[must_use]
pub fn keys(file: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(file);
    let key = |line: &str| {
        let key = line.strip_prefix("    \"")?.strip_suffix("\":")?;
        Some(key.to_owned())
    };
    text.lines().filter_map(key).collect()
}

/// Where a file is for a netplan that is to see nothing but ours.
#[must_use]
pub fn in_scratch(path: &Path) -> PathBuf {
    Path::new(SCRATCH).join(path.strip_prefix("/").unwrap_or(path))
}

/// Makes networkd's files of what is in the scratch directory.
#[must_use]
pub fn generate() -> Invocation {
    let words = ["generate", "--root-dir", SCRATCH];
    Invocation::new("netplan", words).within(GENERATE_DEADLINE)
}

/// Where the drop-in for what netplan has no words for is.
fn drop_in(key: &str) -> PathBuf {
    Path::new(&format!("{GENERATED}{key}.network.d")).join(DROP_IN_NAME)
}

/// The files for all interfaces that are managed: none without any.
#[must_use]
pub fn files(nics: &[&Nic], distribution: &Distribution) -> Vec<File> {
    if nics.is_empty() {
        return Vec::new();
    }
    let mut text = format!("{MARK}\nnetwork:\n  version: 2\n  ethernets:\n");
    let mut files = Vec::new();
    for nic in nics {
        let key = key(&nic.name, distribution);
        write_interface(&mut text, nic, &key);
        files.push(drop_in_file(nic, &key));
    }
    files.insert(0, File::new(PATH, text, 0o600));
    files
}

fn write_interface(text: &mut String, nic: &Nic, key: &str) {
    let mut line = |depth: usize, line: String| {
        // Writing into a text cannot fail.
        let _ = writeln!(text, "{:1$}{line}", "", 2 * depth);
    };
    line(2, format!("\"{key}\":"));
    line(3, "renderer: networkd".into());
    line(3, "match:".into());
    line(4, format!("name: \"{}\"", nic.name));
    if nic.permanent {
        // netplan matches by the address that the hardware was made with and no other.
        line(4, format!("macaddress: \"{}\"", nic.mac));
    }
    for (family, wanted) in [("dhcp4", nic.ipv4), ("dhcp6", nic.ipv6)] {
        line(3, format!("{family}: {wanted}"));
        // networkd has one set of both: they have to be the same.
        line(3, format!("{family}-overrides:"));
        line(4, format!("use-domains: {}", nic.is_primary()));
        if let Some(metric) = nic.metric() {
            line(4, "use-hostname: false".into());
            line(4, format!("route-metric: {metric}"));
        }
    }
    if let Some(mtu) = nic.mtu {
        line(3, format!("mtu: {mtu}"));
    }
    if !nic.is_primary() {
        // A boot does not wait for it.
        line(3, "optional: true".into());
    }
}

fn drop_in_file(nic: &Nic, key: &str) -> File {
    let secondary = |value: &'static str| (!nic.is_primary()).then(|| value.into());
    let contents = ini(&[
        ("Match", &[("Name", Some((&nic.name).into()))]),
        (
            "Network",
            &[
                ("DHCP", Some(families(nic).into())),
                ("DNSDefaultRoute", value(Some(nic.is_primary()))),
            ],
        ),
        (
            "DHCPv4",
            &[
                ("RoutesToDNS", secondary("false")),
                ("RoutesToNTP", secondary("false")),
            ],
        ),
        ("IPv6AcceptRA", &[("RouteMetric", value(nic.metric()))]),
    ]);
    File::new(drop_in(key), contents, 0o644)
}
