//! Getting a node its certificate.

use std::{collections::HashMap, path::Path, time::Duration};

use hutong_certs::{
    clock,
    enrol::{EnrolError, FolderError, NodeFolder, NodeMaterial},
    join::{
        JoinToken,
        sheet::{self, SheetError},
    },
};
use hutong_schema::ids::NodeName;

use crate::link::{Dialler, EnrolFailure};

/// Enrolments under way at once: the hub signs each with its authority's key.
pub const AT_ONCE: usize = 8;

/// A node has no certificate.
#[derive(Debug, thiserror::Error)]
pub enum NotEnrolled {
    /// There is no token for it.
    #[error(
        "the node has no certificate and no join token: put it into [enrol] sheet, or run: hutong-agent enrol --token FILE"
    )]
    NoToken,
    /// The token's time is over.
    #[error("the join token expired at {0}: ask the hub's operator for a new one")]
    Expired(jiff::Timestamp),
    /// The enrolment failed.
    #[error("{failure}{}", advice(failure))]
    Failed {
        /// Why.
        #[source]
        failure: EnrolFailure,
    },
    /// The files of the node are unusable.
    #[error("the node's certificate files cannot be used")]
    Folder(#[from] FolderError),
}

fn advice(failure: &EnrolFailure) -> String {
    let advice = match failure {
        EnrolFailure::Link(error) => error.advice(),
        EnrolFailure::Enrol(EnrolError::Refused(refused)) => match refused.code {
            2_102 | 2_103 => Some("ask the hub's operator for a new token"),
            2_104 => Some(
                "the token was used with another key: if that was not you, tell the hub's operator",
            ),
            2_105 => Some("the token is for another node: check the sheet"),
            _ => None,
        },
        EnrolFailure::Enrol(_) => None,
    };
    advice.map(|advice| format!("; {advice}")).unwrap_or_default()
}

impl NotEnrolled {
    /// When trying again makes sense.
    pub fn again(&self) -> Duration {
        match self {
            Self::Failed {
                failure:
                    EnrolFailure::Link(_)
                    | EnrolFailure::Enrol(
                        EnrolError::Timeout(_) | EnrolError::Connection(_) | EnrolError::Stream(_),
                    ),
            } => Duration::from_secs(2),
            Self::NoToken | Self::Expired(_) | Self::Failed { .. } | Self::Folder(_) => {
                Duration::from_secs(60)
            }
        }
    }
}

impl From<EnrolFailure> for NotEnrolled {
    fn from(failure: EnrolFailure) -> Self {
        Self::Failed { failure }
    }
}

/// Tokens of a sheet by node.
///
/// # Errors
/// When the sheet cannot be read.
pub fn tokens(path: &Path) -> Result<HashMap<NodeName, JoinToken>, SheetError> {
    let rows = sheet::load(path)?;
    Ok(rows.into_iter().map(|row| (row.token.node.clone(), row.token)).collect())
}

/// The node's certificate and key; enrolled with the token if there is none yet.
///
/// # Errors
/// When there is no usable token, the hub is not reached or refuses, or files fail.
pub async fn ensure(
    dialler: &Dialler,
    folder: &NodeFolder,
    token: Option<&JoinToken>,
) -> Result<NodeMaterial, NotEnrolled> {
    if folder.is_enrolled() {
        folder.settle()?;
        return Ok(folder.load()?);
    }
    anew(dialler, folder, token.ok_or(NotEnrolled::NoToken)?).await
}

/// A certificate by the token, whether the node has one or not.
///
/// # Errors
/// As [`ensure`].
pub async fn anew(
    dialler: &Dialler,
    folder: &NodeFolder,
    token: &JoinToken,
) -> Result<NodeMaterial, NotEnrolled> {
    if token.expires <= clock::now() {
        return Err(NotEnrolled::Expired(token.expires));
    }
    let material = Box::pin(dialler.enrol(token, folder)).await?;
    tracing::info!(node = %token.node, department = %token.department,
        expires = %material.credentials.facts().not_after, "the node is enrolled");
    Ok(material)
}
