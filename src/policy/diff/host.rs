//! What changes about one host, for whom, and when.
//!
//! ```text
//!  sources   ├── atom ──┼──── atom ────┼─ atom ─┤     between all ends of prefixes of grants and guardrails, of both sides
//!  per atom  ├─ slab ─┼──── slab ──────┤            between all ends of windows
//!  per slab  ├ part ┼ part ┤                        of the week, between all ends of hours
//!  per part  (granted - denied) of the new side against that of the old
//! ```
//!
//! Within an atom, a slab and a part nothing differs, so that two sets of flows say all.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::side::{Denial, Grant, Side, Window, same};
use super::space::Space;
use super::when::{self, When};
use crate::bundle::Hours;
use crate::net::Family;

/// What changes for some sources during some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub window: Window,
    /// In which part of the week.
    pub when: When,
    /// What passes on the old side alone.
    pub lost: Space,
    /// What passes on the new side alone.
    pub gained: Space,
}

/// What changes about a host for a range of sources.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The first source.
    pub first: IpAddr,
    /// The last source.
    pub last: IpAddr,
    /// In the order of time, without overlaps.
    pub changes: Vec<Change>,
}

/// Both sides, as far as they concern one host.
#[derive(Clone, Copy)]
pub struct Host<'a> {
    /// The host.
    pub address: IpAddr,
    /// Grants to it on the old side, by source.
    pub old: &'a [Grant],
    /// Those on the new side.
    pub new: &'a [Grant],
}

/// All hosts that either side grants anything to and that are not the same for certain.
pub fn hosts<'a>(old: &'a Side, new: &'a Side) -> impl Iterator<Item = Host<'a>> {
    let differing = differing(old, new);
    let (mut before, mut after) = (old.grants.as_slice(), new.grants.as_slice());
    let next = move || {
        let address = match (before.first(), after.first()) {
            (Some(one), Some(other)) => one.host.min(other.host),
            (one, other) => one.or(other)?.host,
        };
        Some(Host { address, old: take(&mut before, address), new: take(&mut after, address) })
    };
    std::iter::from_fn(next)
        .filter(move |host| !same(host.old, host.new) || differing.iter().any(|denial| denial.protects(host.address)))
}

/// The grants to a host, which are the first ones.
fn take<'a>(grants: &mut &'a [Grant], host: IpAddr) -> &'a [Grant] {
    let (own, rest) = grants.split_at(grants.partition_point(|grant| grant.host <= host));
    *grants = rest;
    own
}

/// The guardrails that one side has and the other not.
fn differing<'a>(old: &'a Side, new: &'a Side) -> Vec<&'a Denial> {
    let lacks = |side: &Side, denial: &Denial| !side.denials.iter().any(|it| it.guardrail == denial.guardrail);
    let gone = old.denials.iter().filter(|denial| lacks(new, denial));
    gone.chain(new.denials.iter().filter(|denial| lacks(old, denial))).collect()
}

impl Host<'_> {
    /// What changes about it from `start` on.
    pub fn pieces(&self, old: &Side, new: &Side, start: i64) -> Vec<Piece> {
        let family = Family::of(self.address);
        let denials = |side: &Side| -> Vec<Denial> {
            side.denials.iter().filter(|denial| denial.protects(self.address)).cloned().collect()
        };
        let (old_denials, new_denials) = (denials(old), denials(new));
        let mut pieces: Vec<Piece> = Vec::new();
        let mut owners = None;
        for (first, last) in self.atoms(old_denials.iter().chain(&new_denials)) {
            let source = address(first, family);
            let (before, after) = (covering(self.old, source), covering(self.new, source));
            if before.is_empty() && after.is_empty() {
                continue;
            }
            let spared = |denials: &[Denial]| denied(denials, source, self.address);
            let changes = changes(before, after, &spared(&old_denials), &spared(&new_denials), start);
            if changes.is_empty() {
                continue;
            }
            // Neighbours may be of two departments.
            let own = Some([before, after].map(|grants| grants.first().map(|grant| grant.source)));
            let last = address(last, family);
            match pieces.last_mut() {
                Some(piece) if follows(piece.last, source) && piece.changes == changes && owners == own => {
                    piece.last = last;
                }
                _ => pieces.push(Piece { first: source, last, changes }),
            }
            owners = own;
        }
        pieces
    }

    /// Ranges of sources between which nothing tells two addresses apart.
    fn atoms<'b>(&self, denials: impl Iterator<Item = &'b Denial>) -> Vec<(u128, u128)> {
        let family = Family::of(self.address);
        let grants = self.old.iter().chain(self.new).map(|grant| grant.source);
        let guarded = denials.flat_map(|denial| denial.guardrail.from.iter().copied());
        let mut bounds = BTreeSet::new();
        for prefix in grants.chain(guarded).filter(|prefix| prefix.family() == family) {
            bounds.insert(number(prefix.address()));
            bounds.extend(number(prefix.last()).checked_add(1));
        }
        let bounds: Vec<u128> = bounds.into_iter().collect();
        let last = if family == Family::V4 { u128::from(u32::MAX) } else { u128::MAX };
        let ends = bounds.iter().skip(1).map(|next| next - 1).chain([last]);
        bounds.iter().copied().zip(ends).filter(|(first, last)| first <= last).collect()
    }
}

/// The grants whose source prefix holds an address. Those of one side do not overlap, unless they are equal.
pub fn covering(grants: &[Grant], source: IpAddr) -> &[Grant] {
    let end = grants.partition_point(|grant| grant.source.address() <= source);
    let Some(last) = grants[..end].last().filter(|grant| grant.source.contains(source)) else { return &[] };
    let start = grants[..end].partition_point(|grant| grant.source < last.source);
    &grants[start..end]
}

/// What guardrails deny between two addresses.
pub fn denied(denials: &[Denial], source: IpAddr, host: IpAddr) -> Space {
    let family = Family::of(host);
    let hit = denials.iter().filter(|denial| denial.concerns(source, host));
    hit.fold(Space::default(), |space, denial| space.or(&denial.space(family)))
}

fn changes(old: &[Grant], new: &[Grant], old_denied: &Space, new_denied: &Space, start: i64) -> Vec<Change> {
    if old_denied == new_denied && same(old, new) {
        return Vec::new();
    }
    let mut bounds = BTreeSet::from([start, i64::MAX]);
    for Window { from, until } in old.iter().chain(new).map(|grant| grant.window) {
        bounds.extend([from, until].into_iter().filter(|bound| *bound > start));
    }
    let bounds: Vec<i64> = bounds.into_iter().collect();
    let mut changes: Vec<Change> = Vec::new();
    for &[from, until] in bounds.array_windows() {
        let window = Window { from, until };
        for change in within(window, old, new, old_denied, new_denied) {
            let same = |before: &Change| {
                (&before.when, &before.lost, &before.gained) == (&change.when, &change.lost, &change.gained)
            };
            match changes.iter_mut().find(|before| before.window.until == from && same(before)) {
                Some(before) => before.window.until = until,
                None => changes.push(change),
            }
        }
    }
    // Where clocks are turned, or in two zones, a part of the week may never come.
    changes.retain(|change| change.when.is_empty() || when::first(change.window, &change.when).is_some());
    changes
}

/// What changes in a window within which no grant begins or ends.
fn within(window: Window, old: &[Grant], new: &[Grant], old_denied: &Space, new_denied: &Space) -> Vec<Change> {
    let open = old.iter().chain(new).filter(|grant| grant.window.covers(window));
    let mut changes: Vec<Change> = Vec::new();
    for when in when::parts(open) {
        let before = granted(old, window, &when).minus(old_denied);
        let after = granted(new, window, &when).minus(new_denied);
        let (lost, gained) = (before.minus(&after), after.minus(&before));
        if lost.is_empty() && gained.is_empty() {
            continue;
        }
        match changes.iter_mut().find(|change| (&change.lost, &change.gained) == (&lost, &gained)) {
            // Two parts of one zone's week are one; of several zones' they are told apart.
            Some(Change { when: known, .. }) if known.len() == 1 && when.len() == 1 => {
                let spans = [known[0].week(), when[0].week()].concat();
                known[0] = known[0].with_week(spans);
            }
            Some(_) | None => changes.push(Change { window, when, lost, gained }),
        }
    }
    // The whole of the week needs no words.
    let whole = [(0, Hours::WEEK)];
    changes
        .iter_mut()
        .filter(|change| matches!(change.when.as_slice(), [hours] if hours.week() == whole))
        .for_each(|change| change.when.clear());
    changes
}

/// What some grants allow throughout a part of a window within which none begins or ends.
fn granted(grants: &[Grant], window: Window, when: &When) -> Space {
    let open = grants.iter().filter(|grant| grant.window.covers(window) && when::is_open(grant, when));
    open.fold(Space::default(), |space, grant| space.or(&grant.space))
}

/// Whether one address comes right after another.
pub fn follows(before: IpAddr, address: IpAddr) -> bool {
    number(before).checked_add(1) == Some(number(address))
}

/// An address as a number.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The address of this number.
fn address(number: u128, family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        Family::V6 => Ipv6Addr::from(number).into(),
    }
}
