//! `turnpike tunnel` against Debian's `wireguard-go`, driven by `wg` and `wg-quick`, in namespaces. Needs root.

mod bench;
mod changes;
mod configuration;
mod interop;
mod lifecycle;
mod network;
mod quick;
mod soak;
mod traffic;
