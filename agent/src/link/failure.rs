//! Why there is no connection, in words that tell a person what to do.

use std::time::Duration;

use hutong_certs::{
    stream::StreamError,
    tls::{By, HandshakeFailure, TlsError},
};
use hutong_schema::wire::v1::{RefusalCode, Refused};

/// Why a connection did not come about, or ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The hub's name has no address.
    #[error("the hub's address {address} cannot be resolved")]
    Resolve {
        /// As configured.
        address: String,
        /// The system's answer; absent when there are no addresses.
        #[source]
        source: Option<std::io::Error>,
    },
    /// The local socket cannot be opened.
    #[error("no UDP socket can be opened on this machine")]
    Socket(#[source] std::io::Error),
    /// Nobody answered.
    #[error("no answer from {address} over UDP within {} s", within.as_secs())]
    Silent {
        /// As configured.
        address: String,
        /// How long was waited.
        within: Duration,
    },
    /// The dial could not be begun.
    #[error("the connection cannot be begun")]
    Dial(#[source] quinn::ConnectError),
    /// The TLS configuration cannot be made.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The handshake failed, or the connection ended.
    #[error("{0}")]
    Ended(#[from] HandshakeFailure),
    /// A certificate is out of its time by one of the two clocks, and they differ.
    #[error("{failure}; {}", apart(*.ahead_ms))]
    Clocks {
        /// What was refused.
        failure: HandshakeFailure,
        /// This machine's clock minus the hub's, milliseconds.
        ahead_ms: i64,
    },
    /// The hub refused, with a code.
    #[error("{0}")]
    Refused(#[from] Refused),
    /// The hub said goodbye.
    #[error("the hub closed the connection: {0}")]
    Goodbye(String),
    /// The hub does not follow the protocol.
    #[error("the hub does not follow the protocol: {0}")]
    Protocol(String),
    /// A stream broke.
    #[error("the connection broke")]
    Stream(#[from] StreamError),
    /// This side ends.
    #[error("the agent is shutting down")]
    Cancelled,
}

impl LinkError {
    /// What a person should do about it; `None` when it mends itself.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Resolve { .. } => Some("check [hub] address and this machine's name resolution"),
            Self::Socket(_) => Some("check the limits on open files and the machine's network"),
            Self::Silent { .. } => Some(
                "the hub is down, the address or port is wrong, or a firewall on the way drops UDP: QUIC needs UDP, an open TCP port does not help",
            ),
            Self::Ended(failure) => by_handshake(failure),
            Self::Clocks { .. } => Some(
                "check this machine's clock first (timedatectl): the hub's is compared with all other machines; if this one is right, tell the hub's operator",
            ),
            Self::Refused(refused) => by_refusal(refused),
            Self::Dial(_) | Self::Tls(_) => {
                Some("this is a fault of the software or its build: report it")
            }
            Self::Protocol(_) => Some("update the older side; if both are current, report it"),
            Self::Goodbye(_) | Self::Stream(_) | Self::Cancelled => None,
        }
    }

    /// Whether trying again by itself can help before a person did something.
    pub fn needs_person(&self) -> bool {
        match self {
            Self::Ended(failure) => failure.code.is_some(),
            Self::Refused(refused) => !matches!(
                refused.reason(),
                Some(
                    RefusalCode::NotReady
                        | RefusalCode::Busy
                        | RefusalCode::TooMany
                        | RefusalCode::Hasty
                        | RefusalCode::Slow
                )
            ),
            Self::Clocks { .. }
            | Self::Resolve { .. }
            | Self::Socket(_)
            | Self::Dial(_)
            | Self::Tls(_)
            | Self::Protocol(_) => true,
            Self::Silent { .. } | Self::Goodbye(_) | Self::Stream(_) | Self::Cancelled => false,
        }
    }
}

fn by_handshake(failure: &HandshakeFailure) -> Option<&'static str> {
    match failure.code.as_deref() {
        Some("HT-2001" | "HT-2002") if failure.by == By::Us => Some(
            "the hub's certificate is out of its time by both clocks, if both could be compared: tell the hub's operator",
        ),
        Some("HT-2001" | "HT-2002") => Some(
            "the clocks agree, if both could be compared: the agent renews an expired certificate by itself for 90 days; after that: hutong-agent enrol --anew --token FILE with a new join token",
        ),
        Some("HT-2003" | "HT-2004" | "HT-2009") => Some(
            "one side belongs to another exchange or was set up anew: check [hub] address, then enrol again with a token of this hub",
        ),
        Some("HT-2005") => Some(
            "ask the hub's operator why, and for a new join token; then run: hutong-agent enrol --anew --token FILE",
        ),
        // The hub's words say what to do.
        Some(code) if code.starts_with("HT-1") => None,
        Some(_) => Some("enrol the node again with a new token of this hub"),
        None => None,
    }
}

/// A difference of clocks that explains a certificate out of its time.
pub(super) const CLOCKS_DIFFER_MS: i64 = 60_000;

/// How far this machine's clock is from the hub's, in words.
fn apart(ahead_ms: i64) -> String {
    let seconds = ahead_ms.unsigned_abs() / 1_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let far = match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} days {hours} h"),
    };
    let side = if ahead_ms < 0 { "behind" } else { "ahead of" };
    format!("this machine's clock is {far} {side} the hub's")
}

/// Refusals that a person can do something about; the others mend themselves or say enough.
const ADVICE: [(RefusalCode, &str); 11] = [
    (RefusalCode::Version, "update the older of the two programs"),
    (RefusalCode::Identity, "ask the hub's operator for a join token and enrol the node again"),
    (RefusalCode::UnknownNode, "ask the hub's operator for a join token and enrol the node again"),
    (
        RefusalCode::Elsewhere,
        "another machine runs with a copy of this node's identity: stop one of them, or enrol it under a name of its own",
    ),
    (RefusalCode::NotRegistered, "register the resource with: hutong-agent catalogue apply FILE"),
    (
        RefusalCode::NotYours,
        "the resource belongs to another department: correct the configuration",
    ),
    (RefusalCode::Leased, "another node publishes this resource: remove it from one of the two"),
    (
        RefusalCode::Crowded,
        "wait; if it stays, see whether other machines run with copies of this node's identity",
    ),
    (
        RefusalCode::Quota,
        "delete what is not needed at the source, or ask the hub's operator for more room; deletes are still taken",
    ),
    (RefusalCode::Catalogue, "correct the entries named and apply them again"),
    (RefusalCode::NotGranted, "apply for a grant at the hub's operator"),
];

fn by_refusal(refused: &Refused) -> Option<&'static str> {
    let reason = refused.reason()?;
    ADVICE.iter().find(|(code, _)| *code == reason).map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_port_a_bad_certificate_and_a_refusal_give_different_advice() {
        let silent = LinkError::Silent {
            address: "hub.example:7443".into(),
            within: Duration::from_secs(10),
        };
        let expired = LinkError::Ended(HandshakeFailure {
            by: By::Peer,
            code: Some("HT-2001".into()),
            text: "the other side refuses us: HT-2001".into(),
        });
        let unknown = LinkError::Refused(Refused::new(RefusalCode::UnknownNode, "node n1"));
        let advice: Vec<_> =
            [&silent, &expired, &unknown].map(|error| error.advice().unwrap()).into();
        assert!(advice[0].contains("UDP"));
        assert!(advice[1].contains("clocks agree"));
        assert!(advice[2].contains("join token"));
        assert!(!silent.needs_person() && expired.needs_person() && unknown.needs_person());
    }

    #[test]
    fn clocks_that_differ_are_told_with_how_much_and_which_to_check() {
        let failure = HandshakeFailure {
            by: By::Us,
            code: Some("HT-2002".into()),
            text: "the other side is refused: HT-2002".into(),
        };
        let told = |ahead_ms| LinkError::Clocks { failure: failure.clone(), ahead_ms }.to_string();
        assert!(
            told(-93_600_000).ends_with("is 1 days 2 h behind the hub's"),
            "{}",
            told(-93_600_000)
        );
        assert!(
            told(3_900_000).ends_with("is 1 h 5 min ahead of the hub's"),
            "{}",
            told(3_900_000)
        );
        let error = LinkError::Clocks { failure, ahead_ms: -93_600_000 };
        assert!(error.advice().unwrap().contains("timedatectl") && error.needs_person());
    }

    #[test]
    fn a_hub_that_is_starting_needs_nobody() {
        let starting = LinkError::Refused(Refused::new(RefusalCode::NotReady, "starting"));
        assert!(!starting.needs_person());
        assert_eq!(starting.advice(), None);
    }
}
