//! Reading: what was committed, one by one or as one consistent view.

use std::ops::ControlFlow;

use hutong_schema::digest::{
    BucketSummary, Digest, KeyHash, Leaf, StreamDigest, bucket_of, key_hash,
};
use hutong_schema::wire::codec;
use redb::{ReadTransaction, ReadableDatabase};

use super::image;
use super::keys::{Area, HEADS, OUTBOX, RECORDS, STREAMS};
use super::outbox::{self, Head, OutboxBatch};
use super::stream::StreamRecord;
use super::{Conflict, ImageEntry, ImageId, Store, StoreError, StreamId};

/// A consistent view of everything at one commit.
pub struct View(pub(super) ReadTransaction);

/// Key and value of a record.
pub type Record = (Vec<u8>, Vec<u8>);

/// Keys and leaves of a part of a bucket, in the order of the key hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaves {
    /// Keys and leaves.
    pub leaves: Vec<(Vec<u8>, Leaf)>,
    /// Whether the bucket ends here.
    pub complete: bool,
}

impl Store {
    /// A stream as of the last commit.
    ///
    /// # Errors
    /// When there is no such stream.
    pub fn stream(&self, stream: StreamId) -> Result<StreamRecord, StoreError> {
        let found = self.0.published.read().get(&stream).cloned();
        found.ok_or(StoreError::Conflict { stream, conflict: Conflict::Unknown })
    }

    /// All streams as of the last commit.
    pub fn streams(&self) -> Vec<(StreamId, StreamRecord)> {
        let published = self.0.published.read();
        published.iter().map(|(stream, record)| (*stream, record.clone())).collect()
    }

    /// Batches of the outbox after a sequence number, as many as fit into `max_bytes`, at least one
    /// if there is one.
    ///
    /// # Errors
    /// When the store fails or a batch is damaged.
    pub fn pending(
        &self,
        stream: StreamId,
        after: u64,
        max_bytes: usize,
    ) -> Result<Vec<OutboxBatch>, StoreError> {
        // What is on disk is published a moment later. A batch must not be sent before: its
        // acknowledgement would find a state that does not know it.
        let through = self.stream(stream)?.state.last_seq();
        let view = self.view()?;
        let heads = view.0.open_table(HEADS).map_err(failed)?;
        let outbox = view.0.open_table(OUTBOX).map_err(failed)?;
        let found = outbox::heads(&heads, stream, after..through, max_bytes)?;
        found.iter().map(|head| outbox::read(&outbox, stream, head)).collect()
    }

    /// The schema that the first batch the hub has not stored follows, if there is one.
    ///
    /// # Errors
    /// When the store fails.
    pub fn pending_schema(&self, stream: StreamId) -> Result<Option<u32>, StoreError> {
        let stored_through = self.stream(stream)?.state.stored_through;
        let heads = self.heads(stream, stored_through..u64::MAX, 1)?;
        Ok(heads.first().map(|head| head.header.schema_version))
    }

    /// The facts of the batches after one number and up to another, as many as fit into `max_bytes`,
    /// at least one if there is one.
    pub(super) fn heads(
        &self,
        stream: StreamId,
        seqs: std::ops::Range<u64>,
        max_bytes: usize,
    ) -> Result<Vec<Head>, StoreError> {
        let view = self.view()?;
        let heads = view.0.open_table(HEADS).map_err(failed)?;
        outbox::heads(&heads, stream, seqs, max_bytes)
    }

    /// The batch with these facts.
    pub(super) fn batch(&self, stream: StreamId, head: &Head) -> Result<OutboxBatch, StoreError> {
        let view = self.view()?;
        let outbox = view.0.open_table(OUTBOX).map_err(failed)?;
        outbox::read(&outbox, stream, head)
    }

    /// When the oldest batch that is not acknowledged was appended, milliseconds since 1970 UTC.
    ///
    /// # Errors
    /// When the store fails.
    pub fn oldest_unacknowledged_ms(&self, stream: StreamId) -> Result<Option<i64>, StoreError> {
        let after = self.stream(stream)?.state.stored_through;
        Ok(self.head(stream, after + 1)?.map(|head| head.appended_ms))
    }

    /// A record.
    ///
    /// # Errors
    /// When the store fails.
    pub fn get(&self, area: Area, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.view()?.get(area, key)
    }

    /// All records of an area whose key begins with `prefix`, in the order of their keys.
    ///
    /// # Errors
    /// When the store fails.
    pub fn records(&self, area: Area, prefix: &[u8]) -> Result<Vec<Record>, StoreError> {
        self.view()?.records(area, prefix)
    }

    /// Everything as of the last commit. Hold it briefly: pages freed later stay until it is dropped.
    ///
    /// # Errors
    /// When the store fails.
    pub fn view(&self) -> Result<View, StoreError> {
        self.0.database.begin_read().map(View).map_err(|error| failed(redb::Error::from(error)))
    }

    /// The facts of a batch of the outbox.
    pub(super) fn head(&self, stream: StreamId, seq: u64) -> Result<Option<Head>, StoreError> {
        let view = self.view()?;
        let table = view.0.open_table(HEADS).map_err(failed)?;
        let stored = table.get((stream.0, seq)).map_err(failed)?;
        stored.map(|stored| Head::decode(stored.value())).transpose()
    }

    /// Whether the hub, once batches not stored yet are forgotten, still waits for every key.
    pub(super) fn replace_when_stored(
        &self,
        stream: StreamId,
    ) -> Result<super::Replace, StoreError> {
        use super::Replace;
        use hutong_schema::batch::BatchKind;
        let state = self.stream(stream)?.state;
        let mut replace = state.replace;
        // Undo the pending markers from the newest on.
        for seq in (state.stored_through + 1..=state.last_seq()).rev() {
            match self.head(stream, seq)?.map(|head| head.header.kind) {
                Some(BatchKind::ReplaceEnd) => replace = Replace::Begun,
                Some(BatchKind::ReplaceBegin) => replace = Replace::Due,
                Some(BatchKind::Rows | BatchKind::Checkpoint) | None => {}
            }
        }
        Ok(replace)
    }
}

impl View {
    /// A stream.
    ///
    /// # Errors
    /// When the store fails or there is no such stream.
    pub fn stream(&self, stream: StreamId) -> Result<StreamRecord, StoreError> {
        let table = self.0.open_table(STREAMS).map_err(failed)?;
        let stored = table.get(stream.0).map_err(failed)?;
        let stored = stored.ok_or(StoreError::Conflict { stream, conflict: Conflict::Unknown })?;
        codec::decode(stored.value()).map_err(|_| StoreError::Record("a stream"))
    }

    /// A record.
    ///
    /// # Errors
    /// When the store fails.
    pub fn get(&self, area: Area, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let table = self.0.open_table(RECORDS).map_err(failed)?;
        let stored = table.get(&area.key(key)[..]).map_err(failed)?;
        Ok(stored.map(|stored| stored.value().to_vec()))
    }

    /// All records of an area whose key begins with `prefix`, in the order of their keys.
    ///
    /// # Errors
    /// When the store fails.
    pub fn records(&self, area: Area, prefix: &[u8]) -> Result<Vec<Record>, StoreError> {
        let table = self.0.open_table(RECORDS).map_err(failed)?;
        let start = area.key(prefix);
        let mut records = Vec::new();
        for found in table.range::<&[u8]>(&start[..]..).map_err(failed)? {
            let (key, value) = found.map_err(failed)?;
            if !key.value().starts_with(&start) {
                break;
            }
            records.push((key.value()[1..].to_vec(), value.value().to_vec()));
        }
        Ok(records)
    }

    /// Calls `visit` for every key of an image in the order of the key hashes.
    ///
    /// # Errors
    /// When the store fails.
    pub fn each_of_image(
        &self,
        image: ImageId,
        visit: impl FnMut(ImageEntry<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        image::for_each(&self.0, image, &[0; 16], visit)
    }

    /// As [`View::each_of_image`], from a key hash on.
    ///
    /// # Errors
    /// When the store fails.
    pub fn each_of_image_from(
        &self,
        image: ImageId,
        from: &KeyHash,
        visit: impl FnMut(ImageEntry<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        image::for_each(&self.0, image, from, visit)
    }

    /// How many keys an image has at most: changes of one key that are not merged yet count twice.
    ///
    /// # Errors
    /// When the store fails.
    pub fn image_size_at_most(&self, image: ImageId) -> Result<u64, StoreError> {
        image::size_at_most(&self.0, image)
    }

    /// The digest of an image.
    ///
    /// # Errors
    /// When the store fails.
    pub fn digest(&self, image: ImageId) -> Result<Digest, StoreError> {
        self.count(image, StreamDigest::without_buckets()).map(|(digest, _)| digest)
    }

    /// The 4,096 buckets of an image.
    ///
    /// # Errors
    /// When the store fails.
    pub fn buckets(&self, image: ImageId) -> Result<Vec<BucketSummary>, StoreError> {
        self.count(image, StreamDigest::new()).map(|(_, buckets)| buckets)
    }

    fn count(
        &self,
        image: ImageId,
        mut digest: StreamDigest,
    ) -> Result<(Digest, Vec<BucketSummary>), StoreError> {
        let mut ordered = true;
        self.each_of_image(image, |entry| {
            ordered = digest.push(&entry.hash, entry.leaf).is_ok();
            if ordered { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        if ordered { Ok(digest.finish()) } else { Err(StoreError::Record("the order of an image")) }
    }

    /// Keys and leaves of one bucket after a key, at most `limit`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn leaves(
        &self,
        image: ImageId,
        bucket: u16,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Leaves, StoreError> {
        let after = after.map(key_hash);
        let mut first: KeyHash = [0; 16];
        first[..2].copy_from_slice(&(bucket << 4).to_be_bytes());
        let mut found = Leaves { leaves: Vec::new(), complete: true };
        image::for_each(&self.0, image, &after.unwrap_or(first), |entry| {
            if bucket_of(&entry.hash) != bucket {
                return ControlFlow::Break(());
            }
            if after == Some(entry.hash) {
                return ControlFlow::Continue(());
            }
            if found.leaves.len() == limit {
                found.complete = false;
                return ControlFlow::Break(());
            }
            found.leaves.push((entry.key.to_vec(), entry.leaf));
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::engine("was read", error)
}
