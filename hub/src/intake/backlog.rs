//! How far the views are behind what was admitted, in bytes.

use std::collections::VecDeque;

use crate::log::Offset;

/// Admitted and not yet applied entries of one data partition.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    marks: VecDeque<Mark>,
    admitted: u64,
    applied: u64,
}

/// A run of admitted entries.
#[derive(Debug)]
struct Mark {
    /// The last of them.
    through: Offset,
    /// Bytes admitted before the first and up to the last.
    from: u64,
    to: u64,
}

/// Bytes that one mark stands for: a mark per entry would itself be a backlog.
const MARK_BYTES: u64 = 1024 * 1024;

impl Backlog {
    /// Notes an entry that was admitted.
    pub(super) fn admit(&mut self, offset: Offset, bytes: usize) {
        let from = self.admitted;
        self.admitted += bytes as u64;
        match self.marks.back_mut() {
            Some(mark) if self.admitted - mark.from <= MARK_BYTES => {
                (mark.through, mark.to) = (offset, self.admitted);
            }
            Some(_) | None => {
                self.marks.push_back(Mark { through: offset, from, to: self.admitted });
            }
        }
    }

    /// Bytes not applied yet, to within one mark.
    pub(super) fn bytes(&mut self, applied: Offset) -> u64 {
        while let Some(mark) = self.marks.front().filter(|mark| mark.through <= applied) {
            self.applied = mark.to;
            self.marks.pop_front();
        }
        self.admitted - self.applied
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_applied_is_no_longer_behind() {
        let mut backlog = Backlog::default();
        assert_eq!(backlog.bytes(Offset::NONE), 0);
        for offset in 1..=10 {
            backlog.admit(Offset(offset), 2 * 1024 * 1024);
        }
        assert_eq!(backlog.bytes(Offset::NONE), 20 << 20);
        assert_eq!(backlog.bytes(Offset(4)), 12 << 20);
        assert_eq!(backlog.bytes(Offset(10)), 0);
        backlog.admit(Offset(11), 5);
        assert_eq!(backlog.bytes(Offset(10)), 5);
        assert_eq!(backlog.bytes(Offset(99)), 0);
    }

    #[test]
    fn many_small_entries_need_few_marks() {
        let mut backlog = Backlog::default();
        for offset in 1..=100_000 {
            backlog.admit(Offset(offset), 100);
        }
        assert!(backlog.marks.len() < 50, "{}", backlog.marks.len());
        assert_eq!(backlog.bytes(Offset(100_000)), 0);
    }
}
