//! Rows arrive in a table of a department's database, each once, whatever is killed meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hutong_schema::catalogue::{CatalogueEntry, DataType, Item};
use hutong_schema::rules;
use hutong_tests::city::rng::Rng;
use hutong_tests::harness::databases::{Database, System};
use hutong_tests::harness::exchange::{Exchange, SOON, Wish, scene};
use hutong_tests::harness::rows::{PersonRow, csv, people};
use hutong_tests::harness::wait::until_true;
use hutong_tests::harness::{entries, until};
use serde_json::{Value, json};

const CODE: &str = "301001/000001";
const ROWS: usize = 2_000;
const ROUNDS: u64 = 8;

/// A database that was killed comes back and everything is equal again.
const AGAIN: Duration = Duration::from_secs(90);

/// People at a publisher, granted to a department whose agent writes them to a table.
struct Scene<'e> {
    exchange: &'e mut Exchange,
    database: Database,
    entry: CatalogueEntry,
    grant: u64,
    table: String,
}

fn entry() -> Result<CatalogueEntry> {
    let mut entry = entries::people(CODE, entries::department_code(0)?)?;
    entry.items[4] = Item { length: 12, ..entries::item(7, "je", "金额", DataType::Money) };
    Ok(entry)
}

impl<'e> Scene<'e> {
    fn begin(exchange: &'e mut Exchange, system: System, rows: &[PersonRow]) -> Result<Self> {
        let folder = exchange.path("database");
        let database = Database::start(system, &folder, &exchange.path("logs"))?;
        let entry = entry()?;
        let machine = exchange.department("civil")?;
        machine.write("people.csv", csv(rows))?;
        machine.publish("n1", &entry, "people.csv")?;
        exchange.run(0)?;
        exchange.rows(&entry.code, rows.len() as u64, SOON)?;
        let sql = format!(
            "sql = {{ url = \"{}\", table = \"received_{{grant}}\", create = true }}",
            database.url()
        );
        exchange.department("social")?.subscribe_to("s1", "all", &sql)?;
        exchange.run(1)?;
        let grant = exchange.grant(1, &Wish { target: CODE, ..Wish::default() })?;
        let last = exchange.grants.len() - 1;
        exchange.grants[last].path = exchange.path("held.jsonl");
        let table = format!("received_{grant}");
        Ok(Self { exchange, database, entry, grant, table })
    }

    /// Writes the table down as a delivered file, read by the database's own client.
    fn dump(&self) -> Result<bool> {
        let path = self.exchange.path("held.csv");
        let names: Vec<&str> = self.entry.items.iter().map(|item| item.name.as_str()).collect();
        if self.database.dump(&self.table, &names, &path).is_err() {
            return Ok(false);
        }
        let mut lines = String::new();
        for row in csv::Reader::from_path(&path)?.records() {
            let row = row?;
            let mut values = BTreeMap::new();
            for (item, text) in self.entry.items.iter().zip(&row) {
                let value = rules::canonicalise(item, text).map_err(|reason| {
                    anyhow::anyhow!("{} holds {text:?}: {reason:?}", item.name)
                })?;
                if let Some(value) = value {
                    values.insert(&item.name, String::from_utf8(value.into_owned())?);
                }
            }
            let line = json!({ "op": "upsert", "key": &row[0], "row": values });
            lines.push_str(&format!("{line}\n"));
        }
        fs::write(self.exchange.path("held.jsonl"), lines)?;
        Ok(true)
    }

    /// Waits until source, hub and table hold the same.
    fn equal(&self) -> Result<()> {
        let mut last = String::new();
        let equal = until(AGAIN, "source, hub and table hold the same", || {
            if !self.dump()? {
                "the table cannot be read".clone_into(&mut last);
                return Ok(None);
            }
            self.exchange.hub.flush()?;
            let ran = self.exchange.prove()?;
            last = format!("{}{}", ran.out, ran.err);
            Ok(ran.success.then_some(()))
        });
        equal.with_context(|| last)
    }

    fn write(&self, rows: &[PersonRow]) -> Result<()> {
        self.exchange.machines[0].write("people.csv", csv(rows)).map(drop)
    }

    /// What the agent's status says of the subscription.
    fn state(&self) -> Result<Value> {
        let status = self.exchange.machines[1].status()?;
        Ok(status["nodes"][0]["subscriptions"][0].clone())
    }

    fn reconciled(&self) -> Result<()> {
        until(SOON, "reconcile finds all equal", || {
            Ok(self.exchange.hub.command(["reconcile"])?.success.then_some(()))
        })
    }
}

/// Other amounts in a third of the rows, another first row.
fn changed(all: &[PersonRow], round: u64) -> Vec<PersonRow> {
    let round = round as usize;
    let from = round * 7 % 100;
    let mut rows = all[from..from + ROWS].to_vec();
    for row in rows.iter_mut().skip(round % 3).step_by(3) {
        row.je = format!("{}.{}", round * 100, 1 + round % 9);
    }
    rows
}

fn killed(system: System, seed: u64) -> Result<()> {
    scene(|exchange| {
        let all = people(ROWS + 100)?;
        let mut rng = Rng::new(seed);
        let mut scene = Scene::begin(exchange, system, &all[..ROWS])?;
        // The snapshot is under way, or about to be.
        scene.exchange.machines[1].kill()?;
        scene.exchange.machines[1].start()?;
        scene.equal().context("the snapshot")?;
        for round in 0..ROUNDS {
            scene.write(&changed(&all, round + 1))?;
            std::thread::sleep(Duration::from_millis(rng.below(1_800)));
            let (agent, database) = (round % 3 != 1, round % 3 != 0);
            if agent {
                scene.exchange.machines[1].kill()?;
            }
            if database {
                scene.database.kill()?;
                scene.database.up()?;
            }
            if agent {
                scene.exchange.machines[1].start()?;
            }
            scene.equal().with_context(|| format!("round {round}"))?;
        }
        let count = scene.database.value(&format!("SELECT count(*) FROM {}", scene.table))?;
        ensure!(count == ROWS.to_string(), "{count} rows");
        let log = scene.exchange.machines[1].log()?;
        ensure!(!log.contains("delivered anew"), "nothing was lost, so nothing is sent anew");
        ensure!(log.matches("a snapshot begins").count() <= 2, "positions were gone on from");
        scene.reconciled()?;
        scene.exchange.hub.stop()?;
        scene.exchange.log_is_sound()
    })
}

#[test]
fn each_row_is_in_postgresql_once_whatever_is_killed() -> Result<()> {
    killed(System::Postgres, 5)
}

#[test]
fn each_row_is_in_mariadb_once_whatever_is_killed() -> Result<()> {
    killed(System::MariaDb, 6)
}

#[test]
fn a_table_changed_by_hand_is_named_mended_and_kept_when_the_grant_ends() -> Result<()> {
    scene(|exchange| {
        let rows = people(300)?;
        let scene = Scene::begin(exchange, System::Postgres, &rows)?;
        scene.equal()?;
        let comment = "SELECT col_description('received_{}'::regclass, 2)";
        let label = scene.database.value(&comment.replace("{}", &scene.grant.to_string()))?;
        ensure!(label == "姓名", "the label is the column's comment, not {label:?}");
        let table = &scene.table;
        let wrong = format!("UPDATE {table} SET xm = '别人' WHERE sfzh = '{}'", rows[7].sfzh);
        scene.database.run(&wrong)?;
        let found = until(SOON, "the subscription is compared", || {
            let ran = scene.exchange.hub.command(["reconcile", "--json"])?;
            let report: Value = serde_json::from_str(&ran.out).with_context(|| ran.err)?;
            let found = report["subscriptions"][0].clone();
            Ok(found["verdict"].is_string().then_some(found))
        })?;
        let named = json!([{ "key": rows[7].sfzh, "difference": "differs" }]);
        ensure!(found["differences"] == named, "exactly the key is named: {found}");
        scene.exchange.hub.command(["reconcile", "--repair"])?;
        scene.reconciled()?;
        scene.equal()?;

        scene.exchange.hub.withdraw(scene.grant, "任务结束")?;
        let kept = format!("SELECT tablename FROM pg_tables WHERE tablename LIKE '{table}%'");
        until_true(SOON, "the table is kept under another name", || {
            Ok(scene.database.value(&kept)?.starts_with(&format!("{table}__withdrawn_")))
        })
    })
}

#[test]
fn while_the_database_is_away_the_subscription_waits_and_says_so() -> Result<()> {
    scene(|exchange| {
        let mut rows = people(100)?;
        let mut scene = Scene::begin(exchange, System::MariaDb, &rows)?;
        scene.equal()?;
        scene.database.kill()?;
        rows[3].xm = "改名".to_owned();
        scene.write(&rows)?;
        until_true(SOON, "the subscription stands still, with the database in its reason", || {
            let state = scene.state()?;
            let shown = state.to_string();
            if shown.contains("password") {
                bail!("a secret is shown: {shown}");
            }
            Ok(shown.contains("stands still") && shown.contains("connect"))
        })?;
        scene.database.up()?;
        scene.equal()
    })
}
