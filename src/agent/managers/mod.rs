//! The managers as the agent knows them: a name, a lock, a logger, and a pass from input to report.

mod accounts;
mod clock;
mod hostname;
mod interfaces;
mod network;
mod scripts;

use super::report::{Input, Report};
use super::slot::Work;

/// Which manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Manager {
    /// Accounts and SSH keys.
    Accounts,
    /// The clock.
    Clock,
    /// Forwarded addresses.
    Network,
    /// Interfaces, through what manages the machine's network.
    Interfaces,
    /// The host name.
    Hostname,
    /// Copies of the shutdown scripts.
    Scripts,
}

impl Manager {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Accounts,
        Self::Clock,
        Self::Network,
        Self::Interfaces,
        Self::Hostname,
        Self::Scripts,
    ];

    /// Its name in messages, which is also that of its thread.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Clock => "clock",
            Self::Network => "network",
            Self::Interfaces => "interfaces",
            Self::Hostname => "hostname",
            Self::Scripts => "scripts",
        }
    }

    /// The predecessors' logger name (spec/core.md 4).
    #[must_use]
    pub fn logger(self) -> &'static str {
        match self {
            Self::Accounts => "google-accounts",
            Self::Clock => "google-clock-skew",
            Self::Network | Self::Interfaces => "google-networking",
            Self::Hostname => "google-hostname",
            Self::Scripts => "shutdown-script",
        }
    }

    /// The predecessors' logger name for changes, where it is another.
    #[must_use]
    pub fn changes_logger(self) -> &'static str {
        match self {
            Self::Accounts => "google-accounts",
            Self::Clock => "google-clock-skew",
            Self::Network => "google-ip-forwarding",
            Self::Interfaces => "google-networking",
            Self::Hostname => "google-hostname",
            Self::Scripts => "shutdown-script",
        }
    }

    /// The predecessors' lock, so that theirs and ours exclude each other (spec/core.md 11.1); one of our own where they
    /// had none.
    #[must_use]
    pub fn lock(self) -> &'static str {
        match self {
            Self::Accounts => "/var/lock/google_accounts.lock",
            Self::Clock => "/var/lock/google_clock_skew.lock",
            Self::Network | Self::Interfaces => "/var/lock/google_networking.lock",
            Self::Hostname => "/var/lock/gce_guest_hostname.lock",
            Self::Scripts => "/var/lock/gce_guest_scripts.lock",
        }
    }

    /// What it does in a pass.
    #[must_use]
    pub fn work(self) -> Work {
        match self {
            Self::Accounts => {
                let mut accounts = accounts::Accounts::default();
                Box::new(move |input| accounts.reconcile(input))
            }
            Self::Clock => {
                let mut clock = clock::Clock::default();
                Box::new(move |input| clock.reconcile(input))
            }
            Self::Network => Box::new(network::reconcile),
            Self::Interfaces => {
                let mut interfaces = interfaces::Interfaces::default();
                Box::new(move |input| interfaces.reconcile(input))
            }
            Self::Hostname => Box::new(hostname::reconcile),
            Self::Scripts => Box::new(scripts::reconcile),
        }
    }

    /// What a pass would do now, by the same plan. Changes nothing on the machine.
    #[must_use]
    pub fn preview(self, input: &Input) -> Report {
        match self {
            Self::Accounts => accounts::preview(input),
            Self::Clock => clock::preview(input),
            Self::Network => network::preview(input),
            Self::Interfaces => interfaces::preview(input),
            Self::Hostname => hostname::preview(input),
            Self::Scripts => scripts::preview(input),
        }
    }
}

/// Whether OS Login is wanted and in charge of log-ins, as the manager of accounts sees it. Changes nothing.
#[must_use]
pub fn oslogin_is_active(input: &Input) -> bool {
    accounts::oslogin_is_active(input)
}
