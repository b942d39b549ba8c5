//! A flood must not fill the disk with lines about it: of each kind of line only so many are written
//! in a while, and how many were left out is told.
//!
//! A kind is the place in the sources that writes it. Nothing that is rare is ever left out.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{Event, Level, Metadata, Subscriber, callsite::Identifier};
use tracing_subscriber::layer::{Context, Filter};

/// Lines of one kind at once: every node of a large exchange may connect, and each is told.
const BURST: u32 = 2_000;

/// One more line of a kind after this time: a flood writes some 20 MB a day.
const ONE_MORE: Duration = Duration::from_secs(1);

/// How often it is told what was left out.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Leaves lines out.
#[derive(Clone, Debug, Default)]
pub(super) struct Calm(Arc<Mutex<HashMap<Identifier, Kind>>>);

#[derive(Debug)]
struct Kind {
    metadata: &'static Metadata<'static>,
    left: u32,
    at: Instant,
    left_out: u64,
}

/// What was left out of one kind.
#[derive(Debug, PartialEq)]
struct LeftOut {
    target: &'static str,
    line: u32,
    lines: u64,
}

/// The one of this process: logging is global.
pub(super) fn calm() -> Calm {
    static CALM: LazyLock<Calm> = LazyLock::new(Calm::default);
    CALM.clone()
}

/// Tells every now and then what was left out, until cancelled.
pub(super) async fn tell(cancel: CancellationToken) {
    let calm = calm();
    loop {
        tokio::select! {
            () = tokio::time::sleep(TELL_EVERY) => {}
            () = cancel.cancelled() => return,
        }
        for LeftOut { target, line, lines } in calm.take_left_out() {
            metrics::counter!("hutong_log_lines_left_out_total").increment(lines);
            tracing::warn!(
                lines,
                from = format!("{target}:{line}"),
                "lines of this kind were left out: there were too many"
            );
        }
    }
}

impl Calm {
    fn allows(&self, metadata: &'static Metadata<'static>, now: Instant) -> bool {
        // What is written on demand for a closer look, and what a person must act on, comes whole.
        if *metadata.level() > Level::INFO {
            return true;
        }
        let mut kinds = self.0.lock();
        let fresh = || Kind { metadata, left: BURST, at: now, left_out: 0 };
        let kind = kinds.entry(metadata.callsite()).or_insert_with(fresh);
        let come = now.saturating_duration_since(kind.at).as_secs() / ONE_MORE.as_secs();
        if come > 0 {
            kind.at += ONE_MORE * u32::try_from(come).unwrap_or(u32::MAX);
            kind.left =
                u32::try_from(come).unwrap_or(u32::MAX).saturating_add(kind.left).min(BURST);
        }
        match kind.left.checked_sub(1) {
            Some(left) => kind.left = left,
            None => {
                kind.left_out += 1;
                return false;
            }
        }
        true
    }

    fn take_left_out(&self) -> Vec<LeftOut> {
        let mut kinds = self.0.lock();
        let told = kinds.values_mut().filter(|kind| kind.left_out > 0).map(|kind| LeftOut {
            target: kind.metadata.target(),
            line: kind.metadata.line().unwrap_or_default(),
            lines: std::mem::take(&mut kind.left_out),
        });
        told.collect()
    }
}

impl<S: Subscriber> Filter<S> for Calm {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.allows(event.metadata(), Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::{Layer, layer::SubscriberExt};

    /// Counts the lines that come through.
    #[derive(Clone, Default)]
    struct Counted(Arc<Mutex<u32>>);

    impl<S: Subscriber> Layer<S> for Counted {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            *self.0.lock() += 1;
        }
    }

    #[test]
    fn of_a_flood_some_lines_are_written_and_the_others_counted() {
        let (calm, counted) = (Calm::default(), Counted::default());
        let lines = counted.clone().with_filter(calm.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            for number in 0..BURST + 500 {
                tracing::warn!(number, "a flood");
            }
            tracing::warn!("another kind");
            tracing::debug!("a closer look");
        });
        // A second may have passed, or two.
        let written = *counted.0.lock() - 2;
        assert!((BURST..BURST + 10).contains(&written), "{written}");
        let left_out = calm.take_left_out();
        assert_eq!(left_out.len(), 1, "{left_out:?}");
        assert_eq!(left_out[0].lines, u64::from(BURST + 500 - written));
        assert_eq!(calm.take_left_out(), []);
    }
}
