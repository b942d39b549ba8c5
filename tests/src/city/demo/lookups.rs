//! Three questions, asked through the real command lines.

use std::io::Write;

use anyhow::{Context, Result};

use super::super::Role;
use super::super::registers::Registers;
use super::Running;
use crate::harness::Machine;
use crate::harness::run::Ran;

/// Asks and prints.
pub(super) fn print(running: &Running, out: &mut impl Write) -> Result<()> {
    let registers = Registers::new(running.city.scale);
    // The first adult of the file, so that the grant covers the question.
    let people = (0..1_000).map(|index| registers.people.person(index));
    let adult = people.into_iter().find(|person| person.born.year() < 2000);
    let person = adult.context("an adult among the first people")?.id()?;
    let asker = machine(running, Role::SocialSecurity)?;
    let mut ask = |title: &str, ran: Result<Ran>| -> Result<()> {
        let answer = ran?.ok().with_context(|| title.to_owned())?;
        writeln!(out, "\n{title}\n  {}", answer.trim_end().replace('\n', "\n  "))?;
        Ok(())
    };
    ask(
        &format!("{} looks up {person} in the population library:", asker.title),
        asker.lookup("population", person.as_str()),
    )?;
    ask(
        &format!("{} verifies a name of {person}, which is wrong:", asker.title),
        asker.verify("population", person.as_str(), "xm=示例甲"),
    )?;
    ask(
        "the operator looks up the three features nearest to 123.85 E, 42.29 N:",
        running.hub.nearest("geospatial", "123.85,42.29", 3),
    )
}

fn machine(running: &Running, role: Role) -> Result<&Machine> {
    let at = running.city.units.iter().position(|unit| unit.role == Some(role));
    Ok(&running.machines[at.with_context(|| format!("the city has a {role:?} unit"))?])
}
