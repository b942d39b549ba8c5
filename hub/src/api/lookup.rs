//! The operator's lookup. It needs no grant; it is recorded before it is answered.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use hutong_schema::{
    catalogue::{DataType, Item},
    geometry::{self, BoundingBox},
    grant::Target,
    library::{self, LibraryId},
    row::{FieldId, KEY_SEPARATOR, RowRef, key_parts},
    rules,
};

use super::{
    admin::Body,
    failure::{Answer, Failed},
    grants,
    office::Office,
    types::{LookupAnswer, LookupBy, LookupOrder, LookupRow},
};
use crate::{
    audit::{AccessRecord, Actor, Question},
    views::{Found, Place, ViewError, ViewSnapshot},
};

/// Most rows in one answer.
const ROWS_MAX: u16 = 100;

/// Most characters of a reason.
const REASON_MAX: usize = 1_000;

/// Answers a question of the operator.
pub(super) async fn ask(
    State(office): State<Arc<Office>>,
    Body(order): Body<LookupOrder>,
) -> Answer<LookupAnswer> {
    let reason = order.reason.trim();
    if reason.is_empty() || reason.chars().count() > REASON_MAX {
        let expected =
            format!("the case or file that the question belongs to, 1 to {REASON_MAX} characters");
        return Err(Failed::mistake("lookup", "reason", expected, format!("\"{reason:.40}\"")));
    }
    if !(1..=ROWS_MAX).contains(&order.limit) {
        return Err(Failed::mistake("lookup", "limit", format!("1 to {ROWS_MAX}"), order.limit));
    }
    let target = grants::target(&order.target)?;
    let here = Arc::clone(&office);
    let (asked, found) = {
        let (target, order) = (target.clone(), order.clone());
        tokio::task::spawn_blocking(move || Search::new(&here, &target)?.run(&order)).await??
    };
    record(&office, &order, target, asked).await?;
    Ok(Json(found))
}

/// Keeps who asked about whom, and why; of keys only pseudonyms.
async fn record(
    office: &Office,
    order: &LookupOrder,
    target: Target,
    keys: Vec<Vec<u8>>,
) -> Result<(), Failed> {
    let now = crate::clock::now_ms();
    let unrecorded = "the question could not be recorded and is not answered";
    let keys = keys.iter().map(|key| office.access.pseudonym(key, now)).collect::<Result<_, _>>();
    let record = AccessRecord {
        actor: Actor::Operator(order.operator.clone()),
        target,
        question: Question::Lookup,
        grant: None,
        keys: keys.map_err(|error| Failed::internal(unrecorded, &error))?,
        reason: order.reason.clone(),
    };
    office.access.record(&record).await.map_err(|error| Failed::internal(unrecorded, &error))
}

/// A row found: its key, its fields, and how far it is, where that was asked.
type Hit = (Found, Option<f64>);

struct Search<'h> {
    office: &'h Office,
    snapshot: ViewSnapshot<'h>,
    place: Place,
    items: Vec<Item>,
}

impl<'h> Search<'h> {
    fn new(office: &'h Office, target: &Target) -> Result<Self, Failed> {
        let snapshot = office.views.snapshot();
        let items = grants::items(&office.registry.read(), target);
        match (snapshot.place(target), items) {
            (Some(place), Some(items)) => Ok(Self { office, snapshot, place, items }),
            _ => {
                let expected = "a resource of the catalogue, or a library";
                Err(Failed::mistake("lookup", "target", expected, target))
            }
        }
    }

    /// The keys that the question is about, and the answer.
    fn run(&self, order: &LookupOrder) -> Result<(Vec<Vec<u8>>, LookupAnswer), Failed> {
        let limit = usize::from(order.limit);
        let (hits, more, mut asked): (Vec<Hit>, bool, _) = match &order.by {
            LookupBy::Key(text) => {
                let key = self.key(text)?;
                let row = self.snapshot.row(self.place, &key)?;
                let hit = row.map(|row| (Found { key: key.clone(), row }, None));
                (hit.into_iter().collect(), false, vec![key])
            }
            LookupBy::Index { field, value } => {
                let library = self.library("an index")?;
                let item = self.indexed(library, field)?;
                let value = canonical(item, value)?;
                let found = self.snapshot.by_index(library, item.id, &value, limit);
                let (found, more) = found.map_err(|error| unsearchable(error, field))?;
                (found.into_iter().map(|found| (found, None)).collect(), more, vec![])
            }
            LookupBy::Box([west, south, east, north]) => {
                let bounds = BoundingBox { west: *west, south: *south, east: *east, north: *north };
                let found = self.snapshot.in_box(self.library("a box")?, &bounds, limit);
                let (found, more) = found.map_err(|error| unsearchable(error, "box"))?;
                (found.into_iter().map(|found| (found, None)).collect(), more, vec![])
            }
            LookupBy::Nearest([longitude, latitude]) => {
                let library = self.library("nearness")?;
                let found = self.snapshot.nearest(library, *longitude, *latitude, limit);
                let found = found.map_err(|error| unsearchable(error, "nearest"))?;
                let more = found.len() == limit;
                (
                    found.into_iter().map(|(metres, found)| (found, Some(metres))).collect(),
                    more,
                    vec![],
                )
            }
        };
        for (found, _) in &hits {
            if !asked.contains(&found.key) {
                asked.push(found.key.clone());
            }
        }
        let rows = hits.iter().map(|hit| self.show(hit)).collect::<Result<_, _>>()?;
        Ok((asked, LookupAnswer { rows, more }))
    }

    fn library(&self, what: &str) -> Result<LibraryId, Failed> {
        match self.place {
            Place::Library(library) => Ok(library),
            Place::Resource(_) => {
                let expected = format!("a library, since {what} is asked for");
                Err(Failed::mistake(
                    "lookup",
                    "target",
                    expected,
                    "a resource: it is looked up by its key",
                ))
            }
        }
    }

    fn indexed(&self, library: LibraryId, name: &str) -> Result<&Item, Failed> {
        let definition = library::definition(library);
        let by_index = definition.and_then(|library| library.index(name)).map(|index| index.field);
        let item = match by_index {
            Some(field) => self.items.iter().find(|item| item.id == field),
            None => grants::named(&self.items, name),
        };
        item.ok_or_else(|| {
            let names: Vec<_> = definition
                .iter()
                .flat_map(|library| library.indexes)
                .map(|index| index.name)
                .collect();
            Failed::mistake("lookup", "field", format!("an index: {}", names.join(", ")), name)
        })
    }

    /// The canonical key from its text.
    fn key(&self, text: &str) -> Result<Vec<u8>, Failed> {
        let mut keys: Vec<&Item> = self.items.iter().filter(|item| item.key).collect();
        keys.sort_by_key(|item| item.id);
        let parts: Vec<&str> = if keys.len() == 1 { vec![text] } else { text.split('|').collect() };
        if parts.len() != keys.len() {
            let names: Vec<_> = keys.iter().map(|item| item.name.as_str()).collect();
            let expected = format!("{} parts joined by '|': {}", keys.len(), names.join("|"));
            return Err(Failed::mistake(
                "lookup",
                "key",
                expected,
                format!("{} parts", parts.len()),
            ));
        }
        let mut key = Vec::new();
        for (item, part) in keys.into_iter().zip(parts) {
            if !key.is_empty() {
                key.push(KEY_SEPARATOR);
            }
            key.extend(canonical(item, part)?);
        }
        Ok(key)
    }

    fn show(&self, (found, metres): &Hit) -> Result<LookupRow, Failed> {
        let mut values = BTreeMap::new();
        let mut keys: Vec<&Item> = self.items.iter().filter(|item| item.key).collect();
        keys.sort_by_key(|item| item.id);
        for (item, part) in keys.into_iter().zip(key_parts(&found.key)) {
            values.insert(item.name.clone(), text(item, part));
        }
        for (field, value) in found.row.as_ref().iter() {
            if let Some(item) = self.items.iter().find(|item| item.id == field) {
                values.insert(item.name.clone(), text(item, value));
            }
        }
        let key = String::from_utf8_lossy(&found.key).replace('\u{1f}', "|");
        let sources = self.sources(&found.key, found.row.as_ref())?;
        Ok(LookupRow { key, values, sources, metres: *metres })
    }

    /// For a library's record: which resource each value comes from.
    fn sources(&self, key: &[u8], row: RowRef<'_>) -> Result<BTreeMap<String, String>, Failed> {
        let Place::Library(library) = self.place else { return Ok(BTreeMap::new()) };
        let Some(record) = self.snapshot.library_record(library, key)? else {
            return Ok(BTreeMap::new());
        };
        let name =
            |field: FieldId| self.items.iter().find(|item| item.id == field).map(|item| &item.name);
        let shown = record.sources.iter().filter(|(field, _)| row.get(*field).is_some());
        let sources = shown.filter_map(|(field, resource)| {
            let entry = self.office.registry.entry(*resource)?;
            Some((name(*field)?.clone(), entry.entry.code.to_string()))
        });
        Ok(sources.collect())
    }
}

fn canonical(item: &Item, raw: &str) -> Result<Vec<u8>, Failed> {
    let expected = || format!("a value of {} ({})", item.name, item.data_type.code());
    match rules::canonicalise(item, raw) {
        Ok(Some(value)) => Ok(value.into_owned()),
        Ok(None) => Err(Failed::mistake("lookup", &item.name, expected(), "nothing")),
        Err(reason) => Err(Failed::mistake("lookup", &item.name, expected(), reason)),
    }
}

/// A value for people: geometry as GeoJSON, everything else is text already.
fn text(item: &Item, value: &[u8]) -> String {
    match item.data_type {
        DataType::Geometry => {
            geometry::to_geojson(value).unwrap_or_else(|error| format!("({error})"))
        }
        DataType::Text
        | DataType::Number
        | DataType::Money
        | DataType::Date
        | DataType::DateTime
        | DataType::Logical
        | DataType::Memo
        | DataType::Double
        | DataType::Integer
        | DataType::Float => String::from_utf8_lossy(value).into_owned(),
    }
}

fn unsearchable(error: ViewError, field: &str) -> Failed {
    if matches!(error, ViewError::NoSuchIndex) {
        return Failed::mistake("lookup", "field", "what the library is indexed by", field);
    }
    error.into()
}
