//! The definition as FORMAT has it: what holds, what is refused and where, what is given out, who may reach what.

mod agreement;
mod allotment;
mod bad;
mod command;
mod consents;
mod definition;
mod diff;
mod formatted;
mod hostile;
mod kernel;
mod mutated;
mod refused;
mod schema;
mod states;
mod verdicts;
