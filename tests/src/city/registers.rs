//! The people and companies of a city: departmental rows name the same ones.

use super::companies::Companies;
use super::people::People;
use super::plan::Scale;

/// Everyone a row can be about.
#[derive(Clone, Debug)]
pub struct Registers {
    /// The population.
    pub people: People,
    /// The legal persons.
    pub companies: Companies,
}

impl Registers {
    /// The registers of a city of this scale.
    pub fn new(scale: Scale) -> Self {
        let totals = scale.totals();
        Self { people: People::new(totals.people), companies: Companies::new(totals.companies) }
    }
}
