//! Images: which keys, with which leaf, a peer is known to hold.
//!
//! An image is written in bulk, in the random order of arrival, and read only in the order of its
//! key hashes: for the digest, and to be compared with a source as a whole. It is therefore kept as
//! *runs*, each sorted by key hash and cut into chunks of about 32 KiB. Every change adds a run; runs of
//! about one size are merged into one, when there are very many of them or when the image has rested.
//! Later runs win. Nothing is looked up by key, and nothing is changed in place.

mod chunk;
mod delta;
mod merge;
mod runs;
mod scan;

pub use delta::ImageDelta;
pub use scan::ImageEntry;

pub(super) use merge::{Merges, drop_unfinished};
pub(super) use runs::{Crowd, accept, clear, discard, discard_all, prepare, write_delta};
pub(super) use scan::{for_each, size_at_most};

#[cfg(test)]
mod tests;
