//! Two data planes in network namespaces of their own, over a wire: they need root.

mod carry;
mod change;
mod hostile;
mod lab;
mod mtu;
mod offload;
