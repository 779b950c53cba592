//! What to change so that the machine has the name that metadata gives it. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use thiserror::Error;

use super::hosts::{self, Entries, Rival};
use super::names::{self, HOST_NAME_MAX, Name, Refusal};
use crate::config::Settings;
use crate::config::policy::Function;
use crate::config::values::{HostnameForm, HostnameMode};
use crate::metadata::Document;
use crate::metadata::document::{Instance, NetworkInterface};
use crate::system::order::{InOrder, Map};

/// The address that the name has where metadata gives the machine none: it has to resolve, or sudo waits for the DNS.
const NO_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 1, 1));

/// Where the host name is between two boots (hostname(5)).
pub const HOSTNAME_FILE: &str = "/etc/hostname";

/// Where names have addresses without any DNS (hosts(5)).
pub const HOSTS_FILE: &str = "/etc/hosts";

/// How much of a refused text a message repeats, in characters.
const SHOWN: usize = 80;

/// What the configuration asks for, the Go agent's words and ours taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// Whether the host name is set, and whether it outlives the boot.
    pub mode: HostnameMode,
    /// Which part of the name.
    pub form: HostnameForm,
    /// Whether our block in /etc/hosts is kept.
    pub hosts: bool,
}

impl Wishes {
    /// Reads them from the settings. `Unstable.set_hostname` is `Hostname.mode = static`, `fqdn_as_hostname` is
    /// `Hostname.form = fqdn`, and `set_fqdn` asks for /etc/hosts alone (spec/beyond.md 9.1).
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let (ours, go) = (&settings.hostname, &settings.unstable);
        let allowed = settings.daemons.network_daemon && settings.policy.allows(Function::Hostname);
        let mode = match ours.mode {
            _ if !allowed => HostnameMode::Off,
            HostnameMode::Off if go.set_hostname => HostnameMode::Static,
            mode => mode,
        };
        Self {
            mode,
            form: if go.fqdn_as_hostname {
                HostnameForm::Fqdn
            } else {
                ours.form
            },
            hosts: allowed && ours.manage_hosts && (mode != HostnameMode::Off || go.set_fqdn),
        }
    }

    /// Whether nothing is to be touched, nor looked at.
    #[must_use]
    pub fn is_nothing(self) -> bool {
        self.mode == HostnameMode::Off && !self.hosts
    }
}

/// The part of the machine that a host name has to do with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The kernel's host name.
    pub kernel: String,
    /// The bytes of /etc/hostname; `None` when there is none.
    pub file: Option<Vec<u8>>,
    /// The bytes of /etc/hosts; `None` when there is none.
    pub hosts: Option<Vec<u8>>,
    /// Which of the two files cannot be replaced, and why.
    pub kept: Map<&'static str, String>,
}

impl Observed {
    /// The name in /etc/hostname: its first line that is no comment (hostname(5)).
    #[must_use]
    pub fn static_name(&self) -> Option<String> {
        let text = String::from_utf8_lossy(self.file.as_deref()?);
        let mut lines = text.lines().map(str::trim);
        let name = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
        name.map(str::to_owned)
    }
}

/// Where a name comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The owner's attribute `hostname`, which beats the next.
    Attribute,
    /// The name that the platform gives the instance.
    Instance,
    /// `Unstable.additional_aliases`.
    Aliases,
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Attribute => "instance/attributes/hostname",
            Self::Instance => "instance/hostname",
            Self::Aliases => "Unstable.additional_aliases",
        })
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// /etc/hosts gets these bytes; the rest is for the message.
    Hosts {
        /// The new file.
        contents: Vec<u8>,
        /// The old one.
        present: Vec<u8>,
        /// What our block says.
        entries: Entries,
    },
    /// /etc/hostname gets a new name.
    File {
        /// The one in it, if any.
        from: Option<String>,
        /// The new one.
        to: String,
    },
    /// The kernel gets a new name in place of an old one.
    Kernel {
        /// The old one.
        from: String,
        /// The new one.
        to: String,
    },
}

impl Change {
    /// What has been done, in words.
    #[must_use]
    pub fn done(&self) -> String {
        match self {
            Self::Kernel { from, to } => format!("changed the host name from {from} to {to}"),
            // "Put" is past as well.
            Self::Hosts { .. } | Self::File { .. } => self.to_string(),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hosts { entries, .. } => {
                let addresses: Vec<String> =
                    entries.addresses.iter().map(ToString::to_string).collect();
                write!(
                    formatter,
                    "put {} for {} into /etc/hosts",
                    entries.name,
                    addresses.join(", ")
                )
            }
            Self::File { to, .. } => write!(formatter, "put {to} into /etc/hostname"),
            Self::Kernel { from, to } => {
                write!(formatter, "change the host name from {from} to {to}")
            }
        }
    }
}

/// Something in metadata or on the machine that the program cannot follow. It costs what it names and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Problem {
    /// A name cannot be used.
    #[error("Could not use the host name {text:?} ({origin}): {reason}.")]
    Name {
        /// Where it is.
        origin: Source,
        /// The text, shortened.
        text: String,
        /// What is wrong with it.
        reason: Refusal,
    },
    /// A first label was cut.
    #[error(
        "The first label of {text:?} ({origin}) is longer than 63 bytes: it is cut to {short}."
    )]
    Cut {
        /// Where it is.
        origin: Source,
        /// The text, shortened.
        text: String,
        /// What is left of the label.
        short: String,
    },
    /// The whole name is longer than a host name can be.
    #[error(
        "{full} has more than {HOST_NAME_MAX} bytes, the most for a host name: {short} is set instead."
    )]
    TooLong {
        /// The whole name.
        full: String,
        /// What is set.
        short: String,
    },
    /// Metadata has no address for the name.
    #[error(
        "Network interface {nic} of metadata has no address for /etc/hosts: the machine's name is 127.0.1.1 there \
         (Unstable.fqdn_address_interface_index)."
    )]
    NoAddress {
        /// The index of the interface.
        nic: u32,
    },
    /// A file is somebody else's to write.
    #[error("{path} is left as it is, because {reason}: {advice}.")]
    Kept {
        /// The file.
        path: &'static str,
        /// Why it cannot be replaced.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// A line of somebody else wins over ours.
    #[error(
        "Line {} of /etc/hosts gives {} the address {}, before our line: it counts. Remove it, or set \
         Hostname.manage_hosts to false.",
        .0.line, .0.name, .0.address
    )]
    Rival(Rival),
}

/// What to do, and what cannot be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which they are made: the name resolves before it is the machine's.
    pub changes: Vec<Change>,
    /// Sorted; each names what it costs.
    pub problems: Vec<Problem>,
    /// The name that the machine shall have, and where it comes from.
    pub name: Option<(Name, Source)>,
}

/// Compares metadata with the machine.
///
/// Half an answer changes nothing: without the attributes it is unknown whether the owner has overridden the name, and
/// without the interfaces what its address is.
#[must_use]
pub fn plan(document: &Document, settings: &Settings, observed: &Observed) -> Plan {
    let wishes = Wishes::new(settings);
    let mut plan = Plan::default();
    if wishes.is_nothing() {
        return plan;
    }
    let Some((name, source)) = plan.choose(&document.instance) else {
        return plan;
    };
    if wishes.hosts
        && let Some(nics) = document.instance.network_interfaces.present()
    {
        plan.keep_hosts(&name, nics, settings, observed);
    }
    let wanted = plan.host_name(&name, wishes.form);
    let from = observed.static_name();
    if wishes.mode == HostnameMode::Static && from.as_ref() != Some(&wanted) {
        let to = wanted.clone();
        plan.change(HOSTNAME_FILE, Change::File { from, to }, observed);
    }
    if wishes.mode != HostnameMode::Off && observed.kernel != wanted {
        plan.changes.push(Change::Kernel {
            from: observed.kernel.clone(),
            to: wanted,
        });
    }
    plan.name = Some((name, source));
    plan.problems.put_in_order();
    plan
}

impl Plan {
    /// The first usable of the names in metadata.
    fn choose(&mut self, instance: &Instance) -> Option<(Name, Source)> {
        let attribute = instance.attributes.present()?.get("hostname");
        let candidates = [
            (Source::Attribute, attribute),
            (Source::Instance, instance.hostname.present()),
        ];
        for (source, text) in candidates {
            if let Some(text) = text.filter(|text| !text.trim().is_empty())
                && let Some(name) = self.accept(source, text)
            {
                return Some((name, source));
            }
        }
        None
    }

    fn accept(&mut self, source: Source, text: &str) -> Option<Name> {
        let shown = || text.chars().take(SHOWN).collect();
        match names::parse(text) {
            Ok((name, false)) => Some(name),
            Ok((name, true)) => {
                self.problems.push(Problem::Cut {
                    origin: source,
                    text: shown(),
                    short: name.short().to_owned(),
                });
                Some(name)
            }
            Err(reason) => {
                self.problems.push(Problem::Name {
                    origin: source,
                    text: shown(),
                    reason,
                });
                None
            }
        }
    }

    /// The host name in the form that is asked for.
    fn host_name(&mut self, name: &Name, form: HostnameForm) -> String {
        match form {
            HostnameForm::Fqdn if name.full().len() <= HOST_NAME_MAX => name.full().to_owned(),
            HostnameForm::Short => name.short().to_owned(),
            HostnameForm::Fqdn => {
                self.problems.push(Problem::TooLong {
                    full: name.full().to_owned(),
                    short: name.short().to_owned(),
                });
                name.short().to_owned()
            }
        }
    }

    fn keep_hosts(
        &mut self,
        name: &Name,
        nics: &[NetworkInterface],
        settings: &Settings,
        observed: &Observed,
    ) {
        let index = settings.unstable.fqdn_address_interface_index;
        let mut addresses = nics.get(index as usize).map_or_else(Vec::new, addresses);
        if addresses.is_empty() {
            self.problems.push(Problem::NoAddress { nic: index });
            addresses.push(NO_ADDRESS);
        }
        let aliases = &settings.unstable.additional_aliases;
        let entries = Entries {
            addresses,
            name: name.clone(),
            aliases: aliases
                .iter()
                .filter_map(|alias| self.accept(Source::Aliases, alias))
                .collect(),
        };
        let present = observed.hosts.as_deref().unwrap_or_default();
        let rivals = hosts::rivals(present, &entries);
        self.problems.extend(rivals.into_iter().map(Problem::Rival));
        let contents = hosts::rewritten(present, &entries);
        if contents != present {
            let change = Change::Hosts {
                contents,
                present: present.to_vec(),
                entries,
            };
            self.change(HOSTS_FILE, change, observed);
        }
    }

    /// Plans to replace a file, unless somebody keeps it.
    fn change(&mut self, path: &'static str, change: Change, observed: &Observed) {
        let Some(reason) = observed.kept.get(path) else {
            self.changes.push(change);
            return;
        };
        let advice = if path == HOSTS_FILE {
            "have its keeper add the machine's name, or set Hostname.manage_hosts to false"
        } else {
            "the name is gone with the next boot; Hostname.mode = transient is meant for that"
        };
        self.problems.push(Problem::Kept {
            path,
            reason: reason.clone(),
            advice,
        });
    }
}

/// The addresses that metadata gives an interface. One that is none, or that no machine can have, is left out.
fn addresses(nic: &NetworkInterface) -> Vec<IpAddr> {
    let texts = std::iter::once(&nic.ip).chain(&nic.ipv6s);
    let parsed = texts.filter_map(|text| text.parse().ok());
    parsed
        .filter(|address: &IpAddr| {
            !address.is_loopback() && !address.is_unspecified() && !address.is_multicast()
        })
        .collect()
}

#[cfg(test)]
mod tests;
