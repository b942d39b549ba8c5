//! A delivered file compared with what was written to it, and with the image if it was changed.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    ops::{ControlFlow, Range},
    path::PathBuf,
};

use hutong_schema::{
    digest::{KeyHash, Leaf, bucket_of},
    limits::DIGEST_BUCKETS,
};
use tokio_util::sync::CancellationToken;

use super::{
    LineFormat, Lines, SinkError,
    file::{DataFile, FileFailure},
    parse::Parser,
    pieces::{self, Hashing, PieceHash},
    records::{Broken, Records, Stop},
};
use crate::spool::{ImageDelta, ImageId, Store};

/// Keys held at once, about 150 bytes each. A larger file is read several times, each time for a
/// range of buckets; so are small ones in the tests of this crate.
const KEYS_AT_ONCE: u64 = if cfg!(test) { 7 } else { 100_000 };

/// Most keys held at once: more are in the file than its image and an even spread explain.
const HELD_MAX: usize = 200_000;

/// Differences that are collected, about 100 bytes each. Beyond that a fresh snapshot is cheaper
/// than mending.
const DIFFERENCES_MAX: usize = 100_000;

/// Read at once, bytes.
const BUFFER: usize = 256 * 1024;

/// What a comparison reads.
pub(super) struct Comparison {
    pub(super) path: PathBuf,
    /// The file's durable length.
    pub(super) length: u64,
    pub(super) lines: Lines,
    pub(super) store: Store,
    pub(super) image: ImageId,
    pub(super) cancel: CancellationToken,
}

/// What was found. The file is open where it ends: it may be another one under the same name.
#[derive(Debug)]
pub(super) enum Compared {
    /// It holds what was written.
    Same(DataFile),
    /// It says something else: how the image becomes what it says.
    Changed(DataFile, ImageDelta),
    /// It cannot be mended by adding lines.
    Broken(Broken),
}

impl Comparison {
    /// Compares. Blocks, and reads the whole file.
    ///
    /// # Errors
    /// When file or store fail, or the file is being changed meanwhile.
    pub(super) fn run(&self) -> Result<Compared, SinkError> {
        let Some((mut file, found)) = DataFile::look(&self.path)? else {
            return Ok(broken(None, "it is gone"));
        };
        if found < self.length {
            let what = format!("it has {found} bytes where {} were written", self.length);
            return Ok(broken(None, what));
        }
        let failed = |error| self.failed(error);
        let hashed = self.hashing(&mut file, found).map_err(failed)?;
        let whole = hashed.finish(|| self.go_on()).map_err(failed)?;
        let hashes = whole.hashes();
        if found == self.length && hashes == pieces::all(&self.store, self.image)? {
            let file = DataFile::adopt(&self.path, file, found, whole.stored())?;
            return Ok(Compared::Same(file));
        }
        let mut delta = ImageDelta::new();
        let passes = self.passes()?;
        for pass in 0..passes {
            let bucket = |pass: u64| (pass * DIGEST_BUCKETS as u64 / passes) as u16;
            let buckets = bucket(pass)..bucket(pass + 1);
            match self.pass(&mut file, found, &hashes, &buckets)? {
                Ok(held) => self.add_differences(held, &buckets, &mut delta)?,
                Err(broken) => return Ok(Compared::Broken(broken)),
            }
            if delta.len() > DIFFERENCES_MAX {
                let what = format!("more than {DIFFERENCES_MAX} keys differ from what was written");
                return Ok(broken(None, what));
            }
        }
        let mut file = DataFile::adopt(&self.path, file, found, whole)?;
        // Whoever changed it need not have made that durable.
        file.sync()?;
        Ok(Compared::Changed(file, delta))
    }

    fn passes(&self) -> Result<u64, SinkError> {
        let rows = self.store.view()?.image_size_at_most(self.image)?;
        Ok((rows / KEYS_AT_ONCE + 1).min(DIGEST_BUCKETS as u64))
    }

    /// The last state of each key in these buckets.
    fn pass(
        &self,
        file: &mut File,
        length: u64,
        hashes: &[PieceHash],
        buckets: &Range<u16>,
    ) -> Result<Result<Held, Broken>, SinkError> {
        let hashed = self.hashing(file, length).map_err(|error| self.failed(error))?;
        let input = BufReader::with_capacity(BUFFER, hashed);
        let mut records = Records::new(input, self.lines.format);
        let read = self.held(&mut records, buckets);
        let rest = records.into_input().into_inner();
        let read = match read {
            Ok(held) => Ok(held),
            Err(Stop::Broken(broken)) => Err(broken),
            Err(Stop::Io(error)) => return Err(self.failed(error)),
        };
        let whole = rest.finish(|| self.go_on()).map_err(|error| self.failed(error))?;
        if whole.hashes() != hashes {
            return Err(SinkError::Unsettled(self.path.clone()));
        }
        Ok(read)
    }

    fn held(
        &self,
        records: &mut Records<impl io::BufRead>,
        buckets: &Range<u16>,
    ) -> Result<Held, Stop> {
        let wanted = |hash: &KeyHash| buckets.contains(&bucket_of(hash));
        held(&self.lines, records, wanted, || self.go_on())
    }

    /// Adds what the image lacks or has too much in these buckets.
    fn add_differences(
        &self,
        mut held: Held,
        buckets: &Range<u16>,
        delta: &mut ImageDelta,
    ) -> Result<(), SinkError> {
        let mut first: KeyHash = [0; 16];
        first[..2].copy_from_slice(&(buckets.start << 4).to_be_bytes());
        self.store.view()?.each_of_image_from(self.image, &first, |entry| {
            if !buckets.contains(&bucket_of(&entry.hash)) || delta.len() > DIFFERENCES_MAX {
                return ControlFlow::Break(());
            }
            match held.remove(&entry.hash).and_then(|(_, leaf)| leaf) {
                Some(leaf) if leaf == entry.leaf => {}
                Some(leaf) => delta.upsert(entry.key, leaf),
                None => delta.delete(entry.key),
            }
            ControlFlow::Continue(())
        })?;
        for (key, leaf) in held.into_values() {
            if let Some(leaf) = leaf {
                delta.upsert(&key, leaf);
            }
        }
        Ok(())
    }

    /// The file from its beginning, and no further than it reached when it was opened.
    fn hashing<'f>(
        &self,
        file: &'f mut File,
        length: u64,
    ) -> io::Result<Hashing<io::Take<&'f mut File>>> {
        file.seek(SeekFrom::Start(0))?;
        Ok(Hashing::new(file.take(length)))
    }

    fn go_on(&self) -> io::Result<()> {
        if self.cancel.is_cancelled() { Err(io::Error::other("cancelled")) } else { Ok(()) }
    }

    fn failed(&self, error: io::Error) -> SinkError {
        if self.cancel.is_cancelled() {
            SinkError::Interrupted
        } else {
            FileFailure::of("read", &self.path)(error).into()
        }
    }
}

/// Of each key the last that a file says.
type Held = HashMap<KeyHash, (Box<[u8]>, Option<Leaf>)>;

fn held(
    lines: &Lines,
    records: &mut Records<impl io::BufRead>,
    wanted: impl Fn(&KeyHash) -> bool,
    go_on: impl Fn() -> io::Result<()>,
) -> Result<Held, Stop> {
    let mut held = Held::new();
    let mut parser = Parser::new(lines);
    if lines.format == LineFormat::Csv {
        let mut header = Vec::new();
        lines.header(&mut header);
        if records.next()? != header.strip_suffix(b"\n") {
            return Err(records.broken("not the header that was written"));
        }
    }
    let mut seen = 0u64;
    while let Some(record) = records.next()? {
        seen += 1;
        if seen.is_multiple_of(4_096) {
            go_on()?;
        }
        match parser.said(record, &wanted) {
            Ok(None) => {}
            Ok(Some(said)) => {
                held.insert(said.hash, (said.key, said.leaf));
                if held.len() > HELD_MAX {
                    return Err(records.broken("many more rows than were delivered"));
                }
            }
            Err(what) => return Err(records.broken(what)),
        }
    }
    Ok(held)
}

/// What a delivered file of this content says: of each key the row's leaf; `None` when the key is gone.
///
/// # Errors
/// With the line, when a record is none that was ever delivered.
pub fn read_back(
    lines: &Lines,
    content: &[u8],
) -> Result<HashMap<Box<[u8]>, Option<Leaf>>, String> {
    let mut records = Records::new(content, lines.format);
    match held(lines, &mut records, |_| true, || Ok(())) {
        Ok(held) => Ok(held.into_values().collect()),
        Err(Stop::Broken(Broken { line, what })) => Err(format!("line {line:?}: {what}")),
        Err(Stop::Io(error)) => Err(error.to_string()),
    }
}

fn broken(line: Option<u64>, what: impl Into<String>) -> Compared {
    Compared::Broken(Broken { line, what: what.into() })
}
