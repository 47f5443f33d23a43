//! Networks in namespaces: for tests, and for `turnpike lab`, which shows a definition at work.
//!
//! | module | what |
//! |---|---|
//! | [`guard`] | a namespace, its processes and its wires, all of which go when it is dropped |
//! | [`surroundings`] | `lab.toml`: what stands around the gateways |
//! | [`topology`] | both, as namespaces and wires |
//! | [`servers`] | the legacy systems, from Debian |
//! | [`fleet`] | the gateways, as processes of this program |
//! | [`probe`] | connections made for real from legacy hosts |

pub mod fleet;
pub mod guard;
pub mod probe;
pub mod servers;
pub mod surroundings;
pub mod topology;
