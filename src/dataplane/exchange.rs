//! What workers hand over to each other, without locks, allocation or copies of packets.
//!
//! ```text
//!  worker 0                                                     worker 2
//!  TUN ─▶ buffer ─ packets, up to 128 and 4 MiB ─────────────▶ backlog
//!       stock ◀─── empties ─────────────────────────────────── the buffer whose place it took
//!  socket ─ datagrams, up to 64 ──▶ …
//!  at the end of a turn: bell, if worker 2 sleeps
//! ```
//!
//! Every worker can hand over datagrams to every other; packets come from the one that reads the TUN device. The last
//! worker is the door: all initiations pass through it, see `sys/udp/steer.rs`. The rings are bounded: what does not fit
//! is dropped and counted. A packet's ring is separate from that of datagrams, which strangers can fill.
//!
//! The rings are the channels of the standard library: bounded arrays, all made at the start. Neither side of ours ever
//! waits in one, so none of their operations locks or wakes anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use nix::sys::eventfd::EventFd;

use crate::dataplane::Handed;
use crate::tunnel::wire::{self, Bearing};
use crate::tunnel::{Arrival, Buffer, Foreign, Path, SocketSlot};

/// Packets that wait for one worker at most.
const PACKETS: usize = 128;
/// Octets of them: what the reader brings while the owner waits some milliseconds for a processor; whoever loses 64 KiB
/// at once recovers badly. Whatever waits longer, waits in the owner's backlog, which is fair.
const OCTETS: usize = 4 << 20;
/// Datagrams that wait for one worker at most: as many as one receives by one call.
const DATAGRAMS: usize = 64;

/// A packet or superpacket from the TUN device.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) length: usize,
    pub(super) buffer: Buffer,
    pub(super) from: u8,
}

/// A datagram that came to another worker than its owner.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) socket: SocketSlot,
    pub(super) via: Path,
    pub(super) tos: u8,
    pub(super) length: usize,
    pub(super) buffer: Buffer,
    /// Of an initiation that was admitted: whose it is.
    pub(super) link: Option<u32>,
    pub(super) from: u8,
}

/// One worker's ends of the rings.
#[derive(Debug)]
pub(super) struct Exchange {
    number: u8,
    packets: Receiver<Packet>,
    datagrams: Receiver<Datagram>,
    empties: Receiver<Buffer>,
    /// Where things for each worker go in.
    desks: Vec<Desk>,
    /// Buffers that came back, the last used last.
    stock: Vec<Buffer>,
    /// Who was handed something and has not been woken for it.
    unaware: Vec<bool>,
    handed: Handed,
}

#[derive(Clone, Debug)]
struct Desk {
    packets: SyncSender<Packet>,
    datagrams: SyncSender<Datagram>,
    empties: SyncSender<Buffer>,
    bell: Arc<Bell>,
}

#[derive(Debug)]
struct Bell {
    asleep: AtomicBool,
    /// Of the packets that wait.
    octets: AtomicUsize,
    /// Whether its worker lags behind with handshakes.
    lags: AtomicBool,
    wake: Arc<EventFd>,
}

/// The ends for workers that are woken by `wakes`; none for one alone.
pub(super) fn between(wakes: &[Arc<EventFd>]) -> Vec<Option<Exchange>> {
    let Some(others) = wakes.len().checked_sub(1).filter(|others| *others > 0) else { return vec![None] };
    let mut ends = Vec::new();
    let mut desks = Vec::new();
    for wake in wakes {
        let (packets, packets_out) = sync_channel(PACKETS);
        let (datagrams, datagrams_out) = sync_channel(DATAGRAMS);
        // So many of one worker's buffers can be on their way, and one in each other's hands.
        let (empties, empties_out) = sync_channel(others * (PACKETS + DATAGRAMS + 1));
        let bell = Bell { asleep: false.into(), octets: 0.into(), lags: false.into(), wake: Arc::clone(wake) };
        desks.push(Desk { packets, datagrams, empties, bell: Arc::new(bell) });
        ends.push((packets_out, datagrams_out, empties_out));
    }
    let made = (0..).zip(ends).map(|(number, (packets, datagrams, empties))| {
        let (stock, unaware) = (Vec::new(), vec![false; wakes.len()]);
        Some(Exchange {
            number,
            packets,
            datagrams,
            empties,
            desks: desks.clone(),
            stock,
            unaware,
            handed: Handed::default(),
        })
    });
    made.collect()
}

impl Exchange {
    /// What was handed over so far.
    pub(super) fn handed(&self) -> Handed {
        self.handed
    }

    /// The other worker to whom a datagram belongs, by its receiver index or as an initiation; `None` if it is for this
    /// one, or for nobody.
    pub(super) fn owner(&self, datagram: &[u8]) -> Option<u8> {
        let worker = match wire::bearing(datagram)? {
            Bearing::Session(worker) => worker,
            Bearing::Door => u8::try_from(self.desks.len() - 1).ok()?,
        };
        (worker != self.number && usize::from(worker) < self.desks.len()).then_some(worker)
    }

    /// An empty buffer.
    pub(super) fn empty(&mut self) -> Buffer {
        self.stock.pop().or_else(|| self.empties.try_recv().ok()).unwrap_or_default()
    }

    /// Hands over a packet; whether there was room for it.
    pub(super) fn hand_packet(&mut self, to: u8, length: usize, buffer: Buffer) -> bool {
        let packet = Packet { length, buffer, from: self.number };
        let Some(desk) = self.desks.get(usize::from(to)) else { return false };
        if desk.bell.octets.fetch_add(length, Ordering::Relaxed) > OCTETS {
            desk.bell.octets.fetch_sub(length, Ordering::Relaxed);
            self.stock.push(packet.buffer);
            return false;
        }
        if let Err(error) = desk.packets.try_send(packet) {
            desk.bell.octets.fetch_sub(length, Ordering::Relaxed);
            self.stock.push(unsent(error).buffer);
            return false;
        }
        self.handed.packets += 1;
        self.unaware[usize::from(to)] = true;
        true
    }

    /// Hands over a copy of a datagram; whether there was room for it.
    pub(super) fn hand_datagram(&mut self, to: u8, arrival: Arrival<'_>, whose: Option<Foreign>) -> bool {
        let mut buffer = self.empty();
        let length = arrival.datagram.len();
        let Some(room) = buffer.packet().get_mut(..length) else { return false };
        room.copy_from_slice(arrival.datagram);
        let Arrival { socket, via, tos, .. } = arrival;
        let link = whose.map(|foreign| foreign.link);
        let datagram = Datagram { socket, via, tos, length, buffer, link, from: self.number };
        let Some(desk) = self.desks.get(usize::from(to)) else { return false };
        if let Err(error) = desk.datagrams.try_send(datagram) {
            self.stock.push(unsent(error).buffer);
            return false;
        }
        let count = if link.is_some() { &mut self.handed.initiations } else { &mut self.handed.datagrams };
        *count += 1;
        self.unaware[usize::from(to)] = true;
        true
    }

    /// Tells the others whether this worker lags behind with handshakes.
    pub(super) fn tell_lag(&self, lags: bool) {
        let told = &self.desks[usize::from(self.number)].bell.lags;
        // Others read it: it is written only when it changes.
        if told.load(Ordering::Relaxed) != lags {
            told.store(lags, Ordering::Relaxed);
        }
    }

    /// Whether a worker lags behind with handshakes.
    pub(super) fn lags(&self, worker: u8) -> bool {
        self.desks.get(usize::from(worker)).is_some_and(|desk| desk.bell.lags.load(Ordering::Relaxed))
    }

    /// The next packet for this worker. Its buffer, or another in its place, is to be given back.
    pub(super) fn next_packet(&mut self) -> Option<Packet> {
        let packet = self.packets.try_recv().ok()?;
        self.desks[usize::from(self.number)].bell.octets.fetch_sub(packet.length, Ordering::Relaxed);
        Some(packet)
    }

    /// The next datagram for this worker. Its buffer is to be given back.
    pub(super) fn next_datagram(&mut self) -> Option<Datagram> {
        self.datagrams.try_recv().ok()
    }

    /// Gives back a buffer to the worker that handed one over.
    pub(super) fn give_back(&mut self, from: u8, buffer: Buffer) {
        // There is room for all; and when its owner has ended, nobody needs it.
        drop(self.desks.get(usize::from(from)).map(|desk| desk.empties.try_send(buffer)));
    }

    /// Wakes those who sleep and were handed something.
    pub(super) fn ring(&mut self) {
        for (unaware, desk) in self.unaware.iter_mut().zip(&self.desks) {
            if !std::mem::take(unaware) {
                continue;
            }
            // What was handed over is seen by whoever is not seen asleep, see `doze`.
            fence(Ordering::SeqCst);
            if desk.bell.asleep.load(Ordering::Relaxed) && desk.bell.asleep.swap(false, Ordering::Relaxed) {
                // Fails only when it was written 2^64 times; then its worker is awake.
                desk.bell.wake.write(1).map(drop).unwrap_or_default();
            }
        }
    }

    /// Says that this worker is about to sleep: it must look at its rings once more before it does.
    pub(super) fn doze(&self) {
        self.desks[usize::from(self.number)].bell.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Says that this worker is awake, and looks at its rings without being told.
    pub(super) fn wake(&self) {
        self.desks[usize::from(self.number)].bell.asleep.store(false, Ordering::Relaxed);
    }
}

fn unsent<T>(error: std::sync::mpsc::TrySendError<T>) -> T {
    match error {
        std::sync::mpsc::TrySendError::Full(value) | std::sync::mpsc::TrySendError::Disconnected(value) => value,
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;
    use nix::sys::eventfd::EfdFlags;

    use super::*;

    fn exchanges() -> (Exchange, Exchange, Vec<Arc<EventFd>>) {
        let wake = || Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK).expect("a descriptor"));
        let wakes = vec![wake(), wake()];
        let mut ends = between(&wakes).into_iter().map(|end| end.expect("two workers"));
        let (first, second) = (ends.next().expect("one"), ends.next().expect("two"));
        (first, second, wakes)
    }

    /// Hands a packet over whose first octet is its mark.
    fn hand(from: &mut Exchange, mark: u8, length: usize) -> bool {
        let mut buffer = from.empty();
        buffer.packet()[0] = mark;
        from.hand_packet(1, length, buffer)
    }

    #[test]
    fn one_alone_has_nothing_to_exchange() {
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK).expect("a descriptor"));
        assert!(matches!(between(&[wake])[..], [None]));
    }

    #[test]
    fn packets_come_in_order_and_no_more_than_the_ring_holds() {
        let (mut first, mut second, _wakes) = exchanges();
        let handed = (0..200).filter(|mark| hand(&mut first, *mark, 100)).count();
        assert_eq!((handed, first.handed().packets), (PACKETS, 128));
        let came: Vec<u8> =
            std::iter::from_fn(|| second.next_packet()).map(|packet| packet.buffer.octets(1)[0]).collect();
        assert_eq!(came, (0..128).collect::<Vec<u8>>());
        assert!(hand(&mut first, 0, 100), "there is room again");
    }

    #[test]
    fn superpackets_that_wait_are_bounded_by_octets() {
        let (mut first, mut second, _wakes) = exchanges();
        assert_eq!(
            (0..100).filter(|mark| hand(&mut first, *mark, 65_000)).count(),
            65,
            "4 MiB and the one that fills it"
        );
        assert!(second.next_packet().is_some_and(|packet| packet.length == 65_000));
        assert!(hand(&mut first, 0, 65_000), "that one left room");
        assert!(!hand(&mut first, 0, 65_000));
    }

    #[test]
    fn buffers_come_back_to_whom_they_belong() {
        let (mut first, mut second, _wakes) = exchanges();
        assert!(hand(&mut first, 42, 100));
        let packet = second.next_packet().expect("handed over");
        second.give_back(packet.from, packet.buffer);
        assert_eq!(first.empty().octets(1), [42], "the same one");
        assert_eq!(first.empty().octets(1), [0_u8; 0], "a new one, without memory yet");
    }

    #[test]
    fn who_sleeps_is_woken_once_and_who_is_awake_is_not() {
        let (mut first, second, wakes) = exchanges();
        let woken = |first: &mut Exchange| {
            assert!(hand(first, 0, 100));
            first.ring();
            wakes[1].read()
        };
        assert_eq!(woken(&mut first), Err(Errno::EAGAIN), "awake");
        second.doze();
        assert_eq!(woken(&mut first), Ok(1));
        assert_eq!(woken(&mut first), Err(Errno::EAGAIN), "on its way");
        second.doze();
        first.ring();
        assert_eq!(wakes[1].read(), Err(Errno::EAGAIN), "there was nothing new");
        second.wake();
        assert_eq!(woken(&mut first), Err(Errno::EAGAIN));
    }

    #[test]
    fn a_worker_that_lags_behind_is_known_to_the_others() {
        let (first, second, _wakes) = exchanges();
        assert!(!second.lags(0));
        first.tell_lag(true);
        assert_eq!((second.lags(0), second.lags(1)), (true, false));
        first.tell_lag(false);
        assert!(!second.lags(0));
    }

    #[test]
    fn a_datagram_goes_to_the_worker_of_its_session_and_an_initiation_to_the_last() {
        let (first, second, _wakes) = exchanges();
        let message = |kind: u8, worker: u8, length: usize| {
            let mut octets = vec![0; length];
            (octets[0], octets[if kind == 2 { 9 } else { 5 }]) = (kind, worker);
            octets
        };
        let owners = |message: &[u8]| (first.owner(message), second.owner(message));
        for (kind, length) in [(2, 92), (3, 64), (4, 32), (4, 1452)] {
            assert_eq!(owners(&message(kind, 0, length)), (None, Some(0)));
            assert_eq!(owners(&message(kind, 1, length)), (Some(1), None));
            assert_eq!(owners(&message(kind, 2, length)), (None, None), "there is no such worker");
        }
        assert_eq!(owners(&message(1, 0, 148)), (Some(1), None));
        assert_eq!(owners(&message(1, 0, 147)), (None, None), "no message at all");
    }
}
