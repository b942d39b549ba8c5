//! Numbers in seven-bit groups, least significant first.

/// Appends a number.
pub(super) fn push(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A number and what follows it.
pub(super) fn read(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (used, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7F).checked_shl(7 * used as u32)?;
        if byte & 0x80 == 0 {
            return Some((value, &bytes[used + 1..]));
        }
    }
    None
}

/// A number that is a length, and that many bytes behind it, and what follows them.
pub(super) fn read_slice(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = read(bytes)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

/// Appends bytes behind their length.
pub(super) fn push_slice(out: &mut Vec<u8>, bytes: &[u8]) {
    push(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_round_trip(value: u64, rest in prop::collection::vec(any::<u8>(), 0..4)) {
            let mut bytes = Vec::new();
            push(&mut bytes, value);
            bytes.extend_from_slice(&rest);
            prop_assert_eq!(read(&bytes), Some((value, &rest[..])));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            let _ = (read(&bytes), read_slice(&bytes));
        }
    }
}
