//! Rows from outside of a scan: those that programs push, and those of quarantine that a person
//! corrected.

use std::{collections::HashSet, sync::Arc, time::Duration};

use hutong_schema::{catalogue::CatalogueEntry, ids::ResourceCode, words::in_full};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::{Agent, scans::Mounted};
use crate::{
    changes::{HandError, HandReport, HandedRow, PushConfirmed, RefusedRow},
    config::SourceConfig,
    quarantine::{FaultId, Place, Quarantine, Sheet},
    sources::Objects,
    spool::{Store, StoreError},
};

/// How long rows that are handed over wait for room in the outbox before they are sent back.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// What a person asks about quarantine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum QuarantineRequest {
    /// The catalogue entry that rows are checked against.
    Entry(ResourceCode),
    /// Corrected rows.
    Resubmit {
        /// Of this resource.
        resource: ResourceCode,
        /// The rows.
        sheet: Sheet,
    },
}

/// What became of corrected rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resubmitted {
    /// Rows that are in the outbox.
    pub accepted: u64,
    /// Records of quarantine that are settled by this.
    pub settled: u64,
    /// Rows that are in quarantine again; their place is the row of the sheet.
    pub refused: Vec<Fault>,
    /// Columns that are no item.
    pub ignored: Vec<String>,
}

/// Why a row was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The row's place.
    pub index: u64,
    /// Machine name of the item at fault; absent for the row as a whole.
    pub field: Option<String>,
    /// Its label.
    pub label: Option<String>,
    /// Number of the reason.
    pub code: u16,
}

impl Fault {
    pub(super) fn of(refused: &RefusedRow, entry: &CatalogueEntry) -> Self {
        let item = entry.item(refused.field);
        Self {
            index: refused.index,
            field: item.map(|item| item.name.clone()),
            label: item.map(|item| item.label.clone()).filter(|label| !label.is_empty()),
            code: refused.reason.code(),
        }
    }
}

/// Does what a person asked.
pub(super) async fn perform(agent: &Agent, request: QuarantineRequest) -> Result<Value, String> {
    let (QuarantineRequest::Entry(resource) | QuarantineRequest::Resubmit { resource, .. }) =
        &request;
    let resource = resource.clone();
    let mounted = agent.mounted_of(&resource).ok_or_else(|| {
        format!("{resource} is not published by this agent, or its node has no certificate yet; see: hutong-agent status")
    })?;
    let entry = mounted.publication.entry().ok_or_else(|| {
        format!("the catalogue entry of {resource} is not known yet; see: hutong-agent status")
    })?;
    let answer = match request {
        QuarantineRequest::Entry(_) => serde_json::to_value(&*entry),
        QuarantineRequest::Resubmit { sheet, .. } => {
            let store = agent.process.store.clone();
            let of = Arc::clone(&mounted);
            let done =
                within_patience(agent, move |cancel| resubmit(&of, &store, &entry, &sheet, cancel));
            let done = done.await.ok_or("the work was interrupted")?;
            if let Err(ResubmitError::Hand(HandError::Store(error))) = &done {
                agent.process.fatal.raise(error);
            }
            let done = done.map_err(|error| in_full(&error))?;
            mounted.handed_over(&agent.process.store);
            tracing::info!(%resource, accepted = done.accepted, refused = done.refused.len(),
                "corrected rows were handed in");
            serde_json::to_value(done)
        }
    };
    answer.map_err(|error| error.to_string())
}

/// Runs blocking work that gives up waiting after a while, or when the agent ends; `None` if it broke
/// off.
pub(super) async fn within_patience<T: Send + 'static>(
    agent: &Agent,
    work: impl FnOnce(&CancellationToken) -> T + Send + 'static,
) -> Option<T> {
    let cancel = agent.cancel.child_token();
    let given = cancel.clone();
    let mut working = tokio::task::spawn_blocking(move || work(&given));
    let done = tokio::select! {
        done = &mut working => done,
        () = tokio::time::sleep(PATIENCE) => {
            cancel.cancel();
            // If it has not begun, because all threads wait for room, it does not begin any more.
            working.abort();
            working.await
        }
    };
    done.ok()
}

/// A person says that every row was pushed once more; the answer in words.
pub(super) async fn confirm(
    agent: &Agent,
    mounted: &Arc<Mounted>,
) -> Result<Option<&'static str>, StoreError> {
    if mounted.source.config.source != SourceConfig::Push {
        return Ok(None);
    }
    let Some(entry) = mounted.publication.entry() else { return Ok(None) };
    let (store, of) = (agent.process.store.clone(), Arc::clone(mounted));
    let done =
        within_patience(agent, move |cancel| of.source.confirm_pushed(&store, &entry, cancel));
    Ok(match done.await.unwrap_or(Err(StoreError::Closed))? {
        PushConfirmed::Nothing => None,
        PushConfirmed::Ended => Some(
            "confirmed: rows that were not pushed since the new epoch began are removed at the hub",
        ),
        PushConfirmed::NothingNamed => Some(
            "nothing is removed: the hub has accepted no row since the new epoch began, so that all would go; push every row first, then confirm",
        ),
    })
}

/// Corrected rows cannot be taken; quarantine is as it was.
#[derive(Debug, thiserror::Error)]
enum ResubmitError {
    #[error(transparent)]
    Hand(#[from] HandError),
    #[error("quarantine cannot be read or written")]
    Quarantine(#[from] crate::quarantine::QuarantineError),
    #[error("no column of the sheet is an item of {resource}; it has: {known}")]
    NoItems { resource: ResourceCode, known: String },
    #[error("two columns of the sheet are the item {0}")]
    Twice(String),
}

/// Hands the rows of a sheet over, then settles what they correct. A row that is refused again stands in
/// quarantine anew, with its new reason, so that the old record is settled as well.
fn resubmit(
    mounted: &Mounted,
    store: &Store,
    entry: &CatalogueEntry,
    sheet: &Sheet,
    cancel: &CancellationToken,
) -> Result<Resubmitted, ResubmitError> {
    let quarantine = &mounted.source.quarantine;
    let (columns, ignored) = columns(entry, sheet)?;
    // As it is now: what is refused again below must not be settled with it.
    let corrected = corrected(quarantine, entry, sheet)?;
    let texts: Vec<String> = sheet.rows.iter().map(|row| as_object(&columns, &row.cells)).collect();
    let rows = texts.iter().zip(&sheet.rows);
    let rows = rows.map(|(text, row)| HandedRow { text, wrong: row.misfit });
    let report = mounted.source.hand_over(store, entry, rows)?.commit(|_, _| {}, cancel)?;
    quarantine.settle(&entry.code, corrected.iter().map(|(place, id)| (place, id)))?;
    let HandReport { upserts, refused, .. } = report;
    let numbered = refused.iter().map(|refused| {
        let place = usize::try_from(refused.index).ok().and_then(|at| sheet.rows.get(at));
        Fault { index: place.map_or(0, |row| row.number), ..Fault::of(refused, entry) }
    });
    Ok(Resubmitted {
        accepted: upserts,
        settled: corrected.len() as u64,
        refused: numbered.collect(),
        ignored,
    })
}

/// Machine names of the columns, and the names of those that are no item.
fn columns(
    entry: &CatalogueEntry,
    sheet: &Sheet,
) -> Result<(Vec<Option<String>>, Vec<String>), ResubmitError> {
    let objects = Objects::new(entry);
    let named = |name: &String| objects.item(name).map(|item| item.name.clone());
    let columns: Vec<Option<String>> = sheet.header.iter().map(named).collect();
    let mut seen = HashSet::new();
    if let Some(twice) = columns.iter().flatten().find(|name| !seen.insert(name.as_str())) {
        return Err(ResubmitError::Twice(twice.clone()));
    }
    if seen.is_empty() {
        let names = entry.items.iter().map(|item| format!("{} {}", item.name, item.label));
        let known = names.collect::<Vec<_>>().join(", ");
        return Err(ResubmitError::NoItems { resource: entry.code.clone(), known });
    }
    let unknown = sheet.header.iter().zip(&columns).filter(|(_, item)| item.is_none());
    let unknown = unknown.map(|(name, _)| name.clone()).collect();
    Ok((columns, unknown))
}

/// As the values of a file's row are kept in quarantine, so that the same row is known again.
fn as_object(columns: &[Option<String>], cells: &[String]) -> String {
    let cells = cells.iter().map(|cell| Some(cell).filter(|cell| !cell.is_empty()));
    let known = columns.iter().zip(cells).filter_map(|(name, cell)| Some((name.clone()?, cell?)));
    let values: Map<String, Value> =
        known.map(|(name, cell)| (name, Value::String(cell.clone()))).collect();
    Value::Object(values).to_string()
}

/// The records of the faults that the sheet names.
fn corrected(
    quarantine: &Quarantine,
    entry: &CatalogueEntry,
    sheet: &Sheet,
) -> Result<Vec<(Place, FaultId)>, ResubmitError> {
    let named: HashSet<&FaultId> = sheet.rows.iter().filter_map(|row| row.id.as_ref()).collect();
    let mut found = Vec::new();
    if !named.is_empty() {
        quarantine.open_records(&entry.code, |record| {
            if named.contains(&record.id) {
                found.push((record.place, record.id));
            }
        })?;
    }
    Ok(found)
}

/// Resources that programs push, whether their nodes are up or not.
pub(super) fn pushed(agent: &Agent) -> Vec<ResourceCode> {
    let config = agent.config();
    let configured = config.nodes.iter().flat_map(|node| &node.publish);
    let pushed = configured.filter(|each| each.source == SourceConfig::Push);
    pushed.map(|each| each.resource.clone()).collect()
}
