//! Refused rows: listed, written into a sheet, corrected by a person, and sent.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hutong_tests::city::rng::Rng;
use hutong_tests::harness::exchange::{SOON, scene};
use hutong_tests::harness::rows::{PersonRow, csv, people};
use hutong_tests::harness::wait::until_true;
use hutong_tests::harness::{Exchange, Machine, entries};
use serde_json::Value;

const CODE: &str = "301001/000001";
const GOOD: usize = 30;
const BAD: usize = 12;

/// A department with a file of which the last rows have a name that is too long.
fn begin(exchange: &mut Exchange, rows: &[PersonRow]) -> Result<()> {
    let entry = entries::people(CODE, entries::department_code(0)?)?;
    let machine = exchange.department("civil")?;
    machine.write("people.csv", csv(&with_bad(rows)))?;
    machine.publish("n1", &entry, "people.csv")?;
    exchange.run(0)?;
    exchange.rows(&entry.code, GOOD as u64, SOON)?;
    until_true(
        SOON,
        "the bad rows are listed",
        || Ok(listed(&exchange.machines[0])?["rows"] == BAD),
    )
}

fn with_bad(rows: &[PersonRow]) -> Vec<PersonRow> {
    let bad = |row: &PersonRow| PersonRow { xm: "长".repeat(51), ..row.clone() };
    rows.iter()
        .enumerate()
        .map(|(at, row)| if at < GOOD { row.clone() } else { bad(row) })
        .collect()
}

/// What `list` says of the resource; null when nothing waits.
fn listed(machine: &Machine) -> Result<Value> {
    let out = machine.command(["quarantine", "list", "--json"])?.ok()?;
    let mut all: Vec<Value> = serde_json::from_str(&out)?;
    Ok(all.pop().unwrap_or_default())
}

fn export(machine: &Machine, name: &str) -> Result<PathBuf> {
    let path = machine.path(name);
    let out = path.to_str().context("a path")?;
    machine.command(["quarantine", "export", CODE, "--out", out])?.ok()?;
    Ok(path)
}

fn resubmit(machine: &Machine, path: &Path) -> Result<hutong_tests::harness::run::Ran> {
    machine.command(["quarantine", "resubmit", CODE, path.to_str().context("a path")?])
}

/// Corrects the names of a sheet, those of the rows that `which` takes.
fn correct(sheet: &Path, rows: &[PersonRow], which: impl Fn(usize) -> bool) -> Result<()> {
    let mut text = fs::read_to_string(sheet)?;
    ensure!(text.starts_with('\u{feff}'), "spreadsheets need the mark");
    for (at, row) in rows.iter().enumerate().skip(GOOD).filter(|(at, _)| which(*at)) {
        let found = text.find(&row.sfzh).with_context(|| format!("row {at} in {text}"))?;
        let name = text[found..].find("长").context("its name")? + found;
        text.replace_range(name..name + 3 * 51, &row.xm);
    }
    Ok(fs::write(sheet, text)?)
}

#[test]
fn a_person_lists_exports_corrects_and_sends_refused_rows() -> Result<()> {
    scene(|exchange| {
        let rows = people(GOOD + BAD)?;
        begin(exchange, &rows)?;
        let machine = &exchange.machines[0];
        let list = listed(machine)?;
        ensure!(list["resource"] == CODE && list["distinct"] == BAD, "{list}");
        ensure!(
            list["reasons"][0]["zh"] == "长度不符" && list["reasons"][0]["rows"] == BAD,
            "{list}"
        );
        let text = machine.command(["quarantine", "list"])?.ok()?;
        ensure!(text.contains("wrong length") && text.contains("quarantine export"), "{text}");

        // Half of them are corrected; the others are named and stay.
        let sheet = export(machine, "sheet.csv")?;
        ensure!(
            machine
                .command([
                    "quarantine",
                    "export",
                    CODE,
                    "--out",
                    sheet.to_str().unwrap_or_default()
                ])?
                .refused()?
                .contains("sheet.csv")
        );
        correct(&sheet, &rows, |at| at % 2 == 0)?;
        let sent = resubmit(machine, &sheet)?;
        ensure!(!sent.success, "a row that is still refused shows in the status");
        let half = BAD / 2;
        ensure!(
            sent.out.contains(&format!("accepted {half} · still refused {half}")),
            "{}",
            sent.out
        );
        ensure!(sent.out.contains("row 3: xm (姓名): 长度不符 / wrong length"), "{}", sent.out);
        exchange.rows(&CODE.parse()?, (GOOD + half) as u64, SOON)?;
        ensure!(listed(machine)?["rows"] == half, "{}", listed(machine)?);

        // The source still has the rows as they were: with its next version they are refused again,
        // which deletes nothing.
        let mut changed = with_bad(&rows);
        changed[0].xm = "后来".to_owned();
        machine.write("people.csv", csv(&changed))?;
        until_true(SOON, "the changed file is read", || {
            Ok(exchange.hub.lookup(CODE, &rows[0].sfzh)?.contains("后来"))
        })?;
        until_true(SOON, "it is in order", || {
            Ok(exchange.machines[0].publication(CODE)?["state"] == "ok")
        })?;
        exchange.rows(&CODE.parse()?, (GOOD + half) as u64, SOON)?;

        // Everything is corrected, by a program that knows labels only and leaves no number.
        let machine = &exchange.machines[0];
        let labels = csv(&rows[GOOD..])
            .replace("sfzh,xm,csrq,hjqh,je", "公民身份号码,姓名,出生日期,户籍区划,金额");
        let whole = encoding_rs::GB18030.encode(&labels).0.into_owned();
        let whole = machine.write("whole.csv", whole)?;
        let sent = resubmit(machine, &whole)?.ok()?;
        ensure!(
            sent.contains(&format!("accepted {BAD} · still refused 0 · settled in quarantine 0"))
        );
        exchange.rows(&CODE.parse()?, rows.len() as u64, SOON)?;
        let sheet = export(machine, "second.csv")?;
        correct(&sheet, &rows, |_| true)?;
        resubmit(machine, &sheet)?.ok()?;
        ensure!(listed(machine)?.is_null(), "all is settled: {}", listed(machine)?);

        // The source is corrected as well: all places hold the same.
        machine.write("people.csv", csv(&rows))?;
        exchange.equal(SOON)
    })
}

#[test]
fn without_a_running_agent_rows_are_exported_and_a_person_is_told_how_to_send() -> Result<()> {
    scene(|exchange| {
        let rows = people(GOOD + BAD)?;
        begin(exchange, &rows)?;
        let machine = &mut exchange.machines[0];
        machine.stop()?;
        let sheet = export(machine, "sheet.csv")?;
        correct(&sheet, &rows, |_| true)?;
        let told = resubmit(machine, &sheet)?.refused()?;
        ensure!(told.contains("hutong-agent run"), "{told}");
        ensure!(listed(machine)?["rows"] == BAD, "nothing was settled");
        machine.start()?;
        until_true(
            SOON,
            "the running agent takes them",
            || Ok(resubmit(machine, &sheet)?.success),
        )?;
        exchange.rows(&CODE.parse()?, rows.len() as u64, SOON)
    })
}

const KILLS: u64 = 6;

#[test]
fn a_corrected_row_is_at_the_hub_or_still_listed_when_the_agent_is_killed() -> Result<()> {
    scene(|exchange| {
        let rows = people(GOOD + BAD)?;
        begin(exchange, &rows)?;
        let mut rng = Rng::new(5);
        for kill in 0..KILLS {
            let machine = &mut exchange.machines[0];
            let sheet = export(machine, &format!("sheet-{kill}.csv"))?;
            // Two more rows each time.
            let fixed = GOOD + 2 * kill as usize;
            correct(&sheet, &rows, |at| at == fixed || at == fixed + 1)?;
            let done = AtomicBool::new(false);
            let wait = Duration::from_micros(rng.below(60_000));
            let sheet_path = sheet.as_path();
            std::thread::scope(|threads| -> Result<()> {
                let killer = threads.spawn(|| {
                    std::thread::sleep(wait);
                    done.load(Ordering::SeqCst)
                });
                let person = threads.spawn({
                    let config = machine.config();
                    let done = &done;
                    move || {
                        let sent = hutong_tests::harness::run::run(
                            &hutong_tests::harness::programs::programs()?.agent,
                            [
                                "--config".as_ref(),
                                config.as_os_str(),
                                "quarantine".as_ref(),
                                "resubmit".as_ref(),
                                CODE.as_ref(),
                                sheet_path.as_os_str(),
                            ],
                        );
                        done.store(true, Ordering::SeqCst);
                        sent
                    }
                });
                killer.join().map_err(|_| anyhow::anyhow!("the killer broke"))?;
                machine.kill()?;
                person.join().map_err(|_| anyhow::anyhow!("the person broke"))??;
                Ok(())
            })?;
            machine.start()?;
            until_true(SOON, "the agent is back", || {
                // While it starts, nobody answers.
                let publication = exchange.machines[0].publication(CODE);
                Ok(publication.is_ok_and(|publication| publication["state"] == "ok"))
            })?;
            let after = export(&exchange.machines[0], &format!("after-{kill}.csv"))?;
            let still = fs::read_to_string(after)?;
            let settled = rows[GOOD..].iter().filter(|row| !still.contains(&row.sfzh));
            for row in settled {
                let what =
                    format!("after kill {kill}, {} is listed no more and at the hub", row.sfzh);
                until_true(SOON, &what, || {
                    Ok(exchange.hub.lookup(CODE, &row.sfzh).unwrap_or_default().contains(&row.xm))
                })?;
            }
        }
        let machine = &exchange.machines[0];
        let sheet = export(machine, "last.csv")?;
        let text = fs::read_to_string(&sheet)?;
        let open = |at: usize| {
            let line = text.lines().find(|line| line.contains(&rows[at].sfzh));
            line.is_some_and(|line| line.contains('长'))
        };
        correct(&sheet, &rows, open)?;
        resubmit(machine, &sheet)?;
        exchange.rows(&CODE.parse()?, rows.len() as u64, SOON)?;
        exchange.machines[0].write("people.csv", csv(&rows))?;
        exchange.equal(SOON)
    })
}
