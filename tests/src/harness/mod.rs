//! Real processes on this machine: a hub and agents in a folder, started, killed and asked.
//!
//! Nothing here knows the programs' code: they are used as an operator uses them, by command line,
//! configuration file, status and metrics page. Every wait has a deadline and says what for.

pub mod agent;
pub mod churn;
pub mod clock;
pub mod databases;
pub mod delivered;
pub mod entries;
pub mod exchange;
pub mod host;
pub mod http;
pub mod hub;
pub mod installed;
pub mod links;
pub mod metrics;
pub mod ports;
pub mod process;
pub mod programs;
pub mod promise;
pub mod push;
pub mod rows;

pub mod run;
pub mod service_manager;
pub mod small_disk;
pub mod wait;

pub use agent::Machine;
pub use exchange::{Exchange, scene};
pub use hub::Hub;
pub use wait::until;
