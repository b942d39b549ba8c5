//! The attacks, each with what the hub must answer and count.

mod crowds;
mod garbage;
mod greed;
mod publication;
mod slow;

pub use crowds::{crowd_with_one_certificate, enrolment_door, half_open_handshakes};
pub use garbage::{bombs, broken_frames, garbage, nesting};
pub use greed::{commands, fill_the_quota, questions};
pub use slow::{frames_never_finished, silent_subscribers, slow_readers, streams_left_and_reset};

use anyhow::{Result, ensure};
use hutong_schema::wire::v1::RefusalCode;

use super::Said;

/// Checks what the hub said.
fn refused_with(said: &Said, code: RefusalCode, what: &str) -> Result<()> {
    let due = u64::from(code.number());
    ensure!(said.code() == Some(due), "{what}: HT-{due} was due, the hub said {said:?}");
    Ok(())
}
