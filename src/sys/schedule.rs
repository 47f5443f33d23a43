//! How a thread competes for a processor (`sched(7)`).

use nix::errno::Errno;

/// A scheduling class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `SCHED_OTHER`: shares the processor with all others.
    Ordinary,
    /// `SCHED_RR` at the lowest real-time priority: runs when it can, in turn with its equals.
    RoundRobin,
}

/// Puts the calling thread into a class. Threads and processes that it makes are ordinary ones.
///
/// # Errors
/// `EPERM` without `CAP_SYS_NICE` or a limit on real-time priorities (`RLIMIT_RTPRIO`) of at least 1.
pub fn enter(class: Class) -> Result<(), Errno> {
    let (policy, priority) = match class {
        Class::Ordinary => (libc::SCHED_OTHER, 0),
        Class::RoundRobin => (libc::SCHED_RR, 1),
    };
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: the parameter lives until after the call, which only reads it; 0 is the calling thread.
    let set = unsafe { libc::sched_setscheduler(0, policy | libc::SCHED_RESET_ON_FORK, &raw const parameter) };
    Errno::result(set).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_enters_a_class_and_leaves_it_or_is_told_that_it_may_not() {
        let class = || {
            // SAFETY: takes no pointer; 0 is the calling thread.
            unsafe { libc::sched_getscheduler(0) & !libc::SCHED_RESET_ON_FORK }
        };
        let entered = std::thread::spawn(move || match enter(Class::RoundRobin) {
            Ok(()) => {
                let urgent = class();
                enter(Class::Ordinary).expect("everyone may be ordinary");
                (Ok(urgent), class())
            }
            Err(errno) => (Err(errno), class()),
        });
        let (urgent, after) = entered.join().expect("no panic");
        assert!(matches!(urgent, Ok(libc::SCHED_RR) | Err(Errno::EPERM)), "{urgent:?}");
        assert_eq!(after, libc::SCHED_OTHER);
    }
}
