//! What PostgreSQL's `pgoutput` plug-in tells, protocol version 1 (PostgreSQL documentation, "Logical
//! Replication Message Formats").

use std::fmt;
use std::str::FromStr;

/// A position in PostgreSQL's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (high, low) = text.split_once('/').unwrap_or(("", text));
        Ok(Self(u64::from_str_radix(high, 16)? << 32 | u64::from_str_radix(low, 16)?))
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A transaction ends; what follows lies behind this position.
    Commit(Lsn),
    /// How the rows of a table look from here on.
    Relation(Relation<'a>),
    /// A row came.
    Insert {
        /// The table's number.
        relation: u32,
        /// The row.
        new: Tuple<'a>,
    },
    /// A row changed.
    Update {
        /// The table's number.
        relation: u32,
        /// Its identity before, if that changed; the whole row with REPLICA IDENTITY FULL.
        old: Option<Tuple<'a>>,
        /// The row.
        new: Tuple<'a>,
    },
    /// A row went.
    Delete {
        /// The table's number.
        relation: u32,
        /// Its identity; the whole row with REPLICA IDENTITY FULL.
        old: Tuple<'a>,
    },
    /// Tables were emptied.
    Truncate(Vec<u32>),
    /// Something that does not matter here.
    Other,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation<'a> {
    /// Its number.
    pub id: u32,
    /// Its schema.
    pub schema: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Names and types (OIDs) of its columns.
    pub columns: Vec<(&'a str, u32)>,
}

/// The values of a row.
pub type Tuple<'a> = Vec<Value<'a>>;

/// A value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// NULL, or not part of the identity.
    Null,
    /// A large value that did not change, and is not told.
    Unchanged,
    /// Its text.
    Text(&'a str),
}

/// A message does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of the replication slot does not read")]
pub struct Unreadable;

/// Reads a message.
///
/// # Errors
/// When it is not of the form that version 1 has.
pub fn read(bytes: &[u8]) -> Result<Message<'_>, Unreadable> {
    let mut input = Input(bytes);
    let message = match input.byte()? {
        b'C' => {
            input.take(1 + 8)?;
            let end = u64::from_be_bytes(input.array()?);
            input.take(8)?;
            Message::Commit(Lsn(end))
        }
        b'R' => Message::Relation(input.relation()?),
        b'I' => {
            let relation = input.number()?;
            if input.byte()? != b'N' {
                return Err(Unreadable);
            }
            Message::Insert { relation, new: input.tuple()? }
        }
        b'U' => {
            let relation = input.number()?;
            let (old, new) = match input.byte()? {
                b'N' => (None, input.tuple()?),
                b'K' | b'O' => {
                    let old = input.tuple()?;
                    if input.byte()? != b'N' {
                        return Err(Unreadable);
                    }
                    (Some(old), input.tuple()?)
                }
                _ => return Err(Unreadable),
            };
            Message::Update { relation, old, new }
        }
        b'D' => {
            let relation = input.number()?;
            if !matches!(input.byte()?, b'K' | b'O') {
                return Err(Unreadable);
            }
            Message::Delete { relation, old: input.tuple()? }
        }
        b'T' => {
            let count = input.number()?;
            input.take(1)?;
            let relations: Result<_, _> = (0..count).map(|_| input.number()).collect();
            Message::Truncate(relations?)
        }
        _ => return Ok(Message::Other),
    };
    if input.0.is_empty() { Ok(message) } else { Err(Unreadable) }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Unreadable> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Unreadable)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        self.take(N)?.try_into().map_err(|_| Unreadable)
    }

    fn byte(&mut self) -> Result<u8, Unreadable> {
        Ok(self.array::<1>()?[0])
    }

    fn short(&mut self) -> Result<u16, Unreadable> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn number(&mut self) -> Result<u32, Unreadable> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Text with a zero byte at its end.
    fn text(&mut self) -> Result<&'a str, Unreadable> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(Unreadable)?;
        let text = self.take(end)?;
        self.take(1)?;
        str::from_utf8(text).map_err(|_| Unreadable)
    }

    fn relation(&mut self) -> Result<Relation<'a>, Unreadable> {
        let id = self.number()?;
        let (schema, name) = (self.text()?, self.text()?);
        self.take(1)?;
        let columns = self.short()?;
        let column = |input: &mut Self| {
            input.take(1)?;
            let named = (input.text()?, input.number()?);
            input.take(4)?;
            Ok(named)
        };
        let columns = (0..columns).map(|_| column(self)).collect::<Result<_, _>>()?;
        Ok(Relation { id, schema, name, columns })
    }

    fn tuple(&mut self) -> Result<Tuple<'a>, Unreadable> {
        let columns = self.short()?;
        let value = |input: &mut Self| match input.byte()? {
            b'n' => Ok(Value::Null),
            b'u' => Ok(Value::Unchanged),
            b't' => {
                let length = usize::try_from(input.number()?).map_err(|_| Unreadable)?;
                let text = str::from_utf8(input.take(length)?).map_err(|_| Unreadable)?;
                Ok(Value::Text(text))
            }
            _ => Err(Unreadable),
        };
        (0..columns).map(|_| value(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tuple(values: &[Option<&str>]) -> Vec<u8> {
        let mut bytes = (values.len() as u16).to_be_bytes().to_vec();
        for value in values {
            match value {
                None => bytes.push(b'n'),
                Some(text) => {
                    bytes.push(b't');
                    bytes.extend((text.len() as u32).to_be_bytes());
                    bytes.extend(text.as_bytes());
                }
            }
        }
        bytes
    }

    #[test]
    fn an_update_of_the_key_has_both_rows() {
        let old = tuple(&[Some("1"), None]);
        let new = tuple(&[Some("2"), Some("示例")]);
        let bytes = [&b"U\0\0\0\x07K"[..], &old, b"N", &new].concat();
        let read = read(&bytes).unwrap();
        let old = Some(vec![Value::Text("1"), Value::Null]);
        let new = vec![Value::Text("2"), Value::Text("示例")];
        assert_eq!(read, Message::Update { relation: 7, old, new });
    }

    #[test]
    fn a_position_reads_as_postgresql_writes_it() {
        assert_eq!("16/B374D848".parse::<Lsn>().unwrap().to_string(), "16/B374D848");
        assert!("16/B374D848".parse::<Lsn>().unwrap() > "9/FFFFFFFF".parse().unwrap());
        assert!("nothing".parse::<Lsn>().is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200),
                                  kind in prop::sample::select(&b"CRIUDTBO"[..])) {
            let _ = read(&[&[kind], &bytes[..]].concat());
        }

        #[test]
        fn cut_messages_do_not_read(values in prop::collection::vec(prop::option::of("[a-z]{0,9}"), 0..5),
                                    cut in 0usize..60) {
            let values: Vec<Option<&str>> = values.iter().map(Option::as_deref).collect();
            let bytes = [&b"I\0\0\0\x01N"[..], &tuple(&values)].concat();
            prop_assert!(read(&bytes).is_ok());
            if cut > 0 && cut < bytes.len() {
                prop_assert_eq!(read(&bytes[..cut]), Err(Unreadable));
            }
        }
    }
}
