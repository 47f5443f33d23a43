//! What the kernel makes of our rules: real packets in network namespaces of their own.

mod load;
mod place;
