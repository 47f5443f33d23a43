//! turnpike: a WireGuard-based edge appliance and hub. This page is the map.
//!
//! Imports go downward only; `tests/architecture.rs` holds the table.
//!
//! | layer | modules |
//! |---|---|
//! | L6 | [`cli`] |
//! | L5 | [`gateway`], [`controller`], [`uapi`], [`lab`] |
//! | L4 | [`dataplane`] |
//! | L3 | [`sys`], [`telemetry`], [`store`], [`http`] |
//! | L2 | [`tunnel`], [`reconcile`] |
//! | L1 | [`policy`], [`bundle`], [`ruleset`], [`event`] |
//! | L0 | [`net`], [`identity`] |

pub mod bundle;
pub mod cli;
pub mod controller;
pub mod dataplane;
pub mod event;
pub mod gateway;
pub mod http;
pub mod identity;
pub mod lab;
pub mod net;
pub mod policy;
pub mod reconcile;
pub mod ruleset;
pub mod store;
pub mod sys;
pub mod telemetry;
pub mod tunnel;
pub mod uapi;
