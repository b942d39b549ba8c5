//! What tells this process from any other that has a copy of its state.

use std::{fs, sync::LazyLock};

/// Random for each process.
static RUN: LazyLock<[u8; 8]> = LazyLock::new(rand::random);

/// The machine: its identifier, which copies of a disk share, and the kernel's number of this boot,
/// which no two machines that run share. Either may be missing on other systems.
static MACHINE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let files = ["/etc/machine-id", "/proc/sys/kernel/random/boot_id"];
    files.into_iter().flat_map(|path| fs::read(path).unwrap_or_default()).collect()
});

/// What the greeting says: 8 bytes that are the same as long as this state folder is used on this
/// machine since its start, and 8 bytes of this process. Neither tells the machine's identifier.
pub(super) fn instance(installation: [u8; 16]) -> [u8; 16] {
    let place = blake3::keyed_hash(blake3::hash(&installation).as_bytes(), &MACHINE);
    let mut instance = [0; 16];
    instance[..8].copy_from_slice(&place.as_bytes()[..8]);
    instance[8..].copy_from_slice(&*RUN);
    instance
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_state_folder_is_another_place_in_the_same_process() {
        let (one, other) = (instance([1; 16]), instance([2; 16]));
        assert_eq!(one, instance([1; 16]));
        assert_ne!(one[..8], other[..8]);
        assert_eq!(one[8..], other[8..]);
    }
}
