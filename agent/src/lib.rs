//! The agent: reads a department's sources, sends their changes through a durable outbox, and
//! writes what the department was granted.

pub mod app;
pub mod changes;
pub mod cli;
pub mod config;
pub mod link;
pub mod quarantine;
pub mod sinks;
pub mod sources;
pub mod spool;
pub mod sql;

#[cfg(test)]
mod testing;
