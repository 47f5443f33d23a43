//! Why a gateway did not start or take a change, with what to do about it.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::bundle::{AdmissionError, BundleError, TrustError};
use crate::identity::KeyError;
use crate::store::gateway::StateError;
use crate::sys::netlink::NetlinkError;

/// Whose fault it is: the kind of an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// A file that was given is not what it must be.
    Input,
    /// Something needed is missing or in use.
    Unavailable,
    /// A permission is missing.
    Permission,
    /// What was applied is no longer in force.
    RolledBack,
    /// The kernel refused what should have worked.
    Internal,
}

/// Why a gateway did not start or take a change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// A file could not be read.
    #[error("cannot read {}: {cause}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The error in words.
        cause: String,
        /// Whether it is not there.
        missing: bool,
    },
    /// The trust file is none.
    #[error("{}: {error}", path.display())]
    Trust {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        error: TrustError,
    },
    /// A key file is none.
    #[error("{}: {error}", path.display())]
    Key {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        error: KeyError,
    },
    /// The bundle is not to be believed.
    #[error("{place}: {error}")]
    Bundle {
        /// Where it came from.
        place: String,
        /// What is wrong.
        error: BundleError,
    },
    /// The bundle is genuine, but not for this gateway now.
    #[error("{place}: {error}")]
    NotAdmitted {
        /// Where it came from.
        place: String,
        /// Why not.
        error: Box<AdmissionError>,
    },
    /// Neither the bundle file nor the state has a bundle that can be used.
    #[error("{cause}; and {} holds no last good bundle", state.display())]
    NoBundle {
        /// What is wrong with the file.
        cause: Box<GatewayError>,
        /// The state folder.
        state: PathBuf,
    },
    /// No gateway ever took a bundle with this state.
    #[error("no gateway has taken a bundle with the state in {}", state.display())]
    NeverAccepted {
        /// The state folder.
        state: PathBuf,
    },
    /// A bundle waits for confirmation.
    #[error("generation {generation} is on trial: another bundle is taken when it is confirmed or rolled back")]
    OnTrial {
        /// Its generation.
        generation: u64,
    },
    /// No bundle waits for confirmation.
    #[error("no bundle is on trial{}", rolled_back.map(|generation| format!(": generation {generation} was rolled back")).unwrap_or_default())]
    NothingOnTrial {
        /// The generation that was, and was rolled back.
        rolled_back: Option<u64>,
    },
    /// Whoever confirms was there before.
    #[error("generation {generation} can be confirmed by a session alone that was opened after it was applied")]
    OldSession {
        /// Its generation.
        generation: u64,
    },
    /// Not a time for a trial.
    #[error("a bundle can be on trial for 1 to {} seconds", super::trial::LONGEST_TRIAL.as_secs())]
    TrialLength,
    /// The bundle file holds what was rolled back.
    #[error("generation {generation} was applied and rolled back")]
    RolledBack {
        /// Its generation.
        generation: u64,
    },
    /// Nothing that passes now would.
    #[error("the bundle would deny every flow that passes now")]
    DeniesAll,
    /// No bundle is held beside the one in force.
    #[error("no bundle is staged beside the one in force")]
    NothingStaged,
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// `nft` is not installed.
    #[error("the program 'nft' is not in PATH")]
    NoNft,
    /// Not allowed to configure networks.
    #[error("the capability CAP_NET_ADMIN is missing")]
    NoNetAdmin,
    /// No TUN driver.
    #[error("/dev/net/tun cannot be opened: {0}")]
    NoTun(String),
    /// A device that the bundle names is not there.
    #[error("the device {device} of {of} does not exist")]
    NoDevice {
        /// Its name.
        device: String,
        /// What it is for.
        of: String,
    },
    /// The tunnel's device is there already.
    #[error("the device {0} exists already")]
    DeviceExists(String),
    /// A port is taken.
    #[error("the {protocol} port of {address} is in use{of}")]
    PortInUse {
        /// `UDP` or `TCP`.
        protocol: &'static str,
        /// Address and port.
        address: SocketAddr,
        /// What it is for.
        of: String,
    },
    /// An address cannot be listened at.
    #[error("cannot listen at {address}: {cause}")]
    Listen {
        /// Address and port.
        address: SocketAddr,
        /// The error in words.
        cause: String,
    },
    /// The bundle cannot become a ruleset.
    #[error("the policy cannot be compiled for nftables: {0}")]
    Compile(String),
    /// The kernel did not take the ruleset.
    #[error("nftables: {0}")]
    Nft(String),
    /// The kernel did not take addresses, routes or rules.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The data plane did not start or take a plan.
    #[error("data plane: {0}")]
    Dataplane(String),
    /// A runtime service of the process failed.
    #[error("{what}: {cause}")]
    Runtime {
        /// Which.
        what: &'static str,
        /// The error in words.
        cause: String,
    },
}

impl GatewayError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Unreadable { missing: true, .. } => Fault::Unavailable,
            Self::Unreadable { missing: false, .. }
            | Self::Trust { .. }
            | Self::Key { .. }
            | Self::Bundle { .. }
            | Self::NotAdmitted { .. }
            | Self::Compile(_) => Fault::Input,
            Self::OnTrial { .. }
            | Self::OldSession { .. }
            | Self::TrialLength
            | Self::RolledBack { .. }
            | Self::NothingStaged
            | Self::DeniesAll => Fault::Input,
            Self::NothingOnTrial { rolled_back } => rolled_back.map_or(Fault::Input, |_| Fault::RolledBack),
            Self::NoBundle { cause, .. } => cause.fault(),
            Self::State(StateError::InUse(_)) | Self::NeverAccepted { .. } => Fault::Unavailable,
            Self::State(StateError::Io { denied: true, .. }) | Self::NoNetAdmin => Fault::Permission,
            Self::State(StateError::Io { denied: false, .. } | StateError::Damaged(_) | StateError::Newer(_))
            | Self::NoNft
            | Self::NoTun(_)
            | Self::NoDevice { .. }
            | Self::DeviceExists(_)
            | Self::PortInUse { .. }
            | Self::Listen { .. } => Fault::Unavailable,
            Self::Nft(_) | Self::Netlink(_) | Self::Dataplane(_) | Self::Runtime { .. } => Fault::Internal,
        }
    }

    /// What to do about it; empty where nothing can be advised.
    pub fn remedy(&self) -> String {
        match self {
            Self::Unreadable { path, .. } => format!("check that {} is there and readable", path.display()),
            Self::Trust { .. } => "use the trust.toml that 'turnpike bundle build' wrote beside the keys".into(),
            Self::Key { .. } => {
                "use the key that 'turnpike bundle build' wrote, or make the keys and bundles again".into()
            }
            Self::Bundle { .. } => {
                "copy the bundle again from where it was built, with the trust file of the same signer".into()
            }
            Self::NotAdmitted { error, .. } => match **error {
                AdmissionError::OtherGateway { .. }
                | AdmissionError::NoKey { .. }
                | AdmissionError::OtherKey { .. } => {
                    "give this gateway its own bundle and its own keys: OUT/NAME.bundle and OUT.keys/NAME".into()
                }
                AdmissionError::Older { .. } | AdmissionError::Forked(_) => {
                    "build the bundle again: to go back, old content is built under a new generation".into()
                }
            },
            Self::OnTrial { .. } => "'turnpike gateway confirm' or 'turnpike gateway rollback' ends the trial".into(),
            Self::NothingOnTrial { .. } => {
                "'turnpike gateway history' shows what became of it; 'turnpike gateway apply --confirm-within 5m' tries again".into()
            }
            Self::OldSession { .. } => {
                "log in anew, which shows that you still can, and confirm there: ssh GATEWAY turnpike gateway confirm".into()
            }
            Self::TrialLength => "write it as 30s, 5m or 1h".into(),
            Self::RolledBack { .. } => "correct it and build it anew, or try it again with 'turnpike gateway apply'".into(),
            Self::NothingStaged => "stage one: turnpike gateway stage BUNDLE; it ends when another bundle is in force".into(),
            Self::DeniesAll => "'turnpike policy diff' shows what changes; if that is meant, add --deny-all-intended".into(),
            Self::NoBundle { cause, .. } => cause.remedy(),
            Self::NeverAccepted { .. } => {
                "name the state of a gateway that ran with --state DIR; a lab's are in its own folder".into()
            }
            Self::State(StateError::InUse(_)) => "stop that gateway, or give this one another --state".into(),
            Self::State(StateError::Newer(_)) => {
                "run that version of turnpike, or begin anew with another folder by --state DIR".into()
            }
            Self::State(StateError::Io { .. } | StateError::Damaged(_)) => {
                "give a folder that can be written with --state".into()
            }
            Self::NoNft => "install nftables: apt install nftables".into(),
            Self::NoNetAdmin => "run as root, or grant CAP_NET_ADMIN (AmbientCapabilities= in a systemd unit)".into(),
            Self::NoTun(_) => "modprobe tun; in a container, pass the device /dev/net/tun in".into(),
            Self::NoDevice { .. } => {
                "make the device, or correct its name in the definition; 'ip link' shows what there is".into()
            }
            Self::DeviceExists(_) => {
                "stop the program that uses it (another gateway?), or choose another name with --device".into()
            }
            Self::PortInUse { protocol: "TCP", .. } | Self::Listen { .. } => {
                "stop what listens there ('ss -ltnp' shows it), or choose another address with --metrics".into()
            }
            Self::PortInUse { .. } => {
                "stop what uses it ('ss -lunp' shows it), or change the hub's endpoints in network.toml".into()
            }
            Self::Netlink(_) => {
                "look at that device with 'ip address' and 'ip route', and at its sysctls (disable_ipv6)".into()
            }
            Self::Compile(_) | Self::Nft(_) | Self::Dataplane(_) | Self::Runtime { .. } => String::new(),
        }
    }
}
