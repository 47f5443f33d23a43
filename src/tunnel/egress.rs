//! From the TUN device: a packet finds its site, its link, its session.
//!
//! ```text
//!  TUN ─ packet, or a superpacket that the kernel left to us to split ─▶ depart: destination → site → link
//!                                                                          │ Departure
//!                                        out ◀─ seal, pad ◀─ segment ◀─ forward, again while `out` has room
//! ```

use crate::tunnel::batch::Batch;
use crate::tunnel::segment::{Split, VnetHeader};
use crate::tunnel::{Hop, Link, LinkSlot, Moment, Outcome, Priority, Reason, Shard, icmp, inner};

/// A packet from the TUN device, or a train of them in one superpacket, on its way to a link.
#[derive(Debug)]
pub struct Departure {
    split: Split,
    slot: LinkSlot,
}

/// A packet that found no way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// What its sender is to be told, if anything.
    told: Option<icmp::Error>,
}

impl Shard {
    /// Finds the way of what the TUN device gave: the first `length` octets of `room`, behind which there are 16 more.
    /// It leaves on the first link of its site that lives. When none does, it waits on the first whose peer's
    /// address is known, and all of them try.
    ///
    /// What is longer than the link's own MTU is refused if its sender forbids routers to fragment it. Else it goes on
    /// and is fragmented outside, as by the kernel's WireGuard.
    ///
    /// # Errors
    /// [`Refused`] by cause, which is counted.
    pub fn depart(
        &mut self,
        header: &VnetHeader,
        (room, length): (&mut [u8], usize),
        moment: Moment,
        out: &mut Batch<Hop>,
    ) -> Result<Departure, Refused> {
        let refused = |reason| Refused { reason, told: told(reason) };
        let found = self.carrier(room.get(..length).unwrap_or_default(), moment, out).map_err(refused);
        let departure = found.and_then(|slot| {
            let split = Split::new(header, room, length).map_err(|_| refused(Reason::MalformedOutgoing))?;
            match self.mtu_exceeded(slot, room, split.stride()) {
                Some(mtu) => Err(Refused { reason: Reason::TooBig, told: Some(icmp::Error::TooBig { mtu }) }),
                None => Ok(Departure { split, slot }),
            }
        });
        departure.inspect_err(|refused| self.drops.count(refused.reason))
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

    /// Tells the sender of a packet why it was refused, within a rate. The answer goes into `packets`.
    pub fn tell(&mut self, refused: Refused, packet: &[u8], moment: Moment, packets: &mut Batch<Outcome>) {
        if let Some(error) = refused.told
            && let Some(room) = packets.room()
            && self.limits.allow_icmp(error, moment.now)
            && let Some(length) = icmp::answer(error, packet, room)
        {
            packets.commit(length, Outcome::ToTun(LinkSlot(usize::MAX)));
        }
    }

    /// The MTU of a link, if a packet of `length` octets is longer and must stay in one piece.
    fn mtu_exceeded(&self, slot: LinkSlot, packet: &[u8], length: usize) -> Option<u16> {
        let mtu = self.link(slot)?.mtu()?;
        let mtu = mtu.max(inner::least_mtu(packet)?);
        (length > usize::from(mtu)).then_some(mtu)
    }

    fn carrier(&mut self, packet: &[u8], moment: Moment, out: &mut Batch<Hop>) -> Result<LinkSlot, Reason> {
        let inner = inner::parse(packet).ok_or(Reason::MalformedOutgoing)?;
        if self.intercepts && inner::is_link_local(inner.destination) {
            return Err(Reason::LinkLocal);
        }
        let owner = self.owners.owner(inner.destination).ok_or(Reason::NoRoute)?;
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

fn told(reason: Reason) -> Option<icmp::Error> {
    matches!(reason, Reason::NoRoute | Reason::NoLink | Reason::NoEndpoint).then_some(icmp::Error::HostUnreachable)
}
