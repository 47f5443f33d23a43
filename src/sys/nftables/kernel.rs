//! Talks to the kernel's nftables itself, by netlink.
//!
//! ```text
//!  element(set, key) ─▶ NFT_MSG_GETSETELEM ─▶ the one element that a packet with this key would find
//!  chains(table)     ─▶ NFT_MSG_GETCHAIN, GETRULE ─▶ per chain its hook and a digest of each rule
//!  listing(table)    ─▶ all of it: counters, and what tells two states apart       (listing.rs)
//!  commit(changes)   ─▶ one transaction of elements                                 (commit.rs)
//! ```
//!
//! nft 1.0.6 reads every element of the table before it tells of one or of a chain (2.5 s of processor time at 100,000
//! elements), cannot ask a concatenated interval set for a point, and takes 60 ms to add one element to very many. The
//! kernel does any of that in microseconds.
//!
//! Rules are compared with those that the kernel makes of the same ruleset elsewhere, never with what was sent: expressions
//! are taken as octets, and the names of anonymous sets, which the kernel numbers as they come, are replaced by
//! what these sets hold.

use std::collections::BTreeMap;
use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use sha2::{Digest as _, Sha256};

use super::super::netfilter::{
    Attributes, Header, Messages, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, eight, messages,
    piece, pieces, text,
};
use super::NFNL_SUBSYS_NFTABLES;
use crate::ruleset::Count;

/// `NFPROTO_INET`, the family of our tables.
pub(super) const INET: u8 = 1;

const NFT_MSG_GETTABLE: u8 = 1;
const NFT_MSG_GETCHAIN: u8 = 4;
const NFT_MSG_GETRULE: u8 = 7;
pub(super) const NFT_MSG_GETSETELEM: u8 = 13;

const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_LOOKUP_SET: u16 = 1;
const NFTA_COUNTER_BYTES: u16 = 1;
const NFTA_COUNTER_PACKETS: u16 = 2;
pub(super) const NFTA_SET_ELEM_LIST_SET: u16 = 2;
pub(super) const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
pub(super) const NFTA_LIST_ELEM: u16 = 1;
pub(super) const NFTA_SET_ELEM_KEY: u16 = 1;
pub(super) const NFTA_SET_ELEM_DATA: u16 = 2;
pub(super) const NFTA_SET_ELEM_TIMEOUT: u16 = 4;
const NFTA_SET_ELEM_EXPIRATION: u16 = 5;
const NFTA_SET_ELEM_EXPR: u16 = 7;
pub(super) const NFTA_SET_ELEM_KEY_END: u16 = 10;
const NFTA_DATA_VALUE: u16 = 1;

/// The first attribute of every kind of object: its table's name.
pub(super) const NFTA_TABLE: u16 = 1;

/// A datagram of a dump is at most this long (netlink(7): the kernel uses 32 KiB).
pub(super) const LONGEST: usize = 64 * 1024;

/// An element as the kernel holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The value that its key is mapped to, in the order of octets of a register; `None` in a set.
    pub value: Option<Vec<u8>>,
    /// How long it still stands, in milliseconds, if it expires.
    pub expires: Option<u64>,
    /// What it counted, if it counts.
    pub count: Option<Count>,
}

/// A chain as the kernel holds it, so that two can be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Hook, type and policy of a chain that the kernel calls.
    base: Vec<(u16, Vec<u8>)>,
    /// A digest of each rule, in their order.
    rules: Vec<[u8; 32]>,
}

impl Chain {
    /// What tells it from what it should be, in words.
    pub fn difference(&self, expected: &Self) -> Option<String> {
        let (has, should) = (self.rules.len(), expected.rules.len());
        let place = (1..).zip(self.rules.iter().zip(&expected.rules)).find(|(_, (one, other))| one != other);
        match (place, self.base != expected.base) {
            (_, true) => Some("is called at another hook, or ends in another policy".to_owned()),
            (_, false) if has != should => Some(format!("has {has} rules instead of {should}")),
            (Some((number, _)), false) => Some(format!("has another rule {number}")),
            (None, false) => None,
        }
    }

    /// A digest of all of it.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        self.base.iter().for_each(|(kind, value)| absorb(&mut hash, *kind, value));
        self.rules.iter().for_each(|rule| hash.update(rule));
        hash.finalize().into()
    }
}

/// A socket that talks about the tables of the namespace in which it was opened.
#[derive(Debug)]
pub struct Kernel {
    pub(super) socket: Socket,
    sequence: u32,
}

impl Kernel {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // A refusal does not repeat the whole of what was refused.
        socket.set_cap_ack(true)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Whether there is a table of this name and our family.
    ///
    /// # Errors
    /// EPERM without CAP_NET_ADMIN, and those of `send(2)` and `recv(2)`.
    pub fn has_table(&mut self, table: &str) -> io::Result<bool> {
        let asked = self.ask(NFT_MSG_GETTABLE, NLM_F_ACK, |attributes| {
            attributes.text(NFTA_TABLE, table);
        });
        asked.map(|found| found.is_some())
    }

    /// Whether a table has a chain of this name.
    ///
    /// # Errors
    /// As [`Kernel::has_table`].
    pub fn has_chain(&mut self, table: &str, chain: &str) -> io::Result<bool> {
        let asked = self.ask(NFT_MSG_GETCHAIN, NLM_F_ACK, |attributes| {
            attributes.text(NFTA_TABLE, table).text(NFTA_CHAIN_NAME, chain);
        });
        asked.map(|found| found.is_some())
    }

    /// The element that a packet with this key would find; `None` if there is none, or no such set.
    ///
    /// # Errors
    /// As [`Kernel::has_table`].
    pub fn element(&mut self, table: &str, set: &str, key: &[u8]) -> io::Result<Option<Element>> {
        let answer = self.ask(NFT_MSG_GETSETELEM, NLM_F_ACK, |attributes| {
            attributes.text(NFTA_TABLE, table).text(NFTA_SET_ELEM_LIST_SET, set);
            attributes.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |list| {
                list.nest(NFTA_LIST_ELEM, |element| put_datum(element, NFTA_SET_ELEM_KEY, key));
            });
        })?;
        Ok(answer.iter().flatten().find_map(|body| elements_of(body).next().map(element)))
    }

    /// All chains of a table, by name; none if it is not there.
    ///
    /// # Errors
    /// As [`Kernel::has_table`].
    pub fn chains(&mut self, table: &str) -> io::Result<BTreeMap<String, Chain>> {
        let mut chains = BTreeMap::new();
        for body in self.dump(NFT_MSG_GETCHAIN, table)?.unwrap_or_default() {
            let kinds = [NFTA_CHAIN_HOOK, NFTA_CHAIN_TYPE, NFTA_CHAIN_POLICY];
            let base = kinds.iter().filter_map(|&kind| Some((kind, piece(&body, kind)?.to_vec()))).collect();
            let name = piece(&body, NFTA_CHAIN_NAME).map(text).unwrap_or_default();
            chains.insert(name, Chain { base, rules: Vec::new() });
        }
        let mut held = BTreeMap::new();
        for body in self.dump(NFT_MSG_GETRULE, table)?.unwrap_or_default() {
            let digest = self.rule(table, piece(&body, NFTA_RULE_EXPRESSIONS).unwrap_or_default(), &mut held)?;
            let chain = piece(&body, NFTA_RULE_CHAIN).map(text).unwrap_or_default();
            chains.entry(chain).or_default().rules.push(digest);
        }
        Ok(chains)
    }

    /// A digest of a rule's expressions; what anonymous sets hold is read once each.
    fn rule(&mut self, table: &str, expressions: &[u8], held: &mut BTreeMap<String, Vec<u8>>) -> io::Result<[u8; 32]> {
        let mut hash = Sha256::new();
        for (_, expression) in pieces(expressions) {
            let (kind, data) = (piece(expression, NFTA_EXPR_NAME), piece(expression, NFTA_EXPR_DATA));
            let kind = kind.map(text).unwrap_or_default();
            absorb(&mut hash, 0, kind.as_bytes());
            for (place, value) in pieces(data.unwrap_or_default()) {
                let set = text(value);
                if kind == "lookup" && place == NFTA_LOOKUP_SET && is_anonymous(&set) {
                    if !held.contains_key(&set) {
                        let content = self.content(table, &set)?;
                        held.insert(set.clone(), content);
                    }
                    absorb(&mut hash, place, held.get(&set).map(Vec::as_slice).unwrap_or_default());
                } else {
                    absorb(&mut hash, place, value);
                }
            }
        }
        Ok(hash.finalize().into())
    }

    /// What an anonymous set holds, in an order of its own.
    fn content(&mut self, table: &str, set: &str) -> io::Result<Vec<u8>> {
        let bodies = self.dump_set(table, set)?;
        let mut elements: Vec<Vec<u8>> = bodies.iter().flat_map(|body| elements_of(body)).map(<[u8]>::to_vec).collect();
        elements.sort_unstable();
        Ok(elements.concat())
    }

    /// What a set holds: messages of elements.
    pub(super) fn dump_set(&mut self, table: &str, set: &str) -> io::Result<Vec<Vec<u8>>> {
        let answer = self.ask(NFT_MSG_GETSETELEM, NLM_F_DUMP, |attributes| {
            attributes.text(NFTA_TABLE, table).text(NFTA_SET_ELEM_LIST_SET, set);
        })?;
        Ok(answer.unwrap_or_default())
    }

    /// All objects of a kind in a table; `None` if it is not there and the kernel says so.
    pub(super) fn dump(&mut self, kind: u8, table: &str) -> io::Result<Option<Vec<Vec<u8>>>> {
        let answer = self.ask(kind, NLM_F_DUMP, |attributes| {
            attributes.text(NFTA_TABLE, table);
        })?;
        // Linux 6.1 takes no notice of a table's name in some dumps.
        let ours = |body: &Vec<u8>| piece(body, NFTA_TABLE).map(text).as_deref() == Some(table);
        Ok(answer.map(|bodies| bodies.into_iter().filter(ours).collect()))
    }

    /// The attributes of the answers; `None` if what was asked about is not there.
    pub(super) fn ask(
        &mut self,
        kind: u8,
        flags: u16,
        fill: impl FnOnce(&mut Attributes<'_>),
    ) -> io::Result<Option<Vec<Vec<u8>>>> {
        let mut request = Messages::default();
        let sequence = self.push(&mut request, kind, NLM_F_REQUEST | flags, fill);
        self.socket.send(request.octets(), 0)?;
        let (mut bodies, mut buffer) = (Vec::new(), Vec::with_capacity(LONGEST));
        loop {
            buffer.clear();
            self.socket.recv(&mut buffer, 0)?;
            for message in messages(&buffer).filter(|message| message.sequence == sequence) {
                if message.flags & NLM_F_DUMP_INTR != 0 {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                match (message.kind, message.code()) {
                    (NLMSG_DONE, _) | (_, Some(0)) => return Ok(Some(bodies)),
                    (_, Some(code)) => {
                        let error = io::Error::from_raw_os_error(code.saturating_neg());
                        return if error.kind() == io::ErrorKind::NotFound { Ok(None) } else { Err(error) };
                    }
                    (_, None) => bodies.push(message.attributes().to_vec()),
                }
            }
        }
    }

    /// Adds a message about nftables, and gives its number.
    pub(super) fn push(
        &mut self,
        to: &mut Messages,
        kind: u8,
        flags: u16,
        fill: impl FnOnce(&mut Attributes<'_>),
    ) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        let kind = u16::from_be_bytes([NFNL_SUBSYS_NFTABLES, kind]);
        to.push(Header { kind, flags, sequence: self.sequence, family: INET, resource: 0 }, fill);
        self.sequence
    }
}

/// Whether a set belongs to a rule: those have names that the kernel made.
pub(super) fn is_anonymous(set: &str) -> bool {
    set.starts_with("__")
}

pub(super) fn elements_of(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    pieces(piece(body, NFTA_SET_ELEM_LIST_ELEMENTS).unwrap_or_default()).map(|(_, element)| element)
}

fn element(attributes: &[u8]) -> Element {
    Element {
        value: datum(attributes, NFTA_SET_ELEM_DATA).map(<[u8]>::to_vec),
        expires: piece(attributes, NFTA_SET_ELEM_EXPIRATION).and_then(eight),
        count: element_count(attributes),
    }
}

/// Writes a value or key of an element.
pub(super) fn put_datum(element: &mut Attributes<'_>, kind: u16, value: &[u8]) {
    element.nest(kind, |data| {
        data.put(NFTA_DATA_VALUE, value);
    });
}

/// A value or key of an element.
pub(super) fn datum(element: &[u8], kind: u16) -> Option<&[u8]> {
    piece(element, kind).and_then(|data| piece(data, NFTA_DATA_VALUE))
}

/// What an element counted, if a counter is what it has.
pub(super) fn element_count(element: &[u8]) -> Option<Count> {
    let expression = piece(element, NFTA_SET_ELEM_EXPR)?;
    let name = piece(expression, NFTA_EXPR_NAME).map(text)?;
    (name == "counter").then(|| count(piece(expression, NFTA_EXPR_DATA).unwrap_or_default()))
}

/// The data of a counter.
pub(super) fn count(data: &[u8]) -> Count {
    let number = |kind| piece(data, kind).and_then(eight).unwrap_or_default();
    Count { packets: number(NFTA_COUNTER_PACKETS), bytes: number(NFTA_COUNTER_BYTES) }
}

pub(super) fn absorb(hash: &mut Sha256, kind: u16, value: &[u8]) {
    hash.update(kind.to_be_bytes());
    hash.update(value.len().to_be_bytes());
    hash.update(value);
}
