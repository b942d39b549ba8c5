//! Incarnations: the log's lives. A new one begins when entries that were durable are missing, so
//! that every cursor of the old one is recognised and reconciled instead of silently continued.

use serde::{Deserialize, Serialize};

use super::{Offset, PartitionId};

/// Number of the log's life. It grows with each new one and is never below the wall clock's
/// milliseconds at its start, so that two logs that were created or restored apart do not share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// The incarnation to begin at `now_ms` (Unix time) after `previous`.
    pub(super) fn after(previous: Option<Self>, now_ms: i64) -> Self {
        let floor = previous.map_or(1, |previous| previous.0 + 1);
        Self(floor.max(u64::try_from(now_ms).unwrap_or(0)))
    }
}

impl std::fmt::Display for Incarnation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Why an incarnation began. Grows at the end only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The log was created.
    Created,
    /// Entries that the high-water marks or the damaged log itself name are not there any more.
    EntriesMissing,
    /// The marks and the log tell different histories: one of them was restored from a copy.
    Diverged,
}

/// Entries that were durable once and are lost, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingRange {
    /// The partition.
    pub partition: PartitionId,
    /// First lost offset.
    pub from: Offset,
    /// Last offset known to be lost; later ones may have been lost unseen.
    pub to: Offset,
}

impl std::fmt::Display for MissingRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}..{}", self.partition, self.from, self.to)
    }
}

/// The birth certificate of an incarnation, kept in the log for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncarnationRecord {
    /// Its number.
    pub incarnation: Incarnation,
    /// When it began, Unix milliseconds.
    pub started_ms: i64,
    /// Why.
    pub cause: Cause,
    /// The first offset it assigns, per partition. Whatever a view applied from there on under an
    /// earlier incarnation is not in the log any more.
    pub starts: Vec<Offset>,
    /// What was lost before it.
    pub missing: Vec<MissingRange>,
}

impl IncarnationRecord {
    /// The first offset this incarnation assigns in a partition.
    #[must_use]
    pub fn start_of(&self, partition: PartitionId) -> Option<Offset> {
        self.starts.get(partition.index()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incarnations_grow_even_when_the_clock_goes_back() {
        let first = Incarnation::after(None, 5_000);
        assert_eq!(first, Incarnation(5_000));
        assert_eq!(Incarnation::after(Some(first), 4_000), Incarnation(5_001));
        assert_eq!(Incarnation::after(Some(first), 9_000), Incarnation(9_000));
        assert_eq!(Incarnation::after(None, -1), Incarnation(1));
    }
}
