//! What comes of an enrolment or renewal at the hub.

use hutong_schema::ids::{CreditCode, NodeName};
use hutong_schema::wire::v1::Refused;
use jiff::Timestamp;

use super::EnrolRefusal;
use crate::identity::NodeIdentity;
use crate::revoke::Serial;

/// What happened, for the hub's log and its registry of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnrolEvent {
    /// A certificate was issued.
    Enrolled {
        /// For whom.
        identity: NodeIdentity,
        /// Its serial number.
        serial: Serial,
        /// Until when it is valid.
        not_after: Timestamp,
        /// Whether the same key had asked before and its answer was lost.
        again: bool,
        /// What the node calls its software.
        software: String,
    },
    /// A node that showed its certificate gets the next one.
    Renewed {
        /// For whom.
        identity: NodeIdentity,
        /// The serial number of the certificate that was shown.
        replaces: Serial,
        /// That of the next one.
        serial: Serial,
        /// Until when that is valid.
        not_after: Timestamp,
        /// Since when the one that was shown had been expired, if it was.
        expired: Option<Timestamp>,
        /// What the node calls its software.
        software: String,
    },
    /// A renewal was refused.
    NotRenewed {
        /// Whose certificate was shown, if that could be read.
        identity: Option<NodeIdentity>,
        /// Why.
        reason: EnrolRefusal,
        /// The same in words, as the node was told.
        detail: String,
    },
    /// An enrolment was refused.
    Refused {
        /// The department that was claimed.
        department: CreditCode,
        /// The node that was claimed.
        node: NodeName,
        /// Why.
        reason: EnrolRefusal,
        /// The same in words, as the node was told.
        detail: String,
    },
}

/// Why an outcome was not recorded, so that it does not count.
#[derive(Clone, Debug)]
pub enum NotRecorded {
    /// Whoever decides refuses it: the node is told this.
    Refused(Refused),
    /// It could not be written: the node may try again.
    Failed(String),
}

impl<T: Into<String>> From<T> for NotRecorded {
    fn from(reason: T) -> Self {
        Self::Failed(reason.into())
    }
}
