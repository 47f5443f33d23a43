//! The gateways of the lab: real processes of turnpike, each in its namespace, by bundles built for the lab.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::identity::Name;
use crate::ruleset;
use crate::sys::nftables::{Nft, NftError};
use crate::telemetry::status::Status;

use super::guard::{GuardError, Namespace, Process, wait_for};
use super::topology::Network;

/// A gateway has this long from its start until its tunnels stand.
const STARTUP: Duration = Duration::from_secs(20);

/// Why the gateways do not run as they should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FleetError {
    /// A namespace refused something.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The operating system refused something.
    #[error("{what}: {cause}")]
    System {
        /// What was being done.
        what: String,
        /// Its answer.
        cause: String,
    },
    /// nft refused something.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// A command of this program failed.
    #[error("turnpike {command} failed: {said}")]
    Command {
        /// The command.
        command: String,
        /// What it said.
        said: String,
    },
    /// A gateway ended, or did not get ready in time.
    #[error("gateway {gateway} {how}: {log}")]
    NotReady {
        /// The gateway.
        gateway: Name,
        /// What it did instead.
        how: &'static str,
        /// The end of what it printed.
        log: String,
    },
}

fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> FleetError {
    let what = what.into();
    move |error| FleetError::System { what, cause: error.to_string() }
}

/// The gateways, and the bundles that they run by.
#[derive(Debug)]
pub struct Fleet {
    program: PathBuf,
    bundles: PathBuf,
    states: PathBuf,
    running: BTreeMap<Name, Process>,
}

impl Fleet {
    /// Builds the first bundles by the turnpike at `program`; no gateway runs yet.
    ///
    /// # Errors
    /// [`FleetError`].
    pub fn new(network: &Network, definition: &Path, program: &Path) -> Result<Self, FleetError> {
        let program = program.to_owned();
        let (bundles, states) = (network.folder().join("bundles"), network.folder().join("state"));
        fs::create_dir_all(&states).map_err(system(format!("making {}", states.display())))?;
        let fleet = Self { program, bundles, states, running: BTreeMap::new() };
        fleet.build(definition)?;
        Ok(fleet)
    }

    /// Builds the bundles anew from a definition; running gateways notice at their next SIGHUP.
    ///
    /// # Errors
    /// [`FleetError::Command`] with what `turnpike bundle build` says.
    pub fn build(&self, definition: &Path) -> Result<(), FleetError> {
        let mut command = Command::new(&self.program);
        command.args(["bundle", "build"]).arg(definition).arg("--out").arg(&self.bundles);
        succeed("bundle build", command.output()).map(drop)
    }

    /// The state folder of a gateway, for `turnpike status --state`.
    pub fn state(&self, gateway: &Name) -> PathBuf {
        self.states.join(gateway.as_str())
    }

    /// Starts a gateway as its unit would.
    ///
    /// # Errors
    /// [`FleetError`].
    pub fn start(&mut self, gateway: &Name, namespace: &Namespace) -> Result<(), FleetError> {
        let keys = PathBuf::from(format!("{}.keys", self.bundles.display()));
        let mut command = namespace.command(&self.program);
        command.args(["gateway", "run", "--bundle"]).arg(self.bundles.join(format!("{gateway}.bundle")));
        command.arg("--keys").arg(keys.join(gateway.as_str())).arg("--trust").arg(keys.join("trust.toml"));
        command.arg("--state").arg(self.state(gateway));
        // Not into the journal of the machine that the lab runs on.
        command.arg("--events").arg(self.state(gateway).join("events.jsonl"));
        self.running.insert(gateway.clone(), namespace.spawn(command)?);
        Ok(())
    }

    /// Waits until every started gateway answers and all of its tunnels stand.
    ///
    /// # Errors
    /// [`FleetError::NotReady`] with the gateway's own words.
    pub fn wait(&mut self) -> Result<(), FleetError> {
        self.wait_until(|status| status.links.iter().all(|link| link.up))
    }

    /// Waits until every started gateway answers, with tunnels or without.
    ///
    /// # Errors
    /// [`FleetError::NotReady`] with the gateway's own words.
    pub fn wait_for_answers(&mut self) -> Result<(), FleetError> {
        self.wait_until(|_| true)
    }

    fn wait_until(&mut self, settled: impl Fn(&Status) -> bool) -> Result<(), FleetError> {
        let names: Vec<Name> = self.running.keys().cloned().collect();
        for gateway in names {
            let Some(process) = self.running.get_mut(&gateway) else { continue };
            let (program, state) = (&self.program, self.states.join(gateway.as_str()));
            let ready = wait_for(STARTUP, || {
                if process.exited().is_some() {
                    return Some(false);
                }
                let status = ask(program, &state).ok()?;
                settled(&status).then_some(true)
            });
            let how = match ready {
                Some(true) => continue,
                Some(false) => "ended",
                None => "is not ready after 20 s",
            };
            return Err(FleetError::NotReady { gateway, how, log: last_lines(&process.log()) });
        }
        Ok(())
    }

    /// Asks a gateway for its status document.
    ///
    /// # Errors
    /// [`FleetError::Command`] with what `turnpike status` says.
    pub fn status(&self, gateway: &Name) -> Result<Status, FleetError> {
        ask(&self.program, &self.state(gateway))
    }

    /// Has a gateway leave foreign changes alone for so many seconds.
    ///
    /// # Errors
    /// [`FleetError::Command`] with what `turnpike gateway repair` says.
    pub fn pause_repair(&self, gateway: &Name, seconds: u32) -> Result<(), FleetError> {
        let length = format!("{seconds}s");
        self.repair(gateway, &["pause", "--for", &length])
    }

    /// Has a gateway repair again, at once.
    ///
    /// # Errors
    /// [`FleetError::Command`] with what `turnpike gateway repair` says.
    pub fn resume_repair(&self, gateway: &Name) -> Result<(), FleetError> {
        self.repair(gateway, &["resume"])
    }

    fn repair(&self, gateway: &Name, words: &[&str]) -> Result<(), FleetError> {
        let mut command = Command::new(&self.program);
        command.args(["gateway", "repair"]).args(words).arg("--state").arg(self.state(gateway));
        succeed("gateway repair", command.output()).map(drop)
    }

    /// Has every running gateway read its bundle again.
    ///
    /// # Errors
    /// [`FleetError::Guard`].
    pub fn reload(&mut self) -> Result<(), FleetError> {
        self.running.values_mut().try_for_each(|process| process.signal(Signal::SIGHUP)).map_err(FleetError::from)
    }

    /// Kills a gateway (SIGKILL), as a fault would.
    pub fn kill(&mut self, gateway: &Name) {
        self.running.remove(gateway);
    }

    /// The processes: gateway and process id.
    pub fn processes(&self) -> Vec<(Name, u32)> {
        self.running.iter().map(|(name, process)| (name.clone(), process.pid())).collect()
    }

    /// The end of what a gateway printed.
    pub fn log(&self, gateway: &Name) -> String {
        self.running.get(gateway).map(|process| last_lines(&process.log())).unwrap_or_default()
    }
}

/// Loads the table that drops all forwarding, as a gateway's early unit does.
///
/// # Errors
/// [`FleetError::Nft`].
pub fn load_early_drop(namespace: &Namespace) -> Result<(), FleetError> {
    Nft::new().within(namespace.handle().clone()).apply(&ruleset::early_drop()).map(drop).map_err(FleetError::from)
}

fn ask(program: &Path, state: &Path) -> Result<Status, FleetError> {
    let text = succeed("status", Command::new(program).args(["status", "--json", "--state"]).arg(state).output())?;
    serde_json::from_str(&text)
        .map_err(|error| FleetError::Command { command: "status --json".into(), said: error.to_string() })
}

fn succeed(command: &str, output: std::io::Result<Output>) -> Result<String, FleetError> {
    let output = output.map_err(system(format!("starting {command}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(FleetError::Command { command: command.to_owned(), said: format!("{} ({})", said, output.status) })
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
