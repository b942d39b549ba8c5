//! The rows of each kind. A row is a function of (resource, index): its key contains the index, so
//! keys never repeat, and any row can be made again without the others.

use anyhow::Result;

use super::Template;
use crate::city::codes;
use crate::city::dates::Day;
use crate::city::registers::Registers;
use crate::city::rng::Rng;
use crate::city::row::{Decimal, Row, decimal};
use crate::city::{features, names};

const SEED: u64 = 0x5A7E_0100;

/// A row under construction and what it is made from.
struct Draft<'a> {
    registers: &'a Registers,
    rng: &'a mut Rng,
    /// Resource number; part of the keys that the department itself gives out.
    number: u32,
    index: u64,
    row: &'a mut Row,
}

pub(super) fn fill(
    template: Template,
    registers: &Registers,
    number: u32,
    index: u64,
    row: &mut Row,
) -> Result<()> {
    let rng = &mut Rng::of(SEED + u64::from(number), index);
    let draft = Draft { registers, rng, number, index, row };
    match template {
        Template::Population => registers.people.fill(index, draft.row),
        Template::LegalPerson => registers.companies.fill(index, draft.row),
        Template::Geospatial => {
            features::fill(index, draft.row);
            Ok(())
        }
        Template::Permit => permit(draft),
        Template::Vehicle => vehicle(draft),
        Template::Insurance => insurance(draft),
        Template::MedicalInstitution => medical_institution(draft),
        Template::SchoolRoll => school_roll(draft),
        Template::Subsidy => subsidy(draft),
        Template::Licence => licence(draft),
        Template::Penalty => penalty(draft),
        Template::WaterMeter => water_meter(draft),
        Template::BusStop => bus_stop(draft),
        Template::Monitoring => monitoring(draft),
        Template::Construction => construction(draft),
    }
}

fn permit(d: Draft<'_>) -> Result<()> {
    let granted = Day::between(d.rng, 2018, 2026);
    d.row.put(format_args!("示许字〔{}〕{:04}-{:05}", granted.year(), d.number, d.index + 1));
    names::company(d.row, d.rng);
    d.row.put_str(d.registers.companies.code(d.rng.draw())?.as_str());
    d.row.put(granted);
    let until = Day::between(d.rng, granted.year().min(2025) + 1, 2026);
    d.row.put_if(d.rng.chance(70), until);
    d.row.put_if(d.rng.chance(60), decimal(d.rng.below(500_000), 2));
    d.row.put_bool(d.rng.chance(85));
    remark(d.row, d.rng);
    Ok(())
}

fn vehicle(d: Draft<'_>) -> Result<()> {
    d.row.put_str(d.rng.pick(&["01", "02", "51", "52"]));
    // Real plates have one letter after the province; SL (示例) is none of theirs.
    d.row.put(format_args!("辽SL{:04}{:05}", d.number, d.index + 1));
    names::person(d.row, d.rng);
    d.row.put_str(d.registers.people.person(d.rng.draw()).id()?.as_str());
    d.row.put(Day::between(d.rng, 2005, 2026));
    d.row.put(d.rng.between(800, 18_000));
    d.row.put_if(d.rng.chance(90), decimal(d.rng.between(8, 60), 1));
    d.row.put_str(d.rng.pick(&["正常", "正常", "正常", "逾期未检验", "注销"]));
    Ok(())
}

fn insurance(d: Draft<'_>) -> Result<()> {
    let (who, month) = (d.index / 12, d.index % 12 + 1);
    d.row.put_str(d.someone(who).id()?.as_str());
    d.row.put(format_args!("{}{month:02}", 2019 + d.number % 7));
    d.row.put_str(d.registers.companies.code(u64::from(d.number) + who / 20)?.as_str());
    let base = d.rng.between(4_000, 26_000);
    d.row.put(base);
    d.row.put(decimal(base * 8, 2));
    d.row.put_str("0.08");
    let paid = Day::between(d.rng, 2019, 2026).at(d.rng.draw());
    d.row.put_if(d.rng.chance(92), paid);
    Ok(())
}

fn medical_institution(d: Draft<'_>) -> Result<()> {
    d.row.put(format_args!("SLYL{:04}{:05}", d.number, d.index + 1));
    let suffix = d.rng.pick(&["医院", "卫生院", "诊所", "门诊部"]);
    names::place(d.row, d.rng, suffix);
    d.row.put_str(d.registers.companies.code(d.rng.draw())?.as_str());
    names::person(d.row, d.rng);
    d.row.put_if(d.rng.chance(80), d.rng.below(1_200));
    d.row.put(decimal(d.rng.between(123_500_000, 125_200_000), 6));
    d.row.put(decimal(d.rng.between(41_900_000, 43_500_000), 6));
    d.row.put_bool(d.rng.chance(60));
    d.row.put(Day::between(d.rng, 1990, 2025));
    d.row.put_str(d.rng.pick(&["", "全科医疗科", "内科；外科；儿科", "中医科，针灸科"]));
    Ok(())
}

fn school_roll(d: Draft<'_>) -> Result<()> {
    let pupil = d.someone(d.index);
    d.row.put(format_args!("SLXJ{:04}{:06}", d.number, d.index + 1));
    names::person(d.row, d.rng);
    d.row.put_str(pupil.id()?.as_str());
    d.row.put_str(pupil.sex());
    d.row.put(d.rng.between(1, 12));
    d.row.put(Day::between(d.rng, 2014, 2025));
    d.row.put_bool(d.rng.chance(93));
    Ok(())
}

fn subsidy(d: Draft<'_>) -> Result<()> {
    // Four batches a year, each person in all of them.
    let (who, batch) = (d.index / 4, d.index % 4 + 1);
    d.row.put_str(d.someone(who).id()?.as_str());
    d.row.put(format_args!("{}-{batch:02}", 2020 + d.number % 6));
    names::person(d.row, d.rng);
    d.row.put(decimal(d.rng.between(5_000, 300_000), 2));
    d.row.put(Day::between(d.rng, 2020, 2026).at(d.rng.draw()));
    remark(d.row, d.rng);
    Ok(())
}

fn licence(d: Draft<'_>) -> Result<()> {
    let issued = Day::between(d.rng, 2010, 2025);
    d.row.put(format_args!("SLZZ-{}-{:04}-{:05}", issued.year(), d.number, d.index + 1));
    names::company(d.row, d.rng);
    d.row.put_str(codes::organisation(d.rng.draw())?.as_str());
    d.row.put(issued);
    let until = Day::between(d.rng, issued.year() + 1, 2026);
    d.row.put_if(d.rng.chance(75), until);
    d.row.put_bool(d.rng.chance(12));
    Ok(())
}

fn penalty(d: Draft<'_>) -> Result<()> {
    let decided = Day::between(d.rng, 2017, 2026);
    d.row.put(format_args!("示罚字〔{}〕{:04}-{:05}", decided.year(), d.number, d.index + 1));
    names::company(d.row, d.rng);
    d.row.put_str(d.registers.companies.code(d.rng.draw())?.as_str());
    d.row.put_if(d.rng.chance(88), decimal(d.rng.between(100, 200_000) * 100, 2));
    d.row.put(decided.at(d.rng.draw()));
    // Quotes and commas are in the text on purpose: a CSV reader has to cope with them.
    let facts = ["未按规定公示\"示例\"信息", "超范围经营，情节轻微", "逾期未报送年度报告,已改正"];
    d.row.put_str(d.rng.pick(&facts));
    d.row.put_bool(d.rng.chance(80));
    Ok(())
}

fn water_meter(d: Draft<'_>) -> Result<()> {
    let (meter, reading) = (d.index / 12, d.index % 12);
    d.row.put(format_args!("SLSB{:04}{meter:06}", d.number));
    d.row.put(Day::of_year(2025, reading * 30 + 4));
    d.row.put(decimal(meter % 900 * 10_000 + reading * 1_537 + d.rng.below(900), 2));
    d.row.put_if(d.rng.chance(85), decimal(d.rng.between(1, 9_999), 4));
    d.row.put_bool(d.rng.chance(3));
    d.row.put(names::any_division(d.rng).code);
    Ok(())
}

fn bus_stop(d: Draft<'_>) -> Result<()> {
    d.row.put(format_args!("SLGJ{:04}{:05}", d.number, d.index + 1));
    names::place(d.row, d.rng, "站");
    features::point(d.row, d.rng);
    d.row.put_if(d.rng.chance(95), d.rng.between(1, 14));
    d.row.put(names::any_division(d.rng).code);
    Ok(())
}

fn monitoring(d: Draft<'_>) -> Result<()> {
    let (station, hour) = (d.index / 24, d.index % 24);
    d.row.put(format_args!("SLJC{:04}{station:04}", d.number));
    d.row.put(Day::of_year(2026, u64::from(d.number)).at(hour * 3_600));
    let warmth = Decimal { units: d.rng.below(700) as i64 - 300, places: 1 };
    d.row.put(warmth);
    d.row.put_if(d.rng.chance(90), decimal(d.rng.below(2_500), 1));
    d.row.put_if(d.rng.chance(90), decimal(d.rng.between(550, 900), 2));
    d.row.put(d.rng.between(1, 6));
    d.row.put_bool(d.rng.chance(97));
    Ok(())
}

fn construction(d: Draft<'_>) -> Result<()> {
    let started = Day::between(d.rng, 2016, 2026);
    d.row.put(format_args!("{}-2112-SL-{:04}-{:05}", started.year(), d.number, d.index + 1));
    let suffix = d.rng.pick(&["道路改造项目", "住宅小区", "标准厂房", "污水管网工程"]);
    names::place(d.row, d.rng, suffix);
    d.row.put_str(d.registers.companies.code(d.rng.draw())?.as_str());
    d.row.put(decimal(d.rng.between(10, 80_000) * 1_000_000, 2));
    d.row.put_if(d.rng.chance(80), decimal(d.rng.between(50_000, 30_000_000), 2));
    d.row.put_if(d.rng.chance(85), started);
    if d.rng.chance(50) {
        features::polygon(d.row, d.rng, 1_500);
    } else {
        d.row.absent();
    }
    remark(d.row, d.rng);
    Ok(())
}

impl Draft<'_> {
    /// The `who`th person of this resource; resources begin at different places of the register.
    fn someone(&self, who: u64) -> crate::city::people::Person {
        self.registers.people.person(u64::from(self.number) * 7_919 + who)
    }
}

/// Free text, often absent, sometimes with a line break within.
fn remark(row: &mut Row, rng: &mut Rng) {
    row.put_str(match rng.below(10) {
        0 => "示例备注，仅供测试。",
        1 => "第一行：示例\n第二行：测试",
        2 => "材料齐全",
        _ => "",
    });
}
