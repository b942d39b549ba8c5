//! Databases as sources: every mode sees the changes it can see, while everything is killed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hutong_tests::city::people::People;
use hutong_tests::city::rng::Rng;
use hutong_tests::harness::databases::{Database, System};
use hutong_tests::harness::exchange::{SOON, scene};
use hutong_tests::harness::wait::until_true;
use hutong_tests::harness::{Exchange, entries};

const CODE: &str = "301001/000001";
const COLUMNS: [&str; 5] = ["sfzh", "xm", "csrq", "hjqh", "je"];

/// Rows of the table; `HUTONG_SQL_ROWS` sets another number.
const ROWS: u64 = 20_000;
/// Rounds of changes, each with something killed in its midst.
const ROUNDS: u64 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Snapshot,
    Watermark,
    Replication,
}

fn rows() -> u64 {
    std::env::var("HUTONG_SQL_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(ROWS)
}

#[test]
fn a_table_of_postgresql_is_compared() -> Result<()> {
    changes_arrive(System::Postgres, Mode::Snapshot, 1)
}

#[test]
fn a_table_of_mariadb_is_compared() -> Result<()> {
    changes_arrive(System::MariaDb, Mode::Snapshot, 2)
}

#[test]
fn rows_of_postgresql_above_a_watermark_are_read() -> Result<()> {
    changes_arrive(System::Postgres, Mode::Watermark, 3)
}

#[test]
fn rows_of_mariadb_above_a_watermark_are_read() -> Result<()> {
    changes_arrive(System::MariaDb, Mode::Watermark, 4)
}

#[test]
fn postgresql_tells_its_changes_itself() -> Result<()> {
    changes_arrive(System::Postgres, Mode::Replication, 5)
}

/// A table in the database, and the numbers of the people in it.
struct Table {
    database: Database,
    people: People,
    present: Vec<u64>,
    next: u64,
    rng: Rng,
}

impl Table {
    fn make(exchange: &Exchange, system: System, seed: u64) -> Result<Self> {
        let folder = exchange.path("database");
        let database = Database::start(system, &folder, &exchange.path("logs"))?;
        database.run(
            "CREATE TABLE people (sfzh varchar(18) PRIMARY KEY, xm varchar(50), csrq date, \
             hjqh char(6), je numeric(12,2), updated_at timestamp(6) NOT NULL DEFAULT now(6));"
                .replace(
                    "now(6)",
                    if system == System::Postgres { "clock_timestamp()" } else { "now(6)" },
                )
                .as_str(),
        )?;
        if system == System::Postgres {
            database.run("CREATE PUBLICATION city FOR TABLE people")?;
        }
        let people = People::new(rows() * 2);
        let mut table =
            Self { database, people, present: Vec::new(), next: 0, rng: Rng::new(seed) };
        table.insert(rows())?;
        Ok(table)
    }

    /// A citizen's identifier with a valid check digit.
    fn id(&self, number: u64) -> Result<String> {
        Ok(self.people.person(number).id()?.to_string())
    }

    fn insert(&mut self, count: u64) -> Result<()> {
        let numbers: Vec<u64> = (self.next..self.next + count).collect();
        for some in numbers.chunks(5_000) {
            let mut values = Vec::with_capacity(some.len());
            for number in some {
                let id = self.id(*number)?;
                let (date, division) = (&id[6..14], ["211202", "211204"][(number % 2) as usize]);
                let amount =
                    if number % 7 == 0 { "NULL".to_owned() } else { format!("{number}.50") };
                values.push(format!("('{id}','示例{number}','{date}','{division}',{amount})"));
            }
            let columns = COLUMNS.join(",");
            self.database
                .run(&format!("INSERT INTO people ({columns}) VALUES {};", values.join(",")))?;
        }
        self.present.extend(&numbers);
        self.next += count;
        Ok(())
    }

    fn update(&mut self, count: u64) -> Result<()> {
        for id in self.some(count, false)? {
            let amount = self.rng.below(1_000_000);
            let now = match self.database.system() {
                System::Postgres => "clock_timestamp()",
                System::MariaDb => "now(6)",
            };
            self.database.run(&format!(
                "UPDATE people SET je = {amount}, xm = '另名{amount}', updated_at = {now} WHERE sfzh IN ({id});"
            ))?;
        }
        Ok(())
    }

    fn delete(&mut self, count: u64) -> Result<()> {
        for id in self.some(count, true)? {
            self.database.run(&format!("DELETE FROM people WHERE sfzh IN ({id});"))?;
        }
        Ok(())
    }

    /// Random people, some at a time; with `take` they are no longer present.
    fn some(&mut self, count: u64, take: bool) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        for _ in 0..count {
            let at = self.rng.below(self.present.len() as u64) as usize;
            let number = if take { self.present.swap_remove(at) } else { self.present[at] };
            ids.push(format!("'{}'", self.id(number)?));
        }
        Ok(ids.chunks(50).map(|some| some.join(",")).collect())
    }

    /// The settings of the source.
    fn settings(&self, mode: Mode) -> Result<toml::Table> {
        let more = match mode {
            Mode::Snapshot => "mode = \"snapshot\"",
            // The whole comparison, which sees deletes, is not due in this test.
            Mode::Watermark => "mode = \"watermark\"\nwatermark = \"updated_at\"\noverlap = 5",
            Mode::Replication => {
                "mode = \"replication\"\nslot = \"hutong\"\npublication = \"city\""
            }
        };
        let table = if mode == Mode::Replication { "public.people" } else { "people" };
        let text =
            format!("[sql]\nurl = \"{}\"\ntable = \"{table}\"\n{more}\n", self.database.url());
        Ok(text.parse()?)
    }

    /// The table as a file beside the source, to be compared with.
    fn dump(&self, exchange: &Exchange) -> Result<()> {
        self.database.dump("people", &COLUMNS, &exchange.machines[0].path("people.csv"))
    }
}

fn changes_arrive(system: System, mode: Mode, seed: u64) -> Result<()> {
    scene(|exchange| {
        let mut table = Table::make(exchange, system, seed)?;
        let entry = entries::people(CODE, entries::department_code(0)?)?;
        let machine = exchange.department("civil")?;
        machine.publish("n1", &entry, "people.csv")?.instead = Some(table.settings(mode)?);
        exchange.run(0)?;
        let within = SOON.max(Duration::from_micros(200 * rows()));
        exchange.rows(&entry.code, rows(), within)?;
        exchange.granted_to_social(CODE)?;
        table.dump(exchange)?;
        exchange.equal(within).context("the first reading")?;
        let each = (rows() / 100 / ROUNDS).max(1);
        for round in 0..ROUNDS {
            let step = || format!("round {round}");
            table.insert(each)?;
            table.update(each)?;
            if mode != Mode::Watermark {
                table.delete(each)?;
            }
            std::thread::sleep(Duration::from_millis(table.rng.below(1_500)));
            match round % 3 {
                0 => {
                    exchange.machines[0].kill()?;
                    exchange.machines[0].start()?;
                }
                1 => {
                    table.database.kill()?;
                    table.database.up()?;
                }
                _ => {
                    exchange.hub.kill()?;
                    exchange.hub.start()?;
                }
            }
            table.dump(exchange)?;
            exchange.equal(within).with_context(step)?;
        }
        if mode == Mode::Replication {
            // A table that was read again and again would bring the same rows.
            let read = exchange.machines[0].publication(CODE)?["read"].as_u64();
            let most = rows() + rows() / 5;
            ensure!(
                read.is_some_and(|read| read < most),
                "{read:?} rows were read, {most} at most"
            );
        }
        exchange.nothing_delivered_twice()?;
        exchange.hub.stop()?;
        exchange.log_is_sound()
    })
}

#[test]
fn deletes_below_a_watermark_are_seen_when_all_rows_are_compared() -> Result<()> {
    scene(|exchange| {
        let mut table = Table::make(exchange, System::Postgres, 6)?;
        let entry = entries::people(CODE, entries::department_code(0)?)?;
        let machine = exchange.department("civil")?;
        machine.publish("n1", &entry, "people.csv")?.instead =
            Some(table.settings(Mode::Watermark)?);
        exchange.run(0)?;
        exchange.rows(&entry.code, rows(), SOON)?;
        table.delete(10)?;
        table.insert(1)?;
        // The new row comes; that others are gone is not seen that way.
        exchange.rows(&entry.code, rows() + 1, SOON)?;
        // A person who asks for it sees them at once.
        exchange.machines[0].command(["confirm", CODE])?.ok()?;
        exchange.rows(&entry.code, rows() - 9, SOON)
    })
}

#[test]
fn a_database_that_is_away_is_told_and_read_again_when_it_is_back() -> Result<()> {
    scene(|exchange| {
        let mut table = Table::make(exchange, System::Postgres, 7)?;
        let entry = entries::people(CODE, entries::department_code(0)?)?;
        let machine = exchange.department("civil")?;
        machine.publish("n1", &entry, "people.csv")?.instead =
            Some(table.settings(Mode::Snapshot)?);
        table.database.kill()?;
        exchange.run(0)?;
        until_true(SOON, "the agent says that the database is away", || {
            // The agent may still be starting.
            let Ok(shown) = exchange.machines[0].publication(CODE) else { return Ok(false) };
            Ok(shown["state"] == "stands still"
                && shown["troubles"].to_string().contains("cannot connect"))
        })?;
        table.database.up()?;
        exchange.rows(&entry.code, rows(), SOON + SOON)
    })
}
