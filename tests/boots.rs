//! Boots, one after another, each with a startup script that becomes a user of the metadata and lets that one use sudo: the user
//! is new to the machine at each boot, and was not there a moment before. GA#340: elsewhere it fails in some boots.
//!
//! How often is said by `BOOTS` in the environment, which `cargo xtask boot-test --times N` sets.
//!
//! Debian packages: mmdebstrap, systemd-container.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a failure is a panic, and programs are started directly"
)]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use support::machine::{self, Machine, SYSTEMD, on_machine_for};
use support::poll_until;
use support::vm::{Vm, entry};

/// How long a boot may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a boot and the shutdown after it may take, on the average.
const TIME_OF_A_BOOT: Duration = Duration::from_secs(60);

/// Enough to see that it works; whether it works each time takes more.
const FEW: u32 = 5;

/// What the script of each boot has to say.
const SAID: &str = "/var/said";

fn user_of(boot: u32) -> String {
    format!("user{boot}")
}

/// Metadata before a boot: one more user, and a script that is that user and then root again.
fn order(vm: &Vm, boot: u32) {
    let user = user_of(boot);
    // Those before stay, as people do.
    let users: Vec<String> = (1..=boot).map(|boot| entry(&user_of(boot))).collect();
    vm.set_keys(&users);
    let script = format!("echo {user} became \"$(su - {user} -c 'sudo -n id -un')\" >> {SAID}");
    vm.set("instance/attributes/startup-script", script);
}

#[test]
fn each_boot_has_its_users_before_the_startup_script() {
    let times = std::env::var("BOOTS").map_or(FEW, |times| times.parse().unwrap());
    on_machine_for(
        TIME_OF_A_BOOT * times,
        &SYSTEMD,
        "each_boot_has_its_users_before_the_startup_script",
        &[],
        |root: &Path, vm| {
            machine::install_all(root);
            order(vm, 1);
        },
        |first| {
            let mut machine = first;
            for boot in 1..=times {
                let begun = Instant::now();
                poll_until(PATIENCE, "the startup script has run", || {
                    Machine::contents(SAID).lines().count() == boot as usize
                });
                println!("boot {boot}: said after {:?}", begun.elapsed());
                let vm = machine.power_off();
                order(&vm, boot + 1);
                if boot == times {
                    break;
                }
                machine = Machine::boot(vm);
            }
            let expected: String = (1..=times)
                .map(|boot| format!("{} became root\n", user_of(boot)))
                .collect();
            assert_eq!(
                Machine::contents(SAID),
                expected,
                "in each of {times} boots"
            );
        },
    );
}
