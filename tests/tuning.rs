//! `gce-guest tune` on copies of /sys and /proc of many machines; tests/virtual_machine.rs has it on a real kernel.
//!
//! The expectations are stated processor by processor, where the program goes queue by queue; what stands here literally
//! is what the predecessor's script makes of the same trees.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a failure is a panic, and programs are started directly"
)]

mod support;
#[path = "tuning/tree.rs"]
mod tree;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use support::vm::Vm;
use support::{PROGRAM, in_sandbox, output_within};
use tree::{Nic, Tree, list, mask};

/// What a run said, and its exit status.
struct Said {
    status: i32,
    stdout: String,
    stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        Self {
            status: output.status.code().unwrap(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}

impl Said {
    /// The summary.
    fn last(&self) -> &str {
        self.stdout.lines().last().unwrap_or_default()
    }
}

/// Runs a program on a tree; metadata is on its own address.
fn run_on(tree: &Tree, program: &str, arguments: &[&str]) -> Said {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("GOOGLE_SET_MULTIQUEUE_FAKEROOT", tree.path(""));
    output_within(&mut command, Duration::from_secs(60)).into()
}

fn tune(tree: &Tree, what: &str) -> Said {
    let said = run_on(tree, PROGRAM, &["tune", what]);
    assert_eq!(said.status, 0, "{}\n{}", said.stdout, said.stderr);
    said
}

fn set_machine_type(vm: &Vm, name: &str) {
    vm.set(
        "instance/machineType",
        format!("projects/1/machineTypes/{name}"),
    );
}

/// The processors of `nodes` nodes, as real machines number them: first one thread of every core, node by node, then the
/// other threads in the same order.
fn with_threads(cpus: u32, nodes: u32) -> Vec<Vec<u32>> {
    let node = |cpu: &u32| (cpu % (cpus / 2)) * nodes / (cpus / 2);
    let of_node = |number| (0..cpus).filter(|cpu| node(cpu) == number).collect();
    (0..nodes).map(of_node).collect()
}

/// Which queue a processor belongs to: that of its turn on its node, and the last one takes what is left over.
fn queue_of(cpu: u32, nodes: &[Vec<u32>], queues: u32) -> u32 {
    let node = nodes.iter().position(|node| node.contains(&cpu)).unwrap();
    let turn = nodes[node].iter().position(|other| *other == cpu).unwrap();
    let (node, turn) = (u32::try_from(node).unwrap(), u32::try_from(turn).unwrap());
    let share = queues / u32::try_from(nodes.len()).unwrap();
    if share == 0 {
        return node % queues;
    }
    let processors = u32::try_from(nodes[node as usize].len()).unwrap();
    let last = share - 1;
    let place = turn.checked_div(processors / share).unwrap_or(last);
    node * share + place.min(last)
}

fn check_masks(nic: &Nic, nodes: &[Vec<u32>], queues: u32, cpus: u32, what: &str) {
    let used = u32::try_from(nodes.len()).unwrap();
    let used = if queues < used {
        queues
    } else {
        queues / used * used
    };
    for queue in 0..queues {
        let here: Vec<u32> = match queue < used {
            true => (0..cpus)
                .filter(|cpu| queue_of(*cpu, nodes, queues) == queue)
                .collect(),
            // Left over, and left alone.
            false => vec![1],
        };
        assert_eq!(nic.xps(queue), mask(&here, cpus), "{what}, queue {queue}");
    }
}

#[test]
fn accelerators_of_every_size_follow_their_nodes() {
    in_sandbox("accelerators_of_every_size_follow_their_nodes", || {
        let vm = Vm::new();
        set_machine_type(&vm, "a3-highgpu-8g");
        for cpus in [2, 4, 8, 24, 30, 32, 34, 62, 64, 66, 96, 128, 208, 224, 416] {
            for count in (1..=8_u32).filter(|count| cpus >= 2 * count) {
                // As many queues as processors on a small machine, and fewer than nodes on another.
                let queues = [cpus.min(16), 3][(cpus / 2 + count) as usize % 2];
                let nodes = with_threads(cpus, count);
                let what = format!("{cpus} processors on {count} nodes, {queues} queues");
                let mut tree = Tree::new("accelerator", &nodes);
                // A node of memory alone.
                tree.write("sys/devices/system/node/node9/cpulist", "");
                let drivers = ["gve", "idpf", "gve"];
                let nics: Vec<(Nic, u32)> = (0..count + 2)
                    .map(|index| {
                        let node = index % count;
                        let driver = drivers[index as usize % 3];
                        let place = i32::try_from(node).unwrap();
                        let name = format!("eth{index}");
                        (tree.nic(&name, driver, place, queues, &[1]), node)
                    })
                    .collect();
                tune(&tree, "queues");
                for (nic, _) in &nics {
                    check_masks(nic, &nodes, queues, cpus, &what);
                }
                // The interrupts of a node's NICs go round its processors, the very first one left out.
                let mut turns = vec![0; nodes.len()];
                for (index, (nic, node)) in nics.iter().enumerate() {
                    let mut free = nodes[*node as usize].clone();
                    free.retain(|cpu| *cpu != 0);
                    if free.is_empty() {
                        free.push(0);
                    }
                    let paired = drivers[index % 3] == "gve";
                    for queue in 0..queues as usize {
                        let turn = &mut turns[*node as usize];
                        let cpu = free[*turn % free.len()].to_string();
                        *turn += 1;
                        assert_eq!(tree.affinity(nic.interrupts[queue]), cpu, "{what}");
                        if paired {
                            let receive = nic.interrupts[queue + queues as usize];
                            assert_eq!(tree.affinity(receive), cpu, "{what}");
                        }
                    }
                }
                assert_eq!(tune(&tree, "queues").last(), "nothing to change", "{what}");
            }
        }
    });
}

#[test]
fn masks_have_the_form_that_the_kernel_reads() {
    in_sandbox("masks_have_the_form_that_the_kernel_reads", || {
        let vm = Vm::new();
        for (machine_type, cpus, nodes, queues, masks) in [
            (
                "a3-highgpu-8g",
                208,
                2,
                16,
                &[
                    (
                        0,
                        "00000000,00000000,00000000,00000000,00000000,00000000,00001fff",
                    ),
                    (
                        7,
                        "00000000,00000000,0fff8000,00000000,00000000,00000000,00000000",
                    ),
                    (
                        15,
                        "0000fff8,00000000,00000000,00000000,00000000,00000000,00000000",
                    ),
                ][..],
            ),
            (
                "c4x-standard-8",
                8,
                1,
                4,
                &[(0, "00000003"), (3, "000000c0")],
            ),
            ("a4-highgpu-8g", 33, 1, 1, &[(0, "00000001,ffffffff")]),
            (
                "a4x-highgpu-4g",
                144,
                2,
                2,
                &[
                    (0, "0000ffff,ffffffff,ffffffff,ffffffff,ffffffff"),
                    (1, "0000ffff,ffffffff,ffffffff,ffffffff,ffffffff"),
                ],
            ),
        ] {
            set_machine_type(&vm, machine_type);
            let nodes = match cpus % 2 {
                0 => with_threads(cpus, nodes),
                _ => vec![(0..cpus).collect()],
            };
            let mut tree = Tree::new("form", &nodes);
            let nic = tree.nic("eth0", "gve", 0, queues, &[]);
            tune(&tree, "queues");
            for (queue, wanted) in masks {
                assert_eq!(nic.xps(*queue), *wanted, "{machine_type} queue {queue}");
            }
        }
    });
}

#[test]
fn virtio_and_gvnic_on_every_size_of_machine() {
    in_sandbox("virtio_and_gvnic_on_every_size_of_machine", || {
        // No metadata: what is done here is right everywhere.
        for cpus in [1, 2, 4, 31, 32, 33, 64, 65, 96, 128, 192, 255, 256, 416] {
            let all: Vec<u32> = (0..cpus).collect();
            let mut tree = Tree::new("virtio", std::slice::from_ref(&all));
            let queues = cpus.min(32);
            let old = tree.nic("ens4", "virtio_net", -1, queues, &[]);
            let new = tree.nic("ens5", "virtio_net", -1, queues, &[0]);
            let gve = tree.nic("ens6", "gve", 0, queues, &[0]);
            let other_gve = tree.nic("ens7", "gve", 0, queues, &[0]);
            let plain = tree.plain_virtio("ens8");
            let said = tune(&tree, "queues");
            assert!(said.stderr.contains("machine type is not known"));
            for queue in 0..queues {
                let place = queue as usize;
                let cpu = queue.to_string();
                for interrupt in [
                    old.interrupts[2 * place],
                    old.interrupts[2 * place + 1],
                    new.interrupts[2 * place],
                    gve.interrupts[place],
                    gve.interrupts[place + queues as usize],
                    other_gve.interrupts[place],
                ] {
                    assert_eq!(tree.affinity(interrupt), cpu, "{cpus}: {interrupt}");
                }
                // Where the driver chose no processors every queue gets its own and those a round further on.
                let mine: Vec<u32> = all
                    .iter()
                    .copied()
                    .filter(|cpu| cpu % queues == queue && queues > 1)
                    .collect();
                assert_eq!(old.xps(queue), mask(&mine, cpus), "{cpus}");
                assert_eq!(new.xps(queue), mask(&[0], cpus), "the driver knows better");
            }
            assert_eq!(tree.affinity(plain), "0");
            assert_eq!(
                tree.affinity(gve.interrupts[2 * queues as usize]),
                list(&all)
            );
            assert_eq!(tune(&tree, "queues").last(), "nothing to change");
        }
    });
}

#[test]
fn drivers_of_accelerators_are_not_asked_what_their_nodes_decide() {
    let name = "drivers_of_accelerators_are_not_asked_what_their_nodes_decide";
    in_sandbox(name, || {
        let vm = Vm::new();
        set_machine_type(&vm, "a3-highgpu-8g");
        let mut tree = Tree::new("hints", &[(0..4).collect()]);
        let nic = tree.nic("eth0", "gve", 0, 4, &[]);
        // One that is on no node goes where its driver suggests.
        let other = tree.nic("eth1", "gve", -1, 4, &[]);
        for interrupt in &nic.interrupts[..8] {
            let hint = tree.path(&format!("proc/irq/{interrupt}/affinity_hint"));
            fs::remove_file(&hint).unwrap();
            // Whoever opens it waits for ever.
            let status = Command::new("mkfifo").arg(&hint).status().unwrap();
            assert!(status.success());
        }
        tune(&tree, "queues");
        let cpus = |nic: &Nic| {
            let cpus = nic.interrupts.iter().map(|number| tree.affinity(*number));
            cpus.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(cpus(&nic), "1 2 3 1 1 2 3 1 0-3");
        assert_eq!(cpus(&other), "0 1 2 3 0 1 2 3 0-3");
    });
}

#[test]
fn large_idpf_machines_steer_flows() {
    in_sandbox("large_idpf_machines_steer_flows", || {
        let vm = Vm::new();
        set_machine_type(&vm, "x4-megamem-960-metal");
        let mut tree = Tree::new("x4", &with_threads(8, 2));
        tree.write("proc/sys/net/core/rps_sock_flow_entries", "0");
        let nics = [
            tree.nic("eth0", "idpf", 0, 6, &[3]),
            tree.nic("eth1", "idpf", 1, 6, &[3]),
        ];
        let virtio = tree.nic("eth2", "virtio_net", 0, 2, &[]);
        let said = tune(&tree, "queues");
        assert_eq!(
            tree.read("proc/sys/net/core/rps_sock_flow_entries"),
            "262144"
        );
        let flows = "sys/class/net/eth1/queues/rx-5/rps_flow_cnt";
        assert_eq!(tree.read(flows), "16384", "{}", said.stdout);
        let interrupts = nics.iter().flat_map(|nic| &nic.interrupts);
        let cpus: Vec<String> = interrupts.map(|number| tree.affinity(*number)).collect();
        assert_eq!(cpus.join(" "), "1 2 3 4 5 6 7 1 2 3 4 5");
        assert_eq!(nics[0].xps(0), "00000008", "its queues stay as they are");
        assert_eq!(tree.affinity(virtio.interrupts[0]), "0-7");
    });
}

#[test]
fn an_unreachable_server_makes_no_accelerator_and_physical_nics_do() {
    in_sandbox(
        "an_unreachable_server_makes_no_accelerator_and_physical_nics_do",
        || {
            let vm = Vm::new();
            let tree = || {
                let mut tree = Tree::new("physical", &with_threads(8, 2));
                let nic = tree.nic("eth0", "gve", 1, 4, &[0]);
                (tree, nic)
            };
            let xps = |nic: &Nic| nic.xps(0);
            for (server, asked) in [("127.0.0.1:9", false), ("169.254.169.254", true)] {
                let (tree, nic) = tree();
                let mut command = Command::new(PROGRAM);
                command
                    .args(["tune", "queues"])
                    .env("GOOGLE_SET_MULTIQUEUE_FAKEROOT", tree.path(""))
                    .env("GOOGLE_SET_MULTIQUEUE_METADATASERVER", server);
                let said: Said = output_within(&mut command, Duration::from_secs(60)).into();
                assert_eq!(said.status, 0);
                assert_eq!(said.stderr.is_empty(), asked, "{}", said.stderr);
                assert_eq!(xps(&nic), "00000001");
            }
            let interfaces =
                serde_json::json!([{"mac": "42:01:0a:80:00:02", "physicalNicId": "7"}]);
            vm.set("instance/networkInterfaces", interfaces);
            let (tree, nic) = tree();
            tune(&tree, "queues");
            assert_eq!(xps(&nic), "00000003");
            let refused = Command::new(PROGRAM)
                .args(["tune", "queues", "--dry-run"])
                .env(
                    "GOOGLE_SET_MULTIQUEUE_METADATASERVER",
                    "metadata.google.internal",
                )
                .output()
                .unwrap();
            assert_eq!(refused.status.code(), Some(1), "names are not looked up");
        },
    );
}

#[test]
fn interrupts_are_left_to_irqbalance_and_a_dry_run_changes_nothing() {
    in_sandbox(
        "interrupts_are_left_to_irqbalance_and_a_dry_run_changes_nothing",
        || {
            let all: Vec<u32> = (0..4).collect();
            let wanted = "etc/systemd/system/multi-user.target.wants/irqbalance.service";
            for (file, balanced) in [
                (Some(wanted), true),
                (Some("proc/77/comm"), true),
                (None, false),
            ] {
                let mut tree = Tree::new("balanced", std::slice::from_ref(&all));
                let nic = tree.nic("eth0", "virtio_net", -1, 4, &[]);
                if let Some(file) = file {
                    tree.write(file, "irqbalance");
                }
                let dry = run_on(&tree, PROGRAM, &["tune", "queues", "--dry-run"]);
                assert!(dry.last().ends_with("(dry run)"), "{}", dry.stdout);
                assert_eq!(tree.affinity(nic.interrupts[6]), "0-3");
                assert_eq!(nic.xps(3), "00000000");
                let said = tune(&tree, "queues");
                assert_eq!(said.stdout.contains("irqbalance"), balanced);
                let real: Vec<&str> = said.stdout.lines().rev().skip(1).collect();
                let dry: Vec<&str> = dry.stdout.lines().rev().skip(1).collect();
                assert_eq!(real, dry);
                assert_eq!(nic.xps(3), "00000008", "queues are not its business");
                let cpus = if balanced { "0-3" } else { "3" };
                assert_eq!(tree.affinity(nic.interrupts[6]), cpus);
            }
        },
    );
}

#[test]
fn what_cannot_be_changed_costs_itself_alone() {
    in_sandbox("what_cannot_be_changed_costs_itself_alone", || {
        let all: Vec<u32> = (0..4).collect();
        let mut tree = Tree::new("broken", std::slice::from_ref(&all));
        let nic = tree.nic("eth0", "virtio_net", -1, 4, &[]);
        let broken = format!("proc/irq/{}/smp_affinity_list", nic.interrupts[2]);
        fs::remove_file(tree.path(&broken)).unwrap();
        tree.write("sys/devices/system/node/node1/cpulist", "nonsense");
        let said = run_on(&tree, PROGRAM, &["tune", "queues"]);
        assert_eq!(said.status, 1);
        assert!(said.last().ends_with("1 failed"), "{}", said.stdout);
        assert!(
            said.stdout
                .contains("failed: irq 103 virtio5-input.1 CPUs: - -> 1")
        );
        assert_eq!(tree.affinity(nic.interrupts[4]), "2");
        // A machine of which nothing is known is left as it is.
        let empty = Tree::new("empty", &[vec![0]]);
        fs::remove_dir_all(empty.path("sys")).unwrap();
        assert_eq!(tune(&empty, "all").last(), "nothing to change");
    });
}

#[test]
fn local_ssds_disks_and_memory() {
    in_sandbox("local_ssds_disks_and_memory", || {
        let vm = Vm::new();
        for cpus in [1, 2, 32, 33, 64, 65, 128, 416] {
            let all: Vec<u32> = (0..cpus).collect();
            let mut tree = Tree::new("disks", std::slice::from_ref(&all));
            let nvme: Vec<u32> = (0..3).flat_map(|_| tree.nvme(cpus.min(9))).collect();
            let local = [
                tree.scsi("sda", "EphemeralDisk"),
                tree.scsi("sdb", "EphemeralDisk"),
            ];
            let persistent = tree.scsi("sdc", "PersistentDisk");
            tune(&tree, "local-ssd");
            for (turn, interrupt) in (0..).zip(&nvme) {
                assert_eq!(tree.affinity(*interrupt), (turn % cpus).to_string());
            }
            let far = (cpus / 2).min(cpus - 1).to_string();
            assert_eq!(local.map(|number| tree.affinity(number)), ["0", &far]);
            assert_eq!(tree.affinity(persistent), list(&all));
            for (name, value) in [
                ("scheduler", "none"),
                ("add_random", "0"),
                ("nr_requests", "512"),
                ("rotational", "0"),
                ("rq_affinity", "0"),
                ("nomerges", "1"),
            ] {
                assert_eq!(tree.read(&format!("sys/block/sdb/queue/{name}")), value);
            }
            let scheduler = "sys/block/sdc/queue/scheduler";
            assert_eq!(tree.read(scheduler), "[mq-deadline] none");
            tune(&tree, "schedulers");
            assert_eq!(tree.read(scheduler), "none");
            tree.write("proc/sys/vm/overcommit_memory", "0");
            for (machine_type, value) in [("n2-standard-4", "0"), ("e2-medium", "1")] {
                set_machine_type(&vm, machine_type);
                tune(&tree, "memory");
                assert_eq!(tree.read("proc/sys/vm/overcommit_memory"), value);
            }
        }
    });
}

#[test]
fn interrupts_are_taken_in_the_order_of_their_numbers() {
    in_sandbox("interrupts_are_taken_in_the_order_of_their_numbers", || {
        let vm = Vm::new();
        set_machine_type(&vm, "c4x-standard-8");
        let mut tree = Tree::new("order", &[(0..8).collect()]);
        tree.count_interrupts_from(98);
        let nic = tree.nic("eth0", "idpf", 0, 5, &[]);
        tune(&tree, "queues");
        let cpus = nic.interrupts.iter().map(|number| tree.affinity(*number));
        assert_eq!(cpus.collect::<Vec<_>>().join(" "), "1 2 3 4 5");
    });
}

#[test]
fn the_switches_of_tuning() {
    let name = "the_switches_of_tuning";
    support::in_sandbox_with(&["--allow-mounts"], name, || {
        let _vm = Vm::new();
        let mut tree = Tree::new("switches", &[(0..4).collect()]);
        let nic = tree.nic("eth0", "virtio_net", -1, 4, &[0]);
        let nvme = tree.nvme(4);
        tree.scsi("sda", "PersistentDisk");
        for place in ["sys", "proc/irq"] {
            let from = tree.path(place).display().to_string();
            support::run(["mount", "--bind", &from, &format!("/{place}")]);
        }
        let queue = nic.interrupts[7];
        for (off, wanted) in [
            ("optimize_local_ssd", ["0-3", "0-3"]),
            ("set_multiqueue", ["3", "0-3"]),
            ("", ["3", "3"]),
        ] {
            let both = off == "optimize_local_ssd";
            let settings = format!(
                "[InstanceSetup]\nset_host_keys = false\nset_boto_config = false\n\
                 optimize_local_ssd = {}\nset_multiqueue = {}\n",
                off != "optimize_local_ssd",
                !both && off != "set_multiqueue",
            );
            fs::write("/etc/default/instance_configs.cfg.template", settings).unwrap();
            let said = support::text_of([PROGRAM, "setup", "--json"]);
            let record: serde_json::Value = serde_json::from_str(&said).unwrap();
            let result = |name: &str| {
                let steps = record["steps"].as_array().unwrap();
                let step = steps.iter().find(|step| step["step"] == name).unwrap();
                step["result"].as_str().unwrap().to_owned()
            };
            let affinities = [tree.affinity(nvme[3]), tree.affinity(queue)];
            assert_eq!(affinities, wanted, "{said}");
            assert_eq!(result("local-ssd") == "skipped", both, "{said}");
            assert_eq!(result("queues") == "skipped", !off.is_empty(), "{said}");
            assert_eq!(result("platform-queues") == "skipped", !off.is_empty());
            assert_eq!(tree.read("sys/block/sda/queue/scheduler"), "none");
        }
    });
}

#[test]
fn the_predecessors_names_tune_the_same() {
    in_sandbox("the_predecessors_names_tune_the_same", || {
        let names = ["google_set_multiqueue", "google_optimize_local_ssd"];
        for name in names {
            symlink(PROGRAM, Path::new("/tmp").join(name)).unwrap();
        }
        let mut tree = Tree::new("names", &[(0..4).collect()]);
        let nic = tree.nic("eth0", "virtio_net", -1, 2, &[0]);
        let nvme = tree.nvme(3);
        let dry = run_on(&tree, "/tmp/google_set_multiqueue", &["--dry-run"]);
        assert_eq!((dry.status, dry.last()), (0, "4 changed (dry run)"));
        assert_eq!(
            run_on(&tree, "/tmp/google_optimize_local_ssd", &[]).status,
            0
        );
        assert_eq!(tree.affinity(nvme[2]), "2");
        assert_eq!(tree.affinity(nic.interrupts[3]), "0-3");
        assert_eq!(
            run_on(&tree, "/tmp/google_set_multiqueue", &["ignored"]).status,
            0
        );
        assert_eq!(tree.affinity(nic.interrupts[3]), "1");
        let wrong = run_on(&tree, "/tmp/google_set_multiqueue", &["--no-such-option"]);
        assert_eq!(wrong.status, 2);
    });
}
