//! Progress bars for a person at a terminal; hidden by themselves where there is none.

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// A bar that counts rows and guesses the time left.
///
/// # Errors
/// When the template is wrong, which would be a mistake here.
pub fn rows(message: &'static str) -> Result<ProgressBar> {
    let style = "{msg} {wide_bar} {human_pos}/{human_len} rows, {eta} left";
    Ok(ProgressBar::new(0).with_style(ProgressStyle::with_template(style)?).with_message(message))
}

/// One of several bars; without a goal it only counts.
pub(super) fn phase(name: &'static str, goal: Option<u64>) -> Result<ProgressBar> {
    let style = match goal {
        Some(_) => "{msg:24} {wide_bar} {human_pos}/{human_len}",
        None => "{msg:24} {human_pos}",
    };
    let bar = ProgressBar::new(goal.unwrap_or(0));
    Ok(bar.with_style(ProgressStyle::with_template(style)?).with_message(name))
}
