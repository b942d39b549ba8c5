//! GeoJSON: the features of a FeatureCollection (RFC 7946), each one a row.
//!
//! Properties are items by name, `geometry` is the item of that type, `id` the item of that name or
//! label unless a property has it. The file is read as a whole and taken apart feature by feature.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use hutong_schema::catalogue::DataType;
use hutong_schema::rules::RejectReason;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::object::{self, Found};
use super::{Identity, Mapping, Next, Position, Refusal, Row, SourceError, decode};
use crate::config::TextEncoding;

/// Largest file, bytes.
pub const FEATURES_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A collection in memory.
pub(super) struct Features {
    file: File,
    text: String,
    /// Where each feature stands in the text.
    places: Vec<(usize, usize)>,
    next: usize,
    geometry: Option<usize>,
}

#[derive(Deserialize)]
struct Collection<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    features: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Feature<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    geometry: Option<&'a RawValue>,
    #[serde(borrow)]
    properties: Option<&'a RawValue>,
}

impl Features {
    pub(super) fn open(
        path: &Path,
        encoding: TextEncoding,
        mapping: &Mapping,
    ) -> Result<Self, SourceError> {
        let form = |detail: String| SourceError::Form { path: path.to_owned(), detail };
        let read = |source| SourceError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(|error| SourceError::of_open(path, error))?;
        let size = file.metadata().map_err(read)?.len();
        if size > FEATURES_BYTES_MAX {
            return Err(form(format!(
                "the collection is {size} bytes large and is read as a whole, up to {FEATURES_BYTES_MAX} \
                 bytes; split it, or write one row per line (jsonl)"
            )));
        }
        let mut bytes = Vec::with_capacity(size as usize);
        (&mut file).take(FEATURES_BYTES_MAX).read_to_end(&mut bytes).map_err(read)?;
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
        let mut buffer = String::new();
        let text = decode::text(bytes, encoding, &mut buffer)
            .ok_or_else(|| form("the text is not valid in its encoding".to_owned()))?
            .to_owned();
        let collection: Collection<'_> = serde_json::from_str(&text)
            .map_err(|error| form(format!("it is no GeoJSON FeatureCollection: {error}")))?;
        if collection.kind != "FeatureCollection" {
            let kind = collection.kind;
            return Err(form(format!("it is a GeoJSON {kind}, not a FeatureCollection")));
        }
        let features = collection
            .features
            .ok_or_else(|| form("the FeatureCollection lacks its features".to_owned()))?;
        let start = text.as_ptr() as usize;
        let place = |feature: &&RawValue| {
            let raw = feature.get();
            (raw.as_ptr() as usize - start, raw.len())
        };
        let places = features.iter().map(place).collect();
        let geometry = mapping.items().iter().position(|item| item.data_type == DataType::Geometry);
        Ok(Self { file, text, places, next: 0, geometry })
    }

    pub(super) fn begin_rows(&mut self, from: Option<Position>) {
        self.next = from.map_or(0, |from| usize::try_from(from.rows).unwrap_or(usize::MAX));
    }

    pub(super) fn row(&mut self, mapping: &mut Mapping, row: &mut Row) -> Next {
        if self.next >= self.places.len() {
            return Next::End;
        }
        self.next += 1;
        row.begin(self.next as u64);
        let refused = Next::Refused(Refusal::whole(RejectReason::Type));
        let Ok(feature) = serde_json::from_str::<Feature<'_>>(self.current()) else {
            return refused;
        };
        let mut found: Found<'_> = vec![None; mapping.slots()];
        let properties = feature.properties.map_or("null", RawValue::get);
        if properties != "null" && object::find(properties, mapping, &mut found).is_err() {
            return refused;
        }
        let geometry = self.geometry.or_else(|| mapping.item_named("geometry"));
        for (slot, value) in [(geometry, feature.geometry), (mapping.item_named("id"), feature.id)]
        {
            if let Some(slot) = slot
                && found[slot].is_none()
            {
                found[slot] = value;
            }
        }
        match object::fill(&found, mapping, row) {
            Ok(()) => Next::Row,
            Err(refusal) => Next::Refused(refusal),
        }
    }

    pub(super) fn raw(&self) -> Vec<u8> {
        self.current().as_bytes().to_vec()
    }

    pub(super) fn position(&self) -> Position {
        Position { offset: self.next as u64, rows: self.next as u64 }
    }

    pub(super) fn identity(&self) -> io::Result<Identity> {
        Identity::of(&self.file)
    }

    /// The text of the feature yielded last.
    fn current(&self) -> &str {
        let place = self.next.checked_sub(1).and_then(|last| self.places.get(last));
        let (start, length) = place.copied().unwrap_or((0, 0));
        self.text.get(start..start + length).unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "features_tests.rs"]
mod tests;
