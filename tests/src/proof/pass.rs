//! One pass over all places: what is to be read, by all processors, the largest first.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Result, bail};
use hutong_schema::digest::{BucketSummary, Digest, DigestBuilder, KeyHash, Leaf};
use hutong_schema::grant::Target;

use super::Line;
use super::hub::HubFiles;
use super::inventory::Inventory;
use super::schema::{SubjectNo, Subjects, Take};
use super::{source, subscriber};

/// Leaves gathered before they are handed over.
const GATHERED: usize = 2_048;

/// Where rows are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// In source files.
    Source,
    /// In the hub's views.
    Hub,
    /// In subscribers' files.
    Subscriber,
}

impl Place {
    pub(super) const ALL: [Place; 3] = [Place::Source, Place::Hub, Place::Subscriber];
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Hub => "hub",
            Self::Subscriber => "subscriber",
        })
    }
}

/// Something to be read as a whole.
#[derive(Clone, Debug)]
enum Task {
    Source { resource: usize },
    HubResource { resource: usize },
    HubTarget { target: Target, grants: Vec<usize> },
    Subscriber { grant: usize },
}

impl Task {
    fn place(&self) -> Place {
        match self {
            Self::Source { .. } => Place::Source,
            Self::HubResource { .. } | Self::HubTarget { .. } => Place::Hub,
            Self::Subscriber { .. } => Place::Subscriber,
        }
    }

    fn subjects(&self, subjects: &Subjects) -> Vec<SubjectNo> {
        let of_grants = |grants: &[usize]| -> Vec<SubjectNo> {
            grants.iter().map(|grant| subjects.grant_subject(*grant)).collect()
        };
        match self {
            Self::Source { resource } => {
                let schema = &subjects.resources[*resource];
                [vec![schema.class], of_grants(&schema.grants)].concat()
            }
            Self::HubResource { resource } => vec![subjects.resources[*resource].class],
            Self::HubTarget { grants, .. } => of_grants(grants),
            Self::Subscriber { grant } => of_grants(&[*grant]),
        }
    }
}

/// What a pass read, to be asked again by the second pass.
pub(super) struct Walk<'a> {
    pub(super) inventory: &'a Inventory,
    pub(super) subjects: &'a Subjects,
    pub(super) hub: HubFiles,
    tasks: Vec<Task>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(inventory: &'a Inventory, subjects: &'a Subjects) -> Result<Self> {
        let hub = HubFiles::open(inventory)?;
        let rows = |resource: usize| inventory.resources[resource].rows;
        let mut tasks = Vec::new();
        for resource in 0..subjects.resources.len() {
            tasks.push((rows(resource) * 2, Task::Source { resource }));
            tasks.push((rows(resource), Task::HubResource { resource }));
        }
        let mut targets: Vec<(Target, Vec<usize>, u64)> = Vec::new();
        for (grant, schema) in subjects.grants.iter().enumerate() {
            let target = schema.target()?;
            let behind = (0..subjects.resources.len())
                .filter(|resource| subjects.resources[*resource].grants.contains(&grant));
            let rows = behind.map(rows).sum();
            tasks.push((rows, Task::Subscriber { grant }));
            match targets.iter_mut().find(|(known, _, _)| *known == target) {
                Some((_, grants, _)) => grants.push(grant),
                None => targets.push((target, vec![grant], rows)),
            }
        }
        for (target, grants, rows) in targets {
            tasks.push((rows, Task::HubTarget { target, grants }));
        }
        tasks.sort_by_key(|(rows, _)| std::cmp::Reverse(*rows));
        let tasks = tasks.into_iter().map(|(_, task)| task).collect();
        Ok(Self { inventory, subjects, hub, tasks })
    }

    /// Reads everything that belongs to a wanted subject. `sink` makes the taker of a task's leaves,
    /// `done` gets it back. Returns the hub's subjects that could not be read whole.
    pub(super) fn read<T: Take>(
        &self,
        wanted: &(impl Fn(SubjectNo) -> bool + Sync),
        sink: &(impl Fn(Place) -> T + Sync),
        done: &(impl Fn(Place, T) + Sync),
    ) -> Result<Vec<SubjectNo>> {
        let as_of = self.hub.as_of()?;
        let (next, damaged) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = || -> Result<()> {
            while let Some(task) = self.tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                let of = task.subjects(self.subjects);
                if !of.iter().any(|subject| wanted(*subject)) {
                    continue;
                }
                let mut to = sink(task.place());
                let whole = match task {
                    Task::Source { resource } => {
                        let schema = &self.subjects.resources[*resource];
                        let record = &self.inventory.resources[*resource];
                        source::read(self.subjects, schema, record, as_of, &mut to)?;
                        true
                    }
                    Task::HubResource { resource } => {
                        let schema = &self.subjects.resources[*resource];
                        self.hub.resource(self.subjects, schema, &mut to)
                    }
                    Task::HubTarget { target, grants } => {
                        self.hub.target(self.subjects, target, grants, as_of, &mut to)
                    }
                    Task::Subscriber { grant } => {
                        let subject = self.subjects.grant_subject(*grant);
                        subscriber::read(&self.subjects.grants[*grant], subject, &mut to)?;
                        true
                    }
                };
                if !whole && let Ok(mut damaged) = damaged.lock() {
                    damaged.extend(of);
                }
                done(task.place(), to);
            }
            Ok(())
        };
        let workers = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| -> Result<()> {
            let started: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            for worker in started {
                match worker.join() {
                    Ok(result) => result?,
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Ok(())
        })?;
        match damaged.into_inner() {
            Ok(damaged) => Ok(damaged),
            Err(_) => bail!("a worker of the proof panicked"),
        }
    }
}

/// Digests of all subjects at all places.
pub(super) struct First {
    /// By place in the order of [`Place::ALL`], then by subject.
    found: Vec<Vec<(Digest, Vec<BucketSummary>)>>,
    /// What could not be read, in words.
    pub(super) unreadable: Vec<String>,
    /// Subjects that the hub could not read whole.
    pub(super) damaged: Vec<SubjectNo>,
}

impl First {
    pub(super) fn at(&self, place: Place, subject: SubjectNo) -> &(Digest, Vec<BucketSummary>) {
        &self.found[place as usize][subject]
    }

    pub(super) fn lines(&self, subjects: &Subjects) -> Vec<Line> {
        let line = |subject| Line {
            subject: subjects.name(subject),
            source: self.at(Place::Source, subject).0,
            hub: self.at(Place::Hub, subject).0,
            subscriber: (subject >= subjects.classes.len())
                .then(|| self.at(Place::Subscriber, subject).0),
        };
        (0..subjects.count()).map(line).collect()
    }
}

/// The first pass.
pub(super) fn digests(walk: &Walk<'_>) -> Result<First> {
    let builders = || -> Vec<_> {
        (0..walk.subjects.count()).map(|_| Mutex::new(DigestBuilder::new())).collect()
    };
    let places = Place::ALL.map(|_| builders());
    let unreadable = Mutex::new(Vec::new());
    let sink = |place: Place| Gather {
        to: &places[place as usize],
        gathered: vec![Vec::new(); walk.subjects.count()],
        unreadable: Vec::new(),
    };
    let damaged = walk.read(&|_| true, &sink, &|_, mut gather: Gather<'_>| {
        for subject in 0..gather.gathered.len() {
            gather.hand_over(subject);
        }
        if let Ok(mut all) = unreadable.lock() {
            all.append(&mut gather.unreadable);
        }
    })?;
    let mut found = Vec::with_capacity(places.len());
    for place in places {
        let mut digests = Vec::with_capacity(place.len());
        for builder in place {
            match builder.into_inner() {
                Ok(builder) => digests.push(builder.finish()),
                Err(_) => bail!("a worker of the proof panicked"),
            }
        }
        found.push(digests);
    }
    let unreadable = unreadable.into_inner().unwrap_or_default();
    Ok(First { found, unreadable, damaged })
}

/// Gathers a task's leaves, so that the shared builders are locked seldom.
struct Gather<'a> {
    to: &'a [Mutex<DigestBuilder>],
    gathered: Vec<Vec<(KeyHash, Leaf)>>,
    unreadable: Vec<String>,
}

impl Gather<'_> {
    fn hand_over(&mut self, subject: SubjectNo) {
        // A poisoned lock means a panic elsewhere, which ends the pass anyway.
        if let Ok(mut builder) = self.to[subject].lock() {
            for (hash, leaf) in self.gathered[subject].drain(..) {
                builder.push(&hash, leaf);
            }
        }
    }
}

impl Take for Gather<'_> {
    fn unreadable(&mut self, what: String) {
        self.unreadable.push(what);
    }

    fn take(&mut self, subject: SubjectNo, _key: &[u8], hash: KeyHash, leaf: Leaf) {
        self.gathered[subject].push((hash, leaf));
        if self.gathered[subject].len() >= GATHERED {
            self.hand_over(subject);
        }
    }
}
