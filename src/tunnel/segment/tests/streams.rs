//! Random streams, joined, written and split again: the same packets, each flow's in the same order.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::coalesce::{split_again, written};
use super::model::{Packet, extend};
use crate::tunnel::segment::{Coalescer, MOST_MEMBERS};

/// What a flow does next.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A whole segment, as most are.
    Whole,
    Short,
    Push,
    Flag(u8),
    Retransmit,
    Empty,
    TimeToLive,
    Tos,
    Option,
    Extended,
    Fragment,
    /// A bit of the packet is turned over.
    Corrupt(u16),
    /// Another protocol, which is a flow of its own.
    Icmp,
}

/// One flow of a mixture.
#[derive(Clone, Debug)]
struct Flow {
    packet: Packet,
    v4: bool,
    fixed: bool,
    size: usize,
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        30 => Just(Event::Whole),
        1 => Just(Event::Short),
        1 => Just(Event::Push),
        1 => any::<u8>().prop_map(Event::Flag),
        1 => Just(Event::Retransmit),
        1 => Just(Event::Empty),
        1 => Just(Event::TimeToLive),
        1 => Just(Event::Tos),
        1 => Just(Event::Option),
        1 => Just(Event::Extended),
        1 => Just(Event::Fragment),
        2 => any::<u16>().prop_map(Event::Corrupt),
        1 => Just(Event::Icmp),
    ]
}

prop_compose! {
    fn any_flow(fixed: bool)(
        (v4, tcp, counts) in any::<(bool, bool, bool)>(),
        (identification, sequence) in any::<(u16, u32)>(),
        size in prop_oneof![40 => 1_usize..100, 2 => Just(1380), 1 => Just(20_000)],
    ) -> Flow {
        let mut packet = Packet::new(v4, tcp, 0, Vec::new());
        let fixed = fixed && !counts;
        if v4 {
            (packet.ipv4().identification, packet.ipv4().dont_fragment) = (identification, fixed || counts);
        }
        if tcp {
            packet.tcp().sequence_number = sequence;
        }
        Flow { packet, v4, fixed, size }
    }
}

impl Flow {
    /// Makes it the one with this number, which each of its packets shows.
    fn named(mut self, number: u8) -> Self {
        match self.v4 {
            true => self.packet.ipv4().source[3] = number,
            false => self.packet.ipv6().0.source[15] = number,
        }
        self
    }

    fn emit(&mut self, event: Event, filler: u8) -> Vec<u8> {
        self.packet.payload = match event {
            Event::Short => vec![filler; self.size / 2 + 1],
            Event::Empty => Vec::new(),
            _ => vec![filler; self.size],
        };
        let mut packet = self.packet.clone();
        self.edit(&mut packet, event);
        self.go_on(matches!(event, Event::Retransmit));
        let mut octets = packet.octets();
        match event {
            Event::Corrupt(at) => {
                // Not the addresses and ports: they tell the flow.
                let start = if self.v4 { 24 } else { 44 };
                let at = start + usize::from(at) % (octets.len() - start);
                octets[at] ^= 1 << (filler % 8);
            }
            Event::Icmp if self.v4 => (octets[9], octets[15]) = (1, u8::MAX),
            Event::Icmp => (octets[6], octets[23]) = (58, u8::MAX),
            _ => {}
        }
        octets
    }

    fn edit(&self, packet: &mut Packet, event: Event) {
        match event {
            Event::Push if packet.is_tcp() => packet.tcp().psh = true,
            Event::Flag(bits) if packet.is_tcp() => {
                let header = packet.tcp();
                (header.fin, header.syn, header.rst, header.urg, header.ece) =
                    (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0, bits & 8 != 0, bits & 16 != 0);
                (header.cwr, header.ack, header.ns) = (bits & 32 != 0, bits & 64 != 0, bits & 128 != 0);
            }
            Event::TimeToLive if self.v4 => packet.ipv4().time_to_live -= 1,
            Event::TimeToLive => packet.ipv6().0.hop_limit -= 1,
            Event::Tos if self.v4 => packet.ipv4().ecn = etherparse::IpEcn::THREE,
            Event::Tos => packet.ipv6().0.traffic_class = 3,
            Event::Option if packet.is_tcp() => packet.tcp().set_options_raw(&[1, 1, 1, 0]).expect("fits"),
            Event::Extended if self.v4 => packet.ipv4().options = [1, 1, 1, 0].into(),
            Event::Extended => extend(packet, 1, 0),
            Event::Fragment if self.v4 => packet.ipv4().more_fragments = true,
            _ => {}
        }
    }

    /// What the next packet will be; the same again with another identification if `again`.
    fn go_on(&mut self, again: bool) {
        let sent = u32::try_from(self.packet.payload.len()).expect("fits");
        if self.packet.is_tcp() && !again {
            let header = self.packet.tcp();
            header.sequence_number = header.sequence_number.wrapping_add(sent);
        }
        if self.v4 && !self.fixed {
            let header = self.packet.ipv4();
            header.identification = header.identification.wrapping_add(1);
        }
    }
}

/// The flow that a packet shows.
fn flow_of(packet: &[u8]) -> u8 {
    if packet[0] >> 4 == 4 { packet[15] } else { packet[23] }
}

/// Without the identification of a packet that must not be fragmented, and the checksum over it.
fn without_identification(mut packet: Vec<u8>) -> Vec<u8> {
    if packet[0] >> 4 == 4 && packet[6] & 0x40 != 0 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}

fn mixture(flows: Vec<Flow>, events: Vec<(u8, Event, u8)>) -> Vec<Vec<u8>> {
    let mut flows: Vec<Flow> = (0..).zip(flows).map(|(number, flow)| flow.named(number)).collect();
    let count = flows.len();
    events.iter().map(|(flow, event, filler)| flows[usize::from(*flow) % count].emit(*event, *filler)).collect()
}

/// The packets of each flow, in their order.
fn by_flow(packets: &[Vec<u8>]) -> BTreeMap<u8, Vec<&Vec<u8>>> {
    let mut flows = BTreeMap::<u8, Vec<_>>::new();
    packets.iter().for_each(|packet| flows.entry(flow_of(packet)).or_default().push(packet));
    flows
}

/// The first flow whose packets are not the same in both.
fn differing(left: &[Vec<u8>], right: &[Vec<u8>]) -> Option<u8> {
    let (left, right) = (by_flow(left), by_flow(right));
    left.keys().chain(right.keys()).find(|flow| left.get(flow) != right.get(flow)).copied()
}

proptest! {
    #[test]
    fn what_was_joined_and_split_again_is_the_same_octet_by_octet(
        flows in vec(any_flow(false), 1..20),
        events in vec((any::<u8>(), any_event(), any::<u8>()), 1..120),
        most in 1..=MOST_MEMBERS,
    ) {
        let packets = mixture(flows, events);
        let mut coalescer = Coalescer::new(true, true);
        coalescer.set_most(most);
        let written = written(&mut coalescer, &packets);
        let firsts: Vec<usize> = written.iter().map(|written| written.members[0]).collect();
        prop_assert!(firsts.is_sorted());
        let mut members: Vec<usize> = written.iter().flat_map(|written| written.members.clone()).collect();
        members.sort_unstable();
        prop_assert_eq!(members, (0..packets.len()).collect::<Vec<_>>());
        prop_assert!(written.iter().all(|written| written.members.len() <= most && written.octets.len() <= 65_535));
        let split: Vec<Vec<u8>> = written.iter().flat_map(split_again).collect();
        prop_assert_eq!(differing(&split, &packets), None);
    }

    #[test]
    fn fixed_identifications_are_the_only_loss(
        flows in vec(any_flow(true), 1..6),
        events in vec((any::<u8>(), any_event(), any::<u8>()), 1..120),
    ) {
        let packets = mixture(flows, events);
        let written = written(&mut Coalescer::new(true, true), &packets);
        let split: Vec<Vec<u8>> = written.iter().flat_map(split_again).map(without_identification).collect();
        let packets: Vec<Vec<u8>> = packets.into_iter().map(without_identification).collect();
        prop_assert_eq!(differing(&split, &packets), None);
    }

    #[test]
    fn whole_streams_become_as_few_groups_as_can_be(
        flows in vec(any_flow(true), 1..=16),
        order in vec(any::<u8>(), 1..150),
    ) {
        let room: Vec<usize> = flows.iter().map(|flow| {
            let headers = flow.packet.offsets().1;
            MOST_MEMBERS.min((65_535 - headers) / flow.size)
        }).collect();
        let packets = mixture(flows, order.into_iter().map(|flow| (flow, Event::Whole, flow)).collect());
        let expected: usize =
            by_flow(&packets).iter().map(|(flow, packets)| packets.len().div_ceil(room[usize::from(*flow)])).sum();
        prop_assert_eq!(written(&mut Coalescer::new(true, true), &packets).len(), expected);
    }

    #[test]
    fn no_octets_make_it_panic(
        packets in vec((vec(any::<u8>(), 0..120), 0_usize..4), 0..20),
    ) {
        let first = [0x45, 0x60, 0x46, 0];
        let packets: Vec<Vec<u8>> = packets.into_iter().map(|(mut octets, kind)| {
            if let Some(octet) = octets.first_mut() {
                *octet = if first[kind] == 0 { *octet } else { first[kind] };
            }
            octets
        }).collect();
        let written = written(&mut Coalescer::new(true, true), &packets);
        let members: usize = written.iter().map(|written| written.members.len()).sum();
        prop_assert_eq!(members, packets.len());
    }
}
