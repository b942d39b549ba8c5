//! The table of an SQLite file: what it holds after whatever happened.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use hutong_schema::batch::Codec;
use hutong_schema::digest::{Digest, DigestBuilder, key_hash, leaf};
use hutong_schema::grant::GrantId;
use hutong_schema::row::{FieldId, RowBuf};
use hutong_schema::wire::v1::subscribe::{
    Cursor, DeliveryMode, Packed, SnapshotEnd, SubscribeReady,
};
use tokio_util::sync::CancellationToken;

use super::super::testing::{block, cursor, view, view_json};
use super::super::{
    Begin, Checked, Disposal, Kept, Resumption, Sink, SinkError, SinkOptions, SqlOptions,
    SubscriptionKey,
};
use crate::config::{DatabaseConfig, Dialect};
use crate::spool::{Store, StoreOptions};
use crate::sql::{Access, Connection, connect};

const OPTIONS: StoreOptions =
    StoreOptions { cache_bytes: 1 << 20, outbox_cap_bytes: 1 << 20, image_rest: Duration::ZERO };

type Rows<'r> = &'r [(&'r str, Option<&'r str>)];

/// A folder with a database; the agent's store stands in one of several folders, so that it can be
/// another one.
struct Place {
    folder: tempfile::TempDir,
    create: bool,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), create: true }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn database(&self) -> DatabaseConfig {
        let file = self.path("rows.db");
        let url = format!("sqlite:{}", file.display()).parse().unwrap();
        DatabaseConfig { url, password: None, time_zone: None }
    }

    async fn try_open(&self, store: &str) -> Result<Sink, SinkError> {
        let store = Store::open(&self.path(store), OPTIONS).unwrap();
        let key = SubscriptionKey { node: "n1".parse().unwrap(), grant: GrantId(7) };
        let options = SqlOptions {
            database: self.database(),
            table: "people_{grant}".to_owned(),
            create: self.create,
        };
        Sink::open(store, key, &SinkOptions::Sql(Box::new(options))).await
    }

    async fn open(&self) -> Sink {
        self.try_open("store").await.unwrap()
    }

    async fn connection(&self) -> Connection {
        connect(&self.database(), Access::Write).await.unwrap()
    }

    async fn run(&self, sql: &str) {
        self.connection().await.run(sql).await.unwrap();
    }

    async fn ask(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        self.connection().await.all_rows(sql).await.unwrap()
    }

    /// Key and `mc` of each row.
    async fn rows(&self) -> BTreeMap<String, Option<String>> {
        let rows = self.ask("SELECT qh || '/' || bh, mc FROM people_7").await;
        rows.into_iter().map(|mut row| (row[0].take().unwrap(), row[1].take())).collect()
    }

    async fn tables(&self) -> Vec<String> {
        let sql = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name";
        self.ask(sql).await.into_iter().flatten().flatten().collect()
    }
}

fn packed(raw: &[u8]) -> Packed<'_> {
    Packed { rows: 0, raw_len: raw.len() as u32, codec: Codec::Plain, payload: raw }
}

fn ready(mode: DeliveryMode) -> SubscribeReady {
    SubscribeReady { view: view_json(1), mode }
}

fn snapshot_mode(start: u64) -> DeliveryMode {
    DeliveryMode::Snapshot { start: cursor(start), because: None }
}

async fn snapshot(sink: &mut Sink, start: u64, rows: Rows<'_>) {
    assert_eq!(sink.begin(&ready(snapshot_mode(start))).await.unwrap(), Begin::Fresh);
    for row in rows {
        sink.chunk(cursor(start), row.0.as_bytes(), packed(&block(&[*row]))).unwrap();
        sink.commit().await.unwrap();
    }
    end(sink, start).await;
}

async fn end(sink: &mut Sink, start: u64) {
    let end = SnapshotEnd { start: cursor(start), consistent_at: cursor(start) };
    sink.end_snapshot(&end).await.unwrap();
}

fn tail(sink: &mut Sink, from: u64, to: u64, rows: Rows<'_>) {
    sink.tail(from, cursor(to), packed(&block(rows))).unwrap();
}

async fn check(sink: &mut Sink) -> Checked {
    sink.check(&CancellationToken::new()).await.unwrap()
}

fn pairs(rows: Rows<'_>) -> BTreeMap<String, Option<String>> {
    let pair =
        |(key, value): &(&str, Option<&str>)| (key.replace('\x1f', "/"), value.map(str::to_owned));
    rows.iter().map(pair).collect()
}

fn digest(rows: Rows<'_>) -> Digest {
    let mut digest = DigestBuilder::new();
    for (key, value) in rows {
        let mut row = RowBuf::new();
        if let Some(value) = value {
            row.push(FieldId(3), value.as_bytes());
        }
        digest.push(&key_hash(key.as_bytes()), leaf(key.as_bytes(), row.as_ref()));
    }
    digest.finish().0
}

const THREE: Rows<'_> = &[("a\x1f1", Some("one")), ("a\x1f2", Some("o'two\"")), ("b\x1f1", None)];

fn resume_at(sink: &Sink) -> Option<Cursor> {
    sink.record().resumption().cursor
}

/// `THREE` as a snapshot; a row without a value cannot be told from a delete by `block`.
async fn three(place: &Place) -> Sink {
    let mut sink = place.open().await;
    snapshot(&mut sink, 1, &THREE[..2]).await;
    sink
}

#[tokio::test]
async fn snapshot_and_changes_are_in_the_table_with_their_position() {
    let place = Place::new();
    let mut sink = three(&place).await;
    assert_eq!(place.rows().await, pairs(&THREE[..2]));
    assert_eq!(place.tables().await, ["hutong_cursor", "people_7"]);
    let changes = [("a\x1f2", None), ("c\x1f1", Some("first")), ("c\x1f1", Some("last"))];
    tail(&mut sink, 1, 2, &changes);
    assert_eq!(place.rows().await, pairs(&THREE[..2]), "nothing before the commit");
    sink.commit().await.unwrap();
    let now: Rows<'_> = &[("a\x1f1", Some("one")), ("c\x1f1", Some("last"))];
    assert_eq!(place.rows().await, pairs(now));
    assert_eq!(sink.digest().await.unwrap(), digest(now));
    assert_eq!(check(&mut sink).await, Checked::Same);
    drop(sink);
    let mut sink = place.open().await;
    assert_eq!(resume_at(&sink), Some(cursor(2)));
    assert_eq!(sink.begin(&ready(DeliveryMode::Tail)).await.unwrap(), Begin::Live);
    tail(&mut sink, 2, 3, &[("a\x1f1", None)]);
    sink.commit().await.unwrap();
    assert_eq!(place.rows().await, pairs(&now[1..]));
}

#[tokio::test]
async fn of_two_commits_the_databases_counts_whichever_came_last() {
    let place = Place::new();
    drop(three(&place).await);
    let copy = |from: &str, to: &str| {
        let status = std::process::Command::new("cp")
            .arg("-rT")
            .args([place.path(from), place.path(to)])
            .status();
        assert!(status.unwrap().success());
    };
    copy("store", "before");
    std::fs::copy(place.path("rows.db"), place.path("rows.before")).unwrap();
    let mut sink = place.open().await;
    sink.begin(&ready(DeliveryMode::Tail)).await.unwrap();
    let keys: Vec<String> = (0..50).map(|key| format!("k\x1f{key}")).collect();
    let added: Vec<_> = keys.iter().map(|key| (key.as_str(), Some("new"))).collect();
    tail(&mut sink, 1, 2, &[&added[..], &[("a\x1f1", None)]].concat());
    sink.commit().await.unwrap();
    drop(sink);
    let now = [&added[..], &[("a\x1f2", Some("o'two\""))]].concat();

    // The agent ended before its own commit, or was restored from a copy.
    let mut sink = place.try_open("before").await.unwrap();
    assert_eq!(resume_at(&sink), Some(cursor(2)));
    assert_eq!(sink.digest().await.unwrap(), digest(&now));
    assert_eq!(check(&mut sink).await, Checked::Same);
    drop(sink);
    // An agent that never heard of it.
    let sink = place.try_open("new").await.unwrap();
    assert_eq!((resume_at(&sink), sink.digest().await.unwrap()), (Some(cursor(2)), digest(&now)));
    drop(sink);
    // The database was restored.
    std::fs::copy(place.path("rows.before"), place.path("rows.db")).unwrap();
    let mut sink = place.open().await;
    assert_eq!(resume_at(&sink), Some(cursor(1)));
    assert_eq!(sink.digest().await.unwrap(), digest(&THREE[..2]));
    assert_eq!(check(&mut sink).await, Checked::Same);
}

#[tokio::test]
async fn rows_and_position_move_together_or_not_at_all() {
    let place = Place::new();
    drop(three(&place).await);
    // The statement that fails, and whether it is the rows' or the position's.
    for (table, when) in [("hutong_cursor", "UPDATE"), ("people_7", "INSERT")] {
        let mut sink = place.open().await;
        sink.begin(&ready(DeliveryMode::Tail)).await.unwrap();
        let fail = format!(
            "CREATE TRIGGER fail BEFORE {when} ON {table} BEGIN SELECT RAISE(ABORT, 'disk'); END"
        );
        place.run(&fail).await;
        tail(&mut sink, 1, 2, &[("a\x1f1", None), ("z\x1f1", Some("new"))]);
        assert!(sink.commit().await.is_err());
        drop(sink);
        place.run("DROP TRIGGER fail").await;
        assert_eq!(place.rows().await, pairs(&THREE[..2]), "{table}");
        let mut sink = place.open().await;
        assert_eq!(resume_at(&sink), Some(cursor(1)), "{table}");
        assert_eq!(check(&mut sink).await, Checked::Same);
    }
    let mut sink = place.open().await;
    sink.begin(&ready(DeliveryMode::Tail)).await.unwrap();
    tail(&mut sink, 1, 2, &[("a\x1f1", None), ("z\x1f1", Some("new"))]);
    sink.commit().await.unwrap();
    assert_eq!(place.rows().await.len(), 2);
}

#[tokio::test]
async fn an_unfinished_snapshot_goes_on_and_the_old_rows_stay_until_its_end() {
    let place = Place::new();
    drop(three(&place).await);
    let mut sink = place.open().await;
    sink.begin(&ready(snapshot_mode(5))).await.unwrap();
    let half = [("a\x1f1", Some("one")), ("a\x1f2", Some("new"))];
    sink.chunk(cursor(6), b"a\x1f2", packed(&block(&half))).unwrap();
    sink.commit().await.unwrap();
    sink.chunk(cursor(6), b"a\x1f3", packed(&block(&[("a\x1f3", Some("lost"))]))).unwrap();
    drop(sink);
    assert_eq!(place.rows().await, pairs(&THREE[..2]));

    // Neither does a store that knows nothing of it lose the half.
    let mut sink = place.try_open("new").await.unwrap();
    let Resumption { cursor: none, resume, .. } = sink.record().resumption();
    assert_eq!((none, &resume.unwrap().last_key.0[..]), (None, &b"a\x1f2"[..]));
    let mode = DeliveryMode::Resume { start: cursor(5) };
    assert_eq!(sink.begin(&ready(mode)).await.unwrap(), Begin::Staged);
    // Whoever watches the live table sees real changes only.
    place
        .run(
            "CREATE TABLE seen (what TEXT, bh TEXT);\
             CREATE TRIGGER u AFTER UPDATE ON people_7 BEGIN INSERT INTO seen VALUES ('u', new.bh); END;\
             CREATE TRIGGER i AFTER INSERT ON people_7 BEGIN INSERT INTO seen VALUES ('i', new.bh); END;\
             CREATE TRIGGER d AFTER DELETE ON people_7 BEGIN INSERT INTO seen VALUES ('d', old.bh); END",
        )
        .await;
    sink.chunk(cursor(6), b"c\x1f9", packed(&block(&[("c\x1f9", Some("more"))]))).unwrap();
    end(&mut sink, 5).await;
    let now: Rows<'_> =
        &[("a\x1f1", Some("one")), ("a\x1f2", Some("new")), ("c\x1f9", Some("more"))];
    assert_eq!(place.rows().await, pairs(now));
    assert_eq!(sink.digest().await.unwrap(), digest(now));
    let seen = place.ask("SELECT what || bh FROM seen ORDER BY 1").await;
    let seen: Vec<String> = seen.into_iter().flatten().flatten().collect();
    assert_eq!(seen, ["i9", "u2"]);
    assert!(!place.tables().await.contains(&"people_7__staged".to_owned()));
    assert_eq!(check(&mut sink).await, Checked::Same);
}

#[tokio::test]
async fn a_changed_table_is_seen_and_mended_by_sending_again() {
    let place = Place::new();
    let mut sink = three(&place).await;
    place.run("UPDATE people_7 SET mc = 'other' WHERE bh = '1'").await;
    place.run("INSERT INTO people_7 VALUES ('x', 'y', 'z', NULL)").await;
    assert_eq!(check(&mut sink).await, Checked::Changed { keys: 2 });
    let held: Rows<'_> =
        &[("a\x1f1", Some("other")), ("a\x1f2", Some("o'two\"")), ("x\x1fy", Some("z"))];
    assert_eq!(sink.digest().await.unwrap(), digest(held));
    assert_eq!(check(&mut sink).await, Checked::Same);
    let mend = [("a\x1f1", Some("one")), ("x\x1fy", None)];
    sink.repair(cursor(1), packed(&block(&mend))).unwrap();
    sink.commit().await.unwrap();
    assert_eq!(sink.digest().await.unwrap(), digest(&THREE[..2]));
    assert_eq!(place.rows().await, pairs(&THREE[..2]));

    place.run("DROP TABLE people_7").await;
    assert_eq!(check(&mut sink).await, Checked::Lost);
    assert_eq!(sink.record().resumption(), Resumption::default());
    snapshot(&mut sink, 3, &THREE[..1]).await;
    assert_eq!(place.rows().await, pairs(&THREE[..1]));
}

#[tokio::test]
async fn what_does_not_fit_is_named_all_at_once_before_anything_is_written() {
    let mut place = Place::new();
    place.create = false;
    std::fs::write(place.path("rows.db"), b"").unwrap();
    let mut sink = place.open().await;
    let mode = || ready(snapshot_mode(1));
    let error = sink.begin(&mode()).await.unwrap_err().to_string();
    assert!(error.contains("people_7") && error.contains("create = true"), "{error}");
    drop(sink);
    place.run("CREATE TABLE people_7 (qh TEXT, bh REAL, n INTEGER NOT NULL, geom TEXT)").await;
    let error = place.open().await.begin(&mode()).await.unwrap_err().to_string();
    for part in ["mc is missing", "bh rounds", "n must not be empty", "primary key", "qh"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    place.run("DROP TABLE people_7").await;
    place.run("CREATE TABLE people_7 (geom TEXT, QH TEXT, bh TEXT, mc TEXT, own TEXT, UNIQUE (bh, qh))").await;
    place.run("INSERT INTO people_7 VALUES (NULL, 'a', '1', 'x', 'mine')").await;
    let error = place.open().await.begin(&mode()).await.unwrap_err().to_string();
    assert!(error.contains("did not write"), "{error}");
    place.run("DELETE FROM people_7").await;
    let mut sink = place.open().await;
    snapshot(&mut sink, 1, &THREE[..2]).await;
    assert_eq!(place.rows().await, pairs(&THREE[..2]));
    assert_eq!(check(&mut sink).await, Checked::Same);
}

#[tokio::test]
async fn whoever_finds_the_position_moved_by_another_writes_nothing() {
    let place = Place::new();
    drop(three(&place).await);
    let mut one = place.open().await;
    let mut other = place.try_open("new").await.unwrap();
    one.begin(&ready(DeliveryMode::Tail)).await.unwrap();
    assert!(other.begin(&ready(DeliveryMode::Tail)).await.is_err());
    tail(&mut one, 1, 2, &[("a\x1f1", None)]);
    one.commit().await.unwrap();
    assert_eq!(place.rows().await, pairs(&THREE[1..2]));
}

#[tokio::test]
async fn a_withdrawn_grants_table_is_kept_aside_or_removed() {
    let now = jiff::Timestamp::from_second(1_795_262_400).unwrap();
    for (disposal, create) in
        [(Disposal::KeepAside, true), (Disposal::Delete, true), (Disposal::Delete, false)]
    {
        let mut place = Place::new();
        let sink = three(&place).await;
        drop(sink);
        place.create = create;
        let kept = place.open().await.dispose("ended", disposal, now).await.unwrap();
        let tables = place.tables().await;
        match (disposal, create) {
            (Disposal::KeepAside, _) => {
                let aside = "people_7__withdrawn_20261121T120000Z";
                assert_eq!(kept, Some(Kept::Table(aside.to_owned())));
                assert_eq!(tables, ["hutong_cursor", aside]);
            }
            (Disposal::Delete, true) => assert_eq!(tables, ["hutong_cursor"]),
            (Disposal::Delete, false) => assert_eq!(place.rows().await, pairs(&[])),
        }
        let sink = place.try_open("new").await.unwrap();
        assert_eq!(sink.record().ended.as_deref(), Some("ended"));
        assert_eq!(sink.record().resumption(), Resumption::default());
    }
}

#[tokio::test]
async fn columns_that_are_granted_no_more_are_emptied_and_new_ones_added() {
    let place = Place::new();
    let mut sink = three(&place).await;
    let mut other = view(2);
    let mut added = other.items[0].clone();
    (added.id, added.name) = (FieldId(9), "neu".to_owned());
    other.items[0] = added;
    let view = hutong_schema::wire::v1::Json::of(&other).unwrap();
    let mode = snapshot_mode(4);
    sink.begin(&SubscribeReady { view, mode }).await.unwrap();
    let mut builder = hutong_schema::block::BlockBuilder::new(&[FieldId(9)]);
    builder.upsert(b"a\x1f1", [Some(&b"nine"[..])]);
    sink.chunk(cursor(4), b"a\x1f1", packed(&builder.finish())).unwrap();
    end(&mut sink, 4).await;
    let rows = place.ask("SELECT qh, bh, mc, neu FROM people_7").await;
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(rows, [vec![text("a"), text("1"), None, text("nine")]]);
    assert_eq!(check(&mut sink).await, Checked::Same);
}

#[test]
fn no_statement_of_any_dialect_holds_a_name_without_quotes() {
    let shape = super::Shape::new(Dialect::MySql, &view(1), |_| super::Kind::Text(None));
    let statement = super::Statements(&shape).upsert("`t`", 2);
    assert_eq!(
        statement,
        "INSERT INTO `t` (`qh`, `bh`, `mc`, `geom`) VALUES (?, ?, ?, ?), (?, ?, ?, ?) \
         ON DUPLICATE KEY UPDATE `mc` = VALUES(`mc`), `geom` = VALUES(`geom`)"
    );
}
