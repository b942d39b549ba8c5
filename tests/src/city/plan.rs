//! The plan: which unit runs which nodes, which node mounts which entry, how many rows each has.
//!
//! The plan is a pure function of the scale. Everything else (catalogues, rows, files) follows from
//! the plan, so it is small enough to be kept in memory and written out as `plan.json`.

use anyhow::{Context, Result};
use hutong_schema::ids::{CreditCode, ResourceCode};
use hutong_schema::library::LibraryId;
use serde::{Deserialize, Serialize};

use super::codes;
use super::departmental::Template;
use super::names::CITY_DIVISION;
use super::registers::Registers;
use super::rng::{Rng, apportion};
use super::row::Row;
use super::units::{Role, Seat, seats};

/// Changes whenever the bytes of any generated file change; part of the cache folder's name.
pub const GENERATOR_VERSION: u32 = 1;

const SEED: u64 = 0x5A7E_0000;

/// How much of the city is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// The reference city: 108 units, 878 nodes, 6,911 entries, 3,000,818 rows.
    Full,
    /// 1 % of the rows: 108 units, 216 nodes, 700 entries, 30,008 rows.
    Small,
    /// For tests: the units with a part and two counties, 18 nodes, 40 entries, 3,000 rows.
    Ci,
}

/// What a city consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Departments and counties, one front-end machine each.
    pub units: u64,
    /// Front-end nodes on these machines.
    pub nodes: u64,
    /// Catalogue entries, each mounted by one node.
    pub entries: u64,
    /// Rows of all entries.
    pub rows: u64,
    /// Rows bound to the population library.
    pub people: u64,
    /// Rows bound to the legal-person library.
    pub companies: u64,
    /// Rows bound to the geospatial library.
    pub features: u64,
}

impl Scale {
    /// The figures of this scale; those of [`Scale::Full`] are the reference city's.
    pub fn totals(self) -> Totals {
        match self {
            Scale::Full => Totals {
                units: 108,
                nodes: 878,
                entries: 6_911,
                rows: 3_000_818,
                people: 2_235_402,
                companies: 3_707,
                features: 94,
            },
            // One feature would be proportional; twelve hold every kind of shape several times.
            Scale::Small => Totals {
                units: 108,
                nodes: 216,
                entries: 700,
                rows: 30_008,
                people: 22_354,
                companies: 37,
                features: 12,
            },
            Scale::Ci => Totals {
                units: 9,
                nodes: 18,
                entries: 40,
                rows: 3_000,
                people: 2_235,
                companies: 37,
                features: 12,
            },
        }
    }

    /// The name used in folders and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Scale::Full => "full",
            Scale::Small => "small",
            Scale::Ci => "ci",
        }
    }

    fn seats(self) -> Vec<Seat> {
        let mut seats = seats();
        if self == Scale::Ci {
            seats.retain(|seat| seat.role.is_some());
            seats.truncate(self.totals().units as usize);
        }
        seats
    }
}

/// A planned city.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct City {
    /// See [`GENERATOR_VERSION`].
    pub generator: u32,
    /// How much of the city this is.
    pub scale: Scale,
    /// Departments first, then counties.
    pub units: Vec<Unit>,
}

/// A department or county with its front-end machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Short identifier, also its folder's name: `u001` and on.
    pub id: String,
    /// Full name.
    pub name: String,
    /// Its part in the demonstration, if it has one.
    pub role: Option<Role>,
    /// Its credit code.
    pub code: CreditCode,
    /// Where it sits, GB/T 2260.
    pub division: u32,
    /// The nodes of its machine, at least one.
    pub nodes: Vec<Node>,
}

/// A front-end node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Unique in the city: `n0001` and on.
    pub name: String,
    /// What it mounts, at least one.
    pub resources: Vec<Resource>,
}

/// One catalogue entry with the rows mounted on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Code of its catalogue entry.
    pub code: ResourceCode,
    /// Position in the city, from 0; decides its content.
    pub number: u32,
    /// What kind of rows it has.
    pub template: Template,
    /// How many rows.
    pub rows: u64,
    /// How its file is written.
    pub style: FileStyle,
    /// Its file, relative to the unit's folder.
    pub file: String,
}

/// How a data file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileStyle {
    /// CSV, UTF-8, items by machine name.
    Csv,
    /// CSV, UTF-8 with byte order mark, items by label.
    CsvWithMark,
    /// CSV, GB18030, lines ended by CR LF, items by label.
    CsvGb18030,
    /// One JSON object per line, UTF-8, items by machine name.
    JsonLines,
}

impl City {
    /// Plans the city; the same scale gives the same plan on every machine.
    ///
    /// # Errors
    /// When a code cannot be made, which would be a mistake in the tables.
    pub fn plan(scale: Scale) -> Result<Self> {
        let (totals, seats) = (scale.totals(), scale.seats());
        let rng = &mut Rng::new(SEED);
        let mut node_names = (1u32..).map(|number| format!("n{number:04}"));
        let nodes_of = spread(rng, totals.nodes, seats.iter().map(|seat| seat.weight));
        let mut units = Vec::with_capacity(seats.len());
        for (index, (seat, nodes)) in seats.iter().zip(nodes_of).enumerate() {
            let empty = |name| Node { name, resources: Vec::new() };
            units.push(Unit {
                id: format!("u{:03}", index + 1),
                name: match seat.division {
                    CITY_DIVISION => format!("示例市{}", seat.name),
                    _ => format!("示例市{}大数据中心", seat.name),
                },
                role: seat.role,
                code: codes::department(seat.division, index as u64 + 1)?,
                division: seat.division,
                nodes: node_names.by_ref().take(nodes as usize).map(empty).collect(),
            });
        }
        let mut city = Self { generator: GENERATOR_VERSION, scale, units };
        city.mount(rng)?;
        Ok(city)
    }

    /// Gives every node its resources and every resource its rows.
    fn mount(&mut self, rng: &mut Rng) -> Result<()> {
        let totals = self.scale.totals();
        let node_count = self.units.iter().map(|unit| unit.nodes.len()).sum::<usize>();
        let entries_of = spread(rng, totals.entries, std::iter::repeat_n(10, node_count));
        let libraries = totals.people + totals.companies + totals.features;
        let weights: Vec<u64> = (3..totals.entries).map(|_| row_weight(rng)).collect();
        let mut departmental_rows = apportion(totals.rows - libraries, &weights, 1).into_iter();
        let (mut entries_of, mut number) = (entries_of.into_iter(), 0);
        for (unit_index, unit) in self.units.iter_mut().enumerate() {
            let mut library = unit.role.and_then(|role| library_rows(role, &totals));
            for node in &mut unit.nodes {
                for _ in 0..entries_of.next().context("a count of entries for each node")? {
                    let (template, rows) = match library.take() {
                        Some(bound) => bound,
                        None => {
                            let template = Template::any_for(unit_index as u64, rng);
                            let rows = departmental_rows.next();
                            (template, rows.context("a count of rows for each entry")?)
                        }
                    };
                    let style = if template.is_library() { FileStyle::Csv } else { style(number) };
                    node.resources.push(resource(unit_index, number, template, rows, style)?);
                    number += 1;
                }
            }
        }
        Ok(())
    }

    /// The units with a part.
    pub fn units_with(&self, role: Role) -> impl Iterator<Item = &Unit> {
        self.units.iter().filter(move |unit| unit.role == Some(role))
    }

    /// Every node with its unit.
    pub fn nodes(&self) -> impl Iterator<Item = (&Unit, &Node)> {
        self.units.iter().flat_map(|unit| unit.nodes.iter().map(move |node| (unit, node)))
    }

    /// Every resource with its unit and node.
    pub fn resources(&self) -> impl Iterator<Item = (&Unit, &Node, &Resource)> {
        self.nodes()
            .flat_map(|(unit, node)| node.resources.iter().map(move |each| (unit, node, each)))
    }

    /// What the plan adds up to; equal to its scale's totals.
    pub fn totals(&self) -> Totals {
        let rows_of = |wanted: Option<Template>| {
            let chosen = self.resources().map(|(_, _, resource)| resource);
            chosen
                .filter(|resource| wanted.is_none_or(|template| resource.template == template))
                .map(|resource| resource.rows)
                .sum()
        };
        Totals {
            units: self.units.len() as u64,
            nodes: self.nodes().count() as u64,
            entries: self.resources().count() as u64,
            rows: rows_of(None),
            people: rows_of(Some(Template::Population)),
            companies: rows_of(Some(Template::LegalPerson)),
            features: rows_of(Some(Template::Geospatial)),
        }
    }
}

impl Resource {
    /// The rows of its file, in order, made anew.
    pub fn expected_rows<'a>(
        &'a self,
        registers: &'a Registers,
    ) -> impl Iterator<Item = Result<Row>> + 'a {
        (0..self.rows).map(|index| {
            let mut row = Row::default();
            self.template.fill(registers, self.number, index, &mut row)?;
            Ok(row)
        })
    }
}

/// Shares of at least 1 around the weights, each weight varied by up to 15 %.
fn spread(rng: &mut Rng, total: u64, weights: impl Iterator<Item = u64>) -> Vec<u64> {
    let varied: Vec<u64> = weights.map(|weight| weight * rng.between(85, 115)).collect();
    apportion(total, &varied, 1)
}

/// Sizes as they are met in practice: most entries are small, a few hold thousands of rows.
fn row_weight(rng: &mut Rng) -> u64 {
    match rng.below(1_000) {
        0..300 => rng.between(5, 60),
        300..850 => rng.between(10, 100),
        850..960 => rng.between(100, 600),
        960..995 => rng.between(600, 2_500),
        _ => rng.between(3_000, 9_000),
    }
}

/// The base library that a unit provides, and its rows.
fn library_rows(role: Role, totals: &Totals) -> Option<(Template, u64)> {
    match role {
        Role::PublicSecurity => Some((Template::Population, totals.people)),
        Role::MarketRegulation => Some((Template::LegalPerson, totals.companies)),
        Role::NaturalResources => Some((Template::Geospatial, totals.features)),
        Role::DataAuthority | Role::SocialSecurity | Role::Tax | Role::Planning | Role::County => {
            None
        }
    }
}

/// 85 % of the files are plain CSV, 5 % of each other style.
fn style(number: u32) -> FileStyle {
    match number % 20 {
        4 => FileStyle::CsvWithMark,
        11 => FileStyle::CsvGb18030,
        18 => FileStyle::JsonLines,
        _ => FileStyle::Csv,
    }
}

fn resource(
    unit: usize,
    number: u32,
    template: Template,
    rows: u64,
    style: FileStyle,
) -> Result<Resource> {
    let code = match template.library() {
        // 类 1 basic, 项 the library.
        Some(LibraryId(library)) => format!("1{library:02}001/000001"),
        // 类 3 departmental, 项 01, 目 the unit, 细目 the kind of rows.
        None => format!("301{:03}{:02}/{:06}", unit + 1, template.number(), number + 1),
    };
    let suffix = if style == FileStyle::JsonLines { "jsonl" } else { "csv" };
    let file = format!("data/{}.{suffix}", code.replace('/', "-"));
    let code = code.parse().with_context(|| format!("resource code {code}"))?;
    Ok(Resource { code, number, template, rows, style, file })
}
