//! Identities: SPIFFE names in certificates ⇄ who somebody is in the exchange.
//!
//! | who | name |
//! | --- | --- |
//! | the exchange (its authority's certificates) | `spiffe://<exchange>` |
//! | the hub | `spiffe://<exchange>/hub` |
//! | a node | `spiffe://<exchange>/department/<credit code>/node/<name>` |
//!
//! There is exactly one text per identity: whatever does not print back as it was read is refused,
//! so two texts can never mean the same node.

use std::fmt;
use std::str::FromStr;

use hutong_schema::ids::{CreditCode, ExchangeName, IdError, NodeName};
use serde::{Deserialize, Serialize};

const SCHEME: &str = "spiffe://";

/// A node: one certificate, one connection to the hub.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct NodeIdentity {
    /// The exchange it belongs to.
    pub exchange: ExchangeName,
    /// The department that runs it.
    pub department: CreditCode,
    /// Its name within the department.
    pub node: NodeName,
}

/// Any name that a certificate of the exchange can carry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// The exchange itself: only its authority's certificates.
    Exchange(ExchangeName),
    /// The hub of an exchange. Equal hubs share the name.
    Hub(ExchangeName),
    /// A node.
    Node(NodeIdentity),
}

/// Why a text is not an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// It does not begin with `spiffe://`.
    #[error("not a SPIFFE name")]
    Scheme,
    /// The exchange's name is not one.
    #[error("the exchange's name: {0}")]
    Exchange(IdError),
    /// The path is none of those in use.
    #[error("the path is none that this exchange uses")]
    Path,
    /// The department's code is not one.
    #[error("the department's credit code: {0}")]
    Department(IdError),
    /// The node's name is not one.
    #[error("the node's name: {0}")]
    Node(IdError),
    /// It means something, but is not written in the one way it is to be written.
    #[error("not in canonical form")]
    NotCanonical,
    /// It names something else than a node.
    #[error("the name of something else than a node")]
    NotANode,
}

impl Identity {
    /// The exchange that the identity belongs to.
    #[must_use]
    pub fn exchange(&self) -> &ExchangeName {
        match self {
            Self::Exchange(exchange) | Self::Hub(exchange) => exchange,
            Self::Node(node) => &node.exchange,
        }
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let rest = text.strip_prefix(SCHEME).ok_or(IdentityError::Scheme)?;
        let mut parts = rest.split('/');
        let exchange: ExchangeName =
            parts.next().unwrap_or_default().parse().map_err(IdentityError::Exchange)?;
        let path: [Option<&str>; 5] = std::array::from_fn(|_| parts.next());
        let identity = match path {
            [None, ..] => Self::Exchange(exchange),
            [Some("hub"), None, ..] => Self::Hub(exchange),
            [Some("department"), Some(department), Some("node"), Some(node), None] => {
                Self::Node(NodeIdentity {
                    exchange,
                    department: department.parse().map_err(IdentityError::Department)?,
                    node: node.parse().map_err(IdentityError::Node)?,
                })
            }
            _ => return Err(IdentityError::Path),
        };
        // Parsers of identifiers may normalise (a code in lower case); a name in a certificate may
        // not need that.
        if identity.to_string() == text { Ok(identity) } else { Err(IdentityError::NotCanonical) }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exchange(exchange) => write!(f, "{SCHEME}{exchange}"),
            Self::Hub(exchange) => write!(f, "{SCHEME}{exchange}/hub"),
            Self::Node(node) => node.fmt(f),
        }
    }
}

impl FromStr for NodeIdentity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        match text.parse()? {
            Identity::Node(node) => Ok(node),
            Identity::Exchange(_) | Identity::Hub(_) => Err(IdentityError::NotANode),
        }
    }
}

impl fmt::Display for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { exchange, department, node } = self;
        write!(f, "{SCHEME}{exchange}/department/{department}/node/{node}")
    }
}

impl From<NodeIdentity> for String {
    fn from(identity: NodeIdentity) -> Self {
        identity.to_string()
    }
}

impl TryFrom<String> for NodeIdentity {
    type Error = IdentityError;

    fn try_from(text: String) -> Result<Self, IdentityError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NODE: &str = "spiffe://tieling.example/department/11100000000013338W/node/n0001";

    #[test]
    fn each_kind_of_name_reads_and_prints_back() {
        for text in ["spiffe://tieling.example", "spiffe://tieling.example/hub", NODE] {
            assert_eq!(text.parse::<Identity>().unwrap().to_string(), text);
        }
        let node: NodeIdentity = NODE.parse().unwrap();
        assert_eq!((node.department.as_str(), node.node.as_str()), ("11100000000013338W", "n0001"));
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "spiffe://",
            "https://tieling.example/hub",
            "SPIFFE://tieling.example/hub",
            "spiffe://Tieling.example/hub",
            "spiffe://tieling.example/",
            "spiffe://tieling.example/hub/",
            "spiffe://tieling.example/Hub",
            "spiffe://tieling.example:1/hub",
            "spiffe://u@tieling.example/hub",
            "spiffe://tieling.example/hub?x",
            "spiffe://tieling.example/hub#x",
            "spiffe://tieling.example//hub",
            "spiffe://tieling.example/department/11100000000013338W",
            "spiffe://tieling.example/department/11100000000013338W/node/",
            "spiffe://tieling.example/department/11100000000013338W/node/..",
            "spiffe://tieling.example/department/11100000000013338W/node/n/hub",
            "spiffe://tieling.example/department/11100000000013338w/node/n0001",
            "spiffe://tieling.example/department/111000000000133380/node/n0001",
            "spiffe://tieling.example/department/11100000000013338W/node/n%30",
        ] {
            assert!(bad.parse::<Identity>().is_err(), "{bad}");
        }
        assert_eq!(
            "spiffe://tieling.example/hub".parse::<NodeIdentity>(),
            Err(IdentityError::NotANode)
        );
    }

    proptest! {
        #[test]
        fn node_names_round_trip(exchange in "[a-z][a-z0-9]{0,9}(\\.[a-z]{1,8}){0,3}", node in "[a-z0-9][a-z0-9._-]{0,63}") {
            let identity = NodeIdentity {
                exchange: exchange.parse().unwrap(),
                department: "11100000000013338W".parse().unwrap(),
                node: node.parse().unwrap(),
            };
            prop_assert_eq!(identity.to_string().parse::<NodeIdentity>().unwrap(), identity);
        }

        #[test]
        fn a_changed_character_never_means_the_same_node(at in 0..NODE.len(), with in any::<char>()) {
            let changed: String = NODE.char_indices().map(|(i, c)| if i == at { with } else { c }).collect();
            prop_assume!(changed != NODE);
            if let Ok(identity) = changed.parse::<NodeIdentity>() {
                prop_assert_ne!(identity, NODE.parse::<NodeIdentity>().unwrap());
            }
        }
    }
}
