//! Commands of a node: one bidirectional stream each.

use serde::{Deserialize, Serialize};

use crate::{ids::ResourceCode, wire::v1::Json};

/// Registers or changes catalogue entries of the node's own department: all of them or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogueApply {
    /// `Vec<CatalogueEntry>`, at most 500.
    pub entries: Json,
}

/// Answer to [`CatalogueApply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogueApplied {
    /// New or changed entries.
    pub changed: u32,
    /// Entries that were already so.
    pub unchanged: u32,
    /// Warnings: code and text.
    pub warnings: Vec<(ResourceCode, String)>,
}

/// Asks for catalogue entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogueList {
    /// Only entries of the node's own department.
    pub own: bool,
    /// Continue after this code.
    pub after: Option<ResourceCode>,
}

/// Answer to [`CatalogueList`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CataloguePage {
    /// `Vec<CatalogueEntry>` in the order of codes.
    pub entries: Json,
    /// Where to continue.
    pub next: Option<ResourceCode>,
}

/// Asks for the grants in force for the node's department.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantList {}

/// Answer to [`GrantList`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantPage {
    /// `Vec<GrantView>`.
    pub grants: Json,
}

super::messages! {
    CatalogueApply => CATALOGUE_APPLY,
    CatalogueApplied => CATALOGUE_APPLIED,
    CatalogueList => CATALOGUE_LIST,
    CataloguePage => CATALOGUE_PAGE,
    GrantList => GRANT_LIST,
    GrantPage => GRANT_PAGE,
}
