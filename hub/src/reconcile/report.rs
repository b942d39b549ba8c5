//! What a reconciliation found.

use hutong_schema::{digest::Digest, wire::v1::control::Key};
use serde::{Deserialize, Serialize};

use super::compare::Difference;

/// The result over everything that was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Publications: source against hub.
    pub publications: Vec<Comparison>,
    /// Subscriptions: hub's granted view against subscriber.
    pub subscriptions: Vec<Comparison>,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// Resource code, or grant and target.
    pub subject: String,
    /// Name of the resource or library.
    pub name: String,
    /// The other party: department and node.
    pub party: String,
    /// The checkpoint: epoch and batch of a publication, feed entry of a subscription.
    pub at: String,
    /// What the hub holds.
    pub hub: Option<Side>,
    /// What the other party holds.
    pub other: Option<Side>,
    /// The verdict.
    pub verdict: Verdict,
    /// Differing keys, at most [`KEYS_MAX`].
    pub differences: Vec<KeyDifference>,
    /// How many keys were sent again.
    pub repaired: usize,
}

/// Most keys named in one comparison.
pub const KEYS_MAX: usize = 1_000;

/// Rows and fingerprint at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// Number of rows.
    pub rows: u64,
    /// Root of the digest, hexadecimal.
    pub root: String,
}

impl From<Digest> for Side {
    fn from(digest: Digest) -> Self {
        Self { rows: digest.count, root: data_encoding::HEXLOWER.encode(&digest.root) }
    }
}

/// What a comparison says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Both hold the same rows.
    Equal,
    /// They do not.
    Different,
    /// It could not be compared, and why.
    Unknown(String),
}

/// One differing key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyDifference {
    /// The key, parts of a composite key joined by `|`.
    pub key: String,
    /// How it differs.
    pub difference: Difference,
    #[serde(skip)]
    raw: Vec<u8>,
}

impl KeyDifference {
    pub(super) fn new(key: &[u8], difference: Difference) -> Self {
        let text = String::from_utf8_lossy(key).replace('\u{1f}', "|");
        Self { key: text, difference, raw: key.to_vec() }
    }

    pub(super) fn to_key(&self) -> Key {
        Key(self.raw.clone())
    }
}

impl Report {
    /// Whether every comparison was made and found equal.
    pub fn all_equal(&self) -> bool {
        let mut all = self.publications.iter().chain(&self.subscriptions);
        all.all(|comparison| comparison.verdict == Verdict::Equal)
    }
}
