//! The name of an NVMe disk of the platform, from what it says of itself (spec/beyond.md 20.2). Pure.

use serde::Deserialize;
use thiserror::Error;

/// What the platform's controllers call themselves, as their model or as their serial number.
const CONTROLLER: &str = "nvme_card";

/// The controller of a persistent disk.
const PERSISTENT: &str = "nvme_card-pd";

/// Where the vendor's part of the Identify structure of a namespace begins (NVM Express NVM command set, 4.1.5.1).
const VENDOR_PART: usize = 384;

/// The serial number and the model in the Identify structure of a controller (NVM Express base specification, 5.17.2.1).
const CONTROLLER_TEXTS: [std::ops::Range<usize>; 2] = [24..64, 4..24];

/// The name of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskName {
    /// As the metadata and the console have it: `local-nvme-ssd-0`, or what the owner called the disk.
    pub short: String,
    /// With vendor and kind before it, as udev's `ID_SERIAL`.
    pub long: String,
}

/// Why a disk has no name of the platform.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Nameless {
    /// It is somebody else's disk.
    #[error("not a disk of Compute Engine: its controller is \"{0}\"")]
    Foreign(String),
    /// The device name is not where it should be.
    #[error("the disk does not tell its device name: {0}")]
    Untold(String),
}

/// What the platform puts into the vendor's part.
#[derive(Deserialize)]
struct Vendor {
    device_name: String,
}

/// The name of namespace number `namespace`. `controller` is the Identify structure of the controller; that of the
/// namespace is asked for when it matters.
///
/// # Errors
/// [`Nameless`], with what is there instead.
pub fn name(
    controller: &[u8],
    namespace: u32,
    identify: impl FnOnce() -> Result<Vec<u8>, String>,
) -> Result<DiskName, Nameless> {
    let texts = CONTROLLER_TEXTS.map(|place| text(controller.get(place).unwrap_or_default()));
    let Some(card) = texts.iter().find(|text| text.contains(CONTROLLER)) else {
        return Err(Nameless::Foreign(texts.join(" ").trim().to_owned()));
    };
    if texts.iter().any(|text| text.contains(PERSISTENT)) {
        let short = device_name(&identify().map_err(Nameless::Untold)?)?;
        let long = format!("Google_PersistentDisk_{short}");
        return Ok(DiskName { short, long });
    }
    let number = u64::from(card_number(card)) + u64::from(namespace);
    let short = format!("local-nvme-ssd-{}", number.saturating_sub(1));
    let long = format!("Google_EphemeralDisk_{short}");
    Ok(DiskName { short, long })
}

/// The number after `nvme_card`; 0 where there is none.
fn card_number(card: &str) -> u32 {
    let digits = card.split_once(CONTROLLER).map_or("", |(_, rest)| rest);
    let end = digits.find(|digit: char| !digit.is_ascii_digit());
    digits[..end.unwrap_or(digits.len())].parse().unwrap_or(0)
}

/// The device name in the vendor's part, if it is one: what is printed for udev becomes properties and file names.
fn device_name(namespace: &[u8]) -> Result<String, Nameless> {
    let vendor = namespace.get(VENDOR_PART..).unwrap_or_default();
    let untold = |reason: &str| Nameless::Untold(reason.to_owned());
    if vendor.iter().all(|byte| *byte == 0) {
        return Err(untold("there is no vendor information"));
    }
    // What follows the JSON, zeros or whatever else, does not matter.
    let mut values = serde_json::Deserializer::from_slice(vendor).into_iter::<Vendor>();
    let name = match values.next() {
        Some(Ok(vendor)) => vendor.device_name,
        _ => return Err(untold("the vendor information is not understood")),
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_plain) {
        return Err(untold("it is empty, or has characters that no name has"));
    }
    Ok(name)
}

/// Text of a fixed width, without the padding.
fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim_matches(|padding: char| padding == '\0' || padding.is_whitespace())
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn controller(serial: &str, model: &str) -> Vec<u8> {
        let mut data = vec![0; 4096];
        data[4..64].fill(b' ');
        data[4..4 + serial.len()].copy_from_slice(serial.as_bytes());
        data[24..24 + model.len()].copy_from_slice(model.as_bytes());
        data
    }

    fn namespace(vendor: &[u8]) -> Vec<u8> {
        let mut data = vec![0; 4096];
        data[VENDOR_PART..VENDOR_PART + vendor.len()].copy_from_slice(vendor);
        data
    }

    fn short(controller: &[u8], number: u32, vendor: &[u8]) -> Result<String, Nameless> {
        name(controller, number, || Ok(namespace(vendor))).map(|name| name.short)
    }

    #[test]
    fn local_ssds_are_numbered_over_all_controllers() {
        // One controller with 24 namespaces, and 24 controllers with one each.
        for number in 1..=24_u32 {
            let wanted = format!("local-nvme-ssd-{}", number - 1);
            let one = controller("x", "nvme_card");
            assert_eq!(short(&one, number, b""), Ok(wanted.clone()));
            let many = controller("x", &format!("nvme_card{}", number - 1));
            assert_eq!(short(&many, 1, b""), Ok(wanted));
        }
        let name = name(&controller("x", "nvme_card3"), 1, || Err(String::new())).unwrap();
        assert_eq!(name.long, "Google_EphemeralDisk_local-nvme-ssd-3");
    }

    #[test]
    fn persistent_disks_have_their_device_name() {
        let pd = controller("serial", "nvme_card-pd");
        for device in ["data", "my.disk_1-x", "a"] {
            for json in [
                format!("{{\"device_name\":\"{device}\"}}"),
                format!("{{\"device_name\": \t\"{device}\", \"disk_type\":\"PERSISTENT\"}}\n  \0"),
            ] {
                assert_eq!(short(&pd, 1, json.as_bytes()), Ok(device.to_owned()));
            }
        }
        let name = name(&pd, 7, || Ok(namespace(br#"{"device_name":"d"}"#))).unwrap();
        assert_eq!(name.long, "Google_PersistentDisk_d");
        // Older ones say it as their serial number.
        let old = controller("nvme_card-pd", "Google disk");
        assert_eq!(
            short(&old, 1, br#"{"device_name":"d"}"#),
            Ok("d".to_owned())
        );
    }

    #[test]
    fn what_is_no_name_is_an_error_and_never_printed() {
        let pd = controller("serial", "nvme_card-pd");
        for vendor in [
            &b""[..],
            b"{}",
            b"not json",
            br#"{"device_name":""}"#,
            br#"{"device_name":"a b"}"#,
            br#"{"device_name":"a/b"}"#,
            b"{\"device_name\":\"a\\nID_FS_TYPE=x\"}",
            br#"{"device_name":7}"#,
        ] {
            let error = short(&pd, 1, vendor).unwrap_err();
            assert!(matches!(error, Nameless::Untold(_)), "{vendor:?}: {error}");
        }
        let refused = name(&pd, 1, || Err("refused".to_owned()));
        assert_eq!(refused, Err(Nameless::Untold("refused".to_owned())));
        assert_eq!(
            short(&controller("7", "QEMU NVMe Ctrl"), 1, b""),
            Err(Nameless::Foreign("QEMU NVMe Ctrl 7".to_owned()))
        );
        assert!(short(&[], 1, b"").is_err());
    }
}
