//! Access records: one entry of the access partition per answered question.

use std::sync::Arc;

use hutong_schema::{
    grant::{GrantId, Target},
    ids::CreditCode,
};
use serde::{Deserialize, Serialize};

use super::pseudonym::{KeyFolder, KeyFolderError, Pseudonym};
use crate::{
    log::{EntryKind, Log, LogError, NewEntry, Offset, PartitionId, RocksLog},
    numbers::NodeNo,
};

/// What is kept of a question: never a value, and of keys only a pseudonym.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRecord {
    /// Who asked.
    pub actor: Actor,
    /// Where.
    pub target: Target,
    /// How.
    pub question: Question,
    /// The grant it was answered under; none for the operator.
    pub grant: Option<GrantId>,
    /// Pseudonyms of the keys asked for or found.
    pub keys: Vec<Pseudonym>,
    /// The reason given.
    pub reason: String,
}

/// Who asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Actor {
    /// A node of a department.
    Node {
        /// The department.
        department: CreditCode,
        /// The node.
        node: NodeNo,
    },
    /// The hub's operator, by the name of the account on the hub's machine.
    Operator(String),
}

/// How something was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// Values were shown.
    Lookup,
    /// Claims were judged.
    Verify,
}

/// Why a question is not answered: it could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum NotRecorded {
    /// The log does not take it.
    #[error("the access record cannot be stored")]
    Log(#[from] LogError),
    /// The pseudonym's key cannot be had.
    #[error(transparent)]
    Key(#[from] KeyFolderError),
    /// The record has no JSON form.
    #[error("the access record cannot be written")]
    Json(#[from] serde_json::Error),
}

/// Writes access records; a cheap handle.
#[derive(Clone)]
pub struct AccessLog {
    log: Arc<RocksLog>,
    keys: Arc<KeyFolder>,
}

impl AccessLog {
    /// Records go to this log, pseudonyms are made with keys of this folder.
    pub fn new(log: Arc<RocksLog>, keys: KeyFolder) -> Self {
        Self { log, keys: Arc::new(keys) }
    }

    /// The pseudonym of a key in the present period.
    ///
    /// # Errors
    /// When the period's key can neither be read nor made.
    pub fn pseudonym(&self, key: &[u8], now_ms: i64) -> Result<Pseudonym, KeyFolderError> {
        self.keys.pseudonym(key, now_ms)
    }

    /// Records; resolves when the record is durable.
    ///
    /// # Errors
    /// When the log does not take it: the question must not be answered then.
    pub async fn record(&self, record: &AccessRecord) -> Result<(), NotRecorded> {
        let payload = serde_json::to_vec(record)?;
        let entry = NewEntry::new(EntryKind::Access, Offset::NONE, payload);
        self.log.append(vec![(PartitionId::ACCESS, entry)]).await?;
        Ok(())
    }
}
