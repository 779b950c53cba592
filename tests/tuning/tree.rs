//! Copies of /sys and /proc of machines that there are not, as far as tuning looks at them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// A machine on paper. Its interrupts are numbered from 100 on, its PCI slots from 4 on.
pub(crate) struct Tree {
    root: PathBuf,
    cpus: u32,
    interrupt: u32,
    slot: u32,
}

/// A NIC of a [`Tree`]: its interrupts, in the order in which its driver asks for them.
pub(crate) struct Nic {
    pub(crate) interrupts: Vec<u32>,
    queues: PathBuf,
}

impl Tree {
    /// A machine whose nodes have these processors, numbered through.
    pub(crate) fn new(name: &str, nodes: &[Vec<u32>]) -> Self {
        let root = PathBuf::from("/tmp/trees").join(name);
        // An earlier machine of that name.
        let _ = fs::remove_dir_all(&root);
        let cpus = nodes.iter().flatten().max().unwrap() + 1;
        let tree = Self {
            root,
            cpus,
            interrupt: 100,
            slot: 4,
        };
        for (number, cpus) in nodes.iter().enumerate() {
            let path = format!("sys/devices/system/node/node{number}/cpulist");
            tree.write(&path, &list(cpus));
        }
        tree.write(
            "sys/devices/system/cpu/online",
            &list(&(0..cpus).collect::<Vec<u32>>()),
        );
        tree.write("sys/devices/virtual/net/lo/queues/tx-0/xps_cpus", "0");
        tree.write("proc/irq/default_smp_affinity", "f");
        fs::create_dir_all(tree.path("sys/class/net")).unwrap();
        let lo = tree.path("sys/class/net/lo");
        symlink(tree.path("sys/devices/virtual/net/lo"), lo).unwrap();
        tree
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        let text = fs::read_to_string(self.path(path));
        text.unwrap_or_else(|error| panic!("{path}: {error}"))
            .trim()
            .to_owned()
    }

    /// Gives the next interrupts the numbers from this one on.
    pub(crate) fn count_interrupts_from(&mut self, number: u32) {
        self.interrupt = number;
    }

    /// Where an interrupt goes, as a list.
    pub(crate) fn affinity(&self, interrupt: u32) -> String {
        self.read(&format!("proc/irq/{interrupt}/smp_affinity_list"))
    }

    /// A device on the PCI bus; the path of its directory.
    fn device(&mut self, node: i32) -> String {
        let device = format!("sys/devices/pci0000:00/0000:00:{:02x}.0", self.slot);
        self.slot += 1;
        self.write(&format!("{device}/numa_node"), &node.to_string());
        device
    }

    /// An interrupt with a handler, and with the processor that its driver suggests.
    pub(crate) fn interrupt(&mut self, handler: &str, hint: Option<u32>) -> u32 {
        let number = self.interrupt;
        self.interrupt += 1;
        let hint: Vec<u32> = hint.into_iter().collect();
        let directory = format!("proc/irq/{number}");
        let all: Vec<u32> = (0..self.cpus).collect();
        self.write(&format!("{directory}/smp_affinity_list"), &list(&all));
        self.write(
            &format!("{directory}/affinity_hint"),
            &mask(&hint, self.cpus),
        );
        self.write(&format!("{directory}/node"), "0");
        fs::create_dir_all(self.path(&format!("{directory}/{handler}"))).unwrap();
        number
    }

    /// A NIC with so many queues. `xps` are the processors that its driver has chosen for each of them.
    pub(crate) fn nic(
        &mut self,
        name: &str,
        driver: &str,
        node: i32,
        queues: u32,
        xps: &[u32],
    ) -> Nic {
        let device = self.device(node);
        let mut parent = device.clone();
        let mut interrupts = Vec::new();
        let (cpus, slot) = (self.cpus, self.slot);
        match driver {
            "virtio_net" => {
                let virtio = format!("virtio{slot}");
                parent = format!("{device}/{virtio}");
                fs::create_dir_all(self.path(&parent)).unwrap();
                let bus = self.path("sys/bus/virtio/drivers/virtio_net");
                fs::create_dir_all(&bus).unwrap();
                symlink(self.path(&parent), bus.join(&virtio)).unwrap();
                self.interrupt(&format!("{virtio}-config"), None);
                for queue in 0..queues {
                    for way in ["input", "output"] {
                        let handler = format!("{virtio}-{way}.{queue}");
                        interrupts.push(self.interrupt(&handler, Some(queue % cpus)));
                    }
                }
            }
            "gve" => {
                for block in 0..2 * queues {
                    // Both names that its driver has used.
                    let handler = match slot % 2 {
                        0 => format!("{name}-ntfy-block.{block}"),
                        _ => format!("gve-ntfy-blk{block}@pci:0000:00:{slot:02x}.0"),
                    };
                    interrupts.push(self.interrupt(&handler, Some(block % queues % cpus)));
                }
                interrupts.push(self.interrupt("gve-mgmnt@pci", None));
            }
            "idpf" => {
                self.interrupt("idpf-Mailbox-0", None);
                for queue in 0..queues {
                    let handler = format!("idpf-{name}-TxRx-{queue}");
                    interrupts.push(self.interrupt(&handler, None));
                }
                // It asks for more than it uses.
                self.write(&format!("{device}/msi_irqs/9999"), "msix");
            }
            _ => {}
        }
        for interrupt in &interrupts {
            self.write(&format!("{device}/msi_irqs/{interrupt}"), "msix");
        }
        let drivers = self.path("sys/bus/pci/drivers").join(driver);
        fs::create_dir_all(&drivers).unwrap();
        symlink(drivers, self.path(&format!("{parent}/driver"))).unwrap();
        let net = format!("{parent}/net/{name}");
        for queue in 0..queues {
            let path = format!("{net}/queues/tx-{queue}/xps_cpus");
            self.write(&path, &mask(xps, self.cpus));
            self.write(&format!("{net}/queues/rx-{queue}/rps_flow_cnt"), "0");
        }
        symlink("../..", self.path(&format!("{net}/device"))).unwrap();
        let class = self.path("sys/class/net").join(name);
        symlink(self.path(&net), class).unwrap();
        Nic {
            interrupts,
            queues: self.path(&format!("{net}/queues")),
        }
    }

    /// A virtio NIC of the old kind, with one interrupt for all that it does.
    pub(crate) fn plain_virtio(&mut self, name: &str) -> u32 {
        self.nic(name, "virtio_net", -1, 1, &[]);
        let virtio = format!("virtio{}", self.slot);
        self.interrupt(&virtio, None)
    }

    /// An NVMe controller with so many interrupts.
    pub(crate) fn nvme(&mut self, interrupts: u32) -> Vec<u32> {
        let device = self.device(0);
        let address = device.rsplit_once('/').unwrap().1.to_owned();
        let numbers: Vec<u32> = (0..interrupts)
            .map(|queue| self.interrupt(&format!("nvme0q{queue}"), None))
            .collect();
        for number in &numbers {
            self.write(&format!("{device}/msi_irqs/{number}"), "msix");
        }
        let drivers = self.path("sys/bus/pci/drivers/nvme");
        fs::create_dir_all(&drivers).unwrap();
        symlink(self.path(&device), drivers.join(address)).unwrap();
        numbers
    }

    /// A virtio-scsi controller with one disk; the interrupt of its requests.
    pub(crate) fn scsi(&mut self, disk: &str, model: &str) -> u32 {
        let virtio = format!("virtio{}", self.slot);
        let device = format!("{}/{virtio}", self.device(0));
        let unit = format!("{device}/host0/target0:0:1/0:0:1:0");
        self.write(&format!("{unit}/model"), model);
        for (name, value) in [
            ("scheduler", "[mq-deadline] none"),
            ("add_random", "1"),
            ("nr_requests", "256"),
            ("rotational", "1"),
            ("rq_affinity", "1"),
            ("nomerges", "0"),
        ] {
            self.write(&format!("{unit}/block/{disk}/queue/{name}"), value);
        }
        fs::create_dir_all(self.path(&format!("{unit}/block/{disk}/mq/0"))).unwrap();
        let block = self.path("sys/block");
        fs::create_dir_all(&block).unwrap();
        symlink(self.path(&format!("{unit}/block/{disk}")), block.join(disk)).unwrap();
        let drivers = self.path("sys/bus/virtio/drivers/virtio_scsi");
        fs::create_dir_all(&drivers).unwrap();
        symlink(self.path(&device), drivers.join(&virtio)).unwrap();
        self.interrupt(&format!("{virtio}-request"), None)
    }
}

impl Nic {
    /// The mask of the processors that use a transmit queue, as it was written.
    pub(crate) fn xps(&self, queue: u32) -> String {
        let path = self.queues.join(format!("tx-{queue}/xps_cpus"));
        fs::read_to_string(path).unwrap().trim().to_owned()
    }
}

/// Numbers in order, as the kernel lists them.
pub(crate) fn list(cpus: &[u32]) -> String {
    let mut text = String::new();
    let mut rest = cpus;
    while let Some(first) = rest.first() {
        let run = (*first..).zip(rest).take_while(|(want, is)| want == *is);
        let length = u32::try_from(run.count()).unwrap();
        let comma = if text.is_empty() { "" } else { "," };
        text += &match length {
            1 => format!("{comma}{first}"),
            _ => format!("{comma}{first}-{}", first + length - 1),
        };
        rest = &rest[length as usize..];
    }
    text
}

/// The same as a mask for so many processors: hexadecimal, a comma between groups of eight digits, digit by digit.
pub(crate) fn mask(cpus: &[u32], count: u32) -> String {
    let digits = count.div_ceil(32) * 8;
    let mut text = String::new();
    for digit in (0..digits).rev() {
        let bits = (0..4).filter(|bit| cpus.contains(&(4 * digit + bit)));
        let value: u32 = bits.map(|bit| 1 << bit).sum();
        text += &format!("{value:x}");
        if digit % 8 == 0 && digit > 0 {
            text.push(',');
        }
    }
    text
}
