//! The status document: what `turnpike status --json` prints, the control socket sends and metrics are read from.
//!
//! Times are RFC 3339 in UTC, absent for never. Octets and packets are totals since this gateway's process began.

use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::conditions::Report;
use crate::bundle::Role;
use crate::identity::{Id, Name, PublicKey, Qualified};
use crate::net::Prefix;

/// Everything that a gateway knows about itself at one instant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The form of this document: 1.
    pub document: u32,
    /// When it was made.
    pub at: Timestamp,
    /// The program's version.
    pub version: String,
    /// The gateway's name.
    pub gateway: Name,
    /// Its site.
    pub site: Name,
    /// The network's name.
    pub network: Name,
    /// Edge or relay.
    pub role: Role,
    /// Its process.
    pub pid: u32,
    /// When the process began.
    pub started: Timestamp,
    /// The tunnel's device.
    pub device: String,
    /// Its management address.
    pub address: IpAddr,
    /// Where metrics are served.
    pub metrics: Vec<SocketAddr>,
    /// What is in force.
    pub configuration: Configuration,
    /// Our ways out.
    pub uplinks: Vec<Uplink>,
    /// The places that routes lead to.
    pub sites: Vec<Site>,
    /// The tunnels.
    pub links: Vec<Link>,
    /// The departments that stand here.
    pub mappings: Vec<Mapping>,
    /// The agreements in force.
    pub agreements: Vec<Agreement>,
    /// The agreements of the bundle that are not honoured now. Absent in documents of older gateways.
    #[serde(default)]
    pub withheld: Vec<Withheld>,
    /// What is known of the time. Absent in documents of older gateways.
    #[serde(default)]
    pub time: Time,
    /// What the policy let through and what it did not.
    pub policy: Policy,
    /// Packets that the data plane dropped, by reason: every reason, also at 0.
    pub drops: Vec<Drop>,
    /// What the kernel can take off the data plane, and whether it does: every offload. Absent in documents of
    /// older gateways.
    #[serde(default)]
    pub offloads: Vec<Offload>,
    /// The threads that share the tunnels. Absent in documents of older gateways.
    #[serde(default)]
    pub workers: Vec<Worker>,
    /// What was told of flows. Absent in documents of older gateways.
    #[serde(default)]
    pub events: Events,
    /// What others changed in the kernel.
    pub drift: Drift,
    /// What is not as it should be; empty when all is well.
    pub conditions: Vec<Report>,
    /// What the host has.
    pub host: Host,
    /// Whether each source of this document could be read.
    pub collectors: Vec<Collector>,
}

/// The bundle in force, and how changes went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// The generation in force.
    pub generation: u64,
    /// The generation last offered, in force or refused.
    pub offered: u64,
    /// Where the bundle in force came from.
    pub source: Source,
    /// When it was applied.
    pub applied: Timestamp,
    /// Bundles applied.
    pub applied_total: u64,
    /// Bundles refused: forged, damaged, for another gateway, of a lower generation.
    pub refused_total: u64,
    /// Bundles that were good but could not be applied.
    pub failed_total: u64,
    /// Why the last change was not made; absent when it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// Where a bundle came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The file that `--bundle` names.
    File,
    /// The last good one, kept in the state folder.
    State,
}

/// A way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uplink {
    /// Its name.
    pub name: Name,
    /// The Linux device, where the bundle names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The UDP port in use.
    pub port: u16,
    /// Whether any of its tunnels carries traffic.
    pub up: bool,
}

/// A place that routes lead to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Its name; `relays` on an edge, for whichever hub lives.
    pub name: String,
    /// The prefixes that lead there.
    pub prefixes: Vec<Prefix>,
    /// Its links, by number.
    pub links: Vec<u32>,
    /// Whether any of them carries traffic.
    pub up: bool,
}

/// A tunnel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// Its number, the same at both ends.
    pub number: u32,
    /// Our uplink.
    pub uplink: Name,
    /// The peer's gateway.
    pub gateway: Name,
    /// The peer's site.
    pub site: Name,
    /// Whether the peer relays.
    pub relay: bool,
    /// The peer's public key.
    pub key: PublicKey,
    /// Where the peer is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<SocketAddr>,
    /// Whether a session exists that could carry a packet now.
    pub up: bool,
    /// When the last handshake was completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handshake: Option<Timestamp>,
    /// The last handshake's round trip in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake_rtt_seconds: Option<f64>,
    /// Octets received.
    pub received_bytes: u64,
    /// Octets sent.
    pub sent_bytes: u64,
    /// Datagrams received.
    pub received_packets: u64,
    /// Datagrams sent.
    pub sent_packets: u64,
    /// Handshakes completed.
    pub handshakes: u64,
    /// Times that the peer was found at another address.
    pub endpoint_changes: u64,
    /// The estimated share of packets lost towards us, 0 to 1.
    pub estimated_loss: f64,
    /// Whether datagrams go to the peer in trains, where several are to be sent: not without the offload `udp_gso`,
    /// nor for 10 minutes after the path refused one. Absent in documents of older gateways.
    #[serde(default)]
    pub trains: bool,
}

/// A department that stands here, with one pair of prefixes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// The department.
    pub department: Qualified,
    /// Its segment's device.
    pub device: String,
    /// As its own hosts know it.
    pub real: Prefix,
    /// As all others know it.
    pub overlay: Prefix,
    /// The core switch in front of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
}

/// An agreement in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// Its number.
    pub number: u32,
    /// As people write it.
    pub id: Id,
    /// The service, `council/service`.
    pub service: Qualified,
    /// The consuming departments.
    pub from: Vec<Qualified>,
    /// Packets that it let through, both directions.
    pub packets: u64,
    /// Octets of those.
    pub bytes: u64,
}

/// An agreement of the bundle that is not honoured now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withheld {
    /// Its number.
    pub number: u32,
    /// As people write it.
    pub id: Id,
    /// Why not, from a closed list.
    pub reason: String,
    /// Why not, for people.
    pub text: String,
}

/// What is known of the time, and of how long the controller has not been heard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Time {
    /// Whether somebody has vouched for the time since the machine started.
    pub confirmed: bool,
    /// The time that agreements are judged by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Timestamp>,
    /// The number of the last heartbeat; 0 for none.
    pub heartbeat: u64,
    /// How long the controller has not been heard, in seconds.
    pub silence_seconds: f64,
    /// The classes of the bundle's agreements, by name.
    pub leases: Vec<Lease>,
}

/// How long a class is honoured without a sign of life from the controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// The class.
    pub class: Name,
    /// All of it, in seconds.
    pub seconds: u64,
    /// What is left of it, in seconds: 0 when it has ended.
    pub left_seconds: f64,
}

/// What the policy in the kernel did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Rules in force.
    pub rules: u64,
    /// What passed, by department and service; both directions.
    pub allowed: Vec<Allowed>,
    /// What was denied, by reason: every reason, also at 0.
    pub denied: Vec<Denied>,
}

/// Packets that passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    /// The consumer's department.
    pub department: Qualified,
    /// The consumer's site.
    pub site: Name,
    /// The service.
    pub service: Qualified,
    /// Packets.
    pub packets: u64,
    /// Octets.
    pub bytes: u64,
}

/// Packets that were denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    /// The department that sent them; absent where the reason leaves it unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub department: Option<Qualified>,
    /// That department's site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Name>,
    /// Why, from a closed list.
    pub reason: String,
    /// Packets.
    pub packets: u64,
    /// Octets.
    pub bytes: u64,
}

/// Packets dropped by the data plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drop {
    /// Why, from a closed list.
    pub reason: String,
    /// How many.
    pub packets: u64,
}

/// A way of handling many packets at once, which the kernel may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offload {
    /// Its name, from a closed list.
    pub name: String,
    /// Whether it is in use.
    pub state: State,
}

/// Whether an offload is in use, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// In use.
    On,
    /// Switched off.
    Off,
    /// The kernel does not have it.
    Missing,
    /// The kernel refused it at run time.
    Refused,
}

impl State {
    /// Every state, in the order of declaration.
    pub const ALL: [Self; 4] = [Self::On, Self::Off, Self::Missing, Self::Refused];

    /// Its name, as in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Missing => "missing",
            Self::Refused => "refused",
        }
    }
}

/// A thread of the data plane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// How many tunnels it serves.
    pub links: u64,
    /// What it handed over to others so far, since it was theirs.
    pub handed_over: HandedOver,
    /// How it competes for processors with other programs.
    pub scheduling: Scheduling,
}

/// How a worker competes for processors with other programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheduling {
    /// Under load before them.
    Urgent,
    /// As one of them: the option `--scheduling` says so.
    #[default]
    Ordinary,
    /// As one of them: the system permits nothing else.
    Refused,
}

impl Scheduling {
    /// Every way, in the order of declaration.
    pub const ALL: [Self; 3] = [Self::Urgent, Self::Ordinary, Self::Refused];

    /// Its name, as in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::Ordinary => "ordinary",
            Self::Refused => "refused",
        }
    }
}

/// What one worker handed over to others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedOver {
    /// Packets and superpackets from the TUN device, which one worker reads for all.
    pub packets: u64,
    /// The first messages of handshakes, which one worker admits for all.
    pub initiations: u64,
    /// All other datagrams: few, since the kernel steers them.
    pub datagrams: u64,
}

/// What became of the packets of which the kernel told: flows that were opened, and packets that were refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// Where they are written: `journald`, a file, or `off`.
    pub to: String,
    /// Events written.
    pub written: u64,
    /// Packets of which an event's `suppressed` alone tells.
    pub suppressed: u64,
    /// Packets of which nothing tells: not heard of in time, or not written.
    pub lost: u64,
}

/// What others changed, and what was done about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// Whether something is not as it should be right now.
    pub present: bool,
    /// Repairs of the ruleset.
    pub ruleset_repairs: u64,
    /// Repairs of addresses, routes and rules.
    pub routing_repairs: u64,
    /// When something was last repaired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_repair: Option<Timestamp>,
    /// What was found then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_found: Option<String>,
    /// Until when repairs are paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_until: Option<Timestamp>,
}

/// What the host has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Octets free in the state folder's file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_free_bytes: Option<u64>,
    /// Octets that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_size_bytes: Option<u64>,
    /// Whether a time service keeps the clock synchronised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_synchronised: Option<bool>,
    /// How far the clock may be off, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_error_bound_seconds: Option<f64>,
    /// Flows that the kernel tracks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conntrack_entries: Option<u64>,
    /// How many it can track.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conntrack_limit: Option<u64>,
}

/// A source of this document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collector {
    /// Its name.
    pub name: String,
    /// Whether it could be read last time.
    pub success: bool,
}
