//! Questions: one bidirectional stream each.

use serde::{Deserialize, Serialize};

use crate::{
    grant::{GrantId, Target},
    row::FieldId,
    wire::v1::control::Key,
};

/// Asks for one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lookup {
    /// Where to look.
    pub target: Target,
    /// By what.
    pub by: LookupBy,
    /// Case or file that the question belongs to; recorded.
    pub reason: String,
    /// At most this many rows, 1 to 100.
    pub limit: u16,
}

/// How rows are found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LookupBy {
    /// The whole key.
    Key(Key),
    /// An exact value of an indexed field.
    Index {
        /// The indexed field.
        field: FieldId,
        /// Canonical value.
        #[serde(with = "serde_bytes")]
        value: Vec<u8>,
    },
    /// Features that meet a box of longitudes and latitudes (CGCS2000 degrees).
    Box {
        /// West, south, east, north.
        bounds: [f64; 4],
    },
    /// Features nearest to a point, nearest first.
    Nearest {
        /// Longitude and latitude.
        point: [f64; 2],
    },
}

/// Rows found, only with granted fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupAnswer {
    /// The grant under which it was answered.
    pub grant: GrantId,
    /// Rows: key and granted present fields in ascending id.
    pub rows: Vec<FoundRow>,
    /// Whether more rows match.
    pub more: bool,
}

/// A row in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundRow {
    /// Its key.
    pub key: Key,
    /// Present granted fields in the stored form of [`RowRef`](crate::row::RowRef).
    #[serde(with = "serde_bytes")]
    pub row: Vec<u8>,
}

/// Asks whether claims about a key are true. Answers never carry a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {
    /// Where to look.
    pub target: Target,
    /// The key.
    pub key: Key,
    /// Claims, at most 32.
    pub claims: Vec<Claim>,
    /// Case or file that the question belongs to; recorded.
    pub reason: String,
}

/// A claimed field value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The field.
    pub field: FieldId,
    /// Canonical value.
    #[serde(with = "serde_bytes")]
    pub value: Vec<u8>,
}

/// Answer to [`Verify`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyAnswer {
    /// The grant under which it was answered.
    pub grant: GrantId,
    /// One verdict per claim, in order.
    pub verdicts: Vec<Verdict>,
}

/// Whether a claim is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The stored value equals the claim.
    Match,
    /// It does not.
    Mismatch,
    /// There is no such key, or the field is absent.
    Absent,
}

super::messages! {
    Lookup => LOOKUP,
    LookupAnswer => LOOKUP_ANSWER,
    Verify => VERIFY,
    VerifyAnswer => VERIFY_ANSWER,
}
