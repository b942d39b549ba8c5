//! Small code lists: sex (GB/T 2261.1) and ethnicity (GB/T 3304). Values outside a list are stored
//! as they came and raise a quality finding; they are never a reason to reject a row.

/// Sex, GB/T 2261.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sex {
    /// 0 未知
    Unknown,
    /// 1 男
    Male,
    /// 2 女
    Female,
    /// 9 未说明
    Unstated,
}

impl Sex {
    /// The code, one digit.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Unknown => "0",
            Self::Male => "1",
            Self::Female => "2",
            Self::Unstated => "9",
        }
    }

    /// The word in Chinese.
    #[must_use]
    pub fn zh(self) -> &'static str {
        match self {
            Self::Unknown => "未知",
            Self::Male => "男",
            Self::Female => "女",
            Self::Unstated => "未说明",
        }
    }

    /// From the code; `None` for a value outside the list.
    #[must_use]
    pub fn from_code(code: &[u8]) -> Option<Self> {
        match code {
            b"0" => Some(Self::Unknown),
            b"1" => Some(Self::Male),
            b"2" => Some(Self::Female),
            b"9" => Some(Self::Unstated),
            _ => None,
        }
    }
}

/// Ethnicity, GB/T 3304: 1..=56, 97 (others) and 98 (naturalised), written with two digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ethnicity(u8);

const ETHNICITIES: [&str; 56] = [
    "汉族",
    "蒙古族",
    "回族",
    "藏族",
    "维吾尔族",
    "苗族",
    "彝族",
    "壮族",
    "布依族",
    "朝鲜族",
    "满族",
    "侗族",
    "瑶族",
    "白族",
    "土家族",
    "哈尼族",
    "哈萨克族",
    "傣族",
    "黎族",
    "傈僳族",
    "佤族",
    "畲族",
    "高山族",
    "拉祜族",
    "水族",
    "东乡族",
    "纳西族",
    "景颇族",
    "柯尔克孜族",
    "土族",
    "达斡尔族",
    "仫佬族",
    "羌族",
    "布朗族",
    "撒拉族",
    "毛南族",
    "仡佬族",
    "锡伯族",
    "阿昌族",
    "普米族",
    "塔吉克族",
    "怒族",
    "乌孜别克族",
    "俄罗斯族",
    "鄂温克族",
    "德昂族",
    "保安族",
    "裕固族",
    "京族",
    "塔塔尔族",
    "独龙族",
    "鄂伦春族",
    "赫哲族",
    "门巴族",
    "珞巴族",
    "基诺族",
];

impl Ethnicity {
    /// From the number; `None` outside the list.
    #[must_use]
    pub fn new(number: u8) -> Option<Self> {
        matches!(number, 1..=56 | 97 | 98).then_some(Self(number))
    }

    /// From one or two digits (`"1"` and `"01"` are the same); `None` outside the list.
    #[must_use]
    pub fn from_code(code: &[u8]) -> Option<Self> {
        let number = match code {
            [ones @ b'0'..=b'9'] => ones - b'0',
            [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => (tens - b'0') * 10 + ones - b'0',
            _ => return None,
        };
        Self::new(number)
    }

    /// The canonical code, two ASCII digits.
    #[must_use]
    pub fn code(self) -> [u8; 2] {
        [b'0' + self.0 / 10, b'0' + self.0 % 10]
    }

    /// The name in Chinese.
    #[must_use]
    pub fn zh(self) -> &'static str {
        match self.0 {
            97 => "其他",
            98 => "外国血统中国籍人士",
            number => ETHNICITIES[usize::from(number) - 1],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sexes_round_trip() {
        for sex in [Sex::Unknown, Sex::Male, Sex::Female, Sex::Unstated] {
            assert_eq!(Sex::from_code(sex.code().as_bytes()), Some(sex));
            assert!(!sex.zh().is_empty());
        }
        assert_eq!(Sex::from_code("男".as_bytes()), None);
    }

    #[test]
    fn ethnicities_are_padded_and_named() {
        assert_eq!(Ethnicity::from_code(b"1").map(Ethnicity::code), Some(*b"01"));
        assert_eq!(Ethnicity::from_code(b"56").map(Ethnicity::zh), Some("基诺族"));
        for number in 0..=255u8 {
            if let Some(ethnicity) = Ethnicity::new(number) {
                assert_eq!(Ethnicity::from_code(&ethnicity.code()), Some(ethnicity));
                assert!(!ethnicity.zh().is_empty());
            }
        }
        for bad in ["0", "00", "57", "96", "99", "001", "", "x"] {
            assert_eq!(Ethnicity::from_code(bad.as_bytes()), None, "{bad}");
        }
    }
}
