//! The exchange's certificate authority: makes itself, issues for the hub and for nodes.
//!
//! The certificate that issues is the root itself, or an intermediate below it whose root key is kept
//! offline; see [`offline`].
//!
//! Files in its folder: `ca.key` (0600), `ca.crt` (what issues, and behind it the root, if that is
//! another one) and `roots.pem` (all roots that are trusted, the own one among them; the next one is
//! added there before it takes over).

use std::path::Path;

use aws_lc_rs::rand;
use hutong_schema::ids::ExchangeName;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use rustls_pki_types::CertificateDer;

use crate::certificate::{self, CertificateFacts, CertificateProblem};
use crate::clock::{self, BACKDATE};
use crate::credentials::{Credentials, CredentialsError};
use crate::files::{self, Access, FileError};
use crate::identity::{Identity, NodeIdentity};
use crate::request::{KeyError, PrivateKey, ProvenKey, RequestProblem};
use crate::roots::{CaFingerprint, RootSet, RootsError};

/// How long a node's certificate is valid unless the configuration says otherwise. Renewal begins
/// at two thirds of it, so a node that is switched off for a month still has a valid one.
pub const NODE_VALIDITY: SignedDuration = SignedDuration::from_hours(90 * 24);

/// How long the hub's certificate is valid. The hub issues it itself and can do so at any start.
pub const HUB_VALIDITY: SignedDuration = SignedDuration::from_hours(365 * 24);

/// How long a root is valid: longer than machines live; it is replaced by a takeover, not by age.
pub const ROOT_VALIDITY: SignedDuration = SignedDuration::from_hours(20 * 365 * 24);

const KEY_FILE: &str = "ca.key";
const CERTIFICATE_FILE: &str = "ca.crt";
const ROOTS_FILE: &str = "roots.pem";

/// The authority of one exchange, with its private key in memory.
pub struct Authority {
    exchange: ExchangeName,
    root: CertificateDer<'static>,
    /// What stands between the root and what is issued.
    between: Option<CertificateDer<'static>>,
    not_after: Timestamp,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate that was just issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate first, then what stands between it and the root (nothing, when the root
    /// issues by itself).
    pub chain: Vec<CertificateDer<'static>>,
    /// What the certificate says.
    pub facts: CertificateFacts,
}

/// Why the authority cannot do something.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// There is one in this folder already; its key is never overwritten.
    #[error("{0} exists: an authority's key is never overwritten")]
    Exists(std::path::PathBuf),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The key cannot be read or made.
    #[error("the authority's key")]
    Key(#[from] KeyError),
    /// The trusted roots cannot be read.
    #[error("the trusted roots")]
    Roots(#[from] RootsError),
    /// The certificate file holds something else than one root of an exchange, or an intermediate and
    /// its root.
    #[error(
        "not the whole certificate of an exchange's authority, alone or followed by its root; bring ca.crt back from a backup"
    )]
    NotAnAuthority,
    /// The root is not trusted.
    #[error("the root {0} is not trusted here; add it first: hutong-hub ca trust FILE")]
    NotTrusted(CaFingerprint),
    /// There is no key that waits for its certificate.
    #[error("no key waits for this certificate; make one with: hutong-hub ca request --out FILE")]
    NoRequest,
    /// Key and certificate are of different authorities.
    #[error("ca.key does not belong to ca.crt; bring both back from a backup")]
    KeyMismatch,
    /// The identity is of another exchange.
    #[error("{identity} is not of the exchange {exchange}")]
    OtherExchange {
        /// Who asks.
        identity: NodeIdentity,
        /// The authority's exchange.
        exchange: ExchangeName,
    },
    /// The signing request is refused.
    #[error(transparent)]
    Request(#[from] RequestProblem),
    /// A name is not one that a certificate can carry.
    #[error("{0} is not a name that a certificate can carry")]
    Name(String),
    /// The root itself is over.
    #[error(
        "the authority's own certificate expired at {0}: have a new one signed, see docs/certificates.md"
    )]
    RootExpired(Timestamp),
    /// Signing failed.
    #[error("the certificate could not be made")]
    Make(#[source] rcgen::Error),
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Randomness,
    /// What was made does not read back.
    #[error("the certificate that was made is not usable")]
    Made(#[from] CertificateProblem),
    /// What was made does not fit its key.
    #[error("the credentials that were made are not usable")]
    MadeCredentials(#[from] CredentialsError),
}

impl Authority {
    /// Makes a new authority with a new key, valid from a day before `now` for 20 years.
    ///
    /// # Errors
    /// When key or certificate cannot be made.
    pub fn create(exchange: &ExchangeName, now: Timestamp) -> Result<Self, AuthorityError> {
        let key = PrivateKey::generate()?.into_pair();
        let serial = random_serial()?;
        let mut params = CertificateParams::default();
        clock::set_validity(
            &mut params,
            clock::before(now, BACKDATE),
            clock::after(now, ROOT_VALIDITY),
        );
        // The serial tells the roots of one exchange apart, also in the eyes of a person.
        let short = data_encoding::HEXLOWER.encode(&serial[..4]);
        params.distinguished_name = named(&format!("Hutong root {short}"));
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.subject_alt_names = vec![uri(&Identity::Exchange(exchange.clone()))?];
        // One intermediate may stand below, so that the root's key can go offline one day.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root: CertificateDer<'static> =
            params.self_signed(&key).map_err(AuthorityError::Make)?.into();
        Self::from_parts(&[root], key)
    }

    /// Writes key, certificate and trusted roots into a folder, which is made if it is not there.
    ///
    /// # Errors
    /// When there is an authority in it already, or a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), AuthorityError> {
        files::create_private_folder(folder)?;
        let key = folder.join(KEY_FILE);
        if key.exists() {
            return Err(AuthorityError::Exists(key));
        }
        // The key goes last: a folder without it is not an authority, and can be written again.
        let roots = certificate::to_pem([&self.root]);
        files::write_atomic(&folder.join(ROOTS_FILE), roots.as_bytes(), Access::Public)?;
        let chain = certificate::to_pem(self.between.iter().chain([&self.root]));
        files::write_atomic(&folder.join(CERTIFICATE_FILE), chain.as_bytes(), Access::Public)?;
        let text = self.issuer.key().serialize_pem();
        Ok(files::write_atomic(&key, text.as_bytes(), Access::Private)?)
    }

    /// Reads the authority of a folder.
    ///
    /// # Errors
    /// When a file is missing or damaged, or key and certificate do not fit.
    pub fn load(folder: &Path) -> Result<Self, AuthorityError> {
        offline::settle(folder)?;
        Self::load_pair(&folder.join(CERTIFICATE_FILE), &folder.join(KEY_FILE))
    }

    fn load_pair(certificate: &Path, key: &Path) -> Result<Self, AuthorityError> {
        let key = PrivateKey::load(key)?.into_pair();
        let text = files::read_text(certificate)?;
        let chain = certificate::from_pem(&text).map_err(|_| AuthorityError::NotAnAuthority)?;
        Self::from_parts(&chain, key)
    }

    /// Reads the roots that are trusted beside an authority: `roots.pem` of its folder and its own.
    ///
    /// # Errors
    /// When the file is missing or damaged.
    pub fn load_roots(&self, folder: &Path) -> Result<RootSet, AuthorityError> {
        Ok(RootSet::load(&folder.join(ROOTS_FILE))?.with(self.root.clone())?)
    }

    /// Issues a certificate for a node: the key is the request's, everything else is decided here.
    /// Valid from a day before `now` for `validity` after it, but not longer than the root.
    ///
    /// # Errors
    /// When the request is refused, the node is of another exchange, or the root has expired.
    pub fn issue_node(
        &self,
        request: &[u8],
        identity: &NodeIdentity,
        now: Timestamp,
        validity: SignedDuration,
    ) -> Result<Issued, AuthorityError> {
        self.issue_node_key(&ProvenKey::from_request(request)?, identity, now, validity)
    }

    /// [`Self::issue_node`] for a request that was verified before.
    ///
    /// # Errors
    /// When the node is of another exchange, or the root has expired.
    pub fn issue_node_key(
        &self,
        key: &ProvenKey,
        identity: &NodeIdentity,
        now: Timestamp,
        validity: SignedDuration,
    ) -> Result<Issued, AuthorityError> {
        if identity.exchange != self.exchange {
            return Err(AuthorityError::OtherExchange {
                identity: identity.clone(),
                exchange: self.exchange.clone(),
            });
        }
        let mut params = self.leaf(now, validity)?;
        params.distinguished_name = named(identity.node.as_str());
        params.subject_alt_names = vec![uri(&Identity::Node(identity.clone()))?];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params, key.spki())
    }

    /// Makes a key and a certificate for the hub. Agents know it by its SPIFFE name, so the host
    /// names and addresses may be any number and may change; they are there for other tools.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate, or the root has expired.
    pub fn issue_hub(
        &self,
        names: &[HubName],
        now: Timestamp,
        validity: SignedDuration,
    ) -> Result<Credentials, AuthorityError> {
        let key = PrivateKey::generate()?;
        let mut params = self.leaf(now, validity)?;
        params.distinguished_name = named("hub");
        params.subject_alt_names = vec![uri(&Identity::Hub(self.exchange.clone()))?];
        for name in names {
            params.subject_alt_names.push(name.to_san()?);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let issued = self.sign(&params, key.pair())?;
        Ok(Credentials::new(issued.chain, key)?)
    }

    /// The exchange.
    #[must_use]
    pub fn exchange(&self) -> &ExchangeName {
        &self.exchange
    }

    /// Until when it can issue.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// The root certificate.
    #[must_use]
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// Whether an intermediate issues, so that the root's key need not be here.
    #[must_use]
    pub fn is_intermediate(&self) -> bool {
        self.between.is_some()
    }

    /// The root's fingerprint, as it stands in join tokens.
    #[must_use]
    pub fn fingerprint(&self) -> CaFingerprint {
        CaFingerprint::of(&self.root)
    }

    fn from_parts(chain: &[CertificateDer<'static>], key: KeyPair) -> Result<Self, AuthorityError> {
        let (issuing, root) = match chain {
            [root] => (root, root),
            [issuing, root] if offline::is_signed_by(issuing, root) => (issuing, root),
            _ => return Err(AuthorityError::NotAnAuthority),
        };
        let facts = CertificateFacts::read(issuing).map_err(|_| AuthorityError::NotAnAuthority)?;
        let above = CertificateFacts::read(root).map_err(|_| AuthorityError::NotAnAuthority)?;
        let Identity::Exchange(exchange) = facts.identity else {
            return Err(AuthorityError::NotAnAuthority);
        };
        let whole = certificate::is_whole_root(root);
        if !whole || above.identity != Identity::Exchange(exchange.clone()) {
            return Err(AuthorityError::NotAnAuthority);
        }
        if facts.public_key != rcgen::PublicKeyData::subject_public_key_info(&key) {
            return Err(AuthorityError::KeyMismatch);
        }
        let issuer = Issuer::from_ca_cert_der(issuing, key).map_err(AuthorityError::Make)?;
        let between = (chain.len() > 1).then(|| issuing.clone());
        let not_after = facts.not_after.min(above.not_after);
        Ok(Self { exchange, root: root.clone(), between, not_after, issuer })
    }

    fn leaf(
        &self,
        now: Timestamp,
        validity: SignedDuration,
    ) -> Result<CertificateParams, AuthorityError> {
        if now >= self.not_after {
            return Err(AuthorityError::RootExpired(self.not_after));
        }
        let mut params = CertificateParams::default();
        let until = clock::after(now, validity).min(self.not_after);
        clock::set_validity(&mut params, clock::before(now, BACKDATE), until);
        params.serial_number = Some(SerialNumber::from_slice(&random_serial()?));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }

    fn sign(
        &self,
        params: &CertificateParams,
        key: &impl rcgen::PublicKeyData,
    ) -> Result<Issued, AuthorityError> {
        let certificate: CertificateDer<'static> =
            params.signed_by(key, &self.issuer).map_err(AuthorityError::Make)?.into();
        let facts = CertificateFacts::read(&certificate)?;
        let chain = [certificate].into_iter().chain(self.between.clone()).collect();
        Ok(Issued { chain, facts })
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({} {})", self.exchange, self.fingerprint())
    }
}

/// 128 random bits; the first is set, so that all serials have the same length.
fn random_serial() -> Result<[u8; 16], AuthorityError> {
    let mut serial = [0; 16];
    rand::fill(&mut serial).map_err(|_| AuthorityError::Randomness)?;
    serial[0] |= 0x80;
    Ok(serial)
}

mod names;
pub mod offline;

pub use names::HubName;
use names::{named, uri};

#[cfg(test)]
mod tests;
