//! One pass of a subject through the groups of measures.

use std::time::Duration;

use crate::bed::{B, Direct, Relay};
use crate::echo;
use crate::failure::Failure;
use crate::flood;
use crate::long;
use crate::measure::Measure;
use crate::options::{Options, Section};
use crate::process::{CpuTime, Interrupt, resident_mib};
use crate::statistics::{number, percentile};
use crate::stream::{self, Server};
use crate::subject::Subject;

/// How long a TCP stream is measured, in seconds.
pub const STREAM: u64 = 5;
/// How long one runs before it is measured.
pub const WARM_UP: u64 = 1;
/// How long small packets are sent.
const FLOOD: Duration = Duration::from_secs(4);
/// And before that.
const FLOOD_WARM_UP: Duration = Duration::from_millis(500);
/// A stream beside echoes: they begin a second after it and take 3.2 s.
const BESIDE_ECHOES: u64 = 6;

/// The values of one pass.
pub type Values = Vec<(Measure, f64)>;

/// Takes a subject through what the options ask, each bed raised anew.
///
/// # Errors
/// [`Failure`]; what was measured before it is in `values`.
pub fn pass(subject: Subject, options: &Options, interrupt: &Interrupt, values: &mut Values) -> Result<(), Failure> {
    if options.has(Section::Relay) || options.has(Section::Small) {
        let bed = Relay::raise(subject, interrupt)?;
        if options.has(Section::Relay) {
            relay(&bed, interrupt, values)?;
        }
        if options.has(Section::Small) {
            small(&bed, interrupt, values)?;
        }
    }
    if options.has(Section::Direct) || options.has(Section::Ping) {
        let bed = Direct::raise(subject, interrupt)?;
        if options.has(Section::Ping) {
            values.extend(idle(&bed, interrupt)?);
        }
        let server = Server::start(&bed.b, interrupt)?;
        if options.has(Section::Direct) {
            direct(&bed, interrupt, values)?;
        }
        if options.has(Section::Ping) {
            values.push((Measure::PingLoadedTail, loaded(&bed, interrupt)?));
        }
        drop(server);
    }
    long::pass(subject, options, interrupt, values)
}

fn relay(bed: &Relay, interrupt: &Interrupt, values: &mut Values) -> Result<(), Failure> {
    let _server = Server::start(&bed.b, interrupt)?;
    stream::end(stream::begin(&bed.a, B.into(), WARM_UP)?, WARM_UP, interrupt)?;
    let cpu = CpuTime::of(bed.hub.pid())?;
    let before = cpu.so_far()?;
    let carried = stream::end(stream::begin(&bed.a, B.into(), STREAM)?, STREAM, interrupt)?;
    values.push((Measure::RelayCpu, per_gb(cpu.so_far()? - before, carried.octets)));
    Ok(())
}

fn small(bed: &Relay, interrupt: &Interrupt, values: &mut Values) -> Result<(), Failure> {
    flood::flood(&bed.a, &bed.b, FLOOD_WARM_UP)?;
    interrupt.check()?;
    let cpu = CpuTime::of(bed.hub.pid())?;
    let before = cpu.so_far()?;
    let counted = flood::flood(&bed.a, &bed.b, FLOOD)?;
    let used = cpu.so_far()? - before;
    interrupt.check()?;
    values.push((Measure::SmallCpu, used.as_secs_f64() * 1e6 / number(counted.delivered.max(1))));
    values.push((Measure::SmallLoss, counted.loss()));
    Ok(())
}

fn direct(bed: &Direct, interrupt: &Interrupt, values: &mut Values) -> Result<(), Failure> {
    stream::end(stream::begin(&bed.a, B.into(), WARM_UP)?, WARM_UP, interrupt)?;
    let [sender, receiver] = [CpuTime::of(bed.sender.pid())?, CpuTime::of(bed.receiver.pid())?];
    let before = [sender.so_far()?, receiver.so_far()?];
    let carried = stream::end(stream::begin(&bed.a, B.into(), STREAM)?, STREAM, interrupt)?;
    values.push((Measure::SendCpu, per_gb(sender.so_far()? - before[0], carried.octets)));
    values.push((Measure::ReceiveCpu, per_gb(receiver.so_far()? - before[1], carried.octets)));
    values.push((Measure::Tcp, carried.bits_per_second / 1e9));
    let memory = f64::max(resident_mib(bed.sender.pid())?, resident_mib(bed.receiver.pid())?);
    values.push((Measure::MemoryAfterTcp, memory));
    Ok(())
}

fn idle(bed: &Direct, interrupt: &Interrupt) -> Result<Values, Failure> {
    let times = echo::round_trips(&bed.a, interrupt)?;
    let at = |percent| percentile(&times, percent).unwrap_or(echo::LOST);
    Ok(vec![(Measure::PingIdleMedian, at(50)), (Measure::PingIdleTail, at(99))])
}

fn loaded(bed: &Direct, interrupt: &Interrupt) -> Result<f64, Failure> {
    let stream = stream::begin(&bed.a, B.into(), BESIDE_ECHOES)?;
    interrupt.pass(Duration::from_secs(1))?;
    let times = echo::round_trips(&bed.a, interrupt)?;
    stream::end(stream, BESIDE_ECHOES, interrupt)?;
    Ok(percentile(&times, 99).unwrap_or(echo::LOST))
}

/// Seconds of CPU per 10^9 octets.
pub fn per_gb(used: Duration, octets: f64) -> f64 {
    used.as_secs_f64() * 1e9 / octets
}
