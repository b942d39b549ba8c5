//! Checking a file that somebody else may have changed.

use hutong_schema::digest::Digest;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::sinks::{
    pieces::{self, PIECE_BYTES},
    subscription::Images,
};

/// A sink whose store can be looked into.
pub(super) struct Looked {
    pub(super) sink: Sink,
    pub(super) store: Store,
}

impl Looked {
    pub(super) async fn open(folder: &Path, format: LineFormat) -> Self {
        let store = Store::open(&folder.join("store"), OPTIONS).unwrap();
        let options = SinkOptions::Files { folder: folder.join("out"), format };
        let sink = Sink::open(store.clone(), key(), &options).await.unwrap();
        Self { sink, store }
    }

    pub(super) async fn check(&mut self) -> Checked {
        self.sink.check(&CancellationToken::new()).await.unwrap()
    }

    /// The stored pieces are those of the file.
    pub(super) async fn pieces_fit(&self) {
        let image = Images::of(&self.store, &key()).await.unwrap().side(self.sink.record().side);
        let file = std::fs::read(self.sink.path()).unwrap();
        let expected: Vec<_> = file
            .chunks(PIECE_BYTES as usize)
            .map(|piece| *blake3::hash(piece).as_bytes())
            .collect();
        assert_eq!(pieces::all(&self.store, image).unwrap(), expected);
        assert_eq!(self.sink.record().length, file.len() as u64);
    }

    async fn digest_of(&self, rows: &[(&str, &str)]) -> bool {
        self.sink.digest().await.unwrap() == digest_of(rows.iter().copied())
    }
}

pub(super) fn digest_of<'r>(rows: impl Iterator<Item = (&'r str, &'r str)>) -> Digest {
    let mut digest = DigestBuilder::new();
    for (key, value) in rows {
        let mut row = RowBuf::new();
        row.push(FieldId(3), value.as_bytes());
        digest.push(&key_hash(key.as_bytes()), leaf(key.as_bytes(), row.as_ref()));
    }
    digest.finish().0
}

fn aside(folder: &Path) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(folder.join("out")).unwrap();
    let mut paths = files.map(|file| file.unwrap().path());
    paths.by_ref().filter(|path| path.to_string_lossy().contains(".changed-")).collect()
}

const THREE: [(&str, Option<&str>); 3] =
    [("a\x1f1", Some("one")), ("a\x1f2", Some("two")), ("a\x1f3", Some("three"))];

#[tokio::test]
async fn pieces_follow_the_file_across_commits_reopening_and_swap() {
    let folder = tempfile::tempdir().unwrap();
    let mut held = Looked::open(folder.path(), LineFormat::Jsonl).await;
    let long = "x".repeat(60_000);
    snapshot(&mut held.sink, 1, &[("a\x1f0", Some("first"))]).await;
    held.pieces_fit().await;
    for (seq, rows) in (1..).zip([9, 1, 30, 1]) {
        let keys: Vec<String> = (0..rows).map(|row| format!("{seq}\x1f{row}")).collect();
        let rows: Vec<_> = keys.iter().map(|key| (key.as_str(), Some(long.as_str()))).collect();
        tail(&mut held.sink, seq, seq + 1, &rows);
        held.sink.commit().await.unwrap();
        held.pieces_fit().await;
        assert_eq!(held.check().await, Checked::Same);
        if seq == 2 {
            drop(held);
            held = Looked::open(folder.path(), LineFormat::Jsonl).await;
            let mode = ready(DeliveryMode::Tail);
            assert_eq!(held.sink.begin(&mode).await.unwrap(), Begin::Live);
        }
    }
    assert!(held.sink.record().length > 2 * PIECE_BYTES);

    snapshot(&mut held.sink, 9, &[("a\x1f0", Some("new"))]).await;
    held.pieces_fit().await;
    let images = Images::of(&held.store, &key()).await.unwrap();
    let other = images.side(held.sink.record().side.other());
    assert_eq!(pieces::all(&held.store, other).unwrap().len(), 0, "dropped with the old file");
    tail(&mut held.sink, 9, 10, &[("a\x1f1", Some("more"))]);
    held.sink.commit().await.unwrap();
    held.pieces_fit().await;
}

#[tokio::test]
async fn a_changed_row_is_seen_and_mended_by_sending_it_again() {
    for format in [LineFormat::Jsonl, LineFormat::Csv] {
        let folder = tempfile::tempdir().unwrap();
        let mut held = Looked::open(folder.path(), format).await;
        snapshot(&mut held.sink, 1, &THREE).await;
        let path = held.sink.path().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        // Under a new name first, as editors do: appending must not go to the old file.
        let edited = path.with_extension("edited");
        std::fs::write(&edited, text.replace("two", "twenty-two")).unwrap();
        std::fs::rename(&edited, &path).unwrap();

        assert_eq!(held.check().await, Checked::Changed { keys: 1 });
        assert!(
            held.digest_of(&[("a\x1f1", "one"), ("a\x1f2", "twenty-two"), ("a\x1f3", "three")])
                .await
        );
        assert_eq!(held.sink.record().resumption().cursor, Some(cursor(1)), "the position stays");
        held.pieces_fit().await;
        assert_eq!(held.check().await, Checked::Same);

        // Read ahead of the cursor: what is held is consistent only behind that.
        held.sink.repair(cursor(2), packed(&block(&THREE[1..2]))).unwrap();
        let resumption = held.sink.record().resumption();
        assert_eq!(
            (resumption.cursor, resumption.consistent_at),
            (Some(cursor(1)), Some(cursor(2)))
        );
        tail(&mut held.sink, 1, 2, &[("a\x1f3", None)]);
        held.sink.commit().await.unwrap();
        assert_eq!(held.sink.record().resumption().consistent_at, None);
        held.pieces_fit().await;
        assert_eq!(held.check().await, Checked::Same);
        assert!(held.digest_of(&[("a\x1f1", "one"), ("a\x1f2", "two")]).await);
        if format == LineFormat::Jsonl {
            assert_eq!(super::held(&path), pairs(&THREE[..2]));
        }
    }
}

#[tokio::test]
async fn a_file_that_no_line_can_mend_is_kept_aside_and_delivered_anew() {
    type Edit = fn(&str) -> Option<String>;
    let edits: [(LineFormat, Edit); 8] = [
        (LineFormat::Jsonl, |_| None),
        (LineFormat::Jsonl, |text| Some(text[..text.len() - 1].to_owned())),
        (LineFormat::Jsonl, |text| {
            Some(text.lines().skip(1).map(|line| format!("{line}\n")).collect())
        }),
        (LineFormat::Jsonl, |text| Some(text.replace("\"two\"", "two"))),
        (LineFormat::Jsonl, |text| Some(text.replace("\"mc\"", "\"name\""))),
        (LineFormat::Jsonl, |text| Some(format!("{text}{{\"op\""))),
        (LineFormat::Csv, |text| Some(text.replace("two", "t,o"))),
        (LineFormat::Csv, |text| Some(text.replace("op,", "operation,"))),
    ];
    for (number, (format, edit)) in edits.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let mut held = Looked::open(folder.path(), format).await;
        snapshot(&mut held.sink, 1, &THREE).await;
        let path = held.sink.path().to_owned();
        let edited = edit(&std::fs::read_to_string(&path).unwrap());
        match &edited {
            Some(text) => std::fs::write(&path, text).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        assert_eq!(held.check().await, Checked::Lost, "edit {number}");
        assert_eq!(held.sink.record().resumption(), Resumption::default());
        assert!(!path.exists());
        let kept = aside(folder.path());
        assert_eq!(kept.len(), usize::from(edited.is_some()), "edit {number}");
        if let (Some(kept), Some(edited)) = (kept.first(), edited) {
            assert_eq!(std::fs::read_to_string(kept).unwrap(), edited);
        }
        drop(held);
        let mut held = Looked::open(folder.path(), format).await;
        snapshot(&mut held.sink, 1, &THREE).await;
        held.pieces_fit().await;
        assert_eq!(held.check().await, Checked::Same);
    }
}

#[tokio::test]
async fn a_file_that_was_changed_at_its_end_is_not_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let mut held = Looked::open(folder.path(), LineFormat::Jsonl).await;
    snapshot(&mut held.sink, 1, &THREE).await;
    let path = held.sink.path().to_owned();
    let edit = || {
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("two", "owt")).unwrap();
    };
    edit();
    assert!(held.sink.begin(&ready(DeliveryMode::Tail)).await.is_err());
    assert_eq!(held.sink.record().resumption(), Resumption::default());
    assert_eq!(aside(folder.path()).len(), 1);

    snapshot(&mut held.sink, 1, &THREE).await;
    drop(held);
    edit();
    let held = Looked::open(folder.path(), LineFormat::Jsonl).await;
    assert_eq!(held.sink.record().resumption(), Resumption::default());
    assert!(!path.exists());
}

#[tokio::test]
async fn a_cancelled_check_leaves_everything_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut held = Looked::open(folder.path(), LineFormat::Jsonl).await;
    snapshot(&mut held.sink, 1, &THREE).await;
    let text = std::fs::read_to_string(held.sink.path()).unwrap();
    std::fs::write(held.sink.path(), text.replace("two", "owt")).unwrap();
    let cancel = CancellationToken::new();
    cancel.cancel();
    assert!(matches!(held.sink.check(&cancel).await, Err(SinkError::Interrupted)));
    assert_eq!(held.check().await, Checked::Changed { keys: 1 });
}
