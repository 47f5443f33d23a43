//! From the network to the TUN device: receive trains, open, put together, write.

use std::io::IoSlice;

use nix::errno::Errno;

use super::{BURST, Worker, moment};
use crate::dataplane::End;
use crate::dataplane::offload::Offload;
use crate::net::Family;
use crate::sys::tun::Tun;
use crate::sys::udp::{BATCH, Incoming, Intake};
use crate::tunnel::segment::{Group, Gso, MOST_MEMBERS, VnetHeader};
use crate::tunnel::{Arrival, Batch, Moment, Outcome, Path, Reason, Shard, SocketSlot};

/// Octets to receive by one call: what one turn works on stays in the processor's cache.
const HELPING: usize = 128 * 1024;

impl Worker {
    /// Receives what has come by a socket, up to a fair share.
    pub(super) fn read_network(&mut self, slot: SocketSlot, family: Family) {
        let (Some(socket), Some(mut intake)) = (self.sockets.get(slot), self.intake.take()) else { return };
        // An error is one of an earlier datagram, by ICMP; it is reported once.
        if let Ok(number) = socket.receive(family, &mut intake, self.appetite) {
            self.take_in(slot, &intake);
            let octets = intake.iter().map(|incoming| incoming.octets.len()).sum::<usize>();
            self.appetite = (HELPING * number / octets.max(1)).clamp(2, BATCH);
        }
        self.intake = Some(intake);
        self.write_tun();
    }

    fn take_in(&mut self, socket: SocketSlot, intake: &Intake) {
        let moment = moment();
        for incoming in intake.iter() {
            self.take_train(socket, &incoming, moment);
            if self.packets.used() >= BURST {
                self.write_tun();
            }
            if self.out.used() >= BURST {
                self.flush();
            }
        }
    }

    fn take_train(&mut self, socket: SocketSlot, incoming: &Incoming<'_>, moment: Moment) {
        let via = Path { to: incoming.from, source: incoming.local };
        for datagram in incoming.datagrams() {
            let arrival = Arrival { socket, via, tos: incoming.tos, datagram };
            // What is dropped was counted.
            if self.shard.ingress(arrival, moment, &mut self.packets, &mut self.out).is_err() {
                continue;
            }
            if !self.packets.has_room() {
                self.write_tun();
            }
            if !self.out.has_room() {
                self.flush();
            }
        }
    }

    /// Writes what is for the TUN device, packets of one flow as one where it takes that.
    pub(super) fn write_tun(&mut self) {
        if self.packets.is_empty() {
            return;
        }
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
            if errno == Errno::EBADFD {
                self.end = Some(End::DeviceGone);
            }
            self.shard.count(refusal(errno), u64::try_from(group.count()).unwrap_or(0));
        }
        self.coalescer.set_kinds(self.offloads.is_on(Offload::TunTcpGro), self.offloads.is_on(Offload::TunUdpGro));
        self.packets.clear();
    }
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

fn refusal(errno: Errno) -> Reason {
    if errno == Errno::EAGAIN { Reason::TunBlocked } else { Reason::TunRefused }
}

fn is_for_tun(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::ToTun(_))
}
