//! Who changes the ruleset, and when: the kernel tells of each transaction.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use super::super::netfilter::{Message, four, messages, piece, text};
use super::NFNL_SUBSYS_NFTABLES;

/// A change of the ruleset of this network namespace, by whomever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// One transaction.
    Generation {
        /// The ruleset's generation after it.
        number: u32,
        /// The process id of who made it, as the first process id namespace sees it; 0 if the kernel does not tell.
        by: u32,
        /// That process's name.
        name: String,
    },
    /// More than the socket could hold: who made them is not known.
    Lost,
}

/// A socket that hears of each transaction of this network namespace (NFNLGRP_NFTABLES, NFT_MSG_NEWGEN).
/// Readable when there is something to [`read`](Self::read).
#[derive(Debug)]
pub struct Watch {
    socket: Socket,
    buffer: Vec<u8>,
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

const NFNLGRP_NFTABLES: u32 = 7;
const NFT_MSG_NEWGEN: u8 = 15;
const NFTA_GEN_ID: u16 = 1;
const NFTA_GEN_PROC_PID: u16 = 2;
const NFTA_GEN_PROC_NAME: u16 = 3;

impl Watch {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        // One message per element comes before the one that we want.
        socket.set_rx_buf_sz(4 * 1024 * 1024_u32)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.add_membership(NFNLGRP_NFTABLES)?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket, buffer: Vec::with_capacity(64 * 1024) })
    }

    /// The changes that are known by now; none if nothing happened. Never blocks.
    ///
    /// # Errors
    /// Those of `recv(2)`, except that there is nothing and that there was too much.
    pub fn read(&mut self) -> io::Result<Vec<Change>> {
        let mut changes = Vec::new();
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => changes.extend(generations(&self.buffer)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(changes),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => changes.push(Change::Lost),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for changes, at most `timeout`; none if it passes.
    ///
    /// # Errors
    /// Those of `poll(2)` and [`read`](Self::read).
    pub fn wait(&mut self, timeout: Duration) -> io::Result<Vec<Change>> {
        let deadline = Instant::now() + timeout;
        loop {
            let changes = self.read()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if !changes.is_empty() || left.is_zero() {
                return Ok(changes);
            }
            poll(&self.socket, left)?;
        }
    }
}

fn poll(socket: &Socket, timeout: Duration) -> io::Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout};
    use std::os::fd::AsFd as _;
    let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    match nix::poll::poll(&mut ready, PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX)) {
        Ok(_) | Err(nix::Error::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The generations told of in a datagram.
fn generations(datagram: &[u8]) -> impl Iterator<Item = Change> {
    let kind = u16::from_be_bytes([NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWGEN]);
    messages(datagram).filter(move |message| message.kind == kind).map(|message| generation(&message))
}

fn generation(message: &Message<'_>) -> Change {
    let number = |kind| piece(message.attributes(), kind).and_then(four).unwrap_or_default();
    let name = piece(message.attributes(), NFTA_GEN_PROC_NAME).map(text).unwrap_or_default();
    Change::Generation { number: number(NFTA_GEN_ID), by: number(NFTA_GEN_PROC_PID), name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(datagram: &[u8]) -> Vec<Change> {
        generations(datagram).collect()
    }

    #[test]
    fn a_generation_is_read_with_who_made_it() {
        let mut message = vec![52, 0, 0, 0, 15, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        message.extend([8, 0, 1, 0, 0, 0, 0, 7, 8, 0, 2, 0, 0, 0, 1, 2]);
        message.extend([16, 0, 3, 0]);
        message.extend(b"nft\0\0\0\0\0\0\0\0\0");
        let change = Change::Generation { number: 7, by: 258, name: "nft".to_owned() };
        assert_eq!(told(&message), std::slice::from_ref(&change));
        let twice = [message.clone(), message.clone()].concat();
        assert_eq!(told(&twice), [change.clone(), change]);
    }

    #[test]
    fn no_datagram_however_short_or_wrong_is_more_than_ignored() {
        let message: Vec<u8> = (0..=255).collect();
        for length in 0..message.len() {
            assert!(told(&message[..length]).is_empty());
        }
        assert!(told(&[0; 64]).is_empty());
    }
}
