//! The names that stand in certificates.

use std::net::IpAddr;

use rcgen::{DistinguishedName, DnType, SanType};

use super::AuthorityError;
use crate::identity::Identity;

/// A name under which the hub can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HubName {
    /// A DNS name.
    Dns(String),
    /// An address.
    Address(IpAddr),
}

impl HubName {
    pub(super) fn to_san(&self) -> Result<SanType, AuthorityError> {
        match self {
            Self::Address(address) => Ok(SanType::IpAddress(*address)),
            Self::Dns(name) => {
                // Checked as rustls checks it, so that what is issued is also usable.
                rustls_pki_types::DnsName::try_from(name.as_str())
                    .map_err(|_| AuthorityError::Name(name.clone()))?;
                let text = name.as_str().try_into();
                Ok(SanType::DnsName(text.map_err(|_| AuthorityError::Name(name.clone()))?))
            }
        }
    }
}

impl From<&str> for HubName {
    /// An address if it reads as one, otherwise a DNS name (checked when it is used).
    fn from(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Dns(text.to_owned()), Self::Address)
    }
}

/// A subject of this common name.
pub(super) fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// Who it is, as the URI that TLS peers read.
pub(super) fn uri(identity: &Identity) -> Result<SanType, AuthorityError> {
    let text = identity.to_string();
    match text.as_str().try_into() {
        Ok(ascii) => Ok(SanType::URI(ascii)),
        Err(_) => Err(AuthorityError::Name(text)),
    }
}
