//! Identity and enrolment: what nodes, departments and administrators hand in.

use hutong_certs::certificate::{CertificateFacts, from_pem, to_pem};
use hutong_certs::enrol::{ClockAsk, ClockTold, EnrolAnswer, EnrolRequest, RenewRequest};
use hutong_certs::identity::{Identity, NodeIdentity};
use hutong_certs::join::{JoinToken, sheet};
use hutong_certs::request::ProvenKey;
use hutong_certs::revoke::Serial;
use hutong_certs::roots::{CaFingerprint, RootSet};
use hutong_schema::wire::frame;
use hutong_schema::wire::v1::kind;

use super::twice;

/// A frame's content on an enrolment connection. What decodes encodes again.
pub(crate) fn enrolment(bytes: &[u8]) {
    let Ok((found, body)) = frame::split(bytes) else { return };
    match found {
        kind::ENROL => twice::<EnrolRequest>(body),
        kind::ENROLLED => twice::<EnrolAnswer>(body),
        kind::RENEW => twice::<RenewRequest>(body),
        kind::CLOCK_ASK => twice::<ClockAsk>(body),
        kind::CLOCK_TOLD => twice::<ClockTold>(body),
        _ => {}
    }
}

/// A join token as a person types it. One token, one text.
pub(crate) fn token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(token) = text.parse::<JoinToken>() {
        assert_eq!(token.to_text().parse::<JoinToken>().unwrap(), token);
    }
}

/// A sheet of tokens as a spreadsheet may have saved it.
pub(crate) fn token_sheet(bytes: &[u8]) {
    if let Ok(rows) = sheet::from_csv(bytes) {
        let again = sheet::to_csv(&rows).unwrap();
        assert_eq!(sheet::from_csv(&again).unwrap().len(), rows.len());
    }
}

/// A certificate, and a file of certificates.
pub(crate) fn certificate(bytes: &[u8]) {
    let _ = CertificateFacts::read(&bytes.into());
    let _ = Serial::from_bytes(bytes);
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(certificates) = from_pem(text)
    {
        assert_eq!(from_pem(&to_pem(&certificates)).unwrap(), certificates);
        certificates.iter().for_each(|each| _ = CertificateFacts::read(each));
        let _ = RootSet::new(certificates);
    }
}

/// A signing request (PKCS #10): whatever it wishes for, only a proven key is taken from it.
pub(crate) fn signing_request(bytes: &[u8]) {
    if let Ok(key) = ProvenKey::from_request(bytes) {
        assert_ne!(key.fingerprint(), [0; 32]);
    }
}

/// The names in certificates, and numbers as administrators type them. What is taken prints to what is taken again.
pub(crate) fn identity(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(identity) = text.parse::<Identity>() {
        assert_eq!(identity.to_string(), text);
    }
    if let Ok(node) = text.parse::<NodeIdentity>() {
        assert_eq!(node.to_string(), text);
    }
    if let Ok(serial) = text.parse::<Serial>() {
        assert_eq!(serial.to_string().parse::<Serial>().unwrap(), serial);
    }
    if let Ok(fingerprint) = text.parse::<CaFingerprint>() {
        assert_eq!(fingerprint.to_string().parse::<CaFingerprint>().unwrap(), fingerprint);
    }
}
