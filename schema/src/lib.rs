//! The shared vocabulary of the exchange: identifiers, catalogue, rows, changes, digests, grants
//! and the wire protocol. No I/O, no runtime, no clock, no randomness.

pub mod batch;
pub mod block;
pub mod calendar;
pub mod catalogue;
pub mod digest;
pub mod explain;
pub mod geometry;
pub mod grant;
pub mod ids;
pub mod library;
pub mod limits;
pub mod row;
pub mod rules;
pub mod wire;
pub mod words;
