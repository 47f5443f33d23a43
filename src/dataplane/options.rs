//! What a data plane is told once.

use std::num::NonZero;
use std::thread;

use crate::dataplane::Offloads;

/// Workers at most: one reads the TUN device for all, and gives no more than that work.
pub const MOST_WORKERS: u8 = 8;

/// What a data plane is told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether link-local addresses inside the tunnel (169.254.0.0/16, fe80::/10) belong to the data plane and never
    /// reach the TUN device: so for gateways, not for a plain WireGuard interface.
    pub intercept_link_local: bool,
    /// The MTU in octets that is assumed as long as the device's own cannot be asked for.
    pub mtu: u16,
    /// What the kernel may take off us, if it can.
    pub offloads: Offloads,
    /// How workers compete for processors.
    pub scheduling: Scheduling,
    /// How many threads share the peers, at most [`MOST_WORKERS`]; 0 for a number that suits the machine: one fewer than
    /// the processors that this process may use, since the kernel needs one too, at least 1 and at most 8.
    pub workers: u8,
}

/// How workers compete for processors with other programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheduling {
    /// Under load before them, where the system permits that: packets do not wait for programs, which still get a tenth
    /// of each processor.
    #[default]
    Urgent,
    /// As one of them.
    Ordinary,
}

/// How a worker competes for processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SchedulingState {
    /// Under load before other programs.
    Urgent,
    /// As one of them, as was asked for.
    #[default]
    Ordinary,
    /// As one of them, since the system does not permit anything else (`CAP_SYS_NICE`).
    Refused,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            intercept_link_local: false,
            mtu: 1420,
            offloads: Offloads::ALL,
            scheduling: Scheduling::Urgent,
            workers: 0,
        }
    }
}

impl Options {
    /// How many workers there shall be on this machine.
    pub(super) fn crew(&self) -> u8 {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        crew(self.workers, processors)
    }
}

fn crew(wanted: u8, processors: usize) -> u8 {
    match wanted {
        0 => u8::try_from(processors.saturating_sub(1)).unwrap_or(MOST_WORKERS).clamp(1, MOST_WORKERS),
        chosen => chosen.min(MOST_WORKERS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_machines_have_one_worker_and_large_ones_leave_a_processor_to_the_kernel() {
        let automatic: Vec<u8> =
            [0, 1, 2, 3, 4, 8, 9, 64, 1000].iter().map(|processors| crew(0, *processors)).collect();
        assert_eq!(automatic, [1, 1, 1, 2, 3, 7, 8, 8, 8]);
        assert_eq!((crew(3, 2), crew(1, 64), crew(255, 64)), (3, 1, MOST_WORKERS));
    }
}
