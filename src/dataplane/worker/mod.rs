//! The worker: a thread that runs packets to completion between the TUN device and the sockets.
//!
//! One of several serves a part of the peers; worker 0 reads the TUN device for all of them, see `handover.rs`.
//!
//! ```text
//!  TUN ── read (64 KiB) ──▶ backlog ──▶ split, seal ──▶ out ── one send per train ──▶ network    outbound.rs
//!  TUN ◀── one write per group ── packets ◀── open ◀── receive (trains) ── network      inbound.rs
//! ```
//!
//! Level-triggered epoll; nothing is allocated, locked or woken per packet. Buffers are passed on as soon as they
//! hold about 64 KiB, while they are still in the processor's cache.

mod alarm;
mod handover;
mod inbound;
mod outbound;
mod standing;
mod urgency;

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;

use crate::dataplane::apply::State;
use crate::dataplane::ended::Ended;
use crate::dataplane::exchange::Exchange;
use crate::dataplane::offload::{Offload, OffloadStates};
use crate::dataplane::sockets::{Sockets, of_token};
use crate::dataplane::surroundings::Surroundings;
use crate::dataplane::{Command, End, Options};
use crate::sys::tun::Tun;
use crate::sys::udp::{Intake, Sender};
use crate::tunnel::segment::Coalescer;
use crate::tunnel::{Backlog, Batch, Handled, Hop, Moment, Mtus, Outcome, Reason, Shard, SocketSlot};
use alarm::Alarm;
use standing::Standing;
use urgency::Urgency;

/// How long a socket that takes no more is waited for before it is tried again, in milliseconds.
const BLOCKED: u8 = 200;
/// When to look again where there is no alarm, in milliseconds.
const LATEST: u8 = 10;
/// How often the kernel is asked what it has dropped, unless somebody wants to know: a system call for each socket, and
/// its count has 32 bits.
const COUNTED: Duration = Duration::from_secs(1);
/// Handshake messages to work off in a turn without packets: a packet that comes meanwhile waits for less than a
/// millisecond.
const HANDSHAKES: usize = 4;
/// Octets after which a buffer is passed on.
const BURST: usize = 60 * 1024;
/// Octets of a UDP datagram's payload at most: also of a train, which the kernel takes as one (RFC 768, RFC 791).
const LONGEST_TRAIN: usize = 65_507;
/// Epoll tokens.
const WAKE: u64 = 0;
const TUN: u64 = 1;
const ALARM: u64 = 2;

/// What a worker is given for its life.
pub(super) struct Post {
    pub(super) number: u8,
    pub(super) workers: u8,
    /// All write to the device; worker 0 reads it.
    pub(super) tun: Arc<Tun>,
    pub(super) wake: Arc<EventFd>,
    pub(super) commands: Receiver<Command>,
    pub(super) surroundings: Surroundings,
    /// `None` with one worker.
    pub(super) exchange: Option<Exchange>,
    pub(super) ended: Arc<Ended>,
    pub(super) offloads: OffloadStates,
}

pub(super) struct Worker {
    tun: Arc<Tun>,
    wake: Arc<EventFd>,
    commands: Receiver<Command>,
    ended: Arc<Ended>,
    exchange: Option<Exchange>,
    pub(super) epoll: Epoll,
    alarm: Alarm,
    pub(super) urgency: Urgency,
    pub(super) sockets: Sockets,
    pub(super) state: State,
    pub(super) shard: Shard,
    pub(super) offloads: OffloadStates,
    /// Datagrams to send.
    pub(super) out: Batch<Hop>,
    /// How many of them have been sent.
    sent: usize,
    /// Up to which of them no trains are made: the network refused one.
    apart: usize,
    sender: Sender,
    /// The socket that takes no more for now: until it does, nothing is read from the TUN device.
    blocked: Option<SocketSlot>,
    packets: Batch<Outcome>,
    coalescer: Coalescer,
    /// `None` only while it is read.
    intake: Option<Box<Intake>>,
    /// How many datagrams or trains to receive by one call.
    appetite: usize,
    /// Rounds of [`Self::run`], and in which there was last something to read.
    round: u64,
    received_in: u64,
    read_in: u64,
    /// What the TUN device gave and is not sealed yet.
    backlog: Backlog,
    standing: Standing,
    surroundings: Surroundings,
    /// Whether packets have moved since handshake messages were last worked off.
    moved: bool,
    /// When the kernel was last asked what it has dropped.
    counted: Instant,
    end: Option<End>,
}

impl Worker {
    pub(super) fn new(post: Post, options: Options) -> Result<Self, Errno> {
        let Post { number, workers, tun, wake, commands, surroundings, exchange, ended, offloads } = post;
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|_| Errno::EAGAIN)?;
        let (seed, now) = (u64::from_ne_bytes(seed), moment());
        let mut shard = Shard::new(number, seed, options.intercept_link_local, now);
        shard.set_mtus(Arc::new(Mtus::new(options.mtu.into(), [])));
        if number + 1 < workers {
            // The last one admits all initiations.
            shard.share_limits(workers - 1);
        }
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        if number == 0 {
            epoll.add(&*tun, EpollEvent::new(EpollFlags::EPOLLIN, TUN))?;
        }
        let alarm = Alarm::new()?;
        epoll.add(&alarm, EpollEvent::new(EpollFlags::EPOLLIN, ALARM))?;
        Ok(Self {
            tun,
            wake,
            commands,
            ended,
            exchange,
            epoll,
            alarm,
            urgency: Urgency::new(options.scheduling, now.now),
            sockets: Sockets::new(number, workers, offloads.is_on(Offload::UdpGro)),
            state: State::default(),
            shard,
            coalescer: Coalescer::new(offloads.is_on(Offload::TunTcpGro), offloads.is_on(Offload::TunUdpGro)),
            offloads,
            out: Batch::new(3),
            sent: 0,
            apart: 0,
            sender: Sender::default(),
            blocked: None,
            packets: Batch::new(5),
            intake: Some(Box::default()),
            appetite: 2,
            round: 1,
            received_in: 0,
            read_in: 0,
            backlog: Backlog::new(seed.rotate_left(32), now.now),
            standing: Standing::default(),
            surroundings,
            moved: false,
            counted: now.now,
            end: None,
        })
    }

    /// Runs until it is stopped or the device is gone.
    pub(super) fn run(mut self) -> End {
        let mut events = [EpollEvent::empty(); 64];
        let mut more = false;
        self.urgency.probe();
        loop {
            if self.shard.next_tick() <= Instant::now() {
                self.tick();
            }
            more = more || self.doze();
            let patience = if more { EpollTimeout::ZERO } else { self.patience() };
            let waited = self.epoll.wait(&mut events, patience);
            self.wake_up();
            match waited {
                Ok(ready) => events[..ready].iter().for_each(|event| self.handle(*event)),
                Err(Errno::EINTR) => {}
                Err(errno) => self.end = Some(End::Failed(format!("epoll_wait: {errno}"))),
            }
            more = self.shake() | self.serve();
            self.round += 1;
            if let Some(end) = self.end.take() {
                return end;
            }
        }
    }

    fn handle(&mut self, event: EpollEvent) {
        match event.data() {
            WAKE => self.obey(),
            TUN => self.read_tun(),
            ALARM => self.alarm.quiet(),
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
        if self.ended.is_ending() {
            self.end = Some(End::Stopped);
        }
        if let Some(mtus) = self.surroundings.news() {
            self.shard.set_mtus(mtus);
        }
        while let Ok(command) = self.commands.try_recv() {
            // Whoever asked may have gone meanwhile: an answer that nobody takes is no fault.
            match command {
                Command::Prepare(change, answer) => drop(answer.send(self.prepare(&change))),
                Command::Apply(ready, answer) => {
                    self.flush();
                    self.give_up();
                    let receipt = self.apply(&ready, moment());
                    drop(ready);
                    self.tick();
                    drop(answer.send(receipt));
                }
                Command::Observe(answer) => {
                    self.count_lost();
                    drop(answer.send(self.observe(moment())));
                }
                Command::Stop => self.end = Some(End::Stopped),
            }
        }
    }

    fn tick(&mut self) {
        let moment = moment();
        self.urgency.look(self.round, moment.now);
        if moment.now.saturating_duration_since(self.counted) >= COUNTED {
            self.count_lost();
            self.counted = moment.now;
        }
        self.shard.tick(moment, &mut self.out);
        self.flush();
    }

    /// Works off handshake messages: a few, and where packets move only one, since each costs as much as a hundred of them.
    /// Whether more wait.
    fn shake(&mut self) -> bool {
        let most = if std::mem::take(&mut self.moved) { 1 } else { HANDSHAKES };
        for _ in 0..most {
            if !self.shard.has_handshakes() {
                break;
            }
            let moment = moment();
            match self.shard.handshake(moment, &mut self.out) {
                Some(Ok(Handled::Elsewhere(peer, message))) => self.hand_over_initiation(peer, &message, moment.now),
                // What came of it was counted.
                Some(Ok(Handled::Here(_)) | Err(_)) => {}
                None => break,
            }
        }
        self.tell_lag();
        self.ring();
        self.blocked.is_none() && self.shard.has_handshakes()
    }

    /// How long to wait for events. The alarm goes off at the next tick, for which there must be room.
    fn patience(&mut self) -> EpollTimeout {
        if self.blocked.is_some() {
            return BLOCKED.into();
        }
        match self.alarm.set(self.shard.next_tick()) {
            Ok(()) => EpollTimeout::NONE,
            Err(_) => LATEST.into(),
        }
    }

    /// Counts what the kernel dropped before it could be received.
    fn count_lost(&mut self) {
        let lost = self.sockets.take_lost();
        self.shard.count(Reason::ReceiveBufferFull, lost);
    }

    /// The device failed: it was deleted, or is being deleted.
    fn device_failed(&mut self, errno: Errno) {
        if errno == Errno::EBADFD || self.tun.name().is_err() {
            self.end = Some(End::DeviceGone);
        }
    }
}

fn moment() -> Moment {
    Moment { now: Instant::now(), wall: SystemTime::now() }
}
