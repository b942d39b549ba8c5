//! The dense numbers by which the hub names things inside. The meta partition assigns them, so that
//! every rebuild assigns the same.

use hutong_schema::library::LibraryId;
use serde::{Deserialize, Serialize};

/// A node, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeNo(pub u32);

/// A catalogue entry's resource, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceNo(pub u32);

/// A key space: a library, or a resource that is bound to none. Rows, feeds and indexes of one space
/// live in one data partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SpaceNo(pub u32);

/// A feed: of a resource, or the merged feed of a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FeedNo(pub u32);

/// Numbers below this belong to libraries, so that a library and a resource never share one.
const FIRST_RESOURCE: u32 = 0x1_0000;

impl ResourceNo {
    /// The key space of a resource: its library's when it is bound, else its own.
    pub fn space(self, library: Option<LibraryId>) -> SpaceNo {
        library.map_or(SpaceNo(FIRST_RESOURCE + self.0), SpaceNo::library)
    }

    /// The resource's own feed, bound or not.
    pub fn feed(self) -> FeedNo {
        FeedNo(FIRST_RESOURCE + self.0)
    }
}

impl SpaceNo {
    /// The space of a library.
    pub fn library(library: LibraryId) -> Self {
        Self(u32::from(library.0))
    }

    /// The library of this space, if it is one.
    pub fn as_library(self) -> Option<LibraryId> {
        u16::try_from(self.0).ok().map(LibraryId)
    }
}

impl FeedNo {
    /// The merged feed of a library.
    pub fn library(library: LibraryId) -> Self {
        Self(u32::from(library.0))
    }
}
