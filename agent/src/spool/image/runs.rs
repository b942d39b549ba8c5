//! The list of an image's runs, and writing new ones.

use hutong_schema::digest::KeyHash;
use hutong_schema::wire::codec;
use redb::{ReadableTable, Table};
use serde::{Deserialize, Serialize};

use super::super::keys::{CHUNK_KEY, chunk_key};
use super::super::{ImageId, StoreError};
use super::chunk::ChunkWriter;
use super::delta::ImageDelta;

/// Runs of one image, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RunList {
    pub(super) runs: Vec<Run>,
    pub(super) next: u32,
    /// The output of a merge under way: not yet part of the image.
    pub(super) building: Option<u32>,
    /// What batches under way will add when they are accepted: not yet part of the image.
    pub(super) prepared: Vec<Run>,
}

/// One run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) number: u32,
    pub(super) entries: u64,
}

pub(super) type RunTable<'t> = Table<'t, u32, &'static [u8]>;
pub(super) type ChunkTable<'t> = Table<'t, &'static [u8; CHUNK_KEY], &'static [u8]>;

/// How many runs of about one size are merged into one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FanIn {
    /// The image is being changed: what is merged now will soon be merged again, so as seldom as
    /// reading still takes little memory.
    Crowded,
    /// The image rests.
    Rested,
}

impl FanIn {
    fn runs(self) -> usize {
        match self {
            Self::Crowded => 64,
            Self::Rested => 8,
        }
    }
}

/// From so many runs on, 32 KiB of each in memory when the image is read, merging no longer waits
/// until nobody wants a commit.
const PRESSING_RUNS: usize = 1_024;

/// How urgently an image's runs want merging.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Crowd {
    /// Not yet.
    Few,
    /// When there is time.
    Crowded,
    /// Whether there is time or not.
    Pressing,
}

/// Largest run of the lowest size class, entries: about one chunk.
const CLASS_ENTRIES: u64 = 512;
/// Each class is so many times the one before.
const CLASS_FACTOR: u64 = 8;

impl Run {
    fn class(&self) -> u32 {
        let mut limit = CLASS_ENTRIES;
        let mut class = 0;
        while self.entries > limit {
            limit = limit.saturating_mul(CLASS_FACTOR);
            class += 1;
        }
        class
    }
}

impl RunList {
    pub(super) fn read(
        table: &impl ReadableTable<u32, &'static [u8]>,
        image: ImageId,
    ) -> Result<Self, StoreError> {
        let found =
            table.get(image.0).map_err(|error| StoreError::engine("read an image", error))?;
        found.map_or_else(
            || Ok(Self::default()),
            |stored| {
                codec::decode(stored.value()).map_err(|_| StoreError::Record("a list of runs"))
            },
        )
    }

    /// Writes changes as the chunks of a new run; none if nothing is left to write.
    fn add(
        &mut self,
        chunks: &mut ChunkTable<'_>,
        image: ImageId,
        mut delta: ImageDelta,
        keeps_removals: bool,
    ) -> Result<Option<Run>, StoreError> {
        let number = self.next;
        let mut writer = ChunkWriter::default();
        for entry in delta.sorted() {
            if !keeps_removals && entry.leaf.is_none() {
                continue;
            }
            if let Some((first, chunk)) = writer.push(&entry) {
                put(chunks, image, number, &first, &chunk)?;
            }
        }
        if let Some((first, chunk)) = writer.finish() {
            put(chunks, image, number, &first, &chunk)?;
        }
        if writer.entries == 0 {
            return Ok(None);
        }
        self.next += 1;
        Ok(Some(Run { number, entries: writer.entries }))
    }

    pub(super) fn write(&self, table: &mut RunTable<'_>, image: ImageId) -> Result<(), StoreError> {
        let stored = codec::encode(self).map_err(|_| StoreError::Record("a list of runs"))?;
        let written = table.insert(image.0, &stored[..]);
        written.map(|_| ()).map_err(|error| StoreError::engine("wrote an image", error))
    }

    /// Index of the first run to be merged with all later ones, if it is time: once some size class
    /// has enough runs, all of the newest that are no larger. Each entry is thus written anew once per
    /// class, however large the image becomes.
    pub(super) fn due(&self, fan_in: FanIn) -> Option<usize> {
        let group = |class| {
            let larger = self.runs.iter().rposition(|run| run.class() > class);
            let start = larger.map_or(0, |index| index + 1);
            let of_class = self.runs[start..].iter().filter(|run| run.class() == class).count();
            (of_class >= fan_in.runs()).then_some(start)
        };
        let largest = self.runs.iter().map(Run::class).max().unwrap_or(0);
        let by_class = (0..=largest).filter_map(group).min();
        by_class.or_else(|| self.is_swollen(fan_in).then_some(0))
    }

    /// Whether so much was changed that most of the image may be superseded, or runs of different
    /// sizes alternate so that no class has many of them.
    fn is_swollen(&self, fan_in: FanIn) -> bool {
        let Some(first) = self.runs.first() else { return false };
        let later: u64 = self.runs[1..].iter().map(|run| run.entries).sum();
        let doubled = fan_in == FanIn::Rested && later > first.entries;
        (doubled && self.runs.len() >= fan_in.runs()) || self.runs.len() >= PRESSING_RUNS
    }

    fn crowd(&self) -> Crowd {
        match self.due(FanIn::Crowded) {
            None => Crowd::Few,
            Some(_) if self.runs.len() < PRESSING_RUNS => Crowd::Crowded,
            Some(_) => Crowd::Pressing,
        }
    }
}

/// Adds the changes as a run; an image that is still empty keeps no removals. How crowded it has
/// become.
pub(in super::super) fn write_delta(
    runs: &mut RunTable<'_>,
    chunks: &mut ChunkTable<'_>,
    image: ImageId,
    delta: ImageDelta,
) -> Result<Crowd, StoreError> {
    let mut list = RunList::read(runs, image)?;
    let keeps_removals = !list.runs.is_empty();
    if let Some(run) = list.add(chunks, image, delta, keeps_removals)? {
        list.runs.push(run);
        list.write(runs, image)?;
    }
    Ok(list.crowd())
}

/// Writes the changes as a run that is not yet part of the image. Its number, if there are any.
pub(in super::super) fn prepare(
    runs: &mut RunTable<'_>,
    chunks: &mut ChunkTable<'_>,
    image: ImageId,
    delta: ImageDelta,
) -> Result<Option<u32>, StoreError> {
    let mut list = RunList::read(runs, image)?;
    let Some(run) = list.add(chunks, image, delta, true)? else { return Ok(None) };
    list.prepared.push(run);
    list.write(runs, image)?;
    Ok(Some(run.number))
}

/// Makes prepared runs part of the image, in this order. How crowded it has become.
pub(in super::super) fn accept(
    runs: &mut RunTable<'_>,
    image: ImageId,
    numbers: &[u32],
) -> Result<Crowd, StoreError> {
    let mut list = RunList::read(runs, image)?;
    for number in numbers {
        let place = list.prepared.iter().position(|run| run.number == *number);
        let place = place.ok_or(StoreError::Record("a run that was prepared"))?;
        let run = list.prepared.remove(place);
        list.runs.push(run);
    }
    list.write(runs, image)?;
    Ok(list.crowd())
}

/// Removes a prepared run.
pub(in super::super) fn discard(
    runs: &mut RunTable<'_>,
    chunks: &mut ChunkTable<'_>,
    image: ImageId,
    number: u32,
) -> Result<(), StoreError> {
    let mut list = RunList::read(runs, image)?;
    list.prepared.retain(|run| run.number != number);
    list.write(runs, image)?;
    remove(chunks, image, number)
}

/// Removes all prepared runs.
pub(in super::super) fn discard_all(
    runs: &mut RunTable<'_>,
    chunks: &mut ChunkTable<'_>,
    image: ImageId,
) -> Result<(), StoreError> {
    let mut list = RunList::read(runs, image)?;
    for run in std::mem::take(&mut list.prepared) {
        remove(chunks, image, run.number)?;
    }
    list.write(runs, image)
}

/// Removes everything of an image but its count of run numbers.
pub(in super::super) fn clear(
    runs: &mut RunTable<'_>,
    chunks: &mut ChunkTable<'_>,
    image: ImageId,
) -> Result<(), StoreError> {
    let list = RunList::read(runs, image)?;
    let known = list.runs.iter().chain(&list.prepared).map(|run| run.number);
    for number in known.chain(list.building) {
        remove(chunks, image, number)?;
    }
    RunList { next: list.next, ..RunList::default() }.write(runs, image)
}

pub(super) fn put(
    chunks: &mut ChunkTable<'_>,
    image: ImageId,
    run: u32,
    first: &KeyHash,
    chunk: &[u8],
) -> Result<(), StoreError> {
    let written = chunks.insert(&chunk_key(image, run, first), chunk);
    written.map(|_| ()).map_err(|error| StoreError::engine("wrote an image", error))
}

/// Removes the chunks of a run.
pub(super) fn remove(
    chunks: &mut ChunkTable<'_>,
    image: ImageId,
    run: u32,
) -> Result<(), StoreError> {
    let (first, last) = (chunk_key(image, run, &[0; 16]), chunk_key(image, run, &[0xFF; 16]));
    let removed = chunks.retain_in::<&[u8; CHUNK_KEY], _>(&first..=&last, |_, _| false);
    removed.map_err(|error| StoreError::engine("removed a part of an image", error))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Adds runs of these sizes, merging with each as the committer would; entries written by
    /// merges, and the most runs there ever were. No two runs hold the same key.
    fn merge_all(sizes: impl IntoIterator<Item = u64>, fan_in: FanIn) -> (RunList, u64, usize) {
        let (mut list, mut written, mut most) = (RunList::default(), 0, 0);
        for entries in sizes {
            list.runs.push(Run { number: list.next, entries });
            list.next += 1;
            most = most.max(list.runs.len());
            while let Some(start) = list.due(fan_in) {
                let entries = list.runs.drain(start..).map(|run| run.entries).sum();
                written += entries;
                list.runs.push(Run { number: list.next, entries });
                list.next += 1;
            }
        }
        (list, written, most)
    }

    #[test]
    fn an_image_ten_times_as_large_costs_little_more_per_entry() {
        let cost = |runs: usize| {
            let (list, written, _) = merge_all(std::iter::repeat_n(4_000, runs), FanIn::Crowded);
            assert!(list.runs.len() < 64 * 4, "{} runs", list.runs.len());
            written as f64 / (4_000.0 * runs as f64)
        };
        let (small, large) = (cost(559), cost(5_589));
        assert!(large <= 2.0, "every entry was written {large} times, {small} among fewer");
    }

    #[test]
    fn a_few_changed_rows_do_not_rewrite_a_large_image_that_rests() {
        let sizes = std::iter::once(2_235_402).chain(std::iter::repeat_n(3, 500));
        let (_, written, most) = merge_all(sizes, FanIn::Rested);
        assert!(written < 100_000, "500 changes wrote {written} entries anew");
        assert!(most < 32, "{most} runs");
    }

    #[test]
    fn a_large_image_that_was_changed_as_a_whole_is_written_anew() {
        let sizes = std::iter::once(2_000_000).chain(std::iter::repeat_n(4_000, 520));
        let (list, _, _) = merge_all(sizes, FanIn::Rested);
        let later: u64 = list.runs[1..].iter().map(|run| run.entries).sum();
        assert!(later <= list.runs[0].entries, "{later} entries behind the first run");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn there_are_never_many_runs(
            sizes in prop::collection::vec((0u32..24).prop_map(|power| 1u64 << power), 0..2_000),
            rested in any::<bool>(),
        ) {
            let fan_in = if rested { FanIn::Rested } else { FanIn::Crowded };
            let (_, _, most) = merge_all(sizes, fan_in);
            prop_assert!(most <= PRESSING_RUNS, "{most} runs");
        }
    }
}
