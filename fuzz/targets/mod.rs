//! What is fuzzed: each function takes bytes as they may come from outside, and panics when a promise is broken. Not
//! panicking on any input is the first promise of all of them.
//!
//! The fuzz targets and the stable test that replays the corpus (`tests/tests/corpus.rs`) share these files.
//!
//! The hub's own readers are not here: the crate links RocksDB, which would have to be compiled again under the
//! sanitizer. What they read is the hub's own (log, views, marks) and guarded by hashes; it is cut and flipped by
//! `tests/tests/damage.rs` and by the property tests beside each reader. What comes to a hub from peers is read by
//! `hutong-schema` and `hutong-certs`, and is here. What its operator sends and configures is tried out by
//! `tests/tests/requests.rs` on a running hub, and by the property tests of its configuration.

#![allow(dead_code, reason = "each fuzz target uses one of the functions")]
#![allow(clippy::unwrap_used, reason = "a panic is how a broken promise is reported")]

pub(crate) mod agent;
pub(crate) mod certs;
pub(crate) mod schema;
pub(crate) mod session;

use hutong_schema::wire::codec;
use serde::{Deserialize, Serialize};

/// What decodes encodes again, and that decodes once more.
fn twice<T: for<'a> Deserialize<'a> + Serialize>(body: &[u8]) {
    if let Ok(message) = codec::decode::<T>(body) {
        let again = codec::encode(&message).unwrap();
        let back: T = codec::decode(&again).unwrap();
        assert_eq!(codec::encode(&back).unwrap(), again);
    }
}
