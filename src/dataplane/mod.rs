//! The data plane: worker threads that own every TUN and UDP descriptor and every peer.
//!
//! The rest of the program speaks to it by whole states: a [`Plan`] says what shall be, `apply` answers with a
//! [`Receipt`], `observe` with a [`Snapshot`]. What a plan leaves as it was keeps its session.
//!
//! ```text
//!  any thread                       worker (epoll)
//!  Dataplane::apply(Plan) ──┐       ┌─ eventfd ── commands
//!  Dataplane::observe() ────┤ bounded channel    │
//!  Dataplane::wait() ◀── End ◀──────┤            ▼
//!                                   ├─ TUN ──▶ Shard ──▶ UDP sockets
//!                                   └─ UDP ──▶   │   ──▶ TUN
//!                                       200 ms: tick
//! ```

mod apply;
mod check;
mod offload;
mod plan;
mod sockets;
mod surroundings;
mod worker;

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::sys::tun::Tun;
use crate::sys::udp::BindError;
pub use check::PlanError;
pub use offload::{Offload, OffloadState, Offloads, UnknownOffload};
pub use plan::{
    Endpoint, LinkId, LinkPlan, LinkSnapshot, Plan, Receipt, SiteId, SitePlan, Snapshot, SocketId, SocketPlan,
    SocketSnapshot,
};
use worker::Worker;

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
}

/// How workers compete for processors with other programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheduling {
    /// Under load before them, where the system permits that: packets do not wait for programs. A worker that takes
    /// more than nine tenths of a processor is ordinary again, so that they get the rest.
    #[default]
    Urgent,
    /// As one of them.
    Ordinary,
}

impl Default for Options {
    fn default() -> Self {
        Self { intercept_link_local: false, mtu: 1420, offloads: Offloads::ALL, scheduling: Scheduling::Urgent }
    }
}

/// Why a data plane did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The operating system refused something.
    #[error("cannot start the data plane: {what}: {errno}")]
    System {
        /// What was being done.
        what: &'static str,
        /// The operating system's answer.
        errno: Errno,
    },
}

/// Why a plan was not applied. Everything is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The plan contradicts itself.
    #[error("the plan contradicts itself: {0}")]
    Invalid(#[from] PlanError),
    /// A socket could not be had.
    #[error(transparent)]
    Socket(#[from] BindError),
    /// The data plane has ended; [`Dataplane::wait`] says why.
    #[error("the data plane has ended")]
    Stopped,
}

/// The data plane has ended; [`Dataplane::wait`] says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the data plane has ended")]
pub struct Stopped;

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

/// A running data plane. Dropping it stops it.
#[derive(Debug)]
pub struct Dataplane {
    commands: SyncSender<Command>,
    wake: Arc<EventFd>,
    ended: Arc<Ended>,
    thread: Option<JoinHandle<()>>,
}

/// Where the worker leaves word of its end.
#[derive(Debug, Default)]
struct Ended {
    end: Mutex<Option<End>>,
    told: Condvar,
}

/// What is asked of the worker.
enum Command {
    Apply(Box<check::Change>, SyncSender<Result<Receipt, ApplyError>>),
    Observe(SyncSender<Snapshot>),
    Stop,
}

impl Dataplane {
    /// Starts the worker, with an empty plan. Sockets will be opened in the network namespace of the calling thread;
    /// the TUN device may stand in another.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(tun: Tun, options: Options) -> Result<Self, StartError> {
        let system = |what: &'static str| move |errno: Errno| StartError::System { what, errno };
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = Arc::new(EventFd::from_flags(flags).map_err(system("eventfd"))?);
        let (commands, inbox): (_, Receiver<Command>) = sync_channel(4);
        let worker = Worker::new(tun, Arc::clone(&wake), inbox, options).map_err(system("epoll"))?;
        let ended = Arc::new(Ended::default());
        let teller = Teller(Arc::clone(&ended));
        let thread = thread::Builder::new().name("turnpike-worker".into()).spawn(move || teller.run(worker));
        let thread = thread.map_err(|error| StartError::System {
            what: "start a thread",
            errno: error.raw_os_error().map_or(Errno::EAGAIN, Errno::from_raw),
        })?;
        Ok(Self { commands, wake, ended, thread: Some(thread) })
    }

    /// Brings about what the plan says, as a whole or not at all, and waits until it is done. What the plan leaves
    /// as it was goes on undisturbed; what is new and wants a session begins its handshake.
    ///
    /// # Errors
    /// [`ApplyError`]; then everything is as it was.
    pub fn apply(&self, plan: Plan) -> Result<Receipt, ApplyError> {
        let change = Box::new(check::Change::new(plan)?);
        let (answer, answered) = sync_channel(1);
        self.ask(Command::Apply(change, answer)).map_err(|Stopped| ApplyError::Stopped)?;
        answered.recv().unwrap_or(Err(ApplyError::Stopped))
    }

    /// What is, now.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn observe(&self) -> Result<Snapshot, Stopped> {
        let (answer, answered) = sync_channel(1);
        self.ask(Command::Observe(answer))?;
        answered.recv().map_err(|_| Stopped)
    }

    /// Waits until the data plane ends, and says why.
    pub fn wait(&self) -> End {
        let mut end = self.ended.end.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(end) = &*end {
                return end.clone();
            }
            end = self.ended.told.wait(end).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Why the data plane has ended; `None` while it runs.
    pub fn ended(&self) -> Option<End> {
        self.ended.end.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it: sessions are forgotten, descriptors closed.
    pub fn stop(mut self) -> End {
        self.halt();
        self.wait()
    }

    fn ask(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).map_err(|_| Stopped)?;
        self.wake.write(1).map(|_| ()).map_err(|_| Stopped)
    }

    fn halt(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        // Nobody listens when it has ended already; a panic of the worker was told as its end.
        self.ask(Command::Stop).unwrap_or_default();
        drop(thread.join());
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        self.halt();
    }
}

/// Tells the end also when the worker panics.
struct Teller(Arc<Ended>);

impl Teller {
    fn run(self, worker: Worker) {
        let end = worker.run();
        self.tell(end);
    }

    fn tell(&self, end: End) {
        self.0.end.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(end);
        self.0.told.notify_all();
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.tell(End::Failed("the worker panicked".into()));
    }
}
