//! One task that takes one event after the other, from the start to SIGTERM.

use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::control::{self, Caller, InForce, Question, Refusal, Request, Response};
use super::error::GatewayError;
use super::keys::Keys;
use super::raise::{Gateway, raise};
use super::settings::Settings;
use super::{metrics, preflight, report, source, trial};
use crate::dataplane::Snapshot;
use crate::event::Event;
use crate::http;
use crate::store::gateway::GatewayState;
use crate::sys::netlink::{self, Netlink};
use crate::sys::nftables::{Change, Nft};
use crate::sys::{clock, sd_notify};
use crate::telemetry::conditions::{Condition, Report};
use crate::telemetry::status::{Collector, Status};

/// How often the alive element is renewed: three times within its 30 s.
const ALIVE: Duration = Duration::from_secs(9);

/// How often everything is looked at without any event.
const LOOK: Duration = Duration::from_secs(30);

/// How long events are gathered before one look at all that they changed.
const SETTLE: Duration = Duration::from_millis(50);

/// How old counters may be when somebody asks.
const FRESH: Duration = Duration::from_millis(250);

/// Questions that wait for an answer.
const QUESTIONS: usize = 16;

/// What a gateway listens to.
struct Events<C> {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    questions: mpsc::Receiver<Question>,
    tapped: mpsc::Receiver<Vec<Event>>,
    routing: C,
    ruleset: mpsc::Receiver<Vec<Change>>,
    alive: Interval,
    look: Interval,
    watchdog: Interval,
}

/// From the settings to the end of the process.
///
/// # Errors
/// [`GatewayError`].
pub async fn run(settings: Settings) -> Result<(), GatewayError> {
    // Before anything else, so that a signal during the start is not lost.
    let (terminate, interrupt, hangup) =
        (on(SignalKind::terminate())?, on(SignalKind::interrupt())?, on(SignalKind::hangup())?);
    let state = GatewayState::open(&settings.state)?;
    let keys = Keys::read(&settings.keys)?;
    let trust = source::trust(&settings.trust)?;
    let pending = trial::resumed(&state)?;
    let chosen = source::first(&settings.bundle, &trust, &keys, &state, pending.as_ref())?;
    let kernel = Netlink::connect()?;
    preflight::host(&kernel, &settings.device).await?;
    let mut listeners = metrics::listen(&settings.metrics)?;
    let (routing, ruleset) = (netlink::changes()?, watch()?);
    let (tap, tapped) = mpsc::channel(QUESTIONS);
    let mut gateway = raise(settings, state, trust, keys, kernel, chosen, tap).await?;
    let (sender, questions) = mpsc::channel(QUESTIONS);
    gateway.open_doors(&mut listeners);
    let served = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    let _services = services(&mut gateway, listeners, sender)?;
    let watchdog = sd_notify::watchdog_interval().unwrap_or(LOOK);
    let (alive, look, watchdog) = (every(ALIVE), every(LOOK), every(watchdog));
    let events = Events { terminate, interrupt, hangup, questions, tapped, routing, ruleset, alive, look, watchdog };
    Server { gateway, served, counted: None }.serve(events).await
}

fn on(kind: SignalKind) -> Result<Signal, GatewayError> {
    signal(kind).map_err(|error| GatewayError::Runtime { what: "listening to signals", cause: error.to_string() })
}

/// Hears of nftables' transactions on a thread of its own, which ends soon after the receiver is gone.
fn watch() -> Result<mpsc::Receiver<Vec<Change>>, GatewayError> {
    let mut watch = Nft::new().watch().map_err(|error| GatewayError::Nft(error.to_string()))?;
    let (sender, receiver) = mpsc::channel(QUESTIONS);
    let hear = move || {
        while !sender.is_closed() {
            // What happened is not known after an error: let somebody look.
            let changes = watch.wait(Duration::from_secs(1)).unwrap_or_else(|_| vec![Change::Lost]);
            if !changes.is_empty() && sender.blocking_send(changes).is_err() {
                break;
            }
        }
    };
    match std::thread::Builder::new().name("turnpike-nft".to_owned()).spawn(hear) {
        Ok(_) => Ok(receiver),
        Err(error) => Err(GatewayError::Runtime { what: "listening to nftables", cause: error.to_string() }),
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Starts what answers others. The tasks end with the set.
fn services(
    gateway: &mut Gateway,
    listeners: Vec<TcpListener>,
    questions: mpsc::Sender<Question>,
) -> Result<JoinSet<()>, GatewayError> {
    let mut services = JoinSet::new();
    let router = metrics::router(questions.clone())?;
    for listener in listeners {
        services.spawn(http::serve(listener, router.clone()));
    }
    match control::bind(gateway.state.folder()) {
        Ok(listener) => drop(services.spawn(control::serve(listener, questions))),
        Err(error) => {
            tracing::warn!(%error, "no control socket: 'turnpike status' will not work");
            gateway.standing.push(Condition::StateUnwritable { cause: format!("no control socket: {error}") });
        }
    }
    Ok(services)
}

impl Gateway {
    /// Listens where that was not possible before the tunnel's device was there.
    fn open_doors(&mut self, listeners: &mut Vec<TcpListener>) {
        match metrics::listen_managed(&self.settings.metrics, self.target.policy.address) {
            Ok(listener) => listeners.extend(listener),
            Err(condition) => {
                tracing::warn!(problem = condition.text(), "metrics are not served at the management address");
                self.standing.push(condition);
            }
        }
    }
}

struct Server {
    gateway: Gateway,
    served: Vec<std::net::SocketAddr>,
    counted: Option<Instant>,
}

impl Server {
    async fn serve<C: Stream<Item = ()> + Unpin>(mut self, mut events: Events<C>) -> Result<(), GatewayError> {
        let summary = self.summary();
        tracing::info!("{summary}");
        self.warn();
        sd_notify::ready(&summary);
        let mut look_at = None;
        let mut glance_at = Instant::now();
        loop {
            let due = async {
                match look_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = events.terminate.recv() => break,
                _ = events.interrupt.recv() => break,
                // By an instant, which questions do not put off.
                () = tokio::time::sleep_until(glance_at) => {
                    let wait = self.gateway.keep_time().await;
                    let trial = self.gateway.keep_trial().await.unwrap_or(wait);
                    glance_at = Instant::now() + wait.min(trial);
                }
                _ = events.alive.tick() => self.renew().await?,
                _ = events.watchdog.tick() => sd_notify::watchdog(),
                _ = events.hangup.recv() => drop(self.reload(Caller::default()).await),
                Some((request, caller, answer)) = events.questions.recv() => self.answer(request, caller, answer).await,
                Some(flows) = events.tapped.recv() => self.gateway.note_events(&flows),
                () = due => { look_at = None; self.gateway.look().await? }
                _ = events.look.tick() => { self.look_at_all().await? }
                Some(changes) = events.ruleset.recv() => if self.gateway.enforcer.is_foreign(&changes) {
                    soon(&mut look_at);
                },
                Some(()) = events.routing.next() => soon(&mut look_at),
            }
        }
        self.stop();
        Ok(())
    }

    /// Renews the alive element while the gateway is healthy: a data plane that ended lets it run out.
    async fn renew(&mut self) -> Result<(), GatewayError> {
        self.gateway.check_dataplane()?;
        let paused = self.gateway.is_paused(Timestamp::now());
        if paused && self.gateway.drift.present || self.gateway.overdue.is_some() {
            return Ok(());
        }
        self.gateway.troubles.alive = match self.gateway.enforcer.renew().await {
            Ok(()) => None,
            Err(error) => {
                tracing::warn!(%error, "the alive element was not renewed");
                Some(Condition::AliveNotRenewed { cause: error.to_string() })
            }
        };
        Ok(())
    }

    async fn look_at_all(&mut self) -> Result<(), GatewayError> {
        self.gateway.look_at_state();
        self.gateway.look().await
    }

    async fn reload(&mut self, caller: Caller) -> Result<String, GatewayError> {
        sd_notify::reloading();
        let outcome = self.gateway.reload(caller).await;
        if let Ok(done) = &outcome {
            tracing::info!("{done}");
        }
        self.warn();
        sd_notify::ready(&self.summary());
        outcome
    }

    async fn answer(&mut self, request: Request, caller: Caller, answer: oneshot::Sender<Response>) {
        let response = match request {
            Request::Status => Response::Status(Box::new(self.status().await)),
            Request::InForce => Response::InForce(self.in_force()),
            Request::Reload => said(self.reload(caller).await),
            Request::Apply(asked) => said(self.gateway.apply(&asked, caller).await),
            Request::Stage { bundle } => said(self.gateway.stage(&bundle).await),
            Request::Staged => match self.gateway.staged().await {
                Ok(report) => Response::Staged(report),
                Err(error) => Response::Refused(Refusal::of(&error)),
            },
            Request::Confirm => said(self.gateway.confirm(caller)),
            Request::Rollback => said(self.gateway.roll_back("somebody asked for it").await),
            Request::Heartbeat { heartbeat } => told(self.gateway.hear(heartbeat.as_bytes()).await),
            Request::Narrow { notice } => told(self.gateway.narrow(notice.as_bytes(), caller).await),
            Request::PauseRepair { seconds } => told(self.gateway.pause_repair(seconds)),
            Request::ResumeRepair => {
                let done = self.gateway.resume_repair();
                match self.gateway.look().await {
                    Ok(()) => Response::Done(done),
                    Err(error) => Response::Error(error.to_string()),
                }
            }
        };
        if answer.send(response).is_err() {
            tracing::debug!("somebody asked and did not wait for the answer");
        }
    }

    fn summary(&self) -> String {
        let Gateway { target, configuration, .. } = &self.gateway;
        format!(
            "gateway {} of {}: generation {}, {} links, {} rules",
            target.policy.gateway,
            target.policy.network,
            configuration.generation,
            target.bundle.membership.links.len(),
            target.policy.rules.len()
        )
    }

    fn warn(&self) {
        for condition in self.conditions(None) {
            tracing::warn!(condition = condition.id(), "{}", condition.text());
        }
    }

    fn conditions(&self, snapshot: Option<&Snapshot>) -> Vec<Condition> {
        let Gateway { settings, target, keys, troubles, drift, standing, .. } = &self.gateway;
        let mut conditions = standing.clone();
        conditions.extend(keys.readable.iter().map(|path| Condition::KeyReadable { path: path.clone() }));
        conditions.extend(preflight::sysctls(&target.policy, &settings.device));
        let single = [&troubles.change, &troubles.repair, &troubles.alive, &troubles.state, &troubles.counters];
        conditions.extend(single.into_iter().flatten().cloned());
        conditions.extend(troubles.uplinks.iter().cloned());
        conditions.extend(match &self.gateway.mute {
            Some(cause) if self.gateway.recorder.records() => Some(Condition::EventsUnheard { cause: cause.clone() }),
            Some(_) => None,
            None => self.gateway.recorder.condition(),
        });
        conditions.extend(self.gateway.time_conditions());
        conditions.extend(self.gateway.trial_condition());
        conditions.extend(drift.paused_until.map(|until| Condition::RepairPaused { until }));
        if snapshot.is_some_and(|snapshot| snapshot.links.iter().all(|link| !link.alive)) {
            conditions.push(Condition::NoTunnel);
        }
        conditions
    }

    async fn status(&mut self) -> Status {
        self.count().await;
        let observed = self.gateway.dataplane.observe();
        let running = observed.is_ok();
        let snapshot = observed.unwrap_or_default();
        let conditions = self.conditions(Some(&snapshot)).iter().map(Report::from).collect();
        let Gateway { settings, target, planner, enforcer, state, troubles, .. } = &self.gateway;
        let (policy, membership) = (&target.policy, &target.bundle.membership);
        let collector = |name: &str, success| Collector { name: name.to_owned(), success };
        Status {
            document: 1,
            at: Timestamp::now(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            gateway: policy.gateway.clone(),
            site: policy.site.clone(),
            network: policy.network.clone(),
            role: policy.role,
            pid: std::process::id(),
            started: self.gateway.started,
            device: settings.device.clone(),
            address: policy.address,
            metrics: self.served.clone(),
            configuration: self.gateway.configuration.clone(),
            uplinks: report::uplinks(membership, planner, &snapshot),
            sites: report::sites(policy, membership, &snapshot),
            links: report::links(membership, &snapshot),
            mappings: report::mappings(policy),
            agreements: report::agreements(policy, enforcer.counters()),
            withheld: report::withheld(target),
            time: report::time(&self.gateway.timekeeper, target),
            policy: report::policy(policy, enforcer.counters(), policy.rules.len()),
            drops: report::drops(&snapshot),
            offloads: report::offloads(&snapshot),
            workers: report::workers(&snapshot),
            events: self.gateway.recorder.status(),
            drift: self.gateway.drift.clone(),
            conditions,
            host: report::host(state.folder()),
            collectors: vec![
                collector("ruleset", troubles.counters.is_none()),
                collector("routing", troubles.repair.is_none()),
                collector("dataplane", running),
            ],
        }
    }

    fn in_force(&mut self) -> InForce {
        let paused = self.gateway.is_paused(Timestamp::now());
        let Gateway { settings, target, .. } = &self.gateway;
        InForce {
            generation: target.bundle.generation,
            digest: target.bundle.digest,
            device: settings.device.clone(),
            mtu: settings.mtu,
            mute: self.gateway.mute.is_some(),
            paused,
            withheld: target.honour.withheld.iter().map(|(number, why)| (*number, why.to_string())).collect(),
        }
    }

    async fn count(&mut self) {
        if self.counted.is_some_and(|at| at.elapsed() < FRESH) {
            return;
        }
        self.gateway.troubles.counters = match self.gateway.enforcer.count().await {
            Ok(()) => None,
            Err(error) => Some(Condition::Unobservable { cause: format!("the counters cannot be read: {error}") }),
        };
        self.counted = Some(Instant::now());
    }

    fn stop(mut self) {
        sd_notify::stopping();
        let path = self.gateway.state.folder().join(control::SOCKET);
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::debug!(%error, "the control socket could not be removed");
        }
        self.gateway.timekeeper.settle(clock::now());
        self.gateway.write_clock();
        self.gateway.recorder.stop();
        tracing::info!("stopped; the ruleset stays and closes by itself");
    }
}

/// The same, of what fails in words.
fn told(outcome: Result<String, String>) -> Response {
    outcome.map_or_else(Response::Error, Response::Done)
}

/// What came of something that was asked for.
fn said(outcome: Result<String, GatewayError>) -> Response {
    match outcome {
        Ok(done) => Response::Done(done),
        Err(error) => Response::Refused(Refusal::of(&error)),
    }
}

fn soon(look_at: &mut Option<Instant>) {
    // Not moved by later events, so that a stream of them cannot put the look off for ever.
    look_at.get_or_insert_with(|| Instant::now() + SETTLE);
}
