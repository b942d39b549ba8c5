//! Serial numbers of certificates, and the set of those that are revoked.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::live::Live;

/// Longest serial number, bytes (RFC 5280 §4.1.2.2).
const SERIAL_MAX: usize = 20;

/// A certificate's serial number: an unsigned integer without leading zero bytes. Printed as hex.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Box<[u8]>);

/// A text or byte string is not a serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a certificate serial number (1 to 40 hex digits)")]
pub struct NotASerial;

impl Serial {
    /// From the big-endian bytes of a certificate.
    ///
    /// # Errors
    /// When they are more than 20, or mean zero.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotASerial> {
        let from = bytes.iter().position(|byte| *byte != 0).ok_or(NotASerial)?;
        let significant = &bytes[from..];
        if significant.len() > SERIAL_MAX { Err(NotASerial) } else { Ok(Self(significant.into())) }
    }

    /// Big-endian bytes without leading zeros.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        data_encoding::HEXLOWER.encode_display(&self.0).fmt(f)
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

impl FromStr for Serial {
    type Err = NotASerial;

    fn from_str(text: &str) -> Result<Self, NotASerial> {
        let bytes =
            data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| NotASerial)?;
        Self::from_bytes(&bytes)
    }
}

/// The revoked serials of an exchange, each with the reason, consulted by the hub at every
/// handshake. Clones are handles to the same set. A revoked certificate is refused from the next
/// handshake on; connections that are open already are closed by whoever revokes.
///
/// Serials are 128 random bits over all authorities of the exchange, so the set needs no issuers.
#[derive(Clone, Debug)]
pub struct RevocationList(Live<Revoked>);

/// Serial numbers, and why they are revoked.
pub type Revoked = HashMap<Serial, Arc<str>>;

impl RevocationList {
    /// A list with these serials; `RevocationList::default()` is empty.
    pub fn new(revoked: impl IntoIterator<Item = (Serial, Arc<str>)>) -> Self {
        Self(Live::new(revoked.into_iter().collect()))
    }

    /// Why a certificate is revoked, if it is.
    #[must_use]
    pub fn reason(&self, serial: &Serial) -> Option<Arc<str>> {
        self.0.current().get(serial).map(Arc::clone)
    }

    /// Replaces the whole set.
    pub fn replace(&self, revoked: impl IntoIterator<Item = (Serial, Arc<str>)>) {
        self.0.replace(revoked.into_iter().collect());
    }
}

impl Default for RevocationList {
    fn default() -> Self {
        Self::new([])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_is_the_number_not_its_encoding() {
        let serial = Serial::from_bytes(&[0, 0xab, 1]).unwrap();
        assert_eq!(serial, Serial::from_bytes(&[0xab, 1]).unwrap());
        assert_eq!(serial.to_string(), "ab01");
        assert_eq!("AB01".parse(), Ok(serial));
        for bad in ["", "0", "00", "xy", &"11".repeat(21)] {
            assert!(bad.parse::<Serial>().is_err(), "{bad}");
        }
    }

    #[test]
    fn handles_share_the_set() {
        let list = RevocationList::default();
        let other = list.clone();
        let serial: Serial = "ab01".parse().unwrap();
        assert_eq!(list.reason(&serial), None);
        other.replace([(serial.clone(), "the key was copied".into())]);
        assert_eq!(list.reason(&serial).as_deref(), Some("the key was copied"));
        list.replace([]);
        assert_eq!(other.reason(&serial), None);
    }
}
