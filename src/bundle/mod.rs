//! What a gateway is told: the types inside the signed bytes, and nothing else.
//!
//! A bundle is one file for one gateway: an [`Envelope`] of three [`sections`](Sections), each bytes with a
//! hash and a signature of its own.
//!
//! ```text
//!  Envelope ── policy      signed by the operator over the Merkle root of all gateways' policy sections
//!          │                and the generation's number
//!          ├─ membership  peers' public keys and endpoints, signed by the controller's online key
//!          └─ narrowing   revocations and suspensions: may only remove
//! ```
//!
//! A bundle holds no private key and no preshared key, and rules as a model: what the kernel loads is compiled
//! from it on the gateway, by `ruleset`.

mod membership;
mod policy;
mod text;

pub use membership::{Link, Membership, Uplink};
pub use policy::{
    Agreement, Department, Destination, Guardrail, Mapping, Match, NextHop, Policy, Role, Route, Rule, Segment, Service,
};
