//! The legal persons: a function from an index to a company.

use anyhow::Result;
use hutong_schema::ids::CreditCode;

use super::codes;
use super::dates::Day;
use super::names::{self, DIVISIONS, Division};
use super::rng::{Rng, Shuffle};
use super::row::{Row, decimal};

const SEED: u64 = 0x5A7E_0002;

/// All legal persons of the city.
#[derive(Clone, Debug)]
pub struct Companies {
    count: u64,
    shuffle: Shuffle,
}

impl Companies {
    /// A register of `count` companies.
    pub fn new(count: u64) -> Self {
        Self { count, shuffle: Shuffle::new(count) }
    }

    /// How many companies there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The credit code of the company at a position of the register; positions wrap at the end.
    ///
    /// # Errors
    /// When the parts do not make a credit code.
    pub fn code(&self, index: u64) -> Result<CreditCode> {
        let number = self.shuffle.place(index % self.count);
        codes::company(self.division(number).code, number)
    }

    fn division(&self, number: u64) -> &'static Division {
        &DIVISIONS[(number % DIVISIONS.len() as u64) as usize]
    }

    /// Fills a row of the legal-person resource.
    ///
    /// # Errors
    /// When the parts do not make a credit code.
    pub fn fill(&self, index: u64, row: &mut Row) -> Result<()> {
        let number = self.shuffle.place(index % self.count);
        let rng = &mut Rng::of(SEED, number);
        let division = self.division(number);
        row.put_str(self.code(index)?.as_str());
        names::company(row, rng);
        names::person(row, rng);
        let capital = decimal(rng.between(3, 9_000) * 1_000_000 + rng.below(2) * 50, 2);
        row.put_if(rng.chance(95), capital);
        row.put(Day::between(rng, 1985, 2025));
        row.put(division.code);
        names::address(row, rng, division);
        row.put_str(rng.pick(&["存续", "存续", "存续", "存续", "注销", "吊销"]));
        Ok(())
    }
}
