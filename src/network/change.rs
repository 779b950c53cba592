//! One change of one route, what it is for, and the words for it. Pure.

use std::fmt;

use ipnet::IpNet;

use super::routes::{Origin, is_metadata_server, text};
use crate::system::netlink::{Link, Route};

/// An interface in messages and changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interface {
    /// Its number.
    pub index: u32,
    /// Its name at the time of the plan.
    pub name: String,
}

impl Interface {
    /// The interface with this number, which is its name too where there is none.
    pub(super) fn of(index: u32, links: &[Link]) -> Self {
        let name = links
            .iter()
            .find(|link| link.index == index)
            .map_or_else(|| format!("interface {index}"), |link| link.name.clone());
        Self { index, name }
    }
}

/// Why a route of ours goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Metadata does not ask for the address on this interface, or no longer.
    NotInMetadata,
    /// Metadata does not have the interface.
    InterfaceNotInMetadata,
    /// Forwarded addresses are switched off in the configuration.
    SwitchedOff,
    /// It comes back under the protocol id that is configured now.
    OldProtocol,
    /// The metadata server is reached in another way now.
    MetadataServer,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A route is added, because metadata has the address here.
    Add(Origin),
    /// The route to the metadata server by the primary interface is added.
    ReachMetadataServer,
    /// A route of ours is removed.
    Remove(Reason),
}

/// One change of one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What is done and why.
    pub action: Action,
    /// The interface of the route.
    pub interface: Interface,
    /// The route.
    pub route: Route,
}

impl Change {
    /// The address or range that is answered to, or no longer.
    #[must_use]
    pub fn prefix(&self) -> IpNet {
        self.route.destination
    }

    /// Whether it is about a forwarded address, and not about the way to the metadata server.
    #[must_use]
    pub fn is_forwarding(&self) -> bool {
        !is_metadata_server(self.prefix())
    }

    /// Whether a route is added.
    #[must_use]
    pub fn adds(&self) -> bool {
        !matches!(self.action, Action::Remove(_))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prefix, interface) = (text(self.prefix()), &self.interface.name);
        match self.action {
            Action::Add(origin) => write!(formatter, "add {prefix} to {interface} ({origin})"),
            Action::ReachMetadataServer => {
                write!(
                    formatter,
                    "reach the metadata server {prefix} by {interface}"
                )
            }
            Action::Remove(reason) => {
                let reason = match reason {
                    Reason::NotInMetadata => "not in metadata",
                    Reason::InterfaceNotInMetadata => "the interface is not in metadata",
                    Reason::SwitchedOff => "switched off in the configuration",
                    Reason::MetadataServer => "the way to it is another one now, or needs no route",
                    Reason::OldProtocol => "it has an earlier protocol id of ours",
                };
                write!(formatter, "remove {prefix} from {interface} ({reason})")
            }
        }
    }
}
