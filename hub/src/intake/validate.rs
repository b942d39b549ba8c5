//! Is a batch what its resource's schema says? Column by column, in place, without an allocation
//! per row. A row at fault is named and never becomes visible; it does not stop its batch.

use std::{cell::RefCell, sync::Arc};

use hutong_schema::{
    batch::{self, BatchHeader, BatchKind},
    block::Block,
    catalogue::{CatalogueEntry, Item},
    digest::Digest,
    row::FieldId,
    rules::{self, ColumnCheck, RejectReason},
    wire::{
        codec,
        v1::{RefusalCode, Refused, publish::RejectedRow},
    },
};

/// Version of the rules in [`hutong_schema::rules`], as the log records it. Raise it with every
/// change there that turns a verdict.
pub const RULES_VERSION: u16 = 1;

thread_local! {
    /// One opened payload per thread: at most the largest batch.
    static OPENED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The rules of one version of a resource's schema.
#[derive(Clone, Debug)]
pub struct Validator {
    entry: Arc<CatalogueEntry>,
    keys: Vec<Item>,
    columns: Vec<Item>,
}

impl Validator {
    /// The rules of an entry.
    #[must_use]
    pub fn new(entry: Arc<CatalogueEntry>) -> Self {
        let keys = entry.keys().into_iter().cloned().collect();
        let columns = entry.columns().into_iter().cloned().collect();
        Self { entry, keys, columns }
    }

    /// The entry whose rules these are.
    #[must_use]
    pub fn entry(&self) -> &Arc<CatalogueEntry> {
        &self.entry
    }

    /// The rows that are rejected, ascending by index, one reason each.
    ///
    /// # Errors
    /// When the batch as a whole is not what it says it is: then none of it is stored.
    pub fn judge(&self, header: &BatchHeader, payload: &[u8]) -> Result<Vec<RejectedRow>, Refused> {
        OPENED.with_borrow_mut(|opened| {
            batch::decompress_into(payload, header.codec, header.raw_len as usize, opened)
                .map_err(|error| self.damaged(header, error))?;
            match header.kind {
                BatchKind::Rows => self.rows(header, opened),
                BatchKind::ReplaceBegin | BatchKind::ReplaceEnd => {
                    self.without_rows(header)?;
                    if opened.is_empty() {
                        Ok(vec![])
                    } else {
                        Err(self.damaged(header, "a replace marker carries no payload"))
                    }
                }
                BatchKind::Checkpoint => {
                    self.without_rows(header)?;
                    codec::decode::<Digest>(opened).map_err(|error| self.damaged(header, error))?;
                    Ok(vec![])
                }
            }
        })
    }

    /// Whether a batch does nothing but delete. What cannot be opened does not.
    #[must_use]
    pub fn only_deletes(&self, header: &BatchHeader, payload: &[u8]) -> bool {
        OPENED.with_borrow_mut(|opened| {
            batch::decompress_into(payload, header.codec, header.raw_len as usize, opened).is_ok()
                && Block::parse(opened)
                    .is_ok_and(|block| (0..block.rows()).all(|index| block.is_delete(index)))
        })
    }

    fn rows(&self, header: &BatchHeader, opened: &[u8]) -> Result<Vec<RejectedRow>, Refused> {
        let block = Block::parse(opened).map_err(|error| self.damaged(header, error))?;
        if block.rows() != header.rows as usize {
            let detail =
                format!("{} rows are announced, the block holds {}", header.rows, block.rows());
            return Err(self.damaged(header, detail));
        }
        let fields = (0..block.columns()).map(|column| block.field(column));
        for field in fields {
            if !self.columns.iter().any(|item| item.id == field) {
                let detail = format!("field {field} is no item beside the key of this entry");
                return Err(self.damaged(header, detail));
            }
        }
        let mut rejected = Rejected { seq: header.seq, rows: Vec::new(), flags: Vec::new() };
        self.keys_of(&block, &mut rejected);
        for item in &self.columns {
            match block.column_of(item.id) {
                Some(column) => values_of(&block, column, item, &mut rejected),
                None if item.required => absent(&block, item.id, &mut rejected),
                None => {}
            }
        }
        Ok(rejected.finish())
    }

    fn keys_of(&self, block: &Block<'_>, rejected: &mut Rejected) {
        let keys: Vec<&Item> = self.keys.iter().collect();
        for index in 0..block.rows() {
            if let Err((field, reason)) = rules::check_key(&keys, block.key(index)) {
                rejected.add(index, field, reason);
            }
        }
    }

    fn without_rows(&self, header: &BatchHeader) -> Result<(), Refused> {
        match header.rows {
            0 => Ok(()),
            rows => {
                Err(self
                    .damaged(header, format!("a {:?} batch announces {rows} rows", header.kind)))
            }
        }
    }

    fn damaged(&self, header: &BatchHeader, what: impl std::fmt::Display) -> Refused {
        let detail = format!("batch {} of {}: {what}", header.seq, self.entry.code);
        Refused::new(RefusalCode::Damaged, detail)
    }
}

fn values_of(block: &Block<'_>, column: usize, item: &Item, rejected: &mut Rejected) {
    let values = ColumnCheck::new(item, block, column);
    for index in 0..block.rows() {
        if block.is_delete(index) || rejected.has(index) {
            continue;
        }
        if let Err(reason) = values.value(index) {
            rejected.add(index, item.id, reason);
        }
    }
}

fn absent(block: &Block<'_>, field: FieldId, rejected: &mut Rejected) {
    for index in 0..block.rows() {
        if !block.is_delete(index) && !rejected.has(index) {
            rejected.add(index, field, RejectReason::Missing);
        }
    }
}

/// Rows rejected so far. Most batches have none, and then this costs nothing.
struct Rejected {
    seq: u64,
    rows: Vec<RejectedRow>,
    /// Bit per row; empty as long as no row is rejected.
    flags: Vec<u64>,
}

impl Rejected {
    fn has(&self, index: usize) -> bool {
        self.flags.get(index / 64).is_some_and(|word| word & (1 << (index % 64)) != 0)
    }

    fn add(&mut self, index: usize, field: FieldId, reason: RejectReason) {
        let word = index / 64;
        if self.flags.len() <= word {
            self.flags.resize(word + 1, 0);
        }
        self.flags[word] |= 1 << (index % 64);
        // Blocks hold at most 8,192 rows.
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        self.rows.push(RejectedRow { seq: self.seq, index, field, reason: reason.code() });
    }

    fn finish(mut self) -> Vec<RejectedRow> {
        self.rows.sort_unstable_by_key(|row| row.index);
        self.rows
    }
}

#[cfg(test)]
pub(super) mod sample;
#[cfg(test)]
mod tests;
