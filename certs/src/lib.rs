//! Who is who in the exchange: its authority, join tokens, enrolment, identities and the TLS
//! configurations that both ends use.
//!
//! The way of a node: an operator issues a join token ([`join`]) and gives it to the department;
//! the agent shows it once over the enrolment protocol ([`enrol`]), checks the hub by the CA
//! fingerprint inside it, and receives a certificate for the key it made itself ([`request`],
//! [`authority`]); from then on both sides know each other by certificate ([`tls`]), and the node
//! is what the SPIFFE name in its certificate says ([`identity`]).
//!
//! Everything a handshake consults is live: credentials, trusted roots and revoked serials sit
//! behind [`live::Live`] handles, so that renewal and revocation need no restart and no new
//! endpoint.

pub mod authority;
pub mod certificate;
pub mod clock;
pub mod credentials;
pub mod enrol;
pub mod files;
pub mod identity;
pub mod join;
pub mod lifetime;
pub mod live;
pub mod request;
pub mod revoke;
pub mod room;
pub mod roots;
pub mod stream;
pub mod tls;
