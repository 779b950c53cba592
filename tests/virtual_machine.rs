//! What only a machine with a kernel of its own shows, in one boot of a virtual machine.
//!
//! Debian packages: mmdebstrap, qemu-system-x86, cpio, e2fsprogs.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a failure is a panic, and programs are started directly"
)]

#[path = "virtual_machine/boot.rs"]
mod boot;
#[path = "virtual_machine/clock.rs"]
mod clock;
#[path = "virtual_machine/network.rs"]
mod network;
mod support;
#[path = "virtual_machine/time_server.rs"]
mod time_server;
#[path = "virtual_machine/tuning.rs"]
mod tuning;

use std::time::Instant;

use support::package;
use support::virtual_machine::{VirtualMachine, on_virtual_machine};

/// One boot for everything: it takes longer than what is looked at.
#[test]
fn what_only_a_machine_of_its_own_shows() {
    let started = Instant::now();
    let mut server = None;
    let package = package::for_test("virtual_machine");
    on_virtual_machine(
        "what_only_a_machine_of_its_own_shows",
        |hardware, vm| {
            hardware.network_card(2);
            hardware.nvme("nvme_card7");
            hardware.scsi("local-ssd-0", 2);
            hardware.file("/etc/injected", 0o644, "by the test\n");
            network::prepare(hardware);
            clock::prepare(hardware);
            vm.set("instance/description", "a virtual machine");
            server = Some(boot::prepare(hardware, vm, &package));
            tuning::prepare(hardware, vm);
            // Announced already when the agent starts.
            vm.set("instance/preempted", "TRUE");
            let hook = "#!/bin/sh\ncat /proc/self/oom_score_adj > /run/score\n";
            hardware.file("/etc/gce-guest/hooks.d/preempted/score", 0o755, hook);
        },
        |mut machine| {
            println!("the shell answers after {:?}", started.elapsed());
            machine.wait_for_boot();
            println!("up after {:?}", started.elapsed());
            boot::is_sound(&mut machine, started);
            look_around(&mut machine);
            look_at_the_memory_score(&mut machine);
            tuning::look(&mut machine);
            network::is_set_up(&mut machine);
            println!("the network is done after {:?}", started.elapsed());
            clock::is_kept_right(&mut machine);
            println!("done after {:?}", started.elapsed());
        },
    );
    drop(server);
}

fn look_around(machine: &mut VirtualMachine) {
    assert_eq!(machine.run("cat /etc/injected"), "by the test");
    assert_eq!(
        machine.run("gce-guest metadata get instance/description"),
        "a virtual machine"
    );
    assert_eq!(
        machine.run("cat /sys/class/dmi/id/product_name"),
        "Google Compute Engine"
    );
    let queues = machine.run("ethtool -l eth1");
    assert!(queues.contains("Combined:\t2"), "{queues}");
    let disk = "ls /sys/bus/pci/drivers/nvme/0000:*/msi_irqs && cat /sys/block/sda/device/model /sys/block/*/size";
    let disks = machine.run(disk);
    assert!(disks.contains("EphemeralDisk"), "{disks}");
    assert_eq!(disks.matches("786432000").count(), 3, "{disks}");
    let failed = machine.attempt("echo out; echo err >&2; exit 3");
    assert_eq!(
        (
            failed.status,
            failed.stdout.as_str(),
            failed.stderr.as_str()
        ),
        (3, "out", "err")
    );
}

/// When memory is short, the agent is the last to go, and not so what it starts. Containers often may not say so.
fn look_at_the_memory_score(machine: &mut VirtualMachine) {
    machine.run("systemd-run --unit=agent --property=Type=notify gce-guest agent");
    let own = "cat /proc/$(systemctl show --value --property=MainPID agent)/oom_score_adj";
    assert_eq!(machine.run(own), "-999");
    let wait =
        "for n in $(seq 600); do [ -s /run/score ] && break; sleep 0.1; done; cat /run/score";
    assert_eq!(machine.run(wait), "0");
}
