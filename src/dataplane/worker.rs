//! The worker: a thread that runs packets to completion between the TUN device and the sockets.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;

use crate::dataplane::apply::State;
use crate::dataplane::sockets::{Sockets, listen, of_token};
use crate::dataplane::{Command, End, Options};
use crate::net::Family;
use crate::sys::tun::{HEADER, Tun};
use crate::sys::udp::{BATCH, Intake, Outgoing, SendError, Sender};
use crate::tunnel::batch::LARGEST;
use crate::tunnel::{Arrival, Batch, Hop, Moment, Outcome, Path, Reason, Shard, SocketSlot};

/// How often every peer's clock goes on: at least each 250 ms.
const TICK: Duration = Duration::from_millis(200);
/// How often the device is asked for its MTU.
const MTU_EVERY: Duration = Duration::from_secs(1);
/// Packets from the TUN device per turn, so that the network gets its turn too.
const PACKETS: usize = 64;
/// Epoll tokens.
const WAKE: u64 = 0;
const TUN: u64 = 1;

pub(super) struct Worker {
    tun: Tun,
    wake: Arc<EventFd>,
    commands: Receiver<Command>,
    pub(super) epoll: Epoll,
    pub(super) sockets: Sockets,
    pub(super) state: State,
    pub(super) shard: Shard,
    /// Datagrams to send.
    pub(super) out: Batch<Hop>,
    sender: Sender,
    /// How many of them have been sent.
    sent: usize,
    /// The socket that takes no more for now: until it does, nothing is read from the TUN device.
    blocked: Option<SocketSlot>,
    packets: Batch<Outcome>,
    /// `None` only while it is read.
    intake: Option<Box<Intake>>,
    /// Where a packet from the TUN device is read, with room for padding.
    room: Box<[u8]>,
    mtu_asked: Option<Instant>,
    end: Option<End>,
}

impl Worker {
    pub(super) fn new(
        tun: Tun,
        wake: Arc<EventFd>,
        commands: Receiver<Command>,
        options: Options,
    ) -> Result<Self, Errno> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|_| Errno::EAGAIN)?;
        let mut shard = Shard::new(0, u64::from_ne_bytes(seed), options.intercept_link_local, moment());
        shard.set_mtu(options.mtu.into());
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        epoll.add(&tun, EpollEvent::new(EpollFlags::EPOLLIN, TUN))?;
        Ok(Self {
            tun,
            wake,
            commands,
            epoll,
            sockets: Sockets::default(),
            state: State::default(),
            shard,
            out: Batch::new(16),
            sender: Sender::default(),
            sent: 0,
            blocked: None,
            packets: Batch::new(16),
            intake: Some(Box::default()),
            room: vec![0; LARGEST + 16].into_boxed_slice(),
            mtu_asked: None,
            end: None,
        })
    }

    /// Runs until it is stopped or the device is gone.
    pub(super) fn run(mut self) -> End {
        let mut due = Instant::now();
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let now = Instant::now();
            if now >= due {
                self.tick();
                due = now + TICK;
            }
            match self.epoll.wait(&mut events, timeout(due.saturating_duration_since(Instant::now()))) {
                Ok(ready) => events[..ready].iter().for_each(|event| self.handle(*event)),
                Err(Errno::EINTR) => {}
                Err(errno) => self.end = Some(End::Failed(format!("epoll_wait: {errno}"))),
            }
            self.flush();
            if let Some(end) = self.end.take() {
                return end;
            }
        }
    }

    fn handle(&mut self, event: EpollEvent) {
        match event.data() {
            WAKE => self.obey(),
            TUN => self.read_tun(),
            token => {
                if let Some((slot, family)) = of_token(token) {
                    self.read_network(slot, family);
                }
            }
        }
    }

    fn obey(&mut self) {
        match self.wake.read() {
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => self.end = Some(End::Failed(format!("eventfd: {errno}"))),
        }
        while let Ok(command) = self.commands.try_recv() {
            // Whoever asked may have gone meanwhile: an answer that nobody takes is no fault.
            match command {
                Command::Apply(change, answer) => {
                    self.flush();
                    self.give_up();
                    let applied = self.apply(*change, moment());
                    self.tick();
                    drop(answer.send(applied));
                }
                Command::Observe(answer) => drop(answer.send(self.observe(moment()))),
                Command::Stop => self.end = Some(End::Stopped),
            }
        }
    }

    fn tick(&mut self) {
        self.ask_mtu();
        while self.shard.tick(moment(), &mut self.out) {
            self.flush();
            if self.blocked.is_some() {
                break;
            }
        }
        self.flush();
    }

    fn ask_mtu(&mut self) {
        let now = Instant::now();
        if self.mtu_asked.is_some_and(|at| now.saturating_duration_since(at) < MTU_EVERY) {
            return;
        }
        self.mtu_asked = Some(now);
        // A device that was moved to another namespace keeps the MTU that was last seen.
        if let Ok(mtu) = self.tun.mtu() {
            self.shard.set_mtu(mtu);
        }
    }

    fn read_tun(&mut self) {
        if self.blocked.is_some() {
            // Not asked for, hence an error: the device alone can have one.
            return self.device_failed(Errno::EIO);
        }
        for _ in 0..PACKETS {
            if self.blocked.is_some() {
                return;
            }
            let length = match self.tun.read(&mut [0; HEADER], &mut self.room[..LARGEST]) {
                Ok(length) => length,
                Err(Errno::EAGAIN | Errno::EINTR) => break,
                Err(errno) => return self.device_failed(errno),
            };
            let moment = moment();
            if let Err(reason) = self.shard.egress((&mut self.room, length), moment, &mut self.out)
                && reason.is_unreachable()
            {
                self.shard.unreachable(&self.room[..length], moment, &mut self.packets);
            }
            if !self.out.has_room() {
                self.flush();
            }
            if !self.packets.has_room() {
                self.write_tun();
            }
        }
        self.write_tun();
    }

    fn read_network(&mut self, slot: SocketSlot, family: Family) {
        let (Some(socket), Some(mut intake)) = (self.sockets.get(slot), self.intake.take()) else { return };
        // An error is one of an earlier datagram, by ICMP; it is reported once.
        if socket.receive(family, &mut intake, BATCH).is_ok() {
            self.take_in(slot, &intake);
        }
        self.intake = Some(intake);
        self.write_tun();
        self.flush();
    }

    fn take_in(&mut self, socket: SocketSlot, intake: &Intake) {
        let moment = moment();
        for incoming in intake.iter() {
            let via = Path { to: incoming.from, source: incoming.local };
            let arrival = Arrival { socket, via, datagram: incoming.octets };
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

    fn write_tun(&mut self) {
        for (outcome, packet) in self.packets.iter() {
            let written = match outcome {
                Outcome::ToTun(_) => self.tun.write(&[0; HEADER], &[IoSlice::new(packet)]),
                Outcome::ToLocal(_) | Outcome::ToNetwork | Outcome::Consumed => {
                    self.shard.count(Reason::Unclaimed, 1);
                    continue;
                }
            };
            match written {
                Ok(()) => {}
                Err(Errno::EAGAIN) => self.shard.count(Reason::TunBlocked, 1),
                Err(Errno::EBADFD) => self.end = Some(End::DeviceGone),
                Err(_) => self.shard.count(Reason::TunRefused, 1),
            }
        }
        self.packets.clear();
    }

    /// Reading failed: the device was deleted, or is being deleted.
    fn device_failed(&mut self, errno: Errno) {
        if errno == Errno::EBADFD || self.tun.name().is_err() {
            self.end = Some(End::DeviceGone);
        }
    }

    /// Sends what is to be sent, as far as the sockets take it.
    fn flush(&mut self) {
        while self.sent < self.out.len() {
            match self.send_run() {
                Ok(number) => self.sent += number,
                Err(SendError::Full) => return self.block(),
                Err(SendError::Refused(_) | SendError::Failed(_)) => {
                    self.send_again();
                    self.sent += 1;
                }
            }
        }
        self.out.clear();
        self.sent = 0;
        self.unblock();
    }

    /// Sends the next datagrams as far as they go by one socket; how many went.
    fn send_run(&mut self) -> Result<usize, SendError> {
        let Self { out, sockets, sender, sent, .. } = self;
        let Some((first, _)) = out.entry(*sent) else { return Ok(0) };
        let socket = sockets.get(first.socket).ok_or(SendError::Failed(Errno::ENOTSOCK))?;
        let entries = (*sent..out.len()).filter_map(|position| out.entry(position));
        let run = entries.take_while(|(hop, _)| hop.socket == first.socket);
        socket.send(sender, run.map(|(hop, octets)| outgoing(octets, hop.path)))
    }

    /// A datagram was refused. Its source address may be ours no more: forgotten, whatever the error was, and once
    /// more without it.
    fn send_again(&mut self) {
        let Some((hop, octets)) = self.out.entry(self.sent) else { return };
        let once_more = outgoing(octets, Path { source: None, ..hop.path });
        let sent = match (hop.path.source, self.sockets.get(hop.socket)) {
            (Some(_), Some(socket)) => socket.send(&mut self.sender, [once_more]).is_ok(),
            _ => false,
        };
        if let (Some(link), Some(_)) = (hop.link, hop.path.source) {
            self.shard.forget_source(link);
        }
        if !sent {
            self.shard.count(Reason::SendFailed, 1);
        }
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
    fn give_up(&mut self) {
        let rest = self.out.len() - self.sent;
        self.shard.count(Reason::SendBlocked, u64::try_from(rest).unwrap_or(0));
        self.out.clear();
        self.sent = 0;
        self.unblock();
    }

    fn watch_tun(&mut self, readable: bool) {
        let flags = if readable { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
        if let Err(errno) = self.epoll.modify(&self.tun, &mut EpollEvent::new(flags, TUN)) {
            self.end = Some(End::Failed(format!("epoll_ctl: {errno}")));
        }
    }
}

fn outgoing(octets: &[u8], path: Path) -> Outgoing<'_> {
    Outgoing { octets, segment: None, to: path.to, source: path.source, tos: 0 }
}

fn moment() -> Moment {
    Moment { now: Instant::now(), wall: SystemTime::now() }
}

/// Whole milliseconds, rounded up: epoll knows no less, and 0 would spin.
fn timeout(duration: Duration) -> EpollTimeout {
    let milliseconds = duration.as_micros().div_ceil(1000);
    EpollTimeout::from(u16::try_from(milliseconds).unwrap_or(u16::MAX))
}
