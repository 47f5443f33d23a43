//! The groups that can still grow, and what may join one.

use super::sight::Segment;
use crate::tunnel::segment::checksum::{Sum, pseudo};
use crate::tunnel::segment::headers::{Headers, IPV4, IPV6, TCP, UDP, low_word};
use crate::tunnel::segment::vnet::{Gso, VnetHeader};

/// A group that can grow.
#[derive(Debug)]
pub(super) struct Open<'p> {
    /// Its place in the list of groups.
    pub(super) record: usize,
    first: Segment<'p>,
    /// Octets of payload of all members.
    payload: usize,
    count: usize,
    counting: Counting,
    /// Whether the first member's checksums were found right. Asked for when the second comes.
    verified: bool,
    pushes: bool,
}

/// How the IPv4 identifications of the members go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counting {
    /// There is one member, or it is IPv6.
    Open,
    Up,
    Fixed,
}

/// What came of a packet that belongs to a group's flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Join {
    /// It is a member; `closes`: the last one.
    Joined { closes: bool },
    /// It must come after the group.
    Refused,
}

/// The longest IP packet, in octets.
const LONGEST: usize = 65_535;

impl<'p> Open<'p> {
    pub(super) fn new(first: Segment<'p>, record: usize) -> Self {
        Self {
            record,
            payload: first.payload(),
            first,
            count: 1,
            counting: Counting::Open,
            verified: false,
            pushes: false,
        }
    }

    /// Whether there are several members.
    pub(super) fn is_joined(&self) -> bool {
        self.count > 1
    }

    /// Takes a packet of the same flow in, if it continues the group.
    #[inline]
    pub(super) fn join(&mut self, segment: &Segment<'_>, most: usize) -> Join {
        let Some(counting) = self.continued_by(segment, most) else { return Join::Refused };
        if !self.verified {
            self.verified = is_right(&self.first);
        }
        if !self.verified || !is_right(segment) {
            return Join::Refused;
        }
        self.counting = counting;
        self.payload += segment.payload();
        self.count += 1;
        self.pushes = segment.closes;
        Join::Joined { closes: segment.closes || segment.payload() < self.first.payload() }
    }

    /// How identifications go on with this one as the next member. `None` if it cannot be.
    #[inline]
    fn continued_by(&self, segment: &Segment<'_>, most: usize) -> Option<Counting> {
        let fits = segment.regular
            && segment.payload() <= self.first.payload()
            && self.count < most
            && self.first.end + self.payload + segment.payload() <= LONGEST;
        let counting = if !fits {
            None
        } else if segment.v4() {
            self.continued_v4(segment)
        } else {
            same_v6(&self.first, segment).then_some(Counting::Open)
        };
        counting.filter(|_| !segment.tcp || self.continued_tcp(segment).unwrap_or(false))
    }

    #[inline]
    fn continued_v4(&self, segment: &Segment<'_>) -> Option<Counting> {
        let (first, next) = (self.first.packet.first_chunk::<IPV4>()?, segment.packet.first_chunk::<IPV4>()?);
        // TOS, "do not fragment", TTL. The rest is equal in one flow, or a length, or counted.
        if first[1] != next[1] || first[6..9] != next[6..9] {
            return None;
        }
        let begin = u16::from_be_bytes([first[4], first[5]]);
        let step = u16::from_be_bytes([next[4], next[5]]).wrapping_sub(begin);
        let atomic = first[6] & 0x40 != 0;
        match self.counting {
            Counting::Open if step == 0 && atomic => Some(Counting::Fixed),
            Counting::Fixed => (step == 0).then_some(Counting::Fixed),
            Counting::Open | Counting::Up => (usize::from(step) == self.count).then_some(Counting::Up),
        }
    }

    /// Acknowledgment, header length, window, urgent pointer and options are equal, and the sequence number is the next.
    #[inline]
    fn continued_tcp(&self, segment: &Segment<'_>) -> Option<bool> {
        let first = self.first.packet.get(self.first.network..self.first.end)?;
        let next = segment.packet.get(segment.network..segment.end)?;
        let (first, first_options) = first.split_first_chunk::<20>()?;
        let (next, next_options) = next.split_first_chunk::<20>()?;
        let begin = u32::from_be_bytes([first[4], first[5], first[6], first[7]]);
        let sequence = u32::from_be_bytes([next[4], next[5], next[6], next[7]]);
        let contiguous = usize::try_from(sequence.wrapping_sub(begin)) == Ok(self.payload);
        let equal = first[8..13] == next[8..13] && first[14..16] == next[14..16] && first[18..20] == next[18..20];
        Some(contiguous && equal && same_options(first_options, next_options))
    }

    /// Appends the superheader, and tells what is written before it.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> VnetHeader {
        let first = &self.first;
        let start = out.len();
        out.extend_from_slice(first.packet.get(..first.end).unwrap_or(&[]));
        let header = out.get_mut(start..).unwrap_or(&mut []);
        let headers = Headers { v4: first.v4(), tcp: first.tcp, transport: first.network, end: first.end };
        write(headers, header, self.payload, self.pushes);
        let gso = match (first.tcp, first.v4()) {
            (true, true) => Gso::Tcp4,
            (true, false) => Gso::Tcp6,
            (false, _) => Gso::Udp,
        };
        VnetHeader {
            flags: VnetHeader::NEEDS_CSUM,
            gso_type: gso.octet(),
            hdr_len: low_word(first.end),
            gso_size: low_word(first.payload()),
            csum_start: low_word(first.network),
            csum_offset: low_word(headers.checksum_offset()),
        }
    }
}

/// Makes the headers of one packet those of `payload` octets, the checksum being left to others.
fn write(headers: Headers, header: &mut [u8], payload: usize, pushes: bool) {
    let length = headers.end - headers.transport + payload;
    let sum = pseudo(headers.addresses(header), headers.protocol(), u32::from(low_word(length)));
    let Some((network, transport)) = header.split_at_mut_checked(headers.transport) else { return };
    if headers.v4 {
        network[2..4].copy_from_slice(&low_word(headers.end + payload).to_be_bytes());
        network[10..12].fill(0);
        let sum = Sum::of(network);
        network[10..12].copy_from_slice(&sum.checksum().to_be_bytes());
    } else {
        network[4..6].copy_from_slice(&low_word(length).to_be_bytes());
    }
    if headers.tcp {
        const PSH: u8 = 0x08;
        transport[13] |= if pushes { PSH } else { 0 };
    } else {
        transport[4..6].copy_from_slice(&low_word(length).to_be_bytes());
    }
    let at = headers.checksum_offset();
    transport[at..at + 2].copy_from_slice(&sum.fold().to_be_bytes());
}

/// Most streams have the time stamp alone, filled up to 12 octets: compared without a call.
#[inline]
fn same_options(first: &[u8], next: &[u8]) -> bool {
    match (<&[u8; 12]>::try_from(first), <&[u8; 12]>::try_from(next)) {
        (Ok(first), Ok(next)) => first == next,
        _ => first == next,
    }
}

/// Traffic class, flow label and hop limit. The rest is equal in one flow, or a length.
#[inline]
fn same_v6(first: &Segment<'_>, next: &Segment<'_>) -> bool {
    match (first.packet.first_chunk::<8>(), next.packet.first_chunk::<8>()) {
        (Some(first), Some(next)) => first[..4] == next[..4] && first[7] == next[7],
        _ => false,
    }
}

/// Whether the checksums of its headers and of its payload are right.
#[inline]
fn is_right(segment: &Segment<'_>) -> bool {
    let (protocol, whole) = (if segment.tcp { TCP } else { UDP }, segment.packet);
    if segment.v4() {
        let Some((network, transport)) = whole.split_first_chunk::<IPV4>() else { return false };
        // 0xffff is right where 0 is, but never what splitting writes.
        let network_right = Sum::of(network).is_valid() && network[10..12] != [0xff, 0xff];
        let sum = pseudo(&network[12..20], protocol, u32::from(low_word(transport.len())));
        network_right && (sum + Sum::of(transport)).is_valid()
    } else {
        let Some((network, transport)) = whole.split_first_chunk::<IPV6>() else { return false };
        let sum = pseudo(&network[8..40], protocol, u32::from(low_word(transport.len())));
        (sum + Sum::of(transport)).is_valid()
    }
}

/// How many groups can be open. More flows than these at once are rarely in one batch.
const SLOTS: usize = 16;

/// The open groups. Where all are in use, one gives way to a new one.
#[derive(Debug)]
pub(super) struct Table<'p> {
    /// The keys of the flows, 0 where a slot is empty.
    keys: [u32; SLOTS],
    slots: [Option<Open<'p>>; SLOTS],
    used: usize,
    /// Where the last was inserted.
    newest: usize,
}

impl<'p> Table<'p> {
    pub(super) fn new() -> Self {
        Self { keys: [0; SLOTS], slots: [const { None }; SLOTS], used: 0, newest: 0 }
    }

    /// The group of a packet's flow, the one inserted last being tried first.
    #[inline]
    pub(super) fn find(&mut self, segment: &Segment<'_>) -> Option<(usize, &mut Open<'p>)> {
        if self.used == 0 {
            return None;
        }
        let slot = if self.is_at(self.newest, segment) {
            self.newest
        } else {
            self.candidates(segment.key).find(|slot| self.is_at(*slot, segment))?
        };
        Some((slot, self.slots.get_mut(slot)?.as_mut()?))
    }

    /// Removes the group in a slot.
    pub(super) fn take(&mut self, slot: usize) -> Option<Open<'p>> {
        let open = self.slots.get_mut(slot)?.take();
        self.keys[slot] = 0;
        self.used -= usize::from(open.is_some());
        open
    }

    /// Removes any group.
    pub(super) fn take_any(&mut self) -> Option<Open<'p>> {
        let slot = if self.used == 0 { None } else { self.slots.iter().position(Option::is_some) };
        self.take(slot?)
    }

    /// Puts a group in, and returns the one that gave way to it.
    pub(super) fn insert(&mut self, open: Open<'p>) -> Option<Open<'p>> {
        let empty = if self.used < SLOTS { self.keys.iter().position(|key| *key == 0) } else { None };
        self.newest = empty.unwrap_or((self.newest + 1) % SLOTS);
        let evicted = self.take(self.newest);
        self.keys[self.newest] = open.first.key;
        self.slots[self.newest] = Some(open);
        self.used += 1;
        evicted
    }

    #[inline]
    fn candidates(&self, key: u32) -> impl Iterator<Item = usize> + use<> {
        let compared = self.keys.iter().rev().fold(0_u32, |bits, known| bits << 1 | u32::from(*known == key));
        let mut bits = compared;
        std::iter::from_fn(move || {
            let slot = usize::try_from(bits.trailing_zeros()).ok().filter(|_| bits != 0)?;
            bits &= bits - 1;
            Some(slot)
        })
    }

    #[inline]
    fn is_at(&self, slot: usize, segment: &Segment<'_>) -> bool {
        self.keys[slot] == segment.key && self.slots[slot].as_ref().is_some_and(|open| same_flow(&open.first, segment))
    }
}

/// Protocol, addresses and ports are equal.
#[inline]
fn same_flow(first: &Segment<'_>, next: &Segment<'_>) -> bool {
    const PORTS: usize = 4;
    if (first.tcp, first.network) != (next.tcp, next.network) {
        return false;
    }
    // Slices of a length known to the compiler: no call to compare them.
    if first.v4() {
        let known = (first.packet.first_chunk::<{ IPV4 + PORTS }>(), next.packet.first_chunk::<{ IPV4 + PORTS }>());
        matches!(known, (Some(first), Some(next)) if first[12..] == next[12..])
    } else {
        let known = (first.packet.first_chunk::<{ IPV6 + PORTS }>(), next.packet.first_chunk::<{ IPV6 + PORTS }>());
        matches!(known, (Some(first), Some(next)) if first[8..] == next[8..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::segment::coalesce::sight::{Sight, read};

    fn segment(packet: &[u8]) -> Segment<'_> {
        let Sight::Segment(segment) = read(packet, true, true) else { panic!("of a flow") };
        segment
    }

    #[test]
    fn flows_are_told_apart_even_if_their_keys_are_equal() {
        let mut v4 = [0; 60];
        (v4[0], v4[3], v4[9], v4[32]) = (0x45, 60, 6, 0x50);
        let mut v6 = [0; 80];
        (v6[0], v6[5], v6[6], v6[52]) = (0x60, 40, 6, 0x50);
        for (packet, flow, protocol) in [(&v4[..], 12..24, 9), (&v6[..], 8..44, 6)] {
            assert!(same_flow(&segment(packet), &segment(packet)));
            for at in flow {
                let mut other = packet.to_vec();
                other[at] = 1;
                assert!(!same_flow(&segment(packet), &segment(&other)), "octet {at}");
            }
            let mut other = packet.to_vec();
            other[protocol] = 17;
            assert!(!same_flow(&segment(packet), &segment(&other)), "protocol");
        }
        assert!(!same_flow(&segment(&v4), &segment(&v6)));
    }

    #[test]
    fn a_group_is_not_found_by_its_key_alone() {
        let mut packet = [0; 60];
        (packet[0], packet[3], packet[9], packet[32]) = (0x45, 60, 6, 0x50);
        let (mut one, mut other) = (packet, packet);
        // The key sees the destination and the ports joined by "exclusive or".
        (one[16], other[20]) = (9, 9);
        assert_eq!(segment(&one).key, segment(&other).key);
        let mut table = Table::new();
        assert!(table.insert(Open::new(segment(&one), 0)).is_none());
        assert!(table.find(&segment(&one)).is_some());
        assert!(table.find(&segment(&other)).is_none());
        assert!(table.insert(Open::new(segment(&other), 1)).is_none());
        assert_eq!(table.find(&segment(&one)).map(|(_, open)| open.record), Some(0));
        assert_eq!(table.find(&segment(&other)).map(|(_, open)| open.record), Some(1));
    }
}
