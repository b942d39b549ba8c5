//! Join tokens: how a node that nobody knows yet becomes known.
//!
//! An operator issues a token for one node of one department ([`TokenBook::issue`]), alone or as a
//! [`sheet`] for many; the agent shows it once and gets its certificate. The token carries the
//! fingerprint of the exchange's root, so the agent knows the true hub without further papers. The
//! hub keeps only a hash of the token's secret.

mod book;
mod journal;
mod ledger;
pub mod sheet;
mod token;

pub use book::{BookError, ISSUE_MAX, TokenBook};
pub use ledger::{Redemption, TokenState, TokenStatus};
pub use token::{JoinToken, Secret, TokenError};
