//! The names of NICs of accelerator machines and of Intel's NICs, for udev (spec/beyond.md 20.2).
//!
//! [`observe`] reads what /sys says of the PCI bus and of the interfaces, and [`plan`] names one of them, or says why it
//! keeps the kernel's name: that is better than a wrong one.

pub mod observe;
pub mod plan;
pub mod snapshot;
