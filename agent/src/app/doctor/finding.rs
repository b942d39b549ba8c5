//! What the doctor finds: found, means, do – in both languages.

use hutong_schema::explain::{Language, StableCode, page};
use serde::Serialize;

/// One text in both languages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    en: String,
    zh: String,
}

/// A text from its two versions.
pub(super) fn text(en: impl Into<String>, zh: impl Into<String>) -> Text {
    Text { en: en.into(), zh: zh.into() }
}

impl Text {
    /// In one language.
    pub fn of(&self, language: Language) -> &str {
        match language {
            Language::English => &self.en,
            Language::Chinese => &self.zh,
        }
    }
}

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nobody: it is as it should be.
    Fine,
    /// Nobody yet: worth knowing, or it mends itself.
    Note,
    /// A person.
    Person,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// The agent's process.
    Agent,
    /// The way to the hub.
    Network,
    /// This machine's clock.
    Clock,
    /// A node's certificate and connection.
    Node,
    /// The state folder.
    State,
    /// The outbox.
    Outbox,
    /// A source.
    Source,
    /// A sink.
    Sink,
}

impl Area {
    /// For a person.
    pub fn name(self, language: Language) -> &'static str {
        let (en, zh) = match self {
            Self::Agent => ("agent", "代理"),
            Self::Network => ("network", "网络"),
            Self::Clock => ("clock", "时钟"),
            Self::Node => ("node", "节点"),
            Self::State => ("state folder", "状态目录"),
            Self::Outbox => ("outbox", "发件箱"),
            Self::Source => ("source", "数据源"),
            Self::Sink => ("sink", "接收端"),
        };
        match language {
            Language::English => en,
            Language::Chinese => zh,
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Who has to act.
    pub level: Level,
    /// What was looked at.
    pub area: Area,
    /// Which one of them.
    pub subject: Option<String>,
    /// What is so.
    pub found: Text,
    /// What that means.
    pub means: Option<Text>,
    /// What to do.
    pub act: Option<Text>,
    /// Its stable code, for `hutong-agent explain`.
    pub code: Option<StableCode>,
}

impl Finding {
    fn new(level: Level, area: Area, found: Text) -> Self {
        Self { level, area, subject: None, found, means: None, act: None, code: None }
    }

    /// It is as it should be.
    pub(super) fn fine(area: Area, found: Text) -> Self {
        Self::new(Level::Fine, area, found)
    }

    /// Worth knowing.
    pub(super) fn note(area: Area, found: Text, means: Text, act: Text) -> Self {
        let plain = Self::new(Level::Note, area, found);
        Self { means: Some(means), act: Some(act), ..plain }
    }

    /// A person has to act.
    pub(super) fn person(area: Area, found: Text, means: Text, act: Text) -> Self {
        Self { level: Level::Person, ..Self::note(area, found, means, act) }
    }

    /// Words of another part of the agent. If they name a code, its page says what it means and what
    /// to do; else `means` and `act` do.
    pub(super) fn told(area: Area, said: &str, means: Text, act: Text) -> Self {
        let finding = Self::person(area, text(said, said), means, act);
        match code_in(said) {
            Some(code) => finding.with_page(code),
            None => finding,
        }
    }

    /// Which one.
    pub(super) fn of(self, subject: impl ToString) -> Self {
        Self { subject: Some(subject.to_string()), ..self }
    }

    fn with_page(self, code: StableCode) -> Self {
        let part = |nth: usize| {
            let of = |language| page(code, language)?.text.split("\n\n").nth(nth);
            Some(text(of(Language::English)?, of(Language::Chinese)?))
        };
        let bare = |said: Text| {
            text(
                said.en.strip_prefix("Do: ").unwrap_or(&said.en),
                said.zh.strip_prefix("处理：").unwrap_or(&said.zh),
            )
        };
        let (means, act) = (part(0).or(self.means), part(2).map(bare).or(self.act));
        Self { code: Some(code), means, act, ..self }
    }
}

/// The first stable code in a text.
fn code_in(said: &str) -> Option<StableCode> {
    said.match_indices("HT-").find_map(|(at, _)| said.get(at..at + 7)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_a_code_bring_its_page_in_both_languages() {
        let said = "the other side refuses us: HT-2005: the certificate 1f is revoked";
        let finding = Finding::told(Area::Node, said, text("", ""), text("", ""));
        assert_eq!(finding.code, Some("HT-2005".parse().unwrap()));
        let (means, act) = (finding.means.unwrap(), finding.act.unwrap());
        for language in Language::ALL {
            assert!(means.of(language).len() > 20 && act.of(language).len() > 20, "{act:?}");
        }
        assert!(!act.of(Language::English).starts_with("Do:"));
        assert!(!act.of(Language::Chinese).starts_with("处理"));
        let unknown = ["HT-", "0000 and HT-"].concat();
        let plain = Finding::told(Area::Node, &unknown, text("m", "m"), text("a", "a"));
        assert_eq!((plain.code, plain.means), (None, Some(text("m", "m"))));
    }
}
