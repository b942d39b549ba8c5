//! The authorities that are trusted: one, or several while one takes over from another.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustls_pki_types::{CertificateDer, TrustAnchor};
use sha2::{Digest, Sha256};

use crate::certificate;
use crate::files::{self, Access, FileError};

pub use hutong_schema::limits::ROOTS_MAX;

/// SHA-256 of a root certificate's DER bytes: what `openssl x509 -fingerprint -sha256` prints.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaFingerprint(pub [u8; 32]);

/// The text is not a fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 fingerprint (64 hex digits, with or without colons)")]
pub struct NotAFingerprint;

/// Trusted root certificates, ready for a handshake. Never empty.
#[derive(Clone, Debug)]
pub struct RootSet {
    certificates: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
}

/// Why certificates cannot be trusted as roots.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// There is none.
    #[error("no root certificate")]
    None,
    /// There are too many.
    #[error("{0} root certificates, at most {ROOTS_MAX} are allowed")]
    TooMany(usize),
    /// One is damaged.
    #[error("a root certificate is damaged")]
    Damaged(#[source] webpki::Error),
    /// One does not bear its own signature.
    #[error("a root certificate does not bear its own signature: it is damaged")]
    Signature,
    /// The PEM text is damaged.
    #[error("the PEM text is damaged")]
    Pem(#[source] rustls_pki_types::pem::Error),
    /// What a file holds cannot be trusted.
    #[error("{} cannot be used; bring it back from a backup", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<RootsError>,
    },
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl CaFingerprint {
    /// The fingerprint of a certificate.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl RootSet {
    /// Trusts these certificates; repeated ones count once.
    ///
    /// # Errors
    /// When there is none, too many, or one is not a certificate.
    pub fn new(
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, RootsError> {
        let mut unique: Vec<CertificateDer<'static>> = Vec::new();
        for certificate in certificates {
            if !unique.contains(&certificate) {
                unique.push(certificate);
            }
        }
        match unique.len() {
            0 => return Err(RootsError::None),
            1..=ROOTS_MAX => {}
            many => return Err(RootsError::TooMany(many)),
        }
        let anchors = unique.iter().map(anchor).collect::<Result<_, _>>()?;
        Ok(Self { certificates: unique, anchors })
    }

    /// Reads a PEM file with one or several roots.
    ///
    /// # Errors
    /// When it cannot be read or holds no usable roots.
    pub fn load(path: &Path) -> Result<Self, RootsError> {
        let text = files::read_text(path)?;
        let roots = certificate::from_pem(&text).map_err(RootsError::Pem).and_then(Self::new);
        roots.map_err(|source| RootsError::Content {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// Writes the roots as a PEM file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        files::write_atomic(path, self.to_pem().as_bytes(), Access::Public)
    }

    /// The roots as PEM text.
    #[must_use]
    pub fn to_pem(&self) -> String {
        certificate::to_pem(&self.certificates)
    }

    /// The same roots and one more.
    ///
    /// # Errors
    /// As [`RootSet::new`].
    pub fn with(&self, certificate: CertificateDer<'static>) -> Result<Self, RootsError> {
        Self::new(self.certificates.iter().cloned().chain([certificate]))
    }

    /// The certificates.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// Whether the root with this fingerprint is trusted.
    #[must_use]
    pub fn contains(&self, fingerprint: CaFingerprint) -> bool {
        self.certificates.iter().any(|root| CaFingerprint::of(root) == fingerprint)
    }

    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }
}

fn anchor(certificate: &CertificateDer<'static>) -> Result<TrustAnchor<'static>, RootsError> {
    let anchor =
        webpki::anchor_from_trusted_cert(certificate).map_err(RootsError::Damaged)?.to_owned();
    if certificate::is_whole_root(certificate) { Ok(anchor) } else { Err(RootsError::Signature) }
}

impl fmt::Display for CaFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        data_encoding::HEXLOWER.encode_display(&self.0).fmt(f)
    }
}

impl fmt::Debug for CaFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaFingerprint({self})")
    }
}

impl FromStr for CaFingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        let digits: String = text.trim().chars().filter(|c| *c != ':').collect();
        data_encoding::HEXLOWER_PERMISSIVE
            .decode(digits.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or(NotAFingerprint)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn root() -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        CertificateParams::default().self_signed(&key).unwrap().into()
    }

    #[test]
    fn roots_survive_a_file_and_count_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roots.pem");
        let (one, two) = (root(), root());
        let set = RootSet::new([one.clone(), two.clone(), one.clone()]).unwrap();
        set.save(&path).unwrap();
        let read = RootSet::load(&path).unwrap();
        assert_eq!(read.certificates(), [one.clone(), two]);
        assert!(read.contains(CaFingerprint::of(&one)));
        assert!(!read.contains(CaFingerprint::of(&root())));
    }

    #[test]
    fn none_too_many_or_damaged_roots_are_refused() {
        assert!(matches!(RootSet::new([]), Err(RootsError::None)));
        let many = std::iter::repeat_with(root).take(ROOTS_MAX + 1);
        assert!(matches!(RootSet::new(many), Err(RootsError::TooMany(_))));
        let damaged = CertificateDer::from(vec![1, 2, 3]);
        assert!(matches!(RootSet::new([damaged]), Err(RootsError::Damaged(_))));
        let whole = root();
        for at in 0..whole.len() {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 1;
            assert!(RootSet::new([CertificateDer::from(bytes)]).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_fingerprint_reads_as_openssl_prints_it() {
        let fingerprint = CaFingerprint::of(&root());
        let plain = fingerprint.to_string();
        let pairs: Vec<String> = plain
            .to_uppercase()
            .as_bytes()
            .chunks(2)
            .map(|pair| String::from_utf8(pair.to_vec()).unwrap())
            .collect();
        assert_eq!(plain.parse(), Ok(fingerprint));
        assert_eq!(pairs.join(":").parse(), Ok(fingerprint));
        assert_eq!(plain[1..].parse::<CaFingerprint>(), Err(NotAFingerprint));
    }
}
