//! What gets into the outboxes: scans, what a person confirms, and batches past the scan.

use anyhow::Result;
use hutong_agent::changes::ScanOutcome;
use hutong_agent::link::Hindrance;
use hutong_agent::spool::{NewBatch, WriteBatch};
use hutong_schema::block::BlockBuilder;
use hutong_schema::row::FieldId;
use tokio_util::sync::CancellationToken;

use super::sim::Sim;
use super::world;

impl Sim {
    /// Reads a source.
    pub(crate) fn scan(&mut self, number: usize) -> Result<ScanOutcome> {
        let (agent, at) = self.publisher(number);
        let agent = &self.agents[agent];
        let publication = &agent.publications[at];
        let cancel = CancellationToken::new();
        Ok(publication.changes.scan(&agent.store, &publication.entry, &cancel)?)
    }

    /// A person says that source and machine are right.
    pub(crate) fn confirm(&mut self, number: usize) -> Result<()> {
        let (agent, at) = self.publisher(number);
        let agent = &mut self.agents[agent];
        let publication = &mut agent.publications[at];
        self.runtime.block_on(publication.changes.confirm(&agent.store))?;
        publication.link.allow_recovery();
        publication.link.free(Hindrance::Hub);
        // The real agent then opens the stream again, and is told again what is wrong.
        Ok(())
    }

    /// Puts a batch into the outbox past the scan; of a bad one the hub will reject rows.
    pub(crate) fn append(&mut self, number: usize, bad: bool) -> Result<bool> {
        let (agent, at) = self.publisher(number);
        let state = self.agents[agent].state(at)?;
        let agent = &self.agents[agent];
        let publication = &agent.publications[at];
        if state.epoch == 0 {
            return Ok(false);
        }
        let columns: Vec<FieldId> =
            publication.entry.columns().iter().map(|item| item.id).collect();
        let mut builder = BlockBuilder::new(&columns);
        let values = |name: &'static str| {
            columns.iter().map(move |id| (id.0 == 2).then_some(name.as_bytes()))
        };
        builder.upsert(world::key(number, 0)?.as_bytes(), values("a"));
        if bad {
            builder.upsert(world::key(number, 1)?.as_bytes(), values("too long"));
            builder.upsert(world::key(number, 2)?.as_bytes(), columns.iter().map(|_| None));
        }
        builder.delete(world::key(number, 3)?.as_bytes());
        let rows = builder.rows();
        let block = builder.finish();
        let batch = NewBatch::rows(publication.entry.schema_version, &block, rows, Vec::new())?;
        let cancel = CancellationToken::new();
        let stream = publication.link.stream;
        agent.store.append(stream, batch, WriteBatch::new(), &cancel)?.wait()?;
        Ok(true)
    }
}
