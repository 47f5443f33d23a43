//! Asks the kernel itself for single elements and for chains, by netlink.
//!
//! ```text
//!  element(set, key) ─▶ NFT_MSG_GETSETELEM ─▶ the one element that a packet with this key would find
//!  chains(table)     ─▶ NFT_MSG_GETCHAIN, GETRULE ─▶ per chain its hook and a digest of each rule
//! ```
//!
//! nft 1.0.6 reads every element of the table before it tells of one or of a chain (2.5 s of processor time at 100,000
//! elements), and cannot ask a concatenated interval set for a point. The kernel answers either in microseconds.
//!
//! Rules are compared with those that the kernel makes of the same ruleset elsewhere, never with what was sent: expressions
//! are taken as octets, and the names of anonymous sets, which the kernel numbers as they come, are replaced by
//! what these sets hold.

use std::collections::BTreeMap;
use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use sha2::{Digest as _, Sha256};

use super::super::netfilter::{NLMSG_DONE, NLMSG_ERROR, attribute, messages, nested, pieces};
use super::NFNL_SUBSYS_NFTABLES;

/// `NFPROTO_INET`, the family of our tables.
const INET: u8 = 1;

const NFT_MSG_GETTABLE: u8 = 1;
const NFT_MSG_GETCHAIN: u8 = 4;
const NFT_MSG_GETRULE: u8 = 7;
const NFT_MSG_GETSETELEM: u8 = 13;

const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_LOOKUP_SET: u16 = 1;
const NFTA_ELEMENT_LIST_SET: u16 = 2;
const NFTA_ELEMENT_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_ELEMENT_KEY: u16 = 1;
const NFTA_ELEMENT_DATA: u16 = 2;
const NFTA_ELEMENT_EXPIRATION: u16 = 5;
const NFTA_DATA_VALUE: u16 = 1;

/// The first attribute of every kind of object: its table's name.
const NFTA_TABLE: u16 = 1;

const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const DUMP: u16 = 0x300;

/// A datagram of a dump is at most this long (netlink(7): the kernel uses 32 KiB).
const LONGEST: usize = 64 * 1024;

/// An element as the kernel holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The value that its key is mapped to, in the order of octets of a register; `None` in a set.
    pub value: Option<Vec<u8>>,
    /// How long it still stands, in milliseconds, if it expires.
    pub expires: Option<u64>,
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
}

/// A socket that asks about the tables of the namespace in which it was opened.
#[derive(Debug)]
pub struct Kernel {
    socket: Socket,
    sequence: u32,
}

impl Kernel {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Whether there is a table of this name and our family.
    ///
    /// # Errors
    /// EPERM without CAP_NET_ADMIN, and those of `send(2)` and `recv(2)`.
    pub fn has_table(&mut self, table: &str) -> io::Result<bool> {
        self.ask(NFT_MSG_GETTABLE, ACKNOWLEDGE, &[name(NFTA_TABLE, table)]).map(|found| found.is_some())
    }

    /// The element that a packet with this key would find; `None` if there is none, or no such set.
    ///
    /// # Errors
    /// As [`Kernel::has_table`].
    pub fn element(&mut self, table: &str, set: &str, key: &[u8]) -> io::Result<Option<Element>> {
        let key = nested(NFTA_ELEMENT_KEY, &[attribute(NFTA_DATA_VALUE, key)]);
        let elements = nested(NFTA_ELEMENT_LIST_ELEMENTS, &[nested(NFTA_LIST_ELEM, &[key])]);
        let asked = [name(NFTA_TABLE, table), name(NFTA_ELEMENT_LIST_SET, set), elements];
        let Some(answer) = self.ask(NFT_MSG_GETSETELEM, ACKNOWLEDGE, &asked)? else { return Ok(None) };
        Ok(answer.iter().find_map(|body| elements_of(body).next().map(element)))
    }

    /// All chains of a table, by name; none if it is not there.
    ///
    /// # Errors
    /// As [`Kernel::has_table`].
    pub fn chains(&mut self, table: &str) -> io::Result<BTreeMap<String, Chain>> {
        let of_table = [name(NFTA_TABLE, table)];
        let mut chains = BTreeMap::new();
        for body in self.ask(NFT_MSG_GETCHAIN, DUMP, &of_table)?.unwrap_or_default() {
            if value(&body, NFTA_TABLE).map(text).as_deref() == Some(table) {
                let kinds = [NFTA_CHAIN_HOOK, NFTA_CHAIN_TYPE, NFTA_CHAIN_POLICY];
                let base = kinds.iter().filter_map(|&kind| Some((kind, value(&body, kind)?.to_vec()))).collect();
                let name = value(&body, NFTA_CHAIN_NAME).map(text).unwrap_or_default();
                chains.insert(name, Chain { base, rules: Vec::new() });
            }
        }
        let mut held = BTreeMap::new();
        for body in self.ask(NFT_MSG_GETRULE, DUMP, &of_table)?.unwrap_or_default() {
            if value(&body, NFTA_TABLE).map(text).as_deref() == Some(table) {
                let digest = self.rule(table, value(&body, NFTA_RULE_EXPRESSIONS).unwrap_or_default(), &mut held)?;
                let chain = value(&body, NFTA_RULE_CHAIN).map(text).unwrap_or_default();
                chains.entry(chain).or_default().rules.push(digest);
            }
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
                if kind == "lookup" && place == NFTA_LOOKUP_SET && set.starts_with("__") {
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
        let asked = [name(NFTA_TABLE, table), name(NFTA_ELEMENT_LIST_SET, set)];
        let bodies = self.ask(NFT_MSG_GETSETELEM, DUMP, &asked)?.unwrap_or_default();
        let mut elements: Vec<Vec<u8>> = bodies.iter().flat_map(|body| elements_of(body)).map(<[u8]>::to_vec).collect();
        elements.sort_unstable();
        Ok(elements.concat())
    }

    /// The bodies of the answers; `None` if what was asked about is not there.
    fn ask(&mut self, kind: u8, flags: u16, attributes: &[Vec<u8>]) -> io::Result<Option<Vec<Vec<u8>>>> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&request(kind, REQUEST | flags, self.sequence, attributes), 0)?;
        let (mut bodies, mut buffer) = (Vec::new(), Vec::with_capacity(LONGEST));
        loop {
            buffer.clear();
            self.socket.recv(&mut buffer, 0)?;
            for (kind, body) in messages(&buffer) {
                match (kind, body.first_chunk().map(|code| i32::from_ne_bytes(*code))) {
                    (NLMSG_DONE, _) | (NLMSG_ERROR, Some(0)) => return Ok(Some(bodies)),
                    (NLMSG_ERROR, code) => {
                        let error = io::Error::from_raw_os_error(code.unwrap_or_default().saturating_neg());
                        return if error.kind() == io::ErrorKind::NotFound { Ok(None) } else { Err(error) };
                    }
                    (_, _) => bodies.push(body.get(4..).unwrap_or_default().to_vec()),
                }
            }
        }
    }
}

fn request(kind: u8, flags: u16, sequence: u32, attributes: &[Vec<u8>]) -> Vec<u8> {
    let attributes = attributes.concat();
    let length = u32::try_from(20 + attributes.len()).unwrap_or(u32::MAX);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(u16::from_be_bytes([NFNL_SUBSYS_NFTABLES, kind]).to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend([0; 4]);
    // Family, version and resource: `nfgenmsg`.
    message.extend([INET, 0, 0, 0]);
    message.extend(attributes);
    message
}

fn name(kind: u16, text: &str) -> Vec<u8> {
    attribute(kind, &[text.as_bytes(), b"\0"].concat())
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

fn piece(attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    pieces(attributes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

fn value(body: &[u8], wanted: u16) -> Option<&[u8]> {
    piece(body, wanted)
}

fn elements_of(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    pieces(value(body, NFTA_ELEMENT_LIST_ELEMENTS).unwrap_or_default()).map(|(_, element)| element)
}

fn element(attributes: &[u8]) -> Element {
    let value = piece(attributes, NFTA_ELEMENT_DATA).and_then(|data| piece(data, NFTA_DATA_VALUE));
    let expires = piece(attributes, NFTA_ELEMENT_EXPIRATION).and_then(|left| left.first_chunk());
    Element { value: value.map(<[u8]>::to_vec), expires: expires.map(|left| u64::from_be_bytes(*left)) }
}

fn absorb(hash: &mut Sha256, kind: u16, value: &[u8]) {
    hash.update(kind.to_be_bytes());
    hash.update(value.len().to_be_bytes());
    hash.update(value);
}
