//! `[Lock]`: what the owner of an image or machine fixes, so that metadata cannot change it.
//!
//! ```ini
//! [Lock]
//! disable = clock, oslogin
//! ignore_metadata = Accounts.*, NetworkInterfaces.dhcp_command
//! Accounts.deprovision_remove = false
//! ```
//!
//! A section of its own, because the predecessors carry unknown sections along without looking at them: an older agent
//! behaves on the file as if it were not there. It counts in the template, in a hand-edited instance_configs.cfg and in
//! the distribution's file, in this order, and never in metadata.

use crate::system::order::Set;

/// The section's name.
pub(super) const LOCK_SECTION: &str = "Lock";

/// The option that switches functions off.
pub(super) const DISABLE: &str = "disable";

/// The option that names what metadata may not set.
pub(super) const IGNORE_METADATA: &str = "ignore_metadata";

/// What `disable` can switch off, for good: no configuration and no metadata key switches it on again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Function {
    /// Users and keys.
    Accounts,
    /// Routes for forwarded addresses.
    Addresses,
    /// The clock.
    Clock,
    /// Host keys of sshd.
    HostKeys,
    /// The host name.
    Hostname,
    /// Set-up of interfaces.
    Interfaces,
    /// Everything of the network: interfaces, routes and the host name.
    Network,
    /// OS Login.
    OsLogin,
    /// Scripts at shutdown.
    ShutdownScripts,
    /// Scripts at boot.
    StartupScripts,
}

impl Function {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Accounts,
        Self::Addresses,
        Self::Clock,
        Self::HostKeys,
        Self::Hostname,
        Self::Interfaces,
        Self::Network,
        Self::OsLogin,
        Self::ShutdownScripts,
        Self::StartupScripts,
    ];

    /// The word for it in `disable`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Addresses => "addresses",
            Self::Clock => "clock",
            Self::HostKeys => "host-keys",
            Self::Hostname => "hostname",
            Self::Interfaces => "interfaces",
            Self::Network => "network",
            Self::OsLogin => "oslogin",
            Self::ShutdownScripts => "shutdown-scripts",
            Self::StartupScripts => "startup-scripts",
        }
    }

    /// What a word in `disable` names, in any case.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|function| function.word().eq_ignore_ascii_case(word))
    }

    /// The options that switching it off pins, with their values: whoever reads only the options sees it off too.
    #[must_use]
    pub fn pins(self) -> &'static [(&'static str, &'static str, &'static str)] {
        match self {
            Self::Accounts => &[("Daemons", "accounts_daemon", "false")],
            Self::Addresses => &[
                ("Daemons", "ip_forwarding_daemon", "false"),
                ("NetworkInterfaces", "ip_forwarding", "false"),
            ],
            Self::Clock => &[("Daemons", "clock_skew_daemon", "false")],
            Self::HostKeys => &[("InstanceSetup", "set_host_keys", "false")],
            Self::Hostname => &[
                ("Hostname", "mode", "off"),
                ("Unstable", "set_fqdn", "false"),
                ("Unstable", "set_hostname", "false"),
            ],
            Self::Interfaces => &[("NetworkInterfaces", "setup", "false")],
            Self::Network => &[("Daemons", "network_daemon", "false")],
            Self::OsLogin => &[
                ("OSLogin", "cert_authentication", "false"),
                ("OSLogin", "manage_nss", "false"),
                ("OSLogin", "manage_pam", "false"),
                ("OSLogin", "manage_sshd", "false"),
            ],
            Self::ShutdownScripts => &[("MetadataScripts", "shutdown", "false")],
            Self::StartupScripts => &[("MetadataScripts", "startup", "false")],
        }
    }
}

/// The functions that are switched off for good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    disabled: Set<Function>,
}

impl Policy {
    /// Whether local policy lets this function act. `Network` off takes interfaces, routes and the host name with it.
    #[must_use]
    pub fn allows(&self, function: Function) -> bool {
        let network = matches!(
            function,
            Function::Addresses | Function::Hostname | Function::Interfaces
        );
        !(self.disabled.contains(&function)
            || network && self.disabled.contains(&Function::Network))
    }

    /// Switches a function off.
    pub fn disable(&mut self, function: Function) {
        self.disabled.insert(function);
    }

    /// What is switched off.
    pub fn disabled(&self) -> impl Iterator<Item = Function> {
        self.disabled.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_has_a_word_that_names_it() {
        for function in Function::ALL {
            assert_eq!(Function::named(function.word()), Some(function));
        }
        assert_eq!(Function::named("CLOCK"), Some(Function::Clock));
        assert_eq!(Function::named("clocks"), None);
    }

    #[test]
    fn the_network_takes_its_parts_with_it() {
        let mut policy = Policy::default();
        assert!(policy.allows(Function::Addresses));
        policy.disable(Function::Network);
        assert!(!policy.allows(Function::Network));
        assert!(!policy.allows(Function::Addresses));
        assert!(!policy.allows(Function::Hostname));
        assert!(policy.allows(Function::Accounts));
    }
}
