//! Opening a publication: is it theirs, who holds the lease, where does its sequence stand.

use std::sync::Arc;

use hutong_schema::wire::v1::{
    RefusalCode, Refused,
    publish::{PublishOpen, PublishReady},
};
use tokio::sync::oneshot;

use super::{
    Intake, Lane, LaneStart, Shared, Validator,
    admit::{Opened, Order},
    permission, stopping,
};
use crate::{
    govern::{Command, Outcome},
    numbers::NodeNo,
    views::registry::Entry,
};

impl Intake {
    /// Opens a publication for a node; with epoch 0 a new epoch, which closes all older ones. Batches of
    /// an older stream that come behind this answer are refused. The
    /// credit is left to the caller.
    ///
    /// # Errors
    /// When the node may not publish this, or its epoch is closed, or its schema is not in force.
    pub async fn open(
        &self,
        node: NodeNo,
        open: &PublishOpen,
    ) -> Result<(Lane, PublishReady), Refused> {
        let shared = &*self.0;
        let entry = shared.may_publish(node, open)?;
        if open.schema_version != entry.entry.schema_version {
            return Err(permission::schema_changed(
                &open.resource,
                open.schema_version,
                entry.entry.schema_version,
            ));
        }
        let epoch = match open.epoch {
            0 => shared.open_epoch(node, &entry, open.shard).await?,
            epoch => shared.holds_lease(node, &entry, open.shard, epoch)?,
        };
        let partition = entry.partition(shared.registry.read().data_partitions());
        let Opened { at, taken_over } = shared.stand(&entry, open.shard, epoch, partition).await?;
        let has_rows = at.last_seq == 0 && shared.may_have_rows(&entry, epoch)?;
        let validator = Arc::new(Validator::new(Arc::clone(&entry.entry)));
        let key = (entry.number, open.shard);
        let known = (&shared.registry, &*shared.views);
        let account = shared.accounts.of(entry.entry.provider, &shared.options.quotas, known);
        let account = account.map_err(|reason| unreadable(&reason))?;
        let stored = at.last_seq;
        let lane = Lane { key, node, epoch, partition, taken_over, account, validator, stored };
        let ready = PublishReady {
            epoch,
            last_seq: at.last_seq,
            chain: at.chain,
            settled_through: at.last_seq,
            has_rows,
            credit_bytes: 0,
        };
        Ok((lane, ready))
    }
}

impl Shared {
    fn may_publish(&self, node: NodeNo, open: &PublishOpen) -> Result<Arc<Entry>, Refused> {
        let registry = self.registry.read();
        let refuse = |code, detail: String| Err(Refused::new(code, detail));
        let Some(record) = registry.node(node).filter(|node| node.in_service()) else {
            let detail = "the node is not registered, was retired, or its certificates are revoked";
            return refuse(RefusalCode::UnknownNode, detail.into());
        };
        let Some(entry) = registry.entry_coded(&open.resource) else {
            let detail =
                format!("{} is not in the catalogue; apply its entry first", open.resource);
            return refuse(RefusalCode::NotRegistered, detail);
        };
        if entry.entry.provider != record.department {
            let detail = format!("{} is provided by {}", open.resource, entry.entry.provider);
            return refuse(RefusalCode::NotYours, detail);
        }
        if open.shard != 0 {
            let detail = format!("{} is not split into shards, use shard 0", open.resource);
            return refuse(RefusalCode::Protocol, detail);
        }
        Ok(Arc::clone(entry))
    }

    async fn open_epoch(&self, node: NodeNo, entry: &Entry, shard: u16) -> Result<u32, Refused> {
        let command = Command::OpenEpoch { node, resource: entry.number, shard };
        let outcome = self.governor.command(command).await?;
        let Outcome::Epoch(epoch) = outcome else {
            tracing::error!(?outcome, "opening an epoch had another outcome");
            return Err(Refused::new(RefusalCode::Internal, "the epoch could not be opened"));
        };
        Ok(epoch)
    }

    fn holds_lease(
        &self,
        node: NodeNo,
        entry: &Entry,
        shard: u16,
        epoch: u32,
    ) -> Result<u32, Refused> {
        let code = &entry.entry.code;
        let lease = self.registry.read().lease(entry.number, shard);
        match lease {
            Some(lease) if lease.node == node && lease.epoch == epoch => Ok(epoch),
            Some(lease) if lease.node != node => {
                let detail = format!("another node of your department publishes {code}");
                Err(Refused::new(RefusalCode::Leased, detail))
            }
            Some(lease) => {
                let detail = format!(
                    "{code}: epoch {epoch} is not in force, {} is; open a new one",
                    lease.epoch
                );
                Err(Refused::new(RefusalCode::Fenced, detail).expecting(lease.epoch.into()))
            }
            None => {
                let detail = format!("{code}: epoch {epoch} was never opened here; open a new one");
                Err(Refused::new(RefusalCode::Fenced, detail).expecting(0))
            }
        }
    }

    /// Asks the partition's owner where the lane stands; everything it says is durable.
    async fn stand(
        &self,
        entry: &Entry,
        shard: u16,
        epoch: u32,
        partition: crate::log::PartitionId,
    ) -> Result<Opened, Refused> {
        let loaded = self.views.lane(entry.number, shard).map_err(|reason| unreadable(&reason))?;
        let fresh = LaneStart::fresh(&entry.entry.code, shard, epoch);
        let (answer, at) = oneshot::channel();
        let order = Order::Open { key: (entry.number, shard), loaded, fresh, answer };
        self.doorway(partition)?.orders.send(order).await.map_err(|_| stopping())?;
        let opened = at.await.map_err(|_| stopping())?;
        let in_force = opened.at.epoch;
        if in_force != epoch {
            let detail = format!("epoch {epoch} is closed, {in_force} is in force");
            return Err(Refused::new(RefusalCode::Fenced, detail).expecting(in_force.into()));
        }
        Ok(opened)
    }

    /// Whether an earlier epoch left rows here: rather yes where the views have not caught up, for
    /// then the sender names all its keys and nothing wrong remains.
    fn may_have_rows(&self, entry: &Entry, epoch: u32) -> Result<bool, Refused> {
        if epoch <= 1 {
            return Ok(false);
        }
        let partition = entry.partition(self.registry.read().data_partitions());
        if self.doorway(partition)?.behind() > 0 {
            return Ok(true);
        }
        let rows = self.views.rows(entry.number).map_err(|reason| unreadable(&reason))?;
        Ok(rows > 0)
    }
}

pub(super) fn unreadable(reason: &str) -> Refused {
    tracing::error!(reason, "the views cannot be read");
    Refused::new(RefusalCode::Internal, "the hub cannot read where the publication stands")
}
