//! Rows that cannot be stored: quarantined with row, field and reason; the others go through.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use hutong_tests::harness::exchange::{SOON, scene};
use hutong_tests::harness::rows::{csv, people};
use hutong_tests::harness::wait::until_true;
use hutong_tests::harness::{Exchange, entries};

const CODE: &str = "301001/000001";
const GOOD: usize = 50;

/// Everything in the quarantine folder.
fn quarantine(exchange: &Exchange) -> Result<String> {
    let mut text = String::new();
    let mut folders = vec![exchange.machines[0].state().join("quarantine")];
    while let Some(folder) = folders.pop() {
        let Ok(listing) = fs::read_dir(&folder) else { continue };
        for entry in listing {
            let path = entry?.path();
            if path.is_dir() { folders.push(path) } else { text.push_str(&read(&path)?) }
        }
    }
    Ok(text)
}

fn read(path: &Path) -> Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

#[test]
fn bad_rows_of_every_kind_are_quarantined_and_the_corrected_file_is_taken() -> Result<()> {
    scene(|exchange| {
        let rows = people(GOOD + 8)?;
        let entry = entries::people(CODE, entries::department_code(0)?)?;
        let good = csv(&rows[..GOOD]);
        let bad = &rows[GOOD..];
        let wrong_digit = {
            let mut id = bad[0].sfzh.clone();
            let last = id.pop();
            id.push(if last == Some('1') { '2' } else { '1' });
            id
        };
        // One row for each reason; what stands behind it must be the quarantine's word for it.
        let kinds: Vec<(Vec<u8>, &str, &str)> = vec![
            (format!("{wrong_digit},示例,20000101,211202,1").into(), "sfzh", "check"),
            (
                format!("{},{},20000101,211202,1", bad[1].sfzh, "长".repeat(51)).into(),
                "xm",
                "wrong length",
            ),
            (format!("{},示例,20000101,211202,many", bad[2].sfzh).into(), "je", "type"),
            (format!("{},,20000101,211202,1", bad[3].sfzh).into(), "xm", "missing"),
            (format!("{},示例,20010229,211202,1", bad[4].sfzh).into(), "csrq", "date"),
            ([bad[5].sfzh.as_bytes(), b",\xFF\xFE,20000101,211202,1"].concat(), "xm", "encoding"),
            (format!("{},控\u{1}制,20000101,211202,1", bad[6].sfzh).into(), "xm", "control"),
            (format!("{},又一个,20000101,211202,1", rows[0].sfzh).into(), "sfzh", "appears twice"),
        ];
        let mut file = good.clone().into_bytes();
        for (line, _, _) in &kinds {
            file.extend_from_slice(line);
            file.push(b'\n');
        }
        let machine = exchange.department("civil")?;
        machine.write("people.csv", file)?;
        machine.publish("n1", &entry, "people.csv")?;
        exchange.run(0)?;
        exchange.rows(&entry.code, GOOD as u64, SOON)?;
        until_true(SOON, "all bad rows are in quarantine", || {
            let text = quarantine(exchange)?.to_lowercase();
            Ok(kinds.iter().all(|(_, field, word)| text.contains(word) && text.contains(field)))
        })?;
        let status = exchange.machines[0].status()?.to_string();
        ensure!(status.contains("rejected"), "the status counts them: {status}");

        // Corrected and sent again.
        let corrected = csv(&rows);
        exchange.machines[0].write("people.csv", corrected)?;
        exchange.rows(&entry.code, rows.len() as u64, SOON)?;
        exchange.equal(SOON)?;
        Ok(())
    })
}
