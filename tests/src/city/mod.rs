//! The reference city: a deterministic generator of departments, nodes, catalogue entries and data.
//!
//! ```text
//! Scale ─► City::plan ─► write ─► files + manifest      (cache::ensure keeps them)
//!              └──────► describe / Template::fill       (tests make entries and rows again)
//! ```
//!
//! The same scale gives the same bytes on every machine and in every run: no clock, no map order,
//! no floating point, no generator whose values may change with a library's version.

pub mod agent_config;
pub mod bar;
pub mod cache;
pub mod churn;
mod codes;
pub mod companies;
mod data_file;
pub mod dates;
pub mod demo;
pub mod departmental;
pub mod entry;
pub mod features;
pub mod names;
pub mod people;
pub mod plan;
pub mod registers;
pub mod rng;
pub mod row;
pub mod units;
pub mod write;

pub use departmental::Template;
pub use plan::{City, FileStyle, Node, Resource, Scale, Totals, Unit};
pub use registers::Registers;
pub use row::Row;
pub use units::Role;

#[cfg(test)]
mod tests;
