//! More than a share: questions without end, commands without end, rows without end.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hutong_schema::grant::Target;
use hutong_schema::limits::BATCH_ROWS_TARGET;
use hutong_schema::wire::frame::{self, Message};
use hutong_schema::wire::v1::ask::{Lookup, LookupAnswer, LookupBy};
use hutong_schema::wire::v1::control::Key;
use hutong_schema::wire::v1::{RefusalCode, Refused};

use super::super::{Rogue, Said, Siege, Windows};
use super::publication::{HOSTILE, Publication};
use super::refused_with;
use crate::harness::entries::{citizen, department_code, people as people_entry};
use crate::harness::exchange::SOON;
use crate::harness::rows::{csv, people};
use crate::harness::wait::until_true;

/// Questions of the flood.
const QUESTIONS: usize = 1_500;

/// One node asks for one key after the other, over one connection after the other: it gets its burst
/// and its rate, and no more. `burst` and `rate` are as configured.
pub fn questions(siege: &mut Siege<'_>, burst: u32, rate: u32) -> Result<()> {
    let (door, endpoint) = (siege.door.clone(), siege.endpoint.clone());
    let target = Target::Resource(siege.granted.parse()?);
    let began = Instant::now();
    let answered = siege.runtime.block_on(async {
        let mut answered = 0;
        for visit in 0..3 {
            let (rogue, _control) =
                Rogue::visit(&endpoint, &door, "h0", Windows::default()).await?;
            for number in 0..QUESTIONS / 3 {
                let lookup = Lookup {
                    target: target.clone(),
                    by: LookupBy::Key(Key(citizen(visit * 500 + number)?.into_bytes())),
                    reason: "TEST-1".to_owned(),
                    limit: 1,
                };
                let said = rogue.ask(&frame::encode(&lookup)?, true).await?;
                if matches!(said, Said::Message(LookupAnswer::KIND, _)) {
                    answered += 1;
                    continue;
                }
                refused_with(&said, RefusalCode::TooMany, "a question too many")?;
                let Said::Refused(Refused { retry_after_ms, .. }) = said else { continue };
                ensure!(retry_after_ms.is_some(), "it is not told when to ask again");
            }
        }
        anyhow::Ok(answered)
    })?;
    let allowed = f64::from(burst) + f64::from(rate) * began.elapsed().as_secs_f64();
    ensure!(f64::from(answered) <= allowed, "{answered} were answered, {allowed} are allowed");
    ensure!(answered as u32 >= burst, "{answered} were answered of a burst of {burst}");
    siege.counted(1401, "stream", QUESTIONS - answered as usize)
}

/// One node opens one epoch after the other; each would be an event for ever.
pub fn commands(siege: &mut Siege<'_>, burst: u32, rate: u32) -> Result<()> {
    let (door, endpoint) = (siege.door.clone(), siege.endpoint.clone());
    let began = Instant::now();
    let opened = siege.runtime.block_on(async {
        let (rogue, _control) = Rogue::visit(&endpoint, &door, "h1", Windows::default()).await?;
        let publication = Publication::register(&rogue, "300120/000001").await?;
        let mut opened = 0;
        for _ in 0..300 {
            let (_raw, mut reader) = rogue.say(&publication.opening(0)?, false).await?;
            let said = rogue.said(&mut reader).await?;
            if matches!(said, Said::Message(..)) {
                opened += 1;
            } else {
                refused_with(&said, RefusalCode::Hasty, "an epoch too many")?;
            }
        }
        anyhow::Ok(opened)
    })?;
    let allowed = f64::from(burst) + f64::from(rate) * began.elapsed().as_secs_f64();
    ensure!(f64::from(opened) <= allowed, "{opened} epochs, {allowed} are allowed");
    siege.counted(1402, "stream", 300 - opened as usize)
}

/// The hostile department's own agent publishes more rows than the department may have: that
/// publication stands still and says why; once there is room, it goes on. `rows` is as configured.
pub fn fill_the_quota(siege: &mut Siege<'_>, rows: usize) -> Result<()> {
    let (code, file) = ("300130/000001", "much.csv");
    let entry = people_entry(code, department_code(HOSTILE)?)?;
    // One node is enough.
    let machine = &mut siege.exchange.machines[HOSTILE];
    machine.nodes.clear();
    machine.write(file, csv(&people(3 * rows)?))?;
    machine.publish("h7", &entry, file)?.max_delete_percent = Some(100);
    let address = siege.door.address;
    machine.configure(address)?;
    machine.start()?;
    let trouble = |siege: &Siege<'_>| -> Result<String> {
        // Until it listens, the agent cannot be asked.
        let machine = &siege.exchange.machines[HOSTILE];
        let publication = machine.publication(code).unwrap_or_default();
        Ok(publication["troubles"].to_string())
    };
    let mut last = String::new();
    let told = until_true(SOON, "the publication says that its room is used up", || {
        last = trouble(siege)?;
        Ok(last.contains("HT-1111"))
    });
    ensure!(told.is_ok(), "the agent says {last}");
    let resource = code.parse()?;
    let held = siege.exchange.rows_now(&resource)?.unwrap_or(0) as usize;
    // The batch that reaches the bound is taken.
    ensure!(held < rows + BATCH_ROWS_TARGET, "the hub took {held} rows, {rows} are allowed");
    siege.counted(1111, "stream", 1)?;
    // The source gives way: what it deletes is taken, and there is room for what is left.
    let machine = &siege.exchange.machines[HOSTILE];
    machine.write(file, csv(&people(rows / 2)?))?;
    machine.command(["confirm", code])?.ok()?;
    siege.exchange.rows(&resource, rows as u64 / 2, Duration::from_secs(60))?;
    siege.exchange.machines[HOSTILE].stop()
}
