//! Flows as events: what the kernel tells of, named, gathered and written, beside the gateway's one task.
//!
//! ```text
//!  nflog group ─▶ listener (thread): name · gather ─▶ 8 windows at most ─▶ writer (thread): journald or a file
//!                     ▲  ▲                               │ full                 │ refused
//!      names of the ──┘  └── nft: what was not told      └────────▶ lost ◀──────┘
//!      policy in force
//! ```
//!
//! Neither thread can hold up the gateway or a packet: the kernel drops records that nobody reads, a window that finds no
//! place in the queue is counted as lost, and what is wrong is a condition. Without events nobody listens, and
//! the kernel's log statements end at once.

mod listener;
mod sink;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::event::{Directory, Event};
use crate::telemetry::conditions::Condition;
use crate::telemetry::status;
use sink::Sink;

/// Where events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Events {
    /// To journald where its socket is, else nowhere.
    Default,
    /// Nowhere.
    Off,
    /// To journald.
    Journald,
    /// To this file, one line each.
    File(PathBuf),
}

/// Windows that wait for the writer.
const QUEUE: usize = 8;

/// How long a stop waits for the last window to be written.
const FAREWELL: Duration = Duration::from_secs(2);

/// The two threads, and what they have in common with the gateway.
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
    to: String,
    ended: Receiver<()>,
    /// What the threads will hold, as long as there are none.
    idle: Option<Sender<()>>,
}

#[derive(Debug)]
struct Shared {
    /// `None` while nothing is recorded.
    directory: ArcSwapOption<Directory>,
    stop: AtomicBool,
    written: AtomicU64,
    suppressed: AtomicU64,
    lost: AtomicU64,
    /// Why records do not arrive.
    deaf: ArcSwapOption<String>,
    /// Why events are not written.
    refused: ArcSwapOption<String>,
    /// Who else is told of each window.
    tap: ArcSwapOption<Tap>,
}

/// Where windows go besides the sink.
type Tap = tokio::sync::mpsc::Sender<Vec<Event>>;

impl Recorder {
    /// Starts to record by these names. What goes wrong is a condition: events are no reason to carry no traffic.
    pub fn start(events: &Events, directory: impl FnOnce() -> Directory) -> Self {
        let shared = Arc::new(Shared {
            directory: ArcSwapOption::empty(),
            stop: AtomicBool::new(false),
            written: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            deaf: ArcSwapOption::empty(),
            refused: ArcSwapOption::empty(),
            tap: ArcSwapOption::empty(),
        });
        let (running, ended) = mpsc::channel();
        let Some(sink) = Sink::of(events) else {
            return Self { shared, to: "off".to_owned(), ended, idle: Some(running) };
        };
        let to = sink.to_string();
        let recorder = Self { shared, to, ended, idle: None };
        recorder.run(sink, directory(), running);
        recorder
    }

    fn run(&self, sink: Sink, directory: Directory, running: Sender<()>) {
        let shared = &self.shared;
        shared.directory.store(Some(Arc::new(directory)));
        let (sender, windows) = mpsc::sync_channel(QUEUE);
        let listening = Arc::clone(shared);
        begin("turnpike-nflog", shared, running.clone(), move || listener::run(&listening, &sender));
        let writing = Arc::clone(shared);
        begin("turnpike-events", shared, running, move || write(&writing, sink, &windows));
    }

    /// Tells somebody else of each window too, from now on. Listens for that alone where nothing is written.
    pub fn tap(&mut self, tap: Tap, directory: impl FnOnce() -> Directory) {
        self.shared.tap.store(Some(Arc::new(tap)));
        if let Some(running) = self.idle.take() {
            self.run(Sink::Nowhere, directory(), running);
        }
    }

    /// Tells nobody else any more.
    pub fn untap(&self) {
        self.shared.tap.store(None);
    }

    /// Why the kernel's records are not heard, if they are not.
    pub fn deaf(&self) -> Option<String> {
        self.shared.deaf.load_full().map(|cause| cause.to_string())
    }

    /// Names flows by another policy from now on. The kernel may have it a moment before or after.
    pub fn rename(&self, directory: impl FnOnce() -> Directory) {
        if self.shared.directory.load().is_some() {
            self.shared.directory.store(Some(Arc::new(directory())));
        }
    }

    /// Whether it was asked to record anything.
    pub fn records(&self) -> bool {
        self.shared.directory.load().is_some()
    }

    /// What is wrong now.
    pub fn condition(&self) -> Option<Condition> {
        let cause = self.shared.deaf.load_full().or_else(|| self.shared.refused.load_full())?;
        Some(Condition::EventsUnwritten { cause: format!("events ({}): {cause}", self.to) })
    }

    /// What was done with them so far.
    pub fn status(&self) -> status::Events {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        status::Events {
            to: self.to.clone(),
            written: read(&self.shared.written),
            suppressed: read(&self.shared.suppressed),
            lost: read(&self.shared.lost),
        }
    }

    /// Writes what was gathered and ends, within [`FAREWELL`].
    pub fn stop(mut self) {
        self.idle = None;
        self.shared.stop.store(true, Ordering::Relaxed);
        // Nobody ever sends: the channel closes when both threads have ended.
        if let Err(RecvTimeoutError::Timeout) = self.ended.recv_timeout(FAREWELL) {
            tracing::warn!("the last events could not be written in time");
        }
    }
}

/// Starts a thread that holds `running` as long as it lives.
fn begin(name: &str, shared: &Shared, running: Sender<()>, work: impl FnOnce() + Send + 'static) {
    let work = move || {
        work();
        drop(running);
    };
    if let Err(error) = thread::Builder::new().name(name.to_owned()).spawn(work) {
        shared.deaf.store(Some(Arc::new(format!("starting a thread: {error}"))));
    }
}

impl Shared {
    fn lose(&self, packets: u64) {
        self.lost.fetch_add(packets, Ordering::Relaxed);
    }
}

/// Packets that an event tells of.
fn packets(event: &Event) -> u64 {
    event.packets.saturating_add(event.suppressed)
}

fn write(shared: &Shared, mut sink: Sink, windows: &mpsc::Receiver<Vec<Event>>) {
    note(shared, sink.probe());
    while let Ok(events) = windows.recv() {
        let (written, outcome) = sink.write(&events);
        shared.written.fetch_add(u64::try_from(written).unwrap_or(u64::MAX), Ordering::Relaxed);
        shared.lose(events.iter().skip(written).map(packets).sum());
        note(shared, outcome);
    }
}

/// Keeps what is wrong, and logs it when it begins and when it ends.
fn note(shared: &Shared, outcome: std::io::Result<()>) {
    let before = shared.refused.swap(outcome.as_ref().err().map(|error| Arc::new(error.to_string())));
    match (outcome, before) {
        (Err(error), None) => tracing::warn!(%error, "events cannot be written"),
        (Ok(()), Some(_)) => tracing::info!("events are written again"),
        (Err(_), Some(_)) | (Ok(()), None) => {}
    }
}
