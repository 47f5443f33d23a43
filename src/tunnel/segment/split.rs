//! One read from the TUN device becomes the packets it stands for, one after the other, in the same buffer.
//!
//! ```text
//!  room      | headers | payload 0 | payload 1 | payload 2 | spare |      (payload 2 may be shorter)
//!  packet 0  [---------------------]
//!  packet 1            | …  [headers           payload 1   ]           over the end of payload 0, which was used
//!  packet 2                             | … [headers  payload 2]
//! ```
//!
//! Each packet's headers are copied from those of the packet before to directly before its payload, so that no payload
//! moves. The user may fill up to [`SPARE`] octets behind a packet before it seals it: they are put back when the
//! next one is asked for.
//!
//! What is written anew follows `tcp_gso_segment` and `__udp_gso_segment` (`net/ipv4/tcp_offload.c`,
//! `net/ipv4/udp_offload.c`), as the kernel itself would have split: lengths, the IPv4 identification counting up,
//! TCP sequence numbers, FIN and PSH on the last packet alone, CWR on the first alone, and checksums.

use std::ops::Range;

use super::checksum::{Sum, pseudo};
use super::headers::{Headers, IPV6, low_word};
use super::vnet::{Gso, VnetHeader};

/// Octets behind each packet that the user may overwrite, and that the room must have behind the whole.
pub const SPARE: usize = 16;

/// Why a packet cannot be split as its header asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The buffer is shorter than the packet and [`SPARE`] octets, or the packet longer than 65,535.
    #[error("no room behind the packet")]
    Room,
    /// A kind that was never asked for, or not the packet's own.
    #[error("not of the kind that is to be split")]
    Kind,
    /// Packets without payload are asked for.
    #[error("a segment size of 0")]
    SegmentSize,
    /// The checksum lies outside the packet, or not where its protocol has it.
    #[error("the checksum is not where it should be")]
    Checksum,
    /// No IP packet, or its headers are cut short.
    #[error("unreadable headers")]
    Header,
    /// A length that a header states is not the packet's.
    #[error("a stated length is wrong")]
    Length,
    /// A fragment of a packet.
    #[error("a fragment")]
    Fragment,
    /// Neither TCP nor UDP.
    #[error("neither TCP nor UDP")]
    Protocol,
}

/// The packets of one read that were not taken yet.
#[derive(Debug)]
pub struct Split(Packets);

#[derive(Debug)]
enum Packets {
    Whole(Option<usize>),
    Segments(Segments),
}

impl Split {
    /// Takes what the device gave: the header, and the packet in `room[..length]`, behind which there are [`SPARE`]
    /// octets or more. The checksum of a packet that is not to be split is completed here.
    ///
    /// # Errors
    /// The packet cannot be what its header says.
    #[inline]
    pub fn new(header: &VnetHeader, room: &mut [u8], length: usize) -> Result<Self, Malformed> {
        if length > usize::from(u16::MAX) || room.len() < length + SPARE {
            return Err(Malformed::Room);
        }
        let packet = &mut room[..length];
        let packets = match header.gso().ok_or(Malformed::Kind)? {
            Gso::None => {
                complete(header, packet)?;
                Packets::Whole(Some(length))
            }
            gso @ (Gso::Tcp4 | Gso::Tcp6 | Gso::Udp) => Packets::Segments(Segments::new(gso, header, packet)?),
        };
        Ok(Self(packets))
    }

    /// How many packets are still to be taken.
    pub fn remaining(&self) -> usize {
        match &self.0 {
            Packets::Whole(length) => usize::from(length.is_some()),
            Packets::Segments(segments) => segments.left,
        }
    }

    /// The length in octets of the next packet, and of each that follows but the last, which may be shorter.
    /// 0 when none is left.
    pub fn stride(&self) -> usize {
        match &self.0 {
            Packets::Whole(length) => length.unwrap_or(0),
            Packets::Segments(segments) => segments.stride(),
        }
    }

    /// Makes the next packet: where it lies in `room`, which holds what it held before. Only the [`SPARE`] octets behind
    /// the packet may be overwritten. `None` when none is left.
    #[inline]
    pub fn next(&mut self, room: &mut [u8]) -> Option<Range<usize>> {
        match &mut self.0 {
            Packets::Whole(length) => length.take().map(|length| 0..length),
            Packets::Segments(segments) => segments.next(room),
        }
    }
}

/// Completes the checksum of a single packet. Like `skb_checksum_help`, it never writes 0, which means "none" to UDP and
/// is the same number as 0xffff to all others.
fn complete(header: &VnetHeader, packet: &mut [u8]) -> Result<(), Malformed> {
    if !header.needs_checksum() {
        return Ok(());
    }
    let part = packet.get_mut(usize::from(header.csum_start)..).ok_or(Malformed::Checksum)?;
    let sum = Sum::of(part).checksum();
    let field = part.get_mut(usize::from(header.csum_offset)..).and_then(<[u8]>::first_chunk_mut);
    *field.ok_or(Malformed::Checksum)? = nonzero(sum).to_be_bytes();
    Ok(())
}

fn nonzero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// A superpacket: what its packets have in common, and what differs.
#[derive(Debug)]
struct Segments {
    headers: Headers,
    /// The sum of what is the same in every IPv4 header, and in every transport and pseudo header.
    network: Sum,
    transport: Sum,
    /// The next packet's payload begins here, and the last one's ends there.
    at: usize,
    end: usize,
    size: usize,
    left: usize,
    first: bool,
    identification: u16,
    sequence: u32,
    flags: u8,
    /// What stood behind the packet that was taken last: at `at`.
    saved: [u8; SPARE],
}

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

impl Segments {
    fn new(gso: Gso, header: &VnetHeader, packet: &[u8]) -> Result<Self, Malformed> {
        let headers = Headers::read(packet)?;
        let as_asked = match gso {
            Gso::Tcp4 => headers.tcp && headers.v4,
            Gso::Tcp6 => headers.tcp && !headers.v4,
            Gso::Udp => !headers.tcp,
            Gso::None => false,
        };
        if !as_asked {
            return Err(Malformed::Kind);
        }
        if header.gso_size == 0 {
            return Err(Malformed::SegmentSize);
        }
        let base = pseudo_sum(headers, header, packet)?;
        let (network, transport) = packet[..headers.end].split_at(headers.transport);
        let (identification, network) = if headers.v4 { common_v4(network) } else { (0, Sum::default()) };
        let (sequence, flags, transport) = if headers.tcp { common_tcp(transport) } else { common_udp(transport) };
        let (payload, size) = (packet.len() - headers.end, usize::from(header.gso_size));
        Ok(Self {
            headers,
            network,
            transport: transport + base,
            at: headers.end,
            end: packet.len(),
            size,
            // Without payload there is still the packet of headers.
            left: payload.div_ceil(size).max(1),
            first: true,
            identification,
            sequence,
            flags,
            saved: [0; SPARE],
        })
    }

    fn stride(&self) -> usize {
        if self.left == 0 { 0 } else { self.headers.end + self.size.min(self.end - self.at) }
    }

    #[inline]
    fn next(&mut self, room: &mut [u8]) -> Option<Range<usize>> {
        let left = self.left.checked_sub(1)?;
        let start = self.at - self.headers.end;
        let end = self.end.min(self.at + self.size);
        if !self.first {
            room.get_mut(self.at..self.at + SPARE)?.copy_from_slice(&self.saved);
            // The packet before was as long as any: it began `size` octets before this one.
            room.get_mut(start - self.size..self.at)?.copy_within(..self.headers.end, self.size);
        }
        self.write(room.get_mut(start..end)?, left == 0)?;
        self.saved = *room.get(end..)?.first_chunk()?;
        self.left = left;
        self.at = end;
        self.first = false;
        self.identification = self.identification.wrapping_add(1);
        self.sequence = self.sequence.wrapping_add(u32::from(low_word(self.size)));
        Some(start..end)
    }

    /// Writes what differs into the headers of a packet.
    #[inline]
    fn write(&self, packet: &mut [u8], last: bool) -> Option<()> {
        let (header, payload) = packet.split_at_mut_checked(self.headers.end)?;
        let (network, transport) = header.split_at_mut_checked(self.headers.transport)?;
        let (total, length) = (self.headers.end + payload.len(), transport.len() + payload.len());
        let sum = self.transport + Sum::word(low_word(length)) + Sum::of(payload);
        if self.headers.tcp {
            self.write_tcp(transport.first_chunk_mut()?, last, sum);
        } else {
            write_udp(transport.first_chunk_mut()?, low_word(length), sum);
        }
        if self.headers.v4 {
            self.write_v4(network.first_chunk_mut()?, low_word(total));
        } else {
            let length = network.len() + length - IPV6;
            network.get_mut(4..6)?.copy_from_slice(&low_word(length).to_be_bytes());
        }
        Some(())
    }

    #[inline]
    fn write_tcp(&self, header: &mut [u8; 20], last: bool, sum: Sum) {
        let not_here = if last { 0 } else { FIN | PSH } | if self.first { 0 } else { CWR };
        let flags = self.flags & !not_here;
        header[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        header[13] = flags;
        let sum = sum + Sum::number(self.sequence) + Sum::word(u16::from(flags));
        header[16..18].copy_from_slice(&sum.checksum().to_be_bytes());
    }

    #[inline]
    fn write_v4(&self, header: &mut [u8; 20], length: u16) {
        header[2..4].copy_from_slice(&length.to_be_bytes());
        header[4..6].copy_from_slice(&self.identification.to_be_bytes());
        let sum = self.network + Sum::word(length) + Sum::word(self.identification);
        header[10..12].copy_from_slice(&sum.checksum().to_be_bytes());
    }
}

#[inline]
fn write_udp(header: &mut [u8; 8], length: u16, sum: Sum) {
    header[4..6].copy_from_slice(&length.to_be_bytes());
    let sum = sum + Sum::word(length);
    header[6..8].copy_from_slice(&nonzero(sum.checksum()).to_be_bytes());
}

/// The pseudo header's sum without the length. The kernel has put it into the checksum's field: its destination is the
/// last one even where a routing header follows (RFC 8200, section 8.1).
fn pseudo_sum(headers: Headers, header: &VnetHeader, packet: &[u8]) -> Result<Sum, Malformed> {
    if !header.needs_checksum() {
        return Ok(pseudo(headers.addresses(packet), headers.protocol(), 0));
    }
    let place = (usize::from(header.csum_start), usize::from(header.csum_offset));
    if place != (headers.transport, headers.checksum_offset()) {
        return Err(Malformed::Checksum);
    }
    let field = packet.get(place.0 + place.1..).and_then(<[u8]>::first_chunk).ok_or(Malformed::Checksum)?;
    Ok(Sum::word(u16::from_be_bytes(*field)) + Sum::word(!low_word(packet.len() - headers.transport)))
}

/// The identification, and the sum of all but it, the length and the checksum.
fn common_v4(header: &[u8]) -> (u16, Sum) {
    let identification = u16::from_be_bytes([header[4], header[5]]);
    (identification, Sum::of(&header[..2]) + Sum::of(&header[6..10]) + Sum::of(&header[12..]))
}

/// The sequence number and the flags, and the sum of all but them and the checksum.
fn common_tcp(header: &[u8]) -> (u32, u8, Sum) {
    let sequence = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    let rest = Sum::of(&header[8..12]) + Sum::of(&[header[12], 0]) + Sum::of(&header[14..16]);
    (sequence, header[13], Sum::of(&header[..4]) + rest + Sum::of(&header[18..]))
}

/// The sum of the ports. The length and the checksum differ.
fn common_udp(header: &[u8]) -> (u32, u8, Sum) {
    (0, 0, Sum::of(&header[..4]))
}
