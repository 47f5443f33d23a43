//! `turnpike gateway`: run a hub or an edge, and speak to a running one.

mod apply;
mod history;
mod stage;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::bundle;
use super::marking::Marks;
use super::offloads::Switches;
use super::output::print;
use super::scheduling::Competition;
use super::workers::Crew;
use super::{Exit, Failure};
use crate::bundle::LONGEST_STATEMENT;
use crate::gateway::control::{self, ControlError, Request, Response};
use crate::gateway::{Authority, Events, Fault, GatewayError, Metrics, Settings};
use crate::telemetry::logging;

/// Where a gateway keeps its state unless it is told otherwise.
pub(super) const STATE: &str = "/var/lib/turnpike/gateway";

/// The tunnel's device unless it is told otherwise.
pub(super) const DEVICE: &str = "turnpike0";

/// The tunnel's MTU: 1,500 less 80 for IPv6, UDP and WireGuard (WireGuard paper, section 5.4.6).
pub(super) const MTU: u32 = 1420;

/// Arguments of `turnpike gateway`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a gateway, hub and edge alike, until SIGTERM.
    Run(Run),
    /// Have a running gateway read its bundle again, as SIGHUP does, and say what became of it.
    Reload(State),
    /// Apply a bundle, on trial if asked for.
    Apply(apply::Arguments),
    /// Confirm the bundle on trial.
    Confirm(apply::Confirm),
    /// Bring back the bundle that was in force before the one on trial.
    Rollback(apply::Rollback),
    /// Hold a bundle beside the one in force, and count what it would deny and allow.
    Stage(stage::Stage),
    /// Show what the staged bundle would deny and allow.
    Staged(stage::Staged),
    /// Show what became of bundles here.
    History(history::Arguments),
    /// Hand a council's or the operator's notice to a running gateway: what it revokes or suspends ends at once.
    Narrow(Narrow),
    /// Hand the controller's newest heartbeat to a running gateway.
    Heartbeat(Heartbeat),
    /// Pause or resume the repair of what others change in the kernel.
    #[command(subcommand)]
    Repair(Repair),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Signals: SIGHUP reads the bundle again; SIGTERM and SIGINT stop. The ruleset stays and closes by itself 30 s later.
It works with and without systemd (Type=notify, WatchdogSec=).

Events: a line for each flow that an agreement let pass or that was refused, and 10 s: who, whereto, why, how often.
'suppressed' counts what was above the rate. The file is opened anew for each write, so rotating it is renaming it.
Events are personal data: they hold addresses and no content. Keep them as long as your records of processing say.

Environment:
  TURNPIKE_WITHOUT_OFFLOADS=udp_gso,tun_uso    as --without-offload
  TURNPIKE_SCHEDULING=ordinary                 as --scheduling
  TURNPIKE_WORKERS=2                           as --workers

Examples:
  turnpike gateway run --bundle bundles/leeds-1.bundle --keys bundles.keys/leeds-1 \\
      --trust bundles.keys/trust.toml --state /var/lib/turnpike/gateway
  turnpike gateway run --bundle leeds-1.bundle --keys leeds-1 --trust trust.toml --without-offload udp_gso,tun_uso")]
struct Run {
    /// This gateway's bundle. If it is missing or refused, the last good one in the state is used.
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// The folder of this gateway's private keys, UPLINK.key each.
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// The trust file: whose signatures count.
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
    #[command(flatten)]
    state: State,
    /// The TUN device to make.
    #[arg(long, value_name = "NAME", default_value = DEVICE)]
    device: String,
    /// The MTU of that device.
    #[arg(long, value_name = "OCTETS", default_value_t = MTU, value_parser = clap::value_parser!(u32).range(1280..=9000))]
    mtu: u32,
    #[command(flatten)]
    marks: Marks,
    #[command(flatten)]
    switches: Switches,
    #[command(flatten)]
    competition: Competition,
    #[command(flatten)]
    crew: Crew,
    /// Where to serve metrics; may be given several times [default: port 9587 on loopback and the management address]
    #[arg(long, value_name = "ADDR:PORT")]
    metrics: Vec<SocketAddr>,
    /// Serve no metrics.
    #[arg(long, conflicts_with = "metrics")]
    no_metrics: bool,
    /// Where to write denied and allowed flows: a file, to which JSON lines are appended, journald or off [default:
    /// journald where it runs, else off]
    #[arg(long, value_name = "FILE|journald|off", value_parser = events)]
    events: Option<Events>,
    /// Who vouches for the clock, without which agreements with hours rest: the controller's heartbeats, or this host,
    /// whose time service is authenticated
    #[arg(long, value_enum, default_value_t = Clock::Heartbeat)]
    clock: Clock,
    /// How the log on stderr is written.
    #[arg(long, value_enum, default_value_t = LogFormat::Human)]
    log_format: LogFormat,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A heartbeat says that the controller lives and what time it is: leases begin anew, and the clock is \
confirmed if it is within 5 minutes of it. 'turnpike bundle heartbeat' makes one for all gateways.

Exit codes: 0 taken, 1 refused, 69 no gateway runs.

Example:
  turnpike gateway heartbeat /run/turnpike/heartbeat")]
struct Heartbeat {
    /// The heartbeat.
    file: PathBuf,
    #[command(flatten)]
    state: State,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Either side of an agreement ends it alone: 'turnpike agreement revoke' and 'suspend' write the signed \
notice with --out FILE. Hand it to the gateways of both sides and to the hubs; each verifies it by the \
signers that its bundle names. It outlives restarts, and bundles that do not know of it yet.

Exit codes: 0 taken, 1 refused, 69 no gateway runs.

Example:
  turnpike agreement revoke . A-142 --council leeds --by siro@leeds.example --key siro.pem --out A-142.notice
  turnpike gateway narrow A-142.notice")]
struct Narrow {
    /// The notice.
    file: PathBuf,
    #[command(flatten)]
    state: State,
}

#[derive(Debug, Args)]
struct State {
    /// The gateway's state folder.
    #[arg(long = "state", value_name = "DIR", default_value = STATE)]
    folder: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Clock {
    /// The controller's heartbeats.
    Heartbeat,
    /// This host.
    Host,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// For people.
    Human,
    /// One JSON object per line.
    Json,
}

#[derive(Debug, Subcommand)]
enum Repair {
    /// Leave foreign changes alone for a while; 10 minutes at most.
    #[command(after_help = "Example:\n  turnpike gateway repair pause --for 30s")]
    Pause {
        #[command(flatten)]
        state: State,
        /// For how long, such as 30s or 5m.
        #[arg(long = "for", value_name = "TIME", default_value = "30s", value_parser = duration)]
        length: Duration,
    },
    /// Repair again, at once.
    Resume(State),
}

/// Runs what the arguments ask.
pub fn run(arguments: Arguments) -> Result<Exit, Failure> {
    match arguments.command {
        Command::Run(arguments) => start(arguments),
        Command::Reload(state) => tell(&state, &Request::Reload),
        Command::Apply(arguments) => apply::run(&arguments),
        Command::Confirm(arguments) => apply::confirm(&arguments),
        Command::Rollback(arguments) => apply::roll_back(&arguments),
        Command::Stage(arguments) => stage::stage(&arguments),
        Command::Staged(arguments) => stage::staged(&arguments),
        Command::History(arguments) => history::run(&arguments),
        Command::Narrow(arguments) => narrow(&arguments),
        Command::Heartbeat(arguments) => heartbeat(&arguments),
        Command::Repair(Repair::Pause { state, length }) => {
            tell(&state, &Request::PauseRepair { seconds: length.as_secs() })
        }
        Command::Repair(Repair::Resume(state)) => tell(&state, &Request::ResumeRepair),
    }
}

fn start(arguments: Run) -> Result<Exit, Failure> {
    let (offloads, workers) = (arguments.switches.offloads()?, arguments.crew.workers()?);
    let scheduling = arguments.competition.class()?;
    logging::start(match arguments.log_format {
        LogFormat::Human => logging::Format::Human,
        LogFormat::Json => logging::Format::Json,
    });
    let metrics = match (arguments.no_metrics, arguments.metrics.is_empty()) {
        (true, _) => Metrics::At(Vec::new()),
        (false, true) => Metrics::Default,
        (false, false) => Metrics::At(arguments.metrics),
    };
    let settings = Settings {
        bundle: arguments.bundle,
        keys: arguments.keys,
        trust: arguments.trust,
        state: arguments.state.folder,
        device: arguments.device,
        mtu: arguments.mtu,
        marking: arguments.marks.dscp,
        offloads,
        scheduling,
        workers,
        authority: match arguments.clock {
            Clock::Heartbeat => Authority::Heartbeat,
            Clock::Host => Authority::Host,
        },
        metrics,
        events: arguments.events.unwrap_or(Events::Default),
    };
    crate::gateway::run(settings).map(|()| Exit::Fine).map_err(|error| failure(&error))
}

fn narrow(arguments: &Narrow) -> Result<Exit, Failure> {
    let notice = statement(&arguments.file)?;
    tell(&arguments.state, &Request::Narrow { notice })
}

fn heartbeat(arguments: &Heartbeat) -> Result<Exit, Failure> {
    let heartbeat = statement(&arguments.file)?;
    tell(&arguments.state, &Request::Heartbeat { heartbeat })
}

/// A small signed document, as text.
fn statement(path: &Path) -> Result<String, Failure> {
    // And the end of a line.
    let mut octets = bundle::octets(path, LONGEST_STATEMENT.saturating_add(1))?;
    // Whoever writes it with a shell ends it as a line.
    if octets.ends_with(b"\n") {
        octets.pop();
    }
    String::from_utf8(octets).map_err(|_| {
        Failure::new(Exit::Invalid, format!("{} is no text", path.display()), "name the file that was signed")
    })
}

pub(super) fn failure(error: &GatewayError) -> Failure {
    Failure::new(exit(error.fault()), error.to_string(), error.remedy())
}

fn exit(fault: Fault) -> Exit {
    match fault {
        Fault::Input => Exit::Invalid,
        Fault::Unavailable => Exit::Unavailable,
        Fault::Permission => Exit::NoPermission,
        Fault::RolledBack => Exit::RolledBack,
        Fault::Internal => Exit::Internal,
    }
}

fn tell(state: &State, request: &Request) -> Result<Exit, Failure> {
    answered(control::ask(&state.folder, request).map_err(|error| unanswered(&error))?)
}

fn answered(response: Response) -> Result<Exit, Failure> {
    match response {
        Response::Done(text) => {
            print(&format!("{text}\n"))?;
            Ok(Exit::Fine)
        }
        Response::Error(text) => Err(Failure::new(Exit::Invalid, text, "'turnpike status' shows what is in force")),
        Response::Refused(refusal) => Err(Failure::new(exit(refusal.fault), refusal.cause, refusal.remedy)),
        Response::Status(_) | Response::InForce(_) | Response::Staged(_) => {
            Err(Failure::new(Exit::Internal, "the gateway answered another question", ""))
        }
    }
}

/// Why no gateway answered, and what to do.
pub(super) fn unanswered(error: &ControlError) -> Failure {
    let (exit, remedy) = match error {
        ControlError::NoGateway(_) => {
            (Exit::Unavailable, "start it with 'turnpike gateway run', or name its state with --state DIR")
        }
        ControlError::Denied(_) => (Exit::NoPermission, "run as root or as the user of the gateway"),
        ControlError::Failed { .. } => (Exit::Unavailable, "try again; if it stays so, look at the gateway's log"),
    };
    Failure::new(exit, error.to_string(), remedy)
}

fn events(text: &str) -> Result<Events, String> {
    match text {
        "" => Err("name a file, journald or off".to_owned()),
        "journald" => Ok(Events::Journald),
        "off" => Ok(Events::Off),
        file => Ok(Events::File(file.into())),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| "write it as 30s, 5m or 1h".to_owned())?;
    match &text[digits.len()..] {
        "h" => Ok(Duration::from_secs(number.saturating_mul(3600))),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err("write it as 30s, 5m or 1h".to_owned()),
    }
}
