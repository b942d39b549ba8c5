//! What a stream begins with; the control stream is the first of a connection and begins with the greeting.

use super::Disorder;
use crate::wire::{
    frame::{self, Message},
    v1::{
        ask::{Lookup, Verify},
        command::{CatalogueApply, CatalogueList, GrantList},
        publish::PublishOpen,
        subscribe::SubscribeOpen,
    },
};

/// The first message of a stream. Questions and commands are the only one of theirs.
#[derive(Clone, Debug, PartialEq)]
pub enum Opening {
    /// Batches follow; see [`Publish`](super::Publish).
    Publish(PublishOpen),
    /// Credit and reports follow; see [`Subscribe`](super::Subscribe).
    Subscribe(SubscribeOpen),
    /// A question.
    Lookup(Lookup),
    /// A question.
    Verify(Verify),
    /// A command.
    CatalogueApply(CatalogueApply),
    /// A question.
    CatalogueList(CatalogueList),
    /// A question.
    GrantList(GrantList),
}

impl Opening {
    /// Reads the first frame of a stream.
    ///
    /// # Errors
    /// When no stream begins so, or it does not decode.
    pub fn read(content: &[u8]) -> Result<Self, Disorder> {
        let (kind, _) = frame::split(content)?;
        Ok(match kind {
            PublishOpen::KIND => Self::Publish(frame::expect(content)?),
            SubscribeOpen::KIND => Self::Subscribe(frame::expect(content)?),
            Lookup::KIND => Self::Lookup(frame::expect(content)?),
            Verify::KIND => Self::Verify(frame::expect(content)?),
            CatalogueApply::KIND => Self::CatalogueApply(frame::expect(content)?),
            CatalogueList::KIND => Self::CatalogueList(frame::expect(content)?),
            GrantList::KIND => Self::GrantList(frame::expect(content)?),
            other => return Err(Disorder::NoOpening(other)),
        })
    }
}
