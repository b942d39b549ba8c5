//! The second pass: the keys of the buckets that differ.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Mutex;

use anyhow::Result;
use hutong_schema::digest::{KeyHash, Leaf, bucket_of};
use hutong_schema::grant::Target;
use hutong_schema::row::{KEY_SEPARATOR, key_parts};

use super::pass::{First, Place, Walk};
use super::schema::{SubjectNo, Subjects, Take};

/// Differing keys named for each subject and pair of places.
pub const NAMED_MAX: usize = 20;

/// One key that is not the same at two places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The class or grant.
    pub subject: String,
    /// The key in words; in a class of several resources it begins with the resource's code.
    pub key: String,
    /// What is different.
    pub what: What,
}

/// How a key differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It is at the first place and not at the second.
    Missing {
        /// Where it is.
        at: Place,
        /// Where it is not.
        from: Place,
    },
    /// Both places have it, with other fields.
    Other {
        /// One place.
        at: Place,
        /// The other place.
        and: Place,
    },
    /// The hub's row cannot be read.
    Unreadable,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, key, what } = self;
        match what {
            What::Missing { at, from } => {
                write!(f, "{subject}: {key} is at the {at}, not at the {from}")
            }
            What::Other { at, and } => {
                write!(f, "{subject}: {key} has other values at the {at} than at the {and}")
            }
            What::Unreadable => write!(f, "{subject}: {key} cannot be read at the hub"),
        }
    }
}

type Held = BTreeMap<Vec<u8>, Leaf>;

/// Names what differs, at most [`NAMED_MAX`] keys for each subject and pair of places.
pub(super) fn name(walk: &Walk<'_>, first: &First) -> Result<Vec<Difference>> {
    let wanted: Vec<HashSet<u16>> = (0..walk.subjects.count())
        .map(|subject| differing(walk.subjects, first, subject))
        .collect();
    let held: [Vec<Mutex<Held>>; 3] =
        Place::ALL.map(|_| wanted.iter().map(|_| Mutex::default()).collect());
    let sink = |place: Place| Collect { wanted: &wanted, to: &held[place as usize] };
    walk.read(&|subject: SubjectNo| !wanted[subject].is_empty(), &sink, &|_, _| {})?;
    let held = held.map(|place| {
        place.into_iter().map(|each| each.into_inner().unwrap_or_default()).collect::<Vec<Held>>()
    });
    let mut found = Vec::new();
    for subject in (0..wanted.len()).filter(|subject| !wanted[*subject].is_empty()) {
        let at = |place: Place| &held[place as usize][subject];
        let granted = subject >= walk.subjects.classes.len();
        let mut between = |left, right| {
            found.extend(compare(walk.subjects, subject, at, left, right));
        };
        if first.damaged.contains(&subject) {
            // Behind the damage the hub's rows were not seen: they are asked for one by one.
            if granted {
                between(Place::Source, Place::Subscriber);
            }
            found.extend(unreadable(walk, subject, at(Place::Source))?);
            continue;
        }
        between(Place::Source, Place::Hub);
        if granted {
            between(Place::Hub, Place::Subscriber);
        }
    }
    Ok(found)
}

/// The buckets of a subject that are not the same everywhere; all where the hub could not read.
fn differing(subjects: &Subjects, first: &First, subject: SubjectNo) -> HashSet<u16> {
    let buckets = |place| &first.at(place, subject).1;
    let (source, hub) = (buckets(Place::Source), buckets(Place::Hub));
    let delivered = (subject >= subjects.classes.len()).then(|| buckets(Place::Subscriber));
    let damaged = first.damaged.contains(&subject);
    let differs = |bucket: &u16| {
        let at = usize::from(*bucket);
        damaged || source[at] != hub[at] || delivered.is_some_and(|held| held[at] != hub[at])
    };
    (0u16..).take(source.len()).filter(differs).collect()
}

fn compare<'a>(
    subjects: &Subjects,
    subject: SubjectNo,
    at: impl Fn(Place) -> &'a Held,
    left: Place,
    right: Place,
) -> Vec<Difference> {
    let (ours, theirs) = (at(left), at(right));
    let lost = ours.iter().filter_map(|(key, leaf)| match theirs.get(key) {
        None => Some((key, What::Missing { at: left, from: right })),
        Some(other) if other != leaf => Some((key, What::Other { at: left, and: right })),
        Some(_) => None,
    });
    let extra = theirs.keys().filter(|key| !ours.contains_key(*key));
    let extra = extra.map(|key| (key, What::Missing { at: right, from: left }));
    let named = lost.chain(extra).take(NAMED_MAX);
    named
        .map(|(key, what)| Difference { subject: subjects.name(subject), key: words(key), what })
        .collect()
}

/// Which of the source's rows the hub cannot read.
fn unreadable(walk: &Walk<'_>, subject: SubjectNo, source: &Held) -> Result<Vec<Difference>> {
    let mut found = Vec::new();
    for key in source.keys() {
        let (target, own) = locate(walk.subjects, subject, key)?;
        if !walk.hub.readable(&target, own) {
            let subject = walk.subjects.name(subject);
            found.push(Difference { subject, key: words(key), what: What::Unreadable });
        }
        if found.len() == NAMED_MAX {
            break;
        }
    }
    Ok(found)
}

/// Where the hub holds a key of a subject, and what it is called there.
fn locate<'k>(
    subjects: &Subjects,
    subject: SubjectNo,
    key: &'k [u8],
) -> Result<(Target, &'k [u8])> {
    if let Some(grant) = subject.checked_sub(subjects.classes.len()) {
        return Ok((subjects.grants[grant].target()?, key));
    }
    let mut of_class = subjects.resources.iter().filter(|resource| resource.class == subject);
    match of_class.next() {
        Some(resource) if resource.alone => {
            Ok((Target::Resource(resource.entry.code.clone()), key))
        }
        Some(_) | None => {
            let end = key.iter().position(|byte| *byte == KEY_SEPARATOR).unwrap_or(key.len());
            let code = std::str::from_utf8(&key[..end])?.parse()?;
            Ok((Target::Resource(code), &key[(end + 1).min(key.len())..]))
        }
    }
}

/// A key for people: its parts joined by ` + `.
fn words(key: &[u8]) -> String {
    let parts: Vec<_> = key_parts(key).map(String::from_utf8_lossy).collect();
    parts.join(" + ")
}

struct Collect<'a> {
    wanted: &'a [HashSet<u16>],
    to: &'a [Mutex<Held>],
}

impl Take for Collect<'_> {
    // The first pass has told it.
    fn unreadable(&mut self, _what: String) {}

    fn take(&mut self, subject: SubjectNo, key: &[u8], hash: KeyHash, leaf: Leaf) {
        if self.wanted[subject].contains(&bucket_of(&hash))
            && let Ok(mut held) = self.to[subject].lock()
        {
            held.insert(key.to_vec(), leaf);
        }
    }
}
