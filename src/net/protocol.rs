//! IP protocols, and what a service may answer on.

use std::fmt;
use std::str::FromStr;

use super::Family;

/// An IP protocol number (IANA "Protocol Numbers").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// Internet Control Message Protocol, RFC 792.
    pub const ICMP: Self = Self(1);
    /// Transmission Control Protocol, RFC 9293.
    pub const TCP: Self = Self(6);
    /// User Datagram Protocol, RFC 768.
    pub const UDP: Self = Self(17);
    /// Generic Routing Encapsulation, RFC 2784.
    pub const GRE: Self = Self(47);
    /// Encapsulating Security Payload, RFC 4303.
    pub const ESP: Self = Self(50);
    /// Authentication Header, RFC 4302.
    pub const AH: Self = Self(51);
    /// ICMP for IPv6, RFC 4443.
    pub const ICMPV6: Self = Self(58);
    /// Stream Control Transmission Protocol, RFC 9260.
    pub const SCTP: Self = Self(132);

    const NAMED: [(&'static str, Self); 8] = [
        ("icmp", Self::ICMP),
        ("tcp", Self::TCP),
        ("udp", Self::UDP),
        ("gre", Self::GRE),
        ("esp", Self::ESP),
        ("ah", Self::AH),
        ("icmpv6", Self::ICMPV6),
        ("sctp", Self::SCTP),
    ];

    /// Whether its header begins with source and destination port, so that nftables' `th dport` is right.
    pub fn has_ports(self) -> bool {
        matches!(self, Self::TCP | Self::UDP | Self::SCTP)
    }

    /// The protocol of this name in lower case, if the definition's format knows it.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.iter().find(|(known, _)| *known == name).map(|&(_, protocol)| protocol)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMED.iter().find(|(_, protocol)| protocol == self) {
            Some((name, _)) => f.write_str(name),
            None => self.0.fmt(f),
        }
    }
}

/// An ICMP query that a service may answer. Errors are never granted: they pass as related to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Icmp {
    /// Echo request: ICMP type 8, ICMPv6 type 128.
    EchoRequest,
    /// Timestamp request: ICMP type 13; ICMPv6 has none.
    TimestampRequest,
}

impl Icmp {
    const NAMED: [(&'static str, Self); 2] =
        [("echo-request", Self::EchoRequest), ("timestamp-request", Self::TimestampRequest)];

    /// The protocol and the message type in this family; `None` where the family lacks it.
    pub fn in_family(self, family: Family) -> Option<(Protocol, u8)> {
        match (self, family) {
            (Self::EchoRequest, Family::V4) => Some((Protocol::ICMP, 8)),
            (Self::EchoRequest, Family::V6) => Some((Protocol::ICMPV6, 128)),
            (Self::TimestampRequest, Family::V4) => Some((Protocol::ICMP, 13)),
            (Self::TimestampRequest, Family::V6) => None,
        }
    }
}

/// One entry of a service's `ports`: what a flow's first packet must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortMatch {
    /// Every protocol and port.
    Any,
    /// Every packet of a protocol without ports, such as `esp`.
    Protocol(Protocol),
    /// Destination ports `first` to `last`, both included, of TCP, UDP or SCTP.
    Ports {
        /// TCP, UDP or SCTP.
        protocol: Protocol,
        /// 1 to 65,535.
        first: u16,
        /// Not below `first`.
        last: u16,
    },
    /// One ICMP query, in whichever family the flow has.
    Icmp(Icmp),
}

/// Why a text is no [`PortMatch`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortMatchError {
    /// Neither `any`, nor a protocol, nor `PROTOCOL/PORT`.
    #[error("'{0}' is not PROTOCOL/PORT, PROTOCOL/FIRST-LAST, icmp/TYPE, a protocol without ports, or any")]
    Malformed(String),
    /// The protocol is not one of the format's.
    #[error("'{0}' is not a protocol that turnpike knows")]
    UnknownProtocol(String),
    /// A protocol without ports was given one.
    #[error("{0} has no ports")]
    NoPorts(Protocol),
    /// A protocol with ports was given none.
    #[error("{0} needs a port: write {0}/PORT or {0}/FIRST-LAST")]
    NeedsPort(Protocol),
    /// Not a number from 1 to 65,535.
    #[error("'{0}' is not a port from 1 to 65535")]
    BadPort(String),
    /// The range descends.
    #[error("the range {first}-{last} descends: write {last}-{first}")]
    Descending {
        /// As written.
        first: u16,
        /// As written.
        last: u16,
    },
    /// Not an ICMP query that can be granted.
    #[error(
        "'{0}' is not an ICMP query: echo-request or timestamp-request (errors pass with the flow that they concern)"
    )]
    UnknownIcmp(String),
}

impl FromStr for PortMatch {
    type Err = PortMatchError;

    fn from_str(text: &str) -> Result<Self, PortMatchError> {
        if text == "any" {
            return Ok(Self::Any);
        }
        let (name, rest) = match text.split_once('/') {
            Some((name, rest)) => (name, Some(rest)),
            None => (text, None),
        };
        if name.is_empty() {
            return Err(PortMatchError::Malformed(text.to_owned()));
        }
        let protocol = Protocol::named(name).ok_or_else(|| PortMatchError::UnknownProtocol(name.to_owned()))?;
        match (protocol, rest) {
            (Protocol::ICMP, Some(kind)) => parse_icmp(kind),
            (Protocol::ICMP | Protocol::ICMPV6, _) => Err(PortMatchError::Malformed(text.to_owned())),
            (_, Some(ports)) if protocol.has_ports() => parse_ports(protocol, ports),
            (_, Some(_)) => Err(PortMatchError::NoPorts(protocol)),
            (_, None) if protocol.has_ports() => Err(PortMatchError::NeedsPort(protocol)),
            (_, None) => Ok(Self::Protocol(protocol)),
        }
    }
}

fn parse_icmp(kind: &str) -> Result<PortMatch, PortMatchError> {
    Icmp::NAMED
        .iter()
        .find(|(name, _)| *name == kind)
        .map(|&(_, icmp)| PortMatch::Icmp(icmp))
        .ok_or_else(|| PortMatchError::UnknownIcmp(kind.to_owned()))
}

fn parse_ports(protocol: Protocol, text: &str) -> Result<PortMatch, PortMatchError> {
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (parse_port(first)?, parse_port(last)?),
        None => (parse_port(text)?, parse_port(text)?),
    };
    if first > last {
        return Err(PortMatchError::Descending { first, last });
    }
    Ok(PortMatch::Ports { protocol, first, last })
}

fn parse_port(text: &str) -> Result<u16, PortMatchError> {
    let bad = || PortMatchError::BadPort(text.to_owned());
    if !text.bytes().all(|b| b.is_ascii_digit()) || text.starts_with('0') {
        return Err(bad());
    }
    text.parse().map_err(|_| bad())
}

impl fmt::Display for PortMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Any => f.write_str("any"),
            Self::Protocol(protocol) => protocol.fmt(f),
            Self::Ports { protocol, first, last } if first == last => write!(f, "{protocol}/{first}"),
            Self::Ports { protocol, first, last } => write!(f, "{protocol}/{first}-{last}"),
            Self::Icmp(icmp) => {
                let name = Icmp::NAMED.iter().find(|(_, known)| *known == icmp).map_or("", |(name, _)| name);
                write!(f, "icmp/{name}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_reads_back_as_written() {
        for text in ["any", "tcp/443", "udp/5000-5010", "icmp/echo-request", "sctp/36412", "esp", "gre"] {
            let parsed: PortMatch = text.parse().expect(text);
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn each_fault_has_its_own_error() {
        use PortMatchError::*;
        let cases = [
            ("tcp", NeedsPort(Protocol::TCP)),
            ("esp/1", NoPorts(Protocol::ESP)),
            ("tcp/0", BadPort("0".into())),
            ("tcp/65536", BadPort("65536".into())),
            ("tcp/+1", BadPort("+1".into())),
            ("udp/9-3", Descending { first: 9, last: 3 }),
            ("icmp/redirect", UnknownIcmp("redirect".into())),
            ("quic/443", UnknownProtocol("quic".into())),
            ("/443", Malformed("/443".into())),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<PortMatch>(), Err(error), "{text}");
        }
    }
}
