//! Why a handshake failed, in words that both ends can show to a person.
//!
//! The side that refuses puts the text of its [`PeerRefusal`] into the closing frame, so the
//! refused side learns the reason, and the time on the other side's clock, instead of an alert's
//! number.

use std::fmt;
use std::sync::Arc;

use hutong_schema::ids::ExchangeName;
use jiff::Timestamp;
use quinn::ConnectionError;
use rustls::{CertificateError, OtherError};

use crate::certificate::CertificateProblem;
use crate::identity::{Identity, IdentityError};
use crate::revoke::Serial;
use crate::roots::CaFingerprint;

/// Why a peer's certificate is refused. The text is written for both sides: it says "the
/// certificate" and "the checking side".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerRefusal {
    /// Its time is over.
    #[error(
        "HT-2001: the certificate expired at {not_after}; the checking side's clock says {clock}"
    )]
    Expired {
        /// End of its validity.
        not_after: Timestamp,
        /// The clock it was compared with.
        clock: Timestamp,
    },
    /// Its time has not come.
    #[error(
        "HT-2002: the certificate is not valid before {not_before}; the checking side's clock says {clock}"
    )]
    NotYetValid {
        /// Beginning of its validity.
        not_before: Timestamp,
        /// The clock it was compared with.
        clock: Timestamp,
    },
    /// None of the trusted roots issued it.
    #[error("HT-2003: the certificate comes from no authority that the checking side trusts")]
    UnknownAuthority,
    /// It belongs to another exchange.
    #[error("HT-2004: the certificate is of the exchange {found}, this is {expected}")]
    WrongExchange {
        /// The exchange of the side that checks.
        expected: ExchangeName,
        /// The exchange in the certificate.
        found: ExchangeName,
    },
    /// It was revoked.
    #[error("HT-2005: the certificate {serial} is revoked: {reason:.200}")]
    Revoked {
        /// Its serial number.
        serial: Serial,
        /// Why, in the operator's words.
        reason: Arc<str>,
    },
    /// It is a node's where the hub's is due, or the other way round.
    #[error("HT-2006: the certificate is that of {found}, another role is due here")]
    WrongRole {
        /// Whose it is.
        found: Identity,
    },
    /// It is malformed or uses what the exchange does not.
    #[error("HT-2007: the certificate cannot be used: {0}")]
    Unusable(String),
    /// The root that a join token names is not among those shown.
    #[error(
        "HT-2009: the hub does not belong to the authority {expected} that the join token names"
    )]
    WrongFingerprint {
        /// The fingerprint in the token.
        expected: CaFingerprint,
    },
}

/// Who ended a handshake or connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// This side refused the peer.
    Us,
    /// The peer refused this side, or closed.
    Peer,
    /// Nobody: the network failed or nobody answered.
    Network,
}

/// A failed or ended connection, explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeFailure {
    /// Who ended it.
    pub by: By,
    /// The stable code (`HT-2001` and so on), if it was a certificate's fault.
    pub code: Option<String>,
    /// The reason in words, with the clocks of both sides where they matter.
    pub text: String,
}

impl fmt::Display for HandshakeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for HandshakeFailure {}

/// Explains why a connection failed. `now` is this side's clock.
#[must_use]
pub fn explain(error: &ConnectionError, now: Timestamp) -> HandshakeFailure {
    let (by, reason) = match error {
        ConnectionError::TransportError(error) => (By::Us, error.reason.clone()),
        ConnectionError::ConnectionClosed(close) => {
            (By::Peer, String::from_utf8_lossy(&close.reason).into_owned())
        }
        ConnectionError::ApplicationClosed(close) => {
            let reason = printable(&String::from_utf8_lossy(&close.reason));
            if let Some(code) = leading_code(&reason) {
                let text = format!("the other side closed the connection: {reason}");
                return HandshakeFailure { by: By::Peer, code: Some(code), text };
            }
            (By::Peer, String::new())
        }
        ConnectionError::Reset => (By::Peer, String::new()),
        ConnectionError::LocallyClosed | ConnectionError::CidsExhausted => (By::Us, String::new()),
        ConnectionError::TimedOut | ConnectionError::VersionMismatch => {
            (By::Network, String::new())
        }
    };
    let Some(refusal) = words(&reason).map(printable) else {
        return HandshakeFailure { by, code: None, text: printable(&error.to_string()) };
    };
    let code = refusal.split(':').next().map(str::to_owned);
    let text = match by {
        By::Peer => {
            format!("the other side refuses us: {refusal}; this machine's clock says {now:.0}")
        }
        By::Us | By::Network => format!("the other side is refused: {refusal}"),
    };
    HandshakeFailure { by, code, text }
}

impl PeerRefusal {
    /// From a failed verification of the chain. `expected` is the own exchange, `found` the one
    /// that the certificate claims, which turns "unknown authority" into something more helpful.
    pub(super) fn from_chain(
        error: webpki::Error,
        expected: Option<&ExchangeName>,
        found: &ExchangeName,
    ) -> Self {
        use webpki::Error as E;
        #[allow(clippy::wildcard_enum_match_arm)] // a foreign, growing list; the rest has no advice
        match (error, expected) {
            (E::CertExpired { time, not_after }, _) => Self::Expired {
                not_after: crate::clock::from_unix(not_after),
                clock: crate::clock::from_unix(time),
            },
            (E::CertNotValidYet { time, not_before }, _) => Self::NotYetValid {
                not_before: crate::clock::from_unix(not_before),
                clock: crate::clock::from_unix(time),
            },
            (E::UnknownIssuer | E::InvalidSignatureForPublicKey, Some(expected))
                if expected != found =>
            {
                Self::WrongExchange { expected: expected.clone(), found: found.clone() }
            }
            (E::UnknownIssuer | E::InvalidSignatureForPublicKey, _) => Self::UnknownAuthority,
            (other, _) => Self::Unusable(other.to_string()),
        }
    }
}

impl From<CertificateProblem> for PeerRefusal {
    fn from(problem: CertificateProblem) -> Self {
        Self::Unusable(problem.to_string())
    }
}

impl From<IdentityError> for PeerRefusal {
    fn from(error: IdentityError) -> Self {
        Self::Unusable(error.to_string())
    }
}

impl From<PeerRefusal> for rustls::Error {
    /// The alert is the general one; the text travels with the close.
    fn from(refusal: PeerRefusal) -> Self {
        CertificateError::Other(OtherError(Arc::new(InWords(refusal)))).into()
    }
}

/// rustls puts foreign errors into its own texts, and so into the closing frame, by their `Debug`:
/// `invalid peer certificate: Other(OtherError(…))`. This one's is the text for people.
#[derive(thiserror::Error)]
#[error(transparent)]
struct InWords(PeerRefusal);

impl fmt::Debug for InWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The text of an [`InWords`] within an error's or closing frame's text.
fn words(reason: &str) -> Option<&str> {
    let refusal = &reason[reason.find("HT-20")?..];
    Some(refusal.strip_suffix("))").unwrap_or(refusal))
}

/// The stable code that a text begins with.
fn leading_code(text: &str) -> Option<String> {
    let digits = text.strip_prefix("HT-")?.chars().take_while(char::is_ascii_digit).count();
    (digits == 4).then(|| text[.."HT-".len() + digits].to_owned())
}

/// A peer's text without anything that could disturb a terminal or a log line.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
