//! What the views should be: the same entries applied one by one to maps.

use std::collections::{BTreeMap, BTreeSet};

use hutong_schema::{
    digest::{Digest, DigestBuilder, key_hash, leaf},
    grant::{AsOf, CompiledFilter},
    library::LibraryId,
    row::{FieldId, RowBuf},
};

use super::super::{FeedItem, FeedWhat, Place, records::first_date};
use crate::numbers::ResourceNo;

pub(super) type Key = Vec<u8>;
pub(super) type Row = BTreeMap<u16, Vec<u8>>;
pub(super) type Rows = BTreeMap<Key, Row>;

/// How a resource is read into the population library: authority, then item → field.
pub(super) type Reading = (u16, Vec<(u16, u16)>);

#[derive(Clone)]
pub(super) struct Model {
    pub(super) rows: BTreeMap<ResourceNo, Rows>,
    pub(super) readings: BTreeMap<ResourceNo, Reading>,
    pub(super) named: BTreeMap<ResourceNo, Option<BTreeSet<Key>>>,
    pub(super) as_of: AsOf,
}

pub(super) struct Change {
    pub(super) key: Key,
    pub(super) row: Option<Row>,
    pub(super) rejected: bool,
}

impl Model {
    pub(super) fn new() -> Self {
        Self {
            rows: BTreeMap::new(),
            readings: BTreeMap::new(),
            named: BTreeMap::new(),
            as_of: first_date(),
        }
    }

    pub(super) fn batch(&mut self, resource: ResourceNo, changes: &[Change]) {
        let rows = self.rows.entry(resource).or_default();
        for change in changes {
            if let Some(Some(named)) = self.named.get_mut(&resource) {
                let gone = change.row.is_none() && !change.rejected;
                if !gone {
                    named.insert(change.key.clone());
                }
            }
            if change.rejected {
                continue;
            }
            match &change.row {
                Some(row) => rows.insert(change.key.clone(), row.clone()),
                None => rows.remove(&change.key),
            };
        }
    }

    pub(super) fn replace_begin(&mut self, resource: ResourceNo) {
        self.named.insert(resource, Some(BTreeSet::new()));
    }

    pub(super) fn replace_end(&mut self, resource: ResourceNo) {
        if let Some(Some(named)) = self.named.insert(resource, None) {
            self.rows.entry(resource).or_default().retain(|key, _| named.contains(key));
        }
    }

    pub(super) fn place(&self, place: Place) -> Rows {
        match place {
            Place::Resource(resource) => self.rows.get(&resource).cloned().unwrap_or_default(),
            Place::Library(library) => self.library(library),
        }
    }

    fn library(&self, library: LibraryId) -> Rows {
        assert_eq!(library, LibraryId::POPULATION, "the only library of these tests");
        let mut ranked: Vec<_> = self.readings.iter().collect();
        ranked.sort_by_key(|(resource, (authority, _))| (*authority, **resource));
        let mut out = Rows::new();
        for (resource, (_, fields)) in ranked {
            for (key, row) in self.rows.get(resource).into_iter().flatten() {
                let record = out.entry(key.clone()).or_default();
                for (item, field) in fields {
                    if let Some(value) = row.get(item) {
                        record.entry(*field).or_insert_with(|| value.clone());
                    }
                }
            }
        }
        out
    }
}

pub(super) fn stored(row: &Row) -> RowBuf {
    let mut out = RowBuf::new();
    row.iter().for_each(|(field, value)| out.push(FieldId(*field), value));
    out
}

pub(super) fn read(row: hutong_schema::row::RowRef<'_>) -> Row {
    row.iter().map(|(field, value)| (field.0, value.to_vec())).collect()
}

pub(super) fn digest(rows: &Rows) -> Digest {
    let mut builder = DigestBuilder::new();
    for (key, row) in rows {
        builder.push(&key_hash(key), leaf(key, stored(row).as_ref()));
    }
    builder.finish().0
}

pub(super) fn covered(rows: &Rows, filter: &CompiledFilter, as_of: AsOf, fields: &[u16]) -> Rows {
    let keep = |(key, row): &(&Key, &Row)| filter.matches(key, stored(row).as_ref(), as_of);
    let project = |row: &Row| {
        row.iter().filter(|(f, _)| fields.contains(f)).map(|(f, v)| (*f, v.clone())).collect()
    };
    rows.iter().filter(keep).map(|(key, row)| (key.clone(), project(row))).collect()
}

/// Someone who holds the rows of a place and follows its feed.
#[derive(Clone)]
pub(super) struct Follower {
    pub(super) rows: Rows,
    pub(super) seq: u64,
}

impl Follower {
    pub(super) fn follow(&mut self, item: &FeedItem) {
        self.seq += 1;
        assert_eq!(item.seq, self.seq, "feeds are dense");
        match &item.what {
            FeedWhat::Changes(changes) => changes
                .visit(|change| {
                    let held = self.rows.get(change.key);
                    assert_eq!(
                        change.before.map(read).as_ref(),
                        held,
                        "the row before is what was held"
                    );
                    assert_ne!(change.before, change.after, "a change changes something");
                    match change.after {
                        Some(row) => self.rows.insert(change.key.to_vec(), read(row)),
                        None => self.rows.remove(change.key),
                    };
                })
                .unwrap(),
            FeedWhat::Checkpoint => {}
            FeedWhat::ClockDate { rows, .. } => rows
                .visit(|row| assert_eq!(row.after.map(read).as_ref(), self.rows.get(row.key)))
                .unwrap(),
        }
    }
}

/// Someone who holds the rows that a filter covers, and learns of changes as a grantee does.
#[derive(Clone)]
pub(super) struct Grantee {
    pub(super) filter: CompiledFilter,
    pub(super) rows: Rows,
}

impl Grantee {
    pub(super) fn follow(&mut self, item: &FeedItem) {
        let filter = self.filter.clone();
        let (changes, before_on) = match &item.what {
            FeedWhat::Changes(changes) => (changes, item.as_of),
            FeedWhat::ClockDate { from, rows, to } => {
                assert_eq!(*to, item.as_of);
                (rows, *from)
            }
            FeedWhat::Checkpoint => return,
        };
        changes
            .visit(|change| {
                let was =
                    change.before.is_some_and(|row| filter.matches(change.key, row, before_on));
                match change.after.filter(|row| filter.matches(change.key, *row, item.as_of)) {
                    Some(row) => {
                        self.rows.insert(change.key.to_vec(), read(row));
                    }
                    None if was => {
                        self.rows.remove(change.key);
                    }
                    None => {}
                }
            })
            .unwrap();
    }
}
