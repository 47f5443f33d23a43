//! The gateway as a program, in network namespaces: a hub, two edges with the same real prefix, a legacy host behind
//! each. What passes, what does not, what is refused at the start, what a change and a foreign hand do, and what is told of
//! the data plane's load.

mod applies;
mod change;
mod drift;
mod events;
mod explain;
mod forbidden;
mod kills;
mod load;
mod narrow;
mod place;
mod refusals;
mod stage;
mod talk;
mod time;
mod traffic;
mod trial;
