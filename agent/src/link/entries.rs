//! The catalogue entries of a node's publications: applied from its file, fetched from the hub,
//! remembered for a start without it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use hutong_schema::{
    catalogue::CatalogueEntry,
    wire::v1::{RefusalCode, Refused},
    words::in_full,
};

use super::{
    LinkError, Node, Publication, Session,
    catalogue::{self, CatalogueFileError},
};
use crate::spool::{Area, Store, StoreError, WriteBatch};

/// Wait before something is asked again that the hub does not say a time for.
const SOON: Duration = Duration::from_secs(1);

/// Asks the hub for the department's entries; `newer` replaces what is known.
pub(super) async fn fetch_entries(node: &Node, session: &Session, newer: bool) {
    match catalogue::list_all(session, true).await {
        Ok(entries) => {
            if let Err(error) = take_entries(node, entries, newer).await {
                tracing::error!(%error, "the catalogue entries could not be kept");
            }
        }
        Err(error) => {
            tracing::warn!(node = %node.name(), %error, "the catalogue could not be fetched");
        }
    }
}

/// Applies the catalogue file if it changed, and sees to it that the entries of all publications are
/// known. Only a broken connection is an error; a refusal is kept visible in the status.
pub(super) async fn prepare(node: &Arc<Node>, session: &Session) -> Result<(), LinkError> {
    if let Some(path) = node.options.catalogue.clone() {
        match apply_file(node, session, path).await {
            Ok(()) => node.set_catalogue_trouble(None),
            Err(CatalogueTrouble::Link(error)) => return Err(error),
            Err(CatalogueTrouble::File(error))
                if error.is_missing() && node.publications().is_empty() =>
            {
                tracing::info!(node = %node.name(), reason = %error,
                    "there is no catalogue; this node publishes nothing and needs none");
                node.set_catalogue_trouble(None);
            }
            Err(trouble) => {
                let text = in_full(&trouble);
                tracing::error!(node = %node.name(), reason = text,
                    "the catalogue was not applied; resources that are registered already go on");
                node.set_catalogue_trouble(Some(text));
            }
        }
    }
    if node.publications().iter().all(|each| each.entry().is_some()) {
        return Ok(());
    }
    match catalogue::list_all(session, true).await {
        Ok(entries) => {
            if let Err(error) = take_entries(node, entries, false).await {
                tracing::error!(%error, "the catalogue entries could not be kept");
            }
            Ok(())
        }
        Err(LinkError::Refused(refused)) => {
            node.set_catalogue_trouble(Some(refused.to_string()));
            Ok(())
        }
        Err(error) => Err(error),
    }
}

#[derive(Debug, thiserror::Error)]
enum CatalogueTrouble {
    #[error(transparent)]
    File(#[from] CatalogueFileError),
    #[error("{0}")]
    Refused(Refused),
    #[error(transparent)]
    Link(LinkError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("reading it was interrupted")]
    Interrupted,
}

async fn apply_file(
    node: &Arc<Node>,
    session: &Session,
    path: PathBuf,
) -> Result<(), CatalogueTrouble> {
    let shown = path.display().to_string();
    let read = tokio::task::spawn_blocking(move || catalogue::read(&path)).await;
    let file = read.map_err(|_| CatalogueTrouble::Interrupted)??;
    let key = format!("catalogue/{}", node.name());
    // Another exchange, or a log that began anew, may not have what was applied.
    let welcome = session.welcome();
    let mark =
        [&file.hash[..], &welcome.incarnation.to_be_bytes(), welcome.exchange.as_bytes()].concat();
    if node.store().get(Area::Nodes, key.as_bytes())?.as_deref() != Some(&mark) {
        let applied = loop {
            match catalogue::apply(session, &file.entries).await {
                Ok(applied) => break applied,
                Err(LinkError::Refused(refused)) if passes_by_itself(&refused) => {
                    let wait =
                        refused.retry_after_ms.map_or(SOON, |ms| Duration::from_millis(ms.into()));
                    tokio::time::sleep(wait).await;
                }
                Err(LinkError::Refused(refused)) => return Err(CatalogueTrouble::Refused(refused)),
                Err(error) => return Err(CatalogueTrouble::Link(error)),
            }
        };
        for (code, warning) in &applied.warnings {
            tracing::warn!(resource = %code, warning, "catalogue");
        }
        tracing::info!(node = %node.name(), file = shown, changed = applied.changed,
            unchanged = applied.unchanged, "the catalogue is applied");
        let mut writes = WriteBatch::new();
        writes.put(Area::Nodes, key.as_bytes(), mark);
        node.store().commit(writes).await?;
        take_entries(node, file.entries, true).await?;
    } else {
        take_entries(node, file.entries, false).await?;
    }
    Ok(())
}

fn passes_by_itself(refused: &Refused) -> bool {
    matches!(
        refused.reason(),
        Some(RefusalCode::NotReady | RefusalCode::Busy | RefusalCode::TooMany)
    )
}

/// Gives the publications their entries and keeps them for a start without the hub. `newer` replaces
/// what is known.
pub(super) async fn take_entries(
    node: &Node,
    entries: Vec<CatalogueEntry>,
    newer: bool,
) -> Result<(), StoreError> {
    let (mut writes, publications) = (WriteBatch::new(), node.publications());
    for entry in entries {
        let Some(publication) = publications.iter().find(|each| each.resource == entry.code) else {
            continue;
        };
        if publication.entry().is_some() && !newer {
            continue;
        }
        let stored =
            serde_json::to_vec(&entry).map_err(|_| StoreError::Record("a catalogue entry"))?;
        if publication.set_entry(entry) {
            writes.put(Area::Nodes, catalogue::entry_key(&publication.resource).as_bytes(), stored);
            node.want_scan(publication);
        }
    }
    if !writes.is_empty() {
        node.store().commit(writes).await?;
    }
    Ok(())
}

/// The entry that was known when the agent ran last.
pub(super) fn recall_entry(store: &Store, publication: &Publication) -> Result<(), StoreError> {
    if let Some(entry) = catalogue::recalled(store, &publication.resource)? {
        publication.set_entry(entry);
    }
    Ok(())
}
