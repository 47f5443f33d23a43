//! What the kernel knows of the TUN device: its MTU and the MTUs of routes through it, wherever the device stands.
//!
//! ```text
//!  watcher thread, in the device's network namespace           each worker
//!  rtnetlink: link, routes ─ ours? ─▶ look ─▶ latest Mtus ─ eventfd ─▶ news()
//!  each second: was the device moved? follow it
//! ```
//!
//! A thread of its own, because a look waits for the kernel's lock on its network configuration, which others may hold
//! for long, and because a namespace belongs to a thread. Where it may not follow, or cannot look, the last MTU of the
//! device stays, and no route has one of its own.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::sys::mtu::{Facts, MtuWatch};
use crate::sys::netns::Handle;
use crate::sys::tun::Tun;
use crate::tunnel::Mtus;

/// How often it is seen whether the device was moved to another namespace.
const FOLLOW: Duration = Duration::from_secs(1);
/// After a look the thread rests for so many times its length, so that a flood of changes costs little.
const REST: u32 = 9;

/// What one worker is told. The watcher ends when the last worker has dropped this.
#[derive(Debug)]
pub(super) struct Surroundings {
    latest: Arc<Latest>,
    _watching: Arc<Watching>,
}

/// The watcher. Dropping it ends its thread.
#[derive(Debug)]
struct Watching {
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

/// What a worker has not taken yet.
#[derive(Debug)]
struct Latest {
    mtus: Mutex<Option<Arc<Mtus>>>,
    wake: Arc<EventFd>,
}

impl Surroundings {
    /// Watches the device of `tun` for the workers that are woken by `wakes`, each of which is woken when there is
    /// something new.
    pub(super) fn watch(tun: Arc<Tun>, wakes: &[Arc<EventFd>]) -> Result<Vec<Self>, Errno> {
        let latest = |wake: &Arc<EventFd>| Arc::new(Latest { mtus: Mutex::default(), wake: Arc::clone(wake) });
        let latest: Vec<_> = wakes.iter().map(latest).collect();
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let watcher =
            Watcher { tun, latest: latest.clone(), stop: Arc::clone(&stop), stopped: false, told: Facts::default() };
        let thread = thread::Builder::new().name("turnpike-mtus".into()).spawn(move || watcher.run());
        let errno = |error: io::Error| error.raw_os_error().map_or(Errno::EAGAIN, Errno::from_raw);
        let watching = Arc::new(Watching { stop, thread: Some(thread.map_err(errno)?) });
        Ok(latest.into_iter().map(|latest| Self { latest, _watching: Arc::clone(&watching) }).collect())
    }

    /// What has changed since this was last asked; `None` for nothing.
    pub(super) fn news(&self) -> Option<Arc<Mtus>> {
        self.latest.mtus.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        // Fails only when it was written 2^64 times; a panic of the watcher was printed.
        if self.stop.write(1).is_ok() {
            drop(thread.join());
        }
    }
}

struct Watcher {
    tun: Arc<Tun>,
    latest: Vec<Arc<Latest>>,
    stop: Arc<EventFd>,
    stopped: bool,
    told: Facts,
}

impl Watcher {
    fn run(mut self) {
        let mut said = None;
        while !self.stopped {
            // What cannot be watched now may be in a second: the device was moved, or may not be followed yet.
            if let Err(error) = self.follow() {
                let text = error.to_string();
                if said.as_ref() != Some(&text) {
                    tracing::debug!("the device's MTU and routes cannot be watched: {text}");
                    said = Some(text);
                }
                self.tell(Facts { mtu: self.told.mtu, routes: Vec::new() });
                self.stopped |= self.wait(None, FOLLOW).is_err();
            }
        }
    }

    /// Goes where the device is and watches it there, until it is moved.
    fn follow(&mut self) -> io::Result<()> {
        let home = self.home()?;
        if home.inode()? != Handle::current()?.inode()? {
            home.join()?;
        }
        let home = home.inode()?;
        let mut watch = MtuWatch::open()?;
        while !self.stopped && self.home()?.inode()? == home {
            self.look(&mut watch)?;
            while !self.stopped && !watch.drain()? && self.home()?.inode()? == home {
                self.wait(Some(&watch), FOLLOW)?;
            }
        }
        Ok(())
    }

    /// The namespace of the device; our own where the kernel does not tell.
    fn home(&self) -> io::Result<Handle> {
        self.tun.namespace().or_else(|_| Handle::current())
    }

    fn look(&mut self, watch: &mut MtuWatch) -> io::Result<()> {
        let began = Instant::now();
        let name = self.tun.name().map_err(io::Error::other)?;
        let facts = watch.look(&name)?;
        self.tell(facts);
        self.wait(None, began.elapsed().saturating_mul(REST))
    }

    fn tell(&mut self, facts: Facts) {
        if facts == self.told {
            return;
        }
        let mtus = Arc::new(Mtus::new(facts.mtu, facts.routes.iter().copied()));
        self.told = facts;
        for latest in &self.latest {
            *latest.mtus.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&mtus));
            // Fails only when it was written 2^64 times: then the worker is awake.
            latest.wake.write(1).unwrap_or_default();
        }
    }

    /// Waits for events of `watch` or the end, at most for `time`.
    fn wait(&mut self, watch: Option<&MtuWatch>, time: Duration) -> io::Result<()> {
        let stop = PollFd::new(self.stop.as_fd(), PollFlags::POLLIN);
        let events = watch.map(|watch| PollFd::new(watch.as_fd(), PollFlags::POLLIN));
        let mut ready: Vec<PollFd<'_>> = std::iter::once(stop).chain(events).collect();
        match poll(&mut ready, PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let stopped = ready.first().and_then(PollFd::any).unwrap_or(false);
        self.stopped |= stopped;
        Ok(())
    }
}
