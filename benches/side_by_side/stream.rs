//! One TCP stream, by iperf3.

use std::net::IpAddr;
use std::time::Duration;

use turnpike::lab::guard::{Namespace, Process};

use crate::bed::TCP_PORT;
use crate::failure::{Failure, program};
use crate::process::Interrupt;

/// iperf3 listening in a namespace.
#[derive(Debug)]
pub struct Server(#[expect(dead_code, reason = "held: it ends when dropped")] Process);

impl Server {
    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn start(at: &Namespace, interrupt: &Interrupt) -> Result<Self, Failure> {
        let mut command = at.command("iperf3");
        command.args(["-s", "--forceflush", "-p", &TCP_PORT.to_string()]);
        let process = at.spawn(command)?;
        let listens =
            interrupt.wait_for(Duration::from_secs(5), || process.log().contains("listening").then_some(()))?;
        listens.ok_or_else(|| program("iperf3 does not listen", &process.log()))?;
        Ok(Self(process))
    }
}

/// What a stream carried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Carried {
    /// Octets of payload that the receiver got.
    pub octets: f64,
    /// Bits of payload per second, as the receiver counts.
    pub bits_per_second: f64,
}

/// Starts a stream of so many seconds towards an address where a server listens.
///
/// # Errors
/// [`Failure`].
pub fn begin(from: &Namespace, to: IpAddr, seconds: u64) -> Result<Process, Failure> {
    let mut command = from.command("iperf3");
    command.args(["-J", "--connect-timeout", "3000", "-p", &TCP_PORT.to_string()]);
    command.args(["-c", &to.to_string(), "-t", &seconds.to_string()]);
    from.spawn(command).map_err(Failure::from)
}

/// Waits for the end of a stream that was begun.
///
/// # Errors
/// [`Failure`].
pub fn end(stream: Process, seconds: u64, interrupt: &Interrupt) -> Result<Carried, Failure> {
    let said = interrupt.finish(stream, Duration::from_secs(seconds + 10))?;
    carried(&said).ok_or_else(|| program("iperf3 told of no octets received", &said))
}

/// Reads iperf3's JSON.
pub fn carried(said: &str) -> Option<Carried> {
    let document: serde_json::Value = serde_json::from_str(said).ok()?;
    let sum = document.pointer("/end/sum_received")?;
    let octets = sum.get("bytes")?.as_f64().filter(|octets| *octets > 0.0)?;
    Some(Carried { octets, bits_per_second: sum.get("bits_per_second")?.as_f64()? })
}
