//! Names, addresses and numbers that nobody can mistake for real ones, yet varied enough to make
//! indexes and compression work as they would on real data.

use std::fmt::Write as _;

use super::rng::Rng;
use super::row::Row;

/// A county-level division of the reference city.
#[derive(Clone, Copy, Debug)]
pub struct Division {
    /// GB/T 2260 code (STANDARDS §4).
    pub code: u32,
    /// Its name.
    pub name: &'static str,
    /// Its share of the city's people.
    pub weight: u64,
}

/// The city as a whole, GB/T 2260.
pub const CITY_DIVISION: u32 = 211_200;

/// The city's seven divisions, one county unit each.
pub const DIVISIONS: [Division; 7] = [
    Division { code: 211_202, name: "银州区", weight: 36 },
    Division { code: 211_204, name: "清河区", weight: 9 },
    Division { code: 211_221, name: "铁岭县", weight: 30 },
    Division { code: 211_223, name: "西丰县", weight: 26 },
    Division { code: 211_224, name: "昌图县", weight: 80 },
    Division { code: 211_281, name: "调兵山市", weight: 20 },
    Division { code: 211_282, name: "开原市", weight: 48 },
];

/// One of the seven divisions.
pub fn any_division(rng: &mut Rng) -> &'static Division {
    &DIVISIONS[rng.below(DIVISIONS.len() as u64) as usize]
}

const SURNAMES: &[&str] = &[
    "王", "李", "张", "刘", "陈", "杨", "赵", "黄", "周", "吴", "徐", "孙", "胡", "朱", "高", "林",
    "何", "郭", "马", "罗", "梁", "宋", "郑", "谢", "韩", "唐", "冯", "于", "董", "萧", "程", "曹",
    "袁", "邓", "许", "傅", "沈", "曾", "彭", "吕", "苏", "卢", "蒋", "蔡", "贾", "丁", "魏", "薛",
    "叶", "阎", "余", "潘", "杜", "戴", "夏", "钟", "汪", "田", "任", "姜", "关", "那", "佟",
    "欧阳",
];

/// Every person and company carries one of these words.
const MARKERS: &[&str] = &["示例", "测试", "样例", "虚构", "演示"];

const SYLLABLES: &[&str] = &[
    "甲", "乙", "丙", "丁", "戊", "己", "庚", "辛", "壬", "癸", "子", "丑", "寅", "卯", "辰", "巳",
    "午", "未", "申", "酉", "戌", "亥",
];

/// A person's name such as 张示例甲, as one value.
pub fn person(row: &mut Row, rng: &mut Rng) {
    let text = row.text();
    text.push_str(rng.pick(SURNAMES));
    text.push_str(rng.pick(MARKERS));
    text.push_str(rng.pick(SYLLABLES));
    if rng.chance(70) {
        text.push_str(rng.pick(SYLLABLES));
    }
    row.end();
}

/// An address in a street that does not exist, as one value.
pub fn address(row: &mut Row, rng: &mut Rng, division: &Division) {
    let text = row.text();
    text.push_str("辽宁省铁岭市");
    text.push_str(division.name);
    text.push_str(rng.pick(MARKERS));
    text.push_str(rng.pick(&["街道", "镇", "乡"]));
    text.push_str(rng.pick(SYLLABLES));
    text.push_str(rng.pick(SYLLABLES));
    text.push_str(rng.pick(&["社区测试路", "社区示例街", "村样例巷", "社区演示大街"]));
    let (house, block, stairs) = (rng.between(1, 320), rng.between(1, 9), rng.between(1, 6));
    let (floor, door) = (rng.between(1, 18), rng.between(1, 4));
    let _ = write!(text, "{house}号{block}号楼{stairs}单元{floor}{door:02}室");
    row.end();
}

/// A telephone number: eleven digits that begin with 000, which no Chinese number does.
pub fn phone(row: &mut Row, rng: &mut Rng) {
    row.put(format_args!("000{:08}", rng.below(100_000_000)));
}

const TRADES: &[&str] = &[
    "商贸",
    "建材",
    "餐饮服务",
    "物流",
    "农业科技",
    "机械制造",
    "医药",
    "信息技术",
    "物业管理",
    "运输",
    "食品加工",
    "环保工程",
    "教育咨询",
    "供热",
    "矿山设备",
    "花卉种植",
];

/// A company's name such as 铁岭示例甲子商贸有限公司, as one value.
pub fn company(row: &mut Row, rng: &mut Rng) {
    let text = row.text();
    text.push_str("铁岭");
    text.push_str(rng.pick(MARKERS));
    text.push_str(rng.pick(SYLLABLES));
    text.push_str(rng.pick(SYLLABLES));
    text.push_str(rng.pick(SYLLABLES));
    text.push_str(rng.pick(TRADES));
    text.push_str(rng.pick(&["有限公司", "有限责任公司", "股份有限公司", "合作社", "经营部"]));
    row.end();
}

/// A place's name such as 示例甲广场, as one value.
pub fn place(row: &mut Row, rng: &mut Rng, suffix: &str) {
    let text = row.text();
    text.push_str(rng.pick(MARKERS));
    text.push_str(rng.pick(SYLLABLES));
    text.push_str(rng.pick(SYLLABLES));
    text.push_str(suffix);
    row.end();
}
