//! From the network: a datagram becomes a packet for the TUN device, an answer, or a message for the worker.
//!
//! ```text
//!  datagram ─ type, length, counter ─┬─ 1 ────────── the door ─▶ Waits, see handshakes.rs
//!                                    ├─ 2 ─ index ── the door ─▶ Waits
//!                                    ├─ 3 ─ index ─▶ cookie kept: Consumed
//!                                    └─ 4 ─ index ─ open ─ whose source? ─▶ ToTun, ToLocal
//! ```

use crate::tunnel::batch::Batch;
use crate::tunnel::inner::{self, Inner};
use crate::tunnel::wire::{self, Message};
use crate::tunnel::{Hop, Link, LinkSlot, Moment, Path, Reason, Shard, SocketSlot, tos};

/// Where something that arrived goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A packet of this link for the TUN device was put into the batch of packets.
    ToTun(LinkSlot),
    /// A handshake message waits for [`Shard::handshake`].
    Waits,
    /// A packet of this link for the worker itself was put into the batch of packets.
    ToLocal(LinkSlot),
    /// Nothing more to do: a keepalive, a cookie.
    Consumed,
}

/// What arrives, and by which way.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The socket that received it.
    pub socket: SocketSlot,
    /// Who sent it, and to which of our addresses.
    pub via: Path,
    /// Its type of service or traffic class: DSCP and ECN.
    pub tos: u8,
    /// The datagram.
    pub datagram: &'a [u8],
}

impl Shard {
    /// Takes a datagram. Packets go into `packets`, which must have room, datagrams into `out`.
    ///
    /// # Errors
    /// [`Reason`] by cause, which is counted.
    pub fn ingress(
        &mut self,
        arrival: Arrival<'_>,
        moment: Moment,
        packets: &mut Batch<Outcome>,
        out: &mut Batch<Hop>,
    ) -> Result<Outcome, Reason> {
        let outcome = match wire::classify(arrival.datagram) {
            Ok(Message::Initiation) => self.knock(arrival, moment, out),
            Ok(Message::Response { receiver }) => {
                self.receiver(receiver, arrival.socket).and_then(|_| self.knock(arrival, moment, out))
            }
            Ok(Message::Cookie { receiver }) => self.cookie(receiver, arrival, moment, out),
            Ok(Message::Data { receiver, .. }) => self.data(receiver, arrival, moment, (packets, out)),
            Err(reason) => Err(reason),
        };
        outcome.inspect_err(|reason| self.drops.count(*reason))
    }

    fn cookie(
        &mut self,
        receiver: u32,
        arrival: Arrival<'_>,
        moment: Moment,
        out: &mut Batch<Hop>,
    ) -> Result<Outcome, Reason> {
        let slot = self.receiver(receiver, arrival.socket)?;
        self.consume(slot, arrival, moment, out)?;
        Ok(Outcome::Consumed)
    }

    fn data(
        &mut self,
        receiver: u32,
        arrival: Arrival<'_>,
        moment: Moment,
        (packets, out): (&mut Batch<Outcome>, &mut Batch<Hop>),
    ) -> Result<Outcome, Reason> {
        let slot = self.receiver(receiver, arrival.socket)?;
        let room = packets.room().ok_or(Reason::TunBlocked)?;
        let opened = self
            .with_link(slot, moment, out, |link, turn| link.open(arrival.via, arrival.datagram, room, turn))
            .ok_or(Reason::UnknownReceiver)??;
        let Some(length) = opened else { return Ok(Outcome::Consumed) };
        let inner = room.get(..length).and_then(inner::parse).ok_or(Reason::MalformedPacket)?;
        let outcome = self.judge(slot, &inner)?;
        tos::decapsulate(room, arrival.tos)?;
        packets.commit(inner.length, outcome);
        Ok(outcome)
    }

    /// Whether the link may speak for the packet's source, and for whom the packet is.
    fn judge(&mut self, slot: LinkSlot, inner: &Inner) -> Result<Outcome, Reason> {
        if self.intercepts && inner::is_link_local(inner.destination) {
            // Both ends of a link have such addresses, and no route leads to them.
            return inner::is_link_local(inner.source).then_some(Outcome::ToLocal(slot)).ok_or(Reason::ForeignSource);
        }
        let owner = self.owners.owner(inner.source).ok_or(Reason::ForeignSource)?;
        let site = self.sites.get(owner.0).ok_or(Reason::ForeignSource)?;
        site.senders.contains(&slot).then_some(Outcome::ToTun(slot)).ok_or(Reason::ForeignSource)
    }

    /// The link that a receiver index of this socket leads to.
    pub(super) fn receiver(&self, receiver: u32, socket: SocketSlot) -> Result<LinkSlot, Reason> {
        let slot = self.find(receiver).ok_or(Reason::UnknownReceiver)?;
        let ours = self.link(slot).map(Link::socket) == Some(socket);
        ours.then_some(slot).ok_or(Reason::UnknownReceiver)
    }
}
