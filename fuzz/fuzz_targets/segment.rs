//! Any octets as a packet from the TUN device with its header, which is split, joined again and split once more; and
//! any octets as packets that were opened, which are joined and must come back as they were.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnpike::tunnel::segment::{Coalescer, MOST_MEMBERS, SPARE, Split, VnetHeader};

/// The packets for which one from the device stands; the octets behind each are overwritten.
fn split(header: &VnetHeader, packet: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut room = [packet, &[0; SPARE]].concat();
    let mut split = Split::new(header, &mut room, packet.len()).ok()?;
    let mut packets = Vec::new();
    while let Some(range) = split.next(&mut room) {
        packets.push(room[range.clone()].to_vec());
        room[range.end..range.end + SPARE].fill(0xee);
    }
    assert_eq!(split.remaining(), 0);
    Some(packets)
}

/// Joins packets and splits them again: none is lost, and one that was alone is unchanged.
fn join(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut coalescer = Coalescer::new(true, true);
    coalescer.arrange(packets.iter().map(Vec::as_slice).enumerate());
    let mut again = vec![Vec::new(); packets.len()];
    for group in coalescer.groups() {
        let members: Vec<usize> = group.members().collect();
        assert!(members.len() <= MOST_MEMBERS && members.is_sorted());
        let payloads = members.iter().flat_map(|member| &packets[*member][group.offset()..]);
        let octets: Vec<u8> = group.superheader().iter().chain(payloads).copied().collect();
        let pieces = if members.len() > 1 { split(&group.header(), &octets).expect("a group") } else { vec![octets] };
        assert_eq!(pieces.len(), members.len());
        members.into_iter().zip(pieces).for_each(|(member, piece)| again[member] = piece);
    }
    again
}

/// What joining must not change: all but the IPv4 identification, and its checksum, where nobody may look at it.
fn kept(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet.len() >= 20 && packet[0] >> 4 == 4 && packet[6] & 0x40 != 0 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}

/// A packet that states its own length, which octets by chance do not.
fn with_length(octets: &[u8]) -> Vec<u8> {
    let mut packet = octets.to_vec();
    let at = match packet.first().map(|octet| octet >> 4) {
        Some(4) => 2..4,
        Some(6) => 4..6,
        _ => return packet,
    };
    let length = packet.len() - if at.start == 2 { 0 } else { packet.len().min(40) };
    if let (Some(field), Ok(length)) = (packet.get_mut(at), u16::try_from(length)) {
        field.copy_from_slice(&length.to_be_bytes());
    }
    packet
}

fuzz_target!(|input: ([u8; 10], &[u8], Vec<&[u8]>)| {
    let (header, octets, others) = input;
    let split = split(&VnetHeader::from_octets(header), &with_length(octets)).unwrap_or_default();
    let packets: Vec<Vec<u8>> = split.into_iter().chain(others.iter().map(|other| with_length(other))).collect();
    let again = join(&packets);
    for (packet, again) in packets.iter().zip(&again) {
        assert_eq!(kept(packet), kept(again));
    }
});
