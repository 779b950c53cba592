//! What a plan is made of: the machine as [`observe`](super::observe()) finds it. Pure.

use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::MARK;
use crate::system::netlink::{Address, Link};
use crate::system::order::{Map, Set};

/// In the names of the files of every dhclient that is ours.
pub(super) const OUR_DHCLIENT: &str = "dhclient.google-guest-agent.";

/// An IP family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The option that has a DHCP client do this family only.
    #[must_use]
    pub fn option(self) -> &'static str {
        match self {
            Self::V4 => "-4",
            Self::V6 => "-6",
        }
    }

    /// Its name in messages and file names.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }
}

/// A DHCP client that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// What it is: `dhclient`, `dhcpcd`, `udhcpc`.
    pub program: String,
    /// Whether it sees to IPv4.
    pub ipv4: bool,
    /// Whether it sees to IPv6.
    pub ipv6: bool,
    /// Whether it sees to every interface.
    pub everywhere: bool,
    /// Its arguments, or the words of its title.
    pub words: Vec<String>,
}

impl Client {
    /// Whether it sees to a family on an interface. The name has to be a word of its own (spec/beyond.md D 15).
    #[must_use]
    pub fn serves(&self, interface: &str, family: Family) -> bool {
        let family = match family {
            Family::V4 => self.ipv4,
            Family::V6 => self.ipv6,
        };
        family && (self.everywhere || self.words.iter().any(|word| word == interface))
    }

    /// Whether it is a dhclient that we started.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.words.iter().any(|word| word.contains(OUR_DHCLIENT))
    }

    /// The option of its family.
    #[must_use]
    pub fn family_option(&self) -> &'static str {
        if self.ipv6 { "-6" } else { "-4" }
    }

    /// Reads a command line; `None` for another program. dhcpcd writes its state into its own.
    pub(super) fn parse(cmdline: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(cmdline);
        let mut words: Vec<String> = text.split(['\0', ' ']).map(String::from).collect();
        words.retain(|word| !word.is_empty());
        let name = words.first()?.trim_end_matches(':');
        let program = Path::new(name).file_name()?.to_str()?.to_owned();
        let has = |word: &str| words.iter().any(|other| other == word);
        let (ipv4, ipv6, everywhere) = match program.as_str() {
            "dhclient" => (!has("-6"), has("-6"), false),
            "udhcpc" => (true, false, false),
            // Its helpers say what they are, and not for which family.
            "dhcpcd" if has("[BPF") || has("proxy]") => return None,
            "dhcpcd" => {
                let (only4, only6) = (has("[ip4]") || has("-4"), has("[ip6]") || has("-6"));
                let everywhere = has("[manager]") || has("[master]");
                (only4 || !only6, only6 || !only4, everywhere)
            }
            _ => return None,
        };
        words.remove(0);
        Some(Self {
            program,
            ipv4,
            ipv6,
            everywhere,
            words,
        })
    }
}

/// What networkd says of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkdLink {
    /// Its administrative state: `configured`, `unmanaged` and so on.
    pub state: String,
    /// The file that configures it.
    pub file: Option<PathBuf>,
}

/// What NetworkManager says of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManagedDevice {
    /// Whether it was told to leave the device alone.
    pub unmanaged: bool,
    /// The UUID of the profile that is active on it.
    pub profile: Option<String>,
}

/// What the machine is like, as far as interfaces and their backends go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Every network interface.
    pub links: Vec<Link>,
    /// Every address of every interface.
    pub addresses: Vec<Address>,
    /// The files at every place where ours may be, ours or not.
    pub files: Map<PathBuf, Vec<u8>>,
    /// What networkd says, by index of the interface.
    pub networkd: Map<u32, NetworkdLink>,
    /// What NetworkManager says, by index of the interface.
    pub networkmanager: Map<u32, ManagedDevice>,
    /// Where the profiles of NetworkManager are, by UUID; asked only when one of them is in our place.
    pub profiles: Map<String, PathBuf>,
    /// The DHCP clients that run.
    pub clients: Vec<Client>,
    /// The interfaces that /etc/network/interfaces has words for; asked only of those that ours are about.
    pub in_interfaces_file: Set<String>,
    /// The sysctl `accept_ra_rt_info_max_plen` of interfaces with IPv6, by name.
    pub route_information: Map<String, String>,
    /// Whether /etc/netplan has any file.
    pub has_netplan_files: bool,
    /// What is installed and active.
    pub facts: Facts,
}

impl Observed {
    /// Whether a file is there and has our mark.
    #[must_use]
    pub fn is_ours(&self, path: &Path) -> bool {
        let contents = self.files.get(path);
        contents.is_some_and(|contents| contents.starts_with(MARK.as_bytes()))
    }

    /// Whether an interface has an address that DHCP, or somebody instead of it, has given it.
    #[must_use]
    pub fn has_address(&self, index: u32, family: Family) -> bool {
        self.addresses
            .iter()
            .filter(|address| address.interface == index)
            .any(|address| match (address.address, family) {
                (IpNet::V4(net), Family::V4) => !net.addr().is_link_local(),
                // A router advertisement alone gives a prefix of 64 bits.
                (IpNet::V6(net), Family::V6) => net.prefix_len() == 128,
                _ => false,
            })
    }
}

/// The distribution (os-release(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// `ID`: "debian", "ubuntu".
    pub id: String,
    /// `VERSION_ID`.
    pub version: String,
}

/// What is installed and active. Asked once, because it takes programs to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The programs that there are.
    pub programs: Set<&'static str>,
    /// The units that are active.
    pub active: Set<&'static str>,
    /// The version of systemd-networkd.
    pub networkd_version: Option<u32>,
    /// The version of NetworkManager, major and minor.
    pub networkmanager_version: Option<(u32, u32)>,
    /// The interfaces that NetworkManager has connected.
    pub connected: Set<String>,
    /// Whether wicked has the primary interface up.
    pub wicked_up: bool,
    /// Whether there is the directory of the network scripts.
    pub has_network_scripts: bool,
    /// Whether there is /etc/network/interfaces.
    pub has_interfaces_file: bool,
    /// The distribution.
    pub distribution: Distribution,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(words: &str) -> Option<Client> {
        Client::parse(words.replace(' ', "\0").as_bytes())
    }

    #[test]
    fn dhcp_clients_are_told_by_their_command_lines() {
        let debian = "dhclient -4 -v -i -pf /run/dhclient.eth1.pid -lf /var/lib/dhcp/dhclient.eth1.leases -I -df x eth1";
        for (line, interface, v4, v6) in [
            (debian, "eth1", true, false),
            (debian, "eth", false, false),
            (debian, "eth10", false, false),
            ("/sbin/dhclient -6 -pf x eth1", "eth1", false, true),
            ("dhcpcd: [manager] [ip4] [ip6]", "eth9", true, true),
            ("dhcpcd: eth1 [ip4]", "eth1", true, false),
            ("dhcpcd: eth1 [ip6]", "eth1", false, true),
            ("dhcpcd: eth1 [ip4] [ip6]", "eth1", true, true),
            ("dhcpcd: eth1 [ip4]", "eth0", false, false),
            (
                "udhcpc -n -p /run/udhcpc.eth1.pid -i eth1",
                "eth1",
                true,
                false,
            ),
        ] {
            let client = client(line).unwrap();
            let served = [Family::V4, Family::V6].map(|family| client.serves(interface, family));
            assert_eq!(served, [v4, v6], "{line} for {interface}");
            assert!(!client.is_ours());
        }
        for line in [
            "",
            "grep dhclient eth1",
            "/usr/bin/dhclient-script eth1",
            "dhcpcd: [BPF ARP] eth1 10.129.0.2",
            "dhcpcd: [privileged proxy] eth1 [ip4]",
        ] {
            assert_eq!(client(line), None, "{line}");
        }
        let ours = "dhclient -6 -nw -pf /run/dhclient.google-guest-agent.eth1.ipv6.pid eth1";
        assert!(client(ours).unwrap().is_ours());
    }
}
