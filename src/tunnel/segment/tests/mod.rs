//! Splitting and joining against a slow reference that shares nothing with them: etherparse writes every header.

mod coalesce;
mod model;
mod split;
mod streams;
