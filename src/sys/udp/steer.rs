//! One port for several workers: each has a socket of its own, and the kernel picks the one of the worker that owns
//! the session.
//!
//! ```text
//!  type 3, 4   receiver index in octets 4 to 7    octet 5 ─┐
//!  type 2      receiver index in octets 8 to 11   octet 9 ─┴─ worker's number → its socket
//!  type 1, anything else                                    → the last worker
//!  a number without a worker                                → by a hash of addresses and ports
//! ```
//!
//! The worker's number is part of the receiver indices that it gives out ([`crate::tunnel::Shard`]), so a session's
//! messages reach their worker whatever address they come from: also after the peer moved, or its NAT forgot it.
//!
//! Initiations name no worker. One takes them all, so that limits by source and in sum are kept as one worker alone would
//! keep them, whatever ports and runs a flood uses, and so that a flood costs one worker its time and not all of them.
//!
//! The program is classic BPF (`SO_ATTACH_REUSEPORT_CBPF`, since Linux 4.5). For UDP it sees the datagram without the
//! UDP header (`run_bpf_filter` in `net/core/sock_reuseport.c`); a result that is no socket's number leaves the choice
//! to the kernel's hash.
//!
//! A run that was put together (`UDP_GRO`) is steered by its first datagram. The rest comes from the same address and
//! port, but may belong to another worker, such as an initiation behind data.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt;

use super::{BindError, Place, UdpSocket, length_of, open, set, system};

impl UdpSocket {
    /// Binds a port as [`UdpSocket::bind`] does, for so many workers, at least one: the socket of worker `i` stands at
    /// `i`. Sessions are steered to the worker whose number is in their receiver index,
    /// what belongs to no session to the last worker.
    ///
    /// The port is ours alone first, so that one in use is found as ever. Other processes of the same user could join
    /// it later, if they asked for that (`SO_REUSEPORT`).
    ///
    /// # Errors
    /// [`BindError`] by cause.
    pub fn bind_group(port: u16, device: Option<&str>, mark: u32, workers: usize) -> Result<Vec<Self>, BindError> {
        let group = Self::bind_alike(port, device, mark, workers)?;
        if group.len() > 1 {
            let door = u32::try_from(group.len() - 1).unwrap_or(0);
            group[0].descriptors().try_for_each(|(_, fd)| attach(fd, door)).map_err(system("steer a port"))?;
        }
        Ok(group)
    }

    /// Sockets that share a port by hash.
    fn bind_alike(port: u16, device: Option<&str>, mark: u32, workers: usize) -> Result<Vec<Self>, BindError> {
        let first = Self::bind(port, device, mark)?;
        if workers > 1 {
            first.descriptors().try_for_each(|(_, fd)| set(&fd, sockopt::ReusePort, &true, "share a port"))?;
        }
        let place = Place { port: first.port, device, mark, joins: true };
        let mut group = vec![first];
        while group.len() < workers {
            let mut next = Self { v4: None, v6: None, port: place.port };
            for (family, _) in group[0].descriptors() {
                *next.of_mut(family) = open(family, &place)?.map(|(fd, _)| fd);
            }
            group.push(next);
        }
        Ok(group)
    }
}

/// Loads the length of the datagram.
const LENGTH: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_LEN;
/// Loads four octets as a number, the first being the highest.
const WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
/// Loads one octet.
const OCTET: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
/// Skips as many instructions as said, depending on a comparison.
const AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const EQUALS: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
/// Ends with what was loaded, or with a constant.
const END: u32 = libc::BPF_RET | libc::BPF_A;
const END_WITH: u32 = libc::BPF_RET | libc::BPF_K;

/// Shorter than any message: reading beyond the end would end the program with 0, which is a worker.
const SHORTEST: u32 = 32;

/// Code, instructions to skip if so and if not, operand. The type is compared with its three reserved octets.
type Instruction = (u32, u8, u8, u32);

/// The program; what names no worker goes to worker `door`.
const fn program(door: u32) -> [Instruction; 11] {
    [
        (LENGTH, 0, 0, 0),
        (AT_LEAST, 0, 8, SHORTEST),
        (WORD, 0, 0, 0),
        (EQUALS, 4, 0, 0x0400_0000),
        (EQUALS, 3, 0, 0x0300_0000),
        (EQUALS, 0, 4, 0x0200_0000),
        (OCTET, 0, 0, 9),
        (END, 0, 0, 0),
        (OCTET, 0, 0, 5),
        (END, 0, 0, 0),
        (END_WITH, 0, 0, door),
    ]
}

/// Attaches the program to the group that a socket belongs to.
fn attach(fd: BorrowedFd<'_>, door: u32) -> Result<(), Errno> {
    let instructions = program(door);
    let mut program = [libc::sock_filter { code: 0, jt: 0, jf: 0, k: 0 }; 11];
    for (place, (code, jt, jf, k)) in program.iter_mut().zip(instructions) {
        let code = u16::try_from(code).map_err(|_| Errno::EINVAL)?;
        *place = libc::sock_filter { code, jt, jf, k };
    }
    let len = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let filter = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    let (option, length) = (libc::SO_ATTACH_REUSEPORT_CBPF, length_of::<libc::sock_fprog>());
    // SAFETY: the option reads one `sock_fprog` and the instructions that it points to; both live until after the call.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const filter).cast(), length) };
    Errno::result(result).map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::net::Family;
    use crate::sys::udp::{BATCH, Intake, Outgoing, Sender};

    const WORKERS: usize = 3;
    const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

    /// A message of a type for a worker, all other octets being those of another.
    fn message(kind: u8, worker: u8) -> Vec<u8> {
        let (length, place) = match kind {
            2 => (92, 9),
            3 => (64, 5),
            _ => (148, 5),
        };
        let mut octets = vec![worker.wrapping_add(1) % 3; length];
        octets[..4].copy_from_slice(&[kind, 0, 0, 0]);
        octets[place] = worker;
        octets
    }

    fn sources(number: usize) -> Vec<UdpSocket> {
        (0..number).map(|_| UdpSocket::bind(0, None, 0).expect("a port")).collect()
    }

    /// At which socket of the group a datagram arrives, and at no other.
    fn arrival(group: &[UdpSocket], family: Family, from: &UdpSocket, octets: &[u8], segment: Option<u16>) -> usize {
        let to = match family {
            Family::V4 => ([127, 0, 0, 1], group[0].port()).into(),
            Family::V6 => ([0, 0, 0, 0, 0, 0, 0, 1], group[0].port()).into(),
        };
        let datagram = Outgoing { octets, segment, to, source: None, tos: 0 };
        assert_eq!(from.send(&mut Sender::default(), [datagram]), Ok(1));
        let (deadline, mut intake) = (Instant::now() + Duration::from_secs(5), Intake::default());
        loop {
            let came = group.iter().map(|socket| socket.receive(family, &mut intake, BATCH).unwrap_or(0));
            let came: Vec<_> = came.collect();
            if came.iter().sum::<usize>() > 0 {
                assert_eq!(came.iter().sum::<usize>(), 1, "{came:?}");
                return came.iter().position(|number| *number == 1).expect("one");
            }
            assert!(Instant::now() < deadline, "it arrives");
        }
    }

    fn group() -> Vec<UdpSocket> {
        UdpSocket::bind_group(0, None, 0, WORKERS).expect("a port")
    }

    #[test]
    fn messages_of_a_session_reach_its_worker_from_wherever_they_come() {
        let (group, sources) = (group(), sources(20));
        for (family, from) in FAMILIES.iter().flat_map(|family| sources.iter().map(|from| (*family, from))) {
            for (kind, worker) in [2, 3, 4].into_iter().flat_map(|kind| [0, 1, 2].map(|worker| (kind, worker))) {
                let came = arrival(&group, family, from, &message(kind, worker), None);
                assert_eq!(came, usize::from(worker), "type {kind}, {family:?}");
            }
        }
    }

    #[test]
    fn without_the_program_a_source_alone_decides() {
        let (group, sources) = (UdpSocket::bind_alike(0, None, 0, WORKERS).expect("a port"), sources(20));
        for family in FAMILIES {
            let place = |from, worker| arrival(&group, family, from, &message(4, worker), None);
            let places: Vec<_> = sources.iter().map(|from| [0, 1, 2].map(|worker| place(from, worker))).collect();
            assert!(places.iter().all(|[first, others @ ..]| others == &[*first; 2]), "{places:?}");
            assert!(places.iter().any(|at| *at != places[0]), "{places:?}");
        }
    }

    #[test]
    fn what_names_no_worker_goes_to_the_last_wherever_it_comes_from() {
        let (group, sources) = (group(), sources(20));
        let mut reserved = message(4, 0);
        reserved[2] = 1;
        let short = message(4, 1)[..31].to_vec();
        let anonymous = [message(1, 0), message(1, 1), short, vec![], reserved];
        for (family, from) in FAMILIES.iter().flat_map(|family| sources.iter().map(|from| (*family, from))) {
            for octets in &anonymous {
                assert_eq!(arrival(&group, family, from, octets, None), WORKERS - 1, "{octets:?}");
            }
        }
    }

    #[test]
    fn the_number_of_no_worker_is_spread_by_its_source() {
        let (group, sources) = (group(), sources(40));
        for family in FAMILIES {
            let place = |from, octets: &Vec<u8>| arrival(&group, family, from, octets, None);
            let places: Vec<_> = sources.iter().map(|from| place(from, &message(4, 3))).collect();
            assert!((0..WORKERS).all(|worker| places.contains(&worker)), "{places:?}");
            for octets in [message(4, 255), message(2, 77)] {
                let same: Vec<_> = sources.iter().map(|from| place(from, &octets)).collect();
                assert_eq!(same, places, "{octets:?}");
            }
        }
    }

    #[test]
    fn a_run_in_one_piece_reaches_the_worker_of_its_first_datagram() {
        let (group, sources) = (group(), sources(5));
        assert!(group.iter().all(|socket| socket.set_gro(true)));
        for (family, from) in FAMILIES.iter().flat_map(|family| sources.iter().map(|from| (*family, from))) {
            for worker in [0, 1, 2] {
                let run = message(4, worker).repeat(40);
                assert_eq!(arrival(&group, family, from, &run, Some(148)), usize::from(worker));
            }
        }
    }

    #[test]
    fn a_shared_port_is_in_use_for_everybody_else_and_free_afterwards() {
        let group = group();
        let port = group[0].port();
        assert!(group.iter().all(|socket| socket.port() == port));
        assert_eq!(UdpSocket::bind(port, None, 0).err(), Some(BindError::PortInUse(port)));
        assert_eq!(UdpSocket::bind_group(port, None, 0, 2).err(), Some(BindError::PortInUse(port)));
        drop(group);
        let alone = UdpSocket::bind_group(port, None, 0, 1).expect("free again");
        assert_eq!(UdpSocket::bind_group(port, None, 0, 2).err(), Some(BindError::PortInUse(port)));
        assert_eq!(alone.len(), 1);
    }
}
