//! Telling a service manager how we are, by the protocol of `sd_notify(3)`. Without one (`NOTIFY_SOCKET` unset)
//! every function does nothing.

use std::time::Duration;

use sd_notify::NotifyState;

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

/// `READY=1` with a line of status: started, or done with a reload.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// `RELOADING=1` with the monotonic time, which `Type=notify-reload` asks for.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// `STATUS=…`.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// `STOPPING=1`.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// `WATCHDOG=1`: we are alive.
pub fn watchdog() {
    tell(&[NotifyState::Watchdog]);
}

/// How often [`watchdog`] must be called: half of what the service manager asks for; `None` if it asks for none.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|timeout| timeout / 2)
}
