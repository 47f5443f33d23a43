//! A gateway's policy as nftables holds it: compiled from the bundle, on the gateway. Pure.
//!
//! ```text
//!  bundle::Policy ─┬─ elements ─ sets and maps   what an everyday change touches
//!  Devices ────────┴─ chains, judge, guardrails  what packets run through
//!                          │
//!                       Ruleset ── load_all() · refill() · diff(old, new) · alive() ──▶ Batch ──▶ sys::nftables
//! ```
//!
//! How it is used:
//!
//! ```no_run
//! # use turnpike::ruleset::{self, Devices, Ruleset};
//! # use turnpike::sys::nftables::Nft;
//! # fn run(old_policy: &turnpike::bundle::Policy, new_policy: &turnpike::bundle::Policy) -> Result<(), Box<dyn std::error::Error>> {
//! let devices = Devices { tunnel: "tp0".into(), mtu: 1420, wans: vec!["eth0".into()] };
//! let nft = Nft::new();
//! nft.apply(&ruleset::early_drop())?;            // by the early unit, before forwarding is on
//! let old = Ruleset::compile(old_policy, &devices)?;
//! nft.load(&old)?;                               // start and drift; in the same instant the early table goes
//! let ours = nft.listing()?.fingerprint();       // after every transaction of our own
//! nft.apply(&old.alive())?;                      // every 10 s or so
//! let new = Ruleset::compile(new_policy, &devices)?;
//! nft.apply(&ruleset::diff(&old, &new))?;        // a new bundle: elements alone, as a rule
//! let drifted = nft.listing()?.fingerprint() != ours; // when nft.watch() tells of another's change
//! # Ok(())
//! # }
//! ```
//!
//! # What the host must be like
//!
//! The table drops; these make sure that without it nothing is routed either ("no mark, no route"):
//!
//! | what | who | why |
//! |---|---|---|
//! | `ip rule` 2000 (any number below that of `main`): `fwmark 0x80000000/0x80000000 lookup 200` | gateway | packets with the gate mark find the overlay |
//! | `ip rule` 2001: `iif TUNNEL fwmark 0/0x80000000 unreachable`, and the same of each segment | gateway | packets without it find nothing: neither from the tunnel where overlay equals real, nor from one segment to another |
//! | `ip rule` 2002: `iif lo to MANAGEMENT lookup 200` | gateway | our own packets to management addresses have no mark when routed |
//! | table 200: overlay prefixes of other sites, and the management prefix → TUNNEL | gateway | not those that stand here: they are found in `main` |
//! | table main: `unreachable` for the overlay | gateway | a flushed table closes |
//! | all of it for both families | gateway | |
//! | `ip_forward=1`, `ipv6.conf.all.forwarding=1` | early unit, lab | after the early drop table |
//! | `rp_filter=0`, or `src_valid_mark=1` on the tunnel | early unit, lab | the reverse lookup must see the gate mark |
//! | `send_redirects=0`, `accept_redirects=0`, `accept_source_route=0` (all and default) | early unit, lab | |
//! | `nf_conntrack_tcp_be_liberal=1` where links fail over | early unit, lab | reordered segments are not invalid |
//!
//! The table turns on connection tracking and with it the reassembly of fragments, at relays too: `ipfrag_high_thresh`
//! bounds what they hold.
//!
//! # The early drop table
//!
//! A drop in any base chain is final, so [`early_drop`]'s table cannot stand beside ours: whoever loads ours
//! ([`Ruleset::load_all`], [`Ruleset::refill`]) removes it in the same transaction. At every instant one of the two is there;
//! should somebody flush both, routes close.
//!
//! # What a packet must carry
//!
//! Every path through the tunnel asks for the tunnel's name in `s_alive`, where it stays for 30 s, and every path between
//! segments for the first one's: a gateway that died closes by itself. Names that people gave never reach a rule, except those of devices, which are held to
//! letters, digits, `.`, `_` and `-`, since nft reads `*` and `@` in them as something else.

mod batch;
mod chains;
mod change;
mod elements;
mod guardrails;
mod judge;
mod local;
pub mod marks;
mod observe;
mod octets;
mod probe;
mod script;
mod statement;
mod table;
mod tell;

use nftables::types::{NfChainPolicy, NfChainType, NfHook};
use sha2::{Digest as _, Sha256};

use crate::bundle::{Guardrail, Mapping, Policy, Rule, Segment};
use crate::net::Prefix;

pub use crate::bundle::RANGE_LIMIT;
pub use batch::Batch;
pub use change::{Change, Elements};
pub use octets::{Element, Octets};
pub use probe::{Held, Part, Probe, SegmentEnd, Way};
pub use script::{Remarks, Wordless};

pub use observe::{Count, Counters, Fingerprint, Instrument, Listing, Reading, Tally, Told, Totals, sum};
pub use tell::{Cause, GROUP, SNAP, trial};

use judge::Ground;
use local::Local;
use table::{Base, Chain, Table};

/// The family of our tables: both IPv4 and IPv6.
pub const FAMILY: &str = "inet";

/// Our table's name.
pub const TABLE: &str = "turnpike";

/// The name of the table that drops everything until ours is there.
pub const EARLY_TABLE: &str = "turnpike_early";

/// How long the tunnel stays open without a gateway.
pub const ALIVE_SECONDS: u32 = 30;

/// The TCP port of the metrics, reached on the management address.
pub const METRICS_PORT: u16 = 9587;

/// The devices that the chains name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices {
    /// The tunnel's.
    pub tunnel: String,
    /// The tunnel's MTU, 1,280 to 65,535.
    pub mtu: u16,
    /// Ways out. None of them may be a segment too, since what comes in by a segment is judged and what comes in
    /// by a WAN is the host's business.
    pub wans: Vec<String>,
}

/// Why a policy cannot be compiled. No network that `policy check` accepts meets one, but the limit of ranges.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The device's name could mean something else to nft.
    #[error("'{0}' cannot be used as a device: letters, digits, '.', '_' and '-' only, 15 at most")]
    Device(String),
    /// A segment is a WAN or the tunnel.
    #[error("device {0} is a segment and cannot be an uplink or the tunnel too")]
    DeviceTwice(String),
    /// The MTU is below what IPv6 asks for.
    #[error("a tunnel MTU of {0} is less than the 1280 of RFC 8200")]
    Mtu(u16),
    /// Not a number that a mark can hold.
    #[error("department number {0} is not from 1 to 16777215")]
    DepartmentNumber(u32),
    /// Prefix NAT needs equal lengths.
    #[error("{} and {} cannot be mapped onto each other: families or lengths differ", .0.real, .0.overlay)]
    UnequalMapping(Mapping),
    /// Two prefixes of one set overlap.
    #[error("{one} and {other} overlap in {set}")]
    Overlap {
        /// The set.
        set: String,
        /// The one that was there.
        one: Prefix,
        /// The other.
        other: Prefix,
    },
    /// Two agreements for the same packets, or another key with two values.
    #[error("{key} has two values in {set}")]
    Twice {
        /// The set.
        set: String,
        /// The key, as nft writes it.
        key: String,
    },
    /// A rule that no packet could meet.
    #[error("rule of department {} to {}: {why}", .rule.department, .rule.destination)]
    Rule {
        /// The rule.
        rule: Box<Rule>,
        /// What is wrong with it.
        why: &'static str,
    },
    /// More ranges than the kernel is given.
    #[error(
        "{count} port ranges of one family are more than {RANGE_LIMIT}: use single ports, or fewer hosts per service"
    )]
    TooManyRanges {
        /// How many there are.
        count: usize,
    },
    /// Two ranges of one department, destination and protocol.
    #[error("ports {first}-{last} overlap another range of the same department and destination")]
    OverlappingRanges {
        /// First port of the later range.
        first: u16,
        /// Last port of the later range.
        last: u16,
    },
}

/// Why a packet was dropped that no department answers for: a counter each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The gateway did not renew its consent.
    NotAlive,
    /// The source does not belong where the packet came from.
    Spoofed,
    /// An address of the overlay came by a device that is neither tunnel nor segment.
    Foreign,
    /// An address of the overlay was about to leave by a device that is neither tunnel nor its segment.
    Leak,
    /// Neither from a segment to the tunnel nor the other way round.
    NotForwarded,
    /// To the gateway itself, by the tunnel or a segment.
    Input,
    /// From the gateway itself, by the tunnel or a segment.
    Output,
    /// No state that connection tracking knows, or an error that is none.
    Invalid,
    /// The source belongs to no department that is known here.
    UnknownSource,
    /// A guardrail was met from a source that belongs to no department that is known here.
    Guarded,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::NotAlive,
        Self::Spoofed,
        Self::Foreign,
        Self::Leak,
        Self::NotForwarded,
        Self::Input,
        Self::Output,
        Self::Invalid,
        Self::UnknownSource,
        Self::Guarded,
    ];

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotAlive => "not_alive",
            Self::Spoofed => "spoofed",
            Self::Foreign => "foreign",
            Self::Leak => "leak",
            Self::NotForwarded => "not_forwarded",
            Self::Input => "input",
            Self::Output => "output",
            Self::Invalid => "invalid",
            Self::UnknownSource => "unknown_source",
            Self::Guarded => "guarded",
        }
    }

    fn counter(self) -> String {
        format!("n_{}", self.label())
    }

    fn counted(counter: &str) -> Option<Self> {
        let label = counter.strip_prefix("n_")?;
        Self::ALL.into_iter().find(|reason| reason.label() == label)
    }
}

/// A compiled policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    table: Table,
    shape: String,
}

impl Ruleset {
    /// Compiles a gateway's policy.
    ///
    /// # Errors
    /// [`CompileError`]: nothing is ever compiled in part.
    pub fn compile(policy: &Policy, devices: &Devices) -> Result<Self, CompileError> {
        check_devices(policy, devices)?;
        let mut table = Table { name: TABLE, ..Table::default() };
        let local = Local::new(policy);
        elements::fill(&mut table, policy, devices, &local)?;
        chains::add(&mut table, &chains::Place { policy, devices });
        let numbered: Vec<(u32, Guardrail)> = (1..).zip(policy.guardrails.iter().cloned()).collect();
        guardrails::add(&mut table, Ground::Tunnel, &numbered);
        guardrails::add(&mut table, Ground::Local, &local.guardrails(&numbered));
        let shape = shape(&table);
        table.chain(shape.clone(), Vec::new());
        Ok(Self { table, shape })
    }

    /// Puts the table in the place of whatever has its name, and of the early drop table. Nothing forbidden passes
    /// while it happens; of established flows a few packets may be lost. All counters begin anew.
    pub fn load_all(&self) -> Batch {
        without_early(batch::replace(&self.table))
    }

    /// Fills the table in place if one of [this shape](Self::shape) is there, or makes it: nothing leaks and
    /// nothing is lost. The counters of elements begin anew. Removes the early drop table.
    pub fn refill(&self) -> Batch {
        without_early(batch::refill(&self.table))
    }

    /// Where no table of ours is: first one that lets nothing pass, then all that it lacks. The second needs no nft, which
    /// takes longer than the kernel; it removes the early drop table too.
    pub fn opening(&self) -> [Batch; 2] {
        let mut closed = self.clone();
        closed.table.sets.values_mut().filter(|set| octets::is_plain(&set.shape)).for_each(|set| set.elements.clear());
        [batch::refill(&closed.table), without_early(batch::fill(&self.table))]
    }

    /// Keeps the tunnel and the ways between segments open for another 30 s.
    pub fn alive(&self) -> Batch {
        self.alive_for(ALIVE_SECONDS)
    }

    /// Keeps them open for so many seconds, 1 or more.
    pub fn alive_for(&self, seconds: u32) -> Batch {
        let mut table = Table { name: TABLE, ..Table::default() };
        if let Some(set) = self.table.sets.get(elements::ALIVE) {
            table.declare(elements::ALIVE, set.shape.clone());
            for (device, _) in &set.elements {
                table.insert(elements::ALIVE, device.iter().copied(), table::Value::For(seconds));
            }
        }
        // Adding an element that is there does not renew it before Linux 6.12, and deleting one that just expired
        // fails. Flushing does neither.
        batch::refill_set(&table, elements::ALIVE)
    }

    /// The name of an empty chain that stands for all sets' types and all chains' names and hooks: a table that has
    /// it can be refilled.
    pub fn shape(&self) -> &str {
        &self.shape
    }

    /// The same for a kernel that cannot tell of packets by nflog: what would be told is counted as untold.
    pub fn without_records(mut self) -> Self {
        tell::mute(&mut self.table);
        self
    }

    /// The same chains over empty sets: what a kernel makes of them can be compared with what another one holds.
    pub fn without_elements(&self) -> Self {
        let mut bare = self.clone();
        bare.table.sets.values_mut().for_each(|set| set.elements.clear());
        bare
    }

    /// Elements in all sets and maps.
    pub fn len(&self) -> usize {
        self.table.sets.values().map(|set| set.elements.len()).sum()
    }

    /// Whether there is no element: never, since the tunnel is one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Turns one loaded ruleset into another, in one transaction. Deletes and adds elements, and refills chains that
/// changed; never deletes the table unless its shape changed (another role, another version). Empty if they are equal.
/// Does not renew the alive elements, nor adds those of new segments: [`Ruleset::alive`] does.
pub fn diff(old: &Ruleset, new: &Ruleset) -> Batch {
    batch::diff(&old.table, &new.table)
}

/// Takes our table away, whether or not it is there: for a start that failed. Routes stay closed without it.
pub fn remove() -> Batch {
    let mut batch = Batch::default();
    batch.remove_table(TABLE);
    batch
}

/// A table of its own that drops all that is to be forwarded: for the time before the gateway runs.
pub fn early_drop() -> Batch {
    let base = Base { kind: NfChainType::Filter, hook: NfHook::Forward, priority: -300, policy: NfChainPolicy::Drop };
    let mut table = Table { name: EARLY_TABLE, ..Table::default() };
    table.chains.insert("c_forward".to_owned(), Chain { base: Some(base), rules: Vec::new() });
    batch::refill(&table)
}

/// The map in which a rule stands and its key there, as nft writes them; `None` for a rule that no packet could meet. Of
/// rules whose both ends stand at the gateway, the destination is to be the real one.
pub fn element(rule: &Rule) -> Option<(String, String)> {
    let (map, key) = elements::element(rule).ok()?;
    Some((map, table::text(&key)))
}

/// The device by which a segment is reached: with a VLAN, `DEVICE.VLAN`.
pub fn segment_device(segment: &Segment) -> String {
    match segment.vlan {
        Some(vlan) => format!("{}.{vlan}", segment.device),
        None => segment.device.clone(),
    }
}

fn without_early(load: Batch) -> Batch {
    let mut batch = Batch::default();
    batch.remove_table(EARLY_TABLE);
    batch.then(load)
}

fn check_devices(policy: &Policy, devices: &Devices) -> Result<(), CompileError> {
    if devices.mtu < 1280 {
        return Err(CompileError::Mtu(devices.mtu));
    }
    let mut others: Vec<&str> = devices.wans.iter().map(String::as_str).collect();
    others.extend([devices.tunnel.as_str(), "lo"]);
    let segments = policy.departments.iter().filter_map(|department| department.segment.as_ref()).map(segment_device);
    for device in others.iter().map(|&device| device.to_owned()).chain(segments.clone()) {
        if !is_device(&device) {
            return Err(CompileError::Device(device));
        }
    }
    match segments.into_iter().find(|segment| others.contains(&segment.as_str())) {
        Some(twice) => Err(CompileError::DeviceTwice(twice)),
        None => Ok(()),
    }
}

fn is_device(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=15).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with(['.', '-'])
}

fn shape(table: &Table) -> String {
    let sets: Vec<_> = table.sets.iter().map(|(name, set)| (name, &set.shape)).collect();
    let chains: Vec<_> = table.chains.iter().map(|(name, chain)| (name, chain.base)).collect();
    let hash = Sha256::digest(format!("{sets:?} {chains:?}"));
    format!("v_{}", hex::encode(&hash[..8]))
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
