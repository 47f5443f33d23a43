//! Small packets at a steady rate: a sender in one namespace, a counting receiver in another.
//!
//! Each packet has a number, so that what arrives is counted once. Both ends poll: waking up for each packet would take
//! the CPU that the subjects are to be measured with.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_timerslack;
use nix::sys::socket::{setsockopt, sockopt};
use turnpike::lab::guard::Namespace;

use crate::bed::{B, UDP_PORT};
use crate::failure::{Failure, system};

/// Octets of UDP payload in each packet.
const OCTETS: usize = 64;
/// Packets per second.
pub const RATE: u32 = 110_000;
/// Large enough that neither end of the measurement is where packets get lost or wait.
const BUFFER: usize = 8 << 20;
/// Between two looks of the sender, which sends what is due by then.
const SENDER_PAUSE: Duration = Duration::from_micros(100);
/// Between two looks of the receiver; its buffer holds fifty times as much.
const RECEIVER_PAUSE: Duration = Duration::from_millis(1);
/// How long packets may be on their way after the last was sent.
const LATE: Duration = Duration::from_millis(300);

/// What came of a flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Packets that were sent.
    pub offered: u64,
    /// Packets that arrived, each counted once.
    pub delivered: u64,
}

impl Counted {
    /// The share that did not arrive.
    pub fn loss(self) -> f64 {
        let [offered, delivered] = [self.offered, self.delivered].map(crate::statistics::number);
        if self.offered == 0 { 0.0 } else { 1.0 - delivered / offered }
    }
}

/// Sends from `a` to `b` for so long.
///
/// # Errors
/// [`Failure::System`].
pub fn flood(a: &Namespace, b: &Namespace, time: Duration) -> Result<Counted, Failure> {
    let receiving = b.enter(|| socket(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, UDP_PORT)))?;
    let receiving = receiving.map_err(system("opening the receiver's socket"))?;
    let sending = a.enter(|| {
        let socket = socket(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((B, UDP_PORT)).map(|()| socket)
    })?;
    let sending = sending.map_err(system("opening the sender's socket"))?;
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(&receiving, &ended));
        let sent = send(&sending, time);
        thread::park_timeout(LATE);
        ended.store(true, Ordering::Relaxed);
        let seen = receiver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let offered = sent.map_err(system("sending small packets"))?;
        Ok(Counted { offered, delivered: seen.map_err(system("receiving small packets"))? })
    })
}

fn socket(at: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(at)?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
    setsockopt(&socket, sockopt::SndBufForce, &BUFFER)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// How many packets are due after so long.
pub fn due(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_nanos() * u128::from(RATE) / 1_000_000_000).unwrap_or(u64::MAX)
}

fn send(socket: &UdpSocket, time: Duration) -> io::Result<u64> {
    set_timerslack(1)?;
    let began = Instant::now();
    let mut packet = [0x55; OCTETS];
    let mut sent = 0;
    loop {
        let elapsed = began.elapsed().min(time);
        while sent < due(elapsed) {
            packet[..8].copy_from_slice(&sent.to_be_bytes());
            match socket.send(&packet) {
                // A full queue loses the packet, as it would that of any other sender.
                Ok(_) => sent += 1,
                Err(error) if is_full(&error) => sent += 1,
                Err(error) => return Err(error),
            }
        }
        if elapsed == time {
            return Ok(sent);
        }
        thread::park_timeout(SENDER_PAUSE);
    }
}

fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(nix::libc::ENOBUFS)
}

fn receive(socket: &UdpSocket, ended: &AtomicBool) -> io::Result<u64> {
    let mut seen = Seen::default();
    let mut packet = [0; 2 * OCTETS];
    loop {
        // Asked before the last look, so that nothing is left in the socket.
        let last = ended.load(Ordering::Relaxed);
        loop {
            match socket.recv(&mut packet) {
                Ok(OCTETS) => seen.mark(&packet),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if last {
            return Ok(seen.count);
        }
        thread::park_timeout(RECEIVER_PAUSE);
    }
}

/// Numbers that have come.
#[derive(Debug, Default)]
pub struct Seen {
    bits: Vec<u64>,
    /// How many different ones.
    pub count: u64,
}

impl Seen {
    /// No measurement has numbers beyond this; one that has is not ours.
    const MOST: usize = 1 << 26;

    /// Takes a packet, which begins with its number.
    pub fn mark(&mut self, packet: &[u8]) {
        let Some(number) = packet.first_chunk().and_then(|octets| usize::try_from(u64::from_be_bytes(*octets)).ok())
        else {
            return;
        };
        if number >= Self::MOST {
            return;
        }
        let (word, bit) = (number / 64, 1 << (number % 64));
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        if let Some(bits) = self.bits.get_mut(word)
            && *bits & bit == 0
        {
            *bits |= bit;
            self.count += 1;
        }
    }
}
