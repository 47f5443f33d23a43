//! Every health condition there is: what is wrong, how bad it is, what to do.

use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How bad a condition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Traffic passes as it should; look at it in working hours.
    Warning,
    /// Traffic does not pass, or soon will not.
    Alarm,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Started by the last good bundle, since the one that was named could not be used.
    RunningFromState {
        /// Why not.
        cause: String,
    },
    /// A bundle was offered and not taken; the former one is in force.
    BundleRefused {
        /// Why not.
        cause: String,
    },
    /// A good bundle could not be applied.
    ApplyFailed {
        /// Why not.
        cause: String,
    },
    /// A sysctl has a value with which traffic or protection fails.
    WrongSysctl {
        /// Its name.
        name: String,
        /// Its value.
        found: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// The state folder cannot be written.
    StateUnwritable {
        /// Why not.
        cause: String,
    },
    /// A file of state is damaged.
    StateDamaged {
        /// Which and how.
        cause: String,
    },
    /// Others may read a private key.
    KeyReadable {
        /// Its file.
        path: PathBuf,
    },
    /// Somebody asked that foreign changes be left alone for a while.
    RepairPaused {
        /// Until when.
        until: Timestamp,
    },
    /// A foreign change could not be undone.
    RepairFailed {
        /// Why not.
        cause: String,
    },
    /// Metrics are not served at an address.
    MetricsUnserved {
        /// The address.
        address: SocketAddr,
        /// Why not.
        cause: String,
    },
    /// The element without which nothing passes was not renewed.
    AliveNotRenewed {
        /// Why not.
        cause: String,
    },
    /// No tunnel carries traffic.
    NoTunnel,
    /// An uplink's own address lies in a prefix allotted to a department.
    UplinkInOverlay {
        /// What lies where.
        cause: String,
    },
    /// Flows are not told of as events.
    EventsUnwritten {
        /// Why not.
        cause: String,
    },
    /// The kernel cannot tell of flows.
    EventsUnheard {
        /// Why not.
        cause: String,
    },
    /// Agreements rest since nobody has vouched for the clock.
    ClockUnconfirmed {
        /// How many.
        agreements: usize,
    },
    /// Agreements rest since the controller has not been heard for their lease.
    LeaseEnded {
        /// How many.
        agreements: usize,
        /// How long it has not been heard, in seconds.
        silence: u64,
    },
    /// Agreements that begin or end now did not in the kernel.
    HonourFailed {
        /// Why not.
        cause: String,
    },
    /// A bundle waits for confirmation.
    OnTrial {
        /// Its generation.
        generation: u64,
        /// When it is rolled back, in seconds from now.
        left: u64,
    },
    /// Something that the status is made of could not be read.
    Unobservable {
        /// What and why.
        cause: String,
    },
}

impl Condition {
    /// Its stable name.
    pub fn id(&self) -> &'static str {
        match self {
            Self::RunningFromState { .. } => "running-from-state",
            Self::BundleRefused { .. } => "bundle-refused",
            Self::ApplyFailed { .. } => "apply-failed",
            Self::WrongSysctl { .. } => "wrong-sysctl",
            Self::StateUnwritable { .. } => "state-unwritable",
            Self::StateDamaged { .. } => "state-damaged",
            Self::KeyReadable { .. } => "key-readable",
            Self::RepairPaused { .. } => "repair-paused",
            Self::RepairFailed { .. } => "repair-failed",
            Self::MetricsUnserved { .. } => "metrics-unserved",
            Self::AliveNotRenewed { .. } => "alive-not-renewed",
            Self::NoTunnel => "no-tunnel",
            Self::UplinkInOverlay { .. } => "uplink-in-overlay",
            Self::EventsUnwritten { .. } => "events-unwritten",
            Self::EventsUnheard { .. } => "events-unheard",
            Self::ClockUnconfirmed { .. } => "clock-unconfirmed",
            Self::LeaseEnded { .. } => "lease-ended",
            Self::HonourFailed { .. } => "honour-failed",
            Self::OnTrial { .. } => "on-trial",
            Self::Unobservable { .. } => "unobservable",
        }
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        match self {
            Self::RunningFromState { .. }
            | Self::BundleRefused { .. }
            | Self::StateUnwritable { .. }
            | Self::StateDamaged { .. }
            | Self::KeyReadable { .. }
            | Self::MetricsUnserved { .. }
            | Self::EventsUnwritten { .. }
            | Self::EventsUnheard { .. }
            | Self::OnTrial { .. }
            | Self::Unobservable { .. } => Severity::Warning,
            Self::ApplyFailed { .. }
            | Self::WrongSysctl { .. }
            | Self::RepairPaused { .. }
            | Self::RepairFailed { .. }
            | Self::AliveNotRenewed { .. }
            | Self::NoTunnel
            | Self::ClockUnconfirmed { .. }
            | Self::LeaseEnded { .. }
            | Self::HonourFailed { .. }
            | Self::UplinkInOverlay { .. } => Severity::Alarm,
        }
    }

    /// What is wrong.
    pub fn text(&self) -> String {
        match self {
            Self::RunningFromState { cause } => format!("started by the last good bundle: {cause}"),
            Self::BundleRefused { cause } => format!("the bundle offered last was refused: {cause}"),
            Self::ApplyFailed { cause } => format!("the bundle offered last could not be applied: {cause}"),
            Self::WrongSysctl { name, found, wanted } => format!("{name} is {found}, but must be {wanted}"),
            Self::StateUnwritable { cause } => format!("the state cannot be written: {cause}"),
            Self::StateDamaged { cause } => cause.clone(),
            Self::KeyReadable { path } => format!("{} can be read by others than its owner", path.display()),
            Self::RepairPaused { until } => format!("foreign changes are not repaired until {until}"),
            Self::RepairFailed { cause } => format!("a foreign change could not be undone: {cause}"),
            Self::MetricsUnserved { address, cause } => format!("metrics are not served at {address}: {cause}"),
            Self::AliveNotRenewed { cause } => format!("the alive element was not renewed: {cause}"),
            Self::NoTunnel => "no tunnel carries traffic".to_owned(),
            Self::UplinkInOverlay { cause } => cause.clone(),
            Self::ClockUnconfirmed { agreements } => format!(
                "nobody has vouched for the clock since the machine started: {agreements} agreements with hours or a \
                 beginning rest"
            ),
            Self::LeaseEnded { agreements, silence } => {
                format!(
                    "the controller has not been heard for {silence} s: {agreements} agreements rest, as their lease has ended"
                )
            }
            Self::HonourFailed { cause } => {
                format!("agreements that begin or end now could not be brought to the kernel: {cause}")
            }
            Self::OnTrial { generation, left } => {
                format!("generation {generation} is on trial: it is rolled back in {left} s unless it is confirmed")
            }
            Self::EventsUnheard { cause } => format!("this kernel does not tell of flows: {cause}"),
            Self::EventsUnwritten { cause } | Self::Unobservable { cause } => cause.clone(),
        }
    }

    /// What to do.
    pub fn remedy(&self) -> String {
        match self {
            Self::RunningFromState { .. } | Self::BundleRefused { .. } => {
                "put a bundle built for this gateway, of a generation not below the one in force, in the place that \
                 --bundle names, then send SIGHUP"
                    .into()
            }
            Self::ApplyFailed { .. } => "correct the cause, then send SIGHUP".into(),
            Self::ClockUnconfirmed { .. } | Self::LeaseEnded { .. } => {
                "bring the controller's newest heartbeat: turnpike gateway heartbeat FILE".into()
            }
            Self::RepairFailed { .. } | Self::HonourFailed { .. } => {
                "correct the cause; it is tried again by itself".into()
            }
            Self::WrongSysctl { name, wanted, .. } => {
                let value = wanted.split_whitespace().next().unwrap_or(wanted);
                format!("sysctl -w {name}={value}, and in /etc/sysctl.d for the next boot")
            }
            Self::StateUnwritable { .. } => {
                "free space, or mount the file system writable: a restart would use the last bundle that was kept"
                    .into()
            }
            Self::StateDamaged { .. } => "look at the disk; the next bundle applied replaces the file".into(),
            Self::KeyReadable { path } => format!("chmod 600 {}", path.display()),
            Self::RepairPaused { .. } => "turnpike gateway repair resume --state DIR".into(),
            Self::MetricsUnserved { .. } => "name another address with --metrics".into(),
            Self::AliveNotRenewed { .. } => {
                "look at 'nft list table inet turnpike': traffic stops when the element runs out".into()
            }
            Self::NoTunnel => "look at the uplinks, and at the last handshake of each link in 'turnpike status'".into(),
            Self::OnTrial { .. } => {
                "turnpike gateway confirm, from a session opened since; or turnpike gateway rollback".into()
            }
            Self::UplinkInOverlay { .. } => {
                "reserve the carrier's prefix in network.toml (reserved = […]) and allot again".into()
            }
            Self::EventsUnwritten { .. } => {
                "name another place with --events, or none with --events off; it is tried again by itself".into()
            }
            Self::EventsUnheard { .. } => {
                "modprobe nft_log nfnetlink_log, then 'turnpike gateway reload'; or do without: --events off".into()
            }
            Self::Unobservable { .. } => String::new(),
        }
    }
}

/// A condition as the status document tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The condition's stable name.
    pub id: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub text: String,
    /// What to do.
    pub remedy: String,
}

impl From<&Condition> for Report {
    fn from(condition: &Condition) -> Self {
        Self {
            id: condition.id().to_owned(),
            severity: condition.severity(),
            text: condition.text(),
            remedy: condition.remedy(),
        }
    }
}
