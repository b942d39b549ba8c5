//! Protocol versions. The enum is the protocol's changelog; the greeting is frozen.

use serde::{Deserialize, Serialize};

/// ALPN of the exchange protocol.
pub const ALPN: &[u8] = b"hutong/1";

/// ALPN of enrolment.
pub const ALPN_ENROL: &[u8] = b"hutong-enrol/1";

/// A version of the messages behind the greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Version {
    /// The first.
    V1,
    /// Nodes tell how they and their machines are (`Health`).
    V2,
}

impl Version {
    /// The oldest version this software speaks.
    pub const MIN: Version = Version::V1;
    /// The newest version this software speaks.
    pub const MAX: Version = Version::V2;

    /// The number in the greeting.
    pub fn number(self) -> u16 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    /// The version of a number.
    pub fn from_number(number: u16) -> Option<Self> {
        [Self::V1, Self::V2].into_iter().find(|version| version.number() == number)
    }
}

/// The two sides have no version in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the peer speaks protocol versions {min} to {max}, this side {ours_min} to {ours_max}: update the older one"
)]
pub struct NoCommonVersion {
    /// Peer's oldest.
    pub min: u16,
    /// Peer's newest.
    pub max: u16,
    /// Our oldest.
    pub ours_min: u16,
    /// Our newest.
    pub ours_max: u16,
}

/// The newest version that both sides speak.
///
/// # Errors
/// When there is none.
pub fn negotiate(min: u16, max: u16) -> Result<Version, NoCommonVersion> {
    (Version::MIN.number()..=Version::MAX.number())
        .rev()
        .filter(|number| (min..=max).contains(number))
        .find_map(Version::from_number)
        .ok_or(NoCommonVersion {
            min,
            max,
            ours_min: Version::MIN.number(),
            ours_max: Version::MAX.number(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_version_is_chosen() {
        assert_eq!(negotiate(1, 9), Ok(Version::V2));
        assert_eq!(negotiate(1, 1), Ok(Version::V1), "an agent of the version before is served");
        assert_eq!(negotiate(2, 9), Ok(Version::V2));
        assert!(negotiate(3, 9).is_err());
        assert!(negotiate(9, 1).is_err());
        assert!(negotiate(0, 0).is_err());
    }
}
