//! A bundle beside the one in force: what it would deny or allow of what passes and is refused now.
//!
//! ```text
//!  bundle ─ verified, admitted ─▶ exact difference to what is in force ─▶ rows
//!  kernel's records ─ events, a window at a time ─────────────────────────┴▶ per row: how much, by whom, when last
//!  counters ─▶ which agreements carry packets now ────────────────────────┘
//! ```
//!
//! Nothing of it reaches the kernel: the rows are the whole difference, and what is counted are flows that were opened or refused
//! since. A flow that was open before shows by its agreement's counter alone. It ends with the process, and when another bundle is
//! in force.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::GatewayError;
use super::raise::Gateway;
use super::source;
use crate::event::{self, Event};
use crate::policy::diff::{Diff, Row, Side, Way, diff};
use crate::sys::clock;

/// How many flows of a row are told one by one.
const SAMPLES: usize = 5;

/// A bundle beside the one in force.
pub struct Staged {
    generation: u64,
    /// The generation that it is held against.
    beside: u64,
    since: Timestamp,
    diff: Diff,
    seen: Vec<Seen>,
    /// Packets of which nothing is known but how many.
    suppressed: u64,
}

/// What has been seen of a row.
#[derive(Clone, Debug, Default)]
struct Seen {
    packets: u64,
    last: Option<Timestamp>,
    samples: BTreeSet<Sample>,
}

/// A flow that a staged bundle treats otherwise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sample {
    /// Who opened it, in overlay terms.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// Protocol and port.
    pub flow: String,
}

/// What a staged bundle would do, so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Its generation.
    pub generation: u64,
    /// The generation in force.
    pub beside: u64,
    /// Since when flows are counted.
    pub since: Timestamp,
    /// Whether the kernel's records are heard; why not, if not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deaf: Option<String>,
    /// What differs, whether or not anybody has used it.
    pub rows: Vec<Line>,
    /// Packets refused or flows opened that were too many to be told one by one.
    pub suppressed: u64,
}

/// What one row of the difference would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// `deny` or `allow`.
    pub would: String,
    /// The consumers.
    pub from: Vec<String>,
    /// The service.
    pub service: String,
    /// Protocols and ports.
    pub flows: String,
    /// At which hours; empty for always.
    pub hours: Vec<String>,
    /// By which agreements it passes now, or would.
    pub agreements: Vec<String>,
    /// Why.
    pub causes: Vec<String>,
    /// Packets seen since: those that opened flows, or were refused.
    pub packets: u64,
    /// When the last of them was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// Whether one of the agreements has carried packets in the last 90 seconds; of what would be allowed, never.
    pub in_use: bool,
    /// Some of the flows.
    pub samples: Vec<Sample>,
}

impl Staged {
    fn new(generation: u64, beside: u64, diff: Diff) -> Self {
        let seen = vec![Seen::default(); diff.rows.len()];
        Self { generation, beside, since: Timestamp::now(), diff, seen, suppressed: 0 }
    }

    /// Counts a window's events.
    fn note(&mut self, events: &[Event]) {
        for event in events {
            self.suppressed = self.suppressed.saturating_add(event.suppressed);
            let Some(flow) = event.flow() else { continue };
            let way = match event.verdict {
                event::Verdict::Allowed => Way::Lost,
                event::Verdict::Denied => Way::Gained,
            };
            let hit = |row: &Row| row.way == way && row.covers(&flow, event.time);
            let Some(at) = self.diff.rows.iter().position(hit) else { continue };
            let seen = &mut self.seen[at];
            seen.packets = seen.packets.saturating_add(event.packets);
            seen.last = seen.last.max(event.last.or(Some(event.time)));
            if seen.samples.len() < SAMPLES {
                let (source, destination) = (flow.source, flow.destination);
                seen.samples.insert(Sample { source, destination, flow: flow.asks() });
            }
        }
    }

    fn lines(&self, in_use: &BTreeSet<String>) -> Vec<Line> {
        self.diff.rows.iter().zip(&self.seen).map(|(row, seen)| line(row, seen, in_use)).collect()
    }
}

fn line(row: &Row, seen: &Seen, in_use: &BTreeSet<String>) -> Line {
    let agreements: Vec<String> = row.by.iter().map(|by| by.agreement.to_string()).collect();
    let lost = row.way == Way::Lost;
    Line {
        would: if lost { "deny" } else { "allow" }.to_owned(),
        from: row.from.iter().map(|consumer| consumer.department.to_string()).collect(),
        service: row.service.to_string(),
        flows: row.flows.to_string(),
        hours: row.when.iter().map(ToString::to_string).collect(),
        causes: row.causes.iter().map(|cause| cause.text.clone()).collect(),
        packets: seen.packets,
        last: seen.last,
        in_use: lost && agreements.iter().any(|agreement| in_use.contains(agreement)),
        samples: seen.samples.iter().cloned().collect(),
        agreements,
    }
}

impl Gateway {
    /// Holds a bundle against the one in force, and counts from now on.
    ///
    /// # Errors
    /// [`GatewayError`]: what was staged before stays.
    pub async fn stage(&mut self, path: &std::path::Path) -> Result<String, GatewayError> {
        let (taken, _) = self.taken();
        let chosen = source::offered(path, &self.trust, &self.keys, Some(&taken))?;
        let (generation, beside) = (chosen.bundle.generation, self.target.bundle.generation);
        let (old, new) = (self.target.bundle.effective_policy(), chosen.bundle.effective_policy());
        // A hub's takes a second: the tunnels do not wait for it.
        let compared =
            tokio::task::spawn_blocking(move || diff(&Side::of_policy(&old), &Side::of_policy(&new), Timestamp::now()));
        let diff = compared
            .await
            .map_err(|error| GatewayError::Runtime { what: "comparing the bundles", cause: error.to_string() })?;
        let [gained, lost] = diff.counts();
        self.staged = Some(Staged::new(generation, beside, diff));
        self.recorder.tap(self.tap.clone(), || self.target.directory(&self.settings));
        Ok(format!(
            "generation {generation} is staged beside generation {beside}: it would deny {lost} and allow {gained} kinds of flows; \
             'turnpike gateway staged' shows who uses them"
        ))
    }

    /// Counts a window's events for what is staged.
    pub fn note_events(&mut self, events: &[Event]) {
        match &mut self.staged {
            Some(staged) if staged.beside == self.target.bundle.generation => staged.note(events),
            Some(_) | None => self.unstage(),
        }
    }

    /// Forgets what is staged.
    pub fn unstage(&mut self) {
        self.staged = None;
        self.recorder.untap();
    }

    /// What is staged would do, so far.
    ///
    /// # Errors
    /// [`GatewayError::NothingStaged`], and [`GatewayError::Nft`] if the counters cannot be read.
    pub async fn staged(&mut self) -> Result<Report, GatewayError> {
        if self.staged.as_ref().is_none_or(|staged| staged.beside != self.target.bundle.generation) {
            self.unstage();
            return Err(GatewayError::NothingStaged);
        }
        self.enforcer.count().await?;
        let boottime = clock::now().boottime;
        self.activity.note(self.enforcer.counters(), boottime);
        let talking: BTreeSet<u32> = self.activity.talking(boottime).map(|(agreement, _)| agreement).collect();
        let agreements = self.target.policy.agreements.iter().filter(|agreement| talking.contains(&agreement.number));
        let in_use = agreements.map(|agreement| agreement.id.to_string()).collect();
        let staged = self.staged.as_ref().ok_or(GatewayError::NothingStaged)?;
        Ok(Report {
            generation: staged.generation,
            beside: staged.beside,
            since: staged.since,
            deaf: self.mute.clone().or_else(|| self.recorder.deaf()),
            rows: staged.lines(&in_use),
            suppressed: staged.suppressed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::sample;
    use crate::event::Directory;
    use crate::ruleset::Cause;

    fn event(directory: &Directory, cause: Cause, port: u16) -> Event {
        Event {
            source: Some([100, 70, 35, 9].into()),
            destination: Some([100, 70, 36, 20].into()),
            destination_port: Some(port),
            protocol: Some(6),
            packets: 2,
            ..directory.blank(cause, Timestamp::now())
        }
    }

    #[test]
    fn what_would_be_denied_and_allowed_is_counted_and_the_rest_is_not() {
        let old = sample::edge().policy;
        let new = old.without(|agreement| agreement == 4);
        let both = [(&old, &new), (&new, &old)].map(|(old, new)| {
            let diff = diff(&Side::of_policy(old), &Side::of_policy(new), Timestamp::now());
            let mut staged = Staged::new(2, 1, diff);
            let directory = Directory::new(old, 1, "tp0");
            staged.note(&[
                event(&directory, Cause::Opened, 80),
                event(&directory, Cause::NoAgreement, 80),
                event(&directory, Cause::Opened, 443),
                event(&directory, Cause::NoAgreement, 22),
            ]);
            let told = |line: Line| (line.would, line.flows, line.packets, line.in_use, line.samples.len());
            staged.lines(&BTreeSet::from(["A-4".to_owned()])).into_iter().map(told).collect::<Vec<_>>()
        });
        assert_eq!(both[0], [("deny".to_owned(), "tcp/80".to_owned(), 2, true, 1)]);
        assert_eq!(both[1], [("allow".to_owned(), "tcp/80".to_owned(), 2, false, 1)]);
    }
}
