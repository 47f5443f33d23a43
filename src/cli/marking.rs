//! The option `--dscp` of whatever sends datagrams.

use clap::Args;

use crate::tunnel::Marking;

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Marks {
    /// How datagrams are marked for the routers outside: plain, carry, or a DSCP from 0 to 63.
    ///
    /// plain: packets not at all, handshakes AF41, as Linux' WireGuard does. carry: packets as they are marked inside,
    /// which whoever sees the datagrams can read. A number: all of them so; 0 suits networks that drop what is marked.
    /// Congestion (ECN) is carried in any case.
    #[arg(long, value_name = "MARK", default_value_t)]
    pub(super) dscp: Marking,
}
