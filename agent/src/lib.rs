//! The agent: reads a department's sources, sends their changes through a durable outbox, and
//! writes what the department was granted.

pub mod config;
pub mod quarantine;
pub mod sinks;
pub mod spool;
