//! IP prefixes without host bits, and interface addresses with them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Internet Protocol version 4, RFC 791.
    V4,
    /// Internet Protocol version 6, RFC 8200.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Bits in an address of this family: 32 or 128.
    pub fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

/// An IP prefix whose host bits are all zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(IpNet);

/// Why a text or a pair is no [`Prefix`] or [`Interface`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// The text is not `ADDRESS/LENGTH`.
    #[error("'{0}' is not ADDRESS/LENGTH")]
    Malformed(String),
    /// The length exceeds the family's bits.
    #[error("a prefix length of {length} exceeds the {bits} bits of its address")]
    TooLong {
        /// The length given.
        length: u8,
        /// What the family allows.
        bits: u8,
    },
    /// Bits beyond the length are set.
    #[error("{given} has host bits set; the prefix is {meant}")]
    HostBits {
        /// What was written.
        given: String,
        /// The prefix that was probably meant.
        meant: Prefix,
    },
}

impl Prefix {
    /// Makes a prefix of an address and a length.
    ///
    /// # Errors
    /// [`PrefixError::TooLong`] and [`PrefixError::HostBits`].
    pub fn new(address: IpAddr, length: u8) -> Result<Self, PrefixError> {
        let interface = Interface::new(address, length)?;
        let meant = interface.prefix();
        if meant.address() == address {
            Ok(meant)
        } else {
            Err(PrefixError::HostBits { given: interface.to_string(), meant })
        }
    }

    /// The prefix that holds `address` alone: /32 or /128.
    pub fn host(address: IpAddr) -> Self {
        Self(IpNet::from(address))
    }

    /// The first address.
    pub fn address(self) -> IpAddr {
        self.0.addr()
    }

    /// The last address.
    pub fn last(self) -> IpAddr {
        self.0.broadcast()
    }

    /// Leading bits that are fixed.
    pub fn length(self) -> u8 {
        self.0.prefix_len()
    }

    /// IPv4 or IPv6.
    pub fn family(self) -> Family {
        Family::of(self.address())
    }

    /// Whether the address lies inside.
    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Whether all of `other` lies inside.
    pub fn covers(self, other: Self) -> bool {
        self.0.contains(&other.0)
    }

    /// Whether any address lies in both.
    pub fn overlaps(self, other: Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// Where 1:1 prefix NAT puts `address` of this prefix inside `target`: network bits of the target, host
    /// bits kept. `None` when the address lies outside or the two prefixes differ in family or length.
    pub fn translate(self, address: IpAddr, target: Self) -> Option<IpAddr> {
        if !self.contains(address) || self.family() != target.family() || self.length() != target.length() {
            return None;
        }
        Some(match (address, target.address(), self.0.hostmask()) {
            (IpAddr::V4(a), IpAddr::V4(t), IpAddr::V4(mask)) => {
                Ipv4Addr::from(u32::from(a) & u32::from(mask) | u32::from(t)).into()
            }
            (IpAddr::V6(a), IpAddr::V6(t), IpAddr::V6(mask)) => {
                Ipv6Addr::from(u128::from(a) & u128::from(mask) | u128::from(t)).into()
            }
            _ => return None,
        })
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let interface: Interface = text.parse()?;
        Self::new(interface.address(), interface.length())
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An address on an interface with the length of its subnet, such as `192.168.1.1/24`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interface(IpNet);

impl Interface {
    /// Makes an interface address.
    ///
    /// # Errors
    /// [`PrefixError::TooLong`].
    pub fn new(address: IpAddr, length: u8) -> Result<Self, PrefixError> {
        let bits = Family::of(address).bits();
        IpNet::new(address, length).map(Self).map_err(|_| PrefixError::TooLong { length, bits })
    }

    /// The address itself.
    pub fn address(self) -> IpAddr {
        self.0.addr()
    }

    /// The length of the subnet's prefix.
    pub fn length(self) -> u8 {
        self.0.prefix_len()
    }

    /// The subnet.
    pub fn prefix(self) -> Prefix {
        Prefix(self.0.trunc())
    }
}

impl FromStr for Interface {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let malformed = || PrefixError::Malformed(text.to_owned());
        let (address, length) = text.split_once('/').ok_or_else(malformed)?;
        if length.is_empty() || length.len() > 3 || !length.bytes().all(|b| b.is_ascii_digit()) {
            return Err(malformed());
        }
        let address: IpAddr = address.parse().map_err(|_| malformed())?;
        Self::new(address, length.parse().map_err(|_| malformed())?)
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().expect("a prefix")
    }

    #[test]
    fn host_bits_are_refused_and_the_prefix_meant_is_named() {
        assert_eq!(
            "10.1.2.3/24".parse::<Prefix>(),
            Err(PrefixError::HostBits { given: "10.1.2.3/24".into(), meant: prefix("10.1.2.0/24") })
        );
    }

    #[test]
    fn malformed_texts_are_refused() {
        for text in
            ["", "10.0.0.0", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/33", "10.0.0/8", "::/129", "a/8", "10.0.0.0/256"]
        {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }

    #[test]
    fn translation_keeps_host_bits_in_both_families() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(
            prefix("192.168.1.0/24").translate(address("192.168.1.20"), prefix("100.70.35.0/24")),
            Some(address("100.70.35.20"))
        );
        assert_eq!(
            prefix("fd00:1::/64").translate(address("fd00:1::20"), prefix("fd64:7475:726e:7::/64")),
            Some(address("fd64:7475:726e:7::20"))
        );
        assert_eq!(prefix("10.0.0.0/24").translate(address("10.0.1.1"), prefix("10.9.0.0/24")), None);
        assert_eq!(prefix("10.0.0.0/24").translate(address("10.0.0.1"), prefix("10.8.0.0/16")), None);
        assert_eq!(prefix("0.0.0.0/0").translate(address("10.0.0.1"), prefix("0.0.0.0/0")), Some(address("10.0.0.1")));
    }
}
