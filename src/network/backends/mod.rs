//! Interfaces of metadata, set up through whatever manages the machine's network. The files that it reads, the programs
//! that it has, and nothing of its own: no address is put on an interface here.
//!
//! One pass is [`reconcile()`]: [`observe()`] reads the machine, [`plan()`] decides and is pure, [`apply()`] acts. It touches
//! files with our [`MARK`] below /run (and below /etc for those that read nothing else), asks the backend to read them,
//! starts DHCP clients where nothing else does, and sets one sysctl. The primary NIC is left alone unless
//! `NetworkInterfaces.manage_primary_nic` says otherwise, and no service is ever restarted (spec/beyond.md 7).

mod apply;
mod observe;
mod observed;
pub mod plan;

use std::fmt;

pub use apply::{Change, Memory, Pass, SetUp, apply, detect, preview, reconcile};
pub use observe::observe;
pub use observed::Observed;
pub use plan::{Attempts, Plan, Step, plan};

/// The first line of every file that is ours. What does not begin with it is not touched.
pub const MARK: &str =
    "# Written by gce-guest, which replaces and removes it as metadata changes (docs/network.md).";

/// What sets interfaces up on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backend {
    /// netplan, with systemd-networkd below it.
    Netplan,
    /// NetworkManager.
    NetworkManager,
    /// systemd-networkd.
    Networkd,
    /// wicked, of SUSE.
    Wicked,
    /// The network scripts of Enterprise Linux.
    Ifcfg,
    /// ifupdown, of Debian, with whichever DHCP client it uses.
    Ifupdown,
    /// dhcpcd by itself.
    Dhcpcd,
    /// dhclient by itself.
    Dhclient,
}

impl Backend {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Netplan,
        Self::NetworkManager,
        Self::Networkd,
        Self::Wicked,
        Self::Ifcfg,
        Self::Ifupdown,
        Self::Dhcpcd,
        Self::Dhclient,
    ];
}

impl fmt::Display for Backend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Netplan => "netplan",
            Self::NetworkManager => "NetworkManager",
            Self::Networkd => "systemd-networkd",
            Self::Wicked => "wicked",
            Self::Ifcfg => "the network scripts",
            Self::Ifupdown => "ifupdown",
            Self::Dhcpcd => "dhcpcd",
            Self::Dhclient => "dhclient",
        })
    }
}
