//! Queues and interrupts of network interfaces (spec/core.md 13.4, spec/beyond.md 20.1).
//!
//! In two stages, with a look at the machine in between: a change of channels or rings makes queues and interrupts anew,
//! and some drivers forget the affinities over it.

use super::super::cpus::CpuSet;
use super::super::platform::Platform;
use super::super::snapshot::{Interface, Interrupts, Network, TransmitQueue};
use super::{Action, Change, Plan, add_affinities, setting};
use crate::system::ethtool::{Coalescing, Rings};
use crate::system::order::Map;

/// The number of flows that an x4 machine steers to the processors that wait for them, in all and for each of 16 queues.
const X4_FLOWS: u32 = 262_144;
const X4_FLOWS_OF_A_QUEUE: u32 = X4_FLOWS / 16;

const X4_RINGS: Rings = Rings {
    receive: 4096,
    transmit: 2048,
};

const X4_COALESCING: Coalescing = Coalescing {
    receive_microseconds: 20,
    transmit_microseconds: 50,
    adaptive_receive: false,
    adaptive_transmit: false,
};

const A4X_MAX_RINGS: Rings = Rings {
    receive: 2048,
    transmit: 1024,
};

impl Interface {
    /// An IDPF NIC that carries the network and is no RDMA device.
    fn is_idpf(&self) -> bool {
        self.is_pci && !self.is_rdma && self.driver.contains("idpf")
    }

    fn is_gve(&self) -> bool {
        self.driver.contains("gve") || self.driver.contains("gvnic")
    }

    fn is_virtio(&self) -> bool {
        self.driver == "virtio_net"
    }
}

/// First stage: as many channels as the device has, and the rings and the moderation that some machines want.
#[must_use]
pub fn devices(network: &Network, platform: &Platform) -> Plan {
    let mut plan = Plan::default();
    if platform.is_x4() {
        x4_devices(&mut plan, network);
        return plan;
    }
    for interface in &network.interfaces {
        // Of IDPF, some machines want another number of channels than all: see `x4_devices`.
        if interface.is_virtio() || (interface.is_idpf() && platform.is_known()) {
            plan.changes.extend(all_channels(interface));
        }
        let on_a_node = network
            .processors
            .nodes
            .iter()
            .any(|node| node.number == interface.node);
        if platform.is_a4x_max() && interface.is_pci && on_a_node {
            plan.changes.extend(rings(interface, A4X_MAX_RINGS));
        }
    }
    plan
}

/// Second stage: which processor serves which queue. `on_nodes` is what [`on_nodes`] said.
#[must_use]
pub fn affinities(network: &Network, platform: &Platform, on_nodes: Map<u32, CpuSet>) -> Plan {
    let mut plan = Plan::default();
    let mut wanted = Map::new();
    if platform.is_x4() {
        x4_interrupts(&mut wanted, network);
    } else {
        virtio_interrupts(&mut wanted, network);
        hinted_interrupts(&mut wanted, &network.interrupts);
        for (number, cpus) in on_nodes {
            wanted.insert(number, cpus);
        }
        for interface in &network.interfaces {
            let masks = if platform.is_accelerator() {
                accelerator_masks(network, platform, interface)
            } else {
                missing_masks(network, interface)
            };
            add_masks(&mut plan, network, interface, &masks);
        }
    }
    add_affinities(&mut plan, &network.interrupts, &wanted);
    plan
}

fn x4_devices(plan: &mut Plan, network: &Network) {
    if let Some(flows) = network.flows
        && flows != X4_FLOWS
    {
        plan.changes.push(setting(
            "net.core.rps_sock_flow_entries",
            &flows.to_string(),
            "/proc/sys/net/core/rps_sock_flow_entries",
            &X4_FLOWS.to_string(),
        ));
    }
    for interface in network.interfaces.iter().filter(|nic| nic.is_idpf()) {
        plan.changes.extend(rings(interface, X4_RINGS));
        plan.changes.extend(coalescing(interface, X4_COALESCING));
        for (queue, flows) in &interface.receive {
            let name = &interface.name;
            if let Some(flows) = flows
                && *flows != X4_FLOWS_OF_A_QUEUE
            {
                plan.changes.push(setting(
                    &format!("{name} rx-{queue} flows"),
                    &flows.to_string(),
                    &format!("/sys/class/net/{name}/queues/rx-{queue}/rps_flow_cnt"),
                    &X4_FLOWS_OF_A_QUEUE.to_string(),
                ));
            }
        }
    }
}

fn all_channels(interface: &Interface) -> Option<Change> {
    let channels = interface.channels?;
    (channels.maximum > 1 && channels.combined != channels.maximum).then(|| Change {
        subject: format!("{} channels", interface.name),
        before: channels.combined.to_string(),
        after: channels.maximum.to_string(),
        action: Action::Channels {
            interface: interface.name.clone(),
            combined: channels.maximum,
        },
    })
}

fn rings(interface: &Interface, rings: Rings) -> Option<Change> {
    let told = |rings: Rings| format!("rx {} tx {}", rings.receive, rings.transmit);
    let present = interface.rings?;
    (present != rings).then(|| Change {
        subject: format!("{} rings", interface.name),
        before: told(present),
        after: told(rings),
        action: Action::Rings {
            interface: interface.name.clone(),
            rings,
        },
    })
}

fn coalescing(interface: &Interface, coalescing: Coalescing) -> Option<Change> {
    let told = |this: Coalescing| {
        let adaptive = |is| if is { " adaptive" } else { "" };
        format!(
            "rx {} us{} tx {} us{}",
            this.receive_microseconds,
            adaptive(this.adaptive_receive),
            this.transmit_microseconds,
            adaptive(this.adaptive_transmit)
        )
    };
    let present = interface.coalescing?;
    (present != coalescing).then(|| Change {
        subject: format!("{} moderation", interface.name),
        before: told(present),
        after: told(coalescing),
        action: Action::Coalescing {
            interface: interface.name.clone(),
            coalescing,
        },
    })
}

/// The interrupts of IDPF queues go to the processors one by one, without the first, which has enough to do.
fn x4_interrupts(wanted: &mut Map<u32, CpuSet>, network: &Network) {
    let cpus = without_first(&network.processors.online);
    let queues = network.interrupts.by_number.iter();
    let queues = queues.filter(|(_, interrupt)| interrupt.has(is_idpf_queue));
    for ((number, _), cpu) in queues.zip(cpus.iter().cycle()) {
        wanted.insert(*number, CpuSet::one(*cpu));
    }
}

/// One queue, or none with its own interrupt: the first processor (spec/core.md BUG 41). Else queue `n`: processor `n`.
fn virtio_interrupts(wanted: &mut Map<u32, CpuSet>, network: &Network) {
    let cpus: Vec<u32> = network.processors.online.iter().collect();
    let Some(first) = cpus.first() else {
        return;
    };
    for (number, interrupt) in &network.interrupts.by_number {
        for handler in &interrupt.handlers {
            let (device, queue) = match handler.split_once('-') {
                Some((device, queue)) => (device, virtio_queue(queue)),
                None => (handler.as_str(), None),
            };
            if !network.virtio_devices.iter().any(|known| known == device) {
                continue;
            }
            if handler == device {
                wanted.insert(*number, CpuSet::one(*first));
            } else if let Some(queue) = queue
                && interrupt.can_have_hint
            {
                wanted.insert(*number, CpuSet::one(cpus[queue % cpus.len()]));
            }
        }
    }
}

/// `input.3` and `output.3` are queue 3.
fn virtio_queue(name: &str) -> Option<usize> {
    let number = name
        .strip_prefix("input.")
        .or_else(|| name.strip_prefix("output."))?;
    number.parse().ok()
}

/// The interrupts of gVNIC queues go where their driver suggests, as irqbalance would send them.
fn hinted_interrupts(wanted: &mut Map<u32, CpuSet>, interrupts: &Interrupts) {
    for (number, interrupt) in &interrupts.by_number {
        if interrupt.follows_hint() && !interrupt.hint.is_empty() {
            wanted.insert(*number, interrupt.hint.clone());
        }
    }
}

fn is_idpf_queue(handler: &str) -> bool {
    handler.contains("TxRx")
}

/// The places of an accelerator's interrupts: on each node, those of its NICs go to its processors one by one, from one NIC
/// to the next. Whatever their drivers suggest, these count.
#[must_use]
pub fn on_nodes(network: &Network, platform: &Platform) -> Map<u32, CpuSet> {
    let mut wanted = Map::new();
    if platform.is_x4() || !platform.is_accelerator() {
        return wanted;
    }
    for node in &network.processors.nodes {
        let cpus = match node.number {
            // The first processor has enough to do.
            0 => without_first(&node.cpus),
            _ => node.cpus.iter().collect(),
        };
        let mut cpus = cpus.iter().cycle();
        let here = |nic: &&Interface| nic.is_pci && nic.node == node.number;
        for interface in network.interfaces.iter().filter(here) {
            // Zipped in this order, no processor is taken out of turn.
            if interface.is_gve() {
                let half = interface.interrupts.len() / 2;
                let (transmit, rest) = interface.interrupts.split_at(half);
                let pairs = transmit.iter().zip(rest);
                for ((transmit, receive), cpu) in pairs.zip(&mut cpus) {
                    wanted.insert(*transmit, CpuSet::one(*cpu));
                    wanted.insert(*receive, CpuSet::one(*cpu));
                }
            } else if interface.is_idpf() {
                let known = &network.interrupts.by_number;
                let is_queue = |number: &&u32| {
                    let interrupt = known.get(number);
                    interrupt.is_some_and(|interrupt| interrupt.has(is_idpf_queue))
                };
                let queues = interface.interrupts.iter().filter(is_queue);
                for (queue, cpu) in queues.zip(&mut cpus) {
                    wanted.insert(*queue, CpuSet::one(*cpu));
                }
            }
        }
    }
    wanted
}

/// The processors without the first, unless it is the only one.
fn without_first(cpus: &CpuSet) -> Vec<u32> {
    let all: Vec<u32> = cpus.iter().collect();
    match all.split_first() {
        Some((_, rest)) if !rest.is_empty() => rest.to_vec(),
        _ => all,
    }
}

/// The processors of each transmit queue, by the queue's number: every node has its share of the queues, and every queue
/// its share of the node's processors. With more nodes than queues, nodes share a queue.
fn accelerator_masks(
    network: &Network,
    platform: &Platform,
    interface: &Interface,
) -> Map<u32, CpuSet> {
    let mut masks: Map<u32, CpuSet> = Map::new();
    let queues = interface.transmit.len();
    let nodes = &network.processors.nodes;
    if queues == 0 || nodes.is_empty() {
        return masks;
    }
    if platform.is_a4x() {
        let all = |queue: &TransmitQueue| (queue.number, network.processors.online.clone());
        return interface.transmit.iter().map(all).collect();
    }
    let queues_of_a_node = queues / nodes.len();
    for (index, node) in nodes.iter().enumerate() {
        let cpus: Vec<u32> = node.cpus.iter().collect();
        if queues_of_a_node == 0 {
            let number = interface.transmit[index % queues].number;
            let mask = masks.remove(&number).unwrap_or_default();
            masks.insert(number, mask.union(&node.cpus));
            continue;
        }
        let first = index * queues_of_a_node;
        let share = cpus.len() / queues_of_a_node;
        for turn in 0..queues_of_a_node {
            let from = turn * share;
            let to = if turn + 1 == queues_of_a_node {
                cpus.len()
            } else {
                from + share
            };
            let number = interface.transmit[first + turn].number;
            masks.insert(number, cpus[from..to].iter().copied().collect());
        }
    }
    masks
}

/// The processors of each transmit queue where the driver chose none, as those of old kernels: queue `n` of `N` gets
/// every `N`th processor from `n` on (spec/core.md 13.4). Where the driver chose, it knows better.
fn missing_masks(network: &Network, interface: &Interface) -> Map<u32, CpuSet> {
    let queues = &interface.transmit;
    let unset = |queue: &TransmitQueue| queue.cpus.as_ref().is_some_and(CpuSet::is_empty);
    if !(interface.is_virtio() || interface.is_gve()) || queues.len() < 2 {
        return Map::new();
    }
    if !queues.iter().all(unset) {
        return Map::new();
    }
    let cpus: Vec<u32> = network.processors.online.iter().collect();
    let share = |(index, queue): (usize, &TransmitQueue)| {
        let cpus = cpus.iter().copied().skip(index).step_by(queues.len());
        (queue.number, cpus.collect())
    };
    queues.iter().enumerate().map(share).collect()
}

fn add_masks(plan: &mut Plan, network: &Network, interface: &Interface, masks: &Map<u32, CpuSet>) {
    let highest = network.processors.online.iter().last();
    let width = highest.map_or(0, |highest| highest + 1);
    for queue in &interface.transmit {
        let (Some(present), Some(mask)) = (&queue.cpus, masks.get(&queue.number)) else {
            continue;
        };
        if present == mask {
            continue;
        }
        let (name, number) = (&interface.name, queue.number);
        plan.changes.push(Change {
            subject: format!("{name} tx-{number} XPS CPUs"),
            before: present.to_string(),
            after: mask.to_string(),
            action: Action::Write {
                path: format!("/sys/class/net/{name}/queues/tx-{number}/xps_cpus"),
                value: mask.mask(width),
            },
        });
    }
}

#[cfg(test)]
mod tests;
