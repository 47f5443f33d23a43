//! Two data planes in network namespaces of their own, over a wire: they need root.

mod carry;
mod change;
mod headers;
mod hostile;
mod lab;
mod mtu;
mod offload;
mod outside;
mod standing;
mod upheaval;
mod workers;
