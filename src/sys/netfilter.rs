//! The octets of NETLINK_NETFILTER: messages of `nlmsghdr` and `nfgenmsg` (netlink(7)), and attributes within them.
//!
//! ```text
//!  datagram ─ messages ─▶ type, body ─ from octet 4 of the body ─ pieces ─▶ kind, value ─ perhaps pieces again
//! ```
//!
//! All of it is foreign: whatever is malformed ends the walk, and nothing panics.

/// The type of an error or acknowledgement.
pub(super) const NLMSG_ERROR: u16 = 2;

/// The type of what ends a dump.
pub(super) const NLMSG_DONE: u16 = 3;

/// The bit in an attribute's kind that says that there are attributes in it.
const NLA_F_NESTED: u16 = 1 << 15;

/// One attribute, padded to four octets.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut attribute = length.to_ne_bytes().to_vec();
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

/// Attributes within an attribute.
pub(super) fn nested(kind: u16, values: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | NLA_F_NESTED, &values.concat())
}

/// The messages of a datagram (netlink(7)): type and body each, up to the first that is malformed.
pub(super) fn messages(datagram: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    walk(datagram, |rest| {
        let header = rest.first_chunk::<16>()?;
        let length = usize::try_from(u32::from_ne_bytes([header[0], header[1], header[2], header[3]])).ok()?;
        Some((length, u16::from_ne_bytes([header[4], header[5]]), rest.get(16..length)?))
    })
}

/// Attributes: kind without its flag bits, and value.
pub(super) fn pieces(attributes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    walk(attributes, |rest| {
        let header = rest.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        Some((length, u16::from_ne_bytes([header[2], header[3]]) & 0x3fff, rest.get(4..length)?))
    })
}

/// One piece after the other, each aligned to four octets. `read` gives length, kind and body; the length is at least that of
/// a header, since the body begins behind it.
fn walk<'a>(
    mut rest: &'a [u8],
    read: impl Fn(&'a [u8]) -> Option<(usize, u16, &'a [u8])>,
) -> impl Iterator<Item = (u16, &'a [u8])> {
    std::iter::from_fn(move || {
        let (length, kind, body) = read(rest)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}
