//! Three questions, asked through the real command lines.

use std::io::Write;

use anyhow::{Context, Result};

use super::super::registers::Registers;
use super::super::{Role, Template};
use super::Running;
use crate::harness::Machine;

/// Asks and prints.
pub(super) fn print(running: &Running, out: &mut impl Write) -> Result<()> {
    let registers = Registers::new(running.city.scale);
    // The first adult of the file, so that the grant covers the question.
    let adult = (0..).map(|index| registers.people.person(index));
    let adult = adult.take(1_000).find(|person| person.born.year() < 2000);
    let person = adult.context("an adult among the first people")?.id()?;
    let asker = machine(running, Role::SocialSecurity)?;
    let node = &asker.nodes[0].name;
    let grant = running.inventory.grants.first().context("a grant")?.id.to_string();

    let mut ask = |title: &str, ran: Result<crate::harness::run::Ran>| -> Result<()> {
        let answer = ran?.ok().with_context(|| title.to_owned())?;
        writeln!(out, "\n{title}\n  {}", answer.trim_end().replace('\n', "\n  "))?;
        Ok(())
    };
    ask(
        &format!("{} looks up {person} in the population library:", asker.title),
        asker.command(["lookup", "--node", node, "--grant", &grant, person.as_str()]),
    )?;
    let (index, template) = (0, Template::Population);
    let mut row = super::super::Row::default();
    template.fill(&registers, 0, index, &mut row)?;
    ask(
        &format!("{} verifies a name and a birth date of {person}:", asker.title),
        asker.command([
            "verify",
            "--node",
            node,
            "--grant",
            &grant,
            person.as_str(),
            "--claim",
            "xm=示例甲",
            "--claim",
            &format!("csrq={}", &person.as_str()[6..14]),
        ]),
    )?;
    ask(
        "the operator looks up the three features nearest to 123.85 E, 42.29 N:",
        running.hub.command([
            "lookup",
            "geospatial",
            "--near",
            "123.85,42.29",
            "--limit",
            "3",
            "--reason",
            "示例",
        ]),
    )
}

fn machine(running: &Running, role: Role) -> Result<&Machine> {
    let at = running.city.units.iter().position(|unit| unit.role == Some(role));
    Ok(&running.machines[at.with_context(|| format!("the city has a {role:?} unit"))?])
}
