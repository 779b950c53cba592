//! Reads from the kernel what a plan is made of. Changes nothing.

use thiserror::Error;

use super::interfaces;
use super::record::Record;
use super::routes::is_metadata_server;
use super::state::State;
use crate::system::netlink::{
    Address, LOCAL_TABLE, Link, MAIN_TABLE, MacAddress, MalformedMac, NetlinkError, Route, Socket,
};

/// The part of the machine's network that forwarded addresses have to do with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Every network interface.
    pub links: Vec<Link>,
    /// Every route of the local table, ours and everybody else's.
    pub routes: Vec<Route>,
    /// The routes of table main that decide on the way to the metadata server.
    pub main: Vec<Route>,
    /// What we wrote down of our routes.
    pub record: Record,
}

/// Reads the machine's network, in the network namespace of the calling thread.
///
/// # Errors
/// Those of the listings. A failed or partial listing never looks like an empty one (spec/core.md BUG 25).
pub fn observe(state: &State) -> Result<Observed, NetlinkError> {
    let mut socket = Socket::open()?;
    let mut main = socket.routes(MAIN_TABLE)?;
    main.retain(leads_to_metadata_server);
    Ok(Observed {
        links: socket.links()?,
        routes: socket.routes(LOCAL_TABLE)?,
        main,
        record: state.read(),
    })
}

/// Whether a route of table main decides on the way to the metadata server.
pub(super) fn leads_to_metadata_server(route: &Route) -> bool {
    let destination = route.destination;
    route.table == MAIN_TABLE && (destination.prefix_len() == 0 || is_metadata_server(destination))
}

/// Lists the addresses of all interfaces, in the network namespace of the calling thread.
///
/// # Errors
/// When the socket or the listing fails.
pub fn addresses() -> Result<Vec<Address>, NetlinkError> {
    Socket::open()?.addresses()
}

/// Why an interface could not be looked up.
#[derive(Debug, Error)]
pub enum InterfaceError {
    /// The text is no MAC address.
    #[error(transparent)]
    Malformed(#[from] MalformedMac),
    /// The kernel did not answer.
    #[error("cannot list network interfaces: {0}")]
    Netlink(#[from] NetlinkError),
}

/// The interface that is the NIC with this MAC address, in any letter case; `None` when there is none.
///
/// This is the `GetNetworkInterface` of the common libraries. Each call asks the kernel, so that a NIC that was
/// plugged in or renamed meanwhile is found. The rules are those of [`interfaces::find()`].
///
/// # Errors
/// [`InterfaceError::Malformed`] for a text that is no MAC address, [`InterfaceError::Netlink`] when listing fails.
pub fn interface_by_mac(mac: &str) -> Result<Option<Link>, InterfaceError> {
    let mac: MacAddress = mac.parse()?;
    let links = Socket::open()?.links()?;
    Ok(interfaces::find(&links, mac).cloned())
}
