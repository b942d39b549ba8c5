//! The views as the intake asks them.

use tokio::sync::watch;

use crate::{
    intake::{LaneStart, Standing},
    log::{Offset, PartitionId},
    numbers::ResourceNo,
    views::{ViewError, Views},
};

/// Answers the intake from the views.
pub struct FromViews(pub Views);

impl Standing for FromViews {
    fn lane(&self, resource: ResourceNo, shard: u16) -> Result<Option<LaneStart>, String> {
        match self.0.snapshot().lane(resource, shard) {
            Ok(lane) => Ok(lane.map(|lane| LaneStart {
                epoch: lane.epoch,
                last_seq: lane.last_seq,
                chain: lane.chain,
                replacing: lane.replace.is_some(),
            })),
            // Registered a moment ago: there is no batch of it.
            Err(ViewError::UnknownResource(_)) => Ok(None),
            Err(error) => Err(format!("{}: {error}", error.code())),
        }
    }

    fn rows(&self, resource: ResourceNo) -> Result<u64, String> {
        match self.0.snapshot().resource_state(resource) {
            Ok(state) => Ok(state.rows),
            Err(ViewError::UnknownResource(_)) => Ok(0),
            Err(error) => Err(format!("{}: {error}", error.code())),
        }
    }

    fn volume(&self, resource: ResourceNo) -> Result<u64, String> {
        match self.0.snapshot().volume(resource) {
            Ok(bytes) => Ok(bytes),
            Err(ViewError::UnknownResource(_)) => Ok(0),
            Err(error) => Err(format!("{}: {error}", error.code())),
        }
    }

    fn applied(&self, partition: PartitionId) -> watch::Receiver<Offset> {
        self.0.applied(partition)
    }
}
