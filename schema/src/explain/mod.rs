//! What each stable code means, where to look and what to do: a page per code, in both languages. The
//! pages are `en.md` and `zh.md` beside this file.

use std::{fmt, str::FromStr};

const ENGLISH: &str = include_str!("en.md");
const CHINESE: &str = include_str!("zh.md");

/// Begins a page: the code follows, then its title.
const HEAD: &str = "\n## ";

/// A stable code, written `HT-1107`. Its number never gets another meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StableCode(u16);

/// A text is no stable code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a code is written HT- and four digits, such as HT-1107")]
pub struct NoStableCode;

impl StableCode {
    /// The code of a refusal's number.
    ///
    /// # Errors
    /// When the number does not have four digits.
    pub fn new(number: u16) -> Result<Self, NoStableCode> {
        if (1_000..=9_999).contains(&number) { Ok(Self(number)) } else { Err(NoStableCode) }
    }
}

impl FromStr for StableCode {
    type Err = NoStableCode;

    /// With or without `HT-`, in any case: people type it from a page or from memory.
    fn from_str(text: &str) -> Result<Self, NoStableCode> {
        let digits = match text.get(..3) {
            Some(head) if head.eq_ignore_ascii_case("HT-") => &text[3..],
            Some(_) | None => text,
        };
        if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NoStableCode);
        }
        Self::new(digits.parse().map_err(|_| NoStableCode)?)
    }
}

impl fmt::Display for StableCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HT-{:04}", self.0)
    }
}

/// The language of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// `en`
    English,
    /// `zh`
    Chinese,
}

/// A text names no language that there are pages in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the languages are en and zh")]
pub struct NoLanguage;

impl Language {
    /// Both.
    pub const ALL: [Self; 2] = [Self::English, Self::Chinese];

    /// The language of a locale such as `zh_CN.UTF-8`; English for all that are not Chinese.
    pub fn of_locale(locale: &str) -> Self {
        if locale.starts_with("zh") { Self::Chinese } else { Self::English }
    }

    fn text(self) -> &'static str {
        match self {
            Self::English => ENGLISH,
            Self::Chinese => CHINESE,
        }
    }
}

impl FromStr for Language {
    type Err = NoLanguage;

    fn from_str(text: &str) -> Result<Self, NoLanguage> {
        match text {
            "en" => Ok(Self::English),
            "zh" => Ok(Self::Chinese),
            _ => Err(NoLanguage),
        }
    }
}

/// What there is to say about one code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The code.
    pub code: StableCode,
    /// What it means, in a few words.
    pub title: &'static str,
    /// What it means, where to look and what to do: three paragraphs.
    pub text: &'static str,
}

/// All pages in a language, by ascending code.
pub fn pages(language: Language) -> impl Iterator<Item = Page> {
    language.text().split(HEAD).skip(1).filter_map(|page| {
        let (head, text) = page.split_once('\n')?;
        let (code, title) = head.split_once(' ')?;
        Some(Page { code: code.parse().ok()?, title, text: text.trim() })
    })
}

/// The page of a code.
pub fn page(code: StableCode, language: Language) -> Option<Page> {
    pages(language).find(|page| page.code == code)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::v1::RefusalCode;

    /// How the second and the third paragraph begin.
    fn labels(language: Language) -> [&'static str; 2] {
        match language {
            Language::English => ["Look: ", "Do: "],
            Language::Chinese => ["查看：", "处理："],
        }
    }

    #[test]
    fn every_page_says_what_it_means_where_to_look_and_what_to_do() {
        for language in Language::ALL {
            let heads = language.text().matches(HEAD).count();
            assert_eq!(pages(language).count(), heads, "a head that does not read: {language:?}");
            let codes: Vec<_> = pages(language).map(|page| page.code).collect();
            assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
            for page in pages(language) {
                let paragraphs: Vec<_> = page.text.split("\n\n").collect();
                let [means, look, act] = paragraphs[..] else { panic!("{page:?}") };
                assert!(!page.title.is_empty() && !means.is_empty(), "{page:?}");
                for (paragraph, label) in [look, act].iter().zip(labels(language)) {
                    let said = paragraph.strip_prefix(label);
                    assert!(said.is_some_and(|said| !said.is_empty()), "{page:?}");
                }
            }
        }
        let codes = |language| pages(language).map(|page| page.code).collect::<Vec<_>>();
        assert_eq!(codes(Language::English), codes(Language::Chinese));
    }

    #[test]
    fn every_refusal_has_a_page() {
        for refusal in RefusalCode::ALL {
            let code = StableCode::new(refusal.number()).unwrap();
            for language in Language::ALL {
                assert!(page(code, language).is_some(), "{code} has no page in {language:?}");
            }
        }
    }

    #[test]
    fn locales_choose_a_language() {
        assert_eq!(Language::of_locale("zh_CN.UTF-8"), Language::Chinese);
        for other in ["", "C.UTF-8", "en_GB.UTF-8", "de_DE"] {
            assert_eq!(Language::of_locale(other), Language::English);
        }
    }

    #[test]
    fn a_code_is_read_as_people_type_it() {
        let code = StableCode::new(1_107).unwrap();
        for good in ["HT-1107", "ht-1107", "1107"] {
            assert_eq!(good.parse(), Ok(code));
        }
        for bad in ["", "HT", "HT-", "HT-107", "HT-11070", "HT 1107", "HT-+107", "0107", "码-1107"]
        {
            assert_eq!(bad.parse::<StableCode>(), Err(NoStableCode), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn codes_read_as_they_are_written(number in 1_000u16..=9_999) {
            let code = StableCode::new(number).unwrap();
            prop_assert_eq!(code.to_string().parse(), Ok(code));
        }

        #[test]
        fn no_text_makes_reading_a_code_panic(text in "\\PC{0,8}") {
            let _ = text.parse::<StableCode>();
        }
    }
}
