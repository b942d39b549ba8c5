//! Governance events in a data partition: what they change in the state.

use std::sync::Arc;

use hutong_schema::{batch::genesis, catalogue::CatalogueEntry};

use super::{
    super::{directory::Directory, entry::ViewEntry, records::LaneState, state::PartitionState},
    range::{At, Range, Step, Verdict, find},
};
use crate::{
    log::{Offset, event::Event},
    numbers::{NodeNo, ResourceNo},
};

impl Range {
    /// Judges a governance event's copy.
    pub(super) fn barrier(
        &mut self,
        state: &mut PartitionState,
        directory: &Directory,
        at: At,
        meta_offset: Offset,
        payload: &[u8],
    ) -> Verdict {
        let event = match Event::decode(payload) {
            Ok(event) => event,
            Err(error) => {
                find(state, at, None, &error.to_string());
                return Verdict::Done;
            }
        };
        match event {
            Event::EntryPublished { resource, entry } => {
                return self.entry(state, directory, at, meta_offset, resource, entry);
            }
            Event::EpochOpened { resource, shard, epoch, node } => {
                open_epoch(state, at, resource, shard, epoch, node);
            }
            Event::GrantMade { grant } => match directory.place(&grant.target) {
                Some(place) => state.put_grant(place, grant),
                None => find(state, at, None, "a grant of something that no event made known"),
            },
            Event::GrantWithdrawn { grant, .. } => state.remove_grant(grant),
            Event::ClockDate { as_of } if as_of == state.applied.as_of => {}
            Event::ClockDate { as_of } => {
                return Verdict::Alone(Step::Clock { at, meta_offset, to: as_of });
            }
            Event::ExchangeFounded { .. }
            | Event::DepartmentRegistered { .. }
            | Event::NodeEnrolled { .. }
            | Event::NodeRetired { .. }
            | Event::NodeRenewed { .. }
            | Event::NodeRevoked { .. }
            | Event::DepartmentRevoked { .. } => {
                find(state, at, None, "an event that no data view depends on");
            }
        }
        Verdict::Done
    }

    fn entry(
        &mut self,
        state: &mut PartitionState,
        directory: &Directory,
        at: At,
        meta_offset: Offset,
        resource: ResourceNo,
        entry: CatalogueEntry,
    ) -> Verdict {
        let old = state.entries.get(&resource).cloned();
        let space = resource.space(entry.binding.as_ref().map(|binding| binding.library));
        let member = match &old {
            Some(old) => old.member,
            None => state.spaces.get(&space).is_some_and(|members| !members.is_empty()),
        };
        let new = ViewEntry::new(resource, entry, state.partition, member);
        if let Some(old) = old {
            if old.space != new.space {
                find(
                    state,
                    at,
                    Some(resource),
                    "an entry cannot be bound to another library; it stays as it was",
                );
                return Verdict::Done;
            }
            let in_use = state.resource(resource).rows > 0 || !self.works.is_empty();
            if in_use && !old.reads_like(&new) {
                return Verdict::Alone(Step::Remap { at, meta_offset, from: old, to: new });
            }
        }
        directory.put(Arc::clone(&new));
        state.put_entry(new);
        Verdict::Done
    }
}

fn open_epoch(
    state: &mut PartitionState,
    at: At,
    resource: ResourceNo,
    shard: u16,
    epoch: u32,
    node: NodeNo,
) {
    let Some(entry) = state.entries.get(&resource) else {
        return find(state, at, Some(resource), "an epoch of a resource that no event made known");
    };
    if state.lane(resource, shard).is_some_and(|lane| lane.epoch >= epoch) {
        return find(state, at, Some(resource), "an epoch that is not newer than the one in force");
    }
    let chain = genesis(&entry.entry.code, shard, epoch);
    state.set_lane(resource, shard, LaneState { node, epoch, last_seq: 0, chain, replace: None });
}
