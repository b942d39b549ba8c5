//! `[push]`: the door for programs of this machine that hand rows over by HTTP.

use std::net::SocketAddr;
use std::path::PathBuf;

/// `[push]`: one listener for all publications with `source = "push"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushConfig {
    /// `listen`: a loopback address and a port; 0 lets the system choose one.
    pub listen: SocketAddr,
    /// Where the token is that every request must show.
    pub token: TokenPlace,
    /// `body_bytes_max`: largest request, bytes.
    pub body_bytes_max: usize,
}

/// Where a token is kept. Never in the configuration itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// `token_file`: a file that only the agent's own user or group can read.
    File(PathBuf),
    /// `token_credential`: a credential of this name that the service manager hands over.
    Credential(String),
}

/// Largest request unless configured otherwise, bytes.
pub const DEFAULT_PUSH_BODY: u64 = 4 * 1024 * 1024;
