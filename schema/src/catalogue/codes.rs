//! The coded lists of the national guide. In files each stands as its number.

use serde::{Deserialize, Serialize};

/// A code that is not in its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct UnknownCode {
    /// What the list holds.
    pub expected: &'static str,
}

macro_rules! numbered {
    ($name:ident, $expected:literal, $($number:literal => $variant:ident $zh:literal),+ $(,)?) => {
        impl $name {
            /// All values, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The number in the guide.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self { $(Self::$variant => $number),+ }
            }

            /// The word of the guide.
            #[must_use]
            pub const fn zh(self) -> &'static str {
                match self { $(Self::$variant => $zh),+ }
            }
        }

        impl From<$name> for u8 {
            fn from(value: $name) -> u8 {
                value.code()
            }
        }

        impl TryFrom<u8> for $name {
            type Error = UnknownCode;

            fn try_from(code: u8) -> Result<Self, UnknownCode> {
                match code {
                    $($number => Ok(Self::$variant),)+
                    _ => Err(UnknownCode { expected: $expected }),
                }
            }
        }
    };
}

/// 数据格式
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Format {
    /// 1 电子文件
    File,
    /// 2 电子表格
    Spreadsheet,
    /// 3 数据库
    Database,
    /// 4 图形图像
    Image,
    /// 5 流媒体
    Stream,
    /// 6 自描述
    SelfDescribing,
    /// 7 服务接口, a common local addition
    Service,
}

numbered!(Format, "a format: 1 to 7",
    1 => File "电子文件", 2 => Spreadsheet "电子表格", 3 => Database "数据库", 4 => Image "图形图像",
    5 => Stream "流媒体", 6 => SelfDescribing "自描述格式", 7 => Service "服务接口",
);

/// 共享类型
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum SharingKind {
    /// 1 无条件共享
    Unconditional,
    /// 2 有条件共享
    Conditional,
    /// 3 不予共享
    Refused,
}

numbered!(SharingKind, "a kind of sharing: 1 to 3",
    1 => Unconditional "无条件共享", 2 => Conditional "有条件共享", 3 => Refused "不予共享",
);

/// 更新周期. The guide lets installations extend the list; further values are added here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum UpdateCycle {
    /// 1 实时
    RealTime,
    /// 2 每日
    Daily,
    /// 3 每周
    Weekly,
    /// 4 每月
    Monthly,
    /// 5 每季度
    Quarterly,
    /// 6 每年
    Yearly,
    /// 7 不定期, a common local addition
    Irregular,
}

numbered!(UpdateCycle, "an update cycle: 1 to 7",
    1 => RealTime "实时", 2 => Daily "每日", 3 => Weekly "每周", 4 => Monthly "每月",
    5 => Quarterly "每季度", 6 => Yearly "每年", 7 => Irregular "不定期",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip_and_unknown_ones_are_refused() {
        for code in 1..=7 {
            assert_eq!(Format::try_from(code).map(u8::from), Ok(code));
            assert_eq!(UpdateCycle::try_from(code).map(u8::from), Ok(code));
        }
        for kind in SharingKind::ALL {
            assert_eq!(SharingKind::try_from(kind.code()), Ok(*kind));
        }
        assert!(SharingKind::try_from(0).is_err());
        assert!(serde_json::from_str::<Format>("8").is_err());
        assert!(serde_json::from_str::<UpdateCycle>("256").is_err());
    }
}
