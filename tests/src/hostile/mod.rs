//! A department that means harm, or is broken, and others that must not notice: what a peer with a
//! certificate, or without one, can do to a hub over the network, done to a real hub.
//!
//! The hostile side speaks with the QUIC library and the wire's own types, but sends what no agent
//! would. Beside it an honest node publishes all the time; how long its acknowledgements take is what
//! the hub is judged by, with its memory, its tasks, its descriptors, and the codes that it refuses
//! with.

mod honest;
mod initials;
mod siege;
mod wire;

pub mod attacks;

pub use siege::{HOSTILE_NODES, Siege, siege};
pub use wire::{Control, Door, Rogue, Said, Windows};
