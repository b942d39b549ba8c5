//! The types and meanings of items.

use serde::{Deserialize, Serialize};

use super::UnknownCode;

/// 数据类型: the type of an item, in the letters of the national guide. How each is written as
/// canonical bytes is said in [`crate::rules`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "char", into = "char")]
pub enum DataType {
    /// C 字符
    Text,
    /// N 数值
    Number,
    /// Y 货币
    Money,
    /// D 日期
    Date,
    /// T 日期时间
    DateTime,
    /// L 逻辑
    Logical,
    /// M 备注
    Memo,
    /// G 通用, used for geometry
    Geometry,
    /// B 双精度
    Double,
    /// I 整型
    Integer,
    /// F 浮点
    Float,
}

impl DataType {
    /// All types, in the order of the guide.
    pub const ALL: [Self; 11] = [
        Self::Text,
        Self::Number,
        Self::Money,
        Self::Date,
        Self::DateTime,
        Self::Logical,
        Self::Memo,
        Self::Geometry,
        Self::Double,
        Self::Integer,
        Self::Float,
    ];

    /// The letter of the guide.
    #[must_use]
    pub const fn code(self) -> char {
        match self {
            Self::Text => 'C',
            Self::Number => 'N',
            Self::Money => 'Y',
            Self::Date => 'D',
            Self::DateTime => 'T',
            Self::Logical => 'L',
            Self::Memo => 'M',
            Self::Geometry => 'G',
            Self::Double => 'B',
            Self::Integer => 'I',
            Self::Float => 'F',
        }
    }

    /// From the letter of the guide, upper case.
    #[must_use]
    pub fn from_code(code: char) -> Option<Self> {
        Self::ALL.into_iter().find(|data_type| data_type.code() == code)
    }

    /// Whether values of this type can be compared as decimal numbers: their canonical form is an
    /// optional `-`, digits, and optionally a point and digits.
    #[must_use]
    pub const fn is_number(self) -> bool {
        match self {
            Self::Number | Self::Money | Self::Double | Self::Integer | Self::Float => true,
            Self::Text
            | Self::Date
            | Self::DateTime
            | Self::Logical
            | Self::Memo
            | Self::Geometry => false,
        }
    }

    /// Whether every canonical value of this type is a canonical value of `target`, so that a
    /// binding can copy it without conversion.
    #[must_use]
    pub fn fits(self, target: Self) -> bool {
        match target {
            Self::Text | Self::Memo => {
                matches!(self, Self::Text | Self::Memo | Self::Integer | Self::Logical)
            }
            Self::Number | Self::Money => self.is_number(),
            Self::Date
            | Self::DateTime
            | Self::Logical
            | Self::Geometry
            | Self::Double
            | Self::Integer
            | Self::Float => self == target,
        }
    }
}

impl From<DataType> for char {
    fn from(data_type: DataType) -> Self {
        data_type.code()
    }
}

impl TryFrom<char> for DataType {
    type Error = UnknownCode;

    fn try_from(code: char) -> Result<Self, UnknownCode> {
        Self::from_code(code).ok_or(UnknownCode { expected: "a data type: C N Y D T L M G B I F" })
    }
}

/// What a value means beyond its type. Variants are added at the end only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Semantic {
    /// GB 11643; a wrong check digit or date rejects the row.
    CitizenId,
    /// GB 32100; a wrong check character rejects the row.
    CreditCode,
    /// GB 11714; a wrong check character rejects the row. Canonical without the hyphen.
    OrganisationCode,
    /// GB/T 2260; findings only, since retired divisions stay in use.
    Division,
    /// GB/T 2261.1; findings only.
    Sex,
    /// GB/T 3304; findings only. One digit is padded to two.
    Ethnicity,
    /// GB/T 36904; a wrong structure or check character rejects the row.
    LicenceId,
    /// Date of birth; findings only, where a citizen identifier says otherwise.
    BirthDate,
    /// Name of a person or body.
    Name,
    /// Address.
    Address,
    /// Telephone number.
    Phone,
}

impl Semantic {
    /// Types that an item of this meaning may have.
    #[must_use]
    pub const fn allows(self, data_type: DataType) -> bool {
        match self {
            Self::CitizenId | Self::CreditCode | Self::OrganisationCode | Self::LicenceId => {
                matches!(data_type, DataType::Text)
            }
            Self::Division | Self::Sex | Self::Ethnicity => {
                matches!(data_type, DataType::Text | DataType::Integer)
            }
            Self::BirthDate => matches!(data_type, DataType::Date),
            Self::Name | Self::Address | Self::Phone => {
                matches!(data_type, DataType::Text | DataType::Memo)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_stand_in_files_as_letters() {
        for data_type in DataType::ALL {
            let json = serde_json::to_string(&data_type).expect("a letter");
            assert_eq!(json, format!("\"{}\"", data_type.code()));
            assert_eq!(serde_json::from_str::<DataType>(&json).expect("valid"), data_type);
            assert!(data_type.fits(data_type));
        }
        assert!(serde_json::from_str::<DataType>("\"Q\"").is_err());
    }

    #[test]
    fn only_values_that_need_no_conversion_fit() {
        assert!(DataType::Integer.fits(DataType::Money));
        assert!(DataType::Integer.fits(DataType::Text));
        assert!(!DataType::Number.fits(DataType::Integer));
        assert!(!DataType::Text.fits(DataType::Date));
        assert!(!DataType::Date.fits(DataType::DateTime));
        assert!(!DataType::Geometry.fits(DataType::Text));
    }
}
