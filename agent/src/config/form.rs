//! How rows stand in a file of a source.

/// Form of a source file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceForm {
    /// A header line, then one line per row; values stand between this byte.
    Separated(u8),
    /// One JSON object per line.
    Jsonl,
    /// A sheet of an Excel workbook (.xlsx, .xls).
    Workbook(Sheet),
    /// A GeoJSON FeatureCollection.
    GeoJson,
}

/// Which part of a workbook is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sheet {
    /// Its name; the first one if there is none.
    pub name: Option<String>,
    /// Number of the row with the names of the columns, from 1.
    pub header_row: u32,
}

impl Default for Sheet {
    fn default() -> Self {
        Self { name: None, header_row: 1 }
    }
}

impl SourceForm {
    /// Comma-separated values.
    pub const CSV: Self = Self::Separated(b',');
    /// Values between tabs.
    pub const TSV: Self = Self::Separated(b'\t');

    /// Whether rows can be added to such a file at its end.
    pub fn grows(&self) -> bool {
        matches!(self, Self::Separated(_) | Self::Jsonl)
    }
}
