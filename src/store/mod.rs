//! What must outlive a process: a gateway's state on disk, and private keys.

pub mod gateway;
pub mod keys;
