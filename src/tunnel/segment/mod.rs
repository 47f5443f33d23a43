//! Large packets across the TUN device.

pub mod checksum;
