//! Every canonical value survives the table that is made for it, in each database: written, and read
//! back as the same value.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hutong_agent::config::DatabaseConfig;
use hutong_agent::sinks::{Checked, Sink, SinkOptions, SqlOptions, SubscriptionKey};
use hutong_agent::spool::{Store, StoreOptions};
use hutong_schema::batch::Codec;
use hutong_schema::block::BlockBuilder;
use hutong_schema::catalogue::{DataType, Item};
use hutong_schema::grant::{Grant, GrantId, GrantView, Modes, Target};
use hutong_schema::library::LibraryId;
use hutong_schema::row::FieldId;
use hutong_schema::rules;
use hutong_schema::wire::v1::Json;
use hutong_schema::wire::v1::subscribe::{
    Cursor, DeliveryMode, Packed, SnapshotEnd, SubscribeReady,
};
use hutong_tests::city::rng::Rng;
use hutong_tests::harness::databases::{Database, System};
use hutong_tests::harness::entries::{item, key_item};
use tokio_util::sync::CancellationToken;

/// Random values of each type and length.
const VALUES: usize = 400;

const TEXTS: &[&str] = &[
    "a",
    "A",
    "a ",
    " a",
    "a  ",
    "ä",
    "a\u{308}",
    "ß",
    "ss",
    "示例",
    "𠮷",
    "😀",
    "'",
    "''",
    "\"",
    "`",
    "\\",
    "\\'",
    "\\N",
    "NULL",
    "null",
    "?",
    "$1",
    "%",
    "_",
    ";",
    "--",
    "{}",
    "{a,b}",
    "0",
    "00",
    "1e3",
    "true",
    "\u{FEFF}a",
    "\u{200B}",
    "ﬀ",
    "Ａ",
    "ǅ",
    "İ",
    "ı",
];

const PROSE: &[&str] = &["a\tb", "a\nb", "a\r\nb", "\n", "\t", "a\n", " "];

fn raw(rng: &mut Rng, data_type: DataType, length: u32) -> String {
    let digits = |rng: &mut Rng, count: u64| -> String {
        (0..count).map(|_| char::from(b'0' + rng.below(10) as u8)).collect()
    };
    let number = |rng: &mut Rng, most: u64| {
        let whole = rng.below(most + 1);
        let fraction = rng.below(most - whole + 1);
        let sign = if rng.below(3) == 0 { "-" } else { "" };
        format!("{sign}0{}.{}0", digits(rng, whole), digits(rng, fraction))
    };
    let most = if length == 0 { 60 } else { u64::from(length) };
    match data_type {
        DataType::Text | DataType::Memo => {
            let parts = 1 + rng.below(4);
            let all = if data_type == DataType::Memo || rng.below(4) == 0 { PROSE } else { TEXTS };
            let part = |rng: &mut Rng| all[rng.below(all.len() as u64) as usize];
            (0..parts).map(|_| part(rng)).collect()
        }
        DataType::Number | DataType::Money => number(rng, most),
        DataType::Integer => {
            let count = 1 + rng.below(most);
            let sign = if rng.below(3) == 0 { "-" } else { "" };
            format!("{sign}{}", digits(rng, count))
        }
        DataType::Double => match rng.below(4) {
            0 => format!("{:e}", f64::from_bits(rng.below(1 << 52))),
            _ => format!("{:e}", f64::from_bits(rng.below(u64::MAX))),
        },
        DataType::Float => format!("{:e}", f32::from_bits(rng.below(1 << 32) as u32)),
        DataType::Date | DataType::DateTime => {
            let year = [1, 4, 1000, 1582, 1900, 1970, 1986, 2038, 9999, 1 + rng.below(9999)];
            let year = year[rng.below(10) as usize];
            let (month, day) = (1 + rng.below(12), 1 + rng.below(31));
            let date = format!("{year:04}-{month:02}-{day:02}");
            if data_type == DataType::Date {
                return date;
            }
            let (hour, minute) = (rng.below(24), rng.below(60));
            format!("{date} {hour:02}:{minute:02}:{:02}", rng.below(60))
        }
        DataType::Logical => rng.below(2).to_string(),
        DataType::Geometry => {
            let degrees = |rng: &mut Rng, most: f64| {
                (rng.below(u64::MAX) as f64 / u64::MAX as f64 * 2.0 - 1.0) * most
            };
            let point = |rng: &mut Rng| format!("[{},{}]", degrees(rng, 180.0), degrees(rng, 90.0));
            let points: Vec<String> = (0..2 + rng.below(20)).map(|_| point(rng)).collect();
            format!(r#"{{"type":"LineString","coordinates":[{}]}}"#, points.join(","))
        }
    }
}

fn cases() -> Vec<Item> {
    let mut cases = Vec::new();
    for data_type in DataType::ALL {
        let lengths: &[u32] = match data_type {
            DataType::Text | DataType::Memo => &[0, 50, 300],
            DataType::Number | DataType::Money => &[0, 1, 15, 16, 30, 31, 200],
            DataType::Integer => &[0, 1, 18, 19, 60, 61],
            DataType::Date
            | DataType::DateTime
            | DataType::Logical
            | DataType::Geometry
            | DataType::Double
            | DataType::Float => &[0],
        };
        for length in lengths {
            cases.push(Item { length: *length, ..item(2, "v", "值", data_type) });
        }
    }
    cases
}

/// A key, and a value or none.
type Rows = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

fn rows(of: &Item, as_key: bool, seed: u64) -> Result<Rows> {
    let mut rng = Rng::new(seed);
    let mut rows = Rows::new();
    for number in 0..VALUES {
        let raw = raw(&mut rng, of.data_type, of.length);
        // What is no value of the type after all is no case.
        let Ok(Some(value)) = rules::canonicalise(of, &raw) else { continue };
        ensure!(rules::check(of, &value).is_ok(), "{raw} became a value that is none");
        if as_key {
            rows.insert(value.into_owned(), None);
        } else {
            rows.insert(number.to_string().into_bytes(), Some(value.into_owned()));
        }
    }
    Ok(rows)
}

fn view(grant: u64, keys: Vec<Item>, items: Vec<Item>) -> Result<GrantView> {
    let grant = Grant {
        id: GrantId(grant),
        target: Target::Library(LibraryId::GEOSPATIAL),
        grantee: "11100000000013338W".parse()?,
        fields: items.iter().map(|item| item.id).collect(),
        filter: None,
        purpose: "test".to_owned(),
        modes: Modes { deliver: true, lookup: false, verify: false },
        from: jiff::civil::date(2026, 1, 1),
        until: None,
        generation: 1,
    };
    Ok(GrantView { grant, name: "测试".to_owned(), keys, items })
}

async fn survives(folder: &Path, url: &str, grant: u64, view: GrantView, rows: Rows) -> Result<()> {
    let options = StoreOptions {
        cache_bytes: 1 << 20,
        outbox_cap_bytes: 1 << 20,
        image_rest: Duration::ZERO,
    };
    let store = Store::open(&folder.join(format!("store-{grant}")), options)?;
    let key = SubscriptionKey { node: "n1".parse()?, grant: GrantId(grant) };
    let database = DatabaseConfig { url: url.parse()?, password: None, time_zone: None };
    let options = SqlOptions { database, table: "t{grant}".to_owned(), create: true };
    let options = SinkOptions::Sql(Box::new(options));
    let mut sink = Box::pin(Sink::open(store, key, &options)).await?;
    let start = Cursor { incarnation: 1, generation: 1, seq: 1, feed_hash: [1; 16] };
    let fields: Vec<FieldId> = view.items.iter().map(|item| item.id).collect();
    let mode = DeliveryMode::Snapshot { start, because: None };
    sink.begin(&SubscribeReady { view: Json::of(&view)?, mode }).await?;
    let mut builder = BlockBuilder::new(&fields);
    for (key, value) in &rows {
        builder.upsert(key, [value.as_deref()].into_iter().take(fields.len()));
    }
    let raw = builder.finish();
    let (raw_len, codec) = (raw.len() as u32, Codec::Plain);
    let block = Packed { rows: rows.len() as u32, raw_len, codec, payload: &raw };
    let last = rows.keys().next_back().context("some values")?;
    sink.chunk(start, last, block)?;
    sink.end_snapshot(&SnapshotEnd { start, consistent_at: start }).await?;
    let count = sink.digest().await?.count;
    ensure!(count == rows.len() as u64, "{count} rows of {}", rows.len());
    let checked = Box::pin(sink.check(&CancellationToken::new())).await?;
    ensure!(checked == Checked::Same, "of {} values: {checked:?}", rows.len());
    // All of them can be named again: deletes find their rows.
    let mut builder = BlockBuilder::new(&fields);
    rows.keys().for_each(|key| builder.delete(key));
    let raw = builder.finish();
    let (raw_len, codec) = (raw.len() as u32, Codec::Plain);
    let block = Packed { rows: rows.len() as u32, raw_len, codec, payload: &raw };
    sink.tail(1, Cursor { seq: 2, ..start }, block)?;
    sink.commit().await?;
    let checked = Box::pin(sink.check(&CancellationToken::new())).await?;
    ensure!(checked == Checked::Same, "after deletes: {checked:?}");
    Ok(())
}

fn all_survive(folder: &Path, url: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut failures = Vec::new();
    for (number, case) in (1..).zip(cases()) {
        let what = format!("{:?} of length {}", case.data_type, case.length);
        let plain = view(2 * number, vec![key_item(1, "k", "键")], vec![case.clone()])?;
        let values = rows(&case, false, number)?;
        let kept = runtime.block_on(survives(folder, url, 2 * number, plain, values));
        failures.extend(kept.err().map(|error| format!("{what}: {error:#}")));
        if matches!(case.data_type, DataType::Geometry | DataType::Memo) || case.length > 200 {
            continue;
        }
        let case = Item { key: true, required: true, ..case };
        let keyed = view(2 * number + 1, vec![case.clone()], Vec::new())?;
        let values = rows(&case, true, number)?;
        let kept = runtime.block_on(survives(folder, url, 2 * number + 1, keyed, values));
        failures.extend(kept.err().map(|error| format!("{what} as a key: {error:#}")));
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

fn in_server(system: System) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("hutong-").tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let database = Database::start(system, &path("database"), &path("logs"))?;
    all_survive(folder.path(), &database.url())
}

#[test]
fn every_value_survives_in_postgresql() -> Result<()> {
    in_server(System::Postgres)
}

#[test]
fn every_value_survives_in_mariadb() -> Result<()> {
    in_server(System::MariaDb)
}

#[test]
fn every_value_survives_in_sqlite() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("rows.db");
    all_survive(folder.path(), &format!("sqlite:{}", file.display()))
}
