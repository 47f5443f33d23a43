//! Networks in namespaces: for tests, and for `turnpike lab`, which shows a definition at work.
//!
//! | module | what |
//! |---|---|
//! | [`guard`] | a namespace, its processes and its wires, all of which go when it is dropped |
//! | [`surroundings`] | `lab.toml`: what stands around the gateways |
//! | [`topology`] | both, as namespaces and wires |
//! | [`servers`] | the legacy systems, from Debian |
//! | [`fleet`] | the gateways, as processes of this program |
//! | [`raise`] | all of that as one lab |
//! | [`session`] | a lab in the background |
//! | [`plan`] | what is to be tried, from the definition |
//! | [`probe`] | connections made for real from legacy hosts |
//! | [`trial`] | those, with the gateways' counters as evidence |
//! | [`faults`] | changes and faults made on purpose |
//! | `traffic` | what goes on while they are made |
//! | [`measure`] | round trip and throughput |
//! | [`demo`] | all of it in order |

pub mod demo;
pub mod faults;
pub mod fleet;
pub mod guard;
pub mod measure;
pub mod plan;
pub mod probe;
pub mod raise;
#[cfg(test)]
mod sample;
pub mod servers;
pub mod session;
pub mod surroundings;
pub mod topology;
mod traffic;
pub mod trial;
