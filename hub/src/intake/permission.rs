//! Whether governance lets a sender append: its node, its lease, the schema of its rows. Pure.

use hutong_schema::{
    batch::BatchHeader,
    ids::ResourceCode,
    wire::v1::{RefusalCode, Refused},
};

use super::LaneKey;
use crate::{numbers::NodeNo, views::registry::Registry};

/// The node is in service, its lease stands and its rows follow the schema in force. Repeats, up to
/// batch `stored`, may follow an older one.
pub(super) fn may_append(
    registry: &Registry,
    (key, node, epoch): (LaneKey, NodeNo, u32),
    header: &BatchHeader,
    stored: u64,
) -> Result<(), Refused> {
    let (resource, shard) = key;
    if registry.node(node).is_none_or(|node| !node.in_service()) {
        let detail = "the node was retired, or its certificates are revoked";
        return Err(Refused::new(RefusalCode::UnknownNode, detail));
    }
    let lease = registry.lease(resource, shard);
    if lease.is_none_or(|lease| (lease.node, lease.epoch) != (node, epoch)) {
        let now = lease.map_or(0, |lease| lease.epoch);
        let detail = format!("epoch {epoch} is closed, {now} is in force");
        return Err(Refused::new(RefusalCode::Fenced, detail).expecting(now.into()));
    }
    if let Some(entry) = registry.entry(resource) {
        let now = entry.entry.schema_version;
        if header.schema_version != now && header.seq > stored {
            return Err(schema_changed(&entry.entry.code, header.schema_version, now));
        }
    }
    Ok(())
}

pub(super) fn schema_changed(code: &ResourceCode, sent: u32, now: u32) -> Refused {
    let detail = format!("{code} follows schema {now}, the rows follow {sent}: map them again");
    Refused::new(RefusalCode::SchemaChanged, detail).expecting(now.into())
}
