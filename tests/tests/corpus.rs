//! Replays the fuzzers' corpus with a stable compiler: every input that once told something new stays harmless.

#[path = "../../fuzz/targets/mod.rs"]
mod targets;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hutong_agent::sinks::{Record, Staged};
use hutong_agent::spool::{StreamRecord, StreamState};
use hutong_certs::authority::Authority;
use hutong_certs::certificate::to_pem;
use hutong_certs::enrol::{
    ClockAsk, ClockTold, EnrolAnswer, EnrolRequest, RenewRequest, SecretBytes,
};
use hutong_certs::join::sheet::{SheetRow, to_csv};
use hutong_certs::join::{JoinToken, Secret};
use hutong_certs::request::PrivateKey;
use hutong_schema::batch::{Codec, compress};
use hutong_schema::block::BlockBuilder;
use hutong_schema::row::{FieldId, RowBuf};
use hutong_schema::wire::v1::subscribe::Cursor;
use hutong_schema::wire::v1::{Json, kind};
use hutong_schema::wire::{codec, frame};
use jiff::Timestamp;
use proptest::prelude::*;
use targets::session::step;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

fn replay(target: &str, run: fn(&[u8])) {
    let folder = corpus(target);
    let mut inputs = 0;
    for entry in
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
    {
        let path = entry.expect("a listed file").path();
        run(&fs::read(&path).expect("a readable file"));
        inputs += 1;
    }
    assert!(inputs > 0, "{} holds no seed", folder.display());
    // Each seed cut short, and each with one byte changed, as a fuzzer would begin.
    for entry in fs::read_dir(&folder).expect("read once already") {
        let bytes = fs::read(entry.expect("a listed file").path()).expect("a readable file");
        for at in 0..bytes.len().min(512) {
            run(&bytes[..at]);
            let mut changed = bytes.clone();
            changed[at] ^= 0x81;
            run(&changed);
        }
    }
}

macro_rules! replays {
    ($($of:ident: $($target:ident),+;)+) => {
        $($(#[test] fn $target() { replay(stringify!($target), targets::$of::$target); })+)+
    };
}

replays! {
    schema: wire, block, payload, row, filter, geometry, value, catalogue;
    certs: enrolment, token, token_sheet, certificate, signing_request, identity;
    agent: source, catalogue_file, agent_config, agent_records, agent_request, delivered_file;
    session: session;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    /// Whatever a node, a hub and the disk do in whatever order: see [`targets::session`].
    #[test]
    fn no_sequence_of_messages_breaks_a_promise(
        about in 0..LIKELY_STEPS.len(),
        // How many of 256 steps are none that are likely there, and frames none that are taken.
        wild in prop::sample::select(vec![0u8, 4, 128]),
        steps in prop::collection::vec(any::<(u8, u8, u8, prop::sample::Index)>(), 0..300),
        broken in prop::option::weighted(0.2, any::<(prop::sample::Index, u8)>()),
    ) {
        let frames = golden_frames();
        let mut bytes = if wild < 128 { greeting(&frames) } else { Vec::new() };
        for name in ["publish_open", "subscribe_open"] {
            bytes.push(step::OPEN);
            push_frame(&mut bytes, &frames[name]);
        }
        for (chance, pick, value, frame) in steps {
            let likely = LIKELY_STEPS[about];
            let what = match chance < wild {
                true => pick % step::STEPS,
                false => likely[usize::from(pick) % likely.len()],
            };
            bytes.push(what);
            match what {
                step::GREET | step::CONTROL | step::OPEN | step::PUBLISH | step::SUBSCRIBE | step::NODE => {
                    let fits = |frame: &&Vec<u8>| value < wild || likely_kinds(what).contains(&frame[0]);
                    let fitting: Vec<_> = frames.values().filter(fits).collect();
                    let content: &&Vec<u8> = frame.get(&fitting);
                    push_frame(&mut bytes, content);
                }
                step::ASK | step::STORED | step::PARCEL => bytes.push(value),
                _ => {}
            }
        }
        if let Some((at, flip)) = broken {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        targets::session::session(&bytes);
    }
}

/// What mostly happens: on a publish stream that goes well, on one that does not, and elsewhere.
const LIKELY_STEPS: [&[u8]; 4] = [
    &[step::PUBLISH, step::TAKEN, step::PUBLISH, step::TAKEN, step::STORED, step::ACKNOWLEDGE],
    &[
        step::PUBLISH,
        step::TAKEN,
        step::PUBLISH,
        step::TAKEN,
        step::PUBLISH,
        step::TAKEN,
        step::STORED,
        step::STORED,
        step::ACKNOWLEDGE,
        step::NOT_TAKEN,
        step::REFUSED,
        step::END,
        step::OPEN,
    ],
    &[step::SUBSCRIBE, step::PARCEL, step::PARCEL, step::PARCEL],
    &[step::CONTROL, step::ASK, step::NODE, step::ANSWERED, step::NODE],
];

/// Kinds that are taken where a step delivers its frame.
fn likely_kinds(what: u8) -> &'static [u8] {
    match what {
        step::GREET => &[kind::HELLO],
        step::CONTROL => &[kind::HEARTBEAT, kind::DIGEST_ANSWER, kind::ROOTS_HELD, kind::HEALTH],
        step::OPEN => &[kind::PUBLISH_OPEN],
        step::PUBLISH => &[kind::BATCH],
        step::SUBSCRIBE => &[kind::CREDIT],
        _ => &[kind::HEARTBEAT_REPLY, kind::DIGEST_ASK, kind::TRUSTED_ROOTS],
    }
}

/// The content of a frame of every message, by name.
fn golden_frames() -> BTreeMap<String, Vec<u8>> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schema/tests/golden/v1.txt");
    let golden = fs::read_to_string(golden).expect("the golden frames");
    let frame = |(name, hex): (&str, &str)| {
        // Behind the eight digits of the length.
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits");
        (name.to_owned(), (8..hex.len()).step_by(2).map(byte).collect())
    };
    golden.lines().filter_map(|line| line.split_once(' ')).map(frame).collect()
}

fn push_frame(bytes: &mut Vec<u8>, content: &[u8]) {
    bytes.extend(u16::try_from(content.len()).expect("a golden frame is short").to_le_bytes());
    bytes.extend(content);
}

/// A node is greeted and let in.
fn greeting(frames: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut bytes = vec![step::GREET];
    push_frame(&mut bytes, &frames["hello"]);
    bytes.push(step::LET_IN);
    bytes
}

/// What the fuzzers begin with: the golden frames and a few samples of the other forms.
fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let frames = golden_frames();
    let mut seeds = seeds_of_session(&frames);
    seeds.extend(frames.into_iter().map(|(name, content)| ("wire", name, content)));

    let mut builder = BlockBuilder::new(&[FieldId(2), FieldId(6)]);
    builder.upsert(b"11010519491231002X", [Some(&b"\xe7\x94\xb2"[..]), Some(&b"211202"[..])]);
    builder.upsert(b"440524188001010014", [None, Some(&b"211221"[..])]);
    builder.delete(b"34052419800101001X");
    let block = builder.finish();
    for (name, codec) in [("plain", Codec::Plain), ("lz4", Codec::Lz4), ("zstd", Codec::Zstd)] {
        let raw = block.repeat(8);
        let (codec, packed) = compress(&raw, codec).expect("a small payload");
        let mut seed = vec![codec.code()];
        seed.extend(u32::try_from(raw.len()).expect("a small payload").to_le_bytes());
        seed.extend(packed);
        seeds.push(("payload", name.to_owned(), seed));
    }
    seeds.push(("block", "rows".to_owned(), block));

    let mut row = RowBuf::new();
    row.push(FieldId(2), b"\xe7\x94\xb2");
    row.push(FieldId(200), &[b'x'; 200]);
    seeds.push(("row", "two fields".to_owned(), row.into_bytes()));

    let texts: &[(&str, &str, &str)] = &[
        ("filter", "adults", r#"hjqh = "211221" and age(csrq) >= 18"#),
        (
            "filter",
            "counties",
            r#"hjqh in ("211202","211204") or not (xb = "1" and xm starts "A")"#,
        ),
        ("geometry", "point", r#"{"type":"Point","coordinates":[123.85,42.29]}"#),
        ("geometry", "polygon", r#"{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,0]]]}"#),
        (
            "geometry",
            "lines",
            r#"{"type":"MultiLineString","coordinates":[[[0,0],[1,1]],[[2,2],[3,3]]]}"#,
        ),
        ("value", "citizen", "\u{0}34052419800101001x"),
        ("value", "date", "\u{4}1980-01-01"),
        ("value", "credit code", "\u{a}91350100M000100Y43"),
        ("value", "capital", "\u{d}-0012.50"),
        ("catalogue", "entry", include_str!("../../fuzz/seed_entry.json")),
    ];
    seeds.extend(
        texts
            .iter()
            .map(|(target, name, text)| (*target, (*name).to_owned(), text.as_bytes().to_vec())),
    );
    seeds.extend(seeds_of_certs());
    seeds.extend(seeds_of_agent());
    seeds
}

type Seed = (&'static str, String, Vec<u8>);

fn seed(target: &'static str, name: &str, bytes: impl Into<Vec<u8>>) -> Seed {
    (target, name.to_owned(), bytes.into())
}

/// Sessions as they go well, and one that is refused.
fn seeds_of_session(frames: &BTreeMap<String, Vec<u8>>) -> Vec<Seed> {
    let said = |steps: &[(u8, &str)]| {
        let mut bytes = greeting(frames);
        for (what, name) in steps {
            bytes.push(*what);
            match *name {
                "" => {}
                number if number.len() == 1 => bytes.push(number.as_bytes()[0]),
                name => push_frame(&mut bytes, &frames[name]),
            }
        }
        bytes
    };
    let publish = (step::OPEN, "publish_open");
    let batch = [(step::PUBLISH, "batch"), (step::TAKEN, "")];
    let acknowledged = [(step::STORED, "\0"), (step::ACKNOWLEDGE, "")];
    let published = [&[publish][..], &batch, &batch, &acknowledged, &acknowledged].concat();
    let closed = [&published[..], &[(step::PUBLISH, "publish_close")]].concat();
    let refused =
        [&[publish][..], &batch, &[(step::PUBLISH, "batch"), (step::NOT_TAKEN, "")], &acknowledged]
            .concat();
    vec![
        seed("session", "published", said(&closed)),
        seed("session", "refused", said(&refused)),
        seed(
            "session",
            "subscribed",
            said(&[
                (step::OPEN, "subscribe_open"),
                (step::PARCEL, "\u{1}"),
                (step::SUBSCRIBE, "credit"),
                (step::SUBSCRIBE, "checkpoint_report"),
                (step::PARCEL, "\u{7f}"),
            ]),
        ),
        seed(
            "session",
            "asked",
            said(&[
                (step::CONTROL, "heartbeat"),
                (step::ASK, "\0"),
                (step::CONTROL, "digest_answer_root"),
                (step::CONTROL, "roots_held"),
                (step::NODE, "heartbeat_reply"),
                (step::NODE, "digest_ask_root"),
                (step::ANSWERED, ""),
                (step::CONTROL, "goodbye"),
            ]),
        ),
    ]
}

/// Keys are new each time; only what is public of them goes into the corpus.
fn seeds_of_certs() -> Vec<Seed> {
    let now: Timestamp = "2026-11-21T12:00:00Z".parse().expect("a time");
    let authority = Authority::create(&"model".parse().expect("a name"), now).expect("made");
    let request = || PrivateKey::generate().and_then(|key| key.signing_request()).expect("made");
    let token = JoinToken {
        authority: authority.fingerprint(),
        secret: Secret::new([7; 32]),
        department: "11100000000013338W".parse().expect("a code"),
        node: "n0001".parse().expect("a name"),
        expires: now,
    };
    let content = |frame: Vec<u8>| frame[frame::PREFIX..].to_vec();
    let enrol = EnrolRequest {
        software: "hutong-agent".to_owned(),
        clock_ms: 1,
        secret: SecretBytes([7; 32]),
        department: token.department,
        node: token.node.clone(),
        signing_request: vec![0x30, 3, 1, 2, 3],
    };
    let answer = EnrolAnswer { chain: vec![vec![1, 2]], roots: vec![vec![3]], hub_time_ms: 1 };
    let renew = RenewRequest {
        software: "hutong-agent".to_owned(),
        clock_ms: 1,
        chain: vec![vec![1, 2]],
        signing_request: vec![3],
        proof: vec![4, 5],
    };
    let text = token.to_text();
    let sheet = to_csv(&[SheetRow { department_name: "示例局".to_owned(), token }]);
    vec![
        seed("enrolment", "enrol", content(frame::encode(&enrol).expect("encodes"))),
        seed("enrolment", "enrolled", content(frame::encode(&answer).expect("encodes"))),
        seed("enrolment", "renew", content(frame::encode(&renew).expect("encodes"))),
        seed("enrolment", "clock ask", content(frame::encode(&ClockAsk {}).expect("encodes"))),
        seed(
            "enrolment",
            "clock told",
            content(frame::encode(&ClockTold { hub_time_ms: 1 }).expect("encodes")),
        ),
        seed("token", "token", text),
        seed("token_sheet", "sheet", sheet.expect("a sheet")),
        seed("certificate", "root", authority.root().as_ref()),
        seed("certificate", "root as text", to_pem([authority.root()])),
        seed("signing_request", "request", request()),
        seed(
            "identity",
            "node",
            "spiffe://model/department/11100000000013338W/node/n0001".as_bytes(),
        ),
        seed("identity", "hub", "spiffe://model/hub".as_bytes()),
        seed("identity", "serial", "0a1b2c".as_bytes()),
    ]
}

const WORKBOOK: &[u8] = include_bytes!("../../agent/fixtures/workbooks/people.xlsx");

fn seeds_of_agent() -> Vec<Seed> {
    let cursor = Cursor { incarnation: 1, generation: 2, seq: 300, feed_hash: [9; 16] };
    let live = Record { cursor: Some(cursor), length: 70, ..Record::default() };
    let view = Json::of(&"no view").expect("JSON");
    let (last_key, consistent_at) = (None, cursor);
    let staged = Staged { view, start: cursor, last_key, consistent_at, length: 7, rows: 1 };
    let staged = Record { staged: Some(staged), ..Record::default() };
    let stream = StreamRecord {
        node: "n0001".parse().expect("a name"),
        resource: "303084122704/000001".parse().expect("a code"),
        state: StreamState { epoch: 2, next_seq: 9, ..StreamState::default() },
    };
    let entry = include_str!("../../fuzz/seed_entry.json");
    let toml = "\u{1}[[entry]]\ncode = \"303084122704/000001\"\nname = \"n\"\n";
    let config = include_str!("../../deploy/agent.sample.toml");
    vec![
        seed("source", "csv", "\u{0}sfzh,xm,csrq\n11010519491231002X,甲,1949-12-31\n,,\n"),
        seed(
            "source",
            "quoted",
            "\u{4}\"sfzh\",\"xm\"\r\n\"34052419800101001X\",\"a \"\"b\"\"\nc\"\r\n",
        ),
        seed("source", "gb18030", b"\x02sfzh,xm\n11010519491231002X,\xbc\xd7\n".as_slice()),
        seed(
            "source",
            "json lines",
            "\u{1}{\"sfzh\":\"11010519491231002X\",\"xm\":null,\"x\":[1]}\n{\"sfzh\"",
        ),
        seed("source", "tsv", "\u{8}sfzh\txm\n11010519491231002X\t甲\n"),
        seed(
            "source",
            "geojson",
            "\u{10}{\"type\":\"FeatureCollection\",\"features\":[{\"type\":\"Feature\",\"id\":1,\"properties\":{\"sfzh\":\"11010519491231002X\"},\"geometry\":null},7]}",
        ),
        seed("source", "workbook", [&b"\x18"[..], WORKBOOK].concat()),
        seed("catalogue_file", "json lines", format!("\u{0}{entry}\n")),
        seed("catalogue_file", "toml", toml),
        seed("agent_config", "sample", config),
        seed("agent_request", "status", "\"Status\""),
        seed("agent_request", "confirm", r#"{"Confirm":{"resource":"303084122704/000001"}}"#),
        seed(
            "agent_request",
            "lookup",
            r#"{"Ask":{"node":"n0001","question":{"Lookup":{"target":"population","by":{"Key":["11010519491231002X"]},"reason":"c-1","limit":5}}}}"#,
        ),
        seed(
            "delivered_file",
            "json lines",
            "\u{0}{\"op\":\"upsert\",\"key\":\"11010519491231002X\",\"row\":{\"sfzh\":\"11010519491231002X\",\"xm\":\"甲\",\"geom\":{\"type\":\"Point\",\"coordinates\":[123.85,42.29]}}}\n{\"op\":\"delete\",\"key\":\"34052419800101001X\"}\n",
        ),
        seed(
            "delivered_file",
            "csv",
            "\u{1}op,sfzh,xm,csrq,geom\nupsert,11010519491231002X,\"a,\"\"b\"\"\",19491231,\ndelete,34052419800101001X,,,\n",
        ),
        seed("agent_records", "live", live.encode().expect("encodes")),
        seed("agent_records", "staged", staged.encode().expect("encodes")),
        seed("agent_records", "stream", codec::encode(&stream).expect("encodes")),
    ]
}

/// Only presence is asked: a seed in an older form still has its use. `HUTONG_BLESS=1` writes all of them again.
#[test]
fn the_seeds_are_in_the_corpus() {
    for (target, name, bytes) in seeds() {
        let path = corpus(target).join(name.replace(' ', "-"));
        if std::env::var_os("HUTONG_BLESS").is_some() {
            fs::create_dir_all(corpus(target)).expect("a writable corpus");
            fs::write(&path, &bytes).expect("a writable corpus");
        }
        assert!(path.exists(), "{} is missing; HUTONG_BLESS=1 writes it", path.display());
    }
}
