//! The table compared with the image of what was written to it; the image then follows the table.
//!
//! A first reading sums the leaves of each of 65,536 groups of keys. Only the keys of groups whose
//! sums are not the image's are read again and compared one by one, so many at once as memory allows.

use std::{collections::HashMap, ops::ControlFlow, sync::Arc};

use hutong_schema::digest::{KeyHash, Leaf, key_hash};
use tokio_util::sync::CancellationToken;

use super::{
    super::{SinkError, places::blocking},
    shape::Shape,
    statements::Statements,
};
use crate::{
    config::Dialect,
    spool::{ImageDelta, ImageId, Store, StoreError, WriteBatch},
    sql::Connection,
};

/// Groups of keys, by the first two bytes of the key's hash.
const GROUPS: usize = 1 << 16;

/// Keys compared at once, about 150 bytes each.
const KEYS_AT_ONCE: u64 = if cfg!(test) { 7 } else { 100_000 };

/// Rows between two looks at whether the agent ends.
const ROWS_BETWEEN: u64 = 4_096;

/// A comparison of one table with one image.
pub(super) struct Comparison<'c> {
    pub(super) shape: &'c Shape,
    /// The table, in quotes.
    pub(super) table: &'c str,
    pub(super) store: &'c Store,
    pub(super) image: ImageId,
    pub(super) cancel: &'c CancellationToken,
    /// Beyond so many differences it is given up.
    pub(super) most: usize,
}

/// What a comparison found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Followed {
    /// So many keys differed; the image now has them as the table does.
    Keys(usize),
    /// More than were to be followed.
    TooMany,
}

/// Number and sum of the leaves of each group.
struct Sums(Vec<(u32, u128)>);

impl Comparison<'_> {
    /// Brings the image to what the table holds.
    ///
    /// # Errors
    /// When database or store fail, or it was cancelled; the image is then partly brought along.
    pub(super) async fn run(&self, connection: &mut Connection) -> Result<Followed, SinkError> {
        // One state of the table for all readings.
        connection
            .run(match self.shape.dialect {
                Dialect::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
                Dialect::MySql => "START TRANSACTION WITH CONSISTENT SNAPSHOT",
                Dialect::Sqlite => "BEGIN",
            })
            .await?;
        let followed = self.follow(connection).await;
        let ended = connection.run("ROLLBACK").await;
        let followed = followed?;
        ended?;
        Ok(followed)
    }

    async fn follow(&self, connection: &mut Connection) -> Result<Followed, SinkError> {
        let mut held = Sums::new();
        self.each(connection, |key, leaf| held.add(&key_hash(&key), &leaf)).await?;
        let written = self.sums_of_image().await?;
        let mut differing: Vec<usize> =
            (0..GROUPS).filter(|at| held.0[*at] != written.0[*at]).collect();
        let mut keys = 0;
        while !differing.is_empty() {
            let mut rows = 0;
            let fitting = differing.iter().take_while(|group| {
                rows += u64::from(held.0[**group].0);
                rows <= KEYS_AT_ONCE
            });
            let now = fitting.count().max(1);
            let mut wanted = vec![false; GROUPS];
            differing.drain(..now).for_each(|group| wanted[group] = true);
            let wanted = Arc::new(wanted);
            let mut found = HashMap::new();
            self.each(connection, |key, leaf| {
                let hash = key_hash(&key);
                if wanted[group(&hash)] {
                    found.insert(hash, (key, leaf));
                }
            })
            .await?;
            let delta = self.differences(wanted, found).await?;
            keys += delta.len();
            if keys > self.most {
                return Ok(Followed::TooMany);
            }
            let mut writes = WriteBatch::new();
            writes.image(self.image, delta);
            self.store.commit(writes).await?;
        }
        Ok(Followed::Keys(keys))
    }

    /// Reads the table once.
    async fn each(
        &self,
        connection: &mut Connection,
        mut take: impl FnMut(Vec<u8>, Leaf) + Send,
    ) -> Result<(), SinkError> {
        let (mut scratch, mut rows) = (Vec::new(), 0u64);
        let query = Statements(self.shape).read(self.table);
        connection
            .each_row(&query, |cells| {
                rows += 1;
                if rows.is_multiple_of(ROWS_BETWEEN) && self.cancel.is_cancelled() {
                    return Err(SinkError::Interrupted);
                }
                let row = self.shape.read_back(cells, &mut scratch);
                take(row.key, row.leaf);
                Ok(())
            })
            .await
    }

    async fn sums_of_image(&self) -> Result<Sums, SinkError> {
        let (store, image) = (self.store.clone(), self.image);
        blocking(move || {
            let mut sums = Sums::new();
            store.view()?.each_of_image(image, |entry| {
                sums.add(&entry.hash, &entry.leaf);
                ControlFlow::Continue(())
            })?;
            Ok::<_, StoreError>(sums)
        })
        .await
    }

    /// What the image lacks or has too much in these groups.
    async fn differences(
        &self,
        wanted: Arc<Vec<bool>>,
        mut found: HashMap<KeyHash, (Vec<u8>, Leaf)>,
    ) -> Result<ImageDelta, SinkError> {
        let (store, image) = (self.store.clone(), self.image);
        blocking(move || {
            let mut delta = ImageDelta::new();
            store.view()?.each_of_image(image, |entry| {
                if wanted[group(&entry.hash)] {
                    match found.remove(&entry.hash) {
                        Some((_, leaf)) if leaf == entry.leaf => {}
                        Some((_, leaf)) => delta.upsert(entry.key, leaf),
                        None => delta.delete(entry.key),
                    }
                }
                ControlFlow::Continue(())
            })?;
            for (key, leaf) in found.into_values() {
                delta.upsert(&key, leaf);
            }
            Ok::<_, StoreError>(delta)
        })
        .await
    }
}

impl Sums {
    fn new() -> Self {
        Self(vec![(0, 0); GROUPS])
    }

    fn add(&mut self, hash: &KeyHash, leaf: &Leaf) {
        let (count, sum) = &mut self.0[group(hash)];
        *count += 1;
        // In whatever order they come.
        let number = leaf[..16].iter().fold(0u128, |number, byte| number << 8 | u128::from(*byte));
        *sum = sum.wrapping_add(number);
    }
}

fn group(hash: &KeyHash) -> usize {
    usize::from(u16::from_be_bytes([hash[0], hash[1]]))
}
