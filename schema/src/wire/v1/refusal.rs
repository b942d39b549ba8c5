//! Refusals: what was refused, whether it ran, and what to do.

use serde::{Deserialize, Serialize};

use crate::limits::DETAIL_BYTES_MAX;

/// Sent instead of the due answer, on any stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Number of a [`RefusalCode`]; a number, so that an older peer can still read a newer code.
    pub code: u16,
    /// What happened, where, and what to do next; in English, for a log.
    pub detail: String,
    /// Whether the request took effect.
    pub ran: Ran,
    /// When to try again, milliseconds from now.
    pub retry_after_ms: Option<u32>,
    /// The sequence number that was expected ([`RefusalCode::Gap`]) or the schema version in force
    /// ([`RefusalCode::SchemaChanged`]).
    pub expected: Option<u64>,
}

/// Whether a refused request took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ran {
    /// It did not.
    No,
    /// It did, the answer is what failed.
    Yes,
    /// Not known: ask before repeating.
    Unknown,
}

macro_rules! refusal_codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)+) => {
        /// Why a peer refuses. Numbers are never used twice; `HT-<number>` is the stable code that
        /// people see.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum RefusalCode { $($(#[$doc])* $name),+ }

        impl RefusalCode {
            /// All codes.
            pub const ALL: &'static [RefusalCode] = &[$(Self::$name),+];

            /// The number on the wire.
            pub fn number(self) -> u16 {
                match self { $(Self::$name => $number),+ }
            }

            /// What the code means, in one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }
        }
    };
}

refusal_codes! {
    /// No common protocol version.
    Version = 1001, "the two sides have no protocol version in common";
    /// The certificate carries no usable identity.
    Identity = 1002, "the certificate does not name a node of this exchange";
    /// The node is not known or was retired.
    UnknownNode = 1003, "the node is not registered at this exchange";
    /// The hub is starting or draining.
    NotReady = 1004, "the hub is not ready to serve";
    /// The message is not one that was due.
    Protocol = 1005, "the message does not follow the protocol";
    /// The same identity is already connected from another machine.
    Elsewhere = 1006, "the same identity is connected from another machine";
    /// The node's certificate was revoked or replaced.
    Revoked = 1007, "the node's certificate is not taken any more";
    /// The hub has as many connections as it takes, in all, from this address or of this node.
    Crowded = 1008, "too many connections at once";
    /// A greeting, or a frame that was begun, did not come or was not taken in time.
    Slow = 1009, "the other side was too slow";
    /// The certificate that the connection stands for is over.
    Expired = 1010, "the node's certificate has expired";
    /// The resource is not in the catalogue.
    NotRegistered = 1101, "the resource is not in the catalogue";
    /// The resource belongs to another department.
    NotYours = 1102, "the resource belongs to another department";
    /// Another node holds the lease of this resource.
    Leased = 1103, "another node publishes this resource";
    /// The epoch was closed by a newer one.
    Fenced = 1104, "a newer epoch of this resource was opened";
    /// Same number, other content: a cloned or restored machine.
    Forked = 1105, "a batch with this number but other content is already stored: this machine's state was cloned or restored";
    /// A batch is missing before this one.
    Gap = 1106, "a batch before this one is missing";
    /// The hub cannot take more at this moment.
    Busy = 1107, "the hub cannot take more at this moment";
    /// The schema version is no longer taken.
    SchemaChanged = 1108, "the resource's schema has changed";
    /// The payload does not open or is not a column block.
    Damaged = 1109, "the batch is damaged";
    /// The chain hash does not follow from the batch before.
    Chain = 1110, "the batch does not continue the chain";
    /// The department's rows, bytes or entries have reached what the hub's operator allows it.
    Quota = 1111, "the department's room at this hub is used up";
    /// No grant for this.
    NotGranted = 1201, "no grant in force covers this";
    /// The cursor fits neither this incarnation nor this feed.
    CursorLost = 1202, "the cursor does not fit the feed; a fresh snapshot is needed";
    /// The catalogue entries have mistakes.
    Catalogue = 1301, "the catalogue entries have mistakes";
    /// Too many questions.
    TooMany = 1401, "too many questions in too short a time";
    /// Too many commands.
    Hasty = 1402, "too many commands in too short a time";
    /// The hub failed.
    Internal = 1901, "the hub failed; the operator was told";
}

impl RefusalCode {
    /// The code of a number; `None` for one that a newer peer knows.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.number() == number)
    }
}

impl Refused {
    /// A refusal of something that did not run. A longer detail than [`DETAIL_BYTES_MAX`] is cut: it
    /// may repeat what a peer sent.
    pub fn new(code: RefusalCode, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if detail.len() > DETAIL_BYTES_MAX {
            detail.truncate(detail.floor_char_boundary(DETAIL_BYTES_MAX));
            detail.push_str(" …");
        }
        Self { code: code.number(), detail, ran: Ran::No, retry_after_ms: None, expected: None }
    }

    /// With the time after which trying again makes sense.
    #[must_use]
    pub fn retry_after(mut self, milliseconds: u32) -> Self {
        self.retry_after_ms = Some(milliseconds);
        self
    }

    /// With the number that was expected.
    #[must_use]
    pub fn expecting(mut self, number: u64) -> Self {
        self.expected = Some(number);
        self
    }

    /// The code, if this software knows it.
    pub fn reason(&self) -> Option<RefusalCode> {
        RefusalCode::from_number(self.code)
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.reason() {
            Some(reason) => write!(f, "HT-{} {}: {}", self.code, reason.meaning(), self.detail),
            None => write!(f, "HT-{}: {}", self.code, self.detail),
        }
    }
}

impl std::error::Error for Refused {}

super::messages! { Refused => REFUSED }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_read_back() {
        for code in RefusalCode::ALL {
            assert_eq!(RefusalCode::from_number(code.number()), Some(*code));
        }
    }

    #[test]
    fn a_detail_that_repeats_too_much_of_what_came_is_cut_between_characters() {
        let refused = Refused::new(RefusalCode::Catalogue, "目".repeat(DETAIL_BYTES_MAX));
        assert!(refused.detail.len() <= DETAIL_BYTES_MAX + " …".len());
        assert!(refused.detail.ends_with("目 …"));
        assert_eq!(Refused::new(RefusalCode::Busy, "短").detail, "短");
    }
}
