//! The whole lab: network, servers and gateways, raised in order and gone when dropped.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::identity::Name;
use crate::policy::cases::Case;
use crate::policy::model::Model;

use super::fleet::{Fleet, FleetError, load_early_drop};
use super::guard::GuardError;
use super::servers::{ServerError, Servers};
use super::surroundings::Surroundings;
use super::topology::Network;

/// What a lab is raised from.
#[derive(Debug)]
pub struct Definition {
    /// The definition's folder.
    pub folder: PathBuf,
    /// Its model as of now.
    pub model: Model,
    /// Its tests.
    pub cases: Vec<Case>,
    /// Its `lab.toml`.
    pub surroundings: Surroundings,
    /// The turnpike that its gateways run.
    pub program: PathBuf,
}

/// Why a lab does not stand, or no longer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabError {
    /// A namespace or wire.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// A server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A gateway.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// A file of the lab's own.
    #[error("{what}: {cause}")]
    File {
        /// What was being done.
        what: String,
        /// The operating system's answer.
        cause: String,
    },
    /// Somebody pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

/// Whoever watches a lab being raised: is told each step, and may interrupt between two.
pub struct Watcher<'a> {
    /// Told what was done.
    pub say: &'a dyn Fn(&str),
    /// Set when the lab shall end.
    pub interrupted: &'a AtomicBool,
}

impl Watcher<'_> {
    /// Tells a step.
    ///
    /// # Errors
    /// [`LabError::Interrupted`].
    pub fn step(&self, text: &str) -> Result<(), LabError> {
        (self.say)(text);
        self.check()
    }

    /// Goes on unless interrupted.
    ///
    /// # Errors
    /// [`LabError::Interrupted`].
    pub fn check(&self) -> Result<(), LabError> {
        if self.interrupted.load(Ordering::Relaxed) { Err(LabError::Interrupted) } else { Ok(()) }
    }
}

/// A lab that stands. Fields are dropped in this order: processes before the namespaces that they stand in.
#[derive(Debug)]
pub struct Lab {
    /// The gateways.
    pub fleet: Fleet,
    /// The legacy systems.
    pub servers: Servers,
    /// The namespaces and wires.
    pub network: Network,
}

impl Lab {
    /// Raises everything but the gateways.
    ///
    /// # Errors
    /// [`LabError`]; nothing is left then.
    pub fn prepare(definition: &Definition, watcher: &Watcher<'_>) -> Result<Self, LabError> {
        let network = Network::build(&definition.model, &definition.surroundings)?;
        network.gateways.values().try_for_each(load_early_drop)?;
        network.open()?;
        let (gateways, hosts) = (network.gateways.len(), network.hosts.len());
        watcher.step(&format!("network: {gateways} gateways and {hosts} legacy hosts in namespaces, all closed"))?;
        let servers = Servers::start(&network, &definition.model)?;
        watcher.step(&format!("servers: {} of Debian's listen on legacy hosts", servers.count()))?;
        let fleet = Fleet::new(&network, &definition.folder, &definition.program)?;
        watcher.step("bundles: built and signed, one per gateway")?;
        Ok(Self { fleet, servers, network })
    }

    /// Starts the gateways and waits for their tunnels. Hubs come first, since an edge that finds none tries again only
    /// after 5 s (WireGuard paper, section 6.1).
    ///
    /// # Errors
    /// [`LabError`].
    pub fn start_gateways(&mut self, definition: &Definition, watcher: &Watcher<'_>) -> Result<(), LabError> {
        let is_hub = |name: &Name| definition.model.hubs.iter().any(|hub| hub.name == *name);
        for hubs in [true, false] {
            for (name, namespace) in self.network.gateways.iter().filter(|(name, _)| is_hub(name) == hubs) {
                self.fleet.start(name, namespace)?;
            }
            if hubs {
                self.fleet.wait_for_answers()?;
            }
        }
        self.fleet.wait()?;
        watcher.step(&format!("gateways: {} run, every tunnel stands", self.network.gateways.len()))
    }

    /// A file or folder of the lab's, gone with it.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.network.folder().join(name)
    }
}
