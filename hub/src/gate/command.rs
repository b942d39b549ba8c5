//! Commands of a node: catalogue and grants.

use hutong_certs::stream::FrameWriter;
use hutong_schema::{
    catalogue::CatalogueEntry,
    ids::ResourceCode,
    wire::v1::{
        Json, RefusalCode, Refused,
        command::{CatalogueApplied, CatalogueApply, CatalogueList, CataloguePage, GrantPage},
    },
};

use super::session::{Peer, StreamFailure};
use crate::{
    govern::{Command, Outcome},
    views::registry::Entry,
};
use std::{sync::Arc, time::Instant};

/// Entries in one page: the largest entry known has some 100 items, 20 KiB.
const PAGE: usize = 40;

/// Most entries in one command.
const APPLY_MAX: usize = 500;

/// What a department is told to wait whose entries are too many: somebody has to do something first.
const QUOTA_RETRY_MS: u32 = 60_000;

/// Registers or changes entries of the node's own department.
pub(super) async fn catalogue_apply(
    peer: &Peer,
    apply: &CatalogueApply,
    writer: &mut FrameWriter,
) -> Result<(), StreamFailure> {
    peer.share.command(Instant::now())?;
    let entries: Vec<CatalogueEntry> = apply.entries.read().map_err(|error| {
        Refused::new(RefusalCode::Catalogue, format!("the entries cannot be read: {error}"))
    })?;
    if entries.len() > APPLY_MAX {
        let detail = format!("{} entries at once, at most {APPLY_MAX} are taken", entries.len());
        return Err(Refused::new(RefusalCode::Catalogue, detail).into());
    }
    let department = peer.department;
    within_quota(peer, &entries)?;
    let outcome =
        peer.rooms().governor.command(Command::PublishEntries { department, entries }).await?;
    let Outcome::EntriesPublished { changed, unchanged, warnings } = outcome else {
        return Err(Refused::new(RefusalCode::Internal, "the command had another outcome").into());
    };
    writer.send(&CatalogueApplied { changed, unchanged, warnings }).await?;
    Ok(())
}

/// Whether the department may register so many entries.
fn within_quota(peer: &Peer, entries: &[CatalogueEntry]) -> Result<(), Refused> {
    let allowed = peer.rooms().intake.quota(peer.department).entries as usize;
    if allowed == 0 {
        return Ok(());
    }
    let registry = peer.rooms().registry.read();
    let new = entries.iter().filter(|entry| registry.entry_coded(&entry.code).is_none()).count();
    if new == 0 {
        return Ok(());
    }
    let own = registry.entries().filter(|entry| entry.entry.provider == peer.department).count();
    if own + new <= allowed {
        return Ok(());
    }
    let detail = format!("{own} entries are registered and {new} are new; {allowed} are allowed");
    Err(Refused::new(RefusalCode::Quota, detail).retry_after(QUOTA_RETRY_MS))
}

/// Lists entries page by page in the order of codes.
pub(super) async fn catalogue_list(
    peer: &Peer,
    list: &CatalogueList,
    writer: &mut FrameWriter,
) -> Result<(), StreamFailure> {
    peer.share.question(Instant::now())?;
    let entries: Vec<Arc<Entry>> = {
        let registry = peer.rooms().registry.read();
        let asked = |entry: &&Arc<Entry>| !list.own || entry.entry.provider == peer.department;
        registry.entries_after(list.after.as_ref()).filter(asked).take(PAGE + 1).cloned().collect()
    };
    let more = entries.len() > PAGE;
    let page: Vec<&CatalogueEntry> = entries.iter().take(PAGE).map(|entry| &*entry.entry).collect();
    let next: Option<ResourceCode> = page.last().filter(|_| more).map(|entry| entry.code.clone());
    let entries = Json::of(&page).map_err(unwritable)?;
    writer.send(&CataloguePage { entries, next }).await?;
    Ok(())
}

/// Lists the grants in force for the node's department.
pub(super) async fn grant_list(peer: &Peer, writer: &mut FrameWriter) -> Result<(), StreamFailure> {
    peer.share.question(Instant::now())?;
    let views = peer.rooms().router.grants_of(&peer.department);
    let grants = Json::of(&views).map_err(unwritable)?;
    writer.send(&GrantPage { grants }).await?;
    Ok(())
}

fn unwritable(error: serde_json::Error) -> Refused {
    Refused::new(RefusalCode::Internal, format!("the answer has no JSON form: {error}"))
}
