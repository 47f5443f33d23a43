//! The octets of NETLINK_NETFILTER: messages of `nlmsghdr` and `nfgenmsg` (netlink(7)), and attributes within them.
//!
//! ```text
//!  Messages ─ push(kind, …, |body| body.put(…).nest(…)) ─▶ datagram
//!  datagram ─ messages ─▶ Message ─ attributes ─ pieces ─▶ kind, value ─ perhaps pieces again
//! ```
//!
//! What is read is foreign: whatever is malformed ends the walk, and nothing panics.

/// The type of an error or acknowledgement.
pub(super) const NLMSG_ERROR: u16 = 2;

/// The type of what ends a dump.
pub(super) const NLMSG_DONE: u16 = 3;

/// A request.
pub(super) const NLM_F_REQUEST: u16 = 1;

/// It is to be acknowledged.
pub(super) const NLM_F_ACK: u16 = 4;

/// Of an answer: what is dumped changed meanwhile.
pub(super) const NLM_F_DUMP_INTR: u16 = 0x10;

/// It asks for all there is.
pub(super) const NLM_F_DUMP: u16 = 0x300;

/// It makes what is not there.
pub(super) const NLM_F_CREATE: u16 = 0x400;

/// The bit in an attribute's kind that says that there are attributes in it.
const NLA_F_NESTED: u16 = 1 << 15;

/// `nlmsghdr` and `nfgenmsg`.
const HEADERS: usize = 16 + 4;

/// Messages one behind the other, to be sent at once.
#[derive(Debug, Default)]
pub(super) struct Messages {
    octets: Vec<u8>,
    /// Where the last one begins.
    last: usize,
}

/// What a message begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// Subsystem and type.
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    /// `NFPROTO_*`.
    pub(super) family: u8,
    /// `res_id`.
    pub(super) resource: u16,
}

impl Messages {
    /// Adds a message with the attributes that `fill` writes.
    pub(super) fn push(&mut self, header: Header, fill: impl FnOnce(&mut Attributes<'_>)) {
        let (start, octets) = (self.octets.len(), &mut self.octets);
        octets.extend([0; 4]);
        octets.extend(header.kind.to_ne_bytes());
        octets.extend(header.flags.to_ne_bytes());
        octets.extend(header.sequence.to_ne_bytes());
        // The sender, whom the kernel knows; family and version.
        octets.extend([0, 0, 0, 0, header.family, 0]);
        octets.extend(header.resource.to_be_bytes());
        fill(&mut Attributes(octets));
        let length = u32::try_from(octets.len() - start).unwrap_or(u32::MAX);
        octets[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        self.last = start;
    }

    /// Has the last one acknowledged.
    pub(super) fn acknowledge(&mut self) {
        if let Some(flags) = self.octets.get_mut(self.last + 6..).and_then(<[u8]>::first_chunk_mut) {
            *flags = (u16::from_ne_bytes(*flags) | NLM_F_ACK).to_ne_bytes();
        }
    }

    /// The datagram.
    pub(super) fn octets(&self) -> &[u8] {
        &self.octets
    }
}

/// A writer of attributes. None may be longer than 65,535 octets.
pub(super) struct Attributes<'a>(&'a mut Vec<u8>);

impl Attributes<'_> {
    /// An attribute, padded to four octets.
    pub(super) fn put(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.add(kind, |octets| octets.extend(value))
    }

    /// A text, with a zero behind it.
    pub(super) fn text(&mut self, kind: u16, text: &str) -> &mut Self {
        self.add(kind, |octets| octets.extend(text.bytes().chain([0])))
    }

    /// Attributes within an attribute.
    pub(super) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) -> &mut Self {
        self.add(kind | NLA_F_NESTED, |octets| fill(&mut Attributes(octets)))
    }

    fn add(&mut self, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let start = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend(kind.to_ne_bytes());
        fill(self.0);
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }
}

/// A message that was received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    /// Subsystem and type.
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    /// From `nfgenmsg` on, or the code of an error.
    pub(super) body: &'a [u8],
}

impl<'a> Message<'a> {
    /// What stands behind `nfgenmsg`.
    pub(super) fn attributes(&self) -> &'a [u8] {
        self.body.get(HEADERS - 16..).unwrap_or_default()
    }

    /// The code of an error or acknowledgement: 0, or an error number of the kernel, which is negative.
    pub(super) fn code(&self) -> Option<i32> {
        let code = || self.body.first_chunk().map(|code| i32::from_ne_bytes(*code));
        (self.kind == NLMSG_ERROR).then(code).flatten()
    }
}

/// The messages of a datagram (netlink(7)), up to the first that is malformed.
pub(super) fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    walk(datagram, |rest| {
        let header = rest.first_chunk::<16>()?;
        let four = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let two = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let length = usize::try_from(four(0)).ok()?;
        Some((length, Message { kind: two(4), flags: two(6), sequence: four(8), body: rest.get(16..length)? }))
    })
}

/// Attributes: kind without its flag bits, and value.
pub(super) fn pieces(attributes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    walk(attributes, |rest| {
        let header = rest.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        Some((length, (u16::from_ne_bytes([header[2], header[3]]) & 0x3fff, rest.get(4..length)?)))
    })
}

/// The first attribute of a kind.
pub(super) fn piece(attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    pieces(attributes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

/// A text without the zeros behind it.
pub(super) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

/// A number in network order; `None` if it is not so long.
pub(super) fn four(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|octets| u32::from_be_bytes(*octets))
}

/// The same of eight octets.
pub(super) fn eight(value: &[u8]) -> Option<u64> {
    value.first_chunk().map(|octets| u64::from_be_bytes(*octets))
}

/// One piece after the other, each aligned to four octets. `read` gives the length and what is made of it; the length is at
/// least that of a header, since the body begins behind it.
fn walk<'a, T>(mut rest: &'a [u8], read: impl Fn(&'a [u8]) -> Option<(usize, T)>) -> impl Iterator<Item = T> {
    std::iter::from_fn(move || {
        let (length, piece) = read(rest)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(piece)
    })
}
