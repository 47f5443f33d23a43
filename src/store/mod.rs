//! What must outlive a process: a gateway's state on disk.

pub mod gateway;
