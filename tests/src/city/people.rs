//! The population: a function from a person's index to that person.
//!
//! Everyone belongs to one cohort (division and year of birth). Cohort sizes follow the divisions'
//! weights and an age pyramid; within a cohort the position fixes birthday and sequence number, so
//! that no two people share an ID and nothing has to be remembered while the file is written.
//!
//! IDs must pass the check, so some of them may have been given to someone; the names, addresses
//! and telephone numbers beside them cannot have been.

use anyhow::Result;

use super::codes;
use super::dates::{Day, FIRST_YEAR, LAST_YEAR, days_of};
use super::names::{self, DIVISIONS, Division};
use super::rng::{Rng, Shuffle, apportion};
use super::row::Row;

const SEED: u64 = 0x5A7E_0001;

/// All people of the city.
#[derive(Clone, Debug)]
pub struct People {
    count: u64,
    shuffle: Shuffle,
    cohorts: Vec<Cohort>,
}

/// People of one division born in one year.
#[derive(Clone, Copy, Debug)]
struct Cohort {
    /// Rank of its first member; cohorts are in ascending order of it.
    first: u64,
    division: &'static Division,
    year: u16,
}

/// What an ID is made of.
#[derive(Clone, Copy, Debug)]
pub struct Person {
    rank: u64,
    /// The division in the ID.
    pub division: &'static Division,
    /// The birthday in the ID.
    pub born: Day,
    /// The three digits before the check digit, 1..=999; odd for men.
    pub sequence: u16,
}

impl People {
    /// A population of `count` people.
    pub fn new(count: u64) -> Self {
        let weights: Vec<u64> = DIVISIONS.iter().map(|division| division.weight).collect();
        let years: Vec<u64> = (FIRST_YEAR..=LAST_YEAR).map(born_in).collect();
        let mut cohorts = Vec::with_capacity(DIVISIONS.len() * years.len());
        let mut first = 0;
        for (division, people) in DIVISIONS.iter().zip(apportion(count, &weights, 0)) {
            for (year, size) in (FIRST_YEAR..).zip(apportion(people, &years, 0)) {
                cohorts.push(Cohort { first, division, year });
                first += size;
            }
        }
        Self { count, shuffle: Shuffle::new(count), cohorts }
    }

    /// How many people there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The person at a position of the population file; positions wrap at the end.
    pub fn person(&self, index: u64) -> Person {
        let rank = self.shuffle.place(index % self.count);
        let cohort = self.cohorts[self.cohorts.partition_point(|cohort| cohort.first <= rank) - 1];
        let (within, days) = (rank - cohort.first, u64::from(days_of(cohort.year)));
        // 211 has no factor in common with 365, 366 or 181, nor 101 with 999: both walks visit
        // every day and every number before they repeat.
        let day = within * 211 % days;
        let sequence = (within / days * 101 + day * 7) % 999 + 1;
        Person {
            rank,
            division: cohort.division,
            born: Day::of_year(cohort.year, day),
            sequence: sequence as u16,
        }
    }

    /// Fills a row of the population resource.
    ///
    /// # Errors
    /// When the parts do not make an ID, which would be a mistake in the cohorts.
    pub fn fill(&self, index: u64, row: &mut Row) -> Result<()> {
        let person = self.person(index);
        let rng = &mut Rng::of(SEED, person.rank);
        let household = match rng.chance(8) {
            true => names::any_division(rng),
            false => person.division,
        };
        row.put_str(person.id()?.as_str());
        names::person(row, rng);
        row.put_str(person.sex());
        row.put_str(ethnicity(rng));
        row.put(person.born);
        row.put(household.code);
        names::address(row, rng, household);
        match rng.below(20) {
            0 => {
                row.absent();
            }
            1..=3 => {
                let elsewhere = names::any_division(rng);
                names::address(row, rng, elsewhere);
            }
            _ => names::address(row, rng, household),
        }
        if rng.chance(90) {
            names::phone(row, rng);
        } else {
            row.absent();
        }
        row.put_str(marital_status(rng, person.born.year()));
        Ok(())
    }
}

impl Person {
    /// The person's ID.
    ///
    /// # Errors
    /// When the parts do not make an ID.
    pub fn id(&self) -> Result<hutong_schema::ids::CitizenId> {
        codes::citizen(self.division.code, self.born, self.sequence)
    }

    /// GB/T 2261.1, as the ID says it.
    pub fn sex(&self) -> &'static str {
        if self.sequence % 2 == 1 { "1" } else { "2" }
    }
}

/// The age pyramid: how many of the living were born in a year, relatively.
fn born_in(year: u16) -> u64 {
    match year {
        ..1930 => 1,
        1930..1940 => 6,
        1940..1950 => 18,
        1950..1960 => 42,
        1960..1975 => 56,
        1975..1985 => 47,
        1985..1995 => 44,
        1995..2005 => 29,
        2005..2015 => 25,
        2015..2021 => 17,
        2021..LAST_YEAR => 10,
        _ => 4,
    }
}

/// GB/T 3304: Han, Manchu, Korean, Mongol, Hui, Xibe, others.
fn ethnicity(rng: &mut Rng) -> &'static str {
    match rng.below(1_000) {
        0..800 => "01",
        800..930 => "11",
        930..955 => "10",
        955..980 => "02",
        980..992 => "03",
        992..997 => "38",
        _ => rng.pick(&["05", "06", "08", "15", "56", "97"]),
    }
}

/// GB/T 2261.2 [M]: 10 single, 20 married, 30 widowed, 40 divorced; absent for children.
fn marital_status(rng: &mut Rng, born: u16) -> &'static str {
    match (born, rng.below(100)) {
        (2008.., _) => "",
        (2000.., 0..90) | (1990.., 0..35) | (_, 0..3) => "10",
        (..1950, 40..) => "30",
        (_, 90..) => "40",
        _ => "20",
    }
}
