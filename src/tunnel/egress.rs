//! From the TUN device: a packet finds its site, its link, its session.

use crate::tunnel::batch::Batch;
use crate::tunnel::icmp::{self, Error};
use crate::tunnel::{Hop, Link, LinkSlot, Moment, Outcome, Priority, Reason, Shard, inner};

impl Shard {
    /// Sends the packet in the first `length` octets of `room`, behind which it is padded: on the first link of its
    /// site that lives. When none does, it waits on the first whose peer's address is known, and all of them try.
    ///
    /// # Errors
    /// [`Reason`] by cause, which is counted.
    pub fn egress(
        &mut self,
        (room, length): (&mut [u8], usize),
        moment: Moment,
        out: &mut Batch<Hop>,
    ) -> Result<(), Reason> {
        let slot = self.carrier(room.get(..length).unwrap_or_default(), moment, out);
        match slot {
            Ok(slot) => self.send_on(slot, (room, length), Priority::Data, moment, out),
            Err(reason) => {
                self.drops.count(reason);
                Err(reason)
            }
        }
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
