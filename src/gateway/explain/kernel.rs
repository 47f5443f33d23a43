//! Holds answers against the kernel: is there what the bundle asks for, and nothing that would decide otherwise?
//!
//! ```text
//!  table there? ─ no ─▶ closed: no mark, no route
//!      │ alive element there? ─ no ─▶ closed: everything drops
//!      ▼
//!  chains, base and rules ══ what a kernel makes of them in a namespace of its own
//!  per answer: each element that its packet would meet ══ the compiled table's answer
//! ```
//!
//! Foreign tables are not judged: what they drop is theirs.

use std::collections::BTreeMap;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::super::control::InForce;
use crate::ruleset::{self, Held, Part, Probe, Ruleset, TABLE, Way};
use crate::sys::netns;
use crate::sys::nftables::{self, Chain, Nft, NftError};

/// How long a gateway that is amid a change is given before a difference is believed.
const SETTLE: Duration = Duration::from_millis(500);

/// How long to wait before what differs is asked again.
const AGAIN: Duration = Duration::from_millis(50);

/// What the kernel answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Why it was not asked at all.
    pub unasked: Option<Unasked>,
    /// Why the chains were not compared, though elements were.
    pub chains_unasked: Option<String>,
    /// Why everything drops, if it does.
    pub closed: Option<Difference>,
    /// How long the way of the first answer still stands open without a gateway.
    pub open_for: Option<Duration>,
    /// What differs for every flow.
    pub differences: Vec<Difference>,
    /// What differs for each answer, in the order in which they were given.
    pub answers: Vec<Standing>,
}

/// What the kernel would do with one answer's flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether the elements let it pass, were the chains as they should be; guardrails aside, which are chains.
    pub passes: bool,
    /// Elements that stand or lack against the bundle.
    pub differences: Vec<Difference>,
}

/// Something that is not as the bundle says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// Why the kernel was not asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unasked {
    /// Why.
    pub cause: String,
    /// What to do about it.
    pub remedy: String,
    /// Whether it is for lack of permission.
    pub denied: bool,
}

impl Kernel {
    /// Whether anything differs.
    pub fn differs(&self) -> bool {
        let answers = self.answers.iter().any(|answer| !answer.differences.is_empty());
        self.closed.is_some() || !self.differences.is_empty() || answers
    }
}

/// Asks the kernel of the caller's namespace. What differs is asked again after a moment, since a gateway may be amid a change.
pub(super) fn look(ruleset: &Ruleset, ways: &[Way], in_force: Option<&InForce>) -> Kernel {
    let look = Look { ruleset, ways, remedy: remedy(in_force), bare: bare(ruleset) };
    let (mut seen, patience) = (look.once(), Instant::now() + SETTLE);
    while in_force.is_some() && seen.as_ref().is_ok_and(Kernel::differs) && Instant::now() < patience {
        thread::park_timeout(AGAIN);
        seen = look.once();
    }
    seen.unwrap_or_else(|error| Kernel { unasked: Some(unasked(&error)), ..Kernel::default() })
}

/// What a kernel makes of the chains.
fn bare(ruleset: &Ruleset) -> Result<BTreeMap<String, Chain>, String> {
    let namespace = netns::passing().map_err(|error| format!("making a network namespace: {error}"))?;
    let nft = Nft::new().within(namespace);
    nft.apply(&ruleset.without_elements().refill()).map_err(|error| error.to_string())?;
    nft.kernel().map_err(|error| error.to_string())?.chains(TABLE).map_err(|error| error.to_string())
}

fn remedy(in_force: Option<&InForce>) -> String {
    match in_force {
        None => "start the gateway: 'turnpike gateway run' fills the table again".to_owned(),
        Some(InForce { paused: true, .. }) => "'turnpike gateway repair resume' undoes it".to_owned(),
        Some(InForce { paused: false, .. }) => {
            "the gateway undoes it in a moment; if it stays, 'turnpike status' says why".to_owned()
        }
    }
}

fn unasked(error: &NftError) -> Unasked {
    let remedy = error.remedy().to_owned();
    Unasked { cause: error.to_string(), remedy, denied: *error == NftError::NotPermitted }
}

struct Look<'a> {
    ruleset: &'a Ruleset,
    ways: &'a [Way],
    remedy: String,
    bare: Result<BTreeMap<String, Chain>, String>,
}

impl Look<'_> {
    fn once(&self) -> Result<Kernel, NftError> {
        let mut asked = Nft::new().kernel()?;
        let mut seen = Kernel::default();
        if !asked.has_table(TABLE).map_err(failed)? {
            let early = asked.has_table(ruleset::EARLY_TABLE).map_err(failed)?;
            let also = if early { ", and the early table drops all that is to be forwarded" } else { "" };
            seen.closed =
                Some(self.differs(format!("there is no table {TABLE}{also}: without its mark nothing is routed")));
            return Ok(seen);
        }
        match &self.bare {
            Ok(expected) => seen.differences = self.chains(&asked.chains(TABLE).map_err(failed)?, expected),
            Err(cause) => seen.chains_unasked = Some(cause.clone()),
        }
        for (place, way) in self.ways.iter().enumerate() {
            let (alive, standing) = self.way(&mut asked, way)?;
            match alive {
                Some(open_for) if place == 0 => seen.open_for = open_for,
                Some(_) => {}
                None => {
                    let what = format!("the alive element of {} ran out: everything drops there", self.alive(way));
                    seen.closed.get_or_insert(self.differs(what));
                }
            }
            seen.answers.push(standing);
        }
        Ok(seen)
    }

    fn alive(&self, way: &Way) -> String {
        let probes = self.ruleset.probes(way);
        let found = probes.iter().find(|probe| probe.part == Part::Alive);
        found.map(|probe| format!("{} {{ {} }}", probe.set, probe.key)).unwrap_or_default()
    }

    fn differs(&self, what: String) -> Difference {
        Difference { what, remedy: self.remedy.clone() }
    }

    fn chains(&self, held: &BTreeMap<String, Chain>, expected: &BTreeMap<String, Chain>) -> Vec<Difference> {
        let wrong = expected.iter().filter_map(|(name, chain)| match held.get(name) {
            None => Some(format!("chain {name} is missing")),
            Some(held) => held.difference(chain).map(|difference| format!("chain {name} {difference}")),
        });
        let foreign = held.keys().filter(|name| !expected.contains_key(*name));
        let foreign = foreign.map(|name| format!("chain {name} is not of this bundle and program"));
        wrong.chain(foreign).map(|what| self.differs(what)).collect()
    }

    /// How long the way is open, if it is, and what elements it meets.
    fn way(&self, asked: &mut nftables::Kernel, way: &Way) -> Result<(Option<Option<Duration>>, Standing), NftError> {
        let (mut alive, mut standing) = (None, Standing::default());
        let (mut placed, mut agreed) = (true, false);
        for probe in self.ruleset.probes(way) {
            let found = asked.element(TABLE, &probe.set, &probe.octets).map_err(failed)?;
            if probe.part == Part::Alive {
                alive = found.map(|element| element.expires.map(Duration::from_millis));
                continue;
            }
            let held = match found.map(|element| element.value) {
                None => Held::Nothing,
                Some(None) => Held::Member,
                Some(Some(value)) => {
                    value.first_chunk().map_or(Held::Member, |mark| Held::Mark(u32::from_ne_bytes(*mark)))
                }
            };
            match probe.part {
                Part::Agreement => agreed |= matches!(held, Held::Mark(_)),
                Part::Alive | Part::Place | Part::Department => placed &= held == probe.expected,
            }
            standing.differences.extend(difference(&probe, held).map(|what| self.differs(what)));
        }
        standing.passes = placed && agreed && alive.is_some();
        Ok((alive, standing))
    }
}

fn difference(probe: &Probe, held: Held) -> Option<String> {
    let element = format!("{} {{ {} }}", probe.set, probe.key);
    match (probe.expected, held) {
        (expected, held) if expected == held => None,
        (_, Held::Nothing) => Some(format!("{element} is missing")),
        (Held::Nothing, Held::Member) => Some(format!("{element} stands there and should not")),
        (Held::Nothing, Held::Mark(mark)) => Some(format!("{element} → {} stands there and should not", number(mark))),
        (Held::Mark(expected), Held::Mark(mark)) => {
            Some(format!("{element} → {} stands there instead of {}", number(mark), number(expected)))
        }
        (Held::Member | Held::Mark(_), Held::Member | Held::Mark(_)) => Some(format!("{element} is of another kind")),
    }
}

/// A department's mark in hexadecimal, an agreement's number as it is.
fn number(mark: u32) -> String {
    if mark & ruleset::marks::GATE == 0 { mark.to_string() } else { format!("{mark:#010x}") }
}

fn failed(error: io::Error) -> NftError {
    match error.kind() {
        io::ErrorKind::PermissionDenied => NftError::NotPermitted,
        _ => NftError::System { what: "asking the kernel about nftables", cause: error.to_string() },
    }
}
