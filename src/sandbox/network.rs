//! The network of the sandbox: `lo` with the metadata server's address, and its interfaces. No route leads out.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::{METADATA_ADDRESS, Nic};
use crate::system::netlink::{NetlinkError, Socket};

/// Sets the network up. The kernel gives `lo` its own addresses when it comes up.
pub(super) fn set_up(nics: &[Nic]) -> io::Result<()> {
    let mut socket = Socket::open().map_err(io::Error::other)?;
    let lo = index_of(&mut socket, "lo")?;
    set_up_one(&mut socket, lo, Some(METADATA_ADDRESS)).map_err(|error| told("lo", &error))?;
    nics.iter().try_for_each(|nic| add(&mut socket, nic))
}

/// Adds an interface and brings both of its ends up, so that it has a carrier.
fn add(socket: &mut Socket, nic: &Nic) -> io::Result<()> {
    let peer = format!("{}p", nic.name);
    socket
        .create_veth(&nic.name, nic.mac, &peer)
        .map_err(|error| told(&nic.name, &error))?;
    let peer_index = index_of(socket, &peer)?;
    set_up_one(socket, peer_index, None).map_err(|error| told(&peer, &error))?;
    let index = index_of(socket, &nic.name)?;
    set_up_one(socket, index, nic.address).map_err(|error| told(&nic.name, &error))
}

fn set_up_one(
    socket: &mut Socket,
    index: u32,
    address: Option<Ipv4Addr>,
) -> Result<(), NetlinkError> {
    socket.set_link_up(index, true)?;
    match address {
        Some(address) => socket.add_address(index, IpNet::from(IpAddr::V4(address))),
        None => Ok(()),
    }
}

fn index_of(socket: &mut Socket, name: &str) -> io::Result<u32> {
    match socket.link(name) {
        Ok(Some(link)) => Ok(link.index),
        Ok(None) => Err(io::Error::other(format!(
            "there is no network interface {name}"
        ))),
        Err(error) => Err(told(name, &error)),
    }
}

fn told(name: &str, error: &NetlinkError) -> io::Error {
    io::Error::other(format!(
        "cannot set the network interface {name} up: {error}"
    ))
}
