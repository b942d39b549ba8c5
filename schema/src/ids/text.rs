//! What all identifier types share: text in, text out, serde as a validated string.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserializer, Error, Visitor};

use super::IdError;

/// Reads an identifier from any serde format that can hold a string, validating it.
pub(super) fn deserialize_parsed<'de, D, T>(
    deserializer: D,
    expecting: &'static str,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = IdError>,
{
    struct Parsed<T> {
        expecting: &'static str,
        kind: PhantomData<T>,
    }

    impl<T: FromStr<Err = IdError>> Visitor<'_> for Parsed<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.expecting)
        }

        // The value itself is left out of the message: it may be a person's identifier.
        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(|error| E::custom(format_args!("{}: {error}", self.expecting)))
        }
    }

    deserializer.deserialize_str(Parsed { expecting, kind: PhantomData })
}

/// `Display`, `AsRef<str>`, `TryFrom<&str>` and serde for a type that has `as_str` and `FromStr`.
macro_rules! text_identifier {
    ($name:ident, $expecting:literal) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl TryFrom<&str> for $name {
            type Error = $crate::ids::IdError;

            fn try_from(text: &str) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::ids::text::deserialize_parsed(deserializer, $expecting)
            }
        }
    };
}

/// `as_str` for a type over a fixed array of ASCII bytes.
macro_rules! fixed_ascii {
    ($name:ident, $len:literal) => {
        impl $name {
            /// The canonical text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                std::str::from_utf8(&self.0).expect("only ASCII passes this type's parser")
            }

            /// The canonical bytes, as they stand in rows, keys and digests.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }
    };
}

pub(super) use {fixed_ascii, text_identifier};

/// The value of an ASCII digit, or `None`.
pub(super) const fn digit(byte: u8) -> Option<u32> {
    if byte.is_ascii_digit() { Some((byte - b'0') as u32) } else { None }
}

/// The value of a character in base 36 (`0`–`9`, then `A`–`Z` = 10–35), or `None`.
/// Lower-case letters are not values: they are normalised before.
pub(super) const fn base36(byte: u8) -> Option<u32> {
    match byte {
        b'0'..=b'9' => Some((byte - b'0') as u32),
        b'A'..=b'Z' => Some((byte - b'A') as u32 + 10),
        _ => None,
    }
}
