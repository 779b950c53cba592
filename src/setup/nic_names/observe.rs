//! Reads /sys into a snapshot.

use std::path::Path;

use super::snapshot::{Address, Device, Interface, Snapshot};
use crate::system::files::setting::{is_there, names_in, read_setting, resolve};
use crate::system::order::InOrder;
use crate::system::root::Root;

/// What naming looks at.
#[must_use]
pub fn snapshot(root: &Root) -> Snapshot {
    let bus = root.path("/sys/bus/pci/devices");
    let mut devices: Vec<Device> = names_in(&bus)
        .into_iter()
        .filter_map(|name| Some(device(&bus.join(&name), name.parse().ok()?)))
        .collect();
    devices.put_in_order_by(|device| device.address);
    let net = root.path("/sys/class/net");
    let interfaces = names_in(&net)
        .into_iter()
        .map(|name| interface(&net, name))
        .collect();
    Snapshot {
        devices,
        interfaces,
    }
}

fn device(path: &Path, address: Address) -> Device {
    let read = |file| {
        let text = read_setting(&path.join(file))?;
        Some(
            text.strip_prefix("0x")
                .unwrap_or(&text)
                .to_ascii_lowercase(),
        )
    };
    let id = || Some(format!("{}:{}", read("vendor")?, read("device")?));
    let physical = path.join("physfn");
    Device {
        address,
        id: id(),
        directory: resolve(path).unwrap_or_else(|| path.to_path_buf()),
        has_infiniband: is_there(&path.join("infiniband")),
        physical: is_there(&physical).then(|| address_of(&resolve(&physical)?)),
    }
}

fn interface(net: &Path, name: String) -> Interface {
    let path = net.join(&name);
    // DEVICE/net/NAME; what hangs on another bus has something between.
    let directory = resolve(&path);
    let owner = directory
        .as_deref()
        .and_then(Path::parent)
        .and_then(Path::parent);
    Interface {
        address: owner.and_then(address_of),
        port: read_setting(&path.join("phys_port_name")).filter(|port| !port.is_empty()),
        name,
    }
}

fn address_of(path: &Path) -> Option<Address> {
    path.file_name()?.to_str()?.parse().ok()
}
