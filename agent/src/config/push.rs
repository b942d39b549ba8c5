//! `[push]`: the door for programs of this machine that hand rows over by HTTP.

use std::net::SocketAddr;

use super::SecretSource;

/// `[push]`: one listener for all publications with `source = "push"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushConfig {
    /// `listen`: a loopback address and a port; 0 lets the system choose one.
    pub listen: SocketAddr,
    /// `token_file`: where the token is that every request must show.
    pub token: SecretSource,
    /// `body_bytes_max`: largest request, bytes.
    pub body_bytes_max: usize,
}

/// Largest request unless configured otherwise, bytes.
pub const DEFAULT_PUSH_BODY: u64 = 4 * 1024 * 1024;
