//! Networks in namespaces: for tests and for `turnpike lab`.
//!
//! | module | what |
//! |---|---|
//! | [`guard`] | a namespace, its processes and its wires, all of which go when it is dropped |

pub mod guard;
