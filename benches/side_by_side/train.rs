//! TCP segments as a sender with segmentation offload makes them: trains of equal length, checksums right.

use std::net::Ipv4Addr;

use crate::bed::{MTU, TCP_PORT};

/// Octets of the IPv4 header and the TCP header with time stamps.
const HEADERS: usize = IP + TCP;
const IP: usize = 20;
const TCP: usize = 32;
/// Octets of payload in a full segment.
pub const PAYLOAD: usize = MTU - HEADERS;
/// Most segments in a train: as many as one UDP send can carry once they are sealed.
pub const LONGEST: usize = 45;
const FILL: u8 = 0x5a;
/// The sum of the payload's 16-bit words, which is always the same: the generator's CPU is wanted for the cipher.
const PAYLOAD_SUM: u32 = 684 * 0x5a5a;
const _: () = assert!(PAYLOAD == 684 * 2);
const ACK: u8 = 0x10;
const PUSH: u8 = 0x08;

/// One TCP connection in one direction, and the answers to it.
#[derive(Clone, Debug)]
pub struct Flow {
    from: Ipv4Addr,
    to: Ipv4Addr,
    port: u16,
    sequence: u32,
    identification: u16,
}

impl Flow {
    /// A connection from `port` of `from` to [`TCP_PORT`] of `to`.
    pub fn new(from: Ipv4Addr, to: Ipv4Addr, port: u16) -> Self {
        Self { from, to, port, sequence: 1, identification: 1 }
    }

    /// Writes the next full segment into `room`, of at least [`MTU`] octets, and gives its length.
    pub fn segment(&mut self, room: &mut [u8], last: bool) -> usize {
        let flags = if last { ACK | PUSH } else { ACK };
        room[HEADERS..MTU].fill(FILL);
        headers(room, MTU, (self.from, self.port), (self.to, TCP_PORT), (self.sequence, 1, flags, self.identification));
        self.sequence = self.sequence.wrapping_add(u32::try_from(PAYLOAD).unwrap_or(0));
        self.identification = self.identification.wrapping_add(1);
        MTU
    }

    /// Writes the answer to all that was sent so far, and gives its length, padded to a multiple of 16.
    pub fn answer(&self, room: &mut [u8]) -> usize {
        let ends = ((self.to, TCP_PORT), (self.from, self.port));
        let padded = HEADERS.next_multiple_of(16);
        room[HEADERS..padded].fill(0);
        headers(room, HEADERS, ends.0, ends.1, (1, self.sequence, ACK, self.identification));
        padded
    }
}

/// Whether a packet has the payload of a full segment.
pub fn is_whole(packet: &[u8]) -> bool {
    packet.len() == MTU && packet[HEADERS..].iter().all(|octet| *octet == FILL)
}

type End = (Ipv4Addr, u16);

/// Writes both headers of a packet of `length` octets whose payload is in place.
fn headers(packet: &mut [u8], length: usize, from: End, to: End, (sequence, answered, flags, id): (u32, u32, u8, u16)) {
    let packet = &mut packet[..length];
    let total = u16::try_from(length).unwrap_or(0).to_be_bytes();
    let id = id.to_be_bytes();
    packet[..12].copy_from_slice(&[0x45, 0, total[0], total[1], id[0], id[1], 0x40, 0, 64, 6, 0, 0]);
    packet[12..16].copy_from_slice(&from.0.octets());
    packet[16..20].copy_from_slice(&to.0.octets());
    let header = checksum(sum(&packet[..IP], 0));
    packet[10..12].copy_from_slice(&header.to_be_bytes());

    let tcp = &mut packet[IP..];
    tcp[..2].copy_from_slice(&from.1.to_be_bytes());
    tcp[2..4].copy_from_slice(&to.1.to_be_bytes());
    tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
    tcp[8..12].copy_from_slice(&answered.to_be_bytes());
    // Header of eight words, flags, a window of 65,535, no checksum yet, not urgent; two no-operations, time stamps.
    tcp[12..20].copy_from_slice(&[0x80, flags, 0xff, 0xff, 0, 0, 0, 0]);
    tcp[20..TCP].copy_from_slice(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1]);
    let length = u32::try_from(tcp.len()).unwrap_or(0);
    let pseudo = sum(&from.0.octets(), sum(&to.0.octets(), 6 + length));
    let payload = if tcp.len() > TCP { PAYLOAD_SUM } else { 0 };
    let whole = checksum(sum(&tcp[..TCP], pseudo + payload));
    tcp[16..18].copy_from_slice(&whole.to_be_bytes());
}

/// The sum of 16-bit words (RFC 1071), not folded: 32 bits hold that of any packet.
fn sum(octets: &[u8], start: u32) -> u32 {
    let words = octets.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    words.fold(start, u32::wrapping_add)
}

fn checksum(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).unwrap_or(0)
}
