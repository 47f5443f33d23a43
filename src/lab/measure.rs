//! Round-trip time and throughput between two legacy hosts: by the overlay, and by a wire past all gateways.

use std::net::IpAddr;

use serde::Serialize;

use super::guard::{GuardError, Namespace};
use super::raise::LabError;
use super::topology::Network;

/// What was measured on one way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measure {
    /// The way.
    pub way: String,
    /// The mean round trip of 20 echoes, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// What one TCP connection carried in 2 s, in megabits per second.
    pub mbit_per_second: Option<f64>,
}

/// The addresses of the direct wire: a prefix for benchmarks (RFC 2544), on the WAN's bridge.
const DIRECT: [(&str, &str); 2] = [("198.18.0.1/24", "198.18.0.1"), ("198.18.0.2/24", "198.18.0.2")];
const DIRECT_DEVICE: &str = "direct0";

/// Joins two hosts by a wire past all gateways, measures, and takes the wire away.
///
/// # Errors
/// [`LabError`].
pub fn direct(network: &mut Network, from: usize, to: usize) -> Result<Measure, LabError> {
    let mut ends = [from, to].into_iter().zip(DIRECT);
    ends.try_for_each(|(host, (address, _))| network.join_directly(host, DIRECT_DEVICE, address))?;
    let (Some(a), Some(b)) = (network.hosts.get(from), network.hosts.get(to)) else {
        return Ok(Measure { way: "a wire past all gateways".into(), rtt_ms: None, mbit_per_second: None });
    };
    let measured = measure(&a.namespace, DIRECT[1].1, "a wire past all gateways");
    a.namespace.ip(&format!("link delete {DIRECT_DEVICE}"))?;
    b.namespace.ip(&format!("link delete {DIRECT_DEVICE}"))?;
    Ok(measured)
}

/// Measures between a host and an overlay address.
pub fn overlay(from: &Namespace, to: IpAddr) -> Measure {
    measure(from, &to.to_string(), "the overlay, by both edges and the hub")
}

fn measure(from: &Namespace, to: &str, way: &str) -> Measure {
    Measure {
        way: way.to_owned(),
        rtt_ms: echoes(from, to).ok().flatten(),
        mbit_per_second: throughput(from, to).ok().flatten(),
    }
}

fn echoes(from: &Namespace, to: &str) -> Result<Option<f64>, GuardError> {
    let said = from.run("ping", ["-n", "-q", "-c", "20", "-i", "0.02", "-W", "1", to])?;
    // rtt min/avg/max/mdev = 0.031/0.044/0.061/0.010 ms
    let numbers =
        said.lines().find_map(|line| line.strip_prefix("rtt ")?.split_once(" = ").map(|(_, numbers)| numbers));
    Ok(numbers.and_then(|numbers| numbers.split('/').nth(1)?.parse().ok()))
}

fn throughput(from: &Namespace, to: &str) -> Result<Option<f64>, GuardError> {
    let said = from.run("iperf3", ["-c", to, "-t", "2", "-J", "--connect-timeout", "2000"])?;
    let document: Option<serde_json::Value> = serde_json::from_str(&said).ok();
    let bits = document.and_then(|document| document.pointer("/end/sum_received/bits_per_second")?.as_f64());
    Ok(bits.map(|bits| bits / 1e6))
}
