//! When a proof is worth its cost. It reads every file and every view, on all cores; other exchanges
//! and this one's own programs need them.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Result;
use hutong_tests::city::demo::Running;

/// Everything stood still for so long: then all may be level.
const STILL: Duration = Duration::from_millis(100);

/// After a proof that found a difference, so long without a change is worth another look: what is
/// watched here may not be all that moves.
const ANYWAY: Duration = Duration::from_secs(5);

/// What the hub takes in, makes searchable and delivers.
const COUNTS: [&str; 3] =
    ["hutong_log_entries_total", "hutong_views_changes_total", "hutong_delivered_changes_total"];

/// Watches an exchange.
#[derive(Default)]
pub(crate) struct Motion {
    seen: Option<(Footprint, Instant)>,
    /// What was seen last before a proof, and when that began.
    proved: Option<(Footprint, Instant)>,
}

/// What is other than before when something moved.
#[derive(Clone, PartialEq)]
struct Footprint {
    counts: [f64; COUNTS.len()],
    delivered: Vec<u64>,
}

impl Motion {
    /// Whether to prove now: nothing moves any more, and something did since the last proof.
    pub(crate) fn is_worth_a_proof(&mut self, city: &Running) -> Result<bool> {
        Ok(self.judge(footprint(city)?, Instant::now()))
    }

    fn judge(&mut self, now: Footprint, at: Instant) -> bool {
        let still = match &self.seen {
            Some((seen, since)) if *seen == now => at.duration_since(*since) >= STILL,
            Some(_) | None => {
                self.seen = Some((now.clone(), at));
                false
            }
        };
        let news = match &self.proved {
            Some((proved, when)) => *proved != now || at.duration_since(*when) >= ANYWAY,
            None => true,
        };
        if still && news {
            self.proved = Some((now, at));
        }
        still && news
    }
}

fn footprint(city: &Running) -> Result<Footprint> {
    let metrics = city.hub.metrics()?;
    let length = |path| fs::metadata(path).map_or(0, |file| file.len());
    let delivered = city.inventory.grants.iter().map(|grant| length(&grant.path)).collect();
    Ok(Footprint { counts: COUNTS.map(|name| metrics.sum(name)), delivered })
}

#[test]
fn a_proof_waits_until_nothing_moves_and_is_repeated_only_after_a_change() {
    let began = Instant::now();
    let ms = |ms| began + Duration::from_millis(ms);
    let at = |entries| Footprint { counts: [f64::from(entries), 0.0, 0.0], delivered: vec![1] };
    let mut motion = Motion::default();
    let looks = [
        (0, 1, false, "the first look"),
        (60, 1, false, "not still for long"),
        (90, 2, false, "it moves"),
        (189, 2, false, "not still for long"),
        (190, 2, true, "still"),
        (300, 2, false, "proved already"),
        (400, 3, false, "it moves"),
        (500, 3, true, "still again"),
        (5_499, 3, false, "proved already"),
        (5_500, 3, true, "looked at anyway"),
        (5_600, 3, false, "proved already"),
    ];
    for (when, entries, worth, why) in looks {
        assert_eq!(motion.judge(at(entries), ms(when)), worth, "{when} ms: {why}");
    }
}
