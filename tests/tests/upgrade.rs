//! A later version goes on with what an earlier one left: outbox, positions, images and cursors of the agents, log and
//! views of the hub. The fixture was written by the earlier programs (tests/fixtures/upgrade/README.md).
//!
//! Keys, certificates and tokens are not in it: they would expire, and none belongs in git. So the exchange gets a new
//! authority here, and the nodes enrol anew, as after a loss of the authority.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use hutong_tests::harness::delivered::held;
use hutong_tests::harness::exchange::{Exchange, SOON, Wish};
use hutong_tests::harness::rows::{PersonRow, csv, people};
use hutong_tests::harness::run::run_command;
use hutong_tests::harness::wait::until_true;
use hutong_tests::harness::{Machine, entries, until};
use hutong_tests::proof::GrantRecord;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Published in full snapshots.
const PEOPLE: &str = "301001/000001";
/// Published in append mode.
const VISITS: &str = "301001/000002";

/// The folder of the fixture is written to this one when the variable is set.
const WRITE_TO: &str = "HUTONG_WRITE_FIXTURE";

/// Everything that a newer agent must find, as the older one said it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Left {
    /// By resource.
    publications: BTreeMap<String, Published>,
    /// By number of the grant.
    subscriptions: BTreeMap<String, Received>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Published {
    epoch: u64,
    read: u64,
    accepted: u64,
    rejected: u64,
    acknowledged: u64,
    waiting_batches: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Received {
    position: u64,
    changes: u64,
    rows: Option<u64>,
}

#[test]
fn a_newer_version_goes_on_with_outbox_positions_images_and_cursors() -> Result<()> {
    let mut exchange = Exchange::new()?;
    let expected = take_over(&mut exchange)?;
    exchange.play(|exchange| {
        // The stores as they lie there, before anybody is connected.
        let found = left(&exchange.machines[0], &exchange.machines[1])?;
        ensure!(found == expected, "the stores say\n{found:?}\nand were left with\n{expected:?}");
        let waiting = |code: &str| expected.publications[code].waiting_batches;
        ensure!(waiting(PEOPLE) > 0 && waiting(VISITS) > 0, "nothing waits in the outbox");

        exchange.hub.start()?;
        let delivered: Vec<_> = exchange.grants.iter().map(|grant| grant.path.clone()).collect();
        let before: Vec<Vec<u8>> = delivered.iter().map(fs::read).collect::<Result<_, _>>()?;
        for machine in 0..2 {
            exchange.run(machine)?;
        }
        exchange.rows(&PEOPLE.parse()?, people_then()?.len() as u64, SOON)?;
        exchange.rows(&VISITS.parse()?, visits_then()?.len() as u64, SOON)?;
        exchange.equal(SOON)?;
        everything_went_on(exchange, &expected)?;
        for (path, before) in delivered.iter().zip(&before) {
            ensure!(fs::read(path)?.starts_with(before), "{} began anew", path.display());
        }

        // And with what comes later: one row of the snapshot, one more line of the other file.
        let mut rows = people_then()?;
        rows[7].xm = "后来".to_owned();
        exchange.machines[0].write("people.csv", csv(&rows))?;
        let mut lines = visits_then()?;
        lines.push(people(61)?.swap_remove(60));
        exchange.machines[0].write("visits.csv", csv(&lines))?;
        exchange.rows(&VISITS.parse()?, lines.len() as u64, SOON)?;
        until(SOON, "the changed row is delivered", || {
            let row = held(&delivered[0])?.remove(&rows[7].sfzh).unwrap_or_default();
            Ok(row.to_string().contains("后来").then_some(()))
        })?;
        exchange.equal(SOON)?;
        everything_went_on(exchange, &expected)?;
        let now = &left(&exchange.machines[0], &exchange.machines[1])?.publications;
        // Changes in the outbox, and one: an image that was lost would make every row a change.
        let accepted = |code: &str| now[code].accepted - expected.publications[code].accepted;
        ensure!(accepted(PEOPLE) == CHANGES_WAITING + 1, "{now:?}");
        ensure!(accepted(VISITS) == VISITS_WAITING + 1, "{now:?}");
        // A position that was lost would have the file read from its beginning.
        let read = now[VISITS].read - expected.publications[VISITS].read;
        ensure!(read == 1, "{read} rows of the appended file were read");

        exchange.nothing_delivered_anew()?;
        let log = fs::read_to_string(exchange.path("logs/hub.log"))?;
        ensure!(
            log.contains("marks=Fit"),
            "the log lacks entries, or its marks were not read: {log}"
        );
        exchange.hub.stop()?;
        exchange.log_is_sound()
    })
}

/// No publication began a new epoch, none forgot what it had counted.
fn everything_went_on(exchange: &Exchange, expected: &Left) -> Result<()> {
    let now = left(&exchange.machines[0], &exchange.machines[1])?;
    for (code, then) in &expected.publications {
        let now = &now.publications[code];
        ensure!(now.epoch == then.epoch, "{code} is in epoch {}, not {}", now.epoch, then.epoch);
        ensure!(now.acknowledged >= then.acknowledged + then.waiting_batches, "{code}: {now:?}");
        ensure!(now.rejected == then.rejected && now.waiting_batches == 0, "{code}: {now:?}");
    }
    for (grant, then) in &expected.subscriptions {
        let now = &now.subscriptions[grant];
        ensure!(now.position > then.position && now.changes > then.changes, "{grant}: {now:?}");
    }
    Ok(())
}

/// What the agents' stores hold, in the words of `hutong-agent status`.
fn left(publisher: &Machine, subscriber: &Machine) -> Result<Left> {
    let number = |line: &Value, name: &str| -> Result<u64> {
        line[name].as_u64().with_context(|| format!("{name} of {line}"))
    };
    let mut left = Left { publications: BTreeMap::new(), subscriptions: BTreeMap::new() };
    for line in lines(publisher, "publications")? {
        let resource = line["resource"].as_str().context("a resource")?.to_owned();
        let published = Published {
            epoch: number(&line, "epoch")?,
            read: number(&line, "read")?,
            accepted: number(&line, "accepted")?,
            rejected: number(&line, "rejected")?,
            acknowledged: number(&line, "acknowledged")?,
            waiting_batches: number(&line, "waiting_batches")?,
        };
        left.publications.insert(resource, published);
    }
    for line in lines(subscriber, "subscriptions")? {
        let received = Received {
            position: number(&line, "position")?,
            changes: number(&line, "changes")?,
            rows: line["rows"].as_u64(),
        };
        left.subscriptions.insert(line["grant"].to_string(), received);
    }
    Ok(left)
}

fn lines(machine: &Machine, what: &str) -> Result<Vec<Value>> {
    let status = machine.status()?;
    let nodes = status["nodes"].as_array().into_iter().flatten();
    Ok(nodes.flat_map(|node| node[what].as_array().into_iter().flatten().cloned()).collect())
}

// ---- the scene, the same for the older programs and for this one ----

/// Changes of the people that wait in the outbox: three new, two changed, one deleted.
const CHANGES_WAITING: u64 = 6;
/// Lines of the appended file that wait in the outbox.
const VISITS_WAITING: u64 = 4;

/// What the department published while the hub was there. The last row has no valid identifier.
fn people_first() -> Result<Vec<PersonRow>> {
    let mut rows = people(41)?;
    rows[40].sfzh = "211202199001010000".to_owned();
    Ok(rows)
}

/// What it held when both were stopped, without the row that has no valid identifier.
fn people_then() -> Result<Vec<PersonRow>> {
    let mut rows = people(44)?;
    rows.remove(40);
    rows[0].xm = "先改".to_owned();
    rows[5].xm = "改名".to_owned();
    rows[6].je = "1000".to_owned();
    rows.remove(20);
    Ok(rows)
}

fn visits_first() -> Result<Vec<PersonRow>> {
    Ok(people(60)?.split_off(50))
}

fn visits_then() -> Result<Vec<PersonRow>> {
    let mut rows = visits_first()?;
    rows.extend(people(49)?.split_off(45));
    Ok(rows)
}

fn populate(exchange: &mut Exchange) -> Result<()> {
    let code = entries::department_code(0)?;
    let machine = exchange.department("civil")?;
    machine.publish("n1", &entries::people(PEOPLE, code)?, "people.csv")?;
    machine.publish("n1", &entries::people(VISITS, code)?, "visits.csv")?.mode = "append";
    exchange.department("social")?.subscribe("s1", "all");
    Ok(())
}

/// Puts the fixture in the place of what the hub founded, and into the machines' folders.
fn take_over(exchange: &mut Exchange) -> Result<Left> {
    let fixture = exchange.path("fixture");
    fs::create_dir(&fixture)?;
    let archive = folder().join("state.tar.gz");
    let mut unpack = Command::new("tar");
    unpack.args(["--extract", "--gzip", "--file"]).arg(&archive).arg("-C").arg(&fixture);
    run_command(&mut unpack)?.ok().with_context(|| archive.display().to_string())?;
    let data = exchange.hub.data();
    for part in ["log", "views"] {
        if data.join(part).exists() {
            fs::remove_dir_all(data.join(part))?;
        }
        fs::rename(fixture.join("hub/data").join(part), data.join(part))?;
    }
    // How far the log reached: a newer hub that read less of it would say so.
    fs::rename(fixture.join("hub/data/log.marks"), data.join("log.marks"))?;
    for machine in ["civil", "social"] {
        fs::rename(fixture.join(machine), exchange.path(machine))?;
    }
    // Publishing appends to the catalogue file.
    fs::remove_file(exchange.path("civil/catalogue-n1.jsonl"))?;
    populate(exchange)?;
    for machine in &exchange.machines {
        // Nothing listens there; the address is written anew when the hub runs.
        machine.configure(([127, 0, 0, 1], 1).into())?;
        fs::write(machine.sheet(), "department,department_name,node,token,expires\n")?;
    }
    for (id, target) in [(1, PEOPLE), (2, VISITS)] {
        let path = exchange.machines[1].delivered(id);
        let (grantee, target) = ("social".to_owned(), target.to_owned());
        let fields = Vec::new();
        let filter = String::new();
        exchange.grants.push(GrantRecord { id, grantee, target, fields, filter, path });
    }
    let text = fs::read_to_string(fixture.join("left.json"))?;
    Ok(serde_json::from_str(&text)?)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/upgrade")
}

// ---- writing the fixture ----

/// Writes the fixture with the programs in `HUTONG_BIN_DIR`, which are older ones.
#[test]
#[ignore = "writes tests/fixtures/upgrade; run with older programs, see the README there"]
fn the_fixture_is_written() -> Result<()> {
    let Some(to) = env::var_os(WRITE_TO).map(PathBuf::from) else { return Ok(()) };
    ensure!(env::var_os("HUTONG_BIN_DIR").is_some(), "HUTONG_BIN_DIR names the older programs");
    Exchange::new()?.play(|exchange| {
        exchange.hub.start()?;
        populate(exchange)?;
        exchange.machines[0].write("people.csv", csv(&people_first()?))?;
        exchange.machines[0].write("visits.csv", csv(&visits_first()?))?;
        exchange.run(0)?;
        exchange.rows(&PEOPLE.parse()?, 40, SOON)?;
        exchange.rows(&VISITS.parse()?, 10, SOON)?;
        exchange.run(1)?;
        for (target, id) in [(PEOPLE, 1), (VISITS, 2)] {
            let made = exchange.grant(1, &Wish { target, ..Wish::default() })?;
            ensure!(made == id, "grant {made} on {target}");
        }
        // Not `equal`: it reads the sources too, and one row of them is no row.
        let delivered = |exchange: &Exchange, grant: usize, rows: usize| {
            until_true(SOON, &format!("{rows} rows are delivered"), || {
                Ok(held(&exchange.grants[grant].path)?.len() == rows)
            })
        };
        delivered(exchange, 0, 40)?;
        delivered(exchange, 1, 10)?;
        // A rejected row is in quarantine, and so in no image.
        ensure!(exchange.machines[0].publication(PEOPLE)?["rejected"] == 1);
        // The next change is delivered behind the snapshot; then nothing arrives any more.
        let mut rows = people_first()?;
        rows[0].xm = "先改".to_owned();
        exchange.machines[0].write("people.csv", csv(&rows))?;
        until(SOON, "a change is delivered", || {
            let row = held(&exchange.grants[0].path)?.remove(&rows[0].sfzh).unwrap_or_default();
            Ok(row.to_string().contains("先改").then_some(()))
        })?;
        exchange.hub.kill()?;
        exchange.machines[0].write("people.csv", csv(&people_then()?))?;
        exchange.machines[0].write("visits.csv", csv(&visits_then()?))?;
        until_true(SOON, "both resources have batches in the outbox", || {
            let waits = |code: &str| -> Result<bool> {
                Ok(exchange.machines[0].publication(code)?["waiting_batches"].as_u64() > Some(0))
            };
            Ok(waits(PEOPLE)? && waits(VISITS)?)
        })?;
        exchange.machines[0].kill()?;
        exchange.machines[1].kill()?;
        // Asked of the stores, for nobody runs.
        let left = left(&exchange.machines[0], &exchange.machines[1])?;
        fs::write(exchange.path("left.json"), serde_json::to_string_pretty(&left)? + "\n")?;
        fs::create_dir_all(&to)?;
        let mut pack = Command::new("tar");
        pack.args(["--create", "--gzip", "--sort=name", "--mtime=@0", "--numeric-owner"])
            .args(["--owner=0", "--group=0", "--exclude=nodes", "--exclude=*.sock"])
            // What the engine wrote for people, with paths of the machine.
            .args(["--exclude=LOG", "--exclude=LOG.old.*"])
            .arg("--file")
            .arg(to.join("state.tar.gz"))
            .arg("-C")
            .arg(exchange.path(""))
            .args(["left.json", "hub/data/log", "hub/data/log.marks", "hub/data/views"])
            .args(["civil/state", "civil/catalogue-n1.jsonl", "civil/people.csv"])
            .args(["civil/visits.csv", "social/state", "social/out"]);
        run_command(&mut pack)?.ok().context("pack the fixture")?;
        Ok(())
    })
}
