//! The folder of one node on its machine: `node.key` (0600), `node.crt`, `roots.pem`,
//! `identity.json`.
//!
//! Key and certificate are two files, and are replaced as one: the next key is on disk before
//! anybody hears of it (`next.key` for a renewal, `anew.key` for an enrolment with another token),
//! the next certificate arrives as `next.crt`, and from that moment on the new pair counts. Moving
//! both to their places is tidying up; whatever a crash leaves of it, [`NodeFolder::load`] finds the
//! newest certificate and the key that fits it.

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
const NEXT_KEY: &str = "next.key";
const ANEW_KEY: &str = "anew.key";
const NEXT_CERTIFICATE: &str = "next.crt";
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
        let credentials = match self.newest() {
            // Between two reads another process may have moved the files to their places.
            Err(CredentialsError::KeyMismatch(_)) => self.newest()?,
            other => other?,
        };
        let identity = credentials.facts().node().ok_or(FolderError::NotANode)?.clone();
        let roots = RootSet::load(&self.0.join(ROOTS))?;
        Ok(NodeMaterial { identity, credentials, roots })
    }

    /// The node's key, made and stored when there is none. It is on disk before anybody hears of
    /// it: an enrolment whose answer is lost can be repeated with the same key.
    ///
    /// A node that has a certificate gets another key: what was copied with the old one is worth
    /// nothing.
    pub(super) fn key(&self) -> Result<PrivateKey, FolderError> {
        self.key_in(if self.is_enrolled() { ANEW_KEY } else { KEY })
    }

    /// The key of the next certificate, in the same way.
    pub(super) fn next_key(&self) -> Result<PrivateKey, FolderError> {
        self.key_in(NEXT_KEY)
    }

    fn key_in(&self, name: &str) -> Result<PrivateKey, FolderError> {
        files::create_private_folder(&self.0)?;
        let path = self.0.join(name);
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
        // A certificate that is there already is good until the new one is whole.
        let replaces = self.is_enrolled();
        let place = if replaces { NEXT_CERTIFICATE } else { CERTIFICATE };
        files::write_atomic(&self.0.join(place), pem.as_bytes(), Access::Public)?;
        if replaces {
            self.settle()?;
        }
        Ok(NodeMaterial { identity, credentials, roots })
    }

    /// Stores the roots (DER) that the hub says are trusted, in the place of all before.
    ///
    /// # Errors
    /// When they are unusable or cannot be written; those before stay.
    pub fn store_roots(&self, roots: Vec<Vec<u8>>) -> Result<RootSet, FolderError> {
        let roots = RootSet::new(roots.into_iter().map(CertificateDer::from))?;
        roots.save(&self.0.join(ROOTS))?;
        Ok(roots)
    }

    /// Moves a new pair to its place, if one waits. To be called by the process that owns the folder.
    ///
    /// # Errors
    /// When a file cannot be moved.
    pub fn settle(&self) -> Result<(), FolderError> {
        let next = self.0.join(NEXT_CERTIFICATE);
        if !next.exists() {
            return Ok(());
        }
        let fits = |key: &&str| Credentials::load(&next, &self.0.join(key)).is_ok();
        let Some(key) = [KEY, NEXT_KEY, ANEW_KEY].into_iter().find(fits) else {
            // It was written whole, so its key was there: somebody took that away.
            let aside = self.0.join("next.crt.without-key");
            tracing::error!(path = %aside.display(), "the key of a new certificate is missing; the one before is used");
            return Ok(files::rename(&next, &aside)?);
        };
        // The key first: with the new key in its place, the new certificate is still found.
        if key != KEY {
            files::rename(&self.0.join(key), &self.0.join(KEY))?;
        }
        files::rename(&next, &self.0.join(CERTIFICATE))?;
        for left in [NEXT_KEY, ANEW_KEY].map(|name| self.0.join(name)) {
            if left.exists() {
                files::remove(&left)?;
            }
        }
        Ok(())
    }

    fn newest(&self) -> Result<Credentials, CredentialsError> {
        let next = self.0.join(NEXT_CERTIFICATE);
        if next.exists() {
            let found = [KEY, NEXT_KEY, ANEW_KEY]
                .into_iter()
                .find_map(|key| Credentials::load(&next, &self.0.join(key)).ok());
            if let Some(found) = found {
                return Ok(found);
            }
        }
        Credentials::load(&self.0.join(CERTIFICATE), &self.0.join(KEY))
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

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::authority::Authority;
    use crate::clock;

    struct Bench {
        _dir: tempfile::TempDir,
        folder: NodeFolder,
        authority: Authority,
    }

    impl Bench {
        fn enrolled() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let authority =
                Authority::create(&"tieling.example".parse().unwrap(), clock::now()).unwrap();
            let folder = NodeFolder::new(dir.path().join("n1"));
            let bench = Self { _dir: dir, folder, authority };
            bench.store(bench.folder.key().unwrap());
            bench
        }

        fn issue(&self, key: &PrivateKey) -> Vec<CertificateDer<'static>> {
            let name = "spiffe://tieling.example/department/11100000000013338W/node/n1";
            let (request, day) = (key.signing_request().unwrap(), SignedDuration::from_hours(24));
            let identity = name.parse().unwrap();
            self.authority.issue_node(&request, &identity, clock::now(), day).unwrap().chain
        }

        fn store(&self, key: PrivateKey) -> NodeMaterial {
            let roots = RootSet::new([self.authority.root().clone()]).unwrap();
            self.folder.store(self.issue(&key), key, roots, clock::now()).unwrap()
        }

        fn files(&self) -> Vec<String> {
            let listing = std::fs::read_dir(self.folder.path()).unwrap();
            let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
            let mut names: Vec<_> = listing.map(|e| name(e).into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    #[test]
    fn a_new_pair_replaces_the_old_one_and_leaves_nothing_behind() {
        let bench = Bench::enrolled();
        let before = bench.folder.load().unwrap().credentials.key().public_key();
        let key = bench.folder.next_key().unwrap();
        assert_ne!(key.public_key(), before, "every renewal has a new key");
        let stored = bench.store(key);
        let read = bench.folder.load().unwrap();
        assert_eq!(read.credentials.facts(), stored.credentials.facts());
        assert_eq!(bench.files(), ["identity.json", "node.crt", "node.key", "roots.pem"]);
    }

    /// Every state that the steps of a replacement pass through, as a crash would leave it.
    #[test]
    fn a_crash_at_any_step_leaves_a_usable_pair() {
        for step in 0..5 {
            let bench = Bench::enrolled();
            let path = |name: &str| bench.folder.path().join(name);
            let old = bench.folder.load().unwrap().credentials.facts().serial.clone();
            let key = bench.folder.next_key().unwrap();
            let chain = bench.issue(&key);
            let new = crate::certificate::CertificateFacts::read(&chain[0]).unwrap().serial;
            let pem = crate::certificate::to_pem(&chain);
            let steps: [&dyn Fn(); 4] = [
                &|| {},
                &|| std::fs::write(path(NEXT_CERTIFICATE), &pem).unwrap(),
                &|| std::fs::rename(path(NEXT_KEY), path(KEY)).unwrap(),
                &|| std::fs::rename(path(NEXT_CERTIFICATE), path(CERTIFICATE)).unwrap(),
            ];
            steps.iter().take(step).for_each(|step| step());
            let due = if step < 2 { &old } else { &new };
            assert_eq!(&bench.folder.load().unwrap().credentials.facts().serial, due, "{step}");
            bench.folder.settle().unwrap();
            assert_eq!(&bench.folder.load().unwrap().credentials.facts().serial, due, "{step}");
            if step >= 2 {
                assert!(!path(NEXT_CERTIFICATE).exists() && !path(NEXT_KEY).exists(), "{step}");
            }
        }
    }

    #[test]
    fn an_answer_that_was_lost_is_asked_for_with_the_same_key() {
        let bench = Bench::enrolled();
        let key = bench.folder.next_key().unwrap().public_key();
        assert_eq!(bench.folder.next_key().unwrap().public_key(), key);
        let anew = bench.folder.key().unwrap().public_key();
        assert_ne!(anew, key, "a key that may have been copied is not taken for a new token");
        assert_eq!(bench.folder.key().unwrap().public_key(), anew);
    }
}
