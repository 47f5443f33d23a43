//! Every measure: its name and unit in the file, and the goal that turnpike has in it.

use crate::subject::Subject;

/// Something that is measured of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// CPU of the hub's process per GB of TCP payload through it.
    RelayCpu,
    /// CPU of the sending endpoint's process per GB.
    SendCpu,
    /// CPU of the receiving endpoint's process per GB.
    ReceiveCpu,
    /// What one TCP stream carries between two endpoints.
    Tcp,
    /// CPU of the hub's process per delivered UDP packet of 64 octets.
    SmallCpu,
    /// The share of those packets that did not arrive.
    SmallLoss,
    /// Round trip between two endpoints that do nothing else: median.
    PingIdleMedian,
    /// The same: 99th percentile.
    PingIdleTail,
    /// Round trip beside one TCP stream in the same direction: 99th percentile.
    PingLoadedTail,
    /// Resident memory of the larger endpoint's process after the TCP stream.
    MemoryAfterTcp,
}

/// What turnpike is to reach in a measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// At most so many times as much as the other.
    AtMost(f64, Against),
    /// At least so many times as much as the other.
    AtLeast(f64, Against),
    /// Less than every peer; nothing at all is reached too.
    Least,
    /// At most so much.
    Within(f64),
}

/// Whom turnpike is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// This peer.
    Peer(Subject),
    /// Whichever peer is best in the measure.
    Best,
}

impl Measure {
    /// All of them, in the table's order.
    pub const ALL: [Self; 10] = [
        Self::RelayCpu,
        Self::SendCpu,
        Self::ReceiveCpu,
        Self::Tcp,
        Self::SmallCpu,
        Self::SmallLoss,
        Self::PingIdleMedian,
        Self::PingIdleTail,
        Self::PingLoadedTail,
        Self::MemoryAfterTcp,
    ];

    /// Its name in tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::RelayCpu => "relay_cpu_s_per_gb",
            Self::SendCpu => "send_cpu_s_per_gb",
            Self::ReceiveCpu => "receive_cpu_s_per_gb",
            Self::Tcp => "tcp_gbit_per_s",
            Self::SmallCpu => "small_us_per_packet",
            Self::SmallLoss => "small_loss_ratio",
            Self::PingIdleMedian => "ping_idle_ms_p50",
            Self::PingIdleTail => "ping_idle_ms_p99",
            Self::PingLoadedTail => "ping_loaded_ms_p99",
            Self::MemoryAfterTcp => "rss_mib_after_tcp",
        }
    }

    /// Its unit. A GB is 10^9 octets of payload, a MiB 2^20.
    pub fn unit(self) -> &'static str {
        match self {
            Self::RelayCpu | Self::SendCpu | Self::ReceiveCpu => "s/GB",
            Self::Tcp => "Gbit/s",
            Self::SmallCpu => "us/packet",
            Self::SmallLoss => "ratio",
            Self::PingIdleMedian | Self::PingIdleTail | Self::PingLoadedTail => "ms",
            Self::MemoryAfterTcp => "MiB",
        }
    }

    /// What turnpike is to reach.
    pub fn goal(self) -> Option<Goal> {
        let go = Against::Peer(Subject::WireguardGo);
        let boringtun = Against::Peer(Subject::BoringtunCli);
        Some(match self {
            Self::RelayCpu => Goal::AtMost(0.5, go),
            Self::SendCpu => Goal::AtMost(0.56, go),
            Self::ReceiveCpu => Goal::AtMost(0.52, go),
            Self::Tcp => Goal::AtLeast(1.5, go),
            Self::SmallCpu => Goal::AtMost(0.75, boringtun),
            Self::SmallLoss => Goal::Least,
            Self::PingIdleMedian => Goal::AtMost(1.1, boringtun),
            Self::PingIdleTail => Goal::AtMost(1.5, boringtun),
            Self::PingLoadedTail => Goal::AtMost(0.5, Against::Best),
            Self::MemoryAfterTcp => Goal::Within(24.0),
        })
    }

    /// Whether more is better.
    pub fn more_is_better(self) -> bool {
        match self {
            Self::Tcp => true,
            Self::RelayCpu
            | Self::SendCpu
            | Self::ReceiveCpu
            | Self::SmallCpu
            | Self::SmallLoss
            | Self::PingIdleMedian
            | Self::PingIdleTail
            | Self::PingLoadedTail
            | Self::MemoryAfterTcp => false,
        }
    }
}
