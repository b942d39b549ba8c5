//! The folder of one node on its machine: `node.key` (0600), `node.crt`, `roots.pem`,
//! `identity.json`.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use crate::credentials::{Credentials, CredentialsError};
use crate::files::{self, Access, FileError};
use crate::identity::NodeIdentity;
use crate::live::Live;
use crate::request::{KeyError, PrivateKey};
use crate::roots::{RootSet, RootsError};
use crate::tls::AgentTls;

const KEY: &str = "node.key";
const CERTIFICATE: &str = "node.crt";
const ROOTS: &str = "roots.pem";
const IDENTITY: &str = "identity.json";

/// The folder with a node's key and certificates.
#[derive(Clone, Debug)]
pub struct NodeFolder(PathBuf);

/// What an enrolled node is and has.
#[derive(Debug)]
pub struct NodeMaterial {
    /// Who it is.
    pub identity: NodeIdentity,
    /// Its certificate and key.
    pub credentials: Credentials,
    /// The roots it trusts.
    pub roots: RootSet,
}

/// Why a node's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The key cannot be read or made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Certificate and key are unusable.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The roots are unusable.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The certificate is not a node's.
    #[error("node.crt is not a node's certificate")]
    NotANode,
    /// The description does not encode.
    #[error("identity.json cannot be made")]
    Describe(#[from] serde_json::Error),
}

/// For people and scripts; the certificate is what counts.
#[derive(Serialize, Deserialize)]
struct Description {
    identity: NodeIdentity,
    serial: String,
    enrolled: Timestamp,
    expires: Timestamp,
}

impl NodeFolder {
    /// The folder at this path, which need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Whether the node has a certificate (which may have expired).
    #[must_use]
    pub fn is_enrolled(&self) -> bool {
        self.0.join(CERTIFICATE).exists()
    }

    /// Reads everything that a connection needs.
    ///
    /// # Errors
    /// When a file is missing or damaged, or they do not fit each other.
    pub fn load(&self) -> Result<NodeMaterial, FolderError> {
        let credentials = Credentials::load(&self.0.join(CERTIFICATE), &self.0.join(KEY))?;
        let identity = credentials.facts().node().ok_or(FolderError::NotANode)?.clone();
        let roots = RootSet::load(&self.0.join(ROOTS))?;
        Ok(NodeMaterial { identity, credentials, roots })
    }

    /// The node's key, made and stored when there is none. It is on disk before anybody hears of
    /// it: an enrolment whose answer is lost can be repeated with the same key.
    pub(super) fn key(&self) -> Result<PrivateKey, FolderError> {
        files::create_private_folder(&self.0)?;
        let path = self.0.join(KEY);
        if path.exists() {
            return Ok(PrivateKey::load(&path)?);
        }
        let key = PrivateKey::generate()?;
        key.save(&path)?;
        Ok(key)
    }

    /// Stores what the hub granted. The certificate goes last: its presence means that all is here.
    pub(super) fn store(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKey,
        roots: RootSet,
        now: Timestamp,
    ) -> Result<NodeMaterial, FolderError> {
        let credentials = Credentials::new(chain, key)?;
        let facts = credentials.facts();
        let identity = facts.node().ok_or(FolderError::NotANode)?.clone();
        let description = Description {
            identity: identity.clone(),
            serial: facts.serial.to_string(),
            enrolled: now,
            expires: facts.not_after,
        };
        let mut text = serde_json::to_string_pretty(&description)?;
        text.push('\n');
        files::write_unsynced(&self.0.join(IDENTITY), text.as_bytes(), Access::Public)?;
        files::write_before(&self.0.join(ROOTS), roots.to_pem().as_bytes(), Access::Public)?;
        let pem = crate::certificate::to_pem(credentials.chain());
        files::write_atomic(&self.0.join(CERTIFICATE), pem.as_bytes(), Access::Public)?;
        Ok(NodeMaterial { identity, credentials, roots })
    }
}

impl NodeMaterial {
    /// Handles for the TLS configuration; renewal keeps clones and replaces what is in them.
    #[must_use]
    pub fn into_tls(self) -> AgentTls {
        AgentTls {
            exchange: self.identity.exchange,
            credentials: Live::new(self.credentials),
            roots: Live::new(self.roots),
        }
    }
}
