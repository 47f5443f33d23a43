//! One interface: its configuration and the data plane that follows it.

use nix::errno::Errno;
use zeroize::Zeroizing;

use super::change::Change;
use super::config::Config;
use super::reader::Request;
use super::refusal::Refusal;
use super::text;
use crate::dataplane::{ApplyError, Dataplane, End, Stopped};
use crate::sys::udp::BindError;
use crate::tunnel::Marking;

/// A running data plane with the configuration that it was given last.
#[derive(Debug)]
pub struct Interface {
    config: Config,
    plane: Dataplane,
}

impl Interface {
    /// Configures `plane` as nothing yet: no key, no peer, a port that the kernel chooses. Datagrams will be marked by
    /// `marking`.
    ///
    /// # Errors
    /// The data plane's, when it cannot have a socket.
    pub fn new(plane: Dataplane, marking: Marking) -> Result<Self, ApplyError> {
        let config = Config::marked(marking);
        plane.apply(config.plan())?;
        Ok(Self { config, plane })
    }

    /// Why the data plane has ended; `None` while it runs.
    pub fn ended(&self) -> Option<End> {
        self.plane.ended()
    }

    /// Does what a client asks, and answers.
    pub fn answer(&mut self, asked: Result<Request, Refusal>) -> Zeroizing<String> {
        match asked {
            Ok(Request::Get) => match self.plane.observe() {
                Ok(snapshot) => text::state(&self.config, &snapshot),
                Err(Stopped) => text::status(Err(Errno::EIO)),
            },
            Ok(Request::Set(change)) => text::status(self.set(&change)),
            Err(refusal) => {
                tracing::error!("a request for configuration was refused: {refusal}");
                text::status(Err(refusal.errno()))
            }
        }
    }

    fn set(&mut self, change: &Change) -> Result<(), Errno> {
        let next = self.config.applied(change);
        match self.plane.apply(next.plan()) {
            Ok(receipt) => {
                tracing::debug!(
                    "configured: {} peers added, {} removed, {} begun anew",
                    receipt.added.len(),
                    receipt.removed.len(),
                    receipt.remade.len()
                );
                self.config = next;
                Ok(())
            }
            Err(error) => {
                tracing::error!("the configuration stays as it was: {error}");
                Err(errno_of(&error))
            }
        }
    }

    /// Ends the data plane, and its device with it.
    pub fn stop(self) -> End {
        self.plane.stop()
    }
}

/// What `wg(8)` is told: "Address already in use" is the one that its user can act upon.
fn errno_of(error: &ApplyError) -> Errno {
    match error {
        ApplyError::Socket(BindError::PortInUse(_)) => Errno::EADDRINUSE,
        ApplyError::Socket(BindError::DeviceMissing(_)) => Errno::ENODEV,
        ApplyError::Socket(BindError::NotPermitted(_)) => Errno::EPERM,
        ApplyError::Socket(BindError::System { errno, .. }) => *errno,
        ApplyError::Invalid(_) => Errno::EINVAL,
        ApplyError::Stopped => Errno::EIO,
    }
}
