//! The agent's store (redb) through power cuts: what it called durable is there, whole, afterwards.
//!
//! The test starts this test binary again as the victim, which writes records and prints the number
//! of each when it is durable; it is killed in the middle and its unsynced writes are discarded.

#![allow(clippy::unwrap_used, reason = "a test may end where it is surprised")]

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use hutong_agent::spool::{Area, Store, StoreOptions, WriteBatch};
use hutong_tests::powercut::PowerCut;

const FOLDER: &str = "HUTONG_POWERCUT_STORE";
const CUTS: u64 = 6;
/// Cuts at most: where a kill falls is chance, and some must take something away.
const CUTS_MAX: u64 = 60;
/// Durable records between two cuts.
const RECORDS: u64 = 25;

fn open(folder: &Path) -> Store {
    let options = StoreOptions {
        cache_bytes: 1 << 20,
        outbox_cap_bytes: 1 << 20,
        image_rest: Duration::ZERO,
    };
    Store::open(folder, options).unwrap()
}

/// Some pages, so that a commit is more than one write.
fn value(number: u64) -> Vec<u8> {
    number.to_be_bytes().repeat(2_000)
}

/// Records from the first on that are there.
fn kept(store: &Store) -> u64 {
    let records = store.records(Area::Nodes, b"").unwrap();
    let holds = |number: u64| {
        let stored = store.get(Area::Nodes, &number.to_be_bytes()).unwrap();
        assert!(stored.as_ref().is_none_or(|stored| *stored == value(number)), "record {number}");
        stored.is_some()
    };
    let kept = (1..).take_while(|number| holds(*number)).count() as u64;
    assert_eq!(records.len() as u64, kept, "there is a record behind one that is not there");
    kept
}

/// Not a test of its own: what the victim does.
#[test]
#[ignore = "run by the other test as its victim"]
fn victim() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    let store = open(folder.as_ref());
    let mut out = std::io::stdout();
    for number in kept(&store) + 1.. {
        let mut batch = WriteBatch::new();
        batch.put(Area::Nodes, &number.to_be_bytes(), value(number));
        store.commit_blocking(batch).unwrap();
        writeln!(out, "durable {number}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn the_agents_store_keeps_what_it_called_durable() {
    let folder = tempfile::tempdir().unwrap();
    let (data, journal) = (folder.path().join("data"), folder.path().join("journal"));
    // Slow, so that the kill mostly falls into a commit.
    let cut = PowerCut::new(&data, &journal).unwrap().slow_disk(Duration::from_millis(12));
    let (mut discarded, mut promised) = (0, 0);
    for round in 0..CUTS_MAX {
        let mut victim = Command::new(env::current_exe().unwrap())
            .args(["--exact", "victim", "--ignored", "--nocapture"])
            .envs(cut.environment())
            .env(FOLDER, &data)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let goal = promised + RECORDS;
        let out = BufReader::new(victim.stdout.take().unwrap());
        let told = out.lines().map_while(Result::ok).filter_map(|line| {
            // The test runner's own words stand before the first.
            line.split_once("durable ")?.1.trim().parse::<u64>().ok()
        });
        promised = told.take_while(|number| *number <= goal).last().unwrap_or(promised);
        // The kills fall on all moments of a commit, from the write's wait for company to its fsync.
        std::thread::sleep(Duration::from_millis(round * 3 % 20));
        victim.kill().unwrap();
        victim.wait().unwrap();
        assert_eq!(promised, goal, "the victim ended by itself");
        discarded += cut.discard_unsynced().unwrap().bytes;
        let kept = kept(&open(&data));
        assert!(
            kept >= promised,
            "round {round}: {promised} records were durable, {kept} are left"
        );
        if round + 1 >= CUTS && discarded > 0 {
            return;
        }
    }
    panic!("no cut took anything away: nothing was tried");
}
