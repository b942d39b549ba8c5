//! The hash chain over a partition.
//!
//! `chain(n) = BLAKE3(base ‖ envelope bytes ‖ payload hash)`, where base is `chain(n-1)`, or at the
//! start of an incarnation its seed. The payload itself is not hashed in: it can be redacted, and
//! the chain still verifies.

use super::{Incarnation, IncarnationRecord, Offset, PartitionId};

/// A BLAKE3 hash.
pub type Hash = [u8; 32];

/// Where the very first incarnation's seed begins: nothing came before.
pub(super) const NOTHING: Hash = [0; 32];

/// Separates these hashes from all others the exchange makes.
const SEED_CONTEXT: &[u8] = b"hutong/1 log";

/// Hash of a payload as it stands in the envelope.
#[must_use]
pub fn payload_hash(payload: &[u8]) -> Hash {
    *blake3::hash(payload).as_bytes()
}

/// What the first entry of an incarnation builds on: the survivors' chain, bound to the incarnation,
/// so that no entry of a lost timeline can be mistaken for one of this.
pub(super) fn seed(incarnation: Incarnation, partition: PartitionId, previous: &Hash) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(SEED_CONTEXT);
    hasher.update(&incarnation.0.to_le_bytes());
    hasher.update(&partition.0.to_le_bytes());
    hasher.update(previous);
    *hasher.finalize().as_bytes()
}

/// The next link. Both hashes have a fixed length, so the concatenation is unambiguous.
pub(super) fn link(base: &Hash, envelope: &[u8], payload_hash: &Hash) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(base);
    hasher.update(envelope);
    hasher.update(payload_hash);
    *hasher.finalize().as_bytes()
}

/// What the entry at `next` builds on, given the chain of the entry before it: that chain, wrapped
/// by the seed of each incarnation that began at `next`.
pub(super) fn base_of(
    history: &[IncarnationRecord],
    partition: PartitionId,
    next: Offset,
    previous: Hash,
) -> Hash {
    history
        .iter()
        .filter(|record| record.start_of(partition) == Some(next))
        .fold(previous, |chain, record| seed(record.incarnation, partition, &chain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    /// Frozen: a change here makes every existing log unverifiable.
    #[test]
    fn seed_and_link_are_frozen() {
        let seed = seed(Incarnation(1), PartitionId::data(0), &NOTHING);
        let link = link(&seed, b"envelope", &payload_hash(b"payload"));
        assert_eq!(
            HEXLOWER.encode(&seed),
            "113adf193f3c34b0796b9863a6da5c116096d8589bbcab69f8ace0790a7652b2"
        );
        assert_eq!(
            HEXLOWER.encode(&link),
            "d524cdca8c0daf4f9fd881a2d685787acc36530f978192c185d19005792c60e3"
        );
    }

    #[test]
    fn every_part_changes_the_link() {
        let base = seed(Incarnation(1), PartitionId(0), &NOTHING);
        let reference = link(&base, b"e", &payload_hash(b"p"));
        for other in [
            link(&seed(Incarnation(2), PartitionId(0), &NOTHING), b"e", &payload_hash(b"p")),
            link(&seed(Incarnation(1), PartitionId(1), &NOTHING), b"e", &payload_hash(b"p")),
            link(&base, b"f", &payload_hash(b"p")),
            link(&base, b"e", &payload_hash(b"q")),
        ] {
            assert_ne!(other, reference);
        }
    }
}
