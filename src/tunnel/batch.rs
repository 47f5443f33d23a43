//! Packets or datagrams side by side in one buffer, each with what it needs to travel.
//!
//! A worker owns its batches and uses them again and again: nothing is allocated per packet.
//!
//! ```text
//!  space  [ packet 0 | packet 1 | packet 2 |  room: at least LARGEST octets  …        ]
//!  entries  tag 0      tag 1      tag 2       ^ the next one is written here, then committed
//! ```

/// The room that the next packet or datagram gets, in octets: more than any can have (65,535).
pub const LARGEST: usize = 65_536;

/// Packets or datagrams in one buffer.
#[derive(Debug)]
pub struct Batch<T> {
    space: Box<[u8]>,
    used: usize,
    entries: Vec<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    start: usize,
    length: usize,
    tag: T,
}

impl<T> Batch<T> {
    /// A batch of `largest` packets of the largest size, or many more small ones; at least one.
    pub fn new(largest: usize) -> Self {
        Self { space: vec![0; largest.max(1) * LARGEST].into_boxed_slice(), used: 0, entries: Vec::new() }
    }

    /// Whether one more of any size fits.
    pub fn has_room(&self) -> bool {
        self.space.len() - self.used >= LARGEST
    }

    /// Where to write the next one: exactly [`LARGEST`] octets; `None` when the batch is full.
    pub fn room(&mut self) -> Option<&mut [u8]> {
        self.space.get_mut(self.used..self.used + LARGEST)
    }

    /// Takes the first `length` octets of the room (at most [`LARGEST`]) as the next one.
    pub fn commit(&mut self, length: usize, tag: T) {
        let length = length.min(LARGEST);
        self.entries.push(Entry { start: self.used, length, tag });
        self.used += length;
    }

    /// Octets in it, so that its owner can pass it on while it is still in the processor's cache.
    pub fn used(&self) -> usize {
        self.used
    }

    /// The octets of `number` entries from `position` on, which lie side by side.
    pub fn run(&self, position: usize, number: usize) -> Option<&[u8]> {
        let first = self.entries.get(position)?;
        let last = self.entries.get(position + number.checked_sub(1)?)?;
        self.space.get(first.start..last.start + last.length)
    }

    /// How many it holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The one at `position`, in the order of commitment.
    pub fn entry(&self, position: usize) -> Option<(&T, &[u8])> {
        self.entries.get(position).map(|entry| (&entry.tag, &self.space[entry.start..entry.start + entry.length]))
    }

    /// All, in the order of commitment.
    pub fn iter(&self) -> impl Iterator<Item = (&T, &[u8])> {
        (0..self.len()).filter_map(|position| self.entry(position))
    }

    /// Forgets the first `number`; what is behind them moves to the front.
    pub fn forget(&mut self, number: usize) {
        let Some(start) = self.entries.get(number).map(|entry| entry.start) else { return self.clear() };
        self.space.copy_within(start..self.used, 0);
        self.used -= start;
        self.entries.drain(..number);
        self.entries.iter_mut().for_each(|entry| entry.start -= start);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.used = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_lie_side_by_side_until_one_of_any_size_fits_no_more() {
        let mut batch = Batch::new(2);
        for (octet, tag) in [(1, 'a'), (2, 'b')] {
            batch.room().expect("room")[..3].fill(octet);
            batch.commit(3, tag);
        }
        assert_eq!(batch.iter().collect::<Vec<_>>(), [(&'a', &[1; 3][..]), (&'b', &[2; 3][..])]);
        assert_eq!(batch.used(), 6);
        assert_eq!(batch.run(0, 2), Some(&[1, 1, 1, 2, 2, 2][..]));
        assert_eq!(batch.run(1, 1), Some(&[2; 3][..]));
        assert_eq!((batch.run(1, 2), batch.run(0, 0)), (None, None));
        batch.commit(LARGEST, 'c');
        assert!(!batch.has_room());
        assert!(batch.room().is_none());
        batch.clear();
        assert!(batch.has_room() && batch.is_empty());
    }

    #[test]
    fn what_is_behind_the_forgotten_moves_to_the_front() {
        let mut batch = Batch::new(1);
        for (octet, tag) in [(1, 'a'), (2, 'b'), (3, 'c')] {
            batch.space[batch.used..][..usize::from(octet)].fill(octet);
            batch.commit(octet.into(), tag);
        }
        batch.forget(0);
        assert_eq!((batch.len(), batch.used()), (3, 6));
        batch.forget(1);
        assert_eq!(batch.iter().collect::<Vec<_>>(), [(&'b', &[2; 2][..]), (&'c', &[3; 3][..])]);
        assert_eq!((batch.used(), batch.run(0, 2)), (5, Some(&[2, 2, 3, 3, 3][..])));
        batch.commit(1, 'd');
        assert_eq!(batch.run(2, 1).map(<[u8]>::len), Some(1));
        batch.forget(3);
        assert!(batch.is_empty() && batch.used() == 0);
    }
}
