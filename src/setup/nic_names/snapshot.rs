//! What /sys says of the PCI bus and of network interfaces, as values.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The address of a PCI device. The order is the bus's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The domain.
    pub domain: u32,
    /// The bus.
    pub bus: u8,
    /// The device on the bus.
    pub device: u8,
    /// The function of the device.
    pub function: u8,
}

/// A text that is no address of a PCI device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAddress;

impl FromStr for Address {
    type Err = NoAddress;

    /// Reads `0000:8a:00.0`, as /sys has it.
    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let number = |digits: &str, width: std::ops::RangeInclusive<usize>| {
            let is_hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !width.contains(&digits.len()) || !is_hexadecimal {
                return Err(NoAddress);
            }
            u32::from_str_radix(digits, 16).map_err(|_| NoAddress)
        };
        let byte = |digits, width: usize| {
            number(digits, width..=width)
                .and_then(|value| u8::try_from(value).map_err(|_| NoAddress))
        };
        let (rest, function) = text.rsplit_once('.').ok_or(NoAddress)?;
        let (rest, device) = rest.rsplit_once(':').ok_or(NoAddress)?;
        let (domain, bus) = rest.split_once(':').ok_or(NoAddress)?;
        Ok(Self {
            domain: number(domain, 4..=8)?,
            bus: byte(bus, 2)?,
            device: byte(device, 2)?,
            function: byte(function, 1)?,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            domain,
            bus,
            device,
            function,
        } = self;
        write!(
            formatter,
            "{domain:04x}:{bus:02x}:{device:02x}.{function:x}"
        )
    }
}

/// A device on the PCI bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its address.
    pub address: Address,
    /// Vendor and device, as `15b3:101e`; `None` when they could not be read.
    pub id: Option<String>,
    /// Its directory with all links resolved: what is above it are the bridges.
    pub directory: PathBuf,
    /// Whether it has an RDMA device.
    pub has_infiniband: bool,
    /// Of a virtual function, the physical one where this machine has it: `Some(None)` when that is no address.
    pub physical: Option<Option<Address>>,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name now.
    pub name: String,
    /// The PCI device that it belongs to directly; `None` for all others.
    pub address: Option<Address>,
    /// What its driver calls the port, such as `p0` or `pf0vf3`.
    pub port: Option<String>,
}

/// The machine, as far as names go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Every device on the PCI bus, by address.
    pub devices: Vec<Device>,
    /// Every network interface.
    pub interfaces: Vec<Interface>,
}
