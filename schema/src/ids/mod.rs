//! Identifiers: parsed once at the border, never raw strings inward.
//!
//! Every type here is a newtype that can only hold a well-formed value. Each offers `FromStr`,
//! `Display` (the canonical text, which is also the canonical byte form in rows and digests) and
//! serde as a string that is validated when read. The modules of the check-digited identifiers
//! also offer `is_valid(&[u8])`, which works on canonical bytes without allocating: it runs for
//! every row in the hub's acknowledgement path.

pub mod citizen_id;
mod codes;
pub mod credit_code;
pub mod division;
mod exchange_name;
pub mod licence_id;
mod node_name;
pub mod organisation_code;
mod resource_code;
mod text;

pub use citizen_id::CitizenId;
pub use codes::{Ethnicity, Sex};
pub use credit_code::CreditCode;
pub use division::Division;
pub use exchange_name::ExchangeName;
pub use licence_id::LicenceId;
pub use node_name::NodeName;
pub use organisation_code::OrganisationCode;
pub use resource_code::ResourceCode;

/// Why a text is not the identifier that it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum IdError {
    /// The text is too short or too long.
    #[error("wrong length")]
    Length,
    /// A character stands where the standard does not allow it.
    #[error("a character that is not allowed here")]
    Character,
    /// The check character does not fit the rest.
    #[error("the check digit is wrong")]
    CheckDigit,
    /// The date inside the identifier does not exist.
    #[error("the date in it does not exist")]
    Date,
    /// The parts are not the ones that the standard asks for.
    #[error("the parts are not as the standard asks")]
    Structure,
}
