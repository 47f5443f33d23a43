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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Prefix;

    fn ip(text: &str) -> Field {
        Field::Address(text.parse().expect("an address"))
    }

    fn shape() -> Shape {
        Shape::map(&["mark", "ipv4_addr", "inet_proto", "inet_service"])
    }

    const MARK: u32 = 0x8000_0102;

    #[test]
    fn an_exact_key_has_each_field_padded_and_its_mark_as_the_machine_has_it() {
        let key = [Field::Mark(MARK), ip("100.64.3.20"), Field::Number(6), Field::Number(443)];
        let element = element(&shape(), &key, Value::Mark(142));
        let octets = [&MARK.to_ne_bytes()[..], &[100, 64, 3, 20, 6, 0, 0, 0, 1, 187, 0, 0]].concat();
        assert_eq!((element.key.as_slice(), element.last), (octets.as_slice(), None));
        assert_eq!((element.mark, element.seconds), (Some(142), None));
        assert_eq!(leading_mark(&octets, false), Some(MARK));
        assert!(is_plain(&shape()));
    }

    #[test]
    fn a_range_has_both_ends_and_its_mark_so_that_greater_is_greater() {
        let key = [Field::Mark(MARK), ip("100.64.3.20"), Field::Number(17), Field::Range(5000, 5999)];
        let ranges = shape().of_intervals();
        let element = element(&ranges, &key, Value::Mark(7));
        let octets = |port: [u8; 2]| [&[0x80, 0, 1, 2, 100, 64, 3, 20, 17, 0, 0, 0], &port[..], &[0, 0]].concat();
        assert_eq!(element.key.as_slice(), octets([0x13, 0x88]));
        assert_eq!(element.last.expect("a last").as_slice(), octets([0x17, 0x6f]));
        assert_eq!(leading_mark(&octets([0, 0]), true), Some(MARK));
        assert_eq!(leading_mark(&[1, 2, 3], true), None);
        assert!(is_plain(&ranges));
    }

    #[test]
    fn one_field_alone_is_not_padded_and_intervals_of_one_are_left_to_nft() {
        let device = element(&Shape::set(&["ifname"]).expiring(), &[Field::device("tp0")], Value::For(30));
        assert_eq!(device.key.as_slice(), b"tp0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!((device.mark, device.seconds), (None, Some(30)));
        let longest = lookup(&Shape::set(&["ifname"]), &[Field::device("a-name-longer-than-15")]);
        assert_eq!(longest.as_slice(), b"a-name-longer-t\0");
        let kind = lookup(&Shape::set(&["icmp_type"]), &[Field::Number(8)]);
        assert_eq!(kind.as_slice(), [8]);
        let prefix: Prefix = "10.1.0.0/16".parse().expect("a prefix");
        let prefixes = Shape::set(&["ipv4_addr"]).of_intervals();
        assert!(!is_plain(&prefixes));
        assert_eq!(lookup(&prefixes, &[Field::Prefix(prefix)]).as_slice(), [10, 1, 0, 0]);
        assert_eq!(element(&Shape::set(&["mark"]), &[Field::Mark(9)], Value::Member).mark, None);
    }
}
