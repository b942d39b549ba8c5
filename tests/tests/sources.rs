//! Source files: encodings, append mode, and snapshots that wait for a person's confirmation.

use anyhow::Result;
use hutong_tests::harness::exchange::{SOON, scene};
use hutong_tests::harness::rows::{PersonRow, csv, people};
use hutong_tests::harness::wait::until_true;
use hutong_tests::harness::{Exchange, entries, until};

const CODE: &str = "301001/000001";

fn begin(exchange: &mut Exchange, rows: &[PersonRow]) -> Result<()> {
    let entry = entries::people(CODE, entries::department_code(0)?)?;
    let machine = exchange.department("civil")?;
    machine.write("people.csv", csv(rows))?;
    machine.publish("n1", &entry, "people.csv")?;
    exchange.run(0)?;
    exchange.rows(&entry.code, rows.len() as u64, SOON)
}

fn waits(exchange: &Exchange, what: &str) -> Result<()> {
    until_true(SOON, &format!("{what} waits for confirmation"), || {
        Ok(exchange.machines[0].publication(CODE)?["state"] == "waiting for confirmation")
    })
}

#[test]
fn a_snapshot_without_rows_waits_for_confirmation() -> Result<()> {
    scene(|exchange| {
        begin(exchange, &people(40)?)?;
        exchange.machines[0].write("people.csv", csv(&[]))?;
        waits(exchange, "an empty snapshot")?;
        exchange.rows(&CODE.parse()?, 40, SOON)?;
        exchange.machines[0].command(["confirm", CODE])?.ok()?;
        exchange.rows(&CODE.parse()?, 0, SOON)
    })
}

#[test]
fn a_snapshot_that_deletes_more_than_a_tenth_waits_and_a_restored_one_does_not() -> Result<()> {
    scene(|exchange| {
        let rows = people(40)?;
        begin(exchange, &rows)?;
        exchange.machines[0].write("people.csv", csv(&rows[..35]))?;
        waits(exchange, "a snapshot without five of forty rows")?;
        exchange.rows(&CODE.parse()?, 40, SOON)?;
        // The file was a mistake; with the next one nothing waits any more.
        exchange.machines[0].write("people.csv", csv(&rows[..37]))?;
        exchange.rows(&CODE.parse()?, 37, SOON)?;
        exchange.equal(SOON)
    })
}

#[test]
fn a_snapshot_that_ends_in_a_read_error_waits() -> Result<()> {
    scene(|exchange| {
        let rows = people(40)?;
        begin(exchange, &rows)?;
        // A quote that is never closed swallows the rest of the file.
        let mut broken = csv(&rows[..38]);
        broken.push_str(&format!("{},\"示例,20000101,211202,1\n", rows[38].sfzh));
        exchange.machines[0].write("people.csv", &broken)?;
        until_true(SOON, "the agent reports the broken file", || {
            let state = &exchange.machines[0].publication(CODE)?["state"];
            Ok(state == "stands still" || state == "waiting for confirmation")
        })?;
        exchange.rows(&CODE.parse()?, 40, SOON)?;
        exchange.machines[0].write("people.csv", csv(&rows))?;
        exchange.equal(SOON)
    })
}

#[test]
fn appended_rows_are_sent_and_a_later_row_of_a_key_wins() -> Result<()> {
    scene(|exchange| {
        let mut rows = people(20)?;
        let entry = entries::people(CODE, entries::department_code(0)?)?;
        let machine = exchange.department("civil")?;
        let path = machine.write("people.csv", csv(&rows[..10]))?;
        machine.publish("n1", &entry, "people.csv")?.mode = "append";
        exchange.run(0)?;
        exchange.rows(&entry.code, 10, SOON)?;
        rows[3].xm = "后来的名字".to_owned();
        let more = csv(&[&rows[10..], &rows[3..4]].concat());
        let body = more.split_once('\n').map_or("", |(_, body)| body);
        std::fs::write(&path, csv(&people(10)?) + body)?;
        exchange.rows(&entry.code, 20, SOON)?;
        until(SOON, "the later row wins", || {
            let shown = exchange.hub.lookup(CODE, &rows[3].sfzh)?;
            Ok(shown.contains("后来的名字").then_some(()))
        })
    })
}

#[test]
fn files_in_gb18030_and_with_a_byte_order_mark_are_read() -> Result<()> {
    scene(|exchange| {
        let rows = people(12)?;
        let entry =
            |n: usize| entries::people(&format!("30100{n}/000001"), entries::department_code(0)?);
        let labels =
            csv(&rows).replace("sfzh,xm,csrq,hjqh,je", "公民身份号码,姓名,出生日期,户籍区划,金额");
        let encoded = encoding_rs::GB18030.encode(&labels).0.into_owned();
        let (first, second) = (entry(1)?, entry(2)?);
        let machine = exchange.department("civil")?;
        machine.write("gb.csv", encoded)?;
        machine.write("marked.csv", [b"\xEF\xBB\xBF", labels.as_bytes()].concat())?;
        machine.publish("n1", &first, "gb.csv")?.encoding = "gb18030";
        machine.publish("n1", &second, "marked.csv")?;
        exchange.run(0)?;
        exchange.rows(&first.code, 12, SOON)?;
        exchange.rows(&second.code, 12, SOON)?;
        exchange.equal(SOON)
    })
}
