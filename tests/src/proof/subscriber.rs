//! What a subscriber's file says: the last line of each key wins.

use std::borrow::Cow;
use std::collections::{HashMap, hash_map::Entry};
use std::fmt;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::{BufRead, BufReader};
use std::ops::Range;

use anyhow::{Context, Result, anyhow, bail};
use hutong_schema::digest::{KeyHash, Leaf, key_hash};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::json_row::{Form, Name, Row, Texts};
use super::schema::{GrantSchema, SubjectNo, Take};

const BUFFER: usize = 1 << 18;

/// A line of the file.
#[derive(Default)]
struct Line<'a> {
    op: Cow<'a, str>,
    key: Cow<'a, str>,
    row: Option<Texts<'a>>,
}

/// Reads a line whose rows have a form.
struct OfForm<'f>(&'f Form<'f>);

impl<'de> DeserializeSeed<'de> for OfForm<'_> {
    type Value = Line<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Line<'de>, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OfForm<'_> {
    type Value = Line<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a change")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Line<'de>, A::Error> {
        let mut line = Line::default();
        while let Some(Name(name)) = map.next_key()? {
            match &*name {
                "op" => Name(line.op) = map.next_value()?,
                "key" => Name(line.key) = map.next_value()?,
                "row" => line.row = Some(map.next_value_seed(self.0)?),
                other => {
                    return Err(A::Error::custom(format_args!("{other} is no part of a change")));
                }
            }
        }
        Ok(line)
    }
}

/// Counts what the file of a grant holds in the end.
pub(super) fn read(grant: &GrantSchema, subject: SubjectNo, to: &mut impl Take) -> Result<()> {
    let path = &grant.record.path;
    let place = || format!("{}", path.display());
    let file = File::open(path).with_context(place)?;
    let length = file.metadata().with_context(place)?.len() as usize;
    let mut file = BufReader::with_capacity(BUFFER, file);
    let mut held = Held::default();
    // Only granted items may occur: any other name in a row is an error of delivery.
    let items: Vec<_> = grant.items.iter().filter(|item| grant.delivers(item)).cloned().collect();
    let (form, mut filled) = (Form::new(&items), Row::default());
    let (mut line, mut number, mut bytes) = (Vec::new(), 0, Vec::new());
    loop {
        line.clear();
        number += 1;
        if file.read_until(b'\n', &mut line).with_context(place)? == 0 {
            break;
        }
        if number == 1 {
            held.reserve(length / line.len());
        }
        let mut json = serde_json::Deserializer::from_slice(&line);
        let parsed = OfForm(&form).deserialize(&mut json);
        let change = match &parsed {
            Ok(line) => change(grant, &form, line, &mut filled, &mut bytes),
            Err(error) => Err(anyhow!("{error}")),
        };
        match change {
            Ok((key, Some(leaf))) => held.put(key, leaf),
            Ok((key, None)) => held.remove(key),
            // Passed over: the key will be missing.
            Err(error) => to.unreadable(format!("{}, line {number}: {error:#}", path.display())),
        }
    }
    for (hash, (key, leaf)) in &held.rows {
        to.take(subject, &held.keys[key.clone()], *hash, *leaf);
    }
    Ok(())
}

/// The rows held so far; their keys lie one behind another.
#[derive(Default)]
struct Held {
    rows: HashMap<KeyHash, (Range<usize>, Leaf), Prehashed>,
    keys: Vec<u8>,
}

impl Held {
    fn reserve(&mut self, rows: usize) {
        // A usual key has eighteen characters.
        self.rows.reserve(rows);
        self.keys.reserve(rows * 18);
    }

    fn put(&mut self, key: &[u8], leaf: Leaf) {
        match self.rows.entry(key_hash(key)) {
            Entry::Occupied(mut row) => row.get_mut().1 = leaf,
            Entry::Vacant(row) => {
                let start = self.keys.len();
                self.keys.extend_from_slice(key);
                row.insert((start..self.keys.len(), leaf));
            }
        }
    }

    fn remove(&mut self, key: &[u8]) {
        self.rows.remove(&key_hash(key));
    }
}

/// The key of a line, and the leaf that it has from there on.
fn change<'k>(
    grant: &GrantSchema,
    form: &Form<'_>,
    line: &'k Line<'_>,
    filled: &'k mut Row,
    bytes: &mut Vec<u8>,
) -> Result<(&'k [u8], Option<Leaf>)> {
    match (&*line.op, &line.row) {
        ("upsert", Some(row)) => {
            form.fill_from(row, filled)?;
            if filled.key != line.key.as_bytes() {
                bail!("the key is {:?}, the row's fields say otherwise", line.key);
            }
            let leaf = grant.leaf(&filled.key, filled.fields.as_ref(), bytes);
            Ok((&filled.key, Some(leaf)))
        }
        ("delete", None) => Ok((line.key.as_bytes(), None)),
        (op, _) => bail!("{op:?} with or without a row"),
    }
}

/// The keys of the map are hashes already.
#[derive(Clone, Copy, Default)]
struct Prehashed;

impl BuildHasher for Prehashed {
    type Hasher = First;

    fn build_hasher(&self) -> First {
        First(0)
    }
}

struct First(u64);

impl Hasher for First {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    // The length that arrays write before their bytes says nothing.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
