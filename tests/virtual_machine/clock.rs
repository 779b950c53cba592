//! The clock in a virtual machine: set wrong or left behind, and right again when the drift token changes. The witness is
//! the guest's own `date` beside the clock of the real machine. QEMU's RTC counts whole seconds and begins each of them up
//! to a second late, so two seconds are right.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::support::poll_until;
use super::support::virtual_machine::{Hardware, VirtualMachine};
use super::time_server::TimeServer;

/// How long the clock may take on a loaded machine with an emulated processor, ntpd's eight questions included.
const PATIENCE: Duration = Duration::from_secs(120);

/// How soon after a new drift token the clock has to be right.
const PROMPT: Duration = Duration::from_secs(2);

/// How often the machine may try to be that fast: on one that does other things as well, not every attempt counts.
const ATTEMPTS: u32 = 10;

/// How many drift tokens may pass until one is seen to: a time service on a loaded machine does not measure at each of them.
const TOKENS: u32 = 4;

/// How long one token has for that.
const TURN: Duration = Duration::from_secs(45);

/// Puts the configuration of the time services into the guest: one server, at the metadata server's address.
pub(crate) fn prepare(hardware: &mut Hardware) {
    let server = "server 169.254.169.254 iburst";
    // They ask seldom, so that none of them notices by itself what the agent is to tell it.
    let chrony = " minpoll 10 maxpoll 10\ndriftfile /var/lib/chrony/chrony.drift\n";
    hardware.file(
        "/etc/chrony/chrony.conf",
        0o644,
        &format!("{server}{chrony}"),
    );
    hardware.file(
        "/etc/systemd/timesyncd.conf",
        0o644,
        "[Time]\nNTP=169.254.169.254\nPollIntervalMinSec=1024\n",
    );
    // Without a known drift, ntpd may take a quarter of an hour until it is sure of the time.
    hardware.file("/etc/ntpsec/ntp.drift", 0o644, "0.0\n");
    let ntpsec = "driftfile /etc/ntpsec/ntp.drift\ntos minclock 1 minsane 1\n\
                  restrict default kod nomodify nopeer noquery limited\nrestrict 127.0.0.1\nrestrict ::1\n";
    hardware.file(
        "/etc/ntpsec/ntp.conf",
        0o644,
        &format!("{server}\n{ntpsec}"),
    );
}

/// The machine with an agent, a time server, and a drift token that changes.
struct Scene<'a> {
    machine: &'a mut VirtualMachine,
    server: TimeServer,
    token: u32,
}

/// The whole story. It leaves the machine without an RTC.
pub(crate) fn is_kept_right(machine: &mut VirtualMachine) {
    let mut scene = Scene {
        machine,
        server: TimeServer::start(),
        token: 0,
    };
    scene.without_a_service();
    scene.beyond_the_longest_step();
    scene.with_an_rtc_that_only_hwclock_finds();
    scene.switched_off_and_on();
    scene.with_service("chrony", "chrony");
    scene.with_a_wrong_rtc();
    scene.with_a_service_that_reaches_nobody();
    scene.with_an_rtc_that_was_set_by_the_late_clock();
    scene.machine.run("systemctl stop chrony");
    scene.with_service("systemd-timesyncd", "systemd-timesyncd");
    scene.with_an_rtc_in_local_time();
    scene.with_service("ntpsec", "ntpd");
    scene.machine.run("systemctl stop ntpsec");
    scene.after_a_suspension();
    scene.without_an_rtc();
}

impl Scene<'_> {
    /// How far the guest's clock is ahead of the real one, in seconds, and how far that can be wrong: by half the time that
    /// the question takes. The shortest of three counts.
    fn measured_offset(&mut self) -> (f64, f64) {
        let answers = [(); 3].map(|()| self.glance());
        answers
            .into_iter()
            .min_by(|left, right| left.1.total_cmp(&right.1))
            .unwrap()
    }

    /// The same by one question.
    fn glance(&mut self) -> (f64, f64) {
        let now = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            since.as_secs_f64()
        };
        let before = now();
        let guest: f64 = self.machine.run("date +%s.%N").parse().unwrap();
        let after = now();
        (guest - f64::midpoint(before, after), (after - before) / 2.0)
    }

    fn offset(&mut self) -> f64 {
        self.measured_offset().0
    }

    fn assert_right(&mut self) {
        let (offset, error) = self.measured_offset();
        println!("  the guest's clock is {offset:+.3} s off, give or take {error:.3} s");
        let log = self.log();
        assert!(offset.abs() < 2.0 + error, "{offset} s off:\n{log}");
    }

    /// Sets the guest's clock wrong, in the words of date(1).
    fn set_wrong(&mut self, words: &str) {
        self.machine.run(&format!("date --set='{words}'"));
        assert!(self.offset().abs() > 30.0);
    }

    /// Has the guest stand still for a while, as in a migration.
    fn leave_behind(&mut self) {
        self.machine.stand_still_for(Duration::from_secs(6));
        assert!(self.offset() < -2.0);
    }

    /// What the agent has said since it was started.
    fn log(&mut self) -> String {
        self.machine.run("cat /run/agent.log")
    }

    fn start_agent(&mut self) {
        self.machine.run(
            "systemd-run --quiet --unit=agent --property=StandardError=append:/run/agent.log gce-guest agent --debug",
        );
    }

    /// Waits until the log has `words`, after `mark` if that is not empty.
    fn wait_for(&mut self, mark: &str, words: &str) {
        let told = self.is_told(mark, words, PATIENCE);
        let log = self.log();
        assert!(told, "no {words:?} after {mark:?} in the log:\n{log}");
    }

    /// Whether the log has that within a time.
    fn is_told(&mut self, mark: &str, words: &str, patience: Duration) -> bool {
        let started = Instant::now();
        loop {
            let log = self.log();
            let found = log
                .split_once(mark)
                .is_some_and(|(_, rest)| rest.contains(words));
            if found || started.elapsed() >= patience {
                return found;
            }
        }
    }

    /// Gets the clock wrong, changes the drift token, and looks until the clock is right, by the real machine's clocks, which
    /// has to be prompt. What the agent says to it has all of these `words`.
    fn is_right_promptly(&mut self, get_wrong: impl Fn(&mut Self), words: &[&str]) {
        for attempt in 1..=ATTEMPTS {
            get_wrong(self);
            self.new_token();
            let started = Instant::now();
            loop {
                let (offset, error) = self.glance();
                if offset.abs() < 1.5 && error < 0.5 {
                    break;
                }
                assert!(started.elapsed() < PATIENCE, "{}", self.log());
            }
            let took = started.elapsed();
            println!("  right {took:?} after token {}", self.token);
            for words in words {
                self.wait_for(&self.mark(), words);
            }
            if took < PROMPT {
                return;
            }
            let log = self.log();
            println!("{}", log.split_once(&self.mark()).unwrap().1);
            assert!(attempt < ATTEMPTS, "never prompt:\n{log}");
        }
    }

    /// What the agent says when it has seen the token.
    fn mark(&self) -> String {
        format!("Clock drift token has changed: {}.\n", self.token)
    }

    /// Changes the drift token, and waits until the agent has said so, and then `words`. Where it does not, as with a time
    /// service that did not come to an answer, the token changes again.
    fn change_token(&mut self, words: &str) {
        self.change_token_after(|_| (), words);
    }

    /// The same with something done before each change.
    fn change_token_after(&mut self, prepare: impl Fn(&mut Self), words: &str) {
        let mut first = None;
        for _ in 0..TOKENS {
            prepare(self);
            self.new_token();
            let mark = first.get_or_insert_with(|| self.mark()).clone();
            let started = Instant::now();
            let told = self.is_told(&mark, words, TURN);
            let outcome = if told { "was" } else { "was not" };
            println!(
                "  token {} {outcome} seen to after {:?}",
                self.token,
                started.elapsed()
            );
            if told {
                return;
            }
        }
        let log = self.log();
        panic!("no {words:?} after {first:?} in the log:\n{log}");
    }

    fn new_token(&mut self) {
        self.token += 1;
        // It may be a number or a text.
        let (path, token) = ("instance/virtual-clock/drift-token", self.token);
        if token % 2 == 0 {
            self.machine.vm.set(path, token);
        } else {
            self.machine.vm.set(path, token.to_string());
        }
    }

    fn configure(&mut self, text: &str) {
        let file = "/etc/default/instance_configs.cfg.template";
        self.machine.run(&format!("printf '{text}' > {file}"));
        let count = self
            .log()
            .matches("Reading the configuration again")
            .count();
        self.machine.run("systemctl kill --signal=HUP agent");
        poll_until(PATIENCE, "the configuration is read", || {
            self.log()
                .matches("Reading the configuration again")
                .count()
                > count
        });
    }

    fn status(&mut self) -> Value {
        let printed = self.machine.attempt("gce-guest clock status --json").stdout;
        serde_json::from_str(&printed).unwrap()
    }

    fn without_a_service(&mut self) {
        println!("no service, at the start");
        self.machine
            .run("! systemctl --quiet is-active agent || systemctl stop agent");
        self.set_wrong("10 minutes ago");
        self.start_agent();
        self.wait_for("", "Synced system time with hardware clock: moved by +");
        self.assert_right();
        println!("no service, set by somebody");
        self.set_wrong("50 minutes");
        self.wait_for("", "The clock was stepped by +");
        self.change_token("Synced system time with hardware clock: moved by -");
        self.assert_right();
        println!("no service, standing still");
        let by_rtc = "Synced system time with hardware clock: moved by +";
        self.is_right_promptly(Self::leave_behind, &[by_rtc]);
        self.assert_right();
    }

    fn beyond_the_longest_step(&mut self) {
        println!("beyond the longest step");
        self.set_wrong("3 hours");
        self.change_token("WARNING Failed to sync system time with hardware clock: the clock is");
        assert_eq!(self.status()["right"], false);
        let refused = self.machine.attempt("gce-guest clock sync --dry-run");
        assert!(
            refused.status == 1 && refused.stdout.contains("would refuse"),
            "{refused:?}"
        );
        let allowed = self
            .machine
            .attempt("gce-guest clock sync --dry-run --force");
        assert!(
            allowed.status == 0 && allowed.stdout.contains("would step the clock by -"),
            "{allowed:?}"
        );
        // The agent's limit is the command's, from metadata too.
        let attribute = "instance/attributes/google-instance-configs";
        let limit = "[Clock]\nmax_step = 20000\n";
        self.machine.vm.set(attribute, limit);
        let allowed = self.machine.attempt("gce-guest clock sync --dry-run");
        assert!(
            allowed.status == 0 && allowed.stdout.contains("would step the clock by -"),
            "{allowed:?}"
        );
        self.machine.vm.set(attribute, "");
        assert!(self.offset() > 10_000.0, "a dry run changes nothing");
        assert_eq!(self.machine.attempt("gce-guest clock sync").status, 1);
        assert!(self.offset() > 10_000.0, "nor does a refused step");
        self.machine.run("gce-guest clock sync --force");
        self.assert_right();
        let status = self.status();
        assert_eq!(status["right"], true, "{status}");
        assert_eq!(status["last"]["deed"], "stepped", "{status}");
        self.set_wrong("3 hours");
        self.configure("[Clock]\\nmax_step = 20000\\n");
        self.change_token("Synced system time with hardware clock: moved by -");
        self.assert_right();
    }

    fn with_an_rtc_that_only_hwclock_finds(&mut self) {
        println!("an RTC that only hwclock finds");
        let hide = "mkdir -p /dev/misc; mv /dev/rtc0 /dev/misc/rtc; rm /dev/rtc";
        self.machine.run(hide);
        self.set_wrong("10 minutes");
        self.change_token(
            "WARNING Failed to sync system time with hardware clock: there is no RTC",
        );
        assert!(self.offset() > 500.0);
        self.configure("[Clock]\\nhwclock_fallback = true\\n");
        self.change_token("Synced system time with hardware clock by hwclock: moved by -");
        self.assert_right();
        self.configure("");
        println!("an RTC that cannot be read");
        self.machine.run("mknod /dev/rtc0 c 1 3");
        self.change_token(
            "WARNING Failed to sync system time with hardware clock: the RTC cannot be read",
        );
        self.machine.run("mv /dev/misc/rtc /dev/rtc0");
    }

    /// The RTC is only as exact as the clock that it is set by, so a service has just set that.
    fn with_an_rtc_in_local_time(&mut self) {
        println!("an RTC in local time");
        self.machine.run(
            "ln -sf /usr/share/zoneinfo/Asia/Kolkata /etc/localtime && hwclock --systohc --localtime && \
             systemctl stop systemd-timesyncd",
        );
        let status = self.status();
        assert_eq!(status["rtc"]["mode"], "local", "{status}");
        assert_eq!(status["right"], true, "{status}");
        self.set_wrong("20 minutes ago");
        self.change_token("Synced system time with hardware clock: moved by +");
        self.assert_right();
        self.start_service("ntpsec", "ntpd");
        self.machine
            .run("rm /etc/localtime && hwclock --systohc --utc");
        assert_eq!(self.status()["rtc"]["mode"], "utc");
    }

    fn switched_off_and_on(&mut self) {
        println!("switched off and on");
        self.configure("[Daemons]\\nclock_skew_daemon = false\\n");
        self.set_wrong("10 minutes ago");
        self.token += 1;
        self.machine
            .vm
            .set("instance/virtual-clock/drift-token", self.token);
        let etag = self.machine.vm.live.read(|store| store.etag(&[])).unwrap();
        self.wait_for("", &format!("Pass of clock for etag {etag}"));
        assert!(self.offset() < -500.0);
        self.configure("");
        self.wait_for(&etag, "Synced system time with hardware clock: moved by +");
        self.assert_right();
    }

    fn start_service(&mut self, unit: &str, name: &str) {
        self.machine.run(&format!("systemctl start {unit}"));
        poll_until(PATIENCE, "it is synchronised", || {
            let status = self.status();
            status["service"] == name && status["synchronized"] == true
        });
        // Once somebody keeps the clock, the kernel writes it to the RTC: at once, and then every eleven minutes. Not while
        // the clock is wrong.
        self.machine.run("sleep 8");
    }

    /// The RTC comes first, and then the service has the last word.
    fn with_service(&mut self, unit: &str, name: &str) {
        println!("{unit}");
        self.start_service(unit, name);
        // The agent looks at an RTC that may have been wrong before, and finds that it is right.
        self.machine.run("gce-guest clock sync");
        let by_service = format!("Synced system time with {name}: moved by ");
        let words = [
            "Synced system time with hardware clock: moved by +",
            &by_service,
        ];
        self.is_right_promptly(Self::leave_behind, &words);
        self.assert_right();
        assert_eq!(self.status()["service"], name, "it goes on");
        // systemd-timesyncd notices such a step by itself, and is faster than the token.
        if name != "systemd-timesyncd" {
            println!("{unit}, set by somebody");
            self.is_right_promptly(|scene| scene.set_wrong("10 minutes ago"), &words);
            self.assert_right();
        }
        self.assert_synchronized(name);
    }

    /// The service goes on keeping the clock, and does not fight what was done.
    fn assert_synchronized(&mut self, name: &str) {
        poll_until(PATIENCE, "it keeps the clock", || {
            let status = self.status();
            status["service"] == name && status["synchronized"] == true
        });
        self.assert_right();
    }

    /// It is right, but taken for local time.
    fn with_a_wrong_rtc(&mut self) {
        println!("chrony and an RTC that is wrong");
        self.machine.run(
            "printf '0 0 0\\n0\\nLOCAL\\n' > /etc/adjtime; \
             ln -sf /usr/share/zoneinfo/Asia/Kolkata /etc/localtime",
        );
        let offset = self.status()["rtc"]["offset"].as_f64().unwrap();
        assert!(offset > 19_000.0, "{offset}");
        self.change_token("WARNING The RTC does not show the time of chrony");
        self.assert_right();
        self.machine.run("rm /etc/localtime /etc/adjtime");
    }

    fn with_a_service_that_reaches_nobody(&mut self) {
        println!("chrony that reaches nobody");
        // The RTC was taken for another time before; now it is seen to be right.
        self.change_token("Synced system time with chrony: moved by ");
        self.server.answer(false);
        let words = [
            "Synced system time with hardware clock: moved by +",
            "WARNING Chrony cannot say what time it is",
        ];
        self.is_right_promptly(|scene| scene.set_wrong("10 minutes ago"), &words);
        self.assert_right();
        self.server.answer(true);
    }

    /// As the kernel does it every eleven minutes, here in the moment before the token comes: the RTC agrees with the clock,
    /// and both are late.
    fn with_an_rtc_that_was_set_by_the_late_clock(&mut self) {
        println!("chrony and an RTC that was set by the late clock");
        let get_late = |scene: &mut Self| {
            // It would ask its server again after a quarter of an hour.
            scene.machine.run("systemctl stop chrony");
            scene.start_service("chrony", "chrony");
            scene.leave_behind();
            scene.machine.run("hwclock --systohc --utc");
        };
        self.change_token_after(get_late, "Synced system time with chrony: moved by +");
        self.assert_right();
        self.machine.run("hwclock --systohc --utc");
    }

    fn after_a_suspension(&mut self) {
        println!("a suspension");
        self.machine.run("rtcwake --mode mem --seconds 4");
        self.wait_for("", "The machine was suspended for ");
        self.assert_right();
    }

    fn without_an_rtc(&mut self) {
        println!("no RTC");
        let unbind = "cd /sys/bus/pnp/drivers/rtc_cmos && basename \"$(echo 00:*)\" > unbind && ! ls /dev/rtc0";
        self.machine.run(unbind);
        let begun = self.log().len();
        for _ in 0..3 {
            self.change_token("");
        }
        let log = self.log();
        let warnings = log[begun..].matches("WARNING").count();
        assert_eq!(
            warnings,
            1,
            "one message, however often:\n{}",
            &log[begun..]
        );
    }
}
