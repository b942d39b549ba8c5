//! Replays the fuzzers' corpus with a stable compiler: every input that once told something new stays harmless.

#[path = "../fuzz/targets.rs"]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

use hutong_schema::batch::{Codec, compress};
use hutong_schema::block::BlockBuilder;
use hutong_schema::row::{FieldId, RowBuf};

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
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
    ($($target:ident),+) => {
        $(#[test] fn $target() { replay(stringify!($target), targets::$target); })+
    };
}

replays!(wire, block, payload, row, filter, geometry, value, catalogue);

/// What the fuzzers begin with: the golden frames and a few samples of the other forms.
fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seeds = Vec::new();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1.txt");
    let golden = fs::read_to_string(golden).expect("the golden frames");
    for (name, hex) in golden.lines().filter_map(|line| line.split_once(' ')) {
        // Behind the eight digits of the length.
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits");
        seeds.push(("wire", name.to_owned(), (8..hex.len()).step_by(2).map(byte).collect()));
    }

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
        ("catalogue", "entry", include_str!("seed_entry.json")),
    ];
    seeds.extend(
        texts
            .iter()
            .map(|(target, name, text)| (*target, (*name).to_owned(), text.as_bytes().to_vec())),
    );
    seeds
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
