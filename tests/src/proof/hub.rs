//! Rows of the hub's views, read from its files.

use std::ops::ControlFlow;

use anyhow::{Context, Result};
use hutong_hub::views::{Place, ReadOnlyViews, ViewSnapshot};
use hutong_schema::digest::key_hash;
use hutong_schema::grant::{AsOf, Target};
use hutong_schema::library::LibraryId;

use super::inventory::Inventory;
use super::schema::{ResourceSchema, Scratch, Subjects, Take};

/// The hub's views, opened beside the hub.
pub(super) struct HubFiles(ReadOnlyViews);

impl HubFiles {
    pub(super) fn open(inventory: &Inventory) -> Result<Self> {
        let folder = inventory.hub_data.join("views");
        let views = ReadOnlyViews::open(&folder);
        Ok(Self(views.with_context(|| format!("open the views in {}", folder.display()))?))
    }

    /// The date that ages are counted to.
    pub(super) fn as_of(&self) -> Result<AsOf> {
        // Every partition learns of a new date; that of the people is the one that matters.
        Ok(self.0.snapshot().as_of(Place::Library(LibraryId::POPULATION))?)
    }

    /// Counts the rows of a resource. Returns whether all could be read.
    pub(super) fn resource(
        &self,
        subjects: &Subjects,
        schema: &ResourceSchema,
        to: &mut impl Take,
    ) -> bool {
        let mut scratch = Scratch::default();
        let target = Target::Resource(schema.entry.code.clone());
        let mut unreadable = None;
        let snapshot = self.0.snapshot();
        if let Some(place) = snapshot.place(&target) {
            let visit = |key: &[u8], row: hutong_schema::row::RowRef<'_>| {
                subjects.class_row(schema, key, key_hash(key), row, &mut scratch, to);
                ControlFlow::Continue(())
            };
            unreadable = snapshot.scan(place, None, visit).err();
        }
        report(unreadable, &target, to)
    }

    /// Counts the rows of a target under these grants of it. Returns whether all could be read.
    pub(super) fn target(
        &self,
        subjects: &Subjects,
        target: &Target,
        grants: &[usize],
        as_of: AsOf,
        to: &mut impl Take,
    ) -> bool {
        let mut bytes = Vec::new();
        let mut unreadable = None;
        let snapshot = self.0.snapshot();
        if let Some(place) = snapshot.place(target) {
            let visit = |key: &[u8], row: hutong_schema::row::RowRef<'_>| {
                let hash = key_hash(key);
                for grant in grants {
                    subjects.granted_row(*grant, as_of, (key, hash), row, &mut bytes, to);
                }
                ControlFlow::Continue(())
            };
            unreadable = snapshot.scan(place, None, visit).err();
        }
        report(unreadable, target, to)
    }

    /// Whether the row under a key can be read, or is known to be absent.
    pub(super) fn readable(&self, target: &Target, key: &[u8]) -> bool {
        let snapshot: ViewSnapshot<'_> = self.0.snapshot();
        snapshot.place(target).is_none_or(|place| snapshot.row(place, key).is_ok())
    }
}

fn report(
    unreadable: Option<hutong_hub::views::ViewError>,
    target: &Target,
    to: &mut impl Take,
) -> bool {
    match unreadable {
        None => true,
        Some(error) => {
            let error = anyhow::Error::from(error);
            to.unreadable(format!("the hub's rows of {target}: {error:#}"));
            false
        }
    }
}
