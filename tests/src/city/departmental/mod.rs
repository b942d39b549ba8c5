//! The kinds of rows: three of the base libraries, twelve of the departments' own.

mod items;
mod rows;

use anyhow::Result;
use hutong_schema::library::LibraryId;
use serde::{Deserialize, Serialize};

use super::registers::Registers;
use super::rng::Rng;
use super::row::Row;

pub(super) use items::{ItemSpec, Subject};

/// A kind of rows: its items, and how a row is made from its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Template {
    /// 人口基础信息, bound to the population library.
    Population,
    /// 法人单位基础信息, bound to the legal-person library.
    LegalPerson,
    /// 自然资源和空间地理基础信息, bound to the geospatial library.
    Geospatial,
    /// 行政许可决定.
    Permit,
    /// 机动车登记.
    Vehicle,
    /// 社会保险缴费.
    Insurance,
    /// 医疗机构.
    MedicalInstitution,
    /// 学籍.
    SchoolRoll,
    /// 补贴发放.
    Subsidy,
    /// 证照登记.
    Licence,
    /// 行政处罚决定.
    Penalty,
    /// 水表读数.
    WaterMeter,
    /// 公交站点.
    BusStop,
    /// 监测数据.
    Monitoring,
    /// 建设项目.
    Construction,
}

const DEPARTMENTAL: [Template; 12] = [
    Template::Permit,
    Template::Vehicle,
    Template::Insurance,
    Template::MedicalInstitution,
    Template::SchoolRoll,
    Template::Subsidy,
    Template::Licence,
    Template::Penalty,
    Template::WaterMeter,
    Template::BusStop,
    Template::Monitoring,
    Template::Construction,
];

impl Template {
    /// One of the five kinds that a unit keeps: departments differ in what they have.
    pub(super) fn any_for(unit: u64, rng: &mut Rng) -> Self {
        let kinds = DEPARTMENTAL.len() as u64;
        DEPARTMENTAL[((unit * 5 + rng.below(5)) % kinds) as usize]
    }

    /// The base library that its rows are bound to, if any.
    pub fn library(self) -> Option<LibraryId> {
        match self {
            Self::Population => Some(LibraryId::POPULATION),
            Self::LegalPerson => Some(LibraryId::LEGAL_PERSON),
            Self::Geospatial => Some(LibraryId::GEOSPATIAL),
            Self::Permit
            | Self::Vehicle
            | Self::Insurance
            | Self::MedicalInstitution
            | Self::SchoolRoll
            | Self::Subsidy
            | Self::Licence
            | Self::Penalty
            | Self::WaterMeter
            | Self::BusStop
            | Self::Monitoring
            | Self::Construction => None,
        }
    }

    /// Whether its rows are bound to a base library.
    pub fn is_library(self) -> bool {
        self.library().is_some()
    }

    /// A number below 100, part of its resources' codes.
    pub fn number(self) -> usize {
        DEPARTMENTAL.iter().position(|each| *each == self).map_or(0, |position| position + 1)
    }

    /// What it is about, and its items.
    pub(super) fn subject(self) -> Subject {
        items::subject(self)
    }

    /// Fills row `index` of resource `number`.
    ///
    /// # Errors
    /// When an identifier cannot be made, which would be a mistake in the tables.
    pub fn fill(self, registers: &Registers, number: u32, index: u64, row: &mut Row) -> Result<()> {
        row.clear();
        rows::fill(self, registers, number, index, row)
    }
}
