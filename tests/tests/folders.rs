//! Watched folders: files are dropped in while the agent is killed, the outbox is lost, files are broken.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hutong_schema::catalogue::{CatalogueEntry, DataType, Item};
use hutong_tests::city::rng::Rng;
use hutong_tests::harness::exchange::{SOON, scene};
use hutong_tests::harness::promise::Promise;
use hutong_tests::harness::rows::{PersonRow, csv, people};
use hutong_tests::harness::wait::until_true;
use hutong_tests::harness::{Exchange, Machine, entries};

const CODE: &str = "301001/000001";
/// What the proof takes for the source: what all dropped files together say.
const TRUTH: &str = "truth.csv";

/// A department whose agent watches the folder `inbox`; what the folder should amount to is in `truth.csv`.
fn begin(exchange: &mut Exchange, entry: &CatalogueEntry, settings: &str) -> Result<()> {
    let machine = exchange.department("civil")?;
    fs::create_dir(machine.path("inbox"))?;
    machine.publish("n1", entry, TRUTH)?;
    exchange.admit(0)?;
    let machine = &mut exchange.machines[0];
    let mut config: toml::Table = fs::read_to_string(machine.config())?.parse()?;
    let publish = &mut config["node"][0]["publish"][0];
    let table = publish.as_table_mut().context("a publication")?;
    for name in ["path", "format", "encoding", "mode"] {
        table.remove(name);
    }
    table.extend(settings.parse::<toml::Table>()?);
    table.insert("folder".to_owned(), "inbox".into());
    fs::write(machine.config(), toml::to_string(&config)?)?;
    machine.start()
}

fn people_entry() -> Result<CatalogueEntry> {
    entries::people(CODE, entries::department_code(0)?)
}

const CHANGES: &str = "mode = \"changes\"\npattern = \"*.csv\"\nop = \"op\"\nsettle_seconds = 0";

/// Changes that a department exports, and what they amount to.
struct Exports {
    rng: Rng,
    people: Vec<PersonRow>,
    held: BTreeMap<String, PersonRow>,
    /// Every file that was dropped.
    dropped: BTreeMap<String, String>,
    rows: u64,
}

impl Exports {
    fn new(seed: u64) -> Result<Self> {
        let (held, dropped) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { rng: Rng::new(seed), people: people(2_000)?, held, dropped, rows: 0 })
    }

    /// Drops a file of so many changes.
    fn export(&mut self, machine: &Machine, name: &str, rows: u64) -> Result<()> {
        let mut text = String::from("op,sfzh,xm,csrq,hjqh,je\n");
        for _ in 0..rows {
            let at = self.rng.below(self.people.len() as u64) as usize;
            let mut person = self.people[at].clone();
            if self.rng.below(5) == 0 {
                text.push_str(&format!("delete,{},,,,\n", person.sfzh));
                self.held.remove(&person.sfzh);
                continue;
            }
            person.je = self.rng.below(1_000_000).to_string();
            let PersonRow { sfzh, xm, csrq, hjqh, je } = &person;
            text.push_str(&format!("upsert,{sfzh},{xm},{csrq},{hjqh},{je}\n"));
            self.held.insert(person.sfzh.clone(), person);
        }
        self.rows += rows;
        let held: Vec<PersonRow> = self.held.values().cloned().collect();
        machine.write(TRUTH, csv(&held))?;
        machine.write(&format!("inbox/{name}"), &text)?;
        self.dropped.insert(name.to_owned(), text);
        Ok(())
    }

    /// Waits until every file was handed over, and looks whether each is there as it was dropped.
    fn all_handed_over(&self, machine: &Machine) -> Result<()> {
        let all: Vec<&String> = self.dropped.keys().collect();
        until_true(SOON, "all files are among the done ones", || {
            Ok(names(&machine.path("inbox/done"))?.iter().eq(all.iter().copied()))
        })?;
        for (name, text) in &self.dropped {
            let kept = fs::read_to_string(machine.path("inbox/done").join(name))?;
            ensure!(kept == *text, "{name} is another file now");
        }
        let left = names(&machine.path("inbox"))?;
        ensure!(left == ["done"], "something is left in the folder: {left:?}");
        Ok(())
    }
}

/// Names in a folder, hidden ones left out, sorted.
fn names(folder: &PathBuf) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    Ok(names)
}

/// The publication's state and troubles as the status has them; nothing while the agent does not answer.
fn state(machine: &Machine) -> (String, String) {
    let publication = machine.publication(CODE).unwrap_or_default();
    (
        publication["state"].as_str().unwrap_or_default().to_owned(),
        publication["troubles"].to_string(),
    )
}

/// Rows that were read in all, and changes that the hub took in all: a row that is sent twice counts twice.
fn read_and_accepted(machine: &Machine) -> Result<(u64, u64)> {
    let publication = machine.publication(CODE)?;
    let number = |name: &str| publication[name].as_u64().with_context(|| name.to_owned());
    Ok((number("read")?, number("accepted")?))
}

/// Resumes that start from zero; checkpoints apart from data; deletes never seen.
#[test]
fn nothing_is_lost_or_read_twice_when_the_agent_is_killed_while_files_are_dropped() -> Result<()> {
    const ROUNDS: u64 = 8;
    scene(|exchange| {
        begin(exchange, &people_entry()?, CHANGES)?;
        let mut exports = Exports::new(7)?;
        exports.export(&exchange.machines[0], "first.csv", 5_000)?;
        exchange.equal(SOON)?;
        let mut moments = Rng::new(11);
        for round in 0..ROUNDS {
            let mut promise = Promise::default();
            let machine = &exchange.machines[0];
            exports.export(machine, &format!("round-{round}-a.csv"), 30_000)?;
            exports.export(machine, &format!("round-{round}-b.csv"), 500)?;
            match round % 3 {
                0 => promise.observe(&exchange.hub, Duration::from_millis(moments.below(1_500))),
                1 => promise.observe_growth(&exchange.hub)?,
                _ => promise.observe_applying(&exchange.hub)?,
            }
            exchange.machines[0].kill()?;
            exchange.machines[0].start()?;
            let step = || format!("round {round}");
            exports.all_handed_over(&exchange.machines[0]).with_context(step)?;
            exchange.equal(SOON).with_context(step)?;
            promise.no_epoch_began(&exchange.hub).with_context(step)?;
            let (read, sent) = read_and_accepted(&exchange.machines[0])?;
            let all = exports.rows;
            ensure!(read == all, "{read} rows were read, the files have {all} ({})", step());
            ensure!(sent == all, "{sent} changes were accepted, the files have {all} ({})", step());
        }
        exchange.hub.stop()?;
        exchange.log_is_sound()
    })
}

#[test]
fn a_dropped_file_is_seen_long_before_the_clock_looks() -> Result<()> {
    scene(|exchange| {
        let settings = format!("{CHANGES}\nrescan_seconds = 86400");
        begin(exchange, &people_entry()?, &settings)?;
        until_true(SOON, "the empty folder was looked at", || {
            Ok(state(&exchange.machines[0]).0 == "ok")
        })?;
        let mut exports = Exports::new(3)?;
        exports.export(&exchange.machines[0], "first.csv", 100)?;
        exports.all_handed_over(&exchange.machines[0])?;
        exchange.equal(SOON)
    })
}

#[test]
fn a_lost_outbox_is_made_good_and_rows_of_files_that_are_gone_wait_for_a_person() -> Result<()> {
    scene(|exchange| {
        begin(exchange, &people_entry()?, CHANGES)?;
        let mut exports = Exports::new(5)?;
        for name in ["b.csv", "a.csv", "c.csv"] {
            exports.export(&exchange.machines[0], name, 3_000)?;
            exports.all_handed_over(&exchange.machines[0])?;
        }
        exchange.equal(SOON)?;
        let lose_the_outbox = |machine: &mut Machine| -> Result<()> {
            machine.stop()?;
            fs::remove_dir_all(machine.state().join("store"))?;
            machine.start()
        };
        lose_the_outbox(&mut exchange.machines[0])?;
        exchange.equal(SOON).context("every done file is there")?;
        exports.export(&exchange.machines[0], "d.csv", 3_000)?;
        exports.all_handed_over(&exchange.machines[0])?;
        exchange.equal(SOON)?;
        // One of the files is gone: its rows are only at the hub now.
        let rows = exports.held.len() as u64;
        fs::remove_file(exchange.machines[0].path("inbox/done/b.csv"))?;
        lose_the_outbox(&mut exchange.machines[0])?;
        until_true(SOON, "the publication waits and says why", || {
            let (state, troubles) = state(&exchange.machines[0]);
            Ok(state == "waiting for confirmation" && troubles.contains("1 of 4 files"))
        })?;
        exchange.rows(&CODE.parse()?, rows, SOON)?;
        let machine = &exchange.machines[0];
        machine.write("inbox/done/b.csv", &exports.dropped["b.csv"])?;
        until_true(SOON, "it waits no more", || Ok(state(&exchange.machines[0]).0 == "ok"))?;
        exchange.equal(SOON)
    })
}

#[test]
fn a_broken_file_and_bad_rows_do_not_stop_the_others() -> Result<()> {
    scene(|exchange| {
        begin(exchange, &people_entry()?, CHANGES)?;
        let machine = &exchange.machines[0];
        machine.write("inbox/a.csv", "no,columns,that,are,known\n1,2,3,4,5\n")?;
        machine.write("inbox/b.csv", "op,sfzh,xm\nupsert,11010519491231002,示例\n")?;
        let mut exports = Exports::new(9)?;
        exports.export(machine, "c.csv", 200)?;
        exchange.equal(SOON)?;
        let machine = &exchange.machines[0];
        until_true(SOON, "the broken file is set aside with its reason", || {
            Ok(names(&machine.path("inbox/failed"))? == ["a.csv", "a.csv.error.txt"])
        })?;
        ensure!(names(&machine.path("inbox/done"))? == ["b.csv", "c.csv"], "handed over");
        let publication = machine.publication(CODE)?;
        ensure!(publication["rejected"] == 1, "one row is in quarantine: {publication}");
        Ok(())
    })
}

#[test]
fn workbooks_are_taken_through_rules_and_a_whole_state_deletes() -> Result<()> {
    scene(|exchange| {
        let item =
            |id: u16, name: &str, label: &str, data_type| entries::item(id, name, label, data_type);
        let items: Vec<Item> = vec![
            entries::key_item(1, "id", "编号"),
            item(2, "name", "名称", DataType::Text),
            item(3, "day", "日期", DataType::Date),
            item(4, "amount", "数量", DataType::Number),
            item(5, "origin", "来源", DataType::Text),
        ];
        let entry = entries::entry(CODE, entries::department_code(0)?, items)?;
        let settings = "mode = \"snapshot\"\npattern = \"*.xls*\"\nformat = \"excel\"\nsettle_seconds = 0\n\
            sheet = \"人员\"\nheader_row = 2\nmax_delete_percent = 100\n\
            clean = { ignore = [\"备注\"] }\n\
            map = [{ item = \"id\", pad = 6 }, { item = \"origin\", compute = \"row['名称'] + '!'\" }]";
        let machine = exchange.department("civil")?;
        machine.write(
            TRUTH,
            "id,name,day,amount,origin\n0000a1,示例一,20260315,12.5,示例一!\n\
            001001,示例二,20260316,3,示例二!\n0000a5,示例五,,0.3,示例五!\n",
        )?;
        exchange.machines.clear();
        begin(exchange, &entry, settings)?;
        let fixtures =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../agent/fixtures/workbooks");
        let machine = &exchange.machines[0];
        machine.write("inbox/people.xlsx", fs::read(fixtures.join("people.xlsx"))?)?;
        exchange.equal(SOON)?;
        let publication = exchange.machines[0].publication(CODE)?;
        ensure!(publication["rejected"] == 3, "lost digits, no key, #N/A: {publication}");
        Ok(())
    })
}
