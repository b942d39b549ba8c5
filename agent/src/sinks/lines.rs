//! How delivered rows stand in a file.
//!
//! JSONL, one change per line; of several lines with one key the last counts:
//!
//! ```text
//! {"op":"upsert","key":"211221…","row":{"sfzh":"211221…","xm":"…","geom":{"type":"Point",…}}}
//! {"op":"delete","key":"211221…"}
//! ```
//!
//! Values stand as their canonical text in JSON strings, geometry as a GeoJSON object, absent
//! values not at all. The parts of a composite key are joined by U+001F. CSV has the columns `op`,
//! the key items, the other items; geometry is GeoJSON text.

use hutong_schema::{
    block::Block,
    catalogue::{DataType, Item},
    geometry,
    grant::GrantView,
    row::{FieldId, key_parts},
};

use super::SinkError;

/// Form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFormat {
    /// One JSON object per line.
    Jsonl,
    /// Comma-separated values with a header line.
    Csv,
}

impl LineFormat {
    /// The usual suffix, without a dot.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
        }
    }
}

/// Writes the rows of one subscription.
#[derive(Clone, Debug)]
pub struct Lines {
    pub(super) format: LineFormat,
    pub(super) keys: Vec<Column>,
    pub(super) items: Vec<Column>,
}

#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) field: FieldId,
    pub(super) name: String,
    /// `"name":`
    json_name: Vec<u8>,
    pub(super) geometry: bool,
}

/// Where a block holds the items of the view.
#[derive(Clone, Debug)]
pub struct Layout(Vec<Option<usize>>);

impl Lines {
    /// For what a grant delivers.
    pub fn new(view: &GrantView, format: LineFormat) -> Self {
        let columns = |items: &[Item]| items.iter().map(Column::new).collect();
        Self { format, keys: columns(&view.keys), items: columns(&view.items) }
    }

    /// What stands before the first row.
    pub fn header(&self, out: &mut Vec<u8>) {
        if self.format == LineFormat::Jsonl {
            return;
        }
        out.extend_from_slice(b"op");
        for column in self.keys.iter().chain(&self.items) {
            out.push(b',');
            push_csv(column.name.as_bytes(), out);
        }
        out.push(b'\n');
    }

    /// Finds the items in a block.
    ///
    /// # Errors
    /// When the block has a column that the view does not: it would be left out unseen.
    pub fn layout(&self, block: &Block<'_>) -> Result<Layout, SinkError> {
        let known = |field| self.items.iter().any(|column| column.field == field);
        if let Some(field) = (0..block.columns()).map(|c| block.field(c)).find(|f| !known(*f)) {
            return Err(SinkError::Delivery(format!(
                "field {field} is delivered but not in the grant's view"
            )));
        }
        Ok(Layout(self.items.iter().map(|column| block.column_of(column.field)).collect()))
    }

    /// Writes change `index` of a block.
    ///
    /// # Errors
    /// When a value is not in canonical form.
    pub fn change(
        &self,
        block: &Block<'_>,
        layout: &Layout,
        index: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), SinkError> {
        let key = block.key(index);
        let parts = key_parts(key).count();
        if parts != self.keys.len() {
            return Err(SinkError::Delivery(format!(
                "a key of {parts} parts where {} are due",
                self.keys.len()
            )));
        }
        let values = || layout.0.iter().map(|column| column.and_then(|c| block.value(c, index)));
        match (self.format, block.is_delete(index)) {
            (LineFormat::Jsonl, true) => self.json_delete(key, out),
            (LineFormat::Jsonl, false) => self.json_upsert(key, values(), out),
            (LineFormat::Csv, true) => {
                self.csv("delete", key, self.items.iter().map(|_| None), out)
            }
            (LineFormat::Csv, false) => self.csv("upsert", key, values(), out),
        }
    }

    fn json_delete(&self, key: &[u8], out: &mut Vec<u8>) -> Result<(), SinkError> {
        out.extend_from_slice(br#"{"op":"delete","key":"#);
        push_json(key, out)?;
        out.extend_from_slice(b"}\n");
        Ok(())
    }

    fn json_upsert<'v>(
        &self,
        key: &'v [u8],
        values: impl Iterator<Item = Option<&'v [u8]>>,
        out: &mut Vec<u8>,
    ) -> Result<(), SinkError> {
        out.extend_from_slice(br#"{"op":"upsert","key":"#);
        push_json(key, out)?;
        out.extend_from_slice(br#","row":{"#);
        let keys = self.keys.iter().zip(key_parts(key).map(Some));
        for (column, value) in keys.chain(self.items.iter().zip(values)) {
            let Some(value) = value else { continue };
            if out.last() != Some(&b'{') {
                out.push(b',');
            }
            out.extend_from_slice(&column.json_name);
            if column.geometry {
                out.extend_from_slice(geojson(value)?.as_bytes());
            } else {
                push_json(value, out)?;
            }
        }
        out.extend_from_slice(b"}}\n");
        Ok(())
    }

    fn csv<'v>(
        &self,
        op: &str,
        key: &[u8],
        values: impl Iterator<Item = Option<&'v [u8]>>,
        out: &mut Vec<u8>,
    ) -> Result<(), SinkError> {
        out.extend_from_slice(op.as_bytes());
        for part in key_parts(key) {
            out.push(b',');
            push_csv(text(part)?.as_bytes(), out);
        }
        for (column, value) in self.items.iter().zip(values) {
            out.push(b',');
            match value {
                None => {}
                Some(value) if column.geometry => push_csv(geojson(value)?.as_bytes(), out),
                Some(value) => push_csv(text(value)?.as_bytes(), out),
            }
        }
        out.push(b'\n');
        Ok(())
    }
}

impl Column {
    fn new(item: &Item) -> Self {
        let json_name = format!("{}:", serde_json::Value::from(item.name.as_str())).into_bytes();
        let geometry = item.data_type == DataType::Geometry;
        Self { field: item.id, name: item.name.clone(), json_name, geometry }
    }
}

fn text(value: &[u8]) -> Result<&str, SinkError> {
    std::str::from_utf8(value)
        .map_err(|_| SinkError::Delivery("a value that is not UTF-8".to_owned()))
}

fn geojson(value: &[u8]) -> Result<String, SinkError> {
    geometry::to_geojson(value).map_err(|error| SinkError::Delivery(format!("a geometry: {error}")))
}

/// A JSON string. Runs without anything to escape are copied at once.
fn push_json(value: &[u8], out: &mut Vec<u8>) -> Result<(), SinkError> {
    let mut rest = text(value)?.as_bytes();
    out.push(b'"');
    while let Some(at) = rest.iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\')) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'"' => out.extend_from_slice(br#"\""#),
            b'\\' => out.extend_from_slice(br"\\"),
            b'\n' => out.extend_from_slice(br"\n"),
            b'\r' => out.extend_from_slice(br"\r"),
            b'\t' => out.extend_from_slice(br"\t"),
            control => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(br"\u00");
                out.push(HEX[usize::from(control >> 4)]);
                out.push(HEX[usize::from(control & 0x0F)]);
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
    Ok(())
}

/// A CSV field, quoted when it has to be.
fn push_csv(value: &[u8], out: &mut Vec<u8>) {
    if !value.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
        return out.extend_from_slice(value);
    }
    out.push(b'"');
    for byte in value {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
