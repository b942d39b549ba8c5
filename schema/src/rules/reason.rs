//! Why a row is rejected.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::IdError;

/// Why a value, and with it its row, is rejected. The numbers stand in the wire protocol, the log
/// and quarantine files: they never change, new ones are added at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u16)]
pub enum RejectReason {
    /// A required value is absent.
    Missing = 1,
    /// The value is not of the item's type, or not in its canonical form.
    Type = 2,
    /// The value is longer than the item allows, or an identifier has not its fixed length.
    Length = 3,
    /// The check digit of an identifier is wrong.
    CheckDigit = 4,
    /// A date or time does not exist.
    Date = 5,
    /// The text is not valid in its encoding.
    Encoding = 6,
    /// A control character where none may stand.
    ControlCharacter = 7,
    /// Another row of the same snapshot or batch has the key.
    DuplicateKey = 8,
    /// The key is longer than keys may be.
    KeyTooLong = 9,
    /// The value is larger than a field may be.
    FieldTooLong = 10,
    /// The geometry cannot be read or is outside the range of coordinates.
    Geometry = 11,
    /// The row names a field that the entry does not have.
    UnknownField = 12,
}

impl RejectReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::Missing,
        Self::Type,
        Self::Length,
        Self::CheckDigit,
        Self::Date,
        Self::Encoding,
        Self::ControlCharacter,
        Self::DuplicateKey,
        Self::KeyTooLong,
        Self::FieldTooLong,
        Self::Geometry,
        Self::UnknownField,
    ];

    /// The number of the reason.
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// From the number; `None` for one that this version does not know.
    #[must_use]
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// In Chinese, for the person who corrects the row.
    #[must_use]
    pub const fn zh(self) -> &'static str {
        match self {
            Self::Missing => "必填项缺失",
            Self::Type => "数据类型不符",
            Self::Length => "长度不符",
            Self::CheckDigit => "校验码错误",
            Self::Date => "日期不存在",
            Self::Encoding => "编码错误",
            Self::ControlCharacter => "含控制字符",
            Self::DuplicateKey => "主键重复",
            Self::KeyTooLong => "主键过长",
            Self::FieldTooLong => "字段过长",
            Self::Geometry => "几何数据无效",
            Self::UnknownField => "未知字段",
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Missing => "a required value is missing",
            Self::Type => "not a value of the item's type",
            Self::Length => "wrong length",
            Self::CheckDigit => "wrong check digit",
            Self::Date => "the date or time does not exist",
            Self::Encoding => "not valid in its encoding",
            Self::ControlCharacter => "holds a control character",
            Self::DuplicateKey => "the key appears twice",
            Self::KeyTooLong => "the key is too long",
            Self::FieldTooLong => "the value is too large",
            Self::Geometry => "not a geometry that can be stored",
            Self::UnknownField => "the field is not in the catalogue entry",
        })
    }
}

impl From<IdError> for RejectReason {
    fn from(error: IdError) -> Self {
        match error {
            IdError::Length => Self::Length,
            IdError::Character | IdError::Structure => Self::Type,
            IdError::CheckDigit => Self::CheckDigit,
            IdError::Date => Self::Date,
        }
    }
}
