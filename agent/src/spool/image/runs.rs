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

/// Largest run of the lowest size class, entries.
const CLASS_ENTRIES: u64 = 8_192;
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

    /// Index of the first run to be merged with all later ones, if it is time: the newest runs that
    /// are no larger than some class, once there are enough of them.
    pub(super) fn due(&self, fan_in: FanIn) -> Option<usize> {
        let newest = |class| {
            let larger = self.runs.iter().rposition(|run| run.class() > class);
            larger.map_or(0, |index| index + 1)
        };
        let largest = self.runs.iter().map(Run::class).max().unwrap_or(0);
        (0..=largest).map(newest).filter(|start| self.runs.len() - start >= fan_in.runs()).min()
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
