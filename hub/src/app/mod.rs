//! Wiring: what is opened in which order, and how it ends.

mod calm;
mod follow;
mod found;
mod logging;
mod open;
mod serve;
mod standing;

pub use found::{Founding, found};
pub use logging::{LogFormat, start as start_logging};
pub use open::{load_registry, open_log, open_views};
pub use serve::{Addresses, Ended, serve};
pub use standing::FromViews;

/// Exit status when the disk is full: the service manager does not start the hub again.
pub const EXIT_DISK_FULL: u8 = 28;

/// Names of files and folders in the data folder.
pub mod files {
    /// The log.
    pub const LOG: &str = "log";
    /// The views.
    pub const VIEWS: &str = "views";
    /// The authority's key and certificates.
    pub const AUTHORITY: &str = "ca";
    /// The hub's own key and certificate.
    pub const HUB: &str = "hub";
    /// With what agents are told after a restart that their connections are gone.
    pub const RESET_KEY: &str = "hub/reset.key";
    /// Join tokens.
    pub const TOKENS: &str = "tokens";
    /// Keys of pseudonyms in access records.
    pub const PSEUDONYMS: &str = "pseudonyms";
    /// The operator's socket.
    pub const SOCKET: &str = "hub.sock";
    /// The QUIC address in use.
    pub const QUIC_ADDRESS: &str = "hub.addr";
    /// The HTTP address in use.
    pub const HTTP_ADDRESS: &str = "http.addr";
}
