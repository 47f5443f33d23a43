//! A lab that is up in the background: found, entered and taken down by other processes.
//!
//! The process that holds it writes `session.json` into the lab's folder when it stands. Whoever looks for a lab looks
//! through the folders of living creators for that file, so there is no file that could be left over.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::policy::model::Model;
use crate::sys::netns::Handle;

use super::guard::{self, wait_until};
use super::raise::{Definition, Lab, LabError};

const FILE: &str = "session.json";

/// What others need to know of a lab that is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The process that holds it.
    pub pid: i32,
    /// The definition's folder.
    pub definition: PathBuf,
    /// The certificate that the web servers show.
    pub certificate: PathBuf,
    /// Hosts, gateways and switches.
    pub places: Vec<Place>,
    /// The services, by the addresses that other councils reach them by.
    pub services: Vec<Service>,
}

/// A namespace that can be entered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// What stands there.
    pub kind: PlaceKind,
    /// Its department, if it is a legacy host.
    pub department: Option<String>,
    /// Its own addresses, if it is a legacy host.
    pub addresses: Vec<IpAddr>,
    /// Its addresses in the overlay, if it is a legacy host.
    pub overlay: Vec<IpAddr>,
    /// The servers on it.
    pub servers: Vec<String>,
    /// The state folder for `turnpike status --state`, if it is a gateway.
    pub state: Option<PathBuf>,
    /// The file on which its namespace is pinned.
    pub namespace: PathBuf,
}

/// What stands in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlaceKind {
    /// A legacy host.
    Host,
    /// An edge or a hub.
    Gateway,
    /// A core switch.
    Switch,
}

/// A service in overlay terms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// `council/service`.
    pub name: String,
    /// Where others reach it.
    pub hosts: Vec<IpAddr>,
    /// What it answers on.
    pub ports: Vec<String>,
}

/// Why a session could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// No lab is up.
    #[error("no lab is up")]
    None,
    /// There is no such place.
    #[error("the lab has no {name}; it has {known}")]
    NoPlace {
        /// What was asked for.
        name: String,
        /// All names.
        known: String,
    },
    /// The operating system refused something.
    #[error("{what}: {cause}")]
    System {
        /// What was being done.
        what: String,
        /// Its answer.
        cause: String,
    },
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> SessionError {
    let what = what.into();
    move |error| SessionError::System { what, cause: error.to_string() }
}

impl Session {
    /// Describes a lab that stands, and lets others find it.
    ///
    /// # Errors
    /// [`LabError::File`].
    pub fn publish(lab: &Lab, definition: &Definition) -> Result<Self, LabError> {
        let session = Self {
            pid: i32::try_from(std::process::id()).unwrap_or(i32::MAX),
            definition: definition.folder.clone(),
            certificate: lab.servers.certificate.clone(),
            places: places(lab),
            services: services(&definition.model),
        };
        let (path, whole) = (lab.path(FILE), lab.path("session.new"));
        let failed = |cause: String| LabError::File { what: format!("writing {}", path.display()), cause };
        let text = serde_json::to_string(&session).map_err(|error| failed(error.to_string()))?;
        std::fs::write(&whole, text)
            .and_then(|()| std::fs::rename(&whole, &path))
            .map_err(|error| failed(error.to_string()))?;
        Ok(session)
    }

    /// Finds the lab that is up.
    ///
    /// # Errors
    /// [`SessionError::None`].
    pub fn find() -> Result<Self, SessionError> {
        let read = |folder: PathBuf| serde_json::from_slice(&std::fs::read(folder.join(FILE)).ok()?).ok();
        guard::living().into_iter().find_map(read).ok_or(SessionError::None)
    }

    /// The place of this name.
    ///
    /// # Errors
    /// [`SessionError::NoPlace`].
    pub fn place(&self, name: &str) -> Result<&Place, SessionError> {
        self.places.iter().find(|place| place.name == name).ok_or_else(|| SessionError::NoPlace {
            name: name.to_owned(),
            known: self.places.iter().map(|place| place.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// Takes the lab down and waits until it is gone.
    ///
    /// # Errors
    /// [`SessionError::System`].
    pub fn take_down(&self) -> Result<(), SessionError> {
        let holder = Pid::from_raw(self.pid);
        let ended = |signal: Signal, within: Duration| match kill(holder, signal) {
            Ok(()) | Err(nix::Error::ESRCH) => Ok(wait_until(within, || !guard::runs(self.pid.unsigned_abs()))),
            Err(error) => Err(system(format!("ending process {}", self.pid))(error.into())),
        };
        if !ended(Signal::SIGTERM, Duration::from_secs(20))? {
            ended(Signal::SIGKILL, Duration::from_secs(5))?;
        }
        guard::sweep()
            .map(drop)
            .map_err(|error| SessionError::System { what: "sweeping".into(), cause: error.to_string() })
    }
}

impl Place {
    /// Becomes a command that runs there: returns only if that fails.
    pub fn exec(&self, words: &[String]) -> SessionError {
        let Some((program, arguments)) = words.split_first() else { return SessionError::None };
        let handle = match Handle::open(&self.namespace) {
            Ok(handle) => handle,
            Err(error) => return system(format!("entering {}", self.name))(error),
        };
        let error = handle.exec(Command::new(program).args(arguments));
        system(format!("running {program}"))(error)
    }
}

fn places(lab: &Lab) -> Vec<Place> {
    let network = &lab.network;
    let bare = |name: String, kind: PlaceKind, namespace: &Path| Place {
        name,
        kind,
        department: None,
        addresses: Vec::new(),
        overlay: Vec::new(),
        servers: Vec::new(),
        state: None,
        namespace: namespace.to_owned(),
    };
    let hosts = network.hosts.iter().map(|host| Place {
        department: Some(host.plan.department.to_string()),
        addresses: host.plan.addresses.iter().map(|interface| interface.address()).collect(),
        overlay: host.overlay.clone(),
        servers: host.plan.servers.iter().map(|server| server.program().to_owned()).collect(),
        ..bare(host.plan.name.to_string(), PlaceKind::Host, &host.namespace.path())
    });
    let gateways = network.gateways.iter().map(|(name, namespace)| Place {
        state: Some(lab.fleet.state(name)),
        ..bare(name.to_string(), PlaceKind::Gateway, &namespace.path())
    });
    let switches =
        network.switches.iter().map(|(name, namespace)| bare(name.to_string(), PlaceKind::Switch, &namespace.path()));
    hosts.chain(gateways).chain(switches).collect()
}

fn services(model: &Model) -> Vec<Service> {
    let service = |service: &crate::policy::model::Service| Service {
        name: service.name.to_string(),
        hosts: service.overlay_hosts.clone(),
        ports: service.ports.iter().map(ToString::to_string).collect(),
    };
    model.services.iter().map(service).collect()
}
