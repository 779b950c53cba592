//! What stands in the way of interfaces, for people.

use std::path::PathBuf;

use thiserror::Error;

use crate::network::backends::Backend;

/// What stands in the way of an interface. It costs what it names and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Problem {
    /// Nothing that we know how to use sets interfaces up here.
    #[error(
        "Nothing to set interfaces up with was found: no NetworkManager, systemd-networkd, wicked or ifupdown that is \
         active, and neither dhclient nor dhcpcd. Install one of them, or set NetworkInterfaces.dhcp_command."
    )]
    NoBackend,
    /// Two NICs of metadata are one interface.
    #[error(
        "The interface {name} is that of instance/network-interfaces/{first} already: \
         instance/network-interfaces/{nic} with the same MAC address is skipped."
    )]
    SameInterface {
        /// The position of the one that is skipped.
        nic: usize,
        /// The position of the one that has it.
        first: usize,
        /// The interface.
        name: String,
    },
    /// An interface that is a part of another one, which has the addresses.
    #[error("The interface {name} is a port of {controller}: it is left to whoever made that.")]
    Port {
        /// The interface.
        name: String,
        /// The bond, the bridge or the like.
        controller: String,
    },
    /// A name that would mean something else in a file.
    #[error(
        "The interface {0:?} is not set up: its name cannot be written into a file of configuration. Rename it."
    )]
    Name(String),
    /// An MTU that cannot be.
    #[error("The MTU {mtu} of {name} in metadata cannot be: the one that DHCP says counts.")]
    Mtu {
        /// The interface.
        name: String,
        /// The number.
        mtu: u32,
    },
    /// A VLAN that cannot be set up.
    #[error("VLAN {id} of instance/network-interfaces/{parent} is not set up: {reason}.")]
    Vlan {
        /// Its id.
        id: u16,
        /// The position of its parent.
        parent: usize,
        /// Why.
        reason: &'static str,
    },
    /// A file of somebody else is where ours would be.
    #[error(
        "{} is not ours, so {interface} is left as that says. Remove it to have the interface set up.",
        .path.display()
    )]
    ForeignFile {
        /// The file.
        path: PathBuf,
        /// The interface, or what else the file is about.
        interface: String,
    },
    /// NetworkManager was told to leave the interface alone.
    #[error("NetworkManager was told not to manage {0}: it is not set up.")]
    Unmanaged(String),
    /// Everything was done and nothing came of it.
    #[error(
        "{interface} is still not set up by {backend} after several attempts; what that says about it may tell why."
    )]
    NoEffect {
        /// The interface.
        interface: String,
        /// The backend.
        backend: Backend,
    },
}
