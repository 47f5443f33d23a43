//! From the network to the TUN device: receive trains, open, put together, write.
//!
//! What its sender had in one piece may come in two trains, of which the second is a moment behind: before packets that
//! came in a train are written, it is seen whether there is more.

use std::io::IoSlice;

use nix::errno::Errno;

use super::standing::Wait;
use super::{BURST, Worker, moment};
use crate::dataplane::End;
use crate::dataplane::offload::Offload;
use crate::net::Family;
use crate::sys::tun::Tun;
use crate::sys::udp::{BATCH, Incoming, Intake};
use crate::tunnel::segment::{Group, Gso, MOST_MEMBERS, VnetHeader};
use crate::tunnel::{Arrival, Batch, Moment, Outcome, Path, Reason, Shard, SocketSlot, tos};

/// Octets to receive by one call, and to write at once: what one turn works on stays in the processor's cache.
const HELPING: usize = 128 * 1024;

impl Worker {
    /// Receives what has come by a socket, up to a fair share. A datagram that comes after others did not is looked for
    /// alone: it goes on the sooner.
    pub(super) fn read_network(&mut self, slot: SocketSlot, family: Family) {
        let Some(mut intake) = self.intake.take() else { return };
        let mut trains = true;
        let mut most = if self.round == self.received_in + 1 { self.appetite } else { 1 };
        self.received_in = self.round;
        while trains
            && self.packets.used() < HELPING
            && let Some(socket) = self.sockets.get(slot)
            // An error is one of an earlier datagram, by ICMP; it is reported once.
            && let Ok(number) = socket.receive(family, &mut intake, most)
        {
            let octets;
            (octets, trains) = self.take_in(slot, &intake, number == most);
            self.appetite = appetite(self.appetite, number, octets);
            most = self.appetite;
        }
        self.intake = Some(intake);
        self.ring();
        self.write_tun();
    }

    /// Takes what was received, behind which there may be `more`. How many octets came, and whether there was a train.
    fn take_in(&mut self, socket: SocketSlot, intake: &Intake, more: bool) -> (usize, bool) {
        let moment = moment();
        let (mut octets, mut trains) = (0, false);
        let mut all = intake.iter().peekable();
        while let Some(incoming) = all.next() {
            octets += incoming.octets.len();
            trains |= incoming.is_train();
            let congested = self.waited_too_long(socket, &incoming, more || all.peek().is_some(), moment);
            self.take_train(socket, &incoming, congested, moment);
            if self.out.used() >= BURST {
                self.flush();
            }
        }
        (octets, trains)
    }

    /// Takes a datagram, or a run of them, of which the first is to be `congested`.
    fn take_train(&mut self, socket: SocketSlot, incoming: &Incoming<'_>, mut congested: bool, moment: Moment) {
        let via = Path { to: incoming.from, source: incoming.local };
        for datagram in incoming.datagrams() {
            // Opening it makes of this what a router's mark would have come to.
            let tos = if std::mem::take(&mut congested) { incoming.tos | tos::CE } else { incoming.tos };
            let arrival = Arrival { socket, via, tos, datagram };
            if self.exchange.is_some() && self.hand_over_datagram(arrival) {
                continue;
            }
            let outcome = self.shard.ingress(arrival, moment, &mut self.packets, &mut self.out);
            self.make_room(outcome);
        }
    }

    /// Makes room for the next datagram's packet and answers, after what came of the last one.
    pub(super) fn make_room(&mut self, outcome: Result<Outcome, Reason>) {
        // What is dropped was counted.
        if outcome.is_err() {
            return;
        }
        if !self.packets.has_room() {
            self.write_tun();
        }
        if !self.out.has_room() {
            self.flush();
        }
    }

    /// Whether trains have waited to be received for too long, so that this one is to tell its sender. Only trains are
    /// asked: bulk comes in them, and who sends a packet now and then is not to suffer for it.
    fn waited_too_long(&mut self, socket: SocketSlot, train: &Incoming<'_>, more: bool, moment: Moment) -> bool {
        let Some(received) = train.received.filter(|_| train.is_train()) else { return false };
        // By the clock of the time of day, as the kernel notes it: when that is set, some seem to have waited long.
        let sojourn = moment.wall.duration_since(received).unwrap_or_default();
        let wait = Wait { socket, family: Family::of(train.from.ip()), sojourn, more };
        self.standing.signals(wait, moment.now)
    }

    /// Writes what is for the TUN device, packets of one flow as one where it takes that.
    pub(super) fn write_tun(&mut self) {
        match self.packets.entry(0) {
            None => return,
            Some((outcome, packet)) if self.packets.len() == 1 && is_for_tun(outcome) => {
                if let Err(errno) = self.tun.write(&VnetHeader::NONE.octets(), &[IoSlice::new(packet)]) {
                    lost(errno, 1, &mut self.shard, &mut self.end);
                }
                return self.packets.clear();
            }
            Some(_) => {}
        }
        self.moved = true;
        let for_tun = |(position, (outcome, packet))| is_for_tun(outcome).then_some((position, packet));
        self.coalescer.arrange(self.packets.iter().enumerate().filter_map(for_tun));
        let unclaimed = self.packets.iter().filter(|(outcome, _)| !is_for_tun(outcome)).count();
        self.shard.count(Reason::Unclaimed, u64::try_from(unclaimed).unwrap_or(0));
        for group in self.coalescer.groups() {
            let Err(errno) = write_group(&self.tun, &self.packets, &group) else { continue };
            if errno == Errno::EINVAL && group.count() > 1 {
                // Some kernels take no superpackets of a kind: they say so when one comes.
                let offload = kind(&group);
                if self.offloads.refuse(offload) {
                    tracing::warn!(offload = offload.label(), "the TUN device refused this offload: done without now");
                }
                write_apart(&self.tun, &self.packets, &group, &mut self.shard);
                continue;
            }
            lost(errno, group.count(), &mut self.shard, &mut self.end);
        }
        self.coalescer.set_kinds(self.offloads.is_on(Offload::TunTcpGro), self.offloads.is_on(Offload::TunUdpGro));
        self.packets.clear();
    }
}

/// How many datagrams or trains to receive next, after `number` with so many `octets`: a helping of their length. It
/// doubles at most, since what comes next may be longer: 64 trains would be 10 ms of work.
fn appetite(former: usize, number: usize, octets: usize) -> usize {
    (HELPING * number / octets.max(1)).min(2 * former).clamp(2, BATCH)
}

fn write_group(tun: &Tun, packets: &Batch<Outcome>, group: &Group<'_>) -> Result<(), Errno> {
    let mut parts = [IoSlice::new(&[]); 1 + MOST_MEMBERS];
    parts[0] = IoSlice::new(group.superheader());
    let members = group.members().filter_map(|position| packets.entry(position));
    for (part, (_, packet)) in parts[1..].iter_mut().zip(members) {
        *part = IoSlice::new(packet.get(group.offset()..).unwrap_or_default());
    }
    tun.write(&group.header().octets(), &parts[..=group.count()])
}

/// Writes the packets of a group one by one.
fn write_apart(tun: &Tun, packets: &Batch<Outcome>, group: &Group<'_>, shard: &mut Shard) {
    for (_, packet) in group.members().filter_map(|position| packets.entry(position)) {
        if let Err(errno) = tun.write(&VnetHeader::NONE.octets(), &[IoSlice::new(packet)]) {
            shard.count(refusal(errno), 1);
        }
    }
}

/// The offload to which a group of several is due.
fn kind(group: &Group<'_>) -> Offload {
    match group.header().gso() {
        Some(Gso::Udp) => Offload::TunUdpGro,
        Some(Gso::Tcp4 | Gso::Tcp6 | Gso::None) | None => Offload::TunTcpGro,
    }
}

/// The device did not take packets.
fn lost(errno: Errno, packets: usize, shard: &mut Shard, end: &mut Option<End>) {
    if errno == Errno::EBADFD {
        *end = Some(End::DeviceGone);
    }
    shard.count(refusal(errno), u64::try_from(packets).unwrap_or(0));
}

fn refusal(errno: Errno) -> Reason {
    if errno == Errno::EAGAIN { Reason::TunBlocked } else { Reason::TunRefused }
}

fn is_for_tun(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::ToTun(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_datagrams_raise_the_appetite_step_by_step_and_trains_end_it_at_once() {
        let mut former = 2;
        let mut after = |number, octets| {
            former = appetite(former, number, octets);
            former
        };
        assert_eq!([after(1, 128), after(4, 512), after(8, 1024)], [4, 8, 16]);
        assert_eq!([after(16, 2048), after(32, 4096), after(64, 8192)], [32, 64, 64]);
        assert_eq!(after(64, 64 * 65_000), 2);
        assert_eq!(after(0, 0), 2);
    }
}
