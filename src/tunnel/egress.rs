//! From the TUN device: a packet finds its site, its link, its session.
//!
//! ```text
//!  TUN ─ packet, or a superpacket that the kernel left to us to split ─▶ depart: destination → site → link
//!                                                                          │ Departure
//!                                        out ◀─ seal, pad ◀─ segment ◀─ forward, again while `out` has room
//! ```

use crate::tunnel::batch::Batch;
use crate::tunnel::icmp::{self, Error};
use crate::tunnel::segment::{Split, VnetHeader};
use crate::tunnel::{Hop, Link, LinkSlot, Moment, Outcome, Priority, Reason, Shard, inner};

/// A packet from the TUN device, or a train of them in one superpacket, on its way to a link.
#[derive(Debug)]
pub struct Departure {
    split: Split,
    slot: LinkSlot,
}

impl Shard {
    /// Finds the way of what the TUN device gave: the first `length` octets of `room`, behind which there are 16 more.
    /// It leaves on the first link of its site that lives. When none does, it waits on the first whose peer's
    /// address is known, and all of them try.
    ///
    /// # Errors
    /// [`Reason`] by cause, which is counted.
    pub fn depart(
        &mut self,
        header: &VnetHeader,
        (room, length): (&mut [u8], usize),
        moment: Moment,
        out: &mut Batch<Hop>,
    ) -> Result<Departure, Reason> {
        let found = self.carrier(room.get(..length).unwrap_or_default(), moment, out);
        let departure = found.and_then(|slot| {
            let split = Split::new(header, room, length).map_err(|_| Reason::MalformedOutgoing)?;
            Ok(Departure { split, slot })
        });
        departure.inspect_err(|reason| self.drops.count(*reason))
    }

    /// Seals a departure's packets as long as `out` has room; whether any are left. `room` is that of [`Self::depart`].
    pub fn forward(
        &mut self,
        departure: &mut Departure,
        room: &mut [u8],
        moment: Moment,
        out: &mut Batch<Hop>,
    ) -> bool {
        while out.has_room() {
            let Some(packet) = departure.split.next(room) else { return false };
            let length = packet.len();
            let padded = room.get_mut(packet.start..packet.end + 16).unwrap_or_default();
            // What is lost was counted.
            self.send_on(departure.slot, (padded, length), Priority::Data, moment, out).unwrap_or_default();
        }
        departure.split.remaining() > 0
    }

    /// Drops the first packet of a departure, so that its sender slows down.
    pub fn shed(&mut self, departure: &mut Departure, room: &mut [u8]) {
        if departure.split.next(room).is_some() {
            self.drops.count(Reason::Overload);
        }
    }

    /// Counts the packets of a departure that cannot be sent.
    pub fn abandon(&mut self, departure: &Departure, reason: Reason) {
        self.drops.add(reason, u64::try_from(departure.split.remaining()).unwrap_or(u64::MAX));
    }

    /// Tells the sender of a packet that could not be sent, within a rate. The answer goes into `packets`.
    pub fn unreachable(&mut self, packet: &[u8], moment: Moment, packets: &mut Batch<Outcome>) {
        if let Some(room) = packets.room()
            && self.limits.allow_unreachable(moment.now)
            && let Some(length) = icmp::answer(Error::HostUnreachable, packet, room)
        {
            packets.commit(length, Outcome::ToTun(LinkSlot(usize::MAX)));
        }
    }

    fn carrier(&mut self, packet: &[u8], moment: Moment, out: &mut Batch<Hop>) -> Result<LinkSlot, Reason> {
        let inner = inner::parse(packet).ok_or(Reason::MalformedOutgoing)?;
        if self.intercepts && inner::is_link_local(inner.destination) {
            return Err(Reason::LinkLocal);
        }
        let owner = self.routes.owner(inner.destination).ok_or(Reason::NoRoute)?;
        let links = self.sites.get(owner.0).map(|site| site.links.as_slice()).unwrap_or_default();
        if links.is_empty() {
            return Err(Reason::NoLink);
        }
        if let Some(&live) = links.iter().find(|slot| self.link(**slot).is_some_and(|link| link.is_alive(moment.now))) {
            return Ok(live);
        }
        let reachable = |slot: &LinkSlot| self.link(*slot).is_some_and(|link| link.path().is_some());
        let known: Vec<LinkSlot> = links.iter().copied().filter(reachable).collect();
        for &other in known.iter().skip(1) {
            self.with_link(other, moment, out, Link::initiate);
        }
        known.first().copied().ok_or(Reason::NoEndpoint)
    }
}
