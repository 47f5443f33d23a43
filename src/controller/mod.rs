//! The definition's side of the network: from a resolved model to signed bundles on disk.

mod build;
mod heartbeat;
#[cfg(test)]
mod tests;

pub use build::{BuildError, Built, BuiltGateway, build, key_folder};
pub use heartbeat::heartbeat;
