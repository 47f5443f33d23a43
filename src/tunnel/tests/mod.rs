//! Stories of two and more endpoints that exchange datagrams through memory.

mod crowd;
mod door;
mod homes;
mod outside;
mod owner;
mod roaming;
mod sessions;
mod ticks;
mod world;

pub(crate) use crate::{identity, net, tunnel};
