//! The hub's own log: levels by who gets woken. error = a person must act; warn = degraded,
//! recovering by itself; info = a life event; debug = per batch.

use std::io;

use anyhow::Context;
use tracing_subscriber::{EnvFilter, Layer, fmt, layer::SubscriberExt};

use super::calm::calm;

/// How lines of the log look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object per line.
    Json,
}

/// Starts logging to standard error; panics are logged too.
///
/// # Errors
/// When `filter` is not a list of levels, such as `info,hutong_hub::gate=debug`.
pub fn start(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).with_context(|| {
        format!("--log: \"{filter}\" is not a list of levels, such as \"info\"")
    })?;
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(false).with_filter(calm()).boxed(),
        LogFormat::Json => lines.json().with_filter(calm()).boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    // The error says that a subscriber is set already, which is as good.
    let _ = tracing::subscriber::set_global_default(subscriber);
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(%panic, %backtrace, "a panic: this is a mistake in the program, please report it");
    }));
    Ok(())
}
