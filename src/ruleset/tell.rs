//! What the kernel tells of by nflog, and at what rate: each refusal, and each flow that an agreement let pass.
//!
//! ```text
//!  refused ─▶ counted ─▶ c_drop_LABEL     at most so many per second: log, drop
//!                                         the others: counted by u_LABEL, drop
//!  guardrail ─▶ c_guarded                 the same, then on to the department's counter
//!  new flow ─▶ c_first ─▶ c_open ─▶ c_opened     the same with accept
//! ```
//!
//! A record carries a prefix that stands for its [`Cause`] and the packet's first octets. The limit stands before the
//! log, so that a flood costs the gateway no more than the rate; what is over it is counted, and no record is missing that
//! neither a record nor a counter tells of. An established packet meets none of these rules.

use nftables::stmt::Statement;

use super::Reason;
use super::batch::{self, Batch};
use super::statement::{Rule, Stmt, count, drop, goto, limit, log};
use super::table::Table;

/// The nflog group: ours alone, the number of the metrics' port.
pub const GROUP: u16 = 9587;

/// Octets of a packet that a record carries: the headers up to the ports, also with IPv4 options or an extension
/// header of IPv6, and little else of what people say to each other.
pub const SNAP: u16 = 96;

/// Records per second of one cause of refusal, with a burst of as many again.
const REFUSED_RATE: u32 = 100;

/// Records per second of flows that were opened.
const OPENED_RATE: u32 = 500;

/// Why the kernel tells of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// It opened a flow that an agreement allows.
    Opened,
    /// No agreement allows it.
    NoAgreement,
    /// It met a guardrail, whose place in the policy's list, counted from 1, is the packet's mark.
    Guardrail,
    /// It was dropped for a reason that no department answers for.
    Dropped(Reason),
}

impl Cause {
    /// All that a record can tell of. Who meets a guardrail is one cause, whether or not the source is known.
    pub fn all() -> impl Iterator<Item = Self> {
        let dropped = Reason::ALL.into_iter().filter(|reason| *reason != Reason::Guarded).map(Self::Dropped);
        [Self::Opened, Self::NoAgreement, Self::Guardrail].into_iter().chain(dropped)
    }

    /// The name in events; of refusals the metric label too.
    pub fn label(self) -> &'static str {
        match self {
            Self::Opened => "agreement",
            Self::NoAgreement => "no_agreement",
            Self::Guardrail => "guardrail",
            Self::Dropped(reason) => reason.label(),
        }
    }

    /// The cause of this name.
    pub fn labelled(label: &str) -> Option<Self> {
        Self::all().find(|cause| cause.label() == label)
    }

    /// The cause that a record's prefix stands for.
    pub fn of_prefix(prefix: &str) -> Option<Self> {
        Self::labelled(prefix.strip_prefix(PREFIX)?)
    }

    fn prefix(self) -> String {
        format!("{PREFIX}{}", self.label())
    }

    fn counter(self) -> String {
        format!("{COUNTER}{}", self.label())
    }

    fn rate(self) -> u32 {
        match self {
            Self::Opened => OPENED_RATE,
            Self::NoAgreement | Self::Guardrail | Self::Dropped(_) => REFUSED_RATE,
        }
    }

    /// The chain that tells of a refusal and drops.
    fn chain(self) -> String {
        format!("c_drop_{}", self.label())
    }
}

/// The prefix of every record's prefix.
const PREFIX: &str = "turnpike ";

/// How the counters of what was not told begin.
const COUNTER: &str = "u_";

/// The cause whose untold packets a counter counts, if it does.
pub(super) fn counted(counter: &str) -> Option<Cause> {
    Cause::labelled(counter.strip_prefix(COUNTER)?)
}

/// Adds the chains that tell and drop, and the counters of what is not told.
pub(super) fn add(table: &mut Table) {
    table.counters.extend(Cause::all().map(Cause::counter));
    for cause in Cause::all() {
        match cause {
            Cause::NoAgreement | Cause::Dropped(_) => table.chain(cause.chain(), told(cause, &drop())),
            // Told where they are judged.
            Cause::Opened | Cause::Guardrail => {}
        }
    }
}

/// Tells of a packet or counts it as untold; either way its end is `then`.
pub(super) fn told(cause: Cause, then: &Stmt) -> Vec<Rule> {
    vec![
        vec![limit(cause.rate()), log(cause.prefix(), GROUP, SNAP), then.clone()],
        vec![count(cause.counter()), then.clone()],
    ]
}

/// Tells of a refusal and drops.
pub(super) fn drop_for(cause: Cause) -> Stmt {
    goto(cause.chain())
}

/// Counts by the reason, tells and drops.
pub(super) fn refuse(reason: Reason) -> [Stmt; 2] {
    [count(reason.counter()), drop_for(Cause::Dropped(reason))]
}

/// The name of a table that is only ever checked, never loaded.
const TRIAL: &str = "turnpike_trial";

/// A table with one chain, and in it one rule that tells of packets: for a kernel to be asked whether it can. Without
/// `records` the same without that rule.
pub fn trial(records: bool) -> Batch {
    let mut table = Table { name: TRIAL, ..Table::default() };
    let told = vec![log(Cause::Opened.prefix(), GROUP, SNAP)];
    table.chain("c_trial", if records { vec![told] } else { Vec::new() });
    batch::refill(&table)
}

/// Whether a rule tells of packets.
fn tells(rule: &Rule) -> bool {
    rule.iter().any(|statement| matches!(statement, Stmt::Schema(Statement::Log(_))))
}

/// Takes all rules out that tell of packets: what they would tell is then counted as untold by the rules that follow them.
pub(super) fn mute(table: &mut Table) {
    table.chains.values_mut().for_each(|chain| chain.rules.retain(|rule| !tells(rule)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_told_by_a_prefix_and_counter_of_its_own() {
        for cause in Cause::all() {
            assert_eq!(Cause::of_prefix(&cause.prefix()), Some(cause));
            assert_eq!(counted(&cause.counter()), Some(cause));
            // NF_LOG_PREFIXLEN is 128 octets with the closing NUL.
            assert!(
                cause.prefix().len() < 128
                    && cause.prefix().bytes().all(|octet| octet.is_ascii_graphic() || octet == b' ')
            );
        }
        assert_eq!(Cause::all().count(), 12);
        for foreign in ["", "turnpike", "turnpike ", "turnpike x", "u_spoofed", "agreement", "turnpike guarded"] {
            assert_eq!(Cause::of_prefix(foreign), None, "{foreign}");
        }
    }
}
