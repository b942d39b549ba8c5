//! Self-describing parts of messages.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A value that travels as JSON inside a message, because it must stay readable over years and grow
/// fields without a new protocol version: catalogue entries, grants, governance events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Json(#[serde(with = "serde_bytes")] Vec<u8>);

impl Json {
    /// Writes a value.
    ///
    /// # Errors
    /// When the value has no JSON form.
    pub fn of<T: Serialize>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_vec(value).map(Self)
    }

    /// Reads the value.
    ///
    /// # Errors
    /// When the JSON is not of this type; recursion is limited by the parser.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0)
    }

    /// Size in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
