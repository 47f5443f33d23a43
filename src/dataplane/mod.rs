//! The data plane: worker threads that own every TUN and UDP descriptor and every peer.
//!
//! The rest of the program speaks to it by whole states: a [`Plan`] says what shall be, `apply` answers with a
//! [`Receipt`], `observe` with a [`Snapshot`]. What a plan leaves as it was keeps its session.
//!
//! ```text
//!  any thread                       each worker (epoll)
//!  Dataplane::apply(Plan) ──┐       ┌─ eventfd ── commands
//!  Dataplane::observe() ────┤ bounded channels   │
//!  Dataplane::wait() ◀── End ◀──────┤            ▼
//!                                   ├─ TUN ──▶ Shard ──▶ UDP sockets
//!                                   └─ UDP ──▶   │   ──▶ TUN
//!                                       200 ms: tick
//! ```
//!
//! With several workers each serves a part of the sites, see `homes.rs`, by sockets of its own on the same ports. The
//! kernel brings a session's datagrams to its worker; what else comes to the wrong one is handed over, see
//! `worker/handover.rs`.

mod apply;
mod check;
mod ended;
mod exchange;
mod homes;
mod offload;
mod options;
mod plan;
mod sockets;
mod surroundings;
mod worker;

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::sys::affinity;
use crate::sys::tun::Tun;
use crate::sys::udp::BindError;
use apply::{Common, Ready};
pub use check::PlanError;
pub use ended::End;
use ended::{Ended, Teller};
pub use offload::{Offload, OffloadState, Offloads, UnknownOffload};
pub use options::{MOST_WORKERS, Options, Scheduling, SchedulingState};
pub use plan::{
    Endpoint, Handed, LinkId, LinkPlan, LinkSnapshot, Plan, Receipt, SiteId, SitePlan, Snapshot, SocketId, SocketPlan,
    SocketSnapshot, WorkerSnapshot,
};
use sockets::Table;
use surroundings::Surroundings;
use worker::{Post, Worker};

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

impl From<Stopped> for ApplyError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// The data plane has ended; [`Dataplane::wait`] says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the data plane has ended")]
pub struct Stopped;

/// A running data plane. Dropping it stops it.
#[derive(Debug)]
pub struct Dataplane {
    /// The workers, in the order of their numbers.
    hands: Vec<Hand>,
    ended: Arc<Ended>,
    /// What the last plan left; held while one is applied, so that there is one at a time.
    common: Mutex<Common>,
}

/// By which a worker is spoken to.
#[derive(Debug)]
struct Hand {
    commands: SyncSender<Command>,
    wake: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

/// What is asked of a worker.
enum Command {
    /// Of the first alone.
    Prepare(Arc<check::Change>, SyncSender<Result<Table, BindError>>),
    Apply(Arc<Ready>, SyncSender<Receipt>),
    Observe(SyncSender<Snapshot>),
    Stop,
}

impl Dataplane {
    /// Starts the workers, with an empty plan. Sockets will be opened in the network namespace of the calling thread;
    /// the TUN device may stand in another.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(tun: Tun, options: Options) -> Result<Self, StartError> {
        let system = |what: &'static str| move |errno: Errno| StartError::System { what, errno };
        let (workers, tun) = (options.crew(), Arc::new(tun));
        let wake = |_| EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map(Arc::new);
        let wakes: Vec<_> = (0..workers).map(wake).collect::<Result<_, _>>().map_err(system("eventfd"))?;
        let ended = Ended::new(wakes.clone());
        let surroundings = Surroundings::watch(Arc::clone(&tun), &wakes).map_err(system("start a thread"))?;
        let offloads = offload::detect(&tun, options.offloads);
        tracing::info!("workers: {workers}");
        tracing::info!("offloads: {offloads}");
        let exchanges = exchange::between(&wakes);
        let mut plane = Self { hands: Vec::new(), ended, common: Mutex::default() };
        for ((number, wake), (surroundings, exchange)) in (0..).zip(wakes).zip(surroundings.into_iter().zip(exchanges))
        {
            let (commands, inbox): (_, Receiver<Command>) = sync_channel(4);
            let post = Post {
                number,
                workers,
                tun: Arc::clone(&tun),
                wake: Arc::clone(&wake),
                commands: inbox,
                surroundings,
                exchange,
                ended: Arc::clone(&plane.ended),
                offloads,
            };
            let worker = Worker::new(post, options).map_err(system("epoll"))?;
            let thread = plane.employ(worker, (number, workers)).map_err(system("start a thread"))?;
            plane.hands.push(Hand { commands, wake, thread: Some(thread) });
        }
        Ok(plane)
    }

    /// Starts a worker's thread.
    fn employ(&self, worker: Worker, (number, workers): (u8, u8)) -> Result<JoinHandle<()>, Errno> {
        let teller = Teller::new(Arc::clone(&self.ended));
        let name = if workers > 1 { format!("turnpike-work{number}") } else { "turnpike-worker".into() };
        let run = move || {
            // One alone goes where there is time for it. Without processors enough, the scheduler shares them out.
            if workers > 1 && affinity::pin(number.into(), workers.into()).is_err() {
                tracing::debug!("worker {number} is not bound to a processor");
            }
            teller.run(worker);
        };
        let thread = thread::Builder::new().name(name).spawn(run);
        thread.map_err(|error| error.raw_os_error().map_or(Errno::EAGAIN, Errno::from_raw))
    }

    /// Brings about what the plan says, as a whole or not at all, and waits until it is done. What the plan leaves
    /// as it was goes on undisturbed; what is new and wants a session begins its handshake.
    ///
    /// # Errors
    /// [`ApplyError`]; then everything is as it was.
    pub fn apply(&self, plan: Plan) -> Result<Receipt, ApplyError> {
        let change = Arc::new(check::Change::new(plan)?);
        let mut common = self.common.lock().unwrap_or_else(PoisonError::into_inner);
        let workers = u8::try_from(self.hands.len()).unwrap_or(1);
        let next = common.next(&change.plan, workers);
        let (first, others) = self.hands.split_first().ok_or(ApplyError::Stopped)?;
        let table = first.ask(|answer| Command::Prepare(Arc::clone(&change), answer))?;
        let table = table.recv().map_err(|_| Stopped)??;
        let ready = Arc::new(Ready::new(change, next, table));
        let part = |hand: &Hand| hand.ask(|answer| Command::Apply(Arc::clone(&ready), answer));
        let answers: Vec<_> = others.iter().map(part).collect::<Result<_, _>>()?;
        let mut receipts = Vec::new();
        for answer in answers {
            receipts.push(answer.recv().map_err(|_| Stopped)?);
        }
        let mut receipt = part(first)?.recv().map_err(|_| Stopped)?;
        receipts.into_iter().for_each(|other| receipt.join(other));
        *common = ready.into_common();
        Ok(receipt)
    }

    /// What is, now.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn observe(&self) -> Result<Snapshot, Stopped> {
        let answers: Vec<_> = self.hands.iter().map(|hand| hand.ask(Command::Observe)).collect::<Result<_, _>>()?;
        let mut snapshots = answers.into_iter().map(|answer| answer.recv().map_err(|_| Stopped));
        let mut whole = snapshots.next().ok_or(Stopped)??;
        for snapshot in snapshots {
            whole.join(snapshot?);
        }
        Ok(whole)
    }

    /// Waits until the data plane ends, and says why.
    pub fn wait(&self) -> End {
        self.ended.wait()
    }

    /// Why the data plane has ended; `None` while it runs.
    pub fn ended(&self) -> Option<End> {
        self.ended.end()
    }

    /// Ends it: sessions are forgotten, descriptors closed.
    pub fn stop(mut self) -> End {
        self.halt();
        self.wait()
    }

    fn halt(&mut self) {
        for hand in &mut self.hands {
            let Some(thread) = hand.thread.take() else { continue };
            // Nobody listens when it has ended already; a panic of the worker was told as its end.
            hand.tell(Command::Stop).unwrap_or_default();
            drop(thread.join());
        }
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        self.halt();
    }
}

impl Hand {
    fn tell(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).map_err(|_| Stopped)?;
        self.wake.write(1).map(|_| ()).map_err(|_| Stopped)
    }

    /// Asks for something; where the answer will come.
    fn ask<T>(&self, question: impl FnOnce(SyncSender<T>) -> Command) -> Result<Receiver<T>, Stopped> {
        let (answer, answered) = sync_channel(1);
        self.tell(question(answer)).map(|()| answered)
    }
}
