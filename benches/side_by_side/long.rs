//! The groups of measures that `make bench-long` takes: very many peers, and handshakes.

use std::process::Command;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::exchange::Exchange;
use crate::failure::{Failure, program, system};
use crate::gateways::gateways;
use crate::hub::{Hub, inner};
use crate::measure::Measure;
use crate::options::{Options, Section};
use crate::process::{CpuTime, Interrupt, resident_mib};
use crate::sections::{Values, per_gb};
use crate::storm::{Storm, answered_in_process};
use crate::subject::Subject;
use crate::train::Flow;

/// How long very many peers exchange data.
const EXCHANGE: Duration = Duration::from_secs(4);
/// And before that.
const EXCHANGE_WARM_UP: Duration = Duration::from_secs(1);
/// Peers that are configured, and those of them that are active.
const MANY: usize = 500;
const ACTIVE: usize = 388;
/// Peers that are only configured.
const VERY_MANY: usize = 5000;

/// Peers that begin handshakes, and two that exchange data.
const STORM: usize = 1002;
/// How long they do so before it is measured: every peer has its cookie by then.
const STORM_WARM_UP: Duration = Duration::from_secs(4);
/// And while it is.
const STORM_TIME: Duration = Duration::from_secs(4);
/// How long boringtun's engine answers in this process.
const IN_PROCESS: Duration = Duration::from_millis(1500);

/// Takes a subject through what the options ask of this.
///
/// # Errors
/// [`Failure`].
pub fn pass(subject: Subject, options: &Options, interrupt: &Interrupt, values: &mut Values) -> Result<(), Failure> {
    if options.has(Section::Many) {
        many(subject, interrupt, values)?;
    }
    if options.has(Section::Configured) {
        configured(subject, interrupt, values)?;
    }
    if options.has(Section::Handshakes) {
        handshakes(subject, interrupt, values)?;
    }
    if options.has(Section::Gateways) && subject == Subject::Turnpike {
        gateways(interrupt, values)?;
    }
    Ok(())
}

/// 388 councils, each by one peer, move data at once; others are configured and silent.
fn many(subject: Subject, interrupt: &Interrupt, values: &mut Values) -> Result<(), Failure> {
    let hub = Hub::raise(subject, MANY, ACTIVE / 2, interrupt)?;
    values.push((Measure::Memory500, resident_mib(hub.node.pid())?));
    let mut crowd = hub.crowd(ACTIVE)?;
    crowd.shake_hands(ACTIVE, interrupt)?;
    for (pairs, measure) in [(1, Measure::Relay2Cpu), (ACTIVE / 2, Measure::Relay388Cpu)] {
        let flow = |pair: usize| Flow::new(inner(2 * pair), inner(2 * pair + 1), 40_000);
        let mut exchange = Exchange::new(&mut crowd, (0..pairs).map(flow).collect());
        exchange.run(EXCHANGE_WARM_UP, interrupt)?;
        let cpu = CpuTime::of(hub.node.pid())?;
        let before = cpu.so_far()?;
        let exchanged = exchange.run(EXCHANGE, interrupt)?;
        values.push((measure, per_gb(cpu.so_far()? - before, exchanged.octets())));
        eprintln!("          {pairs} pairs: {exchanged:?}");
    }
    values.push((Measure::Memory500Active, resident_mib(hub.node.pid())?));
    Ok(())
}

fn configured(subject: Subject, interrupt: &Interrupt, values: &mut Values) -> Result<(), Failure> {
    let hub = Hub::raise(subject, VERY_MANY, 1, interrupt)?;
    values.push((Measure::Configure5000, hub.configured_in.as_secs_f64()));
    values.push((Measure::Memory5000, resident_mib(hub.node.pid())?));
    Ok(())
}

/// Initiations are answered on one core, while the crowd has another.
fn handshakes(subject: Subject, interrupt: &Interrupt, values: &mut Values) -> Result<(), Failure> {
    let hub = Hub::raise(subject, STORM, 1, interrupt)?;
    let mut crowd = hub.crowd(STORM)?;
    crowd.shake_hands(2, interrupt)?;
    let cores = Cores::part(hub.node.pid())?;
    let mut storm = Storm::new(&mut crowd, Flow::new(inner(0), inner(1), 40_000));
    storm.run(STORM_WARM_UP, interrupt)?;
    let cpu = CpuTime::of(hub.node.pid())?;
    let before = cpu.so_far()?;
    let weathered = storm.run(STORM_TIME, interrupt)?;
    let busy = (cpu.so_far()? - before).as_secs_f64() / STORM_TIME.as_secs_f64();
    eprintln!("          {weathered:?}, the subject having {:.0} % of a core", busy * 100.0);
    let [responses, sent, arrived] =
        [weathered.responses, weathered.sent, weathered.arrived].map(crate::statistics::number);
    values.push((Measure::Handshakes, responses / STORM_TIME.as_secs_f64()));
    values.push((Measure::HandshakesLoss, 1.0 - arrived / sent.max(1.0)));
    if subject == Subject::Turnpike {
        values.push((Measure::HandshakesInProcess, answered_in_process(IN_PROCESS)?));
    }
    drop(cores);
    Ok(())
}

/// The first core is a subject's alone, and this thread has the others: where there is but one, both share it.
struct Cores {
    before: CpuSet,
}

impl Cores {
    fn part(pid: u32) -> Result<Self, Failure> {
        let this = Pid::from_raw(0);
        let before = sched_getaffinity(this).map_err(system("asking for this thread's cores"))?;
        let output = Command::new("taskset").args(["-a", "-p", "-c", "0", &pid.to_string()]).output();
        let output = output.map_err(system("starting taskset"))?;
        if !output.status.success() {
            return Err(program("taskset gives the subject no core", &String::from_utf8_lossy(&output.stderr)));
        }
        let mut others = before;
        others.unset(0).map_err(system("leaving a core"))?;
        if (1..CpuSet::count()).any(|core| others.is_set(core) == Ok(true)) {
            sched_setaffinity(this, &others).map_err(system("choosing this thread's cores"))?;
        }
        Ok(Self { before })
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        if let Err(errno) = sched_setaffinity(Pid::from_raw(0), &self.before) {
            eprintln!("this thread keeps fewer cores: {errno}");
        }
    }
}
