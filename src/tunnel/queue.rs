//! Packets that wait for a session: few, in order, the oldest dropped first.

use std::collections::VecDeque;

use crate::tunnel::Priority;

/// As many as Linux keeps (MAX_STAGED_PACKETS).
const PACKETS: usize = 128;
/// So that large packets on many links cannot fill the memory.
const OCTETS: usize = 256 * 1024;

/// Waiting packets, urgent ones first.
#[derive(Debug, Default)]
pub struct Queue {
    control: VecDeque<Vec<u8>>,
    data: VecDeque<Vec<u8>>,
    octets: usize,
}

impl Queue {
    /// Adds a packet, for which there are `room` more octets; returns how many were dropped: old ones for it, and itself
    /// if these were not enough.
    pub fn push(&mut self, packet: &[u8], priority: Priority, room: usize) -> u64 {
        let most = OCTETS.min(self.octets.saturating_add(room));
        match priority {
            Priority::Control => self.control.push_back(packet.to_vec()),
            Priority::Data => self.data.push_back(packet.to_vec()),
        }
        self.octets += packet.len();
        let mut dropped = 0;
        while self.len() > PACKETS || self.octets > most {
            let oldest = self.data.pop_front().or_else(|| self.control.pop_front());
            self.octets -= oldest.map_or(0, |packet| packet.len());
            dropped += 1;
        }
        dropped
    }

    /// The next packet, its length, and how urgent it is. Behind it is room for padding.
    pub fn pop(&mut self) -> Option<(Vec<u8>, usize, Priority)> {
        let (mut packet, priority) = match self.control.pop_front() {
            Some(packet) => (packet, Priority::Control),
            None => (self.data.pop_front()?, Priority::Data),
        };
        let length = packet.len();
        self.octets -= length;
        packet.resize(length.next_multiple_of(16), 0);
        Some((packet, length, priority))
    }

    /// Drops all; returns how many.
    pub fn clear(&mut self) -> u64 {
        let dropped = self.len();
        *self = Self::default();
        u64::try_from(dropped).unwrap_or(u64::MAX)
    }

    /// Octets of what waits.
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.control.len() + self.data.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_leave_in_order_and_urgent_ones_first() {
        let mut queue = Queue::default();
        queue.push(&[1; 20], Priority::Data, usize::MAX);
        queue.push(&[2; 20], Priority::Data, usize::MAX);
        queue.push(&[3; 20], Priority::Control, usize::MAX);
        let order: Vec<u8> = std::iter::from_fn(|| queue.pop()).map(|(packet, _, _)| packet[0]).collect();
        assert_eq!(order, [3, 1, 2]);
    }

    #[test]
    fn the_oldest_are_dropped_beyond_128_packets_or_256_kibioctets() {
        let mut queue = Queue::default();
        let dropped: u64 = (0..200_u8).map(|n| queue.push(&[n; 20], Priority::Data, usize::MAX)).sum();
        assert_eq!(dropped, 72);
        assert_eq!(queue.pop().map(|(packet, _, _)| packet[0]), Some(72));
        assert_eq!(queue.clear(), 127);
        let dropped: u64 = (0..10).map(|_| queue.push(&[0; 65_000], Priority::Data, usize::MAX)).sum();
        assert_eq!(dropped, 6);
        assert_eq!(queue.octets, 4 * 65_000);
    }

    #[test]
    fn without_more_room_a_packet_takes_the_place_of_older_ones_or_is_dropped_itself() {
        let mut queue = Queue::default();
        assert_eq!(queue.push(&[1; 100], Priority::Data, 99), 1);
        assert!(queue.is_empty());
        assert_eq!(queue.push(&[1; 100], Priority::Data, 100), 0);
        assert_eq!(queue.push(&[2; 60], Priority::Data, 20), 1);
        assert_eq!((queue.pop().map(|(packet, _, _)| packet[0]), queue.octets()), (Some(2), 0));
    }
}
