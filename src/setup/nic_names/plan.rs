//! Names one NIC, from a snapshot. Pure.
//!
//! Whatever is not as on the platform's machines is a reason to keep the kernel's name, and so is a name that another NIC
//! has or has a right to.

use std::path::Path;

use thiserror::Error;

use super::snapshot::{Address, Device, Interface, Snapshot};

/// Intel's NIC, and the virtual function of it that may do RDMA.
const ETHERNET: &str = "8086:1452";
const ETHERNET_FUNCTION: &str = "8086:145c";

/// ConnectX: the virtual functions of all of them, and `ConnectX`-8.
const GPU_NICS: [&str; 2] = ["15b3:101e", "15b3:1023"];

/// H100, H200, B200, GB200, GB300.
const GPUS: [&str; 5] = [
    "10de:2330",
    "10de:2335",
    "10de:2901",
    "10de:2941",
    "10de:31c2",
];

/// The longest name of an interface (`IFNAMSIZ`, without the zero at its end).
const LONGEST: usize = 15;

/// `gpuNrdma0` and `gpuNrdma1` are the physical functions'; the virtual ones count from here.
const FIRST_VIRTUAL: usize = 2;

/// The name of a NIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub name: String,
    /// Whether an interface has it now that is to be called otherwise, and must make way.
    pub in_the_way: bool,
}

/// Why a NIC keeps the kernel's name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Kept {
    /// The path that udev gave is of something else.
    #[error("{0} is no network interface of a PCI device")]
    NoInterface(String),
    /// It is not on the bus.
    #[error("there is no PCI device {0}")]
    NoDevice(Address),
    /// What is on the bus is not known for sure, and names count it.
    #[error("vendor or device of {0} cannot be read")]
    Unreadable(Address),
    /// It is none of those that are named.
    #[error("{0} ({1}) has no name of the platform")]
    Unknown(Address, String),
    /// udev made no name from its path.
    #[error("it does no RDMA, and udev gave no name by its path")]
    NoPathName,
    /// GPUs and NICs are not together as they should be.
    #[error(
        "{0} cannot be told its GPU: there are {1} NICs and {2} GPUs, and no bridge has their ratio"
    )]
    NoGpu(Address, usize, usize),
    /// A port of a kind that is not named.
    #[error("its port \"{0}\" is of no kind that is named")]
    Port(String),
    /// The kernel would not take it.
    #[error("\"{0}\" is too long for a name, or has characters that none has")]
    NotAName(String),
    /// Two NICs have a right to it.
    #[error("{0} would be the name of {1}, too")]
    Ambiguous(String, Address),
    /// Another interface has it, and keeps it.
    #[error("{0} is the name of another interface")]
    Taken(String),
}

/// The name of the interface at `device`, a path of udev such as `/devices/pci0000:00/0000:00:05.0/net/eth1`. `path_name` is
/// the name that udev makes from it.
///
/// # Errors
/// [`Kept`], with the reason.
pub fn name(snapshot: &Snapshot, device: &str, path_name: Option<&str>) -> Result<Named, Kept> {
    let (address, current) = place(device).ok_or_else(|| Kept::NoInterface(device.to_owned()))?;
    let nic = snapshot
        .devices
        .iter()
        .find(|device| device.address == address)
        .ok_or(Kept::NoDevice(address))?;
    let unread = snapshot.devices.iter().find(|device| device.id.is_none());
    if let Some(unread) = unread {
        return Err(Kept::Unreadable(unread.address));
    }
    let port = snapshot
        .interfaces
        .iter()
        .find(|interface| interface.name == current)
        .and_then(|interface| interface.port.as_deref());
    let name = if has(nic, &[ETHERNET, ETHERNET_FUNCTION]) {
        ethernet(snapshot, nic, path_name)?
    } else {
        gpu_nic(snapshot, nic, port)?
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if name.len() > LONGEST || name.is_empty() || !name.bytes().all(is_plain) {
        return Err(Kept::NotAName(name));
    }
    let in_the_way = in_the_way(snapshot, nic, current, &name)?;
    Ok(Named { name, in_the_way })
}

/// The PCI device right above `net`, and the interface.
fn place(device: &str) -> Option<(Address, &str)> {
    let mut parts = device.rsplit('/');
    let interface = parts.next().filter(|name| !name.is_empty())?;
    let class = parts.next()?;
    let address = parts.next()?.parse().ok()?;
    (class == "net").then_some((address, interface))
}

fn has(device: &Device, ids: &[&str]) -> bool {
    device.id.as_deref().is_some_and(|id| ids.contains(&id))
}

/// `ethN`, `rdmaN`, or a name by the path. N counts both kinds.
fn ethernet(snapshot: &Snapshot, nic: &Device, path_name: Option<&str>) -> Result<String, Kept> {
    let number = snapshot
        .devices
        .iter()
        .filter(|device| has(device, &[ETHERNET, ETHERNET_FUNCTION]))
        .take_while(|device| device.address != nic.address)
        .count();
    if has(nic, &[ETHERNET]) {
        return Ok(format!("eth{number}"));
    }
    if nic.has_infiniband {
        return Ok(format!("rdma{number}"));
    }
    // Without RDMA it must not take the place of a NIC that is the machine's own.
    path_name.map(str::to_owned).ok_or(Kept::NoPathName)
}

/// Whether another interface has that name now.
fn in_the_way(snapshot: &Snapshot, nic: &Device, current: &str, name: &str) -> Result<bool, Kept> {
    if current == name {
        return Ok(false);
    }
    let Some(holder) = snapshot.interfaces.iter().find(|other| other.name == name) else {
        return Ok(false);
    };
    if goes_away(snapshot, nic, holder) {
        return Ok(true);
    }
    Err(Kept::Taken(name.to_owned()))
}

/// Whether an interface that has another's name is one of Intel's, and is therefore named otherwise: these names are the
/// kernel's kind, and are dealt out differently.
fn goes_away(snapshot: &Snapshot, nic: &Device, holder: &Interface) -> bool {
    let Some(address) = holder.address.filter(|address| *address != nic.address) else {
        return false;
    };
    let owner = snapshot
        .devices
        .iter()
        .find(|device| device.address == address);
    owner.is_some_and(|owner| has(nic, &[ETHERNET]) && has(owner, &[ETHERNET, ETHERNET_FUNCTION]))
}

/// How many NICs share a GPU, or GPUs a NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ratio {
    NicsOfGpu(usize),
    GpusOfNic(usize),
}

/// NICs of GPUs and GPUs, each in the order of the bus.
struct Places<'a> {
    nics: Vec<&'a Device>,
    gpus: Vec<&'a Device>,
}

impl<'a> Places<'a> {
    /// Those below a directory.
    fn below(snapshot: &'a Snapshot, directory: &Path) -> Self {
        let below = |device: &&Device| device.directory.starts_with(directory);
        let here = || snapshot.devices.iter().filter(below);
        Self {
            // Virtual functions come and go, and must not change the names of the others.
            nics: here()
                .filter(|device| has(device, &GPU_NICS) && device.physical.is_none())
                .collect(),
            gpus: here().filter(|device| has(device, &GPUS)).collect(),
        }
    }

    /// `None` when it does not come out even: something is missing, and it is not known whose it was.
    fn ratio(&self) -> Option<Ratio> {
        let (nics, gpus) = (self.nics.len(), self.gpus.len());
        if nics == 0 || gpus == 0 {
            return None;
        }
        if nics.is_multiple_of(gpus) {
            return Some(Ratio::NicsOfGpu(nics / gpus));
        }
        gpus.is_multiple_of(nics)
            .then(|| Ratio::GpusOfNic(gpus / nics))
    }
}

fn index(devices: &[&Device], address: Address) -> Option<usize> {
    devices.iter().position(|device| device.address == address)
}

/// A NIC's GPU, its number among all GPUs; and the NIC's number among those that share it, or how many it has.
fn gpu_of(snapshot: &Snapshot, nic: &Device) -> Result<(usize, Ratio, usize), Kept> {
    let all = Places::below(snapshot, Path::new("/"));
    let lost = || Kept::NoGpu(nic.address, all.nics.len(), all.gpus.len());
    let ratio = all.ratio().ok_or_else(lost)?;
    let number = index(&all.nics, nic.address).ok_or_else(lost)?;
    let near = nic
        .directory
        .ancestors()
        .map(|directory| Places::below(snapshot, directory))
        .find(|places| places.ratio() == Some(ratio))
        .ok_or_else(lost)?;
    let local = index(&near.nics, nic.address).ok_or_else(lost)?;
    let (gpu, share) = match ratio {
        Ratio::NicsOfGpu(nics) => (local / nics, number % nics),
        Ratio::GpusOfNic(gpus) => (local * gpus, 0),
    };
    let gpu = near.gpus.get(gpu).ok_or_else(lost)?;
    let gpu = index(&all.gpus, gpu.address).ok_or_else(lost)?;
    Ok((gpu, ratio, share))
}

fn gpu_nic(snapshot: &Snapshot, nic: &Device, port: Option<&str>) -> Result<String, Kept> {
    let name = own_name(snapshot, nic)?;
    // A virtual function gives way to a physical one, never the other way round.
    let rivals = snapshot.devices.iter().filter(|other| {
        other.address != nic.address && (nic.physical.is_some() || other.physical.is_none())
    });
    for rival in rivals.filter(|rival| has(rival, &GPU_NICS)) {
        if own_name(snapshot, rival).as_ref() == Ok(&name) {
            return Err(Kept::Ambiguous(name, rival.address));
        }
    }
    match port {
        Some(port) if nic.physical.is_none() && !is_uplink(port) => {
            representor(snapshot, nic, port)
        }
        _ => Ok(name),
    }
}

/// The name of a function, whoever else may have it.
fn own_name(snapshot: &Snapshot, nic: &Device) -> Result<String, Kept> {
    let unknown = || Kept::Unknown(nic.address, nic.id.clone().unwrap_or_default());
    if !has(nic, &GPU_NICS) {
        return Err(unknown());
    }
    let Some(physical) = nic.physical else {
        return Ok(match gpu_of(snapshot, nic)? {
            (gpu, Ratio::NicsOfGpu(_), share) => format!("gpu{gpu}rdma{share}"),
            (gpu, Ratio::GpusOfNic(_), share) => format!("gpu{gpu}_{}rdma{share}", gpu + 1),
        });
    };
    let owner = snapshot
        .devices
        .iter()
        .find(|device| Some(device.address) == physical && device.physical.is_none())
        .ok_or_else(unknown)?;
    let (gpu, _, _) = gpu_of(snapshot, owner)?;
    Ok(format!("gpu{gpu}rdma{}", nic.address.function))
}

/// The name of the interface that stands on the physical function for a virtual one.
fn representor(snapshot: &Snapshot, nic: &Device, port: &str) -> Result<String, Kept> {
    let unknown = || Kept::Port(port.to_owned());
    let (_, number) = port.rsplit_once("vf").ok_or_else(unknown)?;
    let virtual_function: u16 = match is_number(number) {
        true => number.parse().map_err(|_| unknown())?,
        false => return Err(unknown()),
    };
    let (gpu, _, _) = gpu_of(snapshot, nic)?;
    let share = usize::from(virtual_function) + FIRST_VIRTUAL;
    Ok(format!("gpu{gpu}rdma{share}_rep"))
}

/// Whether a port is that of the cable: `p0`.
fn is_uplink(port: &str) -> bool {
    port.strip_prefix('p').is_some_and(is_number)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    /// A device somewhere below three bridges, of any kind, whole or not.
    fn device() -> impl Strategy<Value = Device> {
        let ids = [
            &[ETHERNET, ETHERNET_FUNCTION, "8086:1237"][..],
            &GPU_NICS,
            &GPUS[..2],
        ]
        .concat();
        let id = prop::sample::select(ids).prop_map(|id| Some(id.to_owned()));
        let id = prop_oneof![99 => id, 1 => Just(None)];
        (0..3_u8, 0..4_u8, 0..4_u8, id, any::<bool>(), 0..12_u8).prop_map(
            |(bus, device, function, id, has_infiniband, physical)| {
                let address = Address {
                    domain: 0,
                    bus,
                    device,
                    function,
                };
                Device {
                    address,
                    id,
                    directory: format!("/sys/devices/pci0000:00/bridge{bus}/{address}").into(),
                    has_infiniband,
                    physical: (physical < 4).then(|| {
                        (physical < 3).then_some(Address {
                            domain: 0,
                            bus: physical,
                            device: 0,
                            function: 0,
                        })
                    }),
                }
            },
        )
    }

    fn machine() -> impl Strategy<Value = Snapshot> {
        prop::collection::vec(device(), 0..24).prop_map(|mut devices| {
            devices.sort_by_key(|device| device.address);
            devices.dedup_by_key(|device| device.address);
            Snapshot {
                devices,
                interfaces: Vec::new(),
            }
        })
    }

    proptest! {
        #[test]
        fn no_two_nics_have_one_name(machine in machine()) {
            let mut seen = std::collections::BTreeMap::new();
            for device in &machine.devices {
                let path = format!("/devices/x/{}/net/nic", device.address);
                // By its path, every NIC has a name of its own from udev.
                if let Ok(named) = name(&machine, &path, Some(&format!("enp{}s{}f{}", device.address.bus,
                    device.address.device, device.address.function))) {
                    prop_assert!(!named.in_the_way);
                    prop_assert!(named.name.len() <= LONGEST);
                    let other = seen.insert(named.name.clone(), device.address);
                    prop_assert_eq!(other, None, "{}", named.name);
                }
            }
        }

        #[test]
        fn any_path_is_answered(machine in machine(), path in ".{0,40}", port in ".{0,12}") {
            let _ = name(&machine, &path, Some(&path));
            let mut machine = machine;
            machine.interfaces.push(Interface { name: "nic".to_owned(), address: None, port: Some(port) });
            for device in &machine.devices {
                let _ = name(&machine, &format!("{}/net/nic", device.directory.display()), None);
            }
        }

        #[test]
        fn addresses_are_read_as_they_are_shown(domain: u32, bus: u8, device: u8, function in 0..16_u8) {
            let address = Address { domain, bus, device, function };
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }
    }

    #[test]
    fn what_is_no_address_is_not_read() {
        for text in [
            "",
            "pci0000:00",
            "0000:00:00",
            "0000:00:00.",
            "0000:0:00.0",
            "0000:00:00.00",
            "000:00:00.0",
            "0000:00:+1.0",
            "123456789:00:00.0",
            "0000:00:00:00.0",
            "0000:00:0\u{e9}.0",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
