//! Word of the end: the first worker that ends says why, and the data plane has ended when the last one has.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use nix::sys::eventfd::EventFd;

use super::worker::Worker;

/// Why a data plane ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was asked to.
    Stopped,
    /// The TUN device was deleted.
    DeviceGone,
    /// It failed.
    Failed(String),
}

/// Where the workers leave word of their end.
#[derive(Debug)]
pub(super) struct Ended {
    state: Mutex<State>,
    told: Condvar,
    /// Whether a worker has ended, so that the others do too.
    ending: AtomicBool,
    wakes: Vec<Arc<EventFd>>,
}

#[derive(Debug, Default)]
struct State {
    end: Option<End>,
    running: usize,
}

impl Ended {
    /// For workers that are woken by `wakes`.
    pub(super) fn new(wakes: Vec<Arc<EventFd>>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), told: Condvar::new(), ending: AtomicBool::new(false), wakes })
    }

    /// Whether a worker has ended, and the others shall.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// Why all ended; `None` while one runs.
    pub(super) fn end(&self) -> Option<End> {
        let state = self.state();
        state.end.clone().filter(|_| state.running == 0)
    }

    /// Waits until all have ended.
    pub(super) fn wait(&self) -> End {
        let mut state = self.state();
        loop {
            if let Some(end) = state.end.as_ref().filter(|_| state.running == 0) {
                return end.clone();
            }
            state = self.told.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the end of a worker, also when it panics.
pub(super) struct Teller {
    ended: Arc<Ended>,
    end: Option<End>,
}

impl Teller {
    /// For a worker that is about to run.
    pub(super) fn new(ended: Arc<Ended>) -> Self {
        ended.state().running += 1;
        Self { ended, end: None }
    }

    /// Runs the worker to its end.
    pub(super) fn run(mut self, worker: Worker) {
        self.end = Some(worker.run());
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        let mut state = self.ended.state();
        let end = self.end.take().unwrap_or_else(|| End::Failed("a worker panicked".into()));
        state.end.get_or_insert(end);
        state.running -= 1;
        self.ended.ending.store(true, Ordering::Release);
        for wake in &self.ended.wakes {
            // Fails only when it was written 2^64 times; then its worker is awake.
            wake.write(1).unwrap_or_default();
        }
        self.ended.told.notify_all();
    }
}
