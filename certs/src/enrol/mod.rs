//! Enrolment (`hutong-enrol/1`): a node shows its join token and a signing request and gets its
//! certificate; later it shows that certificate, signs for it, and gets the next one.
//!
//! A renewal ([`RenewRequest`]) goes the same way whether the certificate is still good or expired up
//! to [90 days](crate::lifetime::RENEWABLE_FOR) ago, so it is not a client certificate of TLS: what
//! is signed with its key is bound to this very connection (RFC 5705 exporter) and to the new key.
//!
//! One connection may enrol several nodes, one bidirectional stream each: the node sends
//! [`EnrolRequest`], the hub answers [`EnrolAnswer`] or a [`Refused`]. If the answer is lost, the
//! node asks again with the same key and gets one; any other key is refused.

mod client;
mod event;
mod folder;
mod proof;
mod renew;
mod server;

use hutong_schema::ids::{CreditCode, NodeName};
use hutong_schema::wire::frame::Message;
use hutong_schema::wire::v1::{Ran, Refused, kind};
use serde::{Deserialize, Serialize};

pub use client::{EnrolError, connect, enrol};
pub use event::{EnrolEvent, NotRecorded};
pub use folder::{FolderError, NodeFolder, NodeMaterial};
pub use renew::{connect_known, connect_to_compare_clocks, hub_clock, renew};
pub use server::Enrolment;

/// Largest frame of this protocol, bytes: a chain and [sixteen](crate::roots::ROOTS_MAX) roots
/// take less than half of it.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;

/// What a node asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolRequest {
    /// Name and version of the node's software, for the hub's log.
    pub software: String,
    /// The node's clock, milliseconds since 1970.
    pub clock_ms: i64,
    /// The token's secret.
    pub secret: SecretBytes,
    /// The department in the token.
    pub department: CreditCode,
    /// The node in the token.
    pub node: NodeName,
    /// Signing request (PKCS #10, DER) for the node's own key.
    pub signing_request: Vec<u8>,
}

/// What the hub grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolAnswer {
    /// The node's certificate (DER), then what stands between it and the root.
    pub chain: Vec<Vec<u8>>,
    /// All roots that the exchange trusts (DER).
    pub roots: Vec<Vec<u8>>,
    /// The hub's clock, milliseconds since 1970.
    pub hub_time_ms: i64,
}

/// What a node with a certificate asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewRequest {
    /// Name and version of the node's software, for the hub's log.
    pub software: String,
    /// The node's clock, milliseconds since 1970.
    pub clock_ms: i64,
    /// The certificate that is to be replaced (DER), then what stands between it and the root.
    pub chain: Vec<Vec<u8>>,
    /// Signing request (PKCS #10, DER) for the next key.
    pub signing_request: Vec<u8>,
    /// Signature with the key of the certificate (ECDSA P-256, SHA-256, ASN.1) over the text
    /// `hutong-enrol/1 renew`, a zero byte, 32 bytes exported from the connection under that text as
    /// label, and the SHA-256 of the signing request.
    pub proof: Vec<u8>,
}

/// Asks for the hub's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockAsk {}

/// The hub's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockTold {
    /// Milliseconds since 1970.
    pub hub_time_ms: i64,
}

/// A token's secret in a message; its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretBytes(pub [u8; 32]);

/// Why an enrolment is refused. Numbers are never used twice; `HT-<number>` is the stable code that
/// people see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EnrolRefusal {
    /// The signing request is malformed, or not signed with its own P-256 key.
    SigningRequest,
    /// The hub knows no such token.
    TokenUnknown,
    /// The token's time is over.
    TokenExpired,
    /// Another key has used the token.
    TokenUsed,
    /// The token is for another node.
    WrongIdentity,
    /// The hub cannot enrol at this moment.
    Unavailable,
    /// The message is not one that was due.
    Protocol,
    /// The certificate that was shown cannot be renewed.
    Certificate,
    /// Nothing proves that the node holds the certificate's key.
    Proof,
    /// The certificate expired too long ago.
    TooLate,
}

impl EnrolRefusal {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::SigningRequest,
        Self::TokenUnknown,
        Self::TokenExpired,
        Self::TokenUsed,
        Self::WrongIdentity,
        Self::Unavailable,
        Self::Protocol,
        Self::Certificate,
        Self::Proof,
        Self::TooLate,
    ];

    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::SigningRequest => 2101,
            Self::TokenUnknown => 2102,
            Self::TokenExpired => 2103,
            Self::TokenUsed => 2104,
            Self::WrongIdentity => 2105,
            Self::Unavailable => 2106,
            Self::Protocol => 2107,
            Self::Certificate => 2108,
            Self::Proof => 2109,
            Self::TooLate => 2110,
        }
    }

    /// The refusal of a number.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.number() == number)
    }

    /// The message that says it.
    fn message(self, detail: String) -> Refused {
        let ran = match self {
            // The token may count as used by this key now; asking again with the same key is right.
            Self::Unavailable => Ran::Unknown,
            Self::SigningRequest
            | Self::TokenUnknown
            | Self::TokenExpired
            | Self::TokenUsed
            | Self::WrongIdentity
            | Self::Protocol
            | Self::Certificate
            | Self::Proof
            | Self::TooLate => Ran::No,
        };
        Refused { code: self.number(), detail, ran, retry_after_ms: None, expected: None }
    }
}

impl Message for EnrolRequest {
    const KIND: u8 = kind::ENROL;
}

impl Message for EnrolAnswer {
    const KIND: u8 = kind::ENROLLED;
}

impl Message for RenewRequest {
    const KIND: u8 = kind::RENEW;
}

impl Message for ClockAsk {
    const KIND: u8 = kind::CLOCK_ASK;
}

impl Message for ClockTold {
    const KIND: u8 = kind::CLOCK_TOLD;
}

impl std::fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretBytes(…)")
    }
}

#[cfg(test)]
mod tests {
    use hutong_schema::{
        explain::{Language, StableCode, page},
        wire::frame,
    };

    use super::*;

    fn request() -> EnrolRequest {
        EnrolRequest {
            software: "hutong-agent 0.1.0".to_owned(),
            clock_ms: 1_795_262_400_000,
            secret: SecretBytes([0xab; 32]),
            department: "11100000000013338W".parse().unwrap(),
            node: "n0001".parse().unwrap(),
            signing_request: vec![0x30, 0x03, 1, 2, 3],
        }
    }

    /// The bytes on the wire are fixed: agents of other versions send and expect them.
    #[test]
    fn golden_bytes_of_both_messages() {
        let hex = |bytes: Vec<u8>| data_encoding::HEXLOWER.encode(&bytes);
        let secret = "ab".repeat(32);
        assert_eq!(
            hex(frame::encode(&request()).unwrap()),
            format!(
                "5c00000060\
                 126875746f6e672d6167656e7420302e312e30\
                 fd008cf4fb43030000\
                 {secret}\
                 12313131303030303030303030313333333857\
                 056e30303031\
                 053003010203"
            )
        );
        let answer =
            EnrolAnswer { chain: vec![vec![1, 2]], roots: vec![vec![3], vec![4]], hub_time_ms: 1 };
        assert_eq!(hex(frame::encode(&answer).unwrap()), "0b0000006101020102020103010402");
        let renew = RenewRequest {
            software: "a".to_owned(),
            clock_ms: 1,
            chain: vec![vec![1, 2]],
            signing_request: vec![3],
            proof: vec![4, 5],
        };
        let expected = "0d0000006201610201020102010302 0405".replace(' ', "");
        assert_eq!(hex(frame::encode(&renew).unwrap()), expected);
        assert_eq!(hex(frame::encode(&ClockAsk {}).unwrap()), "0100000063");
        assert_eq!(hex(frame::encode(&ClockTold { hub_time_ms: 1 }).unwrap()), "020000006402");
    }

    #[test]
    fn every_refusal_is_explained() {
        for refusal in EnrolRefusal::ALL {
            let code = StableCode::new(refusal.number()).unwrap();
            for language in Language::ALL {
                assert!(page(code, language).is_some(), "{code} has no page in {language:?}");
            }
        }
    }

    #[test]
    fn messages_survive_the_wire_and_nothing_shows_the_secret() {
        let bytes = frame::encode(&request()).unwrap();
        assert_eq!(frame::expect::<EnrolRequest>(&bytes[frame::PREFIX..]).unwrap(), request());
        assert!(frame::expect::<EnrolAnswer>(&bytes[frame::PREFIX..]).is_err());
        assert!(!format!("{:?}", request()).contains("171"));
    }

    #[test]
    fn mutated_messages_never_panic() {
        let bytes = frame::encode(&request()).unwrap();
        for at in frame::PREFIX..bytes.len() {
            for value in [0, 1, 0x7f, 0xfa, 0xfb, 0xfc, 0xfd, 0xff] {
                let mut mutated = bytes.clone();
                mutated[at] = value;
                let _ = frame::expect::<EnrolRequest>(&mutated[frame::PREFIX..]);
            }
            assert!(frame::expect::<EnrolRequest>(&bytes[frame::PREFIX..at]).is_err());
        }
    }

    #[test]
    fn refusals_have_numbers_of_their_own() {
        for refusal in EnrolRefusal::ALL {
            assert_eq!(EnrolRefusal::from_number(refusal.number()), Some(refusal));
        }
        assert_eq!(EnrolRefusal::from_number(1), None);
    }
}
