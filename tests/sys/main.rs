//! Devices and sockets as the kernel really has them, in network namespaces: they need root.

mod tun;
mod udp;
mod wire;
