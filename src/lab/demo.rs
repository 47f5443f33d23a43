//! The demonstration: a lab is raised, everything that the definition says is tried, faults are made, and all of it
//! ends in a table.
//!
//! ```text
//!  network ─ servers ─ bundles ─ direct wire measured ─ gateways ─ agreements and tests
//!     ─ one gateway killed ─ spoofing ─ overlay measured ─ revocation ─ flush ─ flush ─ the killed one has closed
//! ```
//!
//! The killed gateway closes after 30 s, during which the other steps run, on attempts that do not need it.

use std::time::Instant;

use serde::Serialize;

use crate::identity::Name;
use crate::policy::model::Model;

use super::faults::{self, Killed, Subject, not_shown};
use super::measure::{self, Measure};
use super::plan::{By, attempts, expectations};
use super::probe::Kind;
use super::raise::{Definition, Lab, LabError, Watcher};
use super::surroundings::Server;
use super::topology::Network;
use super::trial::{Row, consumer, try_all};

/// What the demonstration showed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// One row per agreement's and test's attempt, then one per fault.
    pub rows: Vec<Row>,
    /// Round trip and throughput.
    pub measures: Vec<Measure>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Whether every row is as expected.
    pub ok: bool,
}

/// Runs the demonstration and takes the lab down.
///
/// # Errors
/// [`LabError`] if the lab could not be raised or was interrupted; a wrong verdict is a row, no error.
pub fn run(definition: &Definition, watcher: &Watcher<'_>) -> Result<Report, LabError> {
    let began = Instant::now();
    let mut lab = Lab::prepare(definition, watcher)?;
    let stage = Stage::choose(&definition.model, definition, &lab.network);
    let mut measures = Vec::new();
    if let Some((from, to)) = stage.ends(&lab.network) {
        measures.push(measure::direct(&mut lab.network, from, to)?);
        watcher.step("measured: a wire past all gateways")?;
    }
    lab.start_gateways(definition, watcher)?;
    let expected = expectations(&definition.model, &definition.cases);
    let mut rows = try_all(&lab, &definition.model, &expected, watcher)?;
    watcher.step(&format!(
        "tried: {} connections for {} agreements and {} tests",
        rows.len(),
        definition.model.agreements.len(),
        definition.cases.len()
    ))?;
    rows.extend(stage.play(&mut lab, definition, &mut measures, watcher)?);
    drop(lab);
    watcher.step("removed: all of it")?;
    let ok = rows.iter().all(|row| row.ok);
    Ok(Report { rows, measures, seconds: began.elapsed().as_secs_f64(), ok })
}

/// What the faults are shown on.
struct Stage {
    echo: Option<Subject>,
    web: Option<Subject>,
    bulk: Option<Subject>,
    canary: Option<Subject>,
    forbidden: Option<Subject>,
    /// An edge to be killed, with an allowed attempt that needs it; nothing else here does.
    victim: Option<(Name, Subject)>,
    hub: Option<Name>,
}

impl Stage {
    fn choose(model: &Model, definition: &Definition, network: &Network) -> Self {
        let expected = expectations(model, &definition.cases);
        let all: Vec<Subject> = attempts(model, &expected)
            .into_iter()
            .flat_map(|(gateway, list)| {
                list.into_iter().map(move |(attempt, by)| Subject { attempt, by, gateway: gateway.clone() })
            })
            .collect();
        let hub = model.hubs.first().map(|hub| hub.name.clone());
        let allowed = || all.iter().filter(|subject| matches!(subject.by, By::Agreement(_)));
        let serves = |subject: &Subject, server: Server| {
            network.host_at(subject.attempt.to).is_some_and(|host| host.plan.servers.contains(&server))
        };
        let far = |subject: &Subject| {
            let at_hub = |gateway: Option<Name>| gateway == hub;
            !at_hub(Some(subject.gateway.clone())) && !at_hub(gateway_of(model, network, subject))
        };
        let find = |wanted: &dyn Fn(&&Subject) -> bool| allowed().find(wanted).cloned();
        let bulk = find(&|s| s.attempt.kind == Kind::Tcp(5201) && serves(s, Server::Iperf) && far(s));
        let busy: Vec<Option<Name>> =
            bulk.iter().flat_map(|bulk| [Some(bulk.gateway.clone()), gateway_of(model, network, bulk)]).collect();
        let beside = |subject: &Subject| busy.contains(&Some(subject.gateway.clone()));
        let inside = |subject: &Subject| beside(subject) && busy.contains(&gateway_of(model, network, subject));
        let web = find(&|s| s.attempt.kind == Kind::Tcp(80) && serves(s, Server::Web) && inside(s));
        let echo = find(&|s| s.attempt.kind == Kind::Echo && inside(s));
        let canary = find(&|s| inside(s) && web.as_ref().is_some_and(|web| web.by != s.by));
        let denied = || all.iter().filter(|subject| matches!(subject.by, By::Nothing(_)));
        let lives = |s: &&Subject| busy.contains(&gateway_of(model, network, s));
        let forbidden = denied().filter(lives).find(|s| Some(&s.gateway) == hub.as_ref()).cloned();
        let idle = |s: &&Subject| !busy.contains(&Some(s.gateway.clone())) && Some(&s.gateway) != hub.as_ref();
        let victim = find(&idle).map(|subject| (subject.gateway.clone(), subject));
        Self { echo, web, bulk, canary, forbidden, victim, hub }
    }

    /// The indices of the two hosts between which is measured.
    fn ends(&self, network: &Network) -> Option<(usize, usize)> {
        let bulk = self.bulk.as_ref()?;
        let (from, to) = (consumer(network, &bulk.attempt)?, network.host_at(bulk.attempt.to)?);
        let index = |name: &Name| network.hosts.iter().position(|host| host.plan.name == *name);
        Some((index(&from.plan.name)?, index(&to.plan.name)?))
    }

    fn play(
        &self,
        lab: &mut Lab,
        definition: &Definition,
        measures: &mut Vec<Measure>,
        watcher: &Watcher<'_>,
    ) -> Result<Vec<Row>, LabError> {
        let mut rows = Vec::new();
        let killed: Option<(Killed, &Subject)> =
            self.victim.as_ref().map(|(gateway, subject)| (faults::kill(lab, gateway), subject));
        match &self.echo {
            Some(echo) => rows.extend(faults::spoof(lab, echo)?),
            None => rows.push(not_shown("spoofed source", "agreement with echo requests")),
        }
        watcher.step("spoofed: packets from addresses that are not the host's")?;
        if let Some(bulk) = &self.bulk
            && let Some(from) = consumer(&lab.network, &bulk.attempt)
        {
            measures.push(measure::overlay(&from.namespace, bulk.attempt.to));
            watcher.step("measured: the overlay")?;
        }
        rows.push(match (&self.web, &self.canary) {
            (Some(web), Some(canary)) => faults::revoke(lab, definition, web, canary)?,
            _ => not_shown("revocation", "web service beside another agreement"),
        });
        watcher.step("revoked: an agreement by which a download ran")?;
        match (&self.hub, &self.canary, &self.forbidden) {
            (Some(hub), Some(allowed), Some(forbidden)) => {
                rows.push(faults::flush_paused(lab, hub, allowed, forbidden)?);
                watcher.step("flushed: the hub's rules, repair paused")?;
                rows.push(faults::flush_repaired(lab, hub, allowed, forbidden)?);
                watcher.step("flushed: the hub's rules three times, repaired each time")?;
            }
            _ => rows.push(not_shown("flush", "hub, allowed and forbidden flow")),
        }
        rows.push(match killed {
            Some((killed, subject)) => faults::killed(lab, &killed, subject, watcher)?,
            None => not_shown("killed gateway", "edge that nothing else needs"),
        });
        watcher.step("killed: a gateway closed by itself, and came back when started again")?;
        Ok(rows)
    }
}

/// The gateway at which a subject's target stands.
fn gateway_of(model: &Model, network: &Network, subject: &Subject) -> Option<Name> {
    let host = network.host_at(subject.attempt.to)?;
    let department = model.departments.iter().find(|department| department.name == host.plan.department)?;
    Some(department.at.clone())
}
