//! Local SSDs, and the schedulers of all disks (spec/core.md 13.3, spec/beyond.md 10).

use super::super::cpus::CpuSet;
use super::super::snapshot::{Disk, Disks, Interrupts};
use super::{Change, Plan, add_affinities, setting};
use crate::system::order::Map;

/// What the request queue of a local SSD on virtio-scsi gets, in this order: the scheduler decides what the others may be.
const LOCAL_SSD_SETTINGS: [(&str, &str); 5] = [
    ("add_random", "0"),
    ("nr_requests", "512"),
    ("rotational", "0"),
    ("rq_affinity", "0"),
    ("nomerges", "1"),
];

/// Spreads the interrupts of NVMe controllers and of the controllers of local SSDs, and sets the latters' queues for speed.
#[must_use]
pub fn local_ssd(disks: &Disks) -> Plan {
    let mut plan = Plan::default();
    for disk in disks.scsi.iter().flat_map(|scsi| &scsi.local_ssds) {
        plan.changes.extend(no_scheduler(disk));
        for (name, value) in LOCAL_SSD_SETTINGS {
            plan.changes.extend(queue_setting(disk, name, value));
        }
    }
    let cpus: Vec<u32> = disks.processors.online.iter().collect();
    if cpus.is_empty() {
        return plan;
    }
    let mut wanted = Map::new();
    let nvme = disks.nvme.iter().flatten();
    for (interrupt, cpu) in nvme.zip(cpus.iter().cycle()) {
        wanted.insert(*interrupt, CpuSet::one(*cpu));
    }
    let scsi: Vec<u32> = disks
        .scsi
        .iter()
        .flat_map(|scsi| request_interrupts(&disks.interrupts, &scsi.device))
        .collect();
    let stride = (cpus.len() / scsi.len().max(1)).max(1);
    for (interrupt, cpu) in scsi.iter().zip(cpus.iter().cycle().step_by(stride)) {
        wanted.insert(*interrupt, CpuSet::one(*cpu));
    }
    add_affinities(&mut plan, &disks.interrupts, &wanted);
    plan
}

/// Takes the scheduler away from disks with several queues: theirs is the host's business.
#[must_use]
pub fn schedulers(disks: &[Disk]) -> Plan {
    Plan {
        changes: disks.iter().filter_map(no_scheduler).collect(),
        notes: Vec::new(),
    }
}

/// `none`, or `noop` on kernels of before that; `None` where neither is known, or it is so already.
fn no_scheduler(disk: &Disk) -> Option<Change> {
    let (active, known) = disk.schedulers();
    let wanted = ["none", "noop"]
        .into_iter()
        .find(|scheduler| known.contains(scheduler))?;
    (active != Some(wanted)).then(|| change(disk, "scheduler", active.unwrap_or_default(), wanted))
}

fn queue_setting(disk: &Disk, name: &str, value: &str) -> Option<Change> {
    let present = disk.settings.get(name)?;
    (present != value).then(|| change(disk, name, present, value))
}

fn change(disk: &Disk, name: &str, before: &str, value: &str) -> Change {
    let path = format!("/sys/block/{}/queue/{name}", disk.name);
    setting(&format!("{} {name}", disk.name), before, &path, value)
}

/// The interrupts of the request queues of a virtio-scsi controller.
fn request_interrupts(interrupts: &Interrupts, device: &str) -> Vec<u32> {
    let handler = format!("{device}-request");
    let numbers = interrupts.by_number.iter();
    numbers
        .filter(|(_, interrupt)| interrupt.handlers.contains(&handler))
        .map(|(number, _)| *number)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::tuning::snapshot::{Interrupt, Processors, ScsiController};

    fn told(plan: &Plan) -> Vec<String> {
        plan.changes.iter().map(Change::to_string).collect()
    }

    fn disk(name: &str, scheduler: &str) -> Disk {
        let settings = [
            ("scheduler", scheduler),
            ("add_random", "1"),
            ("nr_requests", "256"),
            ("rotational", "1"),
            ("rq_affinity", "1"),
            ("nomerges", "0"),
        ];
        Disk {
            name: name.to_owned(),
            settings: settings
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        }
    }

    fn interrupts(handlers: &[(u32, &str)]) -> Interrupts {
        let interrupt = |handler: &str| Interrupt {
            handlers: vec![handler.to_owned()],
            cpus: Some(CpuSet::first(64)),
            ..Interrupt::default()
        };
        Interrupts {
            by_number: handlers
                .iter()
                .map(|(number, handler)| (*number, interrupt(handler)))
                .collect(),
            balanced: false,
        }
    }

    #[test]
    fn a_local_ssd_on_scsi_is_set_for_speed_and_a_second_time_nothing_is_left() {
        let mut disks = Disks {
            scsi: vec![ScsiController {
                device: "virtio1".to_owned(),
                local_ssds: vec![disk("sdb", "[mq-deadline] kyber none")],
            }],
            ..Disks::default()
        };
        assert_eq!(
            told(&local_ssd(&disks)),
            [
                "sdb scheduler: mq-deadline -> none",
                "sdb add_random: 1 -> 0",
                "sdb nr_requests: 256 -> 512",
                "sdb rotational: 1 -> 0",
                "sdb rq_affinity: 1 -> 0",
                "sdb nomerges: 0 -> 1",
            ]
        );
        for (name, value) in [("scheduler", "[none] mq-deadline")]
            .into_iter()
            .chain(LOCAL_SSD_SETTINGS)
        {
            let settings = &mut disks.scsi[0].local_ssds[0].settings;
            settings.insert(name.to_owned(), value.to_owned());
        }
        assert_eq!(local_ssd(&disks), Plan::default());
    }

    #[test]
    fn old_kernels_have_noop_and_some_disks_have_no_choice() {
        for (scheduler, change) in [
            ("noop [cfq] deadline", Some("sda scheduler: cfq -> noop")),
            (
                "[mq-deadline] none",
                Some("sda scheduler: mq-deadline -> none"),
            ),
            ("[none] mq-deadline", None),
            ("none", Some("sda scheduler: - -> none")),
            ("[mq-deadline]", None),
            ("", None),
        ] {
            let told = told(&schedulers(&[disk("sda", scheduler)]));
            assert_eq!(
                told,
                change.map(String::from).into_iter().collect::<Vec<_>>(),
                "{scheduler}"
            );
        }
    }

    #[test]
    fn interrupts_of_nvme_go_round_the_processors_and_those_of_scsi_in_strides() {
        let disks = Disks {
            processors: Processors {
                online: CpuSet::parse_list("0-2,68").unwrap(),
                ..Processors::default()
            },
            interrupts: interrupts(&[
                (24, "nvme0q0"),
                (25, "nvme0q1"),
                (26, "nvme1q0"),
                (27, "nvme1q1"),
                (28, "nvme1q2"),
                (40, "virtio1-request"),
                (41, "virtio11-request"),
                (42, "virtio2-request"),
            ]),
            nvme: vec![vec![24, 25], vec![26, 27, 28, 99]],
            scsi: ["virtio1", "virtio2"]
                .map(|device| ScsiController {
                    device: device.to_owned(),
                    local_ssds: Vec::new(),
                })
                .into(),
        };
        assert_eq!(
            told(&local_ssd(&disks)),
            [
                "irq 24 nvme0q0 CPUs: 0-63 -> 0",
                "irq 25 nvme0q1 CPUs: 0-63 -> 1",
                "irq 26 nvme1q0 CPUs: 0-63 -> 2",
                "irq 27 nvme1q1 CPUs: 0-63 -> 68",
                "irq 28 nvme1q2 CPUs: 0-63 -> 0",
                "irq 40 virtio1-request CPUs: 0-63 -> 0",
                "irq 42 virtio2-request CPUs: 0-63 -> 2",
            ]
        );
        let mut balanced = disks.clone();
        balanced.interrupts.balanced = true;
        let plan = local_ssd(&balanced);
        assert!(plan.changes.is_empty());
        assert!(plan.notes[0].contains("irqbalance"), "{:?}", plan.notes);
        let unknown = Disks {
            processors: Processors::default(),
            ..disks
        };
        assert_eq!(local_ssd(&unknown), Plan::default());
    }
}
