//! On which processor a thread runs (`sched_setaffinity(2)`).

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Binds the calling thread, number `place` of `threads`, to a processor of its own among those that it may use. The
/// last ones are taken: the kernel does most of its own work on the first. The processor's number.
///
/// # Errors
/// `EINVAL` when no processor would be left for others: a thread that is bound to a busy one cannot go where there is
/// time. Others by the kernel. Then the thread stays where it was.
pub fn pin(place: usize, threads: usize) -> Result<usize, Errno> {
    let itself = Pid::from_raw(0);
    let allowed = sched_getaffinity(itself)?;
    let usable: Vec<usize> = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect();
    let first = usable.len().checked_sub(threads).filter(|left| *left > 0).ok_or(Errno::EINVAL)?;
    let processor = *usable.get(first + place).ok_or(Errno::EINVAL)?;
    let mut chosen = CpuSet::new();
    chosen.set(processor)?;
    sched_setaffinity(itself, &chosen).map(|()| processor)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn usable() -> usize {
        let set = sched_getaffinity(Pid::from_raw(0)).expect("a set");
        (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).expect("a processor")).count()
    }

    #[test]
    fn each_thread_gets_a_processor_of_its_own_if_one_is_left_for_others() {
        let all = usable();
        let pinned = |place, threads| {
            let thread = thread::spawn(move || (pin(place, threads), usable()));
            thread.join().expect("no panic")
        };
        let mut places: Vec<usize> = Vec::new();
        for (processor, left) in (1..all).map(|place| pinned(place - 1, all - 1)) {
            assert_eq!(left, 1);
            places.push(processor.expect("there are enough"));
        }
        places.dedup();
        assert_eq!(places.len(), all - 1, "{places:?}");
        assert_eq!(pinned(0, all), (Err(Errno::EINVAL), all));
        assert_eq!(pinned(0, all + 1), (Err(Errno::EINVAL), all));
        assert_eq!(usable(), all, "other threads are as they were");
    }
}
