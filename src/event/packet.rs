//! A packet's first octets, read as far as an event needs them, and the flow that it belongs to.

use std::net::IpAddr;

use etherparse::{IpNumber, LaxIpSlice};

use super::Direction;
use crate::net::Protocol;
use crate::ruleset::Cause;

/// What the headers of a packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    /// Who sent it.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// The protocol, behind IPv6's extension headers.
    pub protocol: Protocol,
    /// What it asks for.
    pub aim: Aim,
    /// The source's port, where the protocol has ports.
    pub source_port: Option<u16>,
    /// The length that the IP header states, header included.
    pub length: u32,
}

/// What the header after the IP header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aim {
    /// The destination's port.
    Port(u16),
    /// The type of an ICMP message.
    Icmp(u8),
    /// Nothing that policy looks at, or nothing that could be read.
    Nothing,
}

/// Where in its path a packet was told of: the kernel's hooks, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Just received.
    Prerouting,
    /// For the host itself.
    Input,
    /// Between two devices.
    Forward,
    /// From the host itself.
    Output,
    /// About to leave.
    Postrouting,
}

/// What packets that are told of together have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// Why they are told of.
    pub cause: Cause,
    /// Where.
    pub hook: Hook,
    /// The packet's mark, which says which guardrail it met; 0 for other causes.
    pub mark: u32,
    /// The device by which they came.
    pub input: Option<String>,
    /// The device by which they would leave.
    pub output: Option<String>,
    /// Who sent, as seen there.
    pub source: IpAddr,
    /// To whom, as seen there.
    pub destination: IpAddr,
    /// The protocol.
    pub protocol: u8,
    /// The port or type.
    pub aim: Aim,
}

impl Hook {
    /// The hook of this number (`enum nf_inet_hooks`).
    pub fn numbered(number: u8) -> Option<Self> {
        [Self::Prerouting, Self::Input, Self::Forward, Self::Output, Self::Postrouting]
            .get(usize::from(number))
            .copied()
    }
}

impl Packet {
    /// Reads an IP packet that may have been cut short; `None` if not even the addresses are there.
    pub fn read(octets: &[u8]) -> Option<Self> {
        let (ip, _) = LaxIpSlice::from_slice(octets).ok()?;
        let payload = ip.payload();
        let (protocol, length) = match &ip {
            // What IPv4 calls the protocol is what nftables asks for, also where it is an authentication header.
            LaxIpSlice::Ipv4(v4) => (v4.header().protocol(), u32::from(v4.header().total_len())),
            LaxIpSlice::Ipv6(v6) => (payload.ip_number, 40 + u32::from(v6.header().payload_length())),
        };
        let known = protocol == payload.ip_number && !payload.fragmented;
        let next = if known { payload.payload } else { &[] };
        let (source_port, aim) = aim(protocol, next);
        let (source, destination) = (ip.source_addr(), ip.destination_addr());
        Some(Self { source, destination, protocol: Protocol(protocol.0), aim, source_port, length })
    }
}

fn aim(protocol: IpNumber, header: &[u8]) -> (Option<u16>, Aim) {
    match (Protocol(protocol.0), header) {
        (protocol, [a, b, c, d, ..]) if protocol.has_ports() => {
            (Some(u16::from_be_bytes([*a, *b])), Aim::Port(u16::from_be_bytes([*c, *d])))
        }
        (Protocol::ICMP | Protocol::ICMPV6, [kind, ..]) => (None, Aim::Icmp(*kind)),
        _ => (None, Aim::Nothing),
    }
}

impl Flow {
    /// Which way it goes, where `tunnel` is the tunnel's device, `segments` are those of departments, and a relay
    /// carries on what is not for its own: `transit`.
    pub(super) fn direction(&self, tunnel: &str, is_segment: impl Fn(&str) -> bool, transit: bool) -> Direction {
        let (input, output) = (self.input.as_deref(), self.output.as_deref());
        let segment = |device: Option<&str>| device.is_some_and(&is_segment);
        match (self.hook, input, output) {
            (Hook::Input, _, _) => Direction::Input,
            (Hook::Output, _, _) => Direction::Output,
            (_, Some(from), Some(to)) if from == tunnel && to == tunnel => Direction::Transit,
            (Hook::Prerouting, Some(from), _) if from == tunnel && transit => Direction::Transit,
            (_, Some(from), _) if from == tunnel => Direction::Inbound,
            (_, _, Some(to)) if to == tunnel => Direction::Outbound,
            (_, from, to) if segment(from) && segment(to) => Direction::Local,
            (_, from, _) if segment(from) => Direction::Outbound,
            (_, _, to) if segment(to) => Direction::Inbound,
            _ => Direction::Outside,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp(payload: usize) -> Vec<u8> {
        let mut packet = Vec::new();
        let builder = etherparse::PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(5353, 53);
        builder.write(&mut packet, &vec![7; payload]).expect("a packet");
        packet
    }

    #[test]
    fn a_packet_that_was_cut_short_has_the_length_that_its_header_states() {
        let whole = udp(1000);
        let cut = Packet::read(&whole[..96]).expect("a packet");
        assert_eq!((cut.length, cut.source_port, cut.aim), (1028, Some(5353), Aim::Port(53)));
        let addresses = Packet::read(&whole[..20]).expect("a packet");
        assert_eq!((addresses.protocol, addresses.aim, addresses.source_port), (Protocol::UDP, Aim::Nothing, None));
        assert_eq!(Packet::read(&whole[..19]), None);
        assert_eq!(Packet::read(&[]), None);
    }

    #[test]
    fn a_later_fragment_has_no_ports() {
        let mut fragment = udp(64);
        fragment[7] = 9;
        assert_eq!(Packet::read(&fragment).map(|packet| packet.aim), Some(Aim::Nothing));
    }

    #[test]
    fn sctp_and_icmp_are_told_by_port_and_type_and_esp_by_neither() {
        let of = |protocol: u8, payload: &[u8]| {
            let mut packet = Vec::new();
            let builder = etherparse::PacketBuilder::ipv6([1; 16], [2; 16], 64);
            builder.write(&mut packet, IpNumber(protocol), payload).expect("a packet");
            Packet::read(&packet).expect("a packet")
        };
        assert_eq!(of(132, &[0, 1, 0, 2, 9]).aim, Aim::Port(2));
        assert_eq!(of(58, &[128, 0, 0, 0]).aim, Aim::Icmp(128));
        assert_eq!((of(50, &[1, 2, 3, 4]).aim, of(50, &[1, 2, 3, 4]).length), (Aim::Nothing, 44));
    }
}
