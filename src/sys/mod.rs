//! The operating system, and the only unsafe code: each call in a file named after what it talks to.

pub mod affinity;
pub mod clock;
pub mod host;
pub mod mtu;
mod netfilter;
pub mod netlink;
pub mod netns;
pub mod nflog;
pub mod nftables;
pub mod process;
pub mod schedule;
pub mod sd_notify;
pub mod tun;
pub mod udp;
