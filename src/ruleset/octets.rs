//! Elements in the octets of the kernel's registers, as netlink carries them.
//!
//! ```text
//!  department . destination . protocol . port     in a set of exact keys     in a set of ranges
//!  ├ a mark: 4 octets                              the machine's order        greater is greater octet by octet
//!  ├ an address: 4 or 16 octets                    network order              network order
//!  └ a protocol: 1, a port: 2                      padded to 4                padded to 4, first and last
//! ```
//!
//! A key of one field is not padded.

use std::net::IpAddr;

use arrayvec::ArrayVec;

use super::table::{Field, Shape, Value};

/// The octets of a key: at most four fields of the longest kind.
pub type Octets = ArrayVec<u8, 64>;

/// An element in octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The key, or the first of a range of keys.
    pub key: Octets,
    /// The last of a range of keys.
    pub last: Option<Octets>,
    /// The mark that a map maps it to.
    pub mark: Option<u32>,
    /// How long it stands, in seconds.
    pub seconds: Option<u32>,
}

/// Whether the kernel takes one element of this shape for one of ours: not, for intervals of a single field.
pub(super) fn is_plain(shape: &Shape) -> bool {
    !shape.interval || shape.key.len() > 1
}

/// The element as the kernel takes it, if [it takes one](is_plain).
pub(super) fn element(shape: &Shape, key: &[Field], value: Value) -> Element {
    let (mark, seconds) = match value {
        Value::Member => (None, None),
        Value::For(seconds) => (None, Some(seconds)),
        Value::Mark(mark) => (Some(mark), None),
    };
    Element { key: lookup(shape, key), last: shape.interval.then(|| octets(shape, key, last)), mark, seconds }
}

/// The key as chains look it up; of a range, its first.
pub(super) fn lookup(shape: &Shape, key: &[Field]) -> Octets {
    octets(shape, key, |field| field)
}

/// The mark that a key begins with.
pub(super) fn leading_mark(key: &[u8], ranges: bool) -> Option<u32> {
    let mark = key.first_chunk().copied();
    if ranges { mark.map(u32::from_be_bytes) } else { mark.map(u32::from_ne_bytes) }
}

fn last(field: Field) -> Field {
    match field {
        Field::Range(_, last) => Field::Number(last),
        Field::Device(_) | Field::Mark(_) | Field::Address(_) | Field::Prefix(_) | Field::Number(_) => field,
    }
}

fn octets(shape: &Shape, key: &[Field], end: impl Fn(Field) -> Field) -> Octets {
    let several = key.len() > 1;
    let mut octets = Octets::new();
    for (field, kind) in key.iter().zip(&shape.key) {
        put(&mut octets, end(*field), kind, several && shape.interval);
        while several && !octets.len().is_multiple_of(4) {
            octets.push(0);
        }
    }
    octets
}

fn put(octets: &mut Octets, field: Field, kind: &str, turned: bool) {
    match field {
        Field::Device(name) => octets.extend(name.0),
        Field::Mark(mark) => octets.extend(if turned { mark.to_be_bytes() } else { mark.to_ne_bytes() }),
        Field::Address(IpAddr::V4(address)) => octets.extend(address.octets()),
        Field::Address(IpAddr::V6(address)) => octets.extend(address.octets()),
        Field::Number(number) | Field::Range(number, _) if kind == "inet_service" => {
            octets.extend(number.to_be_bytes())
        }
        // Protocols and types of ICMP have one octet.
        Field::Number(number) | Field::Range(number, _) => octets.extend(number.to_be_bytes().into_iter().skip(1)),
        Field::Prefix(prefix) => put(octets, Field::Address(prefix.address()), kind, turned),
    }
}
