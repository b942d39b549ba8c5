//! Breaking a hub or an agent, with or without its power.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hutong_tests::city::Role;
use hutong_tests::city::churn::CityChurn;
use hutong_tests::city::demo::Running;
use hutong_tests::powercut::PowerCut;

use super::plan::Breaks;
use super::report::Sums;

/// How long every sync takes at least where power is cut, as on a slow disk: so much longer does a
/// cut have the chance to fall between a write and its sync.
pub(crate) const SYNC_TAKES: Duration = Duration::from_millis(15);

/// The machines whose power can be cut, with their journals. The hub's has no machine.
pub(crate) type Cuts = Vec<(Option<usize>, PowerCut)>;

pub(crate) fn watch_power(breaks: Breaks, city: &mut Running) -> Result<Cuts> {
    let mut cuts = Vec::new();
    match breaks {
        Breaks::HubKilled | Breaks::AgentKilled => {}
        Breaks::HubPower => {
            let cut = PowerCut::new(&city.hub.data(), &city.dir.join("journal-hub"))?;
            let cut = cut.slow_disk(SYNC_TAKES);
            city.hub.set_environment(cut.environment());
            cuts.push((None, cut));
        }
        Breaks::AgentPower => {
            let roles = [
                Role::PublicSecurity,
                Role::SocialSecurity,
                Role::Tax,
                Role::Planning,
                Role::County,
            ];
            for role in roles {
                let at = city.city.units.iter().position(|unit| unit.role == Some(role));
                let at = at.with_context(|| format!("a {role:?} unit"))?;
                let machine = &mut city.machines[at];
                let journal = city.dir.join(format!("journal-{}", machine.name));
                let cut = PowerCut::new(&machine.path(""), &journal)?.slow_disk(SYNC_TAKES);
                machine.set_environment(cut.environment());
                cuts.push((Some(at), cut));
            }
        }
    }
    Ok(cuts)
}

/// Breaks something and starts it again.
pub(crate) fn breakdown(
    breaks: Breaks,
    city: &mut Running,
    churn: &mut CityChurn,
    cuts: &Cuts,
    sums: &mut Sums,
) -> Result<()> {
    let mut discard = |cut: &PowerCut| -> Result<()> {
        let lost = cut.discard_unsynced()?;
        sums.discarded.files += lost.files;
        sums.discarded.bytes += lost.bytes;
        sums.discarded.names += lost.names;
        Ok(())
    };
    let machine = match breaks {
        Breaks::HubKilled | Breaks::HubPower => {
            city.hub.kill()?;
            for (_, cut) in cuts {
                discard(cut)?;
            }
            let began = Instant::now();
            city.hub.start()?;
            sums.starts.push(began.elapsed());
            return Ok(());
        }
        Breaks::AgentKilled => churn.rng().below(city.machines.len() as u64) as usize,
        Breaks::AgentPower => {
            let (at, cut) = &cuts[churn.rng().below(cuts.len() as u64) as usize];
            let Some(at) = *at else { bail!("a cut of no machine") };
            city.machines[at].kill()?;
            discard(cut)?;
            at
        }
    };
    city.machines[machine].kill()?;
    city.machines[machine].start()
}
