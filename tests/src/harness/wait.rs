//! Waiting for something to become true, and no longer than that.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks `condition` until it has an answer.
///
/// # Errors
/// When `within` has passed, with `what` was waited for; or the condition's own error at once.
pub fn until<T>(
    within: Duration,
    what: &str,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = condition()? {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("not within {} s: {what}", within.as_secs_f32());
        }
        thread::sleep(PAUSE);
    }
}

/// [`until`] for a plain yes or no.
///
/// # Errors
/// As [`until`].
pub fn until_true(
    within: Duration,
    what: &str,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<()> {
    until(within, what, || Ok(condition()?.then_some(())))
}
