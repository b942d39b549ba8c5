//! Any edit of a delivered file is seen: the image then is what the file says, or the file is given
//! up.

use hutong_schema::digest::{Digest, Leaf};
use proptest::{collection::vec, option, prelude::*};

use super::{check::Looked, *};

/// What somebody does to the file.
#[derive(Clone, Debug)]
enum Edit {
    /// Another value in a line.
    Value(usize, String),
    Remove(usize),
    /// A line of its own, made from another by changing key or value.
    Add(usize, usize, String),
    Swap(usize, usize),
    Flip(usize, u8),
    Cut(usize),
    Append(String),
}

type Change = (u8, Option<u8>);

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<usize>;
    prop_oneof![
        4 => (at(), "[a-z示]{0,3}").prop_map(|(line, value)| Edit::Value(line, value)),
        2 => at().prop_map(Edit::Remove),
        4 => (at(), at(), "[1-9]").prop_map(|(line, of, digit)| Edit::Add(line, of, digit)),
        2 => (at(), at()).prop_map(|(one, other)| Edit::Swap(one, other)),
        6 => (at(), 1u8..).prop_map(|(byte, mask)| Edit::Flip(byte, mask)),
        1 => at().prop_map(Edit::Cut),
        1 => "[a-z{}\n]{1,4}".prop_map(Edit::Append),
    ]
}

impl Edit {
    fn apply(&self, file: &[u8]) -> Vec<u8> {
        let text = String::from_utf8(file.to_vec()).unwrap();
        let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
        let count = lines.len().max(1);
        match self {
            Self::Value(line, value) => {
                if let Some(line) = lines.get_mut(line % count) {
                    *line = line.replace("v0", value).replace("v1", &format!("{value}{value}"));
                }
            }
            Self::Remove(line) if !lines.is_empty() => {
                lines.remove(line % count);
            }
            Self::Add(line, of, digit) if !lines.is_empty() => {
                let added = lines[of % count].replace('2', digit);
                lines.insert(line % count, added);
            }
            Self::Swap(one, other) if !lines.is_empty() => lines.swap(one % count, other % count),
            Self::Remove(_) | Self::Add(..) | Self::Swap(..) => {}
            Self::Flip(byte, mask) => {
                let mut bytes = file.to_vec();
                if let Some(byte) = bytes.get_mut(byte % file.len().max(1)) {
                    *byte ^= mask;
                }
                return bytes;
            }
            Self::Cut(at) => return file[..at % (file.len() + 1)].to_vec(),
            Self::Append(text) => lines.push(text.clone()),
        }
        lines.concat().into_bytes()
    }
}

/// The digest of what a file says, read in another way than by the sink.
fn says(file: &[u8], format: LineFormat) -> Digest {
    let mut held = BTreeMap::new();
    let mut say = |key: String, leaf: Option<Leaf>| match leaf {
        Some(leaf) => held.insert(key, leaf),
        None => held.remove(&key),
    };
    let leaf_of = |key: &str, mc: Option<&str>| {
        let mut row = RowBuf::new();
        if let Some(mc) = mc {
            row.push(FieldId(3), mc.as_bytes());
        }
        leaf(key.as_bytes(), row.as_ref())
    };
    match format {
        LineFormat::Jsonl => {
            for line in file.split(|byte| *byte == b'\n') {
                let Ok(read) = serde_json::from_slice::<serde_json::Value>(line) else { continue };
                let (key, row) = (read["key"].as_str().unwrap().to_owned(), read.get("row"));
                let leaf = row.map(|row| {
                    let parts = [&row["qh"], &row["bh"]].map(|part| part.as_str().unwrap_or("-"));
                    if parts.join("\x1f") == key {
                        leaf_of(&key, row["mc"].as_str())
                    } else {
                        *blake3::hash(line.strip_suffix(b"\r").unwrap_or(line)).as_bytes()
                    }
                });
                say(key, leaf);
            }
        }
        LineFormat::Csv => {
            for record in csv::Reader::from_reader(file).records() {
                let record = record.unwrap();
                let key = format!("{}\x1f{}", &record[1], &record[2]);
                let mc = Some(&record[3]).filter(|mc| !mc.is_empty());
                let leaf = (&record[0] == "upsert").then(|| leaf_of(&key, mc));
                say(key, leaf);
            }
        }
    }
    let mut digest = DigestBuilder::new();
    for (key, leaf) in held {
        digest.push(&key_hash(key.as_bytes()), leaf);
    }
    digest.finish().0
}

async fn play(format: LineFormat, batches: &[Vec<Change>], edits: &[Edit]) {
    let folder = tempfile::tempdir().unwrap();
    let mut held = Looked::open(folder.path(), format).await;
    snapshot(&mut held.sink, 0, &[("a\x1f2", Some("v0"))]).await;
    for (seq, batch) in (0..).zip(batches) {
        let texts: Vec<_> = batch
            .iter()
            .map(|(key, value)| (format!("a\x1f{key}"), value.map(|value| format!("v{value}"))))
            .collect();
        let rows: Vec<_> = texts.iter().map(|(key, value)| (&key[..], value.as_deref())).collect();
        tail(&mut held.sink, seq, seq + 1, &rows);
        held.sink.commit().await.unwrap();
    }
    held.pieces_fit().await;
    let path = held.sink.path().to_owned();
    let before = std::fs::read(&path).unwrap();
    let delivered = held.sink.digest().await.unwrap();
    assert_eq!(says(&before, format), delivered);

    let mut after = before.clone();
    for edit in edits {
        if std::str::from_utf8(&after).is_ok() {
            after = edit.apply(&after);
        }
    }
    std::fs::write(&path, &after).unwrap();
    let checked = held.check().await;
    assert_eq!(checked == Checked::Same, before == after);
    if checked == Checked::Lost {
        assert_eq!(held.sink.record().resumption(), Resumption::default());
        return assert!(!path.exists());
    }
    assert_eq!(std::fs::read(&path).unwrap(), after, "a check does not write");
    assert_eq!(held.sink.digest().await.unwrap(), says(&after, format));
    held.pieces_fit().await;

    // The hub would send again what differs; sending everything is as good.
    let keys: Vec<_> = (0..=9).map(|digit| format!("a\x1f{digit}")).collect();
    let gone: Vec<_> = keys.iter().map(|key| (&key[..], None)).collect();
    held.sink.repair(cursor(1), packed(&block(&gone))).unwrap();
    assert_eq!(held.check().await, Checked::Same);
    assert_eq!(held.sink.digest().await.unwrap(), says(&std::fs::read(&path).unwrap(), format));
    held.pieces_fit().await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_image_follows_any_edit_or_the_file_is_given_up(
        csv in any::<bool>(),
        batches in vec(vec((0u8..40, option::weighted(0.8, 0u8..3)), 1..12), 0..4),
        edits in vec(edit(), 1..3),
    ) {
        let format = if csv { LineFormat::Csv } else { LineFormat::Jsonl };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(play(format, &batches, &edits));
    }
}
