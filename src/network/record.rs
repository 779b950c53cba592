//! What we did, as far as the kernel cannot say it: which routes are ours under which protocol id, and since when. Pure.
//!
//! The kernel marks a route with a number and no more. When the owner changes `ethernet_proto_id`, routes with the old
//! number look like anybody's: only those that are written down here are moved to the new one. Routes end with the boot,
//! and so does the record. It is written after the changes were made, and only when it says something new.

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::system::netlink::Route;
use crate::system::order::Map;

/// One route of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The index of the interface.
    pub interface: u32,
    /// The destination.
    pub prefix: IpNet,
    /// The protocol id that it has.
    pub protocol: u8,
}

/// Everything that is recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Our routes, each with the time of the pass that first found or made it.
    pub present: Map<Mark, Timestamp>,
    /// What was wanted and not there after a pass, by interface, with the time of the first such pass.
    pub missing: Map<(u32, IpNet), Timestamp>,
}

/// A line of the file: a route with its times in seconds since 1970. Without a protocol it is one that is missing.
#[derive(Deserialize, Serialize)]
struct Line {
    interface: u32,
    prefix: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<u8>,
    since: i64,
}

impl Record {
    /// Reads the file. A file that is none is an empty record: then routes of an old number are somebody else's.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let lines: Vec<Line> = serde_json::from_slice(bytes).unwrap_or_default();
        let mut record = Self::default();
        for line in lines {
            let (Ok(prefix), Ok(since)) = (line.prefix.parse(), Timestamp::from_second(line.since))
            else {
                continue;
            };
            let interface = line.interface;
            match line.protocol {
                Some(protocol) => {
                    let mark = Mark {
                        interface,
                        prefix,
                        protocol,
                    };
                    record.present.insert(mark, since);
                }
                None => {
                    record.missing.insert((interface, prefix), since);
                }
            }
        }
        record
    }

    /// The file.
    #[must_use]
    pub fn format(&self) -> Vec<u8> {
        let line = |interface, prefix: &IpNet, protocol, since: &Timestamp| Line {
            interface,
            prefix: prefix.to_string(),
            protocol,
            since: since.as_second(),
        };
        let present = self
            .present
            .iter()
            .map(|(mark, since)| line(mark.interface, &mark.prefix, Some(mark.protocol), since));
        let missing = self
            .missing
            .iter()
            .map(|((interface, prefix), since)| line(*interface, prefix, None, since));
        let lines: Vec<Line> = present.chain(missing).collect();
        // Nothing in it can fail to be written.
        serde_json::to_vec(&lines).unwrap_or_default()
    }

    /// Whether a route is one that we made, under whatever number.
    #[must_use]
    pub fn has(&self, route: &Route) -> bool {
        mark(route).is_some_and(|mark| self.present.contains_key(&mark))
    }
}

/// What a route is written down as; `None` for one without an interface, which is never ours.
pub(super) fn mark(route: &Route) -> Option<Mark> {
    Some(Mark {
        interface: route.interface?,
        prefix: route.destination,
        protocol: route.protocol,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            present: Vec<(u32, [u8; 4], u8, u8, u32)>,
            missing: Vec<(u32, u128, u8, u32)>,
        ) {
            let time = |seconds: u32| Timestamp::from_second(seconds.into()).unwrap();
            let v4 = |octets: [u8; 4], length: u8| IpNet::new(octets.into(), length % 33).unwrap().trunc();
            let v6 = |bits: u128, length: u8| {
                IpNet::new(std::net::Ipv6Addr::from(bits).into(), length % 129).unwrap().trunc()
            };
            let record = Record {
                present: present
                    .into_iter()
                    .map(|(interface, octets, length, protocol, since)| {
                        let prefix = v4(octets, length);
                        (Mark { interface, prefix, protocol }, time(since))
                    })
                    .collect(),
                missing: missing
                    .into_iter()
                    .map(|(interface, bits, length, since)| ((interface, v6(bits, length)), time(since)))
                    .collect(),
            };
            prop_assert_eq!(Record::parse(&record.format()), record);
        }

        #[test]
        fn arbitrary_bytes_are_an_empty_record(bytes: Vec<u8>) {
            let _ = Record::parse(&bytes);
        }
    }

    #[test]
    fn a_broken_line_costs_itself() {
        let text = br#"[{"interface":2,"prefix":"nonsense","protocol":66,"since":1},
                        {"interface":2,"prefix":"1.1.1.1/32","protocol":66,"since":1}]"#;
        assert_eq!(Record::parse(text).present.len(), 1);
        assert_eq!(Record::parse(b"[{}]"), Record::default());
    }
}
