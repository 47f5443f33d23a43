//! Addresses, prefixes, protocols and ports: the nouns every other room speaks in.
//!
//! Nothing here does I/O, reads a clock or knows a file format. A value that exists is valid: a [`Prefix`]
//! has no host bits, a [`PortMatch`] range ascends, and there is no way to make one that does not.

mod flow;
mod prefix;
mod protocol;

pub use flow::{Aim, Flow};
pub use prefix::{Family, Interface, Prefix, PrefixError};
pub use protocol::{Icmp, PortMatch, PortMatchError, Protocol};
