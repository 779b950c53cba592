//! Where the metadata server is: literal addresses, never a name.
//!
//! A name would have to be resolved, and whoever forges a DHCP or DNS answer would then own the machine (pains 7).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

/// The addresses at which the metadata server is looked for, in the order of preference. There is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    first: SocketAddr,
    others: Vec<SocketAddr>,
}

/// A text that is not a list of literal socket addresses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "\"{0}\" is not ADDRESS:PORT: write numbers, as in 127.0.0.1:8080 or [::1]:8080; names are not looked up"
)]
pub struct EndpointError(String);

impl Endpoint {
    /// The server of Compute Engine: 169.254.169.254, and `[fd20:ce::254]` on machines without IPv4.
    #[must_use]
    pub fn compute_engine() -> Self {
        let ipv4 = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));
        let ipv6 = IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254));
        Self {
            first: SocketAddr::new(ipv4, 80),
            others: vec![SocketAddr::new(ipv6, 80)],
        }
    }

    /// One other address, for tests and for the emulator.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self {
            first: address,
            others: Vec::new(),
        }
    }

    /// The same with one more address, tried after those before it.
    #[must_use]
    pub fn or(mut self, address: SocketAddr) -> Self {
        self.others.push(address);
        self
    }

    /// The address that is asked first.
    #[must_use]
    pub fn first(&self) -> SocketAddr {
        self.first
    }

    /// The addresses, in the order of preference.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        std::iter::once(self.first).chain(self.others.iter().copied())
    }
}

impl Default for Endpoint {
    fn default() -> Self {
        Self::compute_engine()
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    /// Reads literal socket addresses, separated by commas.
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let mut addresses = text.split(',').map(|word| {
            let word = word.trim();
            word.parse().map_err(|_| EndpointError(word.to_owned()))
        });
        let first = addresses
            .next()
            .unwrap_or_else(|| Err(EndpointError(text.to_owned())))?;
        Ok(Self {
            first,
            others: addresses.collect::<Result<_, _>>()?,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.first)?;
        for address in &self.others {
            write!(formatter, ",{address}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_documented_pair() {
        assert_eq!(
            Endpoint::default().to_string(),
            "169.254.169.254:80,[fd20:ce::254]:80"
        );
    }

    #[test]
    fn only_literal_addresses_are_accepted() {
        for good in [
            "127.0.0.1:80",
            "[::1]:8080",
            "169.254.169.254:80,[fd20:ce::254]:80",
        ] {
            assert_eq!(good.parse::<Endpoint>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "metadata.google.internal:80",
            "127.0.0.1",
            "::1:80x",
            "127.0.0.1:80,",
            "127.0.0.1:80,localhost:80",
        ] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }
}
