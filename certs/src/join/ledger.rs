//! What the hub knows of its tokens, and what it decides: pure state, no file and no clock.

use std::collections::HashMap;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use hutong_schema::ids::{CreditCode, NodeName};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::token::Secret;

/// How long an expired token is remembered, so that its holder is told "expired" and not
/// "unknown".
pub(super) const REMEMBER: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What became of a token that was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redemption {
    /// It is good: the certificate may be issued.
    Redeemed {
        /// The same key asked before: its answer got lost on the way.
        again: bool,
    },
    /// No such token was issued, or it was withdrawn or forgotten.
    Unknown,
    /// It was good until then.
    Expired {
        /// When it expired.
        at: Timestamp,
    },
    /// Another key has had it.
    AlreadyUsed {
        /// When it was used.
        at: Timestamp,
    },
    /// It is for another node than the one that asks.
    WrongIdentity,
}

/// A token as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenState {
    /// The department that it is for.
    pub department: CreditCode,
    /// The node that it is for.
    pub node: NodeName,
    /// When it expires.
    pub expires: Timestamp,
    /// Whether it can still be used.
    pub status: TokenStatus,
}

/// Whether a token can still be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenStatus {
    /// It can.
    Open,
    /// It was used then.
    Used(Timestamp),
    /// Nobody used it in time.
    Expired,
}

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Event {
    /// A token was issued.
    Issue { hash: Hash, department: CreditCode, node: NodeName, expires: Timestamp },
    /// A token was used.
    Redeem { hash: Hash, key: Hash, at: Timestamp },
    /// A token was taken back.
    Withdraw { hash: Hash },
}

/// 32 bytes, as hex in the journal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(super) struct Hash(pub(super) [u8; 32]);

#[derive(Debug)]
struct Entry {
    hash: Hash,
    department: CreditCode,
    node: NodeName,
    expires: Timestamp,
    used: Option<Use>,
}

#[derive(Clone, Copy, Debug)]
struct Use {
    key: Hash,
    at: Timestamp,
}

/// First half of a hash: the index by which an entry is found. What was found is then compared in
/// full and in constant time.
type Index = [u8; 16];

/// All tokens.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: HashMap<Index, Entry>,
}

/// What somebody shows to become a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Presented<'a> {
    pub(super) secret: &'a Secret,
    pub(super) department: &'a CreditCode,
    pub(super) node: &'a NodeName,
    /// SHA-256 of the public key's SubjectPublicKeyInfo.
    pub(super) key: [u8; 32],
}

impl Ledger {
    /// Decides on a token that is shown. The event, if there is one, must be durable before the
    /// answer leaves.
    pub(super) fn decide(
        &self,
        presented: Presented<'_>,
        now: Timestamp,
    ) -> (Redemption, Option<Event>) {
        let hash = Hash(presented.secret.hash());
        let found = self.entries.get(&hash.index());
        let Some(entry) = found.filter(|entry| same(&entry.hash.0, &hash.0)) else {
            return (Redemption::Unknown, None);
        };
        if (&entry.department, &entry.node) != (presented.department, presented.node) {
            return (Redemption::WrongIdentity, None);
        }
        let key = Hash(presented.key);
        match entry.used {
            Some(used) if used.key != key => (Redemption::AlreadyUsed { at: used.at }, None),
            _ if now >= entry.expires => (Redemption::Expired { at: entry.expires }, None),
            Some(_) => (Redemption::Redeemed { again: true }, None),
            None => {
                (Redemption::Redeemed { again: false }, Some(Event::Redeem { hash, key, at: now }))
            }
        }
    }

    /// Takes an event in. Total: what refers to a token that is not there (any more) is passed over.
    pub(super) fn apply(&mut self, event: &Event) {
        match event {
            Event::Issue { hash, department, node, expires } => {
                let entry = Entry {
                    hash: *hash,
                    department: *department,
                    node: node.clone(),
                    expires: *expires,
                    used: None,
                };
                self.entries.insert(hash.index(), entry);
            }
            Event::Redeem { hash, key, at } => {
                if let Some(entry) = self.entries.get_mut(&hash.index()) {
                    entry.used.get_or_insert(Use { key: *key, at: *at });
                }
            }
            Event::Withdraw { hash } => {
                self.entries.remove(&hash.index());
            }
        }
    }

    /// Whether a token with this hash could be confused with one that is there.
    pub(super) fn clashes(&self, hash: Hash) -> bool {
        self.entries.contains_key(&hash.index())
    }

    /// The events that take back all unused tokens of a node.
    pub(super) fn withdraw(&self, department: &CreditCode, node: Option<&NodeName>) -> Vec<Event> {
        // Used ones too: the key that used one could get another certificate with it.
        self.entries
            .values()
            .filter(|entry| entry.department == *department)
            .filter(|entry| node.is_none_or(|node| entry.node == *node))
            .map(|entry| Event::Withdraw { hash: entry.hash })
            .collect()
    }

    /// Forgets what expired long ago. Returns how many.
    pub(super) fn forget(&mut self, now: Timestamp) -> usize {
        let before = self.entries.len();
        self.entries.retain(|_, entry| crate::clock::after(entry.expires, REMEMBER) > now);
        before - self.entries.len()
    }

    /// The events from which this state can be built again.
    pub(super) fn events(&self) -> impl Iterator<Item = Event> + '_ {
        self.entries.values().flat_map(|entry| {
            let issue = Event::Issue {
                hash: entry.hash,
                department: entry.department,
                node: entry.node.clone(),
                expires: entry.expires,
            };
            let redeem = entry.used.map(|used| Event::Redeem {
                hash: entry.hash,
                key: used.key,
                at: used.at,
            });
            std::iter::once(issue).chain(redeem)
        })
    }

    /// All tokens, ordered by department and node.
    pub(super) fn list(&self, now: Timestamp) -> Vec<TokenState> {
        let mut list: Vec<TokenState> = self
            .entries
            .values()
            .map(|entry| TokenState {
                department: entry.department,
                node: entry.node.clone(),
                expires: entry.expires,
                status: match entry.used {
                    Some(used) => TokenStatus::Used(used.at),
                    None if now >= entry.expires => TokenStatus::Expired,
                    None => TokenStatus::Open,
                },
            })
            .collect();
        list.sort_by(|a, b| {
            (a.department.as_str(), &a.node, a.expires).cmp(&(
                b.department.as_str(),
                &b.node,
                b.expires,
            ))
        });
        list
    }
}

impl Hash {
    fn index(self) -> Index {
        std::array::from_fn(|i| self.0[i])
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        data_encoding::HEXLOWER.encode(&hash.0)
    }
}

impl TryFrom<String> for Hash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        data_encoding::HEXLOWER
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or("not 64 hex digits")
    }
}

fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    verify_slices_are_equal(a, b).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    fn now() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    fn department() -> CreditCode {
        "11100000000013338W".parse().unwrap()
    }

    fn node() -> NodeName {
        "n0001".parse().unwrap()
    }

    fn issued(secret: &Secret) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.apply(&Event::Issue {
            hash: Hash(secret.hash()),
            department: department(),
            node: node(),
            expires: now() + HOUR,
        });
        ledger
    }

    fn show(ledger: &mut Ledger, secret: u8, node: &str, key: u8, now: Timestamp) -> Redemption {
        let presented = Presented {
            secret: &Secret([secret; 32]),
            department: &department(),
            node: &node.parse().unwrap(),
            key: [key; 32],
        };
        let (redemption, event) = ledger.decide(presented, now);
        event.iter().for_each(|event| ledger.apply(event));
        redemption
    }

    #[test]
    fn a_token_is_good_once_and_again_only_for_the_same_key() {
        let mut ledger = issued(&Secret([1; 32]));
        let used = Redemption::AlreadyUsed { at: now() };
        let expired = Redemption::Expired { at: now() + HOUR };
        let first = show(&mut ledger, 1, "n0001", 9, now());
        assert_eq!(first, Redemption::Redeemed { again: false });
        assert_eq!(show(&mut ledger, 1, "n0001", 8, now()), used);
        let again = show(&mut ledger, 1, "n0001", 9, now() + HOUR / 2);
        assert_eq!(again, Redemption::Redeemed { again: true });
        assert_eq!(show(&mut ledger, 1, "n0001", 9, now() + HOUR), expired);
        assert_eq!(show(&mut ledger, 1, "n0001", 8, now() + HOUR), used);
    }

    #[test]
    fn wrong_tokens_are_told_apart() {
        let mut ledger = issued(&Secret([1; 32]));
        assert_eq!(show(&mut ledger, 2, "n0001", 9, now()), Redemption::Unknown);
        assert_eq!(show(&mut ledger, 1, "n0002", 9, now()), Redemption::WrongIdentity);
        let late = show(&mut ledger, 1, "n0001", 9, now() + HOUR);
        assert_eq!(late, Redemption::Expired { at: now() + HOUR });
        let good = show(&mut ledger, 1, "n0001", 9, now());
        assert_eq!(good, Redemption::Redeemed { again: false }, "refusals cost nothing");
    }

    #[test]
    fn withdrawn_and_forgotten_tokens_are_unknown() {
        let mut ledger = issued(&Secret([1; 32]));
        assert_eq!(ledger.forget(now() + REMEMBER), 0);
        let events = ledger.withdraw(&department(), Some(&node()));
        events.iter().for_each(|event| ledger.apply(event));
        assert_eq!(show(&mut ledger, 1, "n0001", 9, now()), Redemption::Unknown);

        let mut ledger = issued(&Secret([1; 32]));
        assert_eq!(ledger.forget(now() + HOUR + REMEMBER), 1);
        assert_eq!(show(&mut ledger, 1, "n0001", 9, now()), Redemption::Unknown);
    }

    proptest! {
        #[test]
        fn whatever_is_shown_in_whatever_order_one_key_gets_a_token(shown in prop::collection::vec((0_u8..3, 0_u8..3, 0_i64..7200), 0..40)) {
            let mut ledger = issued(&Secret([1; 32]));
            let mut winner = None;
            for (secret, key, seconds) in shown {
                let at = now() + SignedDuration::from_secs(seconds);
                match show(&mut ledger, secret, "n0001", key, at) {
                    Redemption::Redeemed { again } => {
                        prop_assert_eq!(secret, 1);
                        prop_assert_eq!(again, winner.is_some());
                        prop_assert_eq!(*winner.get_or_insert(key), key);
                    }
                    Redemption::Unknown => prop_assert_ne!(secret, 1),
                    Redemption::Expired { .. } => prop_assert!(seconds >= 3600),
                    Redemption::AlreadyUsed { .. } => prop_assert!(winner.is_some_and(|w| w != key)),
                    Redemption::WrongIdentity => prop_assert!(false, "the identity is always right"),
                }
                // A state built again from its events is the same state.
                let mut rebuilt = Ledger::default();
                ledger.events().for_each(|event| rebuilt.apply(&event));
                prop_assert_eq!(rebuilt.list(at), ledger.list(at));
            }
        }
    }
}
