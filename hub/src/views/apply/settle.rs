//! The second pass: the changes of a range key by key, against what the keys held before.

use std::{collections::HashMap, sync::Arc};

use hutong_schema::{
    library::{IndexKind, Library},
    row::{RowBuf, RowRef},
};

use super::{
    super::{
        entry::{self, ViewEntry},
        error::{Result, ViewError},
        keys, spatial,
        state::PartitionState,
        varint,
    },
    images::BatchNotes,
    lookup::{Old, Place},
    ops::{Op, Ops},
    sink::{Sink, SortedKeys},
};
use crate::numbers::ResourceNo;

/// What the second pass finds out.
pub(super) struct Settled {
    /// One per batch.
    pub(super) notes: Vec<BatchNotes>,
    /// Rows before and after, as the notes name them.
    pub(super) arena: Vec<u8>,
    pub(super) index: SortedKeys,
    pub(super) members: SortedKeys,
    /// Rows won or lost, and changes with an effect, per resource.
    pub(super) counts: HashMap<ResourceNo, (i64, u64)>,
}

/// What one resource says under the key at hand.
struct Said {
    entry: Arc<ViewEntry>,
    old: Option<Place>,
    now: Option<Place>,
    version: u64,
    write: bool,
}

/// Works on one key after another.
pub(super) struct Settler<'a> {
    ops: &'a Ops<'a>,
    state: &'a PartitionState,
    pub(super) out: Settled,
    said: Vec<Said>,
    row: RowBuf,
    scratch: RowBuf,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl<'a> Settler<'a> {
    pub(super) fn new(ops: &'a Ops<'a>, state: &'a PartitionState, batches: usize) -> Self {
        let mut notes = Vec::new();
        notes.resize_with(batches, BatchNotes::default);
        let out = Settled {
            notes,
            arena: Vec::new(),
            index: SortedKeys::with_room(ops.len()),
            members: SortedKeys::with_room(ops.len()),
            counts: HashMap::new(),
        };
        Self {
            ops,
            state,
            out,
            said: Vec::new(),
            row: RowBuf::new(),
            scratch: RowBuf::new(),
            key: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Applies all changes of one key. `old` are the rows it had.
    pub(super) fn key(&mut self, changes: &[Op], old: &[Old], sink: &mut Sink<'_>) -> Result<()> {
        match (changes, old) {
            ([only], []) => self.fresh(only, sink),
            _ => self.general(changes, old, sink),
        }
    }

    /// One change of a key that has no rows: by far the most frequent case.
    fn fresh(&mut self, op: &Op, sink: &mut Sink<'_>) -> Result<()> {
        let (work, block) = (self.ops.work(op), self.ops.block(op));
        let notes = &mut self.out.notes[op.work as usize];
        if op.touch {
            return Ok(());
        }
        if block.is_delete(op.row as usize) {
            notes.own.skip(op.row);
            notes.library.skip(op.row);
            return Ok(());
        }
        notes.own.change(op.row, None);
        notes.library.change(op.row, None);
        self.row.fill_from_block(block, op.row as usize);
        let key = self.ops.key(op);
        let row = std::mem::take(&mut self.row);
        self.put(&work.entry, key, work.seq, row.as_ref(), None, sink)?;
        self.row = row;
        let counts = self.out.counts.entry(work.entry.resource).or_default();
        *counts = (counts.0 + 1, counts.1 + 1);
        Ok(())
    }

    fn general(&mut self, changes: &[Op], old: &[Old], sink: &mut Sink<'_>) -> Result<()> {
        let Some(first) = changes.first() else { return Ok(()) };
        let library = PartitionState::library(first.space);
        self.said.clear();
        for old in old {
            let entry = self.state.entries.get(&old.resource).cloned();
            let entry = entry.ok_or(ViewError::UnknownResource(old.resource))?;
            let row = Some(old.row);
            self.said.push(Said { entry, old: row, now: row, version: old.version, write: false });
        }
        let mut record = self.record(library)?;
        for (at, op) in changes.iter().enumerate() {
            // Of several changes of a key in one batch, the last one counts.
            let superseded = |next: &Op| next.work == op.work && !next.touch;
            if !op.touch
                && changes[at + 1..].iter().take_while(|next| next.work == op.work).any(superseded)
            {
                let notes = &mut self.out.notes[op.work as usize];
                notes.own.skip(op.row);
                notes.library.skip(op.row);
                continue;
            }
            record = self.change(op, library, record)?;
        }
        let key = self.ops.key(first);
        let mut said = std::mem::take(&mut self.said);
        said.sort_unstable_by_key(|said| said.entry.resource);
        for said in &said {
            self.write(key, said, sink)?;
        }
        self.said = said;
        Ok(())
    }

    /// Applies one change in memory; `record` is the library record before and the answer after it.
    fn change(
        &mut self,
        op: &Op,
        library: Option<&Library>,
        record: Option<Place>,
    ) -> Result<Option<Place>> {
        let (work, block) = (self.ops.work(op), self.ops.block(op));
        let at = self.said.iter().position(|said| said.entry.resource == work.entry.resource);
        if op.touch {
            // The source still names the key, with a value that is not valid: its row stays.
            if let Some(said) = at.map(|at| &mut self.said[at]).filter(|said| said.now.is_some()) {
                said.version = work.seq;
                said.write = true;
            }
            return Ok(record);
        }
        let before = at.and_then(|at| self.said[at].now);
        let after = match block.is_delete(op.row as usize) {
            true => None,
            false => {
                self.row.fill_from_block(block, op.row as usize);
                Some(self.row.as_ref().as_bytes())
            }
        };
        let arena = &mut self.out.arena;
        let notes = &mut self.out.notes[op.work as usize];
        if before.map(|before| before.of(arena)) == after {
            notes.own.skip(op.row);
            notes.library.skip(op.row);
            if let Some(said) = at.map(|at| &mut self.said[at])
                && work.replacing
                && said.now.is_some()
            {
                said.version = work.seq;
                said.write = true;
            }
            return Ok(record);
        }
        notes.own.change(op.row, before);
        self.out.counts.entry(work.entry.resource).or_default().1 += 1;
        let now = after.map(|row| Place::push(arena, row));
        match at {
            Some(at) => {
                let said = &mut self.said[at];
                (said.now, said.version, said.write) = (now, work.seq, true);
            }
            None => self.said.push(Said {
                entry: Arc::clone(&work.entry),
                old: None,
                now,
                version: work.seq,
                write: true,
            }),
        }
        let Some(library) = library else { return Ok(None) };
        let new = self.record(Some(library))?;
        let arena = &self.out.arena;
        let notes = &mut self.out.notes[op.work as usize].library;
        if record.map(|place| place.of(arena)) == new.map(|place| place.of(arena)) {
            notes.skip(op.row);
            return Ok(new);
        }
        notes.change(op.row, record);
        let others = self
            .said
            .iter()
            .any(|said| said.now.is_some() && said.entry.resource != work.entry.resource);
        if others {
            notes.after(op.row, new);
        }
        Ok(new)
    }

    /// The library record as it is now.
    fn record(&mut self, library: Option<&Library>) -> Result<Option<Place>> {
        let Some(library) = library else { return Ok(None) };
        let mut said = Vec::new();
        for said_by in &self.said {
            if let Some(place) = said_by.now {
                said.push((&*said_by.entry, parse(place.of(&self.out.arena))?, place));
            }
        }
        let mut rows: Vec<_> = said.iter().map(|(entry, row, _)| (*entry, *row)).collect();
        let Some(record) = entry::record(library, &mut rows, &mut self.scratch) else {
            return Ok(None);
        };
        if let [(_, row, place)] = said[..]
            && std::ptr::eq(row.as_bytes(), record.as_bytes())
        {
            return Ok(Some(place));
        }
        let bytes = record.as_bytes().to_vec();
        Ok(Some(Place::push(&mut self.out.arena, &bytes)))
    }

    fn write(&mut self, key: &[u8], said: &Said, sink: &mut Sink<'_>) -> Result<()> {
        if !said.write {
            return Ok(());
        }
        let won = i64::from(said.now.is_some()) - i64::from(said.old.is_some());
        self.out.counts.entry(said.entry.resource).or_default().0 += won;
        let arena = std::mem::take(&mut self.out.arena);
        let result = match said.now {
            Some(now) => {
                let old = said.old.map(|old| parse(old.of(&arena))).transpose();
                old.and_then(|old| {
                    let row = parse(now.of(&arena))?;
                    self.put(&said.entry, key, said.version, row, old, sink)
                })
            }
            None if said.old.is_some() => self.remove(&said.entry, key, sink),
            None => Ok(()),
        };
        self.out.arena = arena;
        result
    }

    fn put(
        &mut self,
        entry: &ViewEntry,
        key: &[u8],
        version: u64,
        row: RowRef<'_>,
        old: Option<RowRef<'_>>,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        keys::row_into(&mut self.key, entry.space, key, entry.resource);
        self.value.clear();
        varint::push(&mut self.value, version);
        self.value.extend_from_slice(row.as_bytes());
        sink.put(&self.key, &self.value)?;
        if entry.member && old.is_none() {
            keys::member_into(&mut self.key, entry.resource, key);
            self.out.members.push(false, |arena| arena.extend_from_slice(&self.key));
        }
        index(entry, key, row, old, &mut self.out.index);
        Ok(())
    }

    fn remove(&mut self, entry: &ViewEntry, key: &[u8], sink: &mut Sink<'_>) -> Result<()> {
        keys::row_into(&mut self.key, entry.space, key, entry.resource);
        if entry.member {
            let mut member = Vec::new();
            keys::member_into(&mut member, entry.resource, key);
            self.out.members.push(true, |arena| arena.extend_from_slice(&member));
        }
        sink.delete(&self.key)
    }
}

/// Index entries for what a row gives to its library. Those of earlier values stay: they are checked
/// when they are read.
pub(super) fn index(
    entry: &ViewEntry,
    key: &[u8],
    row: RowRef<'_>,
    old: Option<RowRef<'_>>,
    out: &mut SortedKeys,
) {
    let Some(library) = entry.library() else { return };
    for (number, definition) in (0u8..).zip(library.indexes) {
        let Some(value) = entry.value(row, definition.field) else { continue };
        if old.is_some_and(|old| entry.value(old, definition.field) == Some(value)) {
            continue;
        }
        match definition.kind {
            IndexKind::Exact | IndexKind::Prefix => out.push(false, |arena| {
                keys::push_index(arena, entry.space, number, keys::index_value(value), key);
            }),
            IndexKind::Spatial => {
                if let Some(cell) = spatial::Cell::of_geometry(value) {
                    out.push(false, |arena| {
                        keys::push_index(arena, entry.space, number, &cell.to_bytes(), key);
                    });
                }
            }
        }
    }
}

pub(super) fn parse(row: &[u8]) -> Result<RowRef<'_>> {
    RowRef::parse(row).map_err(|_| ViewError::Damaged { what: "row" })
}
