//! What is worked on: one batch of the reference city's population, the same in every run.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use hutong_agent::config::{FileFormat, TextEncoding};
use hutong_agent::sources::{Next, Row, Rows, Source, SourceOptions};
use hutong_hub::intake::Validator;
use hutong_schema::batch::{self, BatchHeader, BatchKind, Codec};
use hutong_schema::block::{Block, BlockBuilder};
use hutong_schema::catalogue::CatalogueEntry;
use hutong_schema::grant::{AsOf, CompiledFilter, RowFilter};
use hutong_schema::row::{FieldId, RowBuf};
use hutong_schema::wire::frame;
use hutong_schema::wire::v1::publish::Batch;

use crate::city::entry::describe;
use crate::city::{City, Registers, Row as Text, Scale, Template};

/// Rows of the batch: as many as an agent aims at.
pub(super) const ROWS: u64 = 4_096;

/// A household's district, and who came of age: of four rows about one is covered.
const FILTER: &str = r#"hjqh in ("211202","211204","211221") and age(csrq) >= 18"#;

pub(super) struct Inputs {
    _folder: tempfile::TempDir,
    csv: PathBuf,
    entry: CatalogueEntry,
    /// Keys and stored rows.
    pub(super) rows: Vec<(Vec<u8>, RowBuf)>,
    pub(super) columns: Vec<FieldId>,
    /// The fields that a grant names.
    pub(super) granted: Vec<FieldId>,
    pub(super) block: Vec<u8>,
    pub(super) header: BatchHeader,
    pub(super) payload: Vec<u8>,
    /// The batch's frame: its content.
    pub(super) content: Vec<u8>,
    pub(super) validator: Validator,
    pub(super) filter: CompiledFilter,
    pub(super) as_of: AsOf,
    pub(super) citizens: Vec<String>,
    pub(super) companies: Vec<String>,
}

impl Inputs {
    pub(super) fn new() -> Result<Self> {
        let city = City::plan(Scale::Small)?;
        let (unit, _, resource) = city
            .resources()
            .find(|(_, _, resource)| resource.template == Template::Population)
            .context("the population's resource")?;
        let entry = describe(unit, resource)?;
        let registers = Registers::new(Scale::Small);
        let folder = tempfile::tempdir()?;
        let csv = folder.path().join("people.csv");
        let mut writer = csv::Writer::from_writer(File::create(&csv)?);
        writer.write_record(entry.items.iter().map(|item| item.name.as_str()))?;
        let (mut text, mut citizens) = (Text::default(), Vec::new());
        for index in 0..ROWS {
            text.clear();
            resource.template.fill(&registers, resource.number, index, &mut text)?;
            writer.write_record(text.iter())?;
            citizens.push(registers.people.person(index).id()?.to_string());
        }
        writer.flush()?;
        let companies = (0..ROWS)
            .map(|index| Ok(registers.companies.code(index)?.to_string()))
            .collect::<Result<_>>()?;
        let columns: Vec<FieldId> = entry.columns().iter().map(|item| item.id).collect();
        let rows = rows(&csv, &entry, &columns)?;
        let block = block(&rows, &columns);
        let (codec, payload) = batch::compress(&block, Codec::Lz4)?;
        let header = BatchHeader {
            seq: 1,
            kind: BatchKind::Rows,
            schema_version: entry.schema_version,
            rows: u32::try_from(ROWS)?,
            raw_len: u32::try_from(block.len())?,
            codec,
        };
        let message = Batch { header, chain: [7; 32], payload: &payload };
        let content = frame::encode(&message)?[frame::PREFIX..].to_vec();
        let filter = RowFilter::parse(FILTER, &entry.items)?;
        let keys: Vec<FieldId> = entry.keys().iter().map(|item| item.id).collect();
        let as_of = AsOf::from_number(20_261_122).context("a date")?;
        let granted = columns.iter().copied().step_by(3).collect();
        let validator = Validator::new(std::sync::Arc::new(entry.clone()));
        let filter = CompiledFilter::new(Some(&filter), &keys);
        Ok(Self {
            _folder: folder,
            csv,
            entry,
            rows,
            columns,
            granted,
            block,
            header,
            payload,
            content,
            validator,
            filter,
            as_of,
            citizens,
            companies,
        })
    }

    /// The department's file, from its beginning.
    pub(super) fn source(&self) -> Result<Source> {
        open(&self.csv, &self.entry)
    }
}

fn open(csv: &std::path::Path, entry: &CatalogueEntry) -> Result<Source> {
    let options = SourceOptions {
        path: csv,
        format: FileFormat::Csv,
        encoding: TextEncoding::Utf8,
        from: None,
        whole_lines: false,
    };
    Ok(Source::open(options, entry)?)
}

fn rows(
    csv: &std::path::Path,
    entry: &CatalogueEntry,
    columns: &[FieldId],
) -> Result<Vec<(Vec<u8>, RowBuf)>> {
    let (mut source, mut row, mut rows) = (open(csv, entry)?, Row::default(), Vec::new());
    loop {
        match source.next(&mut row)? {
            Next::Row => {}
            Next::Refused(refusal) => anyhow::bail!("a generated row is refused: {refusal:?}"),
            Next::End => break,
        }
        let mut stored = RowBuf::new();
        for (field, value) in columns.iter().zip(row.values()) {
            if let Some(value) = value {
                stored.push(*field, value);
            }
        }
        rows.push((row.key().to_vec(), stored));
    }
    ensure!(rows.len() as u64 == ROWS, "{} rows were read of {ROWS}", rows.len());
    Ok(rows)
}

/// Rows as a column block.
pub(super) fn block(rows: &[(Vec<u8>, RowBuf)], columns: &[FieldId]) -> Vec<u8> {
    let mut builder = BlockBuilder::new(columns);
    for (key, row) in rows {
        let row = row.as_ref();
        builder.upsert(key, columns.iter().map(|field| row.get(*field)));
    }
    builder.finish()
}

/// A block that was checked when it was made.
pub(super) fn parsed(block: &[u8]) -> Result<Block<'_>> {
    Ok(Block::parse(block)?)
}
