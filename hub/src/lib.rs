//! The hub of the exchange.
//!
//! The way of a record: `gate` (who?) → `intake` (may it, is it valid?) → `log` (durable) → `views`
//! (searchable) → `routes` (who is owed it?) → `gate`. Decisions about departments, nodes, catalogue
//! and grants are `govern`'s and take the same way through the log.

pub mod api;
pub mod app;
pub mod ask;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod config;
pub mod gate;
pub mod govern;
pub mod governor;
pub mod intake;
pub mod log;
pub mod nodes;
pub mod numbers;
pub mod pki;
pub mod reconcile;
pub mod routes;
pub mod tasks;
pub mod views;
