//! `turnpike lab`: a definition at work in network namespaces of this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use nix::unistd::geteuid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::output::{print, print_json, table};
use super::{Exit, Failure, definition};
use crate::lab::demo::{self, Report};
use crate::lab::guard::wait_until;
use crate::lab::raise::{Definition, Lab, LabError, Watcher};
use crate::lab::session::{PlaceKind, Session, SessionError};
use crate::lab::surroundings::Surroundings;
use crate::sys::process::{Orphans, Readiness, Side, daemonise, detach_terminal};

/// Arguments of `turnpike lab`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Raise a lab, try all that the definition says, break things on purpose, and show it in a table.
    #[command(after_help = "\
Exit codes: 0 all as expected, 2 a verdict was another, 69 something needed is missing, 77 not root.

Example:
  turnpike lab demo --json | jq '.rows[] | select(.ok | not)'")]
    Demo(Source),
    /// Raise a lab and leave it running in the background.
    Up(Source),
    /// Say what the lab consists of, and how to reach it.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run a command on a host or gateway of the lab, with its exit code.
    #[command(after_help = "\
Examples:
  turnpike lab exec benefits -- curl -s http://100.65.3.20/
  turnpike lab exec hub-a -- nft list ruleset")]
    Exec {
        /// The host, gateway or switch, as `turnpike lab status` lists them.
        #[arg(value_name = "HOST")]
        place: String,
        /// The command and its arguments.
        #[arg(last = true, required = true, value_name = "COMMAND")]
        words: Vec<String>,
    },
    /// Take the lab down: processes, namespaces and files.
    Down,
}

#[derive(Debug, Args)]
struct Source {
    /// The definition's folder, with a lab.toml in it.
    #[arg(long, value_name = "DIR", default_value = "examples/three-councils")]
    definition: PathBuf,
    /// As JSON; progress goes to stderr.
    #[arg(long)]
    json: bool,
}

/// Runs what the arguments ask.
pub fn run(arguments: Arguments) -> Result<Exit, Failure> {
    if !geteuid().is_root() {
        let remedy = "run it as root: it makes network namespaces; the machine's own network is left alone";
        return Err(Failure::new(Exit::NoPermission, "the lab needs root", remedy));
    }
    match arguments.command {
        Command::Demo(source) => demo(&source),
        Command::Up(source) => up(&source),
        Command::Status { json } => status(json),
        Command::Exec { place, words } => exec(&place, &words),
        Command::Down => down(),
    }
}

fn demo(source: &Source) -> Result<Exit, Failure> {
    let definition = read(&source.definition)?;
    let orphans = Orphans::adopt().map_err(cannot_go_on)?;
    let interrupt = Interrupt::catch()?;
    let began = Instant::now();
    let say = |text: &str| eprintln!("{:6.1} s  {text}", began.elapsed().as_secs_f64());
    let ended = demo::run(&definition, &Watcher { say: &say, interrupted: &interrupt.flag });
    drop(orphans);
    let report = match ended {
        Ok(report) => report,
        Err(LabError::Interrupted) => return interrupt.end(),
        Err(error) => return Err(failure(&error)),
    };
    if source.json {
        print_json(&report)?
    } else {
        print(&render(&report))?
    }
    Ok(if report.ok { Exit::Fine } else { Exit::TestFailed })
}

fn render(report: &Report) -> String {
    let sign = |ok: bool| if ok { "ok" } else { "WRONG" }.to_owned();
    let rows = report.rows.iter().map(|row| {
        [
            sign(row.ok),
            row.subject.clone(),
            row.what.clone(),
            row.expected.clone(),
            row.actual.clone(),
            row.by.clone(),
            row.evidence.clone(),
        ]
    });
    let mut text = table(["", "subject", "what", "expected", "actual", "by", "evidence"], rows);
    let number =
        |number: Option<f64>, unit: &str| number.map_or("-".to_owned(), |number| format!("{number:.2} {unit}"));
    let measures = report.measures.iter().map(|measure| {
        let (rtt, rate) = (number(measure.rtt_ms, "ms"), number(measure.mbit_per_second, "Mbit/s"));
        [measure.way.clone(), rtt, rate]
    });
    text.push('\n');
    text.push_str(&table(["between two legacy hosts by", "round trip", "TCP"], measures));
    let wrong = report.rows.iter().filter(|row| !row.ok).count();
    let all = report.rows.len();
    text.push_str(&format!("\n{} of {all} as expected, in {:.0} s\n", all - wrong, report.seconds));
    text
}

fn up(source: &Source) -> Result<Exit, Failure> {
    if let Ok(session) = Session::find() {
        let cause = format!("a lab is up already, held by process {}", session.pid);
        return Err(Failure::new(Exit::Unavailable, cause, "take it down first: turnpike lab down"));
    }
    let definition = read(&source.definition)?;
    match daemonise().map_err(cannot_go_on)? {
        Side::Starter { told: Some(0), .. } => status(source.json),
        // The other side has said why.
        Side::Starter { .. } => Ok(Exit::Unavailable),
        Side::Daemon(readiness) => hold(&definition, readiness),
    }
}

/// Raises the lab, lets the starter go, and keeps the lab until a signal comes.
fn hold(definition: &Definition, readiness: Readiness) -> Result<Exit, Failure> {
    let _orphans = Orphans::adopt().map_err(cannot_go_on)?;
    let interrupt = Interrupt::catch()?;
    let began = Instant::now();
    let say = |text: &str| eprintln!("{:6.1} s  {text}", began.elapsed().as_secs_f64());
    let watcher = Watcher { say: &say, interrupted: &interrupt.flag };
    let raised = Lab::prepare(definition, &watcher).and_then(|mut lab| {
        lab.start_gateways(definition, &watcher)?;
        Session::publish(&lab, definition).map(|_| lab)
    });
    let lab = match raised {
        Ok(lab) => lab,
        Err(LabError::Interrupted) => return interrupt.end(),
        Err(error) => return Err(failure(&error)),
    };
    detach_terminal(true).and_then(|()| readiness.tell(0)).map_err(cannot_go_on)?;
    while !wait_until(Duration::from_secs(3600), || interrupt.flag.load(Ordering::Relaxed)) {}
    drop(lab);
    Ok(Exit::Fine)
}

fn cannot_go_on(error: std::io::Error) -> Failure {
    Failure::new(Exit::Unavailable, format!("cannot go on: {error}"), "")
}

fn status(json: bool) -> Result<Exit, Failure> {
    let session = Session::find().map_err(|error| no_session(&error))?;
    if json {
        print_json(&session)?;
        return Ok(Exit::Fine);
    }
    let list = |addresses: &[std::net::IpAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let hosts = session.places.iter().filter(|place| place.kind == PlaceKind::Host).map(|place| {
        let department = place.department.clone().unwrap_or_default();
        [place.name.clone(), department, list(&place.addresses), list(&place.overlay), place.servers.join(" ")]
    });
    let services = session.services.iter().map(|it| [it.name.clone(), list(&it.hosts), it.ports.join(" ")]);
    let gateways = session.places.iter().filter_map(|place| {
        let state = place.state.as_ref()?;
        Some([place.name.clone(), format!("turnpike status --state {}", state.display())])
    });
    let text = [
        table(["host", "department", "own addresses", "in the overlay", "servers"], hosts),
        table(["service", "reached at", "on"], services),
        table(["gateway", "how it is"], gateways),
    ]
    .join("\n");
    print(&format!(
        "{text}\nEnter any of them:  turnpike lab exec NAME -- COMMAND\nTake it all down:   turnpike lab down\n"
    ))?;
    Ok(Exit::Fine)
}

fn exec(place: &str, words: &[String]) -> Result<Exit, Failure> {
    let session = Session::find().map_err(|error| no_session(&error))?;
    let place = session.place(place).map_err(|error| Failure::new(Exit::Invalid, error.to_string(), ""))?;
    Err(Failure::new(Exit::Unavailable, place.exec(words).to_string(), ""))
}

fn down() -> Result<Exit, Failure> {
    let session = Session::find().map_err(|error| no_session(&error))?;
    session.take_down().map_err(|error| Failure::new(Exit::Unavailable, error.to_string(), ""))?;
    print("The lab is gone.\n")?;
    Ok(Exit::Fine)
}

fn no_session(error: &SessionError) -> Failure {
    Failure::new(Exit::Unavailable, error.to_string(), "raise one: turnpike lab up")
}

fn failure(error: &LabError) -> Failure {
    Failure::new(Exit::Unavailable, error.to_string(), "scripts/packages lab installs what the lab needs")
}

fn read(folder: &Path) -> Result<Definition, Failure> {
    let resolved = definition::load(folder, definition::instant(None))?;
    let path = folder.join("lab.toml");
    let refuse = |cause: String| Failure::new(Exit::Invalid, format!("{}: {cause}", path.display()), "");
    let text = std::fs::read_to_string(&path).map_err(|error| refuse(error.to_string()))?;
    let surroundings = Surroundings::parse(&text, &resolved.model).map_err(|error| refuse(error.to_string()))?;
    let folder = folder.canonicalize().map_err(|error| refuse(error.to_string()))?;
    let program = std::env::current_exe().map_err(cannot_go_on)?;
    Ok(Definition { folder, model: resolved.model, cases: resolved.cases, surroundings, program })
}

/// Signals that ask for the end: caught, so that the lab is removed before the process ends by them.
struct Interrupt {
    flag: Arc<AtomicBool>,
}

impl Interrupt {
    fn catch() -> Result<Self, Failure> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&flag))
                .map_err(|error| Failure::new(Exit::Internal, format!("cannot catch signal {signal}: {error}"), ""))?;
        }
        Ok(Self { flag })
    }

    /// Ends this process as Ctrl-C would have, now that all is removed.
    fn end(self) -> Result<Exit, Failure> {
        eprintln!("interrupted: all of it is removed");
        signal_hook::low_level::emulate_default_handler(SIGINT)
            .map_err(|error| Failure::new(Exit::Unavailable, format!("cannot end: {error}"), ""))?;
        Ok(Exit::Unavailable)
    }
}
