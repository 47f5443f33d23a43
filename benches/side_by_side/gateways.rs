//! The product's own path: hub and edges with their whole policy and mapping, between two legacy hosts that know nothing
//! of it.
//!
//! ```text
//!  host ── edge (policy, mapping) ══ hub (policy) ══ edge (policy, mapping) ── host with iperf3
//! ```

use std::path::Path;
use std::sync::atomic::AtomicBool;

use jiff::Timestamp;
use turnpike::cli::definition;
use turnpike::lab::plan::{Attempt, By, attempts, expectations};
use turnpike::lab::probe::Kind;
use turnpike::lab::raise::{Definition, Lab, Watcher};
use turnpike::lab::surroundings::Surroundings;
use turnpike::lab::trial::consumer;

use crate::bed::TCP_PORT;
use crate::failure::{Failure, program, system};
use crate::measure::Measure;
use crate::process::{CpuTime, Interrupt};
use crate::sections::{STREAM, Values, WARM_UP, per_gb};
use crate::stream;
use crate::subject::Subject;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/three-councils");

/// One TCP stream by an agreement of the example between two councils, through the hub.
///
/// # Errors
/// [`Failure`].
pub fn gateways(interrupt: &Interrupt, values: &mut Values) -> Result<(), Failure> {
    let definition = example()?;
    let attempt = bulk(&definition)?;
    let interrupted = AtomicBool::new(false);
    let watcher = Watcher { say: &|_| {}, interrupted: &interrupted };
    let mut lab = Lab::prepare(&definition, &watcher)?;
    interrupt.check()?;
    lab.start_gateways(&definition, &watcher)?;
    interrupt.check()?;
    let from = consumer(&lab.network, &attempt).ok_or_else(|| program("the lab has no host that may send", ""))?;
    let stream = |seconds| stream::end(stream::begin(&from.namespace, attempt.to, seconds)?, seconds, interrupt);
    stream(WARM_UP)?;
    let parts = parts(&definition, &lab, &attempt)?;
    let before = parts.iter().map(|(_, cpu)| cpu.so_far()).collect::<Result<Vec<_>, _>>()?;
    let carried = stream(STREAM)?;
    values.push((Measure::GatewaysTcp, carried.bits_per_second / 1e9));
    for ((measure, cpu), before) in parts.iter().zip(before) {
        values.push((*measure, per_gb(cpu.so_far()? - before, carried.octets)));
    }
    Ok(())
}

fn example() -> Result<Definition, Failure> {
    let folder = Path::new(EXAMPLE);
    let wrong = |what: &str| program(format!("{EXAMPLE} cannot be used"), what);
    let resolved = definition::load(folder, Timestamp::now()).map_err(|_| wrong("turnpike policy check says why"))?;
    let text = std::fs::read_to_string(folder.join("lab.toml")).map_err(system("reading lab.toml"))?;
    let surroundings =
        Surroundings::parse(&text, &resolved.model).map_err(|error| wrong(&format!("lab.toml: {error}")))?;
    Ok(Definition {
        folder: folder.to_owned(),
        model: resolved.model,
        cases: resolved.cases,
        surroundings,
        program: Subject::Turnpike.program(),
    })
}

/// An attempt that an agreement allows, to where iperf3 listens.
fn bulk(definition: &Definition) -> Result<Attempt, Failure> {
    let expected = expectations(&definition.model, &definition.cases);
    let all = attempts(&definition.model, &expected).into_values().flatten();
    let mut allowed = all.filter(|(attempt, by)| matches!(by, By::Agreement(_)) && attempt.kind == Kind::Tcp(TCP_PORT));
    let found = allowed.next().map(|(attempt, _)| attempt);
    found.ok_or_else(|| program("no agreement of the example allows iperf3", ""))
}

/// The processes on the way: the hub's, the sending host's edge, the receiving one's.
fn parts(definition: &Definition, lab: &Lab, attempt: &Attempt) -> Result<Vec<(Measure, CpuTime)>, Failure> {
    let model = &definition.model;
    let target = lab.network.host_at(attempt.to).map(|host| &host.plan.department);
    let edge = |of: Option<&_>| model.departments.iter().find(|it| Some(&it.name) == of).map(|it| &it.at);
    let names = [
        (Measure::GatewaysHubCpu, model.hubs.first().map(|hub| &hub.name)),
        (Measure::GatewaysSendCpu, edge(Some(&attempt.from))),
        (Measure::GatewaysReceiveCpu, edge(target)),
    ];
    let processes = lab.fleet.processes();
    let part = |(measure, name): (Measure, Option<&_>)| {
        let process = processes.iter().find(|(known, _)| Some(known) == name);
        let (_, pid) = process.ok_or_else(|| program(format!("no gateway runs for {}", measure.name()), ""))?;
        Ok((measure, CpuTime::of(*pid)?))
    };
    names.into_iter().map(part).collect()
}
