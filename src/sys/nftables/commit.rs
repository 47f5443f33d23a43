//! One transaction of elements, sent to the kernel as it takes them.
//!
//! ```text
//!  BATCH_BEGIN │ NEWSETELEM, DELSETELEM: up to 512 elements each … │ BATCH_END      one send(2): all of it, or none
//! ```
//!
//! The kernel has done it all, or undone it all, when `send` returns; what it has to say waits in the socket by then.

use std::io;

use nix::sys::socket::{setsockopt, sockopt};

use super::super::netfilter::{Attributes, Header, Messages, NLM_F_CREATE, NLM_F_REQUEST, messages};
use super::NFNL_SUBSYS_NFTABLES;
use super::kernel::{
    Kernel, LONGEST, NFTA_LIST_ELEM, NFTA_SET_ELEM_DATA, NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_KEY_END,
    NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_TIMEOUT, NFTA_TABLE, put_datum,
};
use crate::ruleset::{Change, Element, Elements};

const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;

const NFT_MSG_NEWTABLE: u8 = 0;
const NFT_MSG_DELTABLE: u8 = 2;
const NFT_MSG_NEWSETELEM: u8 = 12;
const NFT_MSG_DELSETELEM: u8 = 14;

/// Elements in one message: none is longer than 112 octets with its headers, and they are one attribute of at most 64 KiB.
const TOGETHER: usize = 512;

/// Room in the socket's buffer beside the transaction, for the kernel's own account of it.
const ROOM: usize = 64 * 1024;

impl Kernel {
    /// Carries the changes out in one transaction, none of which is nothing to do.
    ///
    /// # Errors
    /// EPERM without CAP_NET_ADMIN, ENOENT for a set or element that is not there, EEXIST for an element that has another
    /// value; nothing has changed then.
    pub fn commit(&mut self, changes: &[Change<'_>]) -> io::Result<()> {
        let mut batch = Messages::default();
        bracket(&mut batch, NFNL_MSG_BATCH_BEGIN);
        let mut last = None;
        for change in changes {
            last = self.add(&mut batch, *change).or(last);
        }
        let Some(last) = last else { return Ok(()) };
        batch.acknowledge();
        bracket(&mut batch, NFNL_MSG_BATCH_END);
        self.transact(batch.octets(), last)
    }

    /// Adds a change, and gives the number of its last message.
    fn add(&mut self, batch: &mut Messages, change: Change<'_>) -> Option<u32> {
        let create = NLM_F_REQUEST | NLM_F_CREATE;
        let table = |name| {
            move |attributes: &mut Attributes<'_>| {
                attributes.text(NFTA_TABLE, name);
            }
        };
        match change {
            Change::AddTable(name) => Some(self.push(batch, NFT_MSG_NEWTABLE, create, table(name))),
            Change::DeleteTable(name) => Some(self.push(batch, NFT_MSG_DELTABLE, NLM_F_REQUEST, table(name))),
            Change::Add(elements) => self.add_elements(batch, NFT_MSG_NEWSETELEM, create, elements),
            Change::Delete(elements) => self.add_elements(batch, NFT_MSG_DELSETELEM, NLM_F_REQUEST, elements),
            Change::Flush { table, set } => Some(self.push(batch, NFT_MSG_DELSETELEM, NLM_F_REQUEST, |attributes| {
                attributes.text(NFTA_TABLE, table).text(NFTA_SET_ELEM_LIST_SET, set);
            })),
        }
    }

    fn add_elements(&mut self, batch: &mut Messages, kind: u8, flags: u16, elements: &Elements) -> Option<u32> {
        let (mut octets, mut last) = (elements.octets().peekable(), None);
        while octets.peek().is_some() {
            last = Some(self.push(batch, kind, flags, |attributes| {
                attributes.text(NFTA_TABLE, elements.table()).text(NFTA_SET_ELEM_LIST_SET, elements.set());
                attributes.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |list| {
                    octets.by_ref().take(TOGETHER).for_each(|element| put(list, &element));
                });
            }));
        }
        last
    }

    /// Reads away what else is said to a transaction that was refused.
    fn refused(&mut self, code: i32) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(LONGEST);
        while self.socket.recv(&mut buffer, libc::MSG_DONTWAIT).is_ok() {
            buffer.clear();
        }
        Err(io::Error::from_raw_os_error(code.saturating_neg()))
    }

    /// Sends a transaction whose message of number `last` is to be acknowledged, and reads what the kernel says to it.
    fn transact(&mut self, batch: &[u8], last: u32) -> io::Result<()> {
        // One that is refused this much room is told so when it sends.
        setsockopt(&self.socket, sockopt::SndBufForce, &(batch.len() + ROOM)).unwrap_or_default();
        self.socket.send(batch, 0)?;
        let (mut buffer, mut done) = (Vec::with_capacity(LONGEST), false);
        loop {
            buffer.clear();
            match self.socket.recv(&mut buffer, libc::MSG_DONTWAIT) {
                Ok(_) => {
                    for (sequence, code) in messages(&buffer).filter_map(|said| Some((said.sequence, said.code()?))) {
                        match code {
                            0 => done |= sequence == last,
                            _ => return self.refused(code),
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && done => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel acknowledged nothing"));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// What opens and closes a transaction.
fn bracket(batch: &mut Messages, kind: u16) {
    let resource = u16::from(NFNL_SUBSYS_NFTABLES);
    batch.push(Header { kind, flags: NLM_F_REQUEST, sequence: 0, family: 0, resource }, |_| {});
}

fn put(list: &mut Attributes<'_>, element: &Element) {
    list.nest(NFTA_LIST_ELEM, |attributes| {
        put_datum(attributes, NFTA_SET_ELEM_KEY, &element.key);
        if let Some(last) = &element.last {
            put_datum(attributes, NFTA_SET_ELEM_KEY_END, last);
        }
        if let Some(mark) = element.mark {
            put_datum(attributes, NFTA_SET_ELEM_DATA, &mark.to_ne_bytes());
        }
        if let Some(seconds) = element.seconds {
            attributes.put(NFTA_SET_ELEM_TIMEOUT, &(u64::from(seconds) * 1000).to_be_bytes());
        }
    });
}
