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

#[path = "virtual_machine/clock.rs"]
mod clock;
#[path = "virtual_machine/network.rs"]
mod network;
mod support;
#[path = "virtual_machine/time_server.rs"]
mod time_server;
#[path = "virtual_machine/tuning.rs"]
mod tuning;

use std::fs;
use std::time::Instant;

use support::virtual_machine::{Hardware, VirtualMachine, on_virtual_machine};
use support::{run, text_of};

/// One boot for everything: it takes longer than what is looked at.
#[test]
fn what_only_a_machine_of_its_own_shows() {
    let started = Instant::now();
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
            add_set_up(hardware);
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
            look_around(&mut machine);
            look_at_the_set_up(&mut machine);
            look_at_the_memory_score(&mut machine);
            tuning::look(&mut machine);
            network::is_set_up(&mut machine);
            println!("the network is done after {:?}", started.elapsed());
            clock::is_kept_right(&mut machine);
            println!("done after {:?}", started.elapsed());
        },
    );
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

const HOST_KEY: &str = "/etc/ssh/ssh_host_ecdsa_key";

/// The unit that docs/setup.md advises, a host key of the image, and in place of sshd a service that keeps the host key with
/// which it would have started.
fn add_set_up(hardware: &mut Hardware) {
    let document = include_str!("../docs/setup.md");
    let lines = document.lines().skip_while(|line| *line != "    [Unit]");
    let unit: String = lines
        .take_while(|line| line.is_empty() || line.starts_with("    "))
        .map(|line| format!("{}\n", line.trim_start()))
        .collect();
    let sshd = format!(
        "[Service]\nType=oneshot\nRemainAfterExit=true\nExecStart=/bin/cp {HOST_KEY}.pub /run/at-start\n"
    );
    for (name, text) in [("google-instance-setup", &unit), ("ssh", &sshd)] {
        let path = format!("/etc/systemd/system/{name}.service");
        hardware.file(&path, 0o644, text);
        let wants = hardware
            .overlay
            .join("etc/systemd/system/multi-user.target.wants");
        fs::create_dir_all(&wants).unwrap();
        let link = wants.join(format!("{name}.service"));
        std::os::unix::fs::symlink(path, link).unwrap();
    }
    let configuration = "[InstanceSetup]\nhost_key_types = ecdsa\n";
    hardware.file(
        "/etc/default/instance_configs.cfg.template",
        0o644,
        configuration,
    );
    let directory = hardware.overlay.join("etc/ssh");
    fs::create_dir_all(&directory).unwrap();
    let image = directory.join("ssh_host_ecdsa_key");
    run([
        "ssh-keygen",
        "-q",
        "-t",
        "ecdsa",
        "-N",
        "",
        "-f",
        image.to_str().unwrap(),
    ]);
    fs::copy(
        "/usr/bin/ssh-keygen",
        hardware.overlay.join("usr/bin/ssh-keygen"),
    )
    .unwrap();
    // What the image brought, for comparison.
    let kept = hardware.overlay.join("etc/of-the-image");
    fs::copy(image.with_extension("pub"), kept).unwrap();
    assert!(text_of(["ssh-keygen", "-l", "-f", image.to_str().unwrap()]).contains("ECDSA"));
}

/// sshd started after the set-up and with the keys that it made, and the next set-up leaves them.
fn look_at_the_set_up(machine: &mut VirtualMachine) {
    let unit = "google-instance-setup";
    let journal = machine.run(&format!("journalctl --no-pager -o cat -u {unit}"));
    let key = machine.run(&format!("cat {HOST_KEY}.pub"));
    assert_eq!(machine.run("cat /run/at-start"), key, "{journal}");
    assert_ne!(machine.run("cat /etc/of-the-image"), key, "{journal}");
    assert!(machine.run("cat /etc/boto.cfg").contains("example-project"));
    let result = machine.run(&format!("systemctl show --property=Result {unit}"));
    assert_eq!(result, "Result=success", "{journal}");
    // As at the next boot, without the record of this one.
    machine.run(&format!(
        "rm -r /run/gce-guest/setup; systemctl restart {unit}"
    ));
    assert_eq!(machine.run(&format!("cat {HOST_KEY}.pub")), key);
    println!("{}", machine.run("gce-guest analyze"));
}

/// When memory is short, the agent is the last to go, and not so what it starts. Containers often may not say so.
fn look_at_the_memory_score(machine: &mut VirtualMachine) {
    machine.run("systemd-run --unit=agent --property=Type=notify gce-guest agent");
    let own = "cat /proc/$(systemctl show --value --property=MainPID agent)/oom_score_adj";
    assert_eq!(machine.run(own), "-999");
    let wait =
        "for n in $(seq 300); do [ -s /run/score ] && break; sleep 0.1; done; cat /run/score";
    assert_eq!(machine.run(wait), "0");
}
