//! The text form of row filters, for people:
//!
//! ```text
//! hjqh = "211221" and age(csrq) >= 18
//! qh in ("211202", "211204") or not present(zt)
//! qh starts "2112" and zczb > 1000000
//! ```
//!
//! Fields are named by their machine name or label. `and` binds closer than `or`.

use crate::{
    catalogue::{DataType, Item},
    limits::{FILTER_DEPTH_MAX, FILTER_TERMS_MAX},
    row::FieldId,
};

use super::filter::{RowFilter, Scalar};

/// What is wrong with a filter's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter, character {at}: {what}")]
pub struct FilterSyntax {
    /// Position, characters from 1.
    pub at: usize,
    /// What was found and what is expected.
    pub what: String,
}

impl RowFilter {
    /// Reads the text form against the items of a resource or library.
    ///
    /// # Errors
    /// With the position of the first mistake and what is expected there.
    pub fn parse(text: &str, items: &[Item]) -> Result<Self, FilterSyntax> {
        let mut parser =
            Parser { tokens: tokens(text)?, at: 0, terms: 0, end: text.chars().count() + 1, items };
        let filter = parser.any(0)?;
        match parser.peek() {
            None => Ok(filter),
            Some(token) => {
                Err(parser.wrong(format!("expected \"and\", \"or\" or the end, found {token}")))
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Sign(&'static str),
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Word(word) => write!(f, "\"{word}\""),
            Self::Text(text) => write!(f, "the text '{text}'"),
            Self::Sign(sign) => write!(f, "\"{sign}\""),
        }
    }
}

const SIGNS: [&str; 9] = ["!=", "<=", ">=", "=", "<", ">", "(", ")", ","];

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, FilterSyntax> {
    let characters: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&first) = characters.get(at) {
        let start = at;
        if first.is_whitespace() {
            at += 1;
            continue;
        }
        let rest: String = characters[at..].iter().take(2).collect();
        let token = if first == '"' || first == '\'' {
            let length =
                characters[at + 1..].iter().position(|other| *other == first).ok_or_else(|| {
                    FilterSyntax { at: start + 1, what: "this text has no closing quote".into() }
                })?;
            at += length + 2;
            Token::Text(characters[start + 1..at - 1].iter().collect())
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            at += sign.len();
            Token::Sign(sign)
        } else if is_word(first) {
            while characters.get(at).copied().is_some_and(is_word) {
                at += 1;
            }
            Token::Word(characters[start..at].iter().collect())
        } else {
            return Err(FilterSyntax {
                at: start + 1,
                what: format!("'{first}' has no meaning here"),
            });
        };
        tokens.push((start + 1, token));
    }
    Ok(tokens)
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-' | '.')
}

struct Parser<'i> {
    tokens: Vec<(usize, Token)>,
    at: usize,
    terms: usize,
    end: usize,
    items: &'i [Item],
}

impl Parser<'_> {
    fn any(&mut self, depth: usize) -> Result<RowFilter, FilterSyntax> {
        let mut parts = vec![self.all(depth)?];
        while self.word("or") {
            parts.push(self.all(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { RowFilter::Any(parts) })
    }

    fn all(&mut self, depth: usize) -> Result<RowFilter, FilterSyntax> {
        let mut parts = vec![self.part(depth)?];
        while self.word("and") {
            parts.push(self.part(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { RowFilter::All(parts) })
    }

    fn part(&mut self, depth: usize) -> Result<RowFilter, FilterSyntax> {
        self.terms += 1;
        if depth > FILTER_DEPTH_MAX || self.terms > FILTER_TERMS_MAX {
            return Err(self.wrong("the filter is too deep or too long".into()));
        }
        if self.word("not") {
            return Ok(RowFilter::Not(Box::new(self.part(depth + 1)?)));
        }
        if self.sign("(") {
            let inner = self.any(depth + 1)?;
            self.expect(")")?;
            return Ok(inner);
        }
        if self.call("present") {
            let (field, _) = self.field()?;
            self.expect(")")?;
            return Ok(RowFilter::Present(field));
        }
        if self.call("age") {
            return self.age();
        }
        self.comparison()
    }

    fn age(&mut self) -> Result<RowFilter, FilterSyntax> {
        let (field, data_type) = self.field()?;
        if !matches!(data_type, DataType::Date | DataType::DateTime) {
            return Err(self.wrong("age() needs a date".into()));
        }
        self.expect(")")?;
        let at_least = self.sign(">=");
        if !at_least && !self.sign("<") {
            return Err(self.wrong("after age() comes >= or <".into()));
        }
        let years = match self.next() {
            Some(Token::Word(word)) => word.parse::<u16>().ok(),
            Some(Token::Text(_) | Token::Sign(_)) | None => None,
        };
        let years =
            years.ok_or_else(|| self.wrong("a whole number of years is expected".into()))?;
        let filter = RowFilter::AgeAtLeast(field, years);
        Ok(if at_least { filter } else { RowFilter::Not(Box::new(filter)) })
    }

    fn comparison(&mut self) -> Result<RowFilter, FilterSyntax> {
        let (field, data_type) = self.field()?;
        if data_type == DataType::Geometry {
            return Err(self.wrong("a geometry cannot be compared".into()));
        }
        if self.word("in") {
            self.expect("(")?;
            let mut values = vec![self.literal(data_type)?];
            while self.sign(",") {
                values.push(self.literal(data_type)?);
            }
            self.expect(")")?;
            return Ok(RowFilter::In(field, values));
        }
        if self.word("starts") {
            return match self.next() {
                Some(Token::Text(text)) => Ok(RowFilter::Starts(field, text)),
                Some(Token::Word(_) | Token::Sign(_)) | None => {
                    Err(self.wrong("after \"starts\" comes a text in quotes".into()))
                }
            };
        }
        let not = |filter| RowFilter::Not(Box::new(filter));
        let both = |filter| RowFilter::All(vec![RowFilter::Present(field), not(filter)]);
        match self.next() {
            Some(Token::Sign("=")) => Ok(RowFilter::In(field, vec![self.literal(data_type)?])),
            Some(Token::Sign("!=")) => {
                Ok(not(RowFilter::In(field, vec![self.literal(data_type)?])))
            }
            Some(Token::Sign(">=")) => Ok(RowFilter::AtLeast(field, self.literal(data_type)?)),
            Some(Token::Sign("<=")) => Ok(RowFilter::AtMost(field, self.literal(data_type)?)),
            Some(Token::Sign(">")) => Ok(both(RowFilter::AtMost(field, self.literal(data_type)?))),
            Some(Token::Sign("<")) => Ok(both(RowFilter::AtLeast(field, self.literal(data_type)?))),
            Some(_) | None => Err(self.wrong("expected =, !=, <, <=, >, >=, in or starts".into())),
        }
    }

    fn field(&mut self) -> Result<(FieldId, DataType), FilterSyntax> {
        let Some(Token::Word(name)) = self.next() else {
            return Err(self.wrong("the name of a field is expected".into()));
        };
        match self.items.iter().find(|item| item.name == name || item.label == name) {
            Some(item) => Ok((item.id, item.data_type)),
            None => {
                let known: Vec<_> = self.items.iter().map(|item| item.name.as_str()).collect();
                Err(self.wrong(format!(
                    "there is no field \"{name}\"; the fields are {}",
                    known.join(", ")
                )))
            }
        }
    }

    fn literal(&mut self, data_type: DataType) -> Result<Scalar, FilterSyntax> {
        let text = match self.next() {
            Some(Token::Text(text)) => text,
            Some(Token::Word(word)) => word,
            Some(Token::Sign(_)) | None => return Err(self.wrong("a value is expected".into())),
        };
        if !data_type.is_number() {
            return Ok(Scalar::Text(text));
        }
        match text.parse::<f64>() {
            Ok(_) => Ok(Scalar::Number(text)),
            Err(_) => Err(self.wrong(format!("'{text}' is not a number"))),
        }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    fn word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(other)) if other == word);
        self.at += usize::from(found);
        found
    }

    fn sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(other)) if *other == sign);
        self.at += usize::from(found);
        found
    }

    /// `name (`: a field may have the same name as a function.
    fn call(&mut self, name: &str) -> bool {
        let is_call = matches!(self.peek(), Some(Token::Word(word)) if word == name)
            && matches!(self.tokens.get(self.at + 1), Some((_, Token::Sign("("))));
        self.at += if is_call { 2 } else { 0 };
        is_call
    }

    fn expect(&mut self, sign: &str) -> Result<(), FilterSyntax> {
        if self.sign(sign) { Ok(()) } else { Err(self.wrong(format!("expected \"{sign}\""))) }
    }

    fn wrong(&self, what: String) -> FilterSyntax {
        let at = self.tokens.get(self.at.min(self.tokens.len())).map_or(self.end, |(at, _)| *at);
        FilterSyntax { at, what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::{self, LibraryId};
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<RowFilter, FilterSyntax> {
        RowFilter::parse(text, &library::definition(LibraryId::POPULATION).unwrap().items)
    }

    #[test]
    fn the_documented_forms_are_read() {
        let division = |code: &str| RowFilter::In(FieldId(6), vec![Scalar::Text(code.into())]);
        assert_eq!(
            parse("hjqh = \"211221\" and age(csrq) >= 18"),
            Ok(RowFilter::All(vec![division("211221"), RowFilter::AgeAtLeast(FieldId(5), 18)]))
        );
        assert_eq!(
            parse("not present(lxdh) or hjqh starts '2112'"),
            Ok(RowFilter::Any(vec![
                RowFilter::Not(Box::new(RowFilter::Present(FieldId(9)))),
                RowFilter::Starts(FieldId(6), "2112".into()),
            ]))
        );
    }

    #[test]
    fn mistakes_are_placed_and_explained() {
        let mistake = parse("hjqh = '211221' and nosuch = 1").unwrap_err();
        assert!(mistake.what.contains("no field \"nosuch\""), "{mistake}");
        assert!(parse("").is_err());
        assert!(parse("hjqh =").is_err());
        assert!(parse("age(xm) >= 18").unwrap_err().what.contains("date"));
        assert!(parse("hjqh = 'open").unwrap_err().what.contains("closing quote"));
        assert!(parse(&"(".repeat(100_000)).is_err());
        assert!(parse(&"not ".repeat(100_000)).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,60}") {
            let _ = parse(&text);
        }
    }
}
