//! From the TUN device to the network: read, split, seal, and send in trains.
//!
//! ```text
//!  backlog   [ 47 segments ][ 47 ][ 47 ]         what the kernel makes of 64 KiB of TCP
//!  trains    [ 45 ][ 2 + 43 ][ 4 + 41 ] …        what fits into one datagram's length
//! ```
//!
//! A train that could grow waits for the next packet if one is there already: whoever receives it then has one packet
//! to write instead of two. When nothing waits, all leaves at once.

use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::{BURST, LONGEST_TRAIN, TUN, Worker, moment};
use crate::dataplane::End;
use crate::dataplane::offload::Offload;
use crate::dataplane::sockets::listen;
use crate::sys::udp::{BATCH, Outgoing, SEGMENTS, SendError};
use crate::tunnel::{Batch, Hop, LinkSlot, Moment, Next, Reason, tos};

/// Packets from the TUN device per turn, so that the network gets its turn too.
const PACKETS: usize = 64;
/// Octets of them: more than are sealed in one turn, so that what is too much waits here and not in the device.
const HELPING: usize = 256 * 1024;
/// Octets that no superpacket is shorter than.
const LONE: usize = 2048;

impl Worker {
    /// Reads what the TUN device has, up to a fair share: it waits in the backlog. A packet that comes after others did
    /// not is taken alone: it goes on the sooner.
    pub(super) fn read_tun(&mut self) {
        if self.blocked.is_some() {
            // Not asked for, hence an error: the device alone can have one.
            return self.device_failed(Errno::EIO);
        }
        let moment = moment();
        let mut octets = 0;
        let lone = self.round != self.read_in + 1;
        self.read_in = self.round;
        for _ in 0..PACKETS {
            let length = match self.tun.read(self.backlog.room()) {
                Ok(length) => length,
                Err(Errno::EAGAIN | Errno::EINTR) => break,
                Err(errno) => return self.device_failed(errno),
            };
            octets += length;
            let lone = lone && octets < LONE;
            self.take_packet(length, lone, moment);
            if octets >= HELPING || lone {
                break;
            }
        }
        self.ring();
    }

    /// Takes what was read into the backlog's room: to the worker that it belongs to, or into the backlog, past which a
    /// `lone` packet goes where nothing waits.
    fn take_packet(&mut self, length: usize, lone: bool, moment: Moment) {
        self.moved = true;
        if self.exchange.is_some() && self.hand_over_packet(length) {
            return;
        }
        let passed = if lone { self.backlog.pass(length) } else { None };
        match passed {
            Some(next) => {
                self.carry(&next, moment);
                self.backlog.release(next.buffer);
            }
            None => {
                let dropped = self.backlog.push(length, moment.now);
                self.shard.count(Reason::Overload, dropped);
            }
        }
    }

    /// Seals and sends what waits, as much as makes a burst. Whether more waits and could be sent.
    pub(super) fn serve(&mut self) -> bool {
        let was_blocked = self.blocked.is_some();
        self.collect();
        let moment = moment();
        let held = self.out.used();
        while self.blocked.is_none()
            && self.out.used().saturating_sub(held) < BURST
            && let Some(next) = self.backlog.pop(moment.now)
        {
            self.carry(&next, moment);
            self.backlog.release(next.buffer);
            if !self.packets.has_room() {
                self.write_tun();
            }
        }
        self.write_tun();
        let more = !self.backlog.is_empty();
        self.send_out(more);
        // While it was blocked, others may have handed over packets that were not taken.
        self.blocked.is_none() && (was_blocked || more)
    }

    /// Takes a packet or superpacket to where it belongs.
    fn carry(&mut self, next: &Next, moment: Moment) {
        let room = self.backlog.buffer(next.buffer);
        let marked = next.signal && tos::decapsulate(&mut room[..next.length], tos::CE).is_ok();
        let departure = self.shard.depart(&next.header, (&mut *room, next.length), moment, &mut self.out);
        let mut departure = match departure {
            Ok(departure) => departure,
            Err(refused) => return self.shard.tell(refused, &room[..next.length], moment, &mut self.packets),
        };
        if next.signal && !marked {
            self.shard.shed(&mut departure, room);
        }
        while self.shard.forward(&mut departure, self.backlog.buffer(next.buffer), moment, &mut self.out) {
            self.send_out(true);
            if self.blocked.is_some() {
                return self.shard.abandon(&departure, Reason::SendBlocked);
            }
        }
    }

    /// Sends what is to be sent, as far as the sockets take it.
    pub(super) fn flush(&mut self) {
        self.send_out(false);
    }

    /// Sends what is to be sent, as far as the sockets take it; with `more` to come, all but a last train that may grow.
    fn send_out(&mut self, more: bool) {
        while self.sent < self.out.len() {
            match self.send_run(more) {
                Ok(0) => break,
                Ok(number) => self.sent += number,
                Err(SendError::Full) => return self.block(),
                Err(SendError::Refused(_)) => self.go_apart(),
                Err(SendError::Failed(_)) => self.recover(),
            }
        }
        self.forget_sent();
    }

    /// Sends the next datagrams as far as they go by one socket, with `more` to come without a last train that may grow;
    /// how many went.
    fn send_run(&mut self, more: bool) -> Result<usize, SendError> {
        let Some((first, _)) = self.out.entry(self.sent) else { return Ok(0) };
        let Some(socket) = self.sockets.get(first.socket) else { return Err(SendError::Failed(Errno::ENOTSOCK)) };
        let trains_from = self.trains_from();
        let mut runs = [Run::default(); BATCH];
        let mut at = self.sent;
        let trains = runs.iter_mut().map_while(|run| {
            let (hop, octets) = self.out.entry(at).filter(|(hop, _)| hop.socket == first.socket)?;
            let Train { count, grows } = Train::new(&self.out, at, trains_from);
            if more && grows && at + count == self.out.len() {
                return None;
            }
            let segment = (count > 1).then_some(octets.len()).and_then(|length| u16::try_from(length).ok());
            let octets = self.out.run(at, count).unwrap_or(octets);
            *run = Run { link: hop.link, datagrams: count, octets: octets.len() };
            at += count;
            Some(Outgoing { octets, segment, to: hop.path.to, source: hop.path.source, tos: hop.tos })
        });
        let sent = socket.send(&mut self.sender, trains)?;
        Ok(runs[..sent].iter().map(|run| self.count_sent(*run)).sum())
    }

    /// Counts what the kernel took; how many datagrams that were.
    fn count_sent(&mut self, Run { link, datagrams, octets }: Run) -> usize {
        if let Some(link) = link {
            self.shard.count_sent(link, datagrams, octets);
        }
        datagrams
    }

    /// A train was refused: it goes on in pieces, and if that helps, so do the next ones of its path.
    fn go_apart(&mut self) {
        self.apart = self.sent + Train::new(&self.out, self.sent, self.sent).count;
        let Some(link) = self.out.entry(self.sent).and_then(|(hop, _)| hop.link) else { return };
        if self.send_one(true) {
            self.sent += 1;
            self.shard.keep_apart(link, moment().now);
            tracing::debug!(link = link.0, "a path refused a train: datagrams go one by one there for 10 minutes");
        }
    }

    /// A datagram was refused. Its source address may be ours no more: forgotten, whatever the error was, and tried once
    /// more without it.
    fn recover(&mut self) {
        let Some(&hop) = self.out.entry(self.sent).map(|(hop, _)| hop) else { return };
        if hop.path.source.is_none() || !self.send_one(false) {
            self.shard.count(Reason::SendFailed, 1);
        }
        if let (Some(link), Some(_)) = (hop.link, hop.path.source) {
            self.shard.forget_source(link);
        }
        self.sent += 1;
    }

    /// Sends the next datagram by itself; whether it went.
    fn send_one(&mut self, from_source: bool) -> bool {
        let Some((hop, octets)) = self.out.entry(self.sent) else { return false };
        let source = hop.path.source.filter(|_| from_source);
        let one = Outgoing { octets, segment: None, to: hop.path.to, source, tos: hop.tos };
        let run = Run { link: hop.link, datagrams: 1, octets: octets.len() };
        let went = self.sockets.get(hop.socket).is_some_and(|socket| socket.send(&mut self.sender, [one]).is_ok());
        if went {
            self.count_sent(run);
        }
        went
    }

    /// A socket takes no more: wait for it, and read no packets meanwhile, so that the kernel's queue drops them.
    fn block(&mut self) {
        let Some((hop, _)) = self.out.entry(self.sent) else { return };
        let slot = hop.socket;
        if self.blocked.replace(slot) != Some(slot) {
            self.watch_tun(false);
            if let Some(socket) = self.sockets.get(slot) {
                listen(&self.epoll, slot, socket, true);
            }
        }
    }

    fn unblock(&mut self) {
        if let Some(slot) = self.blocked.take() {
            self.watch_tun(true);
            if let Some(socket) = self.sockets.get(slot) {
                listen(&self.epoll, slot, socket, false);
            }
        }
    }

    /// Drops what could not be sent: its socket may be gone in a moment.
    pub(super) fn give_up(&mut self) {
        let rest = self.out.len() - self.sent;
        self.shard.count(Reason::SendBlocked, u64::try_from(rest).unwrap_or(0));
        self.sent = self.out.len();
        self.forget_sent();
    }

    fn forget_sent(&mut self) {
        self.out.forget(self.sent);
        self.apart = self.apart.saturating_sub(self.sent);
        self.sent = 0;
        self.unblock();
    }

    /// From where on trains are made.
    fn trains_from(&self) -> usize {
        if self.offloads.is_on(Offload::UdpGso) { self.apart } else { usize::MAX }
    }

    fn watch_tun(&mut self, readable: bool) {
        if self.shard.worker() != 0 {
            return;
        }
        let flags = if readable { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
        if let Err(errno) = self.epoll.modify(&*self.tun, &mut EpollEvent::new(flags, TUN)) {
            self.end = Some(End::Failed(format!("epoll_ctl: {errno}")));
        }
    }
}

/// What leaves as one, to be counted.
#[derive(Clone, Copy, Default)]
struct Run {
    link: Option<LinkSlot>,
    datagrams: usize,
    octets: usize,
}

/// Datagrams that leave as one.
struct Train {
    count: usize,
    /// Whether it would take another one.
    grows: bool,
}

impl Train {
    const ONE: Self = Self { count: 1, grows: false };

    /// From `first` on: one hop, one length but for the last, which may be shorter. Of one datagram before `from`.
    fn new(out: &Batch<Hop>, first: usize, from: usize) -> Self {
        let entry = out.entry(first).filter(|(hop, _)| hop.train && first >= from);
        let Some((hop, octets)) = entry else { return Self::ONE };
        let (stride, mut total) = (octets.len(), octets.len());
        let mut count = 1;
        while count < SEGMENTS
            && let Some((next, octets)) = out.entry(first + count)
            && next == hop
            && octets.len() <= stride
            && total + octets.len() <= LONGEST_TRAIN
        {
            count += 1;
            total += octets.len();
            if octets.len() < stride {
                return Self { count, grows: false };
            }
        }
        Self { count, grows: count < SEGMENTS && total + stride <= LONGEST_TRAIN }
    }
}
