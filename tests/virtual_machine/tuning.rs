//! Tuning on a kernel, and the files of packages that the kernel, systemd and udev read: what became of them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::support::poll_until;
use crate::support::virtual_machine::{Hardware, VirtualMachine};
use crate::support::vm::Vm;

/// How long udev may take.
const PATIENCE: Duration = Duration::from_secs(120);

const SYSCTL: &str = "etc/sysctl.d/60-gce-network-security.conf";

/// What the packages carry.
fn files() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/files"))
}

/// A machine whose memory is overcommitted, with the files of the packages and a disk of another vendor.
pub(crate) fn prepare(hardware: &mut Hardware, vm: &Vm) {
    set_machine_type(vm, "e2-standard-2");
    hardware.nvme("foreign");
    for file in [
        SYSCTL,
        "etc/modprobe.d/gce-blacklist.conf",
        "usr/lib/udev/rules.d/64-gce-disk-removal.rules",
        "usr/lib/udev/rules.d/65-gce-disk-naming.rules",
        "usr/lib/udev/rules.d/75-gce-network.rules",
    ] {
        let text = fs::read_to_string(files().join(file)).unwrap();
        hardware.file(file, 0o644, &text);
    }
}

fn set_machine_type(vm: &Vm, name: &str) {
    vm.set(
        "instance/machineType",
        format!("projects/1/machineTypes/{name}"),
    );
}

/// What is there after the boot and its set-up, and after everything was put out of tune.
pub(crate) fn look(machine: &mut VirtualMachine) {
    look_at_the_settings(machine);
    look_at_the_names(machine);
    look_at_the_queues(machine);
    look_at_the_disks(machine);
    let memory = "/proc/sys/vm/overcommit_memory";
    assert_eq!(machine.run(&format!("cat {memory}")), "1");
    machine.run(&format!("echo 0 > {memory}"));
    assert_eq!(
        machine.run(&format!("gce-guest tune memory && cat {memory}")),
        "vm.overcommit_memory: 0 -> 1\n1 changed\n1"
    );
    // What the kernel keeps to itself is told again; nothing is changed.
    let again = machine.run("gce-guest tune all");
    let lines: Vec<&str> = again.lines().collect();
    let (last, left) = lines.split_last().unwrap();
    assert!(
        left.iter().all(|line| line.contains(" left at ")),
        "{again}"
    );
    assert!(
        last.starts_with("0 changed, ") && last.ends_with(" left to the kernel"),
        "{again}"
    );
    remove_a_mounted_disk(machine);
}

/// systemd has set what the file for sysctl says, and modprobe loads nothing that is blacklisted.
fn look_at_the_settings(machine: &mut VirtualMachine) {
    let text = fs::read_to_string(files().join(SYSCTL)).unwrap();
    let settings: Vec<(&str, &str)> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .collect();
    assert!(settings.len() > 15, "{settings:?}");
    let names: Vec<&str> = settings.iter().map(|setting| setting.0).collect();
    let values: Vec<&str> = settings.iter().map(|setting| setting.1).collect();
    let kernel = machine.run(&format!("sysctl -n {}", names.join(" ")));
    assert_eq!(kernel.lines().collect::<Vec<_>>(), values, "{names:?}");
    // Not in the file, and as the kernel has it.
    assert_eq!(machine.run("sysctl -n net.ipv4.tcp_rfc1337"), "0");
    let blacklist = machine.run("modprobe --showconfig | grep '^blacklist'");
    for module in ["nouveau", "floppy"] {
        let line = format!("blacklist {module}");
        assert!(blacklist.lines().any(|other| other == line), "{blacklist}");
    }
}

/// udev has named the platform's disks and their partitions, and no others.
fn look_at_the_names(machine: &mut VirtualMachine) {
    machine.run("addpart /dev/nvme0n1 1 2048 2048; addpart /dev/sda 3 2048 2048");
    let links =
        "cd /dev/disk/by-id && for i in google-*; do echo $i $(basename $(readlink -f $i)); done";
    let expected = "google-local-nvme-ssd-7 nvme0n1\ngoogle-local-nvme-ssd-7-part1 nvme0n1p1\n\
                    google-local-ssd-0 sda\ngoogle-local-ssd-0-part3 sda3";
    poll_until(PATIENCE, expected, || {
        machine.run("udevadm settle --timeout=60");
        machine.attempt(links).stdout == expected
    });
    let complaints = machine.run("journalctl --no-pager -o cat -u systemd-udevd");
    assert!(!complaints.contains("-gce-"), "{complaints}");
    let serial = machine.run("udevadm info --query=property --property=ID_SERIAL /dev/nvme0n1p1");
    assert_eq!(serial, "ID_SERIAL=Google_EphemeralDisk_local-nvme-ssd-7");
    machine.run("delpart /dev/nvme0n1 1; delpart /dev/sda 3; udevadm settle --timeout=60");
    let legacy = "ln -s gce-guest /usr/bin/google_nvme_id; google_nvme_id -d /dev/nvme0n1";
    assert_eq!(
        machine.run(legacy),
        "ID_SERIAL_SHORT=local-nvme-ssd-7\nID_SERIAL=Google_EphemeralDisk_local-nvme-ssd-7"
    );
    let refused = machine.attempt("gce-guest nvme-id -d /dev/sda");
    assert_eq!(refused.status, 1, "{}", refused.stderr);
}

/// A card with two queues after the set-up, and after it was put out of tune.
fn look_at_the_queues(machine: &mut VirtualMachine) {
    // The interrupts of the card's queues, as `NUMBER HANDLER`, and its transmit queues.
    let card = "v=$(basename $(readlink -f /sys/class/net/eth1/device)); cd /proc/irq";
    let irqs = format!(
        "{card}; for i in */$v-*put.*; do echo ${{i#*-}} $(cat ${{i%%/*}}/smp_affinity_list); done | sort"
    );
    let in_tune = "input.0 0\ninput.1 1\noutput.0 0\noutput.1 1";
    let xps = "cat /sys/class/net/eth1/queues/tx-*/xps_cpus";
    assert_eq!(machine.run(&irqs), in_tune);
    machine.run(&format!(
        "ethtool -L eth1 combined 1; {card}; for i in */$v-*put.*; do echo 0-1 > ${{i%%/*}}/smp_affinity_list; done"
    ));
    assert_eq!(machine.run("ls /sys/class/net/eth1/queues"), "rx-0\ntx-0");
    let dry = machine.run("gce-guest tune queues --dry-run");
    assert!(dry.contains("eth1 channels: 1 -> 2"), "{dry}");
    assert_eq!(machine.run("ls /sys/class/net/eth1/queues"), "rx-0\ntx-0");
    let said = machine.run("gce-guest tune queues");
    let channels = machine.run("ethtool -l eth1 | grep Combined");
    assert_eq!(channels.matches('2').count(), 2, "{channels}");
    assert_eq!(machine.run(&irqs), in_tune, "{said}");
    // The driver chose the processors of its transmit queues; without its choice they are ours.
    assert_eq!(machine.run(xps), "1\n2");
    machine.run("for q in /sys/class/net/eth1/queues/tx-*; do echo 0 > $q/xps_cpus; done");
    machine.run("gce-guest tune queues");
    assert_eq!(machine.run(xps), "1\n2");
    // On a machine with one node, all its processors use the queues of a card in turn.
    set_machine_type(&machine.vm, "c4x-standard-2");
    machine.run("for q in /sys/class/net/eth1/queues/tx-*; do echo 3 > $q/xps_cpus; done");
    machine.run("gce-guest tune queues");
    assert_eq!(machine.run(xps), "1\n2");
    set_machine_type(&machine.vm, "e2-standard-2");
}

/// NVMe, and a local SSD on virtio-scsi.
fn look_at_the_disks(machine: &mut VirtualMachine) {
    // Of the schedulers, the chosen one.
    let settings = "cat /sys/block/sda/queue/scheduler /sys/block/nvme0n1/queue/scheduler | sed 's/.*\\[//; s/\\].*//'; \
                    cd /sys/block/sda/queue; cat add_random rotational rq_affinity nomerges";
    let in_tune = "none\nnone\n0\n0\n0\n1";
    assert_eq!(machine.run(settings), in_tune);
    machine.run(
        "echo mq-deadline > /sys/block/nvme0n1/queue/scheduler; cd /sys/block/sda/queue; \
         echo mq-deadline > scheduler; for i in add_random rotational rq_affinity; do echo 1 > $i; done; echo 0 > nomerges",
    );
    let out_of_tune = "mq-deadline\nmq-deadline\n1\n1\n1\n0";
    assert_eq!(machine.run(settings), out_of_tune);
    let said = machine.run("gce-guest tune local-ssd") + &machine.run("gce-guest tune schedulers");
    assert_eq!(machine.run(settings), in_tune, "{said}");
    // The kernel keeps the interrupts of the queues to itself, and the one of the controller is ours.
    let nvme = "cd /proc/irq; for i in */nvme0q0; do cat ${i%/*}/smp_affinity_list; done";
    assert_eq!(machine.run(nvme), "0", "{said}");
    let scsi = "cd /proc/irq; v=$(ls -d /sys/bus/virtio/drivers/virtio_scsi/virtio*); \
                for i in */${v##*/}-request; do cat ${i%/*}/smp_affinity_list; done";
    assert_eq!(machine.run(scsi), "0\n1", "{said}");
}

/// A disk that goes while it is mounted is unmounted.
fn remove_a_mounted_disk(machine: &mut VirtualMachine) {
    machine.run("busybox mke2fs /dev/sda 8192 && mount -t ext4 /dev/sda /mnt");
    assert!(machine.run("cat /proc/mounts").contains("/dev/sda /mnt"));
    machine.run("echo 1 > /sys/block/sda/device/delete");
    poll_until(PATIENCE, "the disk is unmounted", || {
        !machine.run("cat /proc/mounts").contains("/dev/sda /mnt")
    });
    poll_until(PATIENCE, "the log says so", || {
        let log = machine.run("journalctl --no-pager -o cat -t root");
        log.contains("The disk /dev/sda was removed while it was mounted")
    });
}
