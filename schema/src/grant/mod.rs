//! Grants: what a department may receive, which rows and fields of it, for what, until when.

mod filter;
mod parse;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

pub use filter::{AsOf, CompiledFilter, RowFilter, Scalar};
pub use parse::FilterSyntax;

use crate::{
    catalogue::Item,
    ids::{CreditCode, ResourceCode},
    library::LibraryId,
    row::FieldId,
};

/// Number of a grant, assigned by the hub, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantId(pub u64);

impl std::fmt::Display for GrantId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What is granted: one resource, or a library's merged reading.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Target {
    /// A published resource.
    Resource(ResourceCode),
    /// A base library.
    Library(LibraryId),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Resource(code) => write!(f, "{code}"),
            Self::Library(library) => match crate::library::definition(*library) {
                Some(library) => f.write_str(library.code),
                None => write!(f, "library {}", library.0),
            },
        }
    }
}

/// The ways in which granted data may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modes {
    /// Standing delivery of rows.
    pub deliver: bool,
    /// Single lookups that show values.
    pub lookup: bool,
    /// Verification that shows only match, mismatch or absent.
    pub verify: bool,
}

/// A grant in force or ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its number.
    pub id: GrantId,
    /// What is granted.
    pub target: Target,
    /// To whom.
    pub grantee: CreditCode,
    /// Non-key fields granted, ascending. The key is always part of what is granted: without it
    /// nothing could be updated or withdrawn at the receiver.
    pub fields: Vec<FieldId>,
    /// Which rows; all when absent.
    pub filter: Option<RowFilter>,
    /// For what purpose, in words.
    pub purpose: String,
    /// In which ways.
    pub modes: Modes,
    /// First day.
    pub from: Date,
    /// Last day; open when absent.
    pub until: Option<Date>,
    /// Counts the changes of fields, filter or schema: each starts a fresh snapshot.
    pub generation: u32,
}

impl Grant {
    /// Whether the grant is in force on a day.
    pub fn in_force(&self, day: Date) -> bool {
        self.from <= day && self.until.is_none_or(|until| day <= until)
    }
}

/// A grant as its receiver sees it: enough to read what is delivered without asking again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantView {
    /// The grant.
    pub grant: Grant,
    /// Name of the resource or library.
    pub name: String,
    /// Key items, in the order of the key's parts.
    pub keys: Vec<Item>,
    /// Granted non-key items, ascending: the columns of the blocks delivered.
    pub items: Vec<Item>,
}
