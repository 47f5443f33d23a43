//! Room for one packet or superpacket from the TUN device. It can pass from worker to worker, so that the packet need not
//! be copied.

use crate::tunnel::batch::LARGEST;
use crate::tunnel::segment::{SPARE, VnetHeader};

/// Octets before the packet: its header ends there, and the packet begins where memory is aligned.
const LEAD: usize = 16;
/// Octets of a buffer.
const SLOT: usize = LEAD + LARGEST + SPARE;

/// Room for one packet or superpacket with its header. It gets its memory when it is first used, and keeps it.
#[derive(Debug, Default)]
pub struct Buffer(Box<[u8]>);

impl Buffer {
    /// Where a packet is to be written: its header, of [`VnetHeader::LENGTH`] octets, and behind it up to [`LARGEST`].
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.all()[LEAD - VnetHeader::LENGTH..LEAD + LARGEST]
    }

    /// The header as it was written.
    pub fn header(&self) -> VnetHeader {
        let header = self.0.get(LEAD - VnetHeader::LENGTH..).and_then(<[u8]>::first_chunk);
        header.map_or(VnetHeader::NONE, |octets| VnetHeader::from_octets(*octets))
    }

    /// The packet's octets, and [`SPARE`] more than a packet can have.
    pub fn packet(&mut self) -> &mut [u8] {
        &mut self.all()[LEAD..]
    }

    /// The first `length` octets of the packet; none if nothing of that length was ever written.
    pub fn octets(&self, length: usize) -> &[u8] {
        self.0.get(LEAD..LEAD + length).unwrap_or_default()
    }

    fn all(&mut self) -> &mut [u8] {
        if self.0.is_empty() {
            self.0 = vec![0; SLOT].into_boxed_slice();
        }
        &mut self.0
    }
}
