//! Packets that were opened one by one become groups, each of which is written to the TUN device at once.
//!
//! ```text
//!  in order of arrival   a0  b0  a1  icmp  a2  b1'                a, b: flows; b1' does not continue b0
//!  groups                [A a0 a1 a2]  [b0]  [icmp]  [b1']        A: the superheader for the payloads behind it
//! ```
//!
//! The rules are those of Linux (`inet_gro_receive`, `tcp_gro_receive`, `udp_gro_receive_segment`), a little stricter:
//! what is joined has one payload length (the last member may be shorter), no flags but ACK and a PSH that closes the
//! group, equal headers but for what counts up, and right checksums. A packet whose checksum is wrong travels alone and
//! unchanged, so that whoever it is for sees that it is wrong.
//!
//! Splitting a group again gives its packets octet by octet, with one exception that Linux makes as well: packets that
//! must not be fragmented and have all the same IPv4 identification (senders without a connected socket set 0)
//! come back counted up. Of such packets nobody may look at it (RFC 6864, section 4.1).
//!
//! Groups stand in the order of their first members. A packet of a flow that cannot be joined closes the flow's
//! group, and what may belong to any flow (a fragment, a packet with extension headers) closes all: no flow's packets
//! change their order.

mod open;
mod sight;

use std::ops::Range;

use super::vnet::VnetHeader;
use open::{Join, Open, Table};
use sight::{Segment, Sight};

/// The most members that a group can have: `UDP_MAX_SEGMENTS` of Linux before 6.9, which refuses more.
pub const MOST_MEMBERS: usize = 64;

/// Arranges packets into groups, in memory that is used again.
#[derive(Debug)]
pub struct Coalescer {
    tcp: bool,
    udp: bool,
    most: usize,
    records: Vec<Record>,
    members: Vec<Member>,
    superheaders: Vec<u8>,
}

#[derive(Debug)]
struct Record {
    header: VnetHeader,
    superheader: Range<usize>,
    first: usize,
    last: usize,
    count: usize,
}

#[derive(Debug)]
struct Member {
    position: usize,
    next: usize,
}

/// Packets that are written as one: [`Self::superheader`], then what follows [`Self::offset`] in each member.
#[derive(Clone, Copy, Debug)]
pub struct Group<'c> {
    coalescer: &'c Coalescer,
    record: &'c Record,
}

impl Coalescer {
    /// Joins TCP where `tcp`, UDP where `udp` (`TUN_F_USO4` and `TUN_F_USO6`: Linux 6.2).
    pub fn new(tcp: bool, udp: bool) -> Self {
        Self { tcp, udp, most: MOST_MEMBERS, records: Vec::new(), members: Vec::new(), superheaders: Vec::new() }
    }

    /// Changes what is joined from the next [`Self::arrange`] on.
    pub fn set_kinds(&mut self, tcp: bool, udp: bool) {
        (self.tcp, self.udp) = (tcp, udp);
    }

    /// Limits the members of a group, to between 1 (nothing is joined) and [`MOST_MEMBERS`].
    pub fn set_most(&mut self, members: usize) {
        self.most = members.clamp(1, MOST_MEMBERS);
    }

    /// Arranges packets, each with a number by which the user knows it, in order of arrival. Forgets those before.
    pub fn arrange<'p>(&mut self, packets: impl IntoIterator<Item = (usize, &'p [u8])>) {
        self.records.clear();
        self.members.clear();
        self.superheaders.clear();
        let mut table = Table::new();
        for (position, packet) in packets {
            match sight::read(packet, self.tcp, self.udp) {
                Sight::Foreign => self.alone(position),
                Sight::Unclear => {
                    self.close_all(&mut table);
                    self.alone(position);
                }
                Sight::Segment(segment) => self.place(&mut table, position, segment),
            }
        }
        self.close_all(&mut table);
    }

    /// The groups, in the order of their first members.
    pub fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        self.records.iter().map(|record| Group { coalescer: self, record })
    }

    fn place<'p>(&mut self, table: &mut Table<'p>, position: usize, segment: Segment<'p>) {
        let begins = match table.find(&segment) {
            None => segment.begins(),
            Some((slot, open)) => match open.join(&segment, self.most) {
                Join::Joined { closes } => {
                    let record = open.record;
                    if closes {
                        self.close(table.take(slot));
                    }
                    return self.append(record, position);
                }
                Join::Refused => {
                    self.close(table.take(slot));
                    segment.begins()
                }
            },
        };
        if begins {
            self.close(table.insert(Open::new(segment, self.records.len())));
        }
        self.alone(position);
    }

    fn alone(&mut self, position: usize) {
        let member = self.members.len();
        self.members.push(Member { position, next: member });
        self.records.push(Record {
            header: VnetHeader::NONE,
            superheader: 0..0,
            first: member,
            last: member,
            count: 1,
        });
    }

    fn append(&mut self, record: usize, position: usize) {
        let member = self.members.len();
        self.members.push(Member { position, next: member });
        let Some(record) = self.records.get_mut(record) else { return };
        if let Some(last) = self.members.get_mut(record.last) {
            last.next = member;
        }
        record.last = member;
        record.count += 1;
    }

    /// Writes the superheader of a group to which nothing is added any more.
    fn close(&mut self, open: Option<Open<'_>>) {
        let Some(open) = open.filter(Open::is_joined) else { return };
        let start = self.superheaders.len();
        let header = open.write(&mut self.superheaders);
        if let Some(record) = self.records.get_mut(open.record) {
            record.header = header;
            record.superheader = start..self.superheaders.len();
        }
    }

    fn close_all(&mut self, table: &mut Table<'_>) {
        while let Some(open) = table.take_any() {
            self.close(Some(open));
        }
    }
}

impl<'c> Group<'c> {
    /// What is written before it.
    pub fn header(&self) -> VnetHeader {
        self.record.header
    }

    /// The headers for all members together. Empty when there is one, which is written as it is.
    pub fn superheader(&self) -> &'c [u8] {
        self.coalescer.superheaders.get(self.record.superheader.clone()).unwrap_or(&[])
    }

    /// How many octets of each member are not written: its headers, where there is a superheader; otherwise 0.
    pub fn offset(&self) -> usize {
        self.record.superheader.len()
    }

    /// How many members it has.
    pub fn count(&self) -> usize {
        self.record.count
    }

    /// The numbers of its members, in their order.
    pub fn members(&self) -> impl Iterator<Item = usize> + use<'c> {
        let members = &self.coalescer.members;
        let mut next = Some(self.record.first);
        std::iter::from_fn(move || {
            let at = next?;
            let member = members.get(at)?;
            next = (member.next != at).then_some(member.next);
            Some(member.position)
        })
    }
}
