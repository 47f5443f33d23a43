//! Room for one packet or superpacket from the TUN device. It can pass from worker to worker, so that the packet need not
//! be copied.

use crate::tunnel::batch::LARGEST;
use crate::tunnel::segment::SPARE;

/// Octets of a buffer.
const SLOT: usize = LARGEST + SPARE;

/// Room for one packet or superpacket. It gets its memory when it is first used, and keeps it.
#[derive(Debug, Default)]
pub struct Buffer(Box<[u8]>);

impl Buffer {
    /// Where a packet is to be written: [`LARGEST`] octets.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.whole()[..LARGEST]
    }

    /// All octets, [`SPARE`] more than a packet can have.
    pub fn whole(&mut self) -> &mut [u8] {
        if self.0.is_empty() {
            self.0 = vec![0; SLOT].into_boxed_slice();
        }
        &mut self.0
    }

    /// The first `length` octets; none if nothing of that length was ever written.
    pub fn octets(&self, length: usize) -> &[u8] {
        self.0.get(..length).unwrap_or_default()
    }
}
