//! The functions that are counted, on the way of a row from file to file.

use std::hint::black_box;
use std::io::{Write, stdout};

use anyhow::{Result, bail, ensure};
use hutong_agent::sources::{Next, Row, Rows};
use hutong_hub::routes;
use hutong_schema::batch;
use hutong_schema::block::BlockBuilder;
use hutong_schema::digest::{self, DigestBuilder};
use hutong_schema::ids::{CitizenId, CreditCode};
use hutong_schema::row::{RowBuf, RowRef};
use hutong_schema::wire::frame;
use hutong_schema::wire::order::{Publish, publish::Heard};
use hutong_schema::wire::v1::publish::Batch;

use super::inputs::{Inputs, block, parsed};

/// A function that is counted.
pub(super) struct Case {
    /// Its name in `measured`.
    pub(super) name: &'static str,
    /// What it does.
    pub(super) what: &'static str,
    /// What it does it to.
    pub(super) unit: &'static str,
    plain: fn(&Inputs) -> Result<u64>,
    counted: fn(&Inputs) -> Result<u64>,
}

macro_rules! cases {
    ($($name:ident: $what:literal, $unit:literal;)+) => {
        /// All of them, in the order of a row's way.
        pub(super) const ALL: &[Case] = &[$(Case {
            name: stringify!($name),
            what: $what,
            unit: $unit,
            plain: $name,
            counted: measured::$name,
        }),+];

        /// What callgrind looks for: each stands once in the program, and only what runs in it is counted.
        mod measured {
            use super::{Inputs, Result};
            $(#[inline(never)] pub(super) fn $name(inputs: &Inputs) -> Result<u64> { super::$name(inputs) })+
        }
    };
}

cases! {
    csv_row: "a line of a CSV file to a checked row in canonical form", "row";
    citizen_id: "an identity number with its check digit", "number";
    credit_code: "a unified social credit code with its check digit", "code";
    block_build: "rows to a column block", "row";
    compress: "a block compressed with LZ4", "byte";
    payload_hash: "a payload's hash and the batch chain behind it", "byte";
    frame_encode: "a batch to its frame", "byte";
    frame_decode: "a frame to its batch, and whether it may come now", "frame";
    judge: "a batch opened and judged column by column at the hub", "row";
    stored_row: "a row out of a block into its stored form, and read again", "row";
    leaf: "a row's hash, and the digest of all", "row";
    filter: "a grant's filter on a row", "row";
    project: "the granted fields of a row into a block", "row";
}

/// Runs each function once uncounted, so that what is made once is made, and once counted. Says how many units each
/// worked on, and what the processor is said to be able to do.
///
/// # Errors
/// When a function does not do its work.
pub fn run() -> Result<()> {
    let inputs = Inputs::new()?;
    let mut out = stdout().lock();
    writeln!(out, "features {}", features())?;
    for case in ALL {
        let units = (case.plain)(&inputs)?;
        ensure!((case.counted)(&inputs)? == units, "{} does not repeat itself", case.name);
        writeln!(out, "units {} {units}", case.name)?;
    }
    Ok(())
}

fn features() -> String {
    let mut seen = vec![std::env::consts::ARCH];
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! look {
            ($($name:tt),+) => {
                $(if std::arch::is_x86_feature_detected!($name) { seen.push($name); })+
            };
        }
        look!("sse4.1", "sse4.2", "popcnt", "bmi2", "avx", "avx2", "avx512f", "sha");
    }
    seen.join(" ")
}

fn csv_row(inputs: &Inputs) -> Result<u64> {
    let (mut source, mut row, mut rows) = (inputs.source()?, Row::default(), 0);
    loop {
        match source.next(&mut row)? {
            Next::Row => rows += 1,
            Next::Refused(refusal) => bail!("row {} is refused: {refusal:?}", row.number),
            Next::End => return Ok(rows),
        }
        black_box(row.size());
    }
}

fn citizen_id(inputs: &Inputs) -> Result<u64> {
    for text in &inputs.citizens {
        black_box(text.parse::<CitizenId>()?);
    }
    Ok(inputs.citizens.len() as u64)
}

fn credit_code(inputs: &Inputs) -> Result<u64> {
    for text in &inputs.companies {
        black_box(text.parse::<CreditCode>()?);
    }
    Ok(inputs.companies.len() as u64)
}

fn block_build(inputs: &Inputs) -> Result<u64> {
    black_box(block(&inputs.rows, &inputs.columns));
    Ok(inputs.rows.len() as u64)
}

fn compress(inputs: &Inputs) -> Result<u64> {
    black_box(batch::compress(&inputs.block, inputs.header.codec)?);
    Ok(inputs.block.len() as u64)
}

fn payload_hash(inputs: &Inputs) -> Result<u64> {
    let hash = hutong_hub::log::payload_hash(&inputs.payload);
    black_box(batch::extend(&[1; 32], &inputs.header, &hash));
    Ok(inputs.payload.len() as u64)
}

fn frame_encode(inputs: &Inputs) -> Result<u64> {
    let message = Batch { header: inputs.header, chain: [7; 32], payload: &inputs.payload };
    Ok(black_box(frame::encode(&message)?).len() as u64)
}

fn frame_decode(inputs: &Inputs) -> Result<u64> {
    const FRAMES: u64 = 100;
    let mut order = Publish::new(u64::MAX);
    for _ in 0..FRAMES {
        let Heard::Batch(batch) = order.on(black_box(&inputs.content))? else {
            bail!("a batch is a batch")
        };
        black_box(batch.payload.len());
        order.taken();
    }
    Ok(FRAMES)
}

fn judge(inputs: &Inputs) -> Result<u64> {
    let rejected = inputs.validator.judge(&inputs.header, &inputs.payload)?;
    ensure!(rejected.is_empty(), "{} generated rows are rejected", rejected.len());
    Ok(inputs.rows.len() as u64)
}

fn stored_row(inputs: &Inputs) -> Result<u64> {
    let (block, mut row) = (parsed(&inputs.block)?, RowBuf::new());
    for index in 0..block.rows() {
        row.clear();
        row.fill_from_block(&block, index);
        black_box(RowRef::parse(row.as_ref().as_bytes())?.iter().count());
    }
    Ok(block.rows() as u64)
}

fn leaf(inputs: &Inputs) -> Result<u64> {
    let (mut digest, mut scratch) = (DigestBuilder::new(), Vec::new());
    for (key, row) in &inputs.rows {
        let leaf = digest::leaf_of(key, row.as_ref().iter(), &mut scratch);
        digest.push(&digest::key_hash(key), leaf);
    }
    black_box(digest.finish_root());
    Ok(inputs.rows.len() as u64)
}

fn filter(inputs: &Inputs) -> Result<u64> {
    let covered =
        |(key, row): &&(Vec<u8>, RowBuf)| inputs.filter.matches(key, row.as_ref(), inputs.as_of);
    let covered = inputs.rows.iter().filter(covered).count();
    ensure!(covered > 0 && covered < inputs.rows.len(), "{covered} rows are covered");
    Ok(inputs.rows.len() as u64)
}

fn project(inputs: &Inputs) -> Result<u64> {
    let mut builder = BlockBuilder::new(&inputs.granted);
    for (key, row) in &inputs.rows {
        builder.upsert(key, routes::project(row.as_ref(), &inputs.granted));
    }
    black_box(builder.finish());
    Ok(inputs.rows.len() as u64)
}
