//! From nothing to a gateway that carries traffic, or back to nothing.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::activity::Activity;
use super::control::Caller;
use super::enforcer::{self, Enforcer};
use super::error::GatewayError;
use super::events::Recorder;
use super::honour::Honour;
use super::keys::Keys;
use super::notices::Notices;
use super::planner::Planner;
use super::settings::Settings;
use super::source::{self, Chosen};
use super::stage::Staged;
use super::timekeeper::{Memory, Timekeeper};
use super::trial::Trial;
use super::{preflight, routing};
use crate::bundle::{Bundle, Moment, Policy, Trust};
use crate::dataplane::{self, Dataplane, Plan};
use crate::event::{Directory, Event};
use crate::reconcile::{self, State};
use crate::ruleset::{Ruleset, segment_device};
use crate::store::gateway::{GatewayState, Record, StateError, What, recall};
use crate::sys::clock;
use crate::sys::netlink::Netlink;
use crate::sys::tun::Tun;
use crate::telemetry::conditions::Condition;
use crate::telemetry::status::{Configuration, Drift};

/// What a bundle asks of this host, compiled in full before any of it is put into force.
pub struct Target {
    /// The bundle.
    pub bundle: Bundle,
    /// Which of its agreements are not honoured.
    pub honour: Honour,
    /// Its policy without those.
    pub policy: Policy,
    /// The policy for nftables.
    pub ruleset: Arc<Ruleset>,
    /// Addresses, routes and rules.
    pub routing: State,
    /// The tunnels.
    pub plan: Plan,
}

/// A gateway that carries traffic.
pub struct Gateway {
    /// What it was started with.
    pub settings: Settings,
    /// When.
    pub started: Timestamp,
    /// Its state on disk.
    pub state: GatewayState,
    /// Whom it believes.
    pub trust: Trust,
    /// Its private keys.
    pub keys: Keys,
    /// The kernel's routing.
    pub netlink: Netlink,
    /// The kernel's filter.
    pub enforcer: Enforcer,
    /// The tunnels.
    pub dataplane: Dataplane,
    /// The numbers that plans have.
    pub planner: Planner,
    /// What is in force.
    pub target: Target,
    /// What is known of the time.
    pub timekeeper: Timekeeper,
    /// What councils and the operator have narrowed here.
    pub notices: Notices,
    /// BOOTTIME when that was last written.
    pub written: Option<Duration>,
    /// The bundle on trial.
    pub trial: Option<Trial>,
    /// The bundle beside the one in force.
    pub staged: Option<Staged>,
    /// Where events go that are counted for it.
    pub tap: mpsc::Sender<Vec<Event>>,
    /// Who talks.
    pub activity: Activity,
    /// What should have begun, rested or ended and did not.
    pub overdue: Option<Condition>,
    /// How that came about.
    pub configuration: Configuration,
    /// What others changed.
    pub drift: Drift,
    /// What was wrong at the start and stays so until the next change.
    pub standing: Vec<Condition>,
    /// What went wrong since, by the part of the gateway: the newest of each.
    pub troubles: Troubles,
    /// The bundle in force, as long as it is not kept on disk.
    pub unkept: Option<Vec<u8>>,
    /// What tells of flows.
    pub recorder: Recorder,
    /// Why the kernel cannot tell of them, if it cannot.
    pub mute: Option<String>,
}

/// What is wrong now, one place for each part that may be.
#[derive(Clone, Debug, Default)]
pub struct Troubles {
    /// The last change of the bundle.
    pub change: Option<Condition>,
    /// The last repair.
    pub repair: Option<Condition>,
    /// The last renewal of the alive element.
    pub alive: Option<Condition>,
    /// The state folder.
    pub state: Option<Condition>,
    /// The counters.
    pub counters: Option<Condition>,
    /// Uplinks whose own address is a department's.
    pub uplinks: Vec<Condition>,
}

impl Target {
    /// Compiles what `bundle` asks for.
    ///
    /// # Errors
    /// [`GatewayError::Compile`].
    pub fn of(
        bundle: Bundle,
        settings: &Settings,
        keys: &Keys,
        planner: &mut Planner,
        mute: bool,
        notices: &Notices,
        moment: &Moment,
    ) -> Result<Self, GatewayError> {
        let honour = Honour::of(&bundle, notices, moment, clock::now().boottime);
        let policy = bundle.policy.without(|number| !honour.holds(number));
        let ruleset = enforcer::compile(&bundle, &policy, &settings.device, settings.mtu, mute)?;
        let routing = routing::desired(&policy, &settings.device, &preflight::families());
        let plan = planner.plan(&bundle.membership, &policy, &keys.private, bundle.generation);
        Ok(Self { bundle, honour, policy, ruleset, routing, plan })
    }

    /// The same as of another moment.
    ///
    /// # Errors
    /// [`GatewayError::Compile`].
    pub fn at(
        self,
        settings: &Settings,
        mute: bool,
        notices: &Notices,
        moment: &Moment,
        boottime: Duration,
    ) -> Result<Self, GatewayError> {
        let honour = Honour::of(&self.bundle, notices, moment, boottime);
        let policy = self.bundle.policy.without(|number| !honour.holds(number));
        let ruleset = self.ruleset_of(&policy, settings, mute)?;
        Ok(Self { honour, policy, ruleset, ..self })
    }

    /// Compiles another policy for the same devices.
    ///
    /// # Errors
    /// [`GatewayError::Compile`].
    pub fn ruleset_of(&self, policy: &Policy, settings: &Settings, mute: bool) -> Result<Arc<Ruleset>, GatewayError> {
        enforcer::compile(&self.bundle, policy, &settings.device, settings.mtu, mute)
    }

    /// The names by which flows are told.
    pub fn directory(&self, settings: &Settings) -> Directory {
        Directory::new(&self.policy, self.bundle.generation, &settings.device)
    }

    /// The segments' devices.
    pub fn segments(&self) -> impl Iterator<Item = String> {
        routing::local(&self.policy).map(|(_, segment)| segment_device(segment))
    }
}

/// Raises a gateway by the bundle that was chosen.
///
/// # Errors
/// [`GatewayError`]: the kernel is as it was, but for a ruleset that a former gateway left.
pub async fn raise(
    settings: Settings,
    state: GatewayState,
    trust: Trust,
    keys: Keys,
    netlink: Netlink,
    chosen: Chosen,
    tap: mpsc::Sender<Vec<Event>>,
) -> Result<Gateway, GatewayError> {
    let mut planner = Planner::marking(settings.marking);
    let (mut timekeeper, damaged) = timekeeper(&settings)?;
    let (notices, unread) = recalled::<Notices>(&settings, Record::Notices)?;
    timekeeper.take(chosen.bundle.generation);
    let mute = preflight::mute().await;
    let target =
        Target::of(chosen.bundle, &settings, &keys, &mut planner, mute.is_some(), &notices, &timekeeper.moment())?;
    preflight::bundle(&netlink, &target.bundle, &target.policy, &Default::default()).await?;
    let enforcer = Enforcer::new();
    let (enforcer, dataplane) = touch(&settings, &netlink, enforcer, &target).await?;
    let applied = Timestamp::now();
    let recorder = Recorder::start(&settings.events, || target.directory(&settings));
    let mut gateway = Gateway {
        started: applied,
        configuration: Configuration {
            generation: target.bundle.generation,
            offered: target.bundle.generation,
            source: chosen.source,
            applied,
            applied_total: 1,
            refused_total: 0,
            failed_total: 0,
            last_error: None,
        },
        settings,
        state,
        trust,
        keys,
        netlink,
        enforcer,
        dataplane,
        planner,
        target,
        timekeeper,
        notices,
        written: None,
        trial: None,
        staged: None,
        tap,
        activity: Activity::default(),
        overdue: None,
        drift: Drift::default(),
        standing: chosen.conditions.into_iter().chain(damaged).chain(unread).collect(),
        troubles: Troubles::default(),
        unkept: None,
        recorder,
        mute,
    };
    match chosen.pending {
        Some(pending) => gateway.resume(pending, chosen.octets),
        None => gateway.keep(chosen.octets),
    }
    gateway.write_clock();
    let generation = gateway.target.bundle.generation;
    gateway.log(What::Started, generation, Caller::default(), None);
    Ok(gateway)
}

/// A record of the state, or nothing and what is wrong with it.
fn recalled<T: Default + DeserializeOwned>(
    settings: &Settings,
    record: Record,
) -> Result<(T, Option<Condition>), GatewayError> {
    match recall::<T>(&settings.state, record) {
        Ok(value) => Ok((value.unwrap_or_default(), None)),
        Err(error @ StateError::Newer(_)) => Err(error.into()),
        Err(error) => Ok((T::default(), Some(Condition::StateDamaged { cause: error.to_string() }))),
    }
}

/// What is known of the time, and what is wrong with the record of it.
fn timekeeper(settings: &Settings) -> Result<(Timekeeper, Option<Condition>), GatewayError> {
    let (memory, damaged) = recalled::<Option<Memory>>(settings, Record::Clock)?;
    Ok((Timekeeper::wake(memory, &clock::boot(), clock::now(), settings.authority), damaged))
}

/// The part of the start that changes the kernel: undone as a whole if any of it fails.
async fn touch(
    settings: &Settings,
    netlink: &Netlink,
    mut enforcer: Enforcer,
    target: &Target,
) -> Result<(Enforcer, Dataplane), GatewayError> {
    let before = enforcer.found().await;
    enforcer.put(Arc::clone(&target.ruleset)).await?;
    match carry(settings, netlink, target).await {
        Ok(dataplane) => Ok((enforcer, dataplane)),
        Err(error) => {
            if let Err(also) = reconcile_to(netlink, &State::default()).await {
                tracing::error!(error = %also, "what was done to the routing could not be undone");
            }
            if let Err(also) = enforcer.withdraw(before).await {
                tracing::error!(error = %also, "the ruleset could not be taken away again");
            }
            Err(error)
        }
    }
}

async fn carry(settings: &Settings, netlink: &Netlink, target: &Target) -> Result<Dataplane, GatewayError> {
    let failed = |error: String| GatewayError::Dataplane(error);
    let tun = Tun::create(&settings.device).map_err(|error| failed(error.to_string()))?;
    netlink.bring_up(&settings.device, settings.mtu).await?;
    bring_up_segments(netlink, target).await?;
    reconcile_to(netlink, &target.routing).await?;
    let mtu = u16::try_from(settings.mtu).unwrap_or(u16::MAX);
    let options = dataplane::Options {
        intercept_link_local: true,
        mtu,
        offloads: settings.offloads,
        scheduling: settings.scheduling,
        workers: settings.workers,
    };
    let dataplane = Dataplane::start(tun, options).map_err(|error| failed(error.to_string()))?;
    dataplane.apply(target.plan.clone()).map_err(|error| failed(error.to_string()))?;
    Ok(dataplane)
}

/// Sets segments up that are down: an address alone does not make a department reachable.
///
/// # Errors
/// [`GatewayError::Netlink`].
pub async fn bring_up_segments(netlink: &Netlink, target: &Target) -> Result<(), GatewayError> {
    let devices = netlink.devices().await?;
    for segment in target.segments() {
        if let Some(device) = devices.get(&segment).filter(|device| !device.up) {
            netlink.bring_up(&segment, device.mtu).await?;
        }
    }
    Ok(())
}

/// Brings addresses, routes and rules to `desired`. Gives the steps that were taken, in words.
///
/// # Errors
/// [`GatewayError::Netlink`] for the first step that failed; all others are tried all the same.
pub async fn reconcile_to(netlink: &Netlink, desired: &State) -> Result<Vec<String>, GatewayError> {
    let observed = netlink.observe(routing::TABLE).await?;
    let (mut taken, mut failure) = (Vec::new(), None);
    for step in reconcile::steps(desired, &observed) {
        match netlink.perform(&step).await {
            Ok(()) => taken.push(step.to_string()),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    match failure {
        None => Ok(taken),
        Some(error) => Err(error.into()),
    }
}

impl Gateway {
    /// Keeps the bundle in force for a restart without its source. What cannot be kept is a condition, no failure,
    /// and is tried again by [`Gateway::look_at_state`].
    pub fn keep(&mut self, octets: Vec<u8>) {
        let acknowledged = source::acknowledgement(&self.target.bundle);
        let kept = self.state.keep(&acknowledged, &octets);
        self.unkept = kept.is_err().then_some(octets);
        self.note_state(kept);
    }

    /// Whether the state can be written now; keeps what could not be kept before.
    pub fn look_at_state(&mut self) {
        match self.unkept.take() {
            Some(octets) => self.keep(octets),
            None => self.note_state(self.state.probe()),
        }
    }

    fn note_state(&mut self, written: Result<(), StateError>) {
        self.troubles.state = written.err().map(|error| {
            tracing::warn!(%error, "the state cannot be written");
            Condition::StateUnwritable { cause: error.to_string() }
        });
    }
}
