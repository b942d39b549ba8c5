//! Who is granted what.

use anyhow::{Context, Result};

use super::super::Role;
use super::Running;
use crate::harness::exchange::{Wish, make_grant};
use crate::proof::GrantRecord;

/// How many counties receive their own people.
const COUNTIES: usize = 2;

/// Makes the grants, and lets the first node of each receiving unit subscribe.
pub(super) fn make(running: &mut Running) -> Result<Vec<GrantRecord>> {
    let unit = |role: Role, nth: usize| {
        let mut chosen =
            (0..running.city.units.len()).filter(|at| running.city.units[*at].role == Some(role));
        chosen.nth(nth).with_context(|| format!("the city has a {role:?} unit"))
    };
    let everyone = Wish { target: "population", ..Wish::default() };
    let mut wishes = vec![
        (
            unit(Role::SocialSecurity, 0)?,
            Wish { fields: &["xm", "xb", "csrq", "hjqh"], filter: "age(csrq) >= 18", ..everyone },
        ),
        (unit(Role::Tax, 0)?, Wish { target: "legal_person", ..Wish::default() }),
        (unit(Role::Planning, 0)?, Wish { target: "geospatial", ..Wish::default() }),
    ];
    let counties: Vec<usize> =
        (0..COUNTIES).map(|nth| unit(Role::County, nth)).collect::<Result<_>>()?;
    let filters: Vec<String> = counties
        .iter()
        .map(|at| format!("hjqh = \"{}\"", running.city.units[*at].division))
        .collect();
    for (at, filter) in counties.iter().zip(&filters) {
        wishes.push((*at, Wish { filter, ..everyone }));
    }
    let mut records = Vec::with_capacity(wishes.len());
    for (at, wish) in wishes {
        let machine = &mut running.machines[at];
        let id = make_grant(&running.hub, machine.code.as_str(), &wish)?;
        let node = machine.nodes.first().context("a unit has a node")?.name.clone();
        machine.subscribe(&node, &id.to_string());
        records.push(GrantRecord {
            id,
            grantee: machine.title.clone(),
            target: wish.target.to_owned(),
            fields: wish.fields.iter().map(|&field| field.to_owned()).collect(),
            filter: wish.filter.to_owned(),
            path: machine.delivered(id),
        });
    }
    Ok(records)
}
