//! Which addresses metadata asks for: texts in, prefixes out, and one problem for each text that is of no use. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use thiserror::Error;

use crate::config::settings::IpForwarding;
use crate::config::values::MacAddress;
use crate::metadata::document::NetworkInterface;
use crate::system::order::{InOrder, Map};

/// Where in metadata an address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The position of the NIC in `networkInterfaces`.
    pub nic: usize,
    /// The list that it is in.
    pub list: List,
}

/// One of the lists of addresses that a NIC has in metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum List {
    /// `forwardedIps`: load balancers and protocol forwarding.
    ForwardedIps,
    /// `forwardedIpv6s`: the same for IPv6.
    ForwardedIpv6s,
    /// `ipAliases`: alias ranges.
    IpAliases,
    /// `targetInstanceIps`: target instances.
    TargetInstanceIps,
}

impl fmt::Display for Origin {
    /// Writes the path that the metadata server knows it by.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = match self.list {
            List::ForwardedIps => "forwarded-ips",
            List::ForwardedIpv6s => "forwarded-ipv6s",
            List::IpAliases => "ip-aliases",
            List::TargetInstanceIps => "target-instance-ips",
        };
        write!(formatter, "instance/network-interfaces/{}/{list}", self.nic)
    }
}

/// What has become of an address that metadata asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Our route is there.
    Present,
    /// It is not.
    Missing,
    /// Somebody else's route, which has this protocol id, does it.
    Foreign(u8),
}

/// What is wrong with an address of metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Unusable {
    /// It is neither an IP address nor a range in CIDR form.
    #[error("it is neither an IP address nor a range like 10.0.0.0/24")]
    Malformed,
    /// It lies in, or contains, addresses that a machine must not take over.
    #[error("it overlaps {0}, which is not for forwarding")]
    Reserved(IpNet),
    /// With it the machine would talk to itself instead of the metadata server.
    #[error("it contains the metadata server's address {0}")]
    MetadataServer(IpAddr),
    /// It is the interface's own address, which the kernel answers to anyway.
    #[error("it is the interface's own address")]
    Own,
    /// With it the machine would talk to itself instead of its neighbours and its gateway.
    #[error("it contains the interface's own address {0}, and with it those of its neighbours")]
    Around(IpAddr),
    /// It is, or contains, an address that another interface or a gateway has.
    #[error("{address} is {holder}")]
    Taken {
        /// The address.
        address: IpAddr,
        /// Whose it is.
        holder: Holder,
    },
}

/// Who has an address besides the interface that it is to be forwarded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// The NIC at this position.
    Interface(usize),
    /// The gateway of the NIC at this position.
    Gateway(usize),
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(nic) => write!(formatter, "the own address of network interface {nic}"),
            Self::Gateway(nic) => write!(formatter, "the gateway of network interface {nic}"),
        }
    }
}

/// The addresses of metadata's NICs and of their gateways. A forwarded one in their place would cut the machine off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    addresses: Vec<(IpAddr, Holder)>,
}

impl Taken {
    /// Those of all NICs. What is no address is left out.
    #[must_use]
    pub fn new(nics: &[NetworkInterface]) -> Self {
        let mut addresses = Vec::new();
        for (position, nic) in nics.iter().enumerate() {
            for (text, holder) in [
                (&nic.ip, Holder::Interface(position)),
                (&nic.gateway, Holder::Gateway(position)),
            ] {
                addresses.extend(text.parse().ok().map(|address| (address, holder)));
            }
        }
        Self { addresses }
    }

    /// Why a prefix cannot be forwarded to a NIC.
    fn check(&self, nic: usize, prefix: IpNet) -> Result<IpNet, Unusable> {
        let mut within = self.addresses.iter();
        let Some(&(address, holder)) = within.find(|(address, _)| prefix.contains(address)) else {
            return Ok(prefix);
        };
        let is_it = IpNet::from(address) == prefix;
        Err(match holder {
            Holder::Interface(other) if other == nic && is_it => Unusable::Own,
            Holder::Interface(other) if other == nic => Unusable::Around(address),
            holder => Unusable::Taken { address, holder },
        })
    }
}

/// Something in metadata or in the configuration that the program cannot follow. It costs what it names and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Problem {
    /// The list of NICs is not readable.
    #[error(
        "The metadata server's networkInterfaces is not readable ({0}): addresses stay as they are."
    )]
    Interfaces(String),
    /// The configured protocol id belongs to somebody else.
    #[error(
        "IpForwarding.ethernet_proto_id is {0}: 0 to 4 mark routes of the kernel and of administrators. Forwarded \
         addresses stay as they are; set an id that nothing else uses (66 is the default)."
    )]
    Protocol(u8),
    /// The MAC address of a NIC is not readable.
    #[error(
        "Could not parse MAC address: {mac:?} (instance/network-interfaces/{nic}): this interface is skipped."
    )]
    Mac {
        /// The position of the NIC.
        nic: usize,
        /// The text in its place, shortened.
        mac: String,
    },
    /// An address cannot be used.
    #[error("Could not use IP address: {text:?} ({origin}): {reason}.")]
    Address {
        /// Where it is.
        origin: Origin,
        /// The text, shortened.
        text: String,
        /// What is wrong with it.
        reason: Unusable,
    },
    /// More of a list cannot be used than is told one by one.
    #[error("Could not use {count} more addresses of {origin}.")]
    More {
        /// The list.
        origin: Origin,
        /// How many.
        count: usize,
    },
    /// Two NICs claim one address.
    #[error("{} is claimed by {first} and by {origin}: the first one has it.", text(*.prefix))]
    Claimed {
        /// The address.
        prefix: IpNet,
        /// Who has it.
        first: Origin,
        /// Who does not get it.
        origin: Origin,
    },
    /// IPv6 routes go with the interface when it goes down, and cannot be added while it is.
    #[error("{interface} is down: {count} IPv6 forwarded addresses wait until it is up.")]
    Down {
        /// The name of the interface.
        interface: String,
        /// How many wait.
        count: usize,
    },
}

/// How many addresses of a list that cannot be used are told one by one: a list of ten thousand must not flood the log.
const TOLD: usize = 20;

/// What stays of a text in a message.
pub(super) fn shortened(text: &str) -> String {
    const LIMIT: usize = 64;
    if text.chars().count() <= LIMIT {
        return text.to_owned();
    }
    text.chars().take(LIMIT).chain("...".chars()).collect()
}

/// Reads an address or a range, exactly as [`text()`] writes it or with host bits set or with the length of a host.
///
/// Host bits are masked, because the kernel masks them: compared unmasked, such a range would be added and removed for
/// ever (spec/core.md BUG 26).
///
/// # Errors
/// [`Unusable::Malformed`] for anything else, [`Unusable::Reserved`] and [`Unusable::MetadataServer`].
pub fn parse(text: &str) -> Result<IpNet, Unusable> {
    let prefix = match text.split_once('/') {
        None => IpNet::from(address(text)?),
        Some((host, length)) => {
            if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(Unusable::Malformed);
            }
            let length = length.parse().map_err(|_| Unusable::Malformed)?;
            IpNet::new(address(host)?, length).map_err(|_| Unusable::Malformed)?
        }
    };
    let prefix = prefix.trunc();
    if let Some(server) = METADATA_SERVERS
        .into_iter()
        .find(|server| prefix.contains(server))
    {
        return Err(Unusable::MetadataServer(server));
    }
    match RESERVED.iter().find(|reserved| overlap(&prefix, reserved)) {
        Some(reserved) => Err(Unusable::Reserved(*reserved)),
        None => Ok(prefix),
    }
}

fn address(text: &str) -> Result<IpAddr, Unusable> {
    text.parse().map_err(|_| Unusable::Malformed)
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

/// The metadata server, over IPv4 and IPv6.
pub(super) const METADATA_SERVERS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// Whether this is the metadata server, and nothing else.
#[must_use]
pub fn is_metadata_server(prefix: IpNet) -> bool {
    METADATA_SERVERS.map(IpNet::from).contains(&prefix)
}

/// Unspecified, loopback, link-local, multicast, broadcast and IPv4-mapped addresses (RFC 6890). The rest of 240.0.0.0/4 is
/// not here: VPC networks use it.
const RESERVED: [IpNet; 10] = [
    v4([0, 0, 0, 0], 8),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([224, 0, 0, 0], 4),
    v4([255, 255, 255, 255], 32),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128),
    v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
];

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> IpNet {
    IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), length)
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], length: u8) -> IpNet {
    IpNet::new_assert(IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)), length)
}

/// Writes a prefix as people and metadata do: a single address without its length.
#[must_use]
pub fn text(prefix: IpNet) -> String {
    if prefix.prefix_len() == prefix.max_prefix_len() {
        prefix.addr().to_string()
    } else {
        prefix.to_string()
    }
}

/// The addresses that metadata asks for on one NIC, each once, with its first origin; and what is wrong with the rest.
///
/// `nic` is the position of the interface in metadata, and `taken` is of all of them.
#[must_use]
pub fn wanted(
    nic: usize,
    interface: &NetworkInterface,
    taken: &Taken,
    settings: &IpForwarding,
) -> (Map<IpNet, Origin>, Vec<Problem>) {
    let mac: Option<MacAddress> = interface.mac.parse().ok();
    let applies = |enabled: bool, except: &[MacAddress]| {
        enabled && mac.is_none_or(|mac| !except.contains(&mac))
    };
    let forwarded = applies(settings.forwarded_ips, &settings.forwarded_ips_except);
    let aliases = applies(settings.ip_aliases, &settings.ip_aliases_except);
    let targets = applies(
        settings.target_instance_ips,
        &settings.target_instance_ips_except,
    );
    let lists = [
        (List::ForwardedIps, &interface.forwarded_ips, forwarded),
        (List::ForwardedIpv6s, &interface.forwarded_ipv6s, forwarded),
        (List::IpAliases, &interface.ip_aliases, aliases),
        (
            List::TargetInstanceIps,
            &interface.target_instance_ips,
            targets,
        ),
    ];
    let mut wanted = Vec::new();
    let mut all_problems = Vec::new();
    for (list, texts, enabled) in lists {
        let origin = Origin { nic, list };
        let mut problems = Vec::new();
        for text in texts.iter().filter(|_| enabled) {
            match parse(text).and_then(|prefix| taken.check(nic, prefix)) {
                Ok(prefix) => wanted.push((prefix, origin)),
                Err(reason) => problems.push(Problem::Address {
                    origin,
                    text: shortened(text),
                    reason,
                }),
            }
        }
        // One message for one text, however often it is repeated.
        problems.put_in_order();
        problems.dedup();
        let count = problems.len().saturating_sub(TOLD);
        if count > 0 {
            problems.truncate(TOLD);
            problems.push(Problem::More { origin, count });
        }
        all_problems.append(&mut problems);
    }
    // Of several origins of an address, the first stays.
    (wanted.into_iter().rev().collect(), all_problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn nic(lists: [&[&str]; 4]) -> NetworkInterface {
        let [forwarded, forwarded_v6, aliases, targets] =
            lists.map(|list| list.iter().map(ToString::to_string).collect());
        NetworkInterface {
            mac: "42:01:0a:80:00:02".into(),
            ip: "10.128.0.2".into(),
            forwarded_ips: forwarded,
            forwarded_ipv6s: forwarded_v6,
            ip_aliases: aliases,
            target_instance_ips: targets,
            ..NetworkInterface::default()
        }
    }

    /// What the only NIC of metadata wants.
    fn wanted_by(
        nic: &NetworkInterface,
        settings: &IpForwarding,
    ) -> (Map<IpNet, Origin>, Vec<Problem>) {
        let taken = Taken::new(std::slice::from_ref(nic));
        wanted(0, nic, &taken, settings)
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn each_kind_is_switched_by_itself_and_for_single_interfaces() {
        let nic = nic([
            &["203.0.113.1"],
            &["2600:1900::1"],
            &["10.1.0.0/24"],
            &["203.0.113.2"],
        ]);
        let own: MacAddress = nic.mac.to_uppercase().parse().unwrap();
        let other = MacAddress([2, 0, 0, 0, 0, 1]);
        let all = ["10.1.0.0/24", "203.0.113.1", "203.0.113.2", "2600:1900::1"];
        let on = IpForwarding::default();
        for (settings, expected) in [
            (on.clone(), &all[..]),
            (
                IpForwarding {
                    forwarded_ips: false,
                    ..on.clone()
                },
                &["10.1.0.0/24", "203.0.113.2"],
            ),
            (
                IpForwarding {
                    ip_aliases: false,
                    ..on.clone()
                },
                &["203.0.113.1", "203.0.113.2", "2600:1900::1"],
            ),
            (
                IpForwarding {
                    target_instance_ips: false,
                    ..on.clone()
                },
                &["10.1.0.0/24", "203.0.113.1", "2600:1900::1"],
            ),
            (
                IpForwarding {
                    forwarded_ips_except: vec![other],
                    ..on.clone()
                },
                &all,
            ),
            (
                IpForwarding {
                    forwarded_ips_except: vec![other, own],
                    ..on.clone()
                },
                &["10.1.0.0/24", "203.0.113.2"],
            ),
            (
                IpForwarding {
                    ip_aliases_except: vec![own],
                    ..on.clone()
                },
                &["203.0.113.1", "203.0.113.2", "2600:1900::1"],
            ),
            (
                IpForwarding {
                    target_instance_ips_except: vec![own],
                    ..on
                },
                &["10.1.0.0/24", "203.0.113.1", "2600:1900::1"],
            ),
        ] {
            let wanted: Vec<_> = wanted_by(&nic, &settings).0.into_keys().map(text).collect();
            assert_eq!(wanted, expected, "{settings:?}");
        }
    }

    #[test]
    fn addresses_and_ranges_have_one_form() {
        for (given, printed) in [
            ("1.2.3.4", "1.2.3.4"),
            ("1.2.3.4/32", "1.2.3.4"),
            ("10.0.0.5/24", "10.0.0.0/24"),
            ("10.0.0.0/24", "10.0.0.0/24"),
            ("10.1.2.3/0008", "10.0.0.0/8"),
            ("241.0.0.1", "241.0.0.1"),
            ("2600:1900::1", "2600:1900::1"),
            ("2600:1900::1/128", "2600:1900::1"),
            ("2600:1900:0:0:8000::7/96", "2600:1900:0:0:8000::/96"),
            ("FD00::A", "fd00::a"),
        ] {
            assert_eq!(parse(given).map(text).as_deref(), Ok(printed), "{given}");
        }
    }

    #[test]
    fn a_range_around_the_own_address_is_refused_and_one_beside_it_is_not() {
        let nic = nic([
            &["10.128.0.2", "10.128.0.3"],
            &[],
            &["10.128.0.0/20", "10.0.0.0/8", "10.128.0.16/28"],
            &[],
        ]);
        let (wanted, problems) = wanted_by(&nic, &IpForwarding::default());
        let wanted: Vec<_> = wanted.into_keys().map(text).collect();
        assert_eq!(wanted, ["10.128.0.3", "10.128.0.16/28"]);
        assert_eq!(problems.len(), 3, "{problems:?}");
    }

    #[test]
    fn what_another_interface_or_a_gateway_has_is_refused() {
        let first = NetworkInterface {
            gateway: "10.128.0.1".into(),
            ..nic([
                &["10.128.0.1", "10.129.0.2", "10.129.0.3"],
                &["2600:1900::2", "fe80::1"],
                &["10.128.0.0/31", "10.129.0.0/20", "10.130.0.0/24"],
                &[],
            ])
        };
        let second = NetworkInterface {
            ip: "10.129.0.2".into(),
            gateway: "10.129.0.1".into(),
            ..NetworkInterface::default()
        };
        let taken = Taken::new(&[first.clone(), second]);
        let (wanted, problems) = wanted(0, &first, &taken, &IpForwarding::default());
        let wanted: Vec<_> = wanted.into_keys().map(text).collect();
        assert_eq!(wanted, ["10.129.0.3", "10.130.0.0/24", "2600:1900::2"]);
        let reasons: Vec<String> = problems
            .iter()
            .map(|problem| match problem {
                Problem::Address { text, reason, .. } => format!("{text}: {reason}"),
                other => other.to_string(),
            })
            .collect();
        assert_eq!(
            reasons,
            [
                "10.128.0.1: 10.128.0.1 is the gateway of network interface 0",
                "10.129.0.2: 10.129.0.2 is the own address of network interface 1",
                "fe80::1: it overlaps fe80::/10, which is not for forwarding",
                "10.128.0.0/31: 10.128.0.1 is the gateway of network interface 0",
                "10.129.0.0/20: 10.129.0.2 is the own address of network interface 1",
            ]
        );
    }

    #[test]
    fn much_garbage_is_counted() {
        let texts: Vec<String> = (0..10_000)
            .map(|number| format!("garbage {number}"))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let nic = nic([&texts, &[], &["1.1.1.1", "x"], &[]]);
        let (wanted, problems) = wanted_by(&nic, &IpForwarding::default());
        assert_eq!((wanted.len(), problems.len()), (1, TOLD + 2));
        assert_eq!(
            problems[TOLD].to_string(),
            "Could not use 9980 more addresses of instance/network-interfaces/0/forwarded-ips."
        );
    }

    #[test]
    fn garbage_is_refused() {
        for given in [
            "",
            "garbage",
            "1.2.3",
            "1.2.3.4.5",
            "999.9.9.9/99",
            "1.2.3.4/33",
            "1.2.3.4/",
            "1.2.3.4/+8",
            "1.2.3.4/-1",
            "1.2.3.4/8/8",
            "1.2.3.4 ",
            "01.2.3.4",
            "1.2.3.4\n5.6.7.8",
            "fe80::1%eth0",
            "fd00::/129",
            "[fd00::1]",
            "10.0.0.0/255.0.0.0",
            "10.0.0.0/99999999999999999999",
        ] {
            assert_eq!(parse(given), Err(Unusable::Malformed), "{given:?}");
        }
    }

    #[test]
    fn what_a_machine_must_not_take_over_is_refused() {
        for given in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "126.0.0.0/7",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "ff02::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(
                matches!(parse(given), Err(Unusable::Reserved(_))),
                "{given}: {:?}",
                parse(given)
            );
        }
        for given in [
            "169.254.169.254",
            "169.254.0.0/16",
            "0.0.0.0/0",
            "fd20:ce::254",
            "::/0",
        ] {
            assert!(
                matches!(parse(given), Err(Unusable::MetadataServer(_))),
                "{given}: {:?}",
                parse(given)
            );
        }
    }

    #[test]
    fn each_list_is_read_and_two_of_them_can_be_switched_off() {
        let nic = nic([&["1.1.1.1"], &["fd00::1"], &["10.0.0.7/24"], &["2.2.2.2"]]);
        let texts = |settings: &IpForwarding| {
            let (wanted, problems) = wanted(3, &nic, &Taken::default(), settings);
            assert_eq!(problems, []);
            wanted
                .into_iter()
                .map(|(prefix, origin)| format!("{} {origin}", text(prefix)))
                .collect::<Vec<_>>()
        };
        let all = [
            "1.1.1.1 instance/network-interfaces/3/forwarded-ips",
            "2.2.2.2 instance/network-interfaces/3/target-instance-ips",
            "10.0.0.0/24 instance/network-interfaces/3/ip-aliases",
            "fd00::1 instance/network-interfaces/3/forwarded-ipv6s",
        ];
        assert_eq!(texts(&IpForwarding::default()), all);
        let some = IpForwarding {
            ip_aliases: false,
            target_instance_ips: false,
            ..IpForwarding::default()
        };
        assert_eq!(texts(&some), [all[0], all[3]]);
    }

    #[test]
    fn a_bad_address_costs_only_itself_and_duplicates_collapse() {
        let nic = nic([
            &["1.1.1.1", "garbage", "1.1.1.1/32", "garbage", "10.128.0.2"],
            &[],
            &["1.1.1.1", "10.130.0.0/24"],
            &[],
        ]);
        let (wanted, problems) = wanted_by(&nic, &IpForwarding::default());
        let prefixes: Vec<_> = wanted.keys().copied().map(text).collect();
        assert_eq!(prefixes, ["1.1.1.1", "10.130.0.0/24"]);
        assert_eq!(wanted[&parse("1.1.1.1").unwrap()].list, List::ForwardedIps);
        let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "Could not use IP address: \"10.128.0.2\" (instance/network-interfaces/0/forwarded-ips): it is the \
                 interface's own address.",
                "Could not use IP address: \"garbage\" (instance/network-interfaces/0/forwarded-ips): it is neither \
                 an IP address nor a range like 10.0.0.0/24.",
            ]
        );
    }

    #[test]
    fn messages_stay_short_and_on_one_line() {
        let nic = nic([&[&format!("x\n{}", "y".repeat(100_000))], &[], &[], &[]]);
        let (_, problems) = wanted_by(&nic, &IpForwarding::default());
        let told = problems[0].to_string();
        assert!(told.len() < 250 && !told.contains('\n'), "{told}");
    }

    proptest! {
        #[test]
        fn printed_prefixes_are_read_back_and_masked(host: IpAddr, length in 0_u8..=128) {
            if let Ok(given) = IpNet::new(host, length)
                && let Ok(prefix) = parse(&given.to_string())
            {
                prop_assert_eq!(prefix, given.trunc());
                prop_assert_eq!(prefix, prefix.trunc());
                prop_assert_eq!(parse(&text(prefix)), Ok(prefix));
                prop_assert_eq!(parse(&prefix.to_string()), Ok(prefix));
            }
        }

        #[test]
        fn arbitrary_text_is_no_panic(given: String) {
            let _ = parse(&given);
        }
    }
}
