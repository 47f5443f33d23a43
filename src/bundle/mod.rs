//! What a gateway is told: one file for one gateway, an envelope of three sections, each octets with a hash and
//! a signature of its own.
//!
//! ```text
//!  envelope ── policy      signed by the operator over the Merkle root of all gateways' policy sections
//!          │                and the generation's number
//!          ├─ membership  peers' public keys and endpoints, signed by the controller's online key
//!          └─ narrowing   revocations and suspensions: may only remove
//! ```
//!
//! [`Encoded`] makes the envelopes of a generation, [`open`] verifies one against a [`Trust`], and
//! [`Bundle::admit`] says whether this gateway may take it now. [`Bundle::effective_policy`] is what it then
//! enforces. A bundle holds no private key and no preshared key, and rules as a model: what the kernel loads is
//! compiled from it on the gateway, by `ruleset`.

mod admission;
mod check;
mod digest;
mod envelope;
mod heartbeat;
mod hours;
mod judge;
mod membership;
mod merkle;
mod narrowing;
mod notice;
mod policy;
mod rules;
#[cfg(test)]
pub(crate) mod sample;
mod seal;
mod statement;
#[cfg(test)]
mod tests;
mod text;
mod trust;
mod validity;

pub use admission::{AdmissionError, Floor, Own};
pub use digest::{Digest, DigestError};
pub use envelope::{Bundle, BundleError, MAX_GENERATION, MAX_OCTETS, Section, VERSION, open, open_unverified};
pub use heartbeat::{Heartbeat, SignedHeartbeat};
pub use hours::{Hours, HoursError, Span, zones};
pub use judge::Judgement;
pub use membership::{Link, Membership, Uplink};
pub use narrowing::Narrowing;
pub use notice::{Effect, MAX_NOTICE_NUMBER, Notice, NoticeError, SignedNotice};
pub use policy::{
    Agreement, Department, Destination, Guardrail, Mapping, Match, NextHop, Policy, Role, Route, Rule, Segment,
    Service, Settled, Signatory,
};
pub use rules::{RANGE_LIMIT, settle};
pub(crate) use rules::{joined, without};
pub use seal::{Contents, Encoded, SealError};
pub use statement::{Content, LONGEST_STATEMENT, Statement, StatementError, claim};
pub use trust::{Trust, TrustError};
pub use validity::{Clock, Moment, Withheld, standing};
