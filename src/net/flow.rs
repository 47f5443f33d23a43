//! A flow, as its first packet shows it.

use std::net::IpAddr;

use super::{Family, PortMatch, Protocol};

/// The first packet of a flow, in overlay terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Who opens it.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// What the protocol's own header asks for.
    pub aim: Aim,
}

/// What the header after the IP header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aim {
    /// The destination port of TCP, UDP or SCTP.
    Port(u16),
    /// The type of an ICMP or ICMPv6 message.
    Icmp(u8),
    /// Nothing that policy looks at.
    Nothing,
}

impl Flow {
    /// What it asks for, as in `tcp/443`.
    pub fn asks(&self) -> String {
        match self.aim {
            Aim::Port(port) => format!("{}/{port}", self.protocol),
            Aim::Icmp(kind) => format!("{}/{kind}", self.protocol),
            Aim::Nothing => self.protocol.to_string(),
        }
    }

    /// Whether it is what an entry of a service's ports describes.
    pub fn is(&self, port: PortMatch) -> bool {
        match port {
            PortMatch::Any => true,
            PortMatch::Protocol(protocol) => self.protocol == protocol,
            PortMatch::Ports { protocol, first, last } => match self.aim {
                Aim::Port(port) => self.protocol == protocol && (first..=last).contains(&port),
                Aim::Icmp(_) | Aim::Nothing => false,
            },
            PortMatch::Icmp(icmp) => match (self.aim, icmp.in_family(Family::of(self.destination))) {
                (Aim::Icmp(kind), Some((protocol, asked))) => self.protocol == protocol && kind == asked,
                _ => false,
            },
        }
    }
}
