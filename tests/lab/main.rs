//! The lab: its namespaces leak nothing, and what a killed creator leaves is found and removed.
//!
//! Needs root; without it each test says SKIP.

mod commands;
mod guard;
mod packages;
