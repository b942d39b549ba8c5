//! A root whose key is kept elsewhere, and the intermediate that issues in its place.
//!
//! The hub makes a key and a request ([`request`]); where the root's key is, the request becomes a
//! certificate ([`Authority::sign_intermediate`]); the hub takes it into use ([`install`]). Another
//! root takes over in the same way, once it is trusted everywhere.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyUsagePurpose, SerialNumber};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Authority, AuthorityError, CERTIFICATE_FILE, KEY_FILE, named, random_serial, uri};
use crate::certificate;
use crate::clock::{self, BACKDATE};
use crate::files::{self, Access};
use crate::identity::Identity;
use crate::request::{PrivateKey, ProvenKey};
use crate::roots::{CaFingerprint, RootSet};

const NEXT_KEY_FILE: &str = "next.key";
const NEXT_CERTIFICATE_FILE: &str = "next.crt";

/// How long an intermediate is valid unless somebody says otherwise.
pub const INTERMEDIATE_VALIDITY: SignedDuration = SignedDuration::from_hours(5 * 365 * 24);

/// A signing request (PKCS #10, DER) for the key that will issue next. The key is made in the
/// authority's folder, unless one waits there already, and never leaves it.
///
/// # Errors
/// When the key cannot be made or written.
pub fn request(folder: &Path) -> Result<Vec<u8>, AuthorityError> {
    files::create_private_folder(folder)?;
    let path = folder.join(NEXT_KEY_FILE);
    if !path.exists() {
        PrivateKey::generate()?.save(&path)?;
    }
    Ok(PrivateKey::load(&path)?.signing_request()?)
}

/// Takes a signed intermediate, followed by its root, into use as the authority of a folder. The new
/// certificate and its key take their places together, whatever happens in between.
///
/// # Errors
/// When nobody asked for it, it is not an authority's, or its root is not trusted here.
pub fn install(
    folder: &Path,
    chain: &[CertificateDer<'static>],
) -> Result<Authority, AuthorityError> {
    let key = folder.join(NEXT_KEY_FILE);
    if !key.exists() {
        return Err(AuthorityError::NoRequest);
    }
    let next = Authority::from_parts(chain, PrivateKey::load(&key)?.into_pair())?;
    if let Ok(roots) = RootSet::load(&folder.join(super::ROOTS_FILE))
        && !roots.contains(next.fingerprint())
    {
        return Err(AuthorityError::NotTrusted(next.fingerprint()));
    }
    let pem = certificate::to_pem(chain);
    files::write_atomic(&folder.join(NEXT_CERTIFICATE_FILE), pem.as_bytes(), Access::Public)?;
    settle(folder)?;
    Authority::load_pair(&folder.join(CERTIFICATE_FILE), &folder.join(KEY_FILE))
}

/// Writes which roots are trusted beside an authority.
///
/// # Errors
/// When the file cannot be written.
pub fn save_roots(folder: &Path, roots: &RootSet) -> Result<(), AuthorityError> {
    Ok(roots.save(&folder.join(super::ROOTS_FILE))?)
}

/// Completes an installation that was interrupted.
pub(super) fn settle(folder: &Path) -> Result<(), AuthorityError> {
    let (next, next_key) = (folder.join(NEXT_CERTIFICATE_FILE), folder.join(NEXT_KEY_FILE));
    if !next.exists() {
        return Ok(());
    }
    // The key first: with it in its place, the certificate that fits it is still found.
    if next_key.exists() {
        files::rename(&next_key, &folder.join(KEY_FILE))?;
    }
    Ok(files::rename(&next, &folder.join(CERTIFICATE_FILE))?)
}

/// Whether one certificate is signed with the other one's key.
pub(super) fn is_signed_by(certificate: &CertificateDer<'_>, by: &CertificateDer<'_>) -> bool {
    let (Ok((_, certificate)), Ok((_, by))) =
        (X509Certificate::from_der(certificate), X509Certificate::from_der(by))
    else {
        return false;
    };
    certificate.verify_signature(Some(by.public_key())).is_ok()
}

impl Authority {
    /// Signs the request of a key that will issue below this root: the certificate, followed by the
    /// root. It can issue for nodes and hubs, but make no further authority.
    ///
    /// # Errors
    /// When the request is refused, this is no root, or it has expired.
    pub fn sign_intermediate(
        &self,
        request: &[u8],
        now: Timestamp,
        validity: SignedDuration,
    ) -> Result<Vec<CertificateDer<'static>>, AuthorityError> {
        if self.is_intermediate() {
            return Err(AuthorityError::NotAnAuthority);
        }
        if now >= self.not_after {
            return Err(AuthorityError::RootExpired(self.not_after));
        }
        let key = ProvenKey::from_request(request)?;
        let serial = random_serial()?;
        let mut params = CertificateParams::default();
        let until = clock::after(now, validity).min(self.not_after);
        clock::set_validity(&mut params, clock::before(now, BACKDATE), until);
        let short = data_encoding::HEXLOWER.encode(&serial[..4]);
        params.distinguished_name = named(&format!("Hutong issuing {short}"));
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.subject_alt_names = vec![uri(&Identity::Exchange(self.exchange.clone()))?];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = true;
        let signed: CertificateDer<'static> =
            params.signed_by(key.spki(), &self.issuer).map_err(AuthorityError::Make)?.into();
        Ok(vec![signed, self.root.clone()])
    }
}

/// The roots without one of them.
///
/// # Errors
/// When it is the authority's own, is not among them, or none would be left.
pub fn without(
    authority: &Authority,
    roots: &RootSet,
    fingerprint: CaFingerprint,
) -> Result<RootSet, AuthorityError> {
    if authority.fingerprint() == fingerprint || !roots.contains(fingerprint) {
        return Err(AuthorityError::NotTrusted(fingerprint));
    }
    let left = roots.certificates().iter().filter(|root| CaFingerprint::of(root) != fingerprint);
    Ok(RootSet::new(left.cloned())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::verify_node;

    fn exchange() -> hutong_schema::ids::ExchangeName {
        "tieling.example".parse().unwrap()
    }

    #[test]
    fn an_intermediate_issues_what_the_offline_roots_followers_accept() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, now) = (dir.path().join("ca"), clock::now());
        let root = Authority::create(&exchange(), now).unwrap();
        let request = request(&folder).unwrap();
        let chain = root.sign_intermediate(&request, now, INTERMEDIATE_VALIDITY).unwrap();
        let issuing = install(&folder, &chain).unwrap();
        assert!(issuing.is_intermediate());
        assert_eq!(issuing.fingerprint(), root.fingerprint(), "tokens name the root");
        assert_eq!(Authority::load(&folder).unwrap().not_after(), issuing.not_after());

        let key = PrivateKey::generate().unwrap();
        let name = "spiffe://tieling.example/department/11100000000013338W/node/n1";
        let issued = issuing
            .issue_node(&key.signing_request().unwrap(), &name.parse().unwrap(), now, BACKDATE)
            .unwrap();
        assert_eq!(issued.chain.len(), 2);
        let roots = RootSet::new([root.root().clone()]).unwrap();
        verify_node(&issued.chain, &roots, &exchange(), clock::to_unix(now)).unwrap();

        let other = PrivateKey::generate().unwrap().signing_request().unwrap();
        assert!(issuing.sign_intermediate(&other, now, BACKDATE).is_err(), "only the root signs");
    }

    #[test]
    fn what_nobody_asked_for_or_trusts_is_not_installed() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, now) = (dir.path().join("ca"), clock::now());
        let old = Authority::create(&exchange(), now).unwrap();
        old.save(&folder).unwrap();
        let next = Authority::create(&exchange(), now).unwrap();
        let foreign = PrivateKey::generate().unwrap().signing_request().unwrap();
        let chain = next.sign_intermediate(&foreign, now, BACKDATE).unwrap();
        assert!(matches!(install(&folder, &chain), Err(AuthorityError::NoRequest)));
        let request = request(&folder).unwrap();
        assert!(matches!(install(&folder, &chain), Err(AuthorityError::KeyMismatch)));
        let chain = next.sign_intermediate(&request, now, BACKDATE).unwrap();
        assert!(matches!(install(&folder, &chain), Err(AuthorityError::NotTrusted(_))));
        let liar = [chain[0].clone(), old.root().clone()];
        assert!(matches!(install(&folder, &liar), Err(AuthorityError::NotAnAuthority)));
        assert_eq!(Authority::load(&folder).unwrap().fingerprint(), old.fingerprint());

        let both = RootSet::new([old.root().clone(), next.root().clone()]).unwrap();
        save_roots(&folder, &both).unwrap();
        let taken = install(&folder, &chain).unwrap();
        assert_eq!(taken.fingerprint(), next.fingerprint());
        assert!(without(&taken, &both, next.fingerprint()).is_err(), "not the own one");
        assert_eq!(without(&taken, &both, old.fingerprint()).unwrap().certificates().len(), 1);
    }

    #[test]
    fn a_crash_during_an_installation_leaves_a_usable_authority() {
        for moved in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let (folder, now) = (dir.path().join("ca"), clock::now());
            let root = Authority::create(&exchange(), now).unwrap();
            root.save(&folder).unwrap();
            let request = request(&folder).unwrap();
            let chain = root.sign_intermediate(&request, now, BACKDATE).unwrap();
            std::fs::write(folder.join(NEXT_CERTIFICATE_FILE), certificate::to_pem(&chain))
                .unwrap();
            if moved {
                std::fs::rename(folder.join(NEXT_KEY_FILE), folder.join(KEY_FILE)).unwrap();
            }
            assert!(Authority::load(&folder).unwrap().is_intermediate());
        }
    }
}
