//! `turnpike tunnel` against Debian's `wireguard-go`, driven by `wg` and `wg-quick`, in namespaces. Needs root.

#[path = "../bench/mod.rs"]
mod bench;
mod changes;
mod configuration;
mod engine;
mod interop;
mod lifecycle;
mod network;
mod quick;
mod soak;
mod traffic;
