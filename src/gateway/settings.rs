//! What a gateway is started with.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::events::Events;
use super::timekeeper::Authority;
use crate::dataplane::{Offloads, Scheduling};
use crate::tunnel::Marking;

/// The UDP and TCP port of metrics.
pub const METRICS_PORT: u16 = 9587;

/// What a gateway is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The bundle file, read at the start and at each reload.
    pub bundle: PathBuf,
    /// The folder of private keys, `UPLINK.key` each.
    pub keys: PathBuf,
    /// The trust file.
    pub trust: PathBuf,
    /// The state folder.
    pub state: PathBuf,
    /// The TUN device to make.
    pub device: String,
    /// The MTU of that device, in octets.
    pub mtu: u32,
    /// How its datagrams are marked.
    pub marking: Marking,
    /// What the kernel may take off the data plane.
    pub offloads: Offloads,
    /// How packets compete for processors.
    pub scheduling: Scheduling,
    /// How many threads share the data plane's peers; 0 for a number that suits the machine.
    pub workers: u8,
    /// Who vouches for the clock.
    pub authority: Authority,
    /// Where to serve metrics.
    pub metrics: Metrics,
    /// Where to write denied and allowed flows.
    pub events: Events,
}

/// Where to serve metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metrics {
    /// On loopback and the management address, port [`METRICS_PORT`].
    Default,
    /// At these addresses alone; none for nowhere.
    At(Vec<SocketAddr>),
}
