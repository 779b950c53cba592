//! What only the ioctl tells: channels, rings, moderation. Everything else is in tests/tuning.rs, on copies of machines.

use serde_json::json;

use super::*;
use crate::metadata::document::Document;
use crate::setup::tuning::snapshot::{Node, Processors};
use crate::system::ethtool::Channels;

fn nic(name: &str, driver: &str) -> Interface {
    Interface {
        name: name.to_owned(),
        driver: driver.to_owned(),
        is_pci: true,
        channels: Some(Channels {
            combined: 2,
            maximum: 16,
        }),
        rings: Some(Rings {
            receive: 512,
            transmit: 512,
        }),
        coalescing: Some(Coalescing {
            receive_microseconds: 3,
            transmit_microseconds: 50,
            adaptive_receive: true,
            adaptive_transmit: false,
        }),
        ..Interface::default()
    }
}

fn network() -> Network {
    let rdma = Interface {
        is_rdma: true,
        node: -1,
        ..nic("rdma0", "idpf")
    };
    let one_channel = Interface {
        channels: Some(Channels {
            combined: 1,
            maximum: 1,
        }),
        ..nic("eth3", "virtio_net")
    };
    let node = Node {
        number: 0,
        cpus: CpuSet::first(16),
    };
    Network {
        processors: Processors {
            online: CpuSet::first(16),
            nodes: vec![node],
        },
        interfaces: vec![
            nic("eth0", "virtio_net"),
            nic("eth1", "gve"),
            nic("eth2", "idpf"),
            one_channel,
            rdma,
        ],
        flows: Some(0),
        ..Network::default()
    }
}

fn told(machine_type: &str) -> Vec<String> {
    let document = json!({"instance": {"machineType": machine_type}});
    let platform = Platform::of(&Document::parse(&document));
    let plan = devices(&network(), &platform);
    plan.changes.iter().map(Change::to_string).collect()
}

#[test]
fn channels_are_as_many_as_there_can_be() {
    assert_eq!(told(""), ["eth0 channels: 2 -> 16"]);
    assert_eq!(
        told("n2-standard-16"),
        ["eth0 channels: 2 -> 16", "eth2 channels: 2 -> 16"]
    );
}

#[test]
fn some_machines_have_their_own_rings_and_moderation() {
    assert_eq!(
        told("x4-megamem-960-metal"),
        [
            "net.core.rps_sock_flow_entries: 0 -> 262144",
            "eth2 rings: rx 512 tx 512 -> rx 4096 tx 2048",
            "eth2 moderation: rx 3 us adaptive tx 50 us -> rx 20 us tx 50 us",
        ]
    );
    let a4x_max = told("a4x-maxgpu-4g-metal");
    let rings = a4x_max.iter().filter(|line| line.contains("rings"));
    assert_eq!(
        rings.cloned().collect::<Vec<_>>(),
        ["eth0", "eth1", "eth2", "eth3"]
            .map(|nic| format!("{nic} rings: rx 512 tx 512 -> rx 2048 tx 1024")),
        "those on a node"
    );
}

#[test]
fn what_is_right_is_left_alone() {
    let mut network = network();
    for nic in &mut network.interfaces {
        nic.channels = None;
        nic.rings = Some(X4_RINGS);
        nic.coalescing = Some(X4_COALESCING);
        nic.receive = vec![(0, Some(X4_FLOWS_OF_A_QUEUE)), (1, None)];
    }
    network.flows = Some(X4_FLOWS);
    for machine_type in ["x4-megamem-960-metal", "n2-standard-16"] {
        let document = json!({"instance": {"machineType": machine_type}});
        let platform = Platform::of(&Document::parse(&document));
        assert_eq!(devices(&network, &platform), Plan::default());
    }
}
