//! The agent: reads a department's sources, sends their changes through a durable outbox, and
//! writes what the department was granted.

pub mod changes;
pub mod config;
pub mod quarantine;
pub mod sinks;
pub mod sources;
pub mod spool;

#[cfg(test)]
mod testing;
