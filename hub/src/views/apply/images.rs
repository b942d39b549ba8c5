//! What a batch's entries in the feeds must say beside the batch itself.

use super::lookup::Place;

/// Notes for one feed about one batch, gathered in the order of keys.
#[derive(Default)]
pub(super) struct Notes {
    /// Changes without effect in this feed.
    skipped: Vec<u32>,
    before: Vec<(u32, Place)>,
    after: Vec<(u32, Option<Place>)>,
    /// Changes with an effect.
    pub(super) visible: u64,
}

impl Notes {
    /// A change has no effect.
    pub(super) fn skip(&mut self, row: u32) {
        self.skipped.push(row);
    }

    /// A change has an effect; the row was like this before.
    pub(super) fn change(&mut self, row: u32, before: Option<Place>) {
        self.visible += 1;
        self.before.extend(before.map(|place| (row, place)));
    }

    /// The row after a change, where it does not follow from the batch alone.
    pub(super) fn after(&mut self, row: u32, after: Option<Place>) {
        self.after.push((row, after));
    }

    /// Puts everything into the order of the batch.
    pub(super) fn sort(&mut self) {
        self.skipped.sort_unstable();
        self.skipped.dedup();
        self.before.sort_unstable_by_key(|(row, _)| *row);
        self.after.sort_unstable_by_key(|(row, _)| *row);
    }

    /// Ascending after [`Notes::sort`].
    pub(super) fn skipped(&self) -> &[u32] {
        &self.skipped
    }

    pub(super) fn befores<'a>(
        &'a self,
        arena: &'a [u8],
    ) -> impl Iterator<Item = (u32, Option<&'a [u8]>)> {
        self.before.iter().map(|(row, place)| (*row, Some(place.of(arena))))
    }

    pub(super) fn afters<'a>(
        &'a self,
        arena: &'a [u8],
    ) -> impl Iterator<Item = (u32, Option<&'a [u8]>)> {
        self.after.iter().map(|(row, place)| (*row, place.map(|place| place.of(arena))))
    }
}

/// Notes about one batch.
#[derive(Default)]
pub(super) struct BatchNotes {
    /// For the resource's own feed.
    pub(super) own: Notes,
    /// For its library's feed.
    pub(super) library: Notes,
}
