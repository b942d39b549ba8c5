//! Commands, and what becomes of them.

use std::fmt;

use hutong_schema::{
    catalogue::CatalogueEntry,
    grant::{AsOf, GrantId, Modes, RowFilter, Target},
    ids::{CreditCode, NodeName, ResourceCode},
    row::FieldId,
    wire::v1::{RefusalCode, Refused},
};
use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use crate::{
    log::event::Event,
    numbers::{NodeNo, ResourceNo},
};

/// Something that a node or an operator wants decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Makes a department known, or gives it another name.
    RegisterDepartment {
        /// Its unified social credit code.
        department: CreditCode,
        /// Its name.
        name: String,
    },
    /// Records the certificate of a node, whose department is registered if it is new.
    EnrolNode {
        /// The node's department.
        department: CreditCode,
        /// Name for a department that is new; its code when absent.
        department_name: Option<String>,
        /// The node's name.
        name: NodeName,
        /// Serial number of its certificate, hexadecimal.
        certificate_serial: String,
        /// When that ends.
        expires: Timestamp,
    },
    /// Records the next certificate of a node that has shown one.
    RenewNode {
        /// The node's department.
        department: CreditCode,
        /// The node's name.
        name: NodeName,
        /// Serial number of the certificate that it has shown, hexadecimal.
        replaces: String,
        /// Serial number of the next one.
        certificate_serial: String,
        /// When that ends.
        expires: Timestamp,
    },
    /// Revokes a node's certificates.
    RevokeNode {
        /// The node's department.
        department: CreditCode,
        /// The node's name.
        name: NodeName,
        /// Why, in words.
        reason: String,
    },
    /// Revokes the certificates of all nodes of a department.
    RevokeDepartment {
        /// The department.
        department: CreditCode,
        /// Why, in words.
        reason: String,
    },
    /// Takes a node out of service.
    RetireNode {
        /// The node's department.
        department: CreditCode,
        /// The node's name.
        name: NodeName,
        /// Why, in words.
        reason: String,
    },
    /// Registers or changes catalogue entries: all or none.
    PublishEntries {
        /// Whose node commands this: it can publish its own entries only.
        department: CreditCode,
        /// The entries. Their versions are ignored: the registry counts them.
        entries: Vec<CatalogueEntry>,
    },
    /// Opens a new epoch of a resource.
    OpenEpoch {
        /// Who will publish.
        node: NodeNo,
        /// What.
        resource: ResourceNo,
        /// Shard of its key space.
        shard: u16,
    },
    /// Makes a grant.
    MakeGrant(GrantRequest),
    /// Ends a grant.
    WithdrawGrant {
        /// The grant.
        grant: GrantId,
        /// Why, in words.
        reason: String,
    },
    /// Moves the date that filters count ages to; never back.
    SetClockDate {
        /// The new date.
        as_of: AsOf,
    },
}

/// A grant that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRequest {
    /// What is granted.
    pub target: Target,
    /// To whom.
    pub grantee: CreditCode,
    /// Which fields beside the key; all that the target has now when absent.
    pub fields: Option<Vec<FieldId>>,
    /// Which rows; all when absent.
    pub filter: Option<RowFilter>,
    /// For what purpose, in words.
    pub purpose: String,
    /// In which ways.
    pub modes: Modes,
    /// First day; today when absent.
    pub from: Option<Date>,
    /// Last day; open when absent.
    pub until: Option<Date>,
}

/// What a command leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Events to append, in order; none when everything is so already.
    pub events: Vec<Event>,
    /// The answer once they are durable.
    pub outcome: Outcome,
}

/// The answer to a command that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is so now.
    Done,
    /// The node's number.
    Node(NodeNo),
    /// What became of the catalogue entries.
    EntriesPublished {
        /// New or changed entries.
        changed: u32,
        /// Entries that were already so.
        unchanged: u32,
        /// What departs from the national guide and was kept all the same.
        warnings: Vec<(ResourceCode, String)>,
    },
    /// The epoch that was opened.
    Epoch(u32),
    /// The grant's number.
    Grant(GrantId),
}

/// Why a command was not carried out. Nothing of it took effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It cannot be done at all.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// What it says has mistakes; all of them.
    #[error("{}", Problem::list(.0))]
    Problems(Vec<Problem>),
}

/// One thing to correct.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What it is about: a resource code, `grant`, `node`, ….
    pub subject: String,
    /// Where in it: `items[3].name`.
    pub field: String,
    /// What should stand there.
    pub expected: String,
    /// What stands there.
    pub found: String,
}

impl Problem {
    pub(super) fn new(
        subject: impl fmt::Display,
        field: impl Into<String>,
        expected: impl Into<String>,
        found: impl fmt::Display,
    ) -> Self {
        Self {
            subject: subject.to_string(),
            field: field.into(),
            expected: expected.into(),
            found: format!("{found:.120}"),
        }
    }

    /// All problems in words, one per line.
    #[must_use]
    pub fn list(problems: &[Self]) -> String {
        let lines: Vec<String> = problems.iter().map(Self::to_string).collect();
        lines.join("\n")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {}: expected {}, found {}",
            self.subject, self.field, self.expected, self.found
        )
    }
}

/// Bytes of problems that go into one refusal; the rest is counted. Below the limit for texts.
const DETAIL_BYTES: usize = 3_500;

impl Denied {
    /// The refusal as a node gets it.
    #[must_use]
    pub fn into_refused(self) -> Refused {
        let problems = match self {
            Self::Refused(refused) => return refused,
            Self::Problems(problems) => problems,
        };
        let mut detail = String::new();
        for (index, problem) in problems.iter().enumerate() {
            let line = problem.to_string();
            if detail.len() + line.len() > DETAIL_BYTES {
                detail.push_str(&format!("and {} further mistakes", problems.len() - index));
                break;
            }
            detail.push_str(&line);
            detail.push('\n');
        }
        Refused::new(RefusalCode::Catalogue, detail.trim_end())
    }
}

/// Problems found so far in one command.
#[derive(Debug, Default)]
pub(super) struct Problems(pub(super) Vec<Problem>);

impl Problems {
    pub(super) fn add(
        &mut self,
        subject: impl fmt::Display,
        field: impl Into<String>,
        expected: impl Into<String>,
        found: impl fmt::Display,
    ) {
        self.0.push(Problem::new(subject, field, expected, found));
    }

    /// Words that a person wrote: neither empty nor longer than a message may carry.
    pub(super) fn words(&mut self, subject: impl fmt::Display, field: &str, text: &str) {
        let chars = text.chars().count();
        if text.trim().is_empty() {
            self.add(subject, field, "a text", "nothing");
        } else if chars > MAX_WORDS_CHARS {
            self.add(subject, field, format!("at most {MAX_WORDS_CHARS} characters"), chars);
        }
    }

    pub(super) fn into_result(self) -> Result<(), Denied> {
        if self.0.is_empty() { Ok(()) } else { Err(Denied::Problems(self.0)) }
    }
}

/// Longest name, reason or purpose, in characters.
const MAX_WORDS_CHARS: usize = 1_000;
