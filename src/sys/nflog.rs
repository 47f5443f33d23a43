//! What the kernel tells of packets by nflog: a netlink socket (NETLINK_NETFILTER, subsystem ULOG) bound to one group.
//!
//! ```text
//!  nft … log group N ─▶ kernel's queue (16 records or 100 ms) ─▶ socket, 1 MiB ─▶ Nflog::wait ─▶ records()
//!                                                                 │ full
//!                                                                 └▶ the sequence has a gap ─▶ lost
//! ```
//!
//! The kernel numbers each record, so that what did not fit the socket's buffer is counted to the packet, once the next
//! record arrives. `netlink-packet-netfilter` 0.4 keeps the hook to itself and refuses a whole message for one odd
//! attribute, hence the reader here. All of it is foreign: fuzz target `nflog`.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::poll::{PollFd, PollFlags, PollTimeout};

use super::netfilter::{Header, Messages, NLM_F_ACK, NLM_F_REQUEST, four, messages, pieces, text};

/// What the kernel told of one packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The prefix that the rule gave it; lossy where it is no UTF-8.
    pub prefix: String,
    /// The hook by number (`enum nf_inet_hooks`).
    pub hook: u8,
    /// The index of the device that the packet came by; 0 for none.
    pub input: u32,
    /// The index of the device that it would leave by; 0 for none.
    pub output: u32,
    /// The packet's mark; 0 for none.
    pub mark: u32,
    /// The record's number in its group.
    pub sequence: Option<u32>,
    /// The packet's first octets, from the IP header.
    pub octets: Vec<u8>,
}

/// A listener to one group. Closing it ends the group.
#[derive(Debug)]
pub struct Nflog {
    socket: Socket,
    buffer: Vec<u8>,
    expected: Option<u32>,
    lost: u64,
}

impl AsRawFd for Nflog {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Octets of the socket's buffer.
const BUFFER: u32 = 1 << 20;

/// A datagram is at most one of the kernel's buffers, which grows to this (NFULNL_NLBUFSIZ_MAX).
const LONGEST: usize = 128 * 1024;

/// Datagrams read at once, so that a flood does not keep the caller from anything else.
const MOST: usize = 64;

const NFNL_SUBSYS_ULOG: u16 = 4 << 8;
const NFULNL_MSG_PACKET: u16 = NFNL_SUBSYS_ULOG;
const NFULNL_MSG_CONFIG: u16 = NFNL_SUBSYS_ULOG | 1;

const NFULA_CFG_CMD: u16 = 1;
const NFULA_CFG_MODE: u16 = 2;
const NFULA_CFG_TIMEOUT: u16 = 4;
const NFULA_CFG_QTHRESH: u16 = 5;
const NFULA_CFG_FLAGS: u16 = 6;
const NFULNL_CFG_CMD_BIND: u8 = 1;
const NFULNL_COPY_PACKET: u8 = 2;
const NFULNL_CFG_F_SEQ: u16 = 1;

const NFULA_PACKET_HDR: u16 = 1;
const NFULA_MARK: u16 = 2;
const NFULA_IFINDEX_INDEV: u16 = 4;
const NFULA_IFINDEX_OUTDEV: u16 = 5;
const NFULA_PAYLOAD: u16 = 9;
const NFULA_PREFIX: u16 = 10;
const NFULA_SEQ: u16 = 12;

/// Records that the kernel gathers before it hands them over.
const GATHERED: u32 = 16;

/// How long it waits for them, in hundredths of a second.
const HUNDREDTHS: u32 = 10;

impl Nflog {
    /// Listens to a group of the caller's network namespace. No record has more than `snap` octets of its packet.
    ///
    /// # Errors
    /// EPERM without CAP_NET_ADMIN, EBUSY if somebody else listens to the group, and those of `socket(2)`.
    pub fn open(group: u16, snap: u16) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.set_rx_buf_sz(BUFFER)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.send(configuration(group, snap).octets(), 0)?;
        let mut buffer = Vec::with_capacity(LONGEST);
        socket.recv(&mut buffer, 0)?;
        refusal(&buffer)?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket, buffer, expected: None, lost: 0 })
    }

    /// Waits for records, at most `timeout`; none if it passes. Gives some of those that are there.
    ///
    /// # Errors
    /// Those of `poll(2)` and `recv(2)`, except that there was too much.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<Vec<Record>> {
        let deadline = Instant::now() + timeout;
        loop {
            let records = self.read()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if !records.is_empty() || left.is_zero() {
                return Ok(records);
            }
            let mut ready = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match nix::poll::poll(&mut ready, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Records that the kernel numbered and that did not arrive, since the last call.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    fn read(&mut self) -> io::Result<Vec<Record>> {
        let mut read = Vec::new();
        for _ in 0..MOST {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => read.extend(records(&self.buffer)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The gap in the sequence says how many.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        for sequence in read.iter().filter_map(|record: &Record| record.sequence) {
            self.lost += u64::from(sequence.wrapping_sub(self.expected.unwrap_or(0)));
            self.expected = Some(sequence.wrapping_add(1));
        }
        Ok(read)
    }
}

/// The request that binds the socket to a group.
fn configuration(group: u16, snap: u16) -> Messages {
    let mut mode = u32::from(snap).to_be_bytes().to_vec();
    mode.extend([NFULNL_COPY_PACKET, 0]);
    let flags = NLM_F_REQUEST | NLM_F_ACK;
    let header = Header { kind: NFULNL_MSG_CONFIG, flags, sequence: 0, family: 0, resource: group };
    let mut messages = Messages::default();
    messages.push(header, |attributes| {
        attributes
            .put(NFULA_CFG_CMD, &[NFULNL_CFG_CMD_BIND])
            .put(NFULA_CFG_MODE, &mode)
            .put(NFULA_CFG_TIMEOUT, &HUNDREDTHS.to_be_bytes())
            .put(NFULA_CFG_QTHRESH, &GATHERED.to_be_bytes())
            .put(NFULA_CFG_FLAGS, &NFULNL_CFG_F_SEQ.to_be_bytes());
    });
    messages
}

/// Reads the answer to a request: an error, of which 0 is none.
fn refusal(answer: &[u8]) -> io::Result<()> {
    match messages(answer).find_map(|message| message.code()) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is no acknowledgement")),
    }
}

/// The packets told of in a datagram. Whatever is malformed is left out.
pub fn records(datagram: &[u8]) -> Vec<Record> {
    let packets = messages(datagram).filter(|message| message.kind == NFULNL_MSG_PACKET);
    packets.map(|message| record(message.attributes())).collect()
}

fn record(attributes: &[u8]) -> Record {
    let mut record = Record::default();
    for (kind, value) in pieces(attributes) {
        match kind {
            NFULA_PACKET_HDR => record.hook = value.get(2).copied().unwrap_or(u8::MAX),
            NFULA_MARK => record.mark = four(value).unwrap_or(0),
            NFULA_IFINDEX_INDEV => record.input = four(value).unwrap_or(0),
            NFULA_IFINDEX_OUTDEV => record.output = four(value).unwrap_or(0),
            NFULA_PAYLOAD => record.octets = value.to_vec(),
            NFULA_PREFIX => record.prefix = text(value),
            NFULA_SEQ => record.sequence = four(value),
            _ => {}
        }
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A datagram as the kernel sends it, of attributes in the order in which it writes them.
    fn datagram(sequence: u32, octets: &[u8]) -> Vec<u8> {
        let header = Header { kind: NFULNL_MSG_PACKET, flags: 0, sequence: 0, family: 2, resource: 9587 };
        let mut messages = Messages::default();
        messages.push(header, |attributes| {
            attributes
                .put(NFULA_PACKET_HDR, &[8, 0, 4, 0])
                .text(NFULA_PREFIX, "turnpike spoofed")
                .put(NFULA_IFINDEX_OUTDEV, &7_u32.to_be_bytes())
                .put(NFULA_MARK, &0x8000_0002_u32.to_be_bytes())
                .put(NFULA_SEQ, &sequence.to_be_bytes())
                .put(NFULA_PAYLOAD, octets);
        });
        messages.octets().to_vec()
    }

    #[test]
    fn records_are_read_one_after_the_other() {
        let datagram = [datagram(4, &[0x45, 1, 2]), datagram(5, &[])].concat();
        let expected = Record {
            prefix: "turnpike spoofed".into(),
            hook: 4,
            input: 0,
            output: 7,
            mark: 0x8000_0002,
            sequence: Some(4),
            octets: vec![0x45, 1, 2],
        };
        let second = Record { sequence: Some(5), octets: Vec::new(), ..expected.clone() };
        assert_eq!(records(&datagram), [expected, second]);
    }

    #[test]
    fn no_datagram_however_short_or_wrong_is_more_than_ignored() {
        let whole = datagram(1, &[0x45; 40]);
        for length in 0..whole.len() {
            assert!(records(&whole[..length]).is_empty(), "{length}");
        }
        for at in 0..whole.len() {
            for value in [0, 1, 3, 0x7f, 0xff] {
                let mut wrong = whole.clone();
                wrong[at] = value;
                assert!(records(&wrong).len() <= 1);
            }
        }
    }

    /// What Linux 6.18 sent, as the fuzzer begins with it. Little-endian, as both machines that we build for.
    #[test]
    fn what_a_kernel_sent_is_read_in_full() {
        let read = |octets: &[u8]| records(octets);
        let udp = read(include_bytes!("../../fuzz/seeds/nflog/udp4"));
        let record = udp.first().expect("a record");
        assert_eq!((record.prefix.as_str(), record.hook, record.mark), ("turnpike no_agreement", 3, 0x8000_0002));
        assert_eq!((record.octets.len(), record.output, record.sequence), (96, 1, Some(0)));
        let several = read(include_bytes!("../../fuzz/seeds/nflog/several"));
        let sequence: Vec<u32> = several.iter().filter_map(|record| record.sequence).collect();
        assert!(sequence.len() >= 5 && sequence.windows(2).all(|pair| pair[1] == pair[0] + 1), "{sequence:?}");
    }

    #[test]
    fn an_answer_that_is_no_acknowledgement_is_an_error() {
        let answer = |code: i32| {
            let mut answer = 36_u32.to_ne_bytes().to_vec();
            answer.extend([2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            answer.extend(code.to_ne_bytes());
            answer.extend([0; 16]);
            answer
        };
        assert!(refusal(&answer(0)).is_ok());
        assert_eq!(refusal(&answer(-libc::EBUSY)).map_err(|error| error.raw_os_error()), Err(Some(libc::EBUSY)));
        assert!(refusal(&[]).is_err());
        assert!(refusal(&answer(i32::MIN)).is_err());
    }
}
