//! Whether what waits to be received stands.
//!
//! A socket's 8 MiB are for bursts. Whoever sends faster than the cipher works would keep them full, and as a standing
//! queue they are a delay of tens of milliseconds for everyone else who sends.

use std::time::{Duration, Instant};

use crate::net::Family;
use crate::tunnel::{Codel, SocketSlot};

/// For how long more than 2 ms of work may wait.
const INTERVAL: Duration = Duration::from_millis(40);

/// What is remembered of each socket's queues, one in each family.
#[derive(Debug, Default)]
pub(super) struct Standing(Vec<Queues>);

#[derive(Clone, Copy, Debug)]
struct Queues {
    v4: Codel,
    v6: Codel,
}

/// What has waited to be received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) socket: SocketSlot,
    pub(super) family: Family,
    /// For how long.
    pub(super) sojourn: Duration,
    /// Whether there is more behind it.
    pub(super) more: bool,
}

impl Standing {
    /// Whether what was received is to tell its sender to slow down.
    pub(super) fn signals(&mut self, wait: Wait, now: Instant) -> bool {
        let slot = wait.socket.0;
        if self.0.len() <= slot {
            let empty = Queues { v4: Codel::new(INTERVAL), v6: Codel::new(INTERVAL) };
            self.0.resize(slot + 1, empty);
        }
        let queue = match wait.family {
            Family::V4 => &mut self.0[slot].v4,
            Family::V6 => &mut self.0[slot].v6,
        };
        queue.signals(wait.sojourn, wait.more, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_stands_is_no_matter_of_another() {
        const MS: Duration = Duration::from_millis(1);
        let begun = Instant::now();
        let mut standing = Standing::default();
        let mut signals = |(slot, family), sojourn| {
            let wait = Wait { socket: SocketSlot(slot), family, sojourn, more: true };
            (0..60).step_by(4).filter(|after| standing.signals(wait, begun + *after * MS)).count()
        };
        assert_eq!(signals((0, Family::V4), MS), 0, "canary: a short queue");
        assert_eq!(signals((0, Family::V4), 3 * MS), 1, "after 40 ms");
        assert_eq!(signals((0, Family::V6), MS) + signals((3, Family::V4), MS), 0);
    }
}
