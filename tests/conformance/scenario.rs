//! What a scenario is, and the list of all.

use std::time::Duration;

use crate::rig::Rig;

/// One fact about an implementation, tried in namespaces of its own. It holds if the function returns; a panic says
/// why it does not.
pub struct Scenario {
    /// The module that it stands in, from the crate on.
    pub module: &'static str,
    /// The fact.
    pub name: &'static str,
    /// What it costs.
    pub cost: Cost,
    /// The trial.
    pub run: fn(&Rig),
}

impl Scenario {
    /// What it is about: the last part of its module's path.
    pub fn area(&self) -> &'static str {
        self.module.rsplit("::").next().unwrap_or_default()
    }

    /// Its area and its name, as on the command line.
    pub fn full_name(&self) -> String {
        format!("{}::{}", self.area(), self.name)
    }
}

/// What a scenario costs, and thereby when it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// A second or a few: several run at once.
    Light,
    /// Waits for seconds of the protocol's own, and needs hardly anything: many run at once.
    Waits,
    /// Needs the machine for itself.
    Alone,
    /// Minutes of waiting for the protocol's own times: ignored by `cargo test`, part of `make conformance`.
    Slow,
}

impl Cost {
    /// When a scenario is ended as failed.
    pub fn limit(self) -> Duration {
        Duration::from_secs(match self {
            Self::Light | Self::Waits => 30,
            Self::Alone => 60,
            Self::Slow => 330,
        })
    }
}

/// Declares the scenarios of a module: `scenarios! { Light: this_holds, and_this; Slow: and_that }`.
macro_rules! scenarios {
    ($($cost:ident: $($function:ident),+ $(,)?);+ $(;)?) => {
        /// What is tried here.
        pub const SCENARIOS: &[$crate::scenario::Scenario] = &[$($($crate::scenario::Scenario {
            module: module_path!(),
            name: stringify!($function),
            cost: $crate::scenario::Cost::$cost,
            run: $function,
        }),+),+];
    };
}
pub(crate) use scenarios;

/// All scenarios, area by area.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    let areas = [
        crate::carry::SCENARIOS,
        crate::streams::SCENARIOS,
        crate::prefixes::SCENARIOS,
        crate::keys::SCENARIOS,
        crate::endpoints::SCENARIOS,
        crate::routing::SCENARIOS,
        crate::device::SCENARIOS,
        crate::uapi::SCENARIOS,
        crate::tos::SCENARIOS,
        crate::relay::SCENARIOS,
        crate::data::SCENARIOS,
        crate::handshake::SCENARIOS,
        crate::flood::SCENARIOS,
        crate::times::SCENARIOS,
    ];
    areas.into_iter().flatten()
}
