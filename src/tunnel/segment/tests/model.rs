//! Packets as etherparse writes them, and the reference of what a superpacket stands for.

use etherparse::{
    IpHeaders, IpNumber, Ipv4Header, Ipv6Extensions, Ipv6Header, Ipv6RawExtHeader, TcpHeader, UdpHeader, ip_number,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::tunnel::segment::{Gso, VnetHeader};

/// A TCP or UDP packet in parts; its lengths and checksums are written by [`Packet::octets`].
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) ip: IpHeaders,
    pub(super) transport: Transport,
    pub(super) payload: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(super) enum Transport {
    Tcp(TcpHeader),
    Udp(UdpHeader),
}

impl Packet {
    /// A packet of the flow with this number: TCP with ACK alone, or UDP.
    pub(super) fn new(v4: bool, tcp: bool, flow: u8, payload: Vec<u8>) -> Self {
        let ip = if v4 {
            let mut header = Ipv4Header::new(0, 64, IpNumber::TCP, [10, 0, 0, flow], [10, 9, 0, 1]).expect("fits");
            header.dont_fragment = true;
            IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default())
        } else {
            let mut address = [0xfd; 16];
            address[15] = flow;
            let header = Ipv6Header { hop_limit: 64, source: address, destination: [0xfc; 16], ..Default::default() };
            IpHeaders::Ipv6(header, Ipv6Extensions::default())
        };
        let transport = if tcp {
            let mut header = TcpHeader::new(1000 + u16::from(flow), 443, 1, 65_000);
            header.ack = true;
            header.acknowledgment_number = 77;
            Transport::Tcp(header)
        } else {
            Transport::Udp(UdpHeader {
                source_port: 2000 + u16::from(flow),
                destination_port: 53,
                ..Default::default()
            })
        };
        Self { ip, transport, payload }
    }

    pub(super) fn ipv4(&mut self) -> &mut Ipv4Header {
        match &mut self.ip {
            IpHeaders::Ipv4(header, _) => header,
            IpHeaders::Ipv6(..) => panic!("IPv6"),
        }
    }

    pub(super) fn ipv6(&mut self) -> (&mut Ipv6Header, &mut Ipv6Extensions) {
        match &mut self.ip {
            IpHeaders::Ipv6(header, extensions) => (header, extensions),
            IpHeaders::Ipv4(..) => panic!("IPv4"),
        }
    }

    pub(super) fn tcp(&mut self) -> &mut TcpHeader {
        match &mut self.transport {
            Transport::Tcp(header) => header,
            Transport::Udp(_) => panic!("UDP"),
        }
    }

    pub(super) fn is_tcp(&self) -> bool {
        matches!(self.transport, Transport::Tcp(_))
    }

    /// Where the transport header begins, and where the payload does.
    pub(super) fn offsets(&self) -> (usize, usize) {
        let transport = match &self.transport {
            Transport::Tcp(header) => header.header_len(),
            Transport::Udp(_) => 8,
        };
        (self.ip.header_len(), self.ip.header_len() + transport)
    }

    /// The packet on the wire, with right lengths and checksums.
    pub(super) fn octets(&self) -> Vec<u8> {
        let (start, end) = self.offsets();
        let mut ip = self.ip.clone();
        ip.set_next_headers(if self.is_tcp() { ip_number::TCP } else { ip_number::UDP });
        ip.set_payload_len(end - start + self.payload.len()).expect("fits");
        if let IpHeaders::Ipv4(header, _) = &mut ip {
            header.header_checksum = header.calc_header_checksum();
        }
        let mut octets = Vec::new();
        ip.write(&mut octets).expect("written");
        match &self.transport {
            Transport::Tcp(header) => {
                let mut header = header.clone();
                header.checksum = match &ip {
                    IpHeaders::Ipv4(ip, _) => header.calc_checksum_ipv4(ip, &self.payload).expect("fits"),
                    IpHeaders::Ipv6(ip, _) => header.calc_checksum_ipv6(ip, &self.payload).expect("fits"),
                };
                header.write(&mut octets).expect("written");
            }
            Transport::Udp(header) => {
                let mut header = header.clone();
                header.length = u16::try_from(8 + self.payload.len()).expect("fits");
                header.checksum = match &ip {
                    IpHeaders::Ipv4(ip, _) => header.calc_checksum_ipv4(ip, &self.payload).expect("fits"),
                    IpHeaders::Ipv6(ip, _) => header.calc_checksum_ipv6(ip, &self.payload).expect("fits"),
                };
                header.write(&mut octets).expect("written");
            }
        }
        octets.extend(&self.payload);
        octets
    }

    /// The header with which the kernel would give it, to be split into payloads of `size` octets; 0: not at all.
    pub(super) fn vnet(&self, size: u16) -> VnetHeader {
        let gso = match (&self.transport, &self.ip) {
            _ if size == 0 => Gso::None,
            (Transport::Tcp(_), IpHeaders::Ipv4(..)) => Gso::Tcp4,
            (Transport::Tcp(_), IpHeaders::Ipv6(..)) => Gso::Tcp6,
            (Transport::Udp(_), _) => Gso::Udp,
        };
        let short = |length: usize| u16::try_from(length).expect("fits");
        VnetHeader {
            flags: VnetHeader::NEEDS_CSUM,
            gso_type: gso.octet(),
            hdr_len: short(self.offsets().1),
            gso_size: size,
            csum_start: short(self.offsets().0),
            csum_offset: if self.is_tcp() { 16 } else { 6 },
        }
    }

    /// The packet as the kernel gives it with [`Self::vnet`]: in the checksum's place the pseudo header's sum.
    pub(super) fn unfinished(&self) -> Vec<u8> {
        let mut octets = self.octets();
        let start = self.offsets().0;
        let length = u32::try_from(octets.len() - start).expect("fits").to_be_bytes();
        let addresses = if octets[0] >> 4 == 4 { &octets[12..20] } else { &octets[8..40] };
        let protocol = if self.is_tcp() { 6 } else { 17 };
        let pseudo = [addresses, &length, &[0, protocol]].concat();
        let mut sum = pseudo.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum::<u32>();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        let at = start + if self.is_tcp() { 16 } else { 6 };
        octets[at..at + 2].copy_from_slice(&u16::try_from(sum).expect("folded").to_be_bytes());
        octets
    }

    /// The packets that it stands for when it is split into payloads of `size` octets.
    pub(super) fn segments(&self, size: usize) -> Vec<Vec<u8>> {
        let chunks: Vec<&[u8]> = match self.payload.is_empty() {
            true => vec![&[]],
            false => self.payload.chunks(size).collect(),
        };
        let count = chunks.len();
        let segment = |(index, chunk): (usize, &&[u8])| {
            let mut packet = Self { payload: chunk.to_vec(), ..self.clone() };
            if let IpHeaders::Ipv4(header, _) = &mut packet.ip {
                header.identification = header.identification.wrapping_add(u16::try_from(index).expect("fits"));
            }
            if let Transport::Tcp(header) = &mut packet.transport {
                let offset = u32::try_from(index * size).expect("fits");
                header.sequence_number = header.sequence_number.wrapping_add(offset);
                header.fin &= index + 1 == count;
                header.psh &= index + 1 == count;
                header.cwr &= index == 0;
            }
            packet.octets()
        };
        chunks.iter().enumerate().map(segment).collect()
    }
}

/// Extension headers of an IPv6 packet, of so many units of 8 octets each; 0: none.
pub(super) fn extend(packet: &mut Packet, hop_by_hop: usize, destination: usize) {
    let header = |units: usize| {
        // PadN: the only option that means the same whatever surrounds it.
        let mut options = vec![0; units * 8 - 2];
        (options[0], options[1]) = (1, u8::try_from(options.len() - 2).expect("fits"));
        Ipv6RawExtHeader::new_raw(IpNumber::TCP, &options).expect("a whole number of units")
    };
    let (_, extensions) = packet.ipv6();
    extensions.hop_by_hop_options = (hop_by_hop > 0).then(|| header(hop_by_hop));
    extensions.destination_options = (destination > 0).then(|| header(destination));
}

prop_compose! {
    /// TCP or UDP over IPv4 or IPv6, with options, extension headers and odd flags.
    pub(super) fn any_packet()(
        (v4, tcp, flow) in any::<(bool, bool, u8)>(),
        (identification, sequence, flags) in any::<(u16, u32, u8)>(),
        (network_options, tcp_options) in (vec(any::<u8>(), 0..=10), vec(any::<u8>(), 0..=10)),
        (hop_by_hop, destination) in (0_usize..4, 0_usize..4),
        payload in prop_oneof![vec(any::<u8>(), 0..200), vec(any::<u8>(), 0..4000)],
    ) -> Packet {
        let mut packet = Packet::new(v4, tcp, flow, payload);
        if v4 {
            let header = packet.ipv4();
            (header.identification, header.dont_fragment) = (identification, flags & 1 != 0);
            let options: Vec<u8> = network_options.iter().flat_map(|octet| [1, 1, 1, octet & 1]).collect();
            header.options = options.as_slice().try_into().expect("at most 40 octets");
        } else {
            packet.ipv6().0.traffic_class = flags;
            extend(&mut packet, hop_by_hop, destination);
        }
        if tcp {
            let header = packet.tcp();
            (header.sequence_number, header.urgent_pointer) = (sequence, identification);
            (header.fin, header.psh, header.cwr, header.ece) =
                (flags & 2 != 0, flags & 4 != 0, flags & 8 != 0, flags & 16 != 0);
            let options: Vec<u8> = tcp_options.iter().flat_map(|octet| [1, 1, 1, octet & 1]).collect();
            header.set_options_raw(&options).expect("at most 40 octets");
        }
        packet
    }
}
