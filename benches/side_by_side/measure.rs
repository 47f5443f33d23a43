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
    /// CPU of the hub's process per GB that 388 active peers send each other.
    Relay388Cpu,
    /// The same by the same generator, with two peers.
    Relay2Cpu,
    /// Resident memory with 500 configured peers.
    Memory500,
    /// The same once 388 of them have been active.
    Memory500Active,
    /// Resident memory with 5,000 configured peers.
    Memory5000,
    /// How long `wg setconf` takes to give them.
    Configure5000,
    /// Initiations answered through the socket, the subject having one core.
    Handshakes,
    /// Initiations that boringtun's engine answers on one core in the benchmark's process.
    HandshakesInProcess,
    /// The share of others' data that was lost meanwhile.
    HandshakesLoss,
    /// What one TCP stream carries between two legacy hosts through both edges and the hub.
    GatewaysTcp,
    /// CPU of the hub's gateway per GB of it.
    GatewaysHubCpu,
    /// CPU of the sending host's edge per GB.
    GatewaysSendCpu,
    /// CPU of the receiving host's edge per GB.
    GatewaysReceiveCpu,
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
    /// Itself in another measure.
    Itself(Measure),
}

impl Measure {
    /// All of them, in the table's order.
    pub const ALL: [Self; 23] = [
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
        Self::Relay388Cpu,
        Self::Relay2Cpu,
        Self::Memory500,
        Self::Memory500Active,
        Self::Memory5000,
        Self::Configure5000,
        Self::Handshakes,
        Self::HandshakesInProcess,
        Self::HandshakesLoss,
        Self::GatewaysTcp,
        Self::GatewaysHubCpu,
        Self::GatewaysSendCpu,
        Self::GatewaysReceiveCpu,
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
            Self::Relay388Cpu => "relay_388_cpu_s_per_gb",
            Self::Relay2Cpu => "relay_2_cpu_s_per_gb",
            Self::Memory500 => "rss_mib_500_peers",
            Self::Memory500Active => "rss_mib_500_peers_active",
            Self::Memory5000 => "rss_mib_5000_peers",
            Self::Configure5000 => "configure_s_5000_peers",
            Self::Handshakes => "handshakes_per_s",
            Self::HandshakesInProcess => "handshakes_in_process_per_s",
            Self::HandshakesLoss => "handshakes_data_loss_ratio",
            Self::GatewaysTcp => "gateways_tcp_gbit_per_s",
            Self::GatewaysHubCpu => "gateways_hub_cpu_s_per_gb",
            Self::GatewaysSendCpu => "gateways_send_cpu_s_per_gb",
            Self::GatewaysReceiveCpu => "gateways_receive_cpu_s_per_gb",
        }
    }

    /// Its unit. A GB is 10^9 octets of payload, a MiB 2^20.
    pub fn unit(self) -> &'static str {
        match self {
            Self::RelayCpu | Self::SendCpu | Self::ReceiveCpu | Self::Relay388Cpu | Self::Relay2Cpu => "s/GB",
            Self::GatewaysHubCpu | Self::GatewaysSendCpu | Self::GatewaysReceiveCpu => "s/GB",
            Self::Tcp | Self::GatewaysTcp => "Gbit/s",
            Self::SmallCpu => "us/packet",
            Self::SmallLoss | Self::HandshakesLoss => "ratio",
            Self::Handshakes | Self::HandshakesInProcess => "1/s",
            Self::PingIdleMedian | Self::PingIdleTail | Self::PingLoadedTail => "ms",
            Self::MemoryAfterTcp | Self::Memory500 | Self::Memory500Active | Self::Memory5000 => "MiB",
            Self::Configure5000 => "s",
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
            Self::MemoryAfterTcp | Self::Memory500 => Goal::Within(24.0),
            Self::Relay388Cpu => Goal::AtMost(1.5, Against::Itself(Self::Relay2Cpu)),
            Self::Handshakes => Goal::AtLeast(0.7, Against::Itself(Self::HandshakesInProcess)),
            Self::HandshakesLoss => Goal::Within(0.001),
            Self::Relay2Cpu
            | Self::Memory500Active
            | Self::Memory5000
            | Self::Configure5000
            | Self::HandshakesInProcess
            | Self::GatewaysTcp
            | Self::GatewaysHubCpu
            | Self::GatewaysSendCpu
            | Self::GatewaysReceiveCpu => return None,
        })
    }

    /// Whether more is better.
    pub fn more_is_better(self) -> bool {
        matches!(self, Self::Tcp | Self::Handshakes | Self::HandshakesInProcess | Self::GatewaysTcp)
    }
}
