//! Rows of small files made by hand, for [`super::entries::people`].

use anyhow::Result;

use super::entries::citizen;

/// A row of people: identifier, name, birth date, division, amount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonRow {
    /// Key.
    pub sfzh: String,
    /// Name.
    pub xm: String,
    /// Birth date.
    pub csrq: String,
    /// Division.
    pub hjqh: String,
    /// Amount.
    pub je: String,
}

/// Person `number` of a made-up register; divisions take turns.
///
/// # Errors
/// When the identifier cannot be made.
pub fn person(number: usize) -> Result<PersonRow> {
    let sfzh = citizen(number)?;
    let csrq = sfzh[6..14].to_owned();
    let hjqh = ["211202", "211204", "211221"][number % 3].to_owned();
    Ok(PersonRow { sfzh, xm: format!("示例{number}"), csrq, hjqh, je: number.to_string() })
}

/// The first people of the register.
///
/// # Errors
/// As [`person`].
pub fn people(count: usize) -> Result<Vec<PersonRow>> {
    (0..count).map(person).collect()
}

/// A CSV file of people.
pub fn csv(rows: &[PersonRow]) -> String {
    let mut text = String::from("sfzh,xm,csrq,hjqh,je\n");
    for PersonRow { sfzh, xm, csrq, hjqh, je } in rows {
        text.push_str(&format!("{sfzh},{xm},{csrq},{hjqh},{je}\n"));
    }
    text
}
