//! Listens to the kernel, names and gathers what it tells, and hands over a window at a time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Shared, packets};
use crate::event::{Directory, Event, Flow, Gatherer, Hook, Packet, WINDOW};
use crate::ruleset::{self, Cause, Count, Instrument};
use crate::sys::host;
use crate::sys::nflog::{Nflog, Record};
use crate::sys::nftables::Nft;

/// How long a look for records takes at most, and with it a stop or a change of names.
const LOOK: Duration = Duration::from_millis(250);

/// How long to wait before the group is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// Runs until the gateway stops.
pub(super) fn run(shared: &Shared, windows: &SyncSender<Vec<Event>>) {
    while !shared.stop.load(Ordering::Relaxed) {
        let ended = match Nflog::open(ruleset::GROUP, ruleset::SNAP) {
            Ok(nflog) => {
                shared.deaf.store(None);
                let Some(names) = shared.directory.load_full() else { return };
                Listener::new(shared, windows, nflog, names).listen()
            }
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::warn!(%error, group = ruleset::GROUP, "the kernel's records cannot be heard");
            shared.deaf.store(Some(Arc::new(format!("listening to nflog group {}: {error}", ruleset::GROUP))));
            let until = Instant::now() + AGAIN;
            while Instant::now() < until && !shared.stop.load(Ordering::Relaxed) {
                std::thread::park_timeout(LOOK);
            }
        }
    }
}

struct Listener<'a> {
    shared: &'a Shared,
    windows: &'a SyncSender<Vec<Event>>,
    nflog: Nflog,
    nft: Nft,
    gatherer: Gatherer,
    /// By which flows are named now, and before.
    names: [Arc<Directory>; 2],
    devices: HashMap<u32, Option<String>>,
    /// What the kernel had counted as untold at the last look; `None` before the first.
    untold: Option<BTreeMap<Cause, Count>>,
    began: Instant,
}

impl<'a> Listener<'a> {
    fn new(shared: &'a Shared, windows: &'a SyncSender<Vec<Event>>, nflog: Nflog, names: Arc<Directory>) -> Self {
        let nft = Nft::new();
        let untold = untold(&nft);
        Self {
            shared,
            windows,
            nflog,
            nft,
            gatherer: Gatherer::new(),
            names: [Arc::clone(&names), names],
            devices: HashMap::new(),
            untold,
            began: Instant::now(),
        }
    }

    /// Until the stop, or until the socket fails.
    fn listen(mut self) -> std::io::Result<()> {
        loop {
            let left = WINDOW.saturating_sub(self.began.elapsed());
            let records = self.nflog.wait(left.min(LOOK));
            self.follow();
            let (stop, failed) = (self.shared.stop.load(Ordering::Relaxed), records.is_err());
            for record in records.as_deref().unwrap_or_default() {
                self.take(record);
            }
            if stop || failed || self.began.elapsed() >= WINDOW {
                self.end_window();
            }
            match records {
                Err(error) => return Err(error),
                Ok(_) if stop => return Ok(()),
                Ok(_) => {}
            }
        }
    }

    /// Takes up other names; what was gathered by the former ones is told by them.
    fn follow(&mut self) {
        let Some(newest) = self.shared.directory.load_full() else { return };
        if !Arc::ptr_eq(&newest, &self.names[0]) {
            self.end_window();
            self.names = [newest, Arc::clone(&self.names[0])];
        }
    }

    fn take(&mut self, record: &Record) {
        let (Some(cause), Some(hook), Some(packet)) =
            (Cause::of_prefix(&record.prefix), Hook::numbered(record.hook), Packet::read(&record.octets))
        else {
            // Not ours, or not whole.
            return self.shared.lose(1);
        };
        let flow = Flow {
            cause,
            hook,
            mark: if cause == Cause::Guardrail { record.mark } else { 0 },
            input: self.device(record.input),
            output: self.device(record.output),
            source: packet.source,
            destination: packet.destination,
            protocol: packet.protocol.0,
            aim: packet.aim,
        };
        let now = Timestamp::now();
        let [newest, former] = &self.names;
        // A record of a moment ago may tell of what only the former policy allowed.
        let describe = |flow: &Flow| {
            let names = if newest.explains(flow) || !former.explains(flow) { newest } else { former };
            names.describe(flow, now)
        };
        self.gatherer.record(flow, packet.source_port, packet.length, now, describe);
    }

    fn device(&mut self, index: u32) -> Option<String> {
        if index == 0 {
            return None;
        }
        self.devices.entry(index).or_insert_with(|| host::device(index)).clone()
    }

    /// Hands over what was gathered. Asks nft for what the kernel did not tell only if it told anything, since below
    /// its rate there is nothing else.
    fn end_window(&mut self) {
        self.devices.clear();
        let lost = self.nflog.take_lost();
        self.shared.lose(lost);
        let took = self.began.elapsed();
        self.began = Instant::now();
        if self.gatherer.is_empty() && lost == 0 {
            // Tokens are not lost with it.
            self.gatherer.flush(took, Timestamp::now(), |cause| self.names[0].blank(cause, Timestamp::now()));
            return;
        }
        self.count_untold();
        let now = Timestamp::now();
        let flushed = self.gatherer.flush(took, now, |cause| self.names[0].blank(cause, now));
        self.shared.suppressed.fetch_add(flushed.suppressed, Ordering::Relaxed);
        let events = flushed.events;
        if let Some(tap) = self.shared.tap.load_full()
            && tap.try_send(events.clone()).is_err()
        {
            tracing::debug!("a window was not counted for the staged bundle: the gateway is busy");
        }
        if let Err(TrySendError::Full(events) | TrySendError::Disconnected(events)) = self.windows.try_send(events) {
            self.shared.lose(events.iter().map(packets).sum());
        }
    }

    fn count_untold(&mut self) {
        let Some(now) = untold(&self.nft) else {
            tracing::debug!("what the kernel did not tell could not be read; it is read with the next window");
            return;
        };
        if let Some(before) = &self.untold {
            for (cause, count) in &now {
                let before = before.get(cause).copied().unwrap_or_default();
                self.gatherer.untold(*cause, count.since(before).packets);
            }
        }
        self.untold = Some(now);
    }
}

fn untold(nft: &Nft) -> Option<BTreeMap<Cause, Count>> {
    let counters = ruleset::sum(&nft.named_counters().ok()?);
    let untold = counters.into_iter().filter_map(|(instrument, count)| match instrument {
        Instrument::Untold(cause) => Some((cause, count)),
        Instrument::Agreement { .. }
        | Instrument::Denied(_)
        | Instrument::Guarded(_)
        | Instrument::Guardrail(_)
        | Instrument::Dropped(_) => None,
    });
    Some(untold.collect())
}
