//! The 108 units: 101 municipal departments and 7 counties, each with one front-end machine.

use serde::{Deserialize, Serialize};

use super::names::{CITY_DIVISION, DIVISIONS};

/// What a unit is needed for by name; most units have no part of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Provides the population library.
    PublicSecurity,
    /// Provides the legal-person library.
    MarketRegulation,
    /// Provides the geospatial library.
    NaturalResources,
    /// The authority (主管部门), which reviews catalogues and oversees sharing.
    DataAuthority,
    /// Is granted the adults of the population library.
    SocialSecurity,
    /// Is granted the legal persons.
    Tax,
    /// Is granted the geography.
    Planning,
    /// A county; each is granted its own people.
    County,
}

/// One unit before nodes and entries are given to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    /// Short name, without the city.
    pub(super) name: &'static str,
    /// Its part, if it has one.
    pub(super) role: Option<Role>,
    /// How many nodes it runs in relation to the others.
    pub(super) weight: u64,
    /// Where it sits, GB/T 2260.
    pub(super) division: u32,
}

/// All units: those with a part first, then the other departments, then the counties.
pub(super) fn seats() -> Vec<Seat> {
    let department = |name, role, weight| Seat { name, role, weight, division: CITY_DIVISION };
    let named = NAMED.iter().map(|(name, role, weight)| department(name, Some(*role), *weight));
    let large = LARGE.iter().map(|name| department(name, None, 24));
    let medium = MEDIUM.iter().map(|name| department(name, None, 8));
    let small = SMALL.iter().map(|name| department(name, None, 3));
    let counties = DIVISIONS.iter().map(|division| Seat {
        name: division.name,
        role: Some(Role::County),
        weight: 12,
        division: division.code,
    });
    named.chain(large).chain(medium).chain(small).chain(counties).collect()
}

const NAMED: &[(&str, Role, u64)] = &[
    ("公安局", Role::PublicSecurity, 26),
    ("市场监督管理局", Role::MarketRegulation, 24),
    ("自然资源局", Role::NaturalResources, 24),
    ("数据局", Role::DataAuthority, 10),
    ("人力资源和社会保障局", Role::SocialSecurity, 26),
    ("税务局", Role::Tax, 14),
    ("城乡规划服务中心", Role::Planning, 6),
];

const LARGE: &[&str] = &[
    "教育局",
    "卫生健康委员会",
    "民政局",
    "住房和城乡建设局",
    "交通运输局",
    "医疗保障局",
    "农业农村局",
    "营商环境建设局",
];

const MEDIUM: &[&str] = &[
    "发展和改革委员会",
    "工业和信息化局",
    "科学技术局",
    "民族和宗教事务局",
    "司法局",
    "财政局",
    "生态环境局",
    "水利局",
    "商务局",
    "文化旅游和广播电视局",
    "退役军人事务局",
    "应急管理局",
    "审计局",
    "国有资产监督管理委员会",
    "统计局",
    "林业和草原局",
    "城市管理综合执法局",
    "住房公积金管理中心",
    "残疾人联合会",
    "气象局",
    "烟草专卖局",
    "消防救援支队",
    "邮政管理局",
    "不动产登记中心",
    "公共资源交易中心",
    "供水集团",
    "供热集团",
    "公共交通集团",
    "供电分公司",
    "燃气集团",
];

const SMALL: &[&str] = &[
    "体育局",
    "信访局",
    "档案馆",
    "地震台",
    "机关事务管理局",
    "乡村振兴局",
    "粮食和物资储备局",
    "金融发展局",
    "人民防空办公室",
    "外事办公室",
    "侨务办公室",
    "台湾事务办公室",
    "编制委员会办公室",
    "机要保密局",
    "总工会",
    "共青团委员会",
    "妇女联合会",
    "科学技术协会",
    "工商业联合会",
    "文学艺术界联合会",
    "红十字会",
    "贸易促进委员会",
    "供销合作社",
    "中级法院",
    "检察院",
    "图书馆",
    "博物馆",
    "群众艺术馆",
    "广播电视台",
    "日报社",
    "疾病预防控制中心",
    "中心血站",
    "急救中心",
    "妇幼保健院",
    "中心医院",
    "中医医院",
    "传染病医院",
    "师范专科学校",
    "职业技术学院",
    "技师学院",
    "第一中学",
    "特殊教育学校",
    "老年大学",
    "农业科学院",
    "畜牧兽医中心",
    "农产品检测中心",
    "水文局",
    "公路管理处",
    "道路运输管理处",
    "环境监测中心",
    "建设工程质量监督站",
    "园林管理处",
    "市政设施管理处",
    "环境卫生管理处",
    "殡葬管理处",
    "救助管理站",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_101_departments_and_7_counties_with_names_of_their_own() {
        let seats = seats();
        let counties = seats.iter().filter(|seat| seat.role == Some(Role::County)).count();
        assert_eq!((seats.len() - counties, counties), (101, 7));
        let names: std::collections::BTreeSet<_> = seats.iter().map(|seat| seat.name).collect();
        assert_eq!(names.len(), seats.len());
    }
}
