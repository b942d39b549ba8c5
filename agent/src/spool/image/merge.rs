//! Merging runs, a few megabytes at a time and mostly while nobody waits for a commit: an image's
//! runs are read far more seldom than acknowledgements come.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use hutong_schema::digest::KeyHash;
use redb::{Database, ReadableDatabase};

use super::super::{ImageId, StoreError};
use super::chunk::ChunkWriter;
use super::runs::{ChunkTable, Crowd, FanIn, Run, RunList, RunTable, put, remove};
use super::scan::Scan;

/// Bytes of merged chunks written with one commit.
const STEP_BYTES: usize = 2 * 1024 * 1024;

/// So long nobody has asked for a commit before merging has the thread to itself.
const QUIET: Duration = Duration::from_millis(20);

/// While others ask for commits, merging takes one part of so many of the time.
const SHARE: u32 = 20;

/// Tells the time.
type Clock = Box<dyn Fn() -> Instant + Send>;

/// Merges that wait and the one under way. Owned by the commit thread.
pub(in super::super) struct Merges {
    clock: Clock,
    /// How long an image rests before its runs become as few as can be.
    rest: Duration,
    /// Images with new runs, and since when they rest.
    resting: HashMap<ImageId, Instant>,
    /// Images whose turn it is, and how far their runs are merged.
    waiting: VecDeque<(ImageId, FanIn)>,
    current: Option<Merge>,
    /// An image has more runs than reading it can bear: merged with every commit.
    pressing: bool,
    /// When somebody last had to wait for a commit.
    asked: Instant,
    /// When merging may next slow a commit down.
    next_share: Instant,
}

struct Merge {
    image: ImageId,
    fan_in: FanIn,
    inputs: Vec<u32>,
    output: u32,
    /// Nothing older is left below: removals need not be kept.
    keeps_removals: bool,
    scan: Scan,
    writer: ChunkWriter,
}

impl Merges {
    pub(in super::super) fn new(rest: Duration, clock: Clock) -> Self {
        let now = clock();
        Self {
            clock,
            rest,
            resting: HashMap::new(),
            waiting: VecDeque::new(),
            current: None,
            pressing: false,
            asked: now,
            next_share: now,
        }
    }

    /// When the next step is to be done, if there is one: a time that has come means now.
    pub(in super::super) fn due(&self) -> Option<Instant> {
        if self.current.is_some() || !self.waiting.is_empty() {
            return Some(self.asked + QUIET);
        }
        self.resting.values().min().map(|since| *since + self.rest)
    }

    /// A commit that others waited for is done.
    pub(in super::super) fn asked(&mut self) {
        self.asked = (self.clock)();
    }

    /// Whether a step may be part of a commit that others wait for.
    pub(in super::super) fn may_join(&self) -> bool {
        self.pressing || (self.clock)() >= self.next_share
    }

    /// An image got a new run.
    pub(in super::super) fn changed(&mut self, image: ImageId, crowd: Crowd) {
        self.resting.insert(image, (self.clock)());
        if crowd >= Crowd::Crowded {
            self.wait(image, FanIn::Crowded);
        }
        self.pressing |= crowd == Crowd::Pressing;
    }

    fn wait(&mut self, image: ImageId, fan_in: FanIn) {
        if !self.waiting.contains(&(image, fan_in)) {
            self.waiting.push_back((image, fan_in));
        }
    }

    /// Images that have rested get their turn.
    fn wake(&mut self) {
        let (now, rest) = ((self.clock)(), self.rest);
        let rested = self.resting.extract_if(|_, since| now.duration_since(*since) >= rest);
        let rested: Vec<_> = rested.map(|(image, _)| image).collect();
        rested.into_iter().for_each(|image| self.wait(image, FanIn::Rested));
    }

    /// An image was emptied: its runs are gone.
    pub(in super::super) fn cleared(&mut self, image: ImageId) {
        self.resting.remove(&image);
        self.waiting.retain(|(waiting, _)| *waiting != image);
        self.current = self.current.take().filter(|merge| merge.image != image);
    }

    /// Does a step within the transaction of the tables. Reads what was committed before it: runs
    /// are never changed, so they are the same in both.
    pub(in super::super) fn step(
        &mut self,
        database: &Database,
        runs: &mut RunTable<'_>,
        chunks: &mut ChunkTable<'_>,
    ) -> Result<(), StoreError> {
        let began = Instant::now();
        let stepped = self.advance(database, runs, chunks);
        self.next_share = (self.clock)() + began.elapsed() * SHARE;
        stepped
    }

    fn advance(
        &mut self,
        database: &Database,
        runs: &mut RunTable<'_>,
        chunks: &mut ChunkTable<'_>,
    ) -> Result<(), StoreError> {
        let mut merge = match self.current.take() {
            Some(merge) => merge,
            None => match self.begin(database, runs)? {
                Some(merge) => merge,
                None => {
                    self.pressing = false;
                    return Ok(());
                }
            },
        };
        let mut written = 0;
        while written < STEP_BYTES {
            let full = match merge.scan.next()? {
                Some(entry) if entry.leaf.is_none() && !merge.keeps_removals => continue,
                Some(entry) => merge.writer.push(&entry),
                None => return self.end(merge, runs, chunks),
            };
            if let Some((first, chunk)) = full {
                written += chunk.len();
                put(chunks, merge.image, merge.output, &first, &chunk)?;
            }
        }
        self.current = Some(merge);
        Ok(())
    }

    fn begin(
        &mut self,
        database: &Database,
        runs: &mut RunTable<'_>,
    ) -> Result<Option<Merge>, StoreError> {
        self.wake();
        while let Some((image, fan_in)) = self.waiting.pop_front() {
            let mut list = RunList::read(runs, image)?;
            let Some(start) = list.due(fan_in) else { continue };
            let transaction = database
                .begin_read()
                .map_err(|error| StoreError::engine("began a merge", redb::Error::from(error)))?;
            // Only runs that are committed: one of this very transaction waits for the next merge.
            let committed = {
                let table = transaction
                    .open_table(super::super::keys::RUNS)
                    .map_err(|error| StoreError::engine("began a merge", error))?;
                RunList::read(&table, image)?
            };
            let inputs: Vec<u32> = list.runs[start..]
                .iter()
                .filter(|run| committed.runs.contains(run))
                .map(|run| run.number)
                .collect();
            if inputs.len() < 2 {
                continue;
            }
            let scan = Scan::of_runs(&transaction, image, inputs.iter().copied(), &FIRST)?;
            let output = list.next;
            list.next += 1;
            list.building = Some(output);
            list.write(runs, image)?;
            let keeps_removals = start > 0;
            let writer = ChunkWriter::default();
            return Ok(Some(Merge { image, fan_in, inputs, output, keeps_removals, scan, writer }));
        }
        Ok(None)
    }

    /// Puts the output into the place of the inputs.
    fn end(
        &mut self,
        mut merge: Merge,
        runs: &mut RunTable<'_>,
        chunks: &mut ChunkTable<'_>,
    ) -> Result<(), StoreError> {
        if let Some((first, chunk)) = merge.writer.finish() {
            put(chunks, merge.image, merge.output, &first, &chunk)?;
        }
        let mut list = RunList::read(runs, merge.image)?;
        let place = list.runs.iter().position(|run| merge.inputs.contains(&run.number));
        list.runs.retain(|run| !merge.inputs.contains(&run.number));
        if merge.writer.entries > 0 {
            let run = Run { number: merge.output, entries: merge.writer.entries };
            list.runs.insert(place.unwrap_or(0), run);
        }
        list.building = None;
        list.write(runs, merge.image)?;
        for number in &merge.inputs {
            remove(chunks, merge.image, *number)?;
        }
        // The merged run may complete a group of its own size.
        self.wait(merge.image, merge.fan_in);
        Ok(())
    }
}

const FIRST: KeyHash = [0; 16];

/// Removes what a merge had written when the process ended.
pub(in super::super) fn drop_unfinished(
    runs: &mut RunTable<'_>,
    chunks: &mut ChunkTable<'_>,
    images: impl Iterator<Item = ImageId>,
) -> Result<(), StoreError> {
    for image in images {
        let mut list = RunList::read(runs, image)?;
        if let Some(unfinished) = list.building.take() {
            remove(chunks, image, unfinished)?;
            list.write(runs, image)?;
        }
    }
    Ok(())
}
