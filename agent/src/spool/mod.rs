//! The spool: the agent's one durable store.
//!
//! It holds the outbox (batches not yet settled), the state of every publishing stream, the image of
//! what the hub accepted, positions in sources, and what subscriptions have received. One thread
//! writes; [`Store::commit`] resolves when the write is on disk, and all that wait together share
//! one fsync. Readers see committed states only.
//!
//! Why redb and why images are kept as sorted runs in it: `README.md` in this folder.

mod ack;
mod batch;
mod carry;
mod committer;
mod error;
mod image;
mod keys;
mod open;
mod outbox;
mod read;
mod space;
mod stream;
mod tables;

use std::sync::Arc;
use std::thread::JoinHandle;

use hutong_schema::batch::ChainHash;
use hutong_schema::ids::{NodeName, ResourceCode};
use hutong_schema::wire::v1::publish::PublishReady;
use parking_lot::Mutex;
use redb::Database;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use ack::{AckError, AckOutcome, row_as_json};
pub use batch::{NewBatch, Receipt, WriteBatch};
pub use error::{Conflict, StoreError};
pub use image::{ImageDelta, ImageEntry};
pub use keys::{Area, ImageId, StreamId};
pub use open::{Opened, StoreOptions};
pub use outbox::{Origins, OutboxBatch};
pub use read::{Leaves, Record, View};
pub use stream::{Counters, Divergence, Replace, Resume, SHARD, StreamRecord, StreamState};

use batch::Operation;
use committer::{Published, Request};
use space::Space;

const INSTANCE: &str = "instance";
const FORMAT: &str = "format";
const NEXT_ID: &str = "next id";

/// Handle of the store; cheap to clone. The writing thread ends with the last handle.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    database: Arc<Database>,
    /// `None` only while the last handle is dropped.
    requests: Option<mpsc::Sender<Request>>,
    published: Published,
    space: Arc<Space>,
    instance: [u8; 16],
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A commit under way.
#[derive(Debug)]
pub struct Ticket(oneshot::Receiver<Result<Receipt, StoreError>>);

impl Ticket {
    /// Waits until the write is durable.
    ///
    /// # Errors
    /// When it was refused or the store failed.
    pub async fn durable(self) -> Result<Receipt, StoreError> {
        self.0.await.unwrap_or(Err(StoreError::Closed))
    }

    /// As [`Ticket::durable`], blocking the thread.
    ///
    /// # Errors
    /// As [`Ticket::durable`].
    pub fn wait(self) -> Result<Receipt, StoreError> {
        self.0.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }
}

impl Store {
    /// Random number of this state folder: two machines with one identity differ in it.
    pub fn instance(&self) -> [u8; 16] {
        self.0.instance
    }

    /// Writes all or nothing; durable when it resolves.
    ///
    /// # Errors
    /// When the write is refused or the store failed.
    pub async fn commit(&self, batch: WriteBatch) -> Result<Receipt, StoreError> {
        let (done, ticket) = oneshot::channel();
        let requests = self.0.requests.as_ref().ok_or(StoreError::Closed)?;
        requests.send(Request { batch, done }).await.map_err(|_| StoreError::Closed)?;
        Ticket(ticket).durable().await
    }

    /// As [`Store::commit`], blocking the thread.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn commit_blocking(&self, batch: WriteBatch) -> Result<Receipt, StoreError> {
        self.submit(batch)?.wait()
    }

    /// Hands over a write without waiting for it; blocks while the queue is full. Writes become
    /// durable in the order in which they are handed over.
    ///
    /// # Errors
    /// When the store failed.
    pub fn submit(&self, batch: WriteBatch) -> Result<Ticket, StoreError> {
        let (done, ticket) = oneshot::channel();
        let requests = self.0.requests.as_ref().ok_or(StoreError::Closed)?;
        requests.blocking_send(Request { batch, done }).map_err(|_| StoreError::Closed)?;
        Ok(Ticket(ticket))
    }

    /// Appends a batch together with other writes; blocks while the outbox is full.
    ///
    /// # Errors
    /// When waiting was cancelled or the store failed.
    pub fn append(
        &self,
        stream: StreamId,
        batch: NewBatch,
        mut with: WriteBatch,
        cancel: &CancellationToken,
    ) -> Result<Ticket, StoreError> {
        self.0.space.reserve(stream, batch.stored_len(), cancel)?;
        with.append(stream, batch, None);
        self.submit(with)
    }

    /// The streams of these publications, in their order; new ones are made.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn open_streams(
        &self,
        wanted: Vec<(NodeName, ResourceCode)>,
    ) -> Result<Vec<StreamId>, StoreError> {
        let mut batch = WriteBatch::new();
        batch.push(Operation::NewStreams { wanted: wanted.clone() });
        if wanted.iter().any(|(node, resource)| self.find_stream(node, resource).is_none()) {
            self.commit(batch).await?;
        }
        let find = |(node, resource): &(NodeName, ResourceCode)| {
            self.find_stream(node, resource).ok_or(StoreError::Record("a stream just made"))
        };
        wanted.iter().map(find).collect()
    }

    /// The image of this name, such as one of a subscription; a new one is made.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn open_image(&self, name: &[u8]) -> Result<ImageId, StoreError> {
        let find = || -> Result<Option<ImageId>, StoreError> {
            let found = self.get(Area::Images, name)?;
            let number = found.and_then(|stored| stored.try_into().ok().map(u32::from_be_bytes));
            Ok(number.map(ImageId))
        };
        if let Some(image) = find()? {
            return Ok(image);
        }
        let mut batch = WriteBatch::new();
        batch.push(Operation::NewImage { name: name.to_vec() });
        self.commit(batch).await?;
        find()?.ok_or(StoreError::Record("an image just made"))
    }

    /// How a stream goes on after the hub's answer to its opening; `new` tells that the opening asked
    /// for a new epoch.
    ///
    /// # Errors
    /// When the store failed or there is no such stream.
    pub fn resume(
        &self,
        stream: StreamId,
        ready: &PublishReady,
        new: bool,
    ) -> Result<Resume, StoreError> {
        let state = self.stream(stream)?.state;
        Ok(state.resume(ready, self.chain_at(stream, ready.last_seq)?, new))
    }

    /// Begins the epoch that the hub opened: outbox, image and position of the stream are emptied,
    /// and if the hub holds rows of an earlier epoch, the next scan names every key.
    ///
    /// # Errors
    /// When the store failed or there is no such stream.
    pub async fn begin_epoch(
        &self,
        stream: StreamId,
        ready: &PublishReady,
    ) -> Result<(), StoreError> {
        let mut batch = WriteBatch::new();
        let (epoch, has_rows) = (ready.epoch, ready.has_rows);
        batch.push(Operation::BeginEpoch { stream, epoch, has_rows, keep: None });
        self.commit(batch).await.map(|_| ())
    }

    /// Forgets what was not stored yet, because it follows a schema that the hub no longer takes; the
    /// source is read again from its beginning.
    ///
    /// # Errors
    /// When the store failed or there is no such stream.
    pub async fn drop_pending(&self, stream: StreamId) -> Result<(), StoreError> {
        let replace = self.replace_when_stored(stream)?;
        let mut batch = WriteBatch::new();
        batch.push(Operation::DropPending { stream, replace });
        self.commit(batch).await.map(|_| ())
    }

    /// Sends these keys again with the next scan, whatever the image says: as they stand in the
    /// source, or as removals.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn republish<'k>(
        &self,
        stream: StreamId,
        keys: impl IntoIterator<Item = &'k [u8]>,
    ) -> Result<(), StoreError> {
        let mut batch = WriteBatch::new();
        for key in keys {
            let full = [&stream.0.to_be_bytes()[..], key].concat();
            batch.put(Area::Resend, &full, Vec::new());
        }
        self.commit(batch).await.map(|_| ())
    }

    /// Appends a checkpoint with the digest of the accepted image, if batches were acknowledged since
    /// the last one and nothing is under way. Blocks: it reads the whole image.
    ///
    /// # Errors
    /// When the store failed or there is no such stream.
    pub fn checkpoint_if_due(
        &self,
        stream: StreamId,
        schema_version: u32,
    ) -> Result<bool, StoreError> {
        if !self.stream(stream)?.state.checkpoint_due() {
            return Ok(false);
        }
        let view = self.view()?;
        let state = view.stream(stream)?.state;
        if !state.checkpoint_due() {
            return Ok(false);
        }
        let digest = view.digest(stream.into())?;
        drop(view);
        let payload = hutong_schema::wire::codec::encode(&digest)
            .map_err(|_| StoreError::Record("a digest"))?;
        let kind = hutong_schema::batch::BatchKind::Checkpoint;
        let batch = NewBatch::new(kind, schema_version, &payload, 0, Vec::new())?;
        self.0.space.reserve_always(stream, batch.stored_len());
        let mut writes = WriteBatch::new();
        writes.append(stream, batch, Some(state.next_seq));
        match self.commit_blocking(writes) {
            Ok(_) => Ok(true),
            // A scan appended in between: its own end will be the next occasion.
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Bytes reserved in the outbox.
    pub fn outbox_bytes(&self) -> u64 {
        self.0.space.used()
    }

    /// Bytes at which reading pauses.
    pub fn outbox_cap_bytes(&self) -> u64 {
        self.0.space.cap()
    }

    fn find_stream(&self, node: &NodeName, resource: &ResourceCode) -> Option<StreamId> {
        let published = self.0.published.read();
        let found = published
            .iter()
            .find(|(_, record)| record.node == *node && record.resource == *resource);
        found.map(|(stream, _)| *stream)
    }

    /// Chain hash after a batch, as far as it is known here.
    fn chain_at(&self, stream: StreamId, seq: u64) -> Result<Option<ChainHash>, StoreError> {
        let state = self.stream(stream)?.state;
        if seq == state.stored_through {
            return Ok(Some(state.stored_chain));
        }
        Ok(self.head(stream, seq)?.map(|head| head.chain))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.lock().take() {
            // The thread only ends: what was committed is durable, what was not has no caller left.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
