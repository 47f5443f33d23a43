//! Two namespaces with a TUN device each, and a copier in between.
//!
//! ```text
//!  left  tp0 10.60.0.1, fd60::1  ── read, write ──  tp0 10.60.0.2, fd60::2  right
//! ```

use std::collections::BTreeSet;
use std::io::IoSlice;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use turnpike::lab::guard::Namespace;
use turnpike::net::Family;
use turnpike::sys::tun::{HEADER, ROOM, Tun};
use turnpike::sys::udp::{BATCH, Intake, UdpSocket};

pub const MTU: u16 = 1420;

pub struct Wire {
    pub left: (Namespace, Tun),
    pub right: (Namespace, Tun),
}

/// What was read from the left device.
#[derive(Debug, Default)]
pub struct Seen {
    /// How long each packet of the protocols in question was, TCP or UDP.
    pub lengths: Vec<usize>,
    /// Kinds of segmentation in the headers (`VIRTIO_NET_HDR_GSO_*`).
    pub kinds: BTreeSet<u8>,
    /// How many checksums were left to the reader.
    pub incomplete: usize,
}

impl Wire {
    pub fn new() -> Self {
        Self { left: side("left", 1), right: side("right", 2) }
    }

    /// Runs `work` while packets are carried in both directions.
    pub fn carry<T: Send>(&self, work: impl FnOnce() -> T + Send) -> (T, Seen) {
        let stop = AtomicBool::new(false);
        let (left, right) = (&self.left.1, &self.right.1);
        thread::scope(|scope| {
            let there = scope.spawn(|| copy(left, right, &stop));
            let back = scope.spawn(|| copy(right, left, &stop));
            let result = scope.spawn(work).join();
            stop.store(true, Ordering::Relaxed);
            back.join().expect("a copier");
            let seen = there.join().expect("a copier");
            (result.expect("the work is done"), seen)
        })
    }
}

pub fn address(namespace: &Namespace, number: u8) {
    namespace.address("tp0", &format!("10.60.0.{number}/24")).expect("an address");
    namespace.address("tp0", &format!("fd60::{number}/64")).expect("an address");
}

fn side(label: &str, number: u8) -> (Namespace, Tun) {
    let namespace = Namespace::new(label).expect("root");
    let tun = namespace.enter(|| Tun::create("tp0").expect("a device")).expect("the namespace");
    namespace.enter(|| tun.set_mtu(MTU).expect("an MTU")).expect("the namespace");
    address(&namespace, number);
    (namespace, tun)
}

/// Whether something can be read, within so many milliseconds.
pub fn readable(from: impl AsFd, within: u16) -> bool {
    let mut fds = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(within)).is_ok_and(|ready| ready > 0)
}

/// Receives so many octets within some seconds, in the pieces in which they come.
pub fn gather(socket: &UdpSocket, family: Family, octets: usize) -> Vec<Vec<u8>> {
    let (mut came, mut intake): (Vec<Vec<u8>>, _) = (Vec::new(), Intake::default());
    let (_, fd) = socket.descriptors().find(|(of, _)| *of == family).expect("the family");
    while came.iter().map(Vec::len).sum::<usize>() < octets && readable(fd, 5000) {
        socket.receive(family, &mut intake, BATCH).expect("it can be read");
        came.extend(intake.iter().map(|incoming| incoming.octets.to_vec()));
    }
    came
}

fn copy(from: &Tun, to: &Tun, stop: &AtomicBool) -> Seen {
    let (mut seen, mut room) = (Seen::default(), vec![0; ROOM]);
    while !stop.load(Ordering::Relaxed) {
        match from.read(&mut room) {
            Ok(length) => {
                let (header, packet) = room.split_first_chunk().expect("room for both");
                seen.note(header, &packet[..length]);
                // In parts, as a coalescer has them.
                let (first, rest) = packet[..length].split_at(length.min(40));
                let parts: Vec<_> = [first].into_iter().chain(rest.chunks(1400)).map(IoSlice::new).collect();
                to.write(header, &parts).expect("what one device yields the other takes");
            }
            Err(Errno::EAGAIN) => {
                readable(from, 50);
            }
            Err(errno) => panic!("{errno}"),
        }
    }
    seen
}

impl Seen {
    fn note(&mut self, header: &[u8; HEADER], packet: &[u8]) {
        // The kernel's own ICMPv6 is not counted.
        let protocol = if packet[0] >> 4 == 4 { packet[9] } else { packet[6] };
        if matches!(protocol, 6 | 17) {
            self.lengths.push(packet.len());
            self.kinds.insert(header[1]);
            self.incomplete += usize::from(header[0] & 1);
        }
    }

    pub fn longest(&self) -> usize {
        self.lengths.iter().copied().max().unwrap_or(0)
    }
}
