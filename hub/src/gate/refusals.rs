//! Refusals are counted in one place, by code and by what was refused.

use hutong_schema::wire::v1::{RefusalCode, Refused};

use super::doorkeeper::Crowd;

/// Counts a refusal. The reason is one of a few words, never a peer's.
pub(super) fn count(code: RefusalCode, reason: &'static str) {
    count_number(code.number(), reason);
}

/// The same by the code's number.
pub(super) fn count_number(code: u16, reason: &'static str) {
    let code = format!("HT-{code}");
    metrics::counter!("hutong_refusals_total", "code" => code, "reason" => reason).increment(1);
}

/// Closes a connection that is one too many. The code and the words travel in the closing frame.
pub(super) fn crowded(connection: &quinn::Connection, crowd: Crowd) {
    count(RefusalCode::Crowded, crowd.label());
    let address = connection.remote_address();
    let refused = Refused::new(RefusalCode::Crowded, crowd.to_string());
    tracing::warn!(%address, %refused, "a connection was one too many");
    close(connection, &refused);
}

/// Ends a connection with a refusal in its closing frame: that needs no room in any window and waits
/// for nobody.
pub(super) fn close(connection: &quinn::Connection, refused: &Refused) {
    connection.close(u32::from(refused.code).into(), refused.to_string().as_bytes());
}
