//! Between workers: what one of them gets and another one owns.
//!
//! ```text
//!  from the TUN device    read by worker 0   ─ destination → site → owner ─▶ backlog of the owner
//!  initiations            at the last worker ─ admitted, sender found ─────▶ queue of handshakes at the owner
//!  other datagrams        steered by the kernel, but in a run of the wrong worker ─▶ opened at the owner
//!  to the TUN device      written by each worker: writes do not depend on each other
//! ```
//!
//! So whatever belongs to one site passes through one thread in the order in which it was read: one reader, one ring, one
//! owner. The test `every_fat_flow_stays_in_order_while_all_workers_are_busy` in `tests/dataplane/workers.rs` holds that.
//!
//! **Why one reads for all:** a device with several queues sends a flow to the queue into which its other direction was
//! written last (`tun_automq_select_queue` in `drivers/net/tun.c`). So a flow changes queues as soon as an answer comes by
//! another worker, also while packets of it still wait in the former queue: the test
//! `a_flow_changes_queues_while_packets_of_it_wait` in `tests/sys/tun.rs` shows both halves of a flow waiting in two queues
//! at once, and that nothing tells which came first. Two readers would reorder such a flow, and would have to hand its
//! packets over to their site's worker all the same.
//!
//! The price: worker 0 reads for all, without opening or sealing for them, so it feeds a handful of others.

use std::time::Instant;

use super::{Worker, moment};
use crate::dataplane::Handed;
use crate::dataplane::exchange::{Datagram, Exchange};
use crate::tunnel::{Arrival, Foreign, Handshake, Moment, Reason};

/// Packets of others to take per turn, and datagrams.
const TURN: usize = 64;

impl Worker {
    /// What was handed over so far.
    pub(in crate::dataplane) fn handed(&self) -> Handed {
        self.exchange.as_ref().map(|exchange| exchange.handed()).unwrap_or_default()
    }

    /// Hands over the packet in the backlog's room, if another worker owns it; whether that is so.
    pub(super) fn hand_over_packet(&mut self, length: usize) -> bool {
        let Some(exchange) = &mut self.exchange else { return false };
        let Some(owner) = self.shard.owner_elsewhere(self.backlog.written(length)) else { return false };
        let buffer = self.backlog.replace(exchange.empty());
        if !exchange.hand_packet(owner, length, buffer) {
            self.shard.count(Reason::WorkerBusy, 1);
        }
        true
    }

    /// Hands over a datagram, if another worker has its session; whether that is so.
    pub(super) fn hand_over_datagram(&mut self, arrival: Arrival<'_>) -> bool {
        let Some(exchange) = &mut self.exchange else { return false };
        let Some(owner) = exchange.owner(arrival.datagram) else { return false };
        if !exchange.hand_datagram(owner, arrival, None) {
            self.shard.count(Reason::WorkerBusy, 1);
        }
        true
    }

    /// Hands over an initiation that was admitted. Where its owner lags behind, no more are admitted without proof.
    pub(super) fn hand_over_initiation(&mut self, peer: Foreign, message: &Handshake, now: Instant) {
        let Some(exchange) = &mut self.exchange else { return };
        let handed = exchange.hand_datagram(peer.worker, message.arrival(), Some(peer));
        if !handed {
            self.shard.count(Reason::WorkerBusy, 1);
        }
        if !handed || exchange.lags(peer.worker) {
            self.shard.lags_elsewhere(now);
        }
    }

    /// Tells the others whether this worker lags behind with handshakes.
    pub(super) fn tell_lag(&self) {
        if let Some(exchange) = &self.exchange {
            exchange.tell_lag(self.shard.lags());
        }
    }

    /// Wakes those who were handed something.
    pub(super) fn ring(&mut self) {
        if let Some(exchange) = &mut self.exchange {
            exchange.ring();
        }
    }

    /// Before sleeping: whether there is something to do after all.
    pub(super) fn doze(&mut self) -> bool {
        if let Some(exchange) = &self.exchange {
            exchange.doze();
        }
        self.collect()
    }

    /// After sleeping.
    pub(super) fn wake_up(&self) {
        if let Some(exchange) = &self.exchange {
            exchange.wake();
        }
    }

    /// Takes what others have handed over, up to a fair share; whether there was something.
    pub(super) fn collect(&mut self) -> bool {
        if self.exchange.is_none() {
            return false;
        }
        let packets = self.collect_packets();
        let datagrams = self.collect_datagrams();
        if datagrams {
            self.write_tun();
        }
        packets || datagrams
    }

    fn collect_packets(&mut self) -> bool {
        let mut now = None;
        for _ in 0..TURN {
            // A socket that takes no more keeps its packets in the ring, and then they are dropped there.
            let Some(exchange) = self.exchange.as_mut().filter(|_| self.blocked.is_none()) else { break };
            let Some(packet) = exchange.next_packet() else { break };
            let empty = self.backlog.replace(packet.buffer);
            exchange.give_back(packet.from, empty);
            let dropped = self.backlog.push(packet.length, *now.get_or_insert_with(Instant::now));
            self.shard.count(Reason::Overload, dropped);
            self.moved = true;
        }
        now.is_some()
    }

    fn collect_datagrams(&mut self) -> bool {
        let mut now = None;
        for _ in 0..TURN {
            let Some(datagram) = self.exchange.as_mut().and_then(Exchange::next_datagram) else { break };
            self.take_datagram(&datagram, *now.get_or_insert_with(moment));
            if let Some(exchange) = &mut self.exchange {
                exchange.give_back(datagram.from, datagram.buffer);
            }
        }
        now.is_some()
    }

    fn take_datagram(&mut self, handed: &Datagram, moment: Moment) {
        let datagram = handed.buffer.octets(handed.length);
        let arrival = Arrival { socket: handed.socket, via: handed.via, tos: handed.tos, datagram };
        let outcome = match handed.link {
            None => self.shard.ingress(arrival, moment, &mut self.packets, &mut self.out),
            Some(link) => match self.slot_of(link) {
                Some(slot) => self.shard.take_admitted(slot, arrival, moment.now),
                // It was removed in the meantime.
                None => return self.shard.count(Reason::UnknownPeer, 1),
            },
        };
        self.make_room(outcome);
    }
}
