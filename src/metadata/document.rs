//! The typed metadata document: what the program reads of the server's answer, and nothing else.
//!
//! Unknown fields are ignored, and "absent", "malformed" and "empty" are kept apart: half an answer must never look like
//! "no users", or a hiccup of the server would lock everybody out. [`crate::metadata::parse`] makes it of JSON.

use crate::system::order::Map;

/// A value of the document that may be missing or unreadable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Presence<T> {
    /// The answer does not contain it.
    #[default]
    Absent,
    /// The answer contains something else in its place; the text says what, without the value itself.
    Malformed(String),
    /// It is there, possibly empty.
    Present(T),
}

impl<T> Presence<T> {
    /// The value, where there is one.
    pub fn present(&self) -> Option<&T> {
        match self {
            Self::Present(value) => Some(value),
            Self::Absent | Self::Malformed(_) => None,
        }
    }
}

/// Custom metadata of the instance or of the project: names as they are, values as text.
pub type Attributes = Map<String, String>;

/// The metadata of this VM at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// Everything below `instance/`.
    pub instance: Instance,
    /// Everything below `project/`.
    pub project: Project,
    /// `universe.universeDomain`: `googleapis.com`, or that of a sovereign cloud.
    pub universe_domain: Presence<String>,
    /// What could not be read, one line each: the field and what is in its place, never the value itself.
    pub problems: Vec<String>,
}

/// Everything below `instance/` that the program reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    /// `attributes`.
    pub attributes: Presence<Attributes>,
    /// `id`, in decimal.
    pub id: Presence<String>,
    /// `name`: the first label of the host name.
    pub name: Presence<String>,
    /// `hostname`, fully qualified.
    pub hostname: Presence<String>,
    /// The last component of `zone`.
    pub zone: Presence<String>,
    /// The last component of `machineType`.
    pub machine_type: Presence<String>,
    /// `networkInterfaces`, in the order of the answer: index 0 is the primary.
    ///
    /// An entry that cannot be read keeps its place with an empty [`NetworkInterface::mac`], which no interface has.
    pub network_interfaces: Presence<Vec<NetworkInterface>>,
    /// `vlanNetworkInterfaces`, in the order of parent and VLAN id (spec/beyond.md 7.10).
    pub vlan_network_interfaces: Presence<Vec<VlanInterface>>,
    /// `virtualClock.driftToken`, a number or a string in the answer.
    pub drift_token: Presence<String>,
    /// `maintenanceEvent`: `NONE`, `MIGRATE_ON_HOST_MAINTENANCE`, `TERMINATE_ON_HOST_MAINTENANCE`.
    pub maintenance_event: Presence<String>,
    /// `preempted`.
    pub preempted: Presence<bool>,
}

/// Everything below `project/` that the program reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Project {
    /// `attributes`.
    pub attributes: Presence<Attributes>,
    /// `projectId`, the textual one.
    pub project_id: Presence<String>,
    /// `numericProjectId`, in decimal.
    pub numeric_project_id: Presence<String>,
}

/// One network interface of the instance, as the metadata server describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkInterface {
    /// The MAC address, as it is in the answer.
    pub mac: String,
    /// The primary internal IPv4 address; empty on an interface without one.
    pub ip: String,
    /// `gateway`: the IPv4 gateway; empty without one.
    pub gateway: String,
    /// `ipv6s`: the IPv6 addresses.
    pub ipv6s: Vec<String>,
    /// `forwardedIps`: addresses of load balancers and protocol forwarding.
    pub forwarded_ips: Vec<String>,
    /// `forwardedIpv6s`.
    pub forwarded_ipv6s: Vec<String>,
    /// `ipAliases`: alias ranges in CIDR form.
    pub ip_aliases: Vec<String>,
    /// `targetInstanceIps`: addresses of target instances.
    pub target_instance_ips: Vec<String>,
    /// `dhcpv6Refresh`: present, with any value, on an interface with IPv6.
    pub dhcpv6_refresh: Option<String>,
    /// `mtu` in bytes.
    pub mtu: Option<u32>,
    /// `physicalNicId`: which NIC of the host it is, on machines that have NICs of their own (spec/beyond.md 20.1).
    pub physical_nic_id: Option<String>,
}

/// One VLAN interface of the instance (spec/beyond.md 7.10).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VlanInterface {
    /// The index of its parent among the network interfaces.
    pub parent: usize,
    /// The VLAN id, 1 to 4094.
    pub vlan: u16,
    /// The MAC address, as it is in the answer.
    pub mac: String,
    /// `mtu` in bytes.
    pub mtu: Option<u32>,
    /// The IPv4 address; empty without one.
    pub ip: String,
    /// The IPv6 addresses.
    pub ipv6: Vec<String>,
    /// The IPv4 gateway; empty without one.
    pub gateway: String,
    /// The IPv6 gateway; empty without one.
    pub gateway_ipv6: String,
}
