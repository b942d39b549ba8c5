//! A hub under attack: an honest department with an agent, another honest node, a hostile department,
//! and the judgement at the end.

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::runtime::Runtime;

use super::honest::Honest;
use super::wire::{Door, endpoint};
use crate::harness::entries::{department_code, people as people_entry};
use crate::harness::exchange::{Exchange, SOON, Wish, make_grant};
use crate::harness::wait::until_true;

/// Nodes of the hostile department, `h0` and so on.
pub const HOSTILE_NODES: usize = 8;

/// What 99 of 100 acknowledgements of an honest node must take less than: the promise.
const PROMISED: Duration = Duration::from_secs(1);

/// How long an attack is kept up that could be over in a moment.
const AT_LEAST: Duration = Duration::from_secs(2);

/// Memory that a hub of these tests may take at its peak: 512 MiB for itself with its stores and caches,
/// and the [`PEERS_MIB`] that it was told peers may make it hold. See docs/limits.md.
const MEMORY: u64 = (512 + PEERS_MIB) << 20;
const PEERS_MIB: u64 = 128;

/// Rows that the honest department publishes with its agent, and that the hostile one is granted.
const ROWS: usize = 5_000;

/// What the hostile side comes from: honest nodes come from 127.0.0.1.
const HOSTILE_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);

/// Limits that are reached sooner than those of a city's hub.
const SETTINGS: &str = "[disk]\nlow_percent = 0\nfull_percent = 0\n[gate]\npeers_mib = 128\npatience_seconds = 2\ngreeting_seconds = 3\nslowest_line = 1000000\n";

/// Only one at a time: times are measured.
static ALONE: Mutex<()> = Mutex::new(());

/// The scene.
pub struct Siege<'e> {
    /// The exchange; machine 0 is the honest department's, 1 the hostile one's.
    pub exchange: &'e mut Exchange,
    /// Where attacks run.
    pub runtime: Runtime,
    /// The way to the hub with the hostile department's nodes.
    pub door: Door,
    /// The hostile side's socket.
    pub endpoint: quinn::Endpoint,
    /// The grant that the hostile department has.
    pub grant: u64,
    /// Code of the resource that it is granted.
    pub granted: &'static str,
    honest: Option<Honest>,
    before: Census,
}

/// What comes back when everybody has gone.
#[derive(Clone, Copy, Debug)]
struct Census {
    tasks: f64,
    connections: f64,
    handshakes: f64,
    memory: f64,
    sockets: usize,
}

/// Runs an attack on a hub with the given settings beside those of all these tests, `gate` being the
/// open section; then judges.
///
/// # Errors
/// The attack's, or what the hub did not stand.
pub fn siege(settings: &str, attack: impl FnOnce(&mut Siege<'_>) -> Result<()>) -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut exchange = Exchange::new()?;
    exchange.hub.set(&format!("{SETTINGS}{settings}"))?;
    exchange.hub.start()?;
    exchange.play(|exchange| {
        let mut siege = Siege::lay(exchange)?;
        attack(&mut siege)?;
        siege.judge()
    })
}

impl<'e> Siege<'e> {
    fn lay(exchange: &'e mut Exchange) -> Result<Self> {
        let granted = "300001/000001";
        exchange.people_from_civil(granted, ROWS)?;
        let hostile = exchange.department("hostile")?;
        for node in 0..HOSTILE_NODES {
            hostile.node(&format!("h{node}"));
        }
        exchange.department("honest")?.node("p1");
        for machine in [1, 2] {
            exchange.admit(machine)?;
            exchange.machines[machine].command(["enrol"])?.ok()?;
        }
        let hostile_code = exchange.machines[1].code;
        let wish = Wish { target: granted, ..Wish::default() };
        let grant = make_grant(&exchange.hub, hostile_code.as_str(), &wish)?;
        let address = exchange.hub.quic()?;
        let door = |machine: usize| Door {
            address,
            nodes: exchange.machines[machine].state().join("nodes"),
        };
        let entry = people_entry("300002/000001", department_code(2)?)?;
        let honest = Some(Honest::begin(door(2), "p1", entry)?);
        let door = door(1);
        exchange.equal(SOON)?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let endpoint = {
            let _inside = runtime.enter();
            endpoint(HOSTILE_ADDRESS)?
        };
        // The agent and the honest node; levels are told every second.
        let mut before = Census::take(exchange)?;
        until_true(SOON, "two nodes are connected", || {
            before = Census::take(exchange)?;
            Ok(before.connections == 2.0)
        })?;
        Ok(Self { exchange, runtime, door, endpoint, grant, granted, honest, before })
    }

    /// Plays an attack, and tells how long it took whoever runs the test with `--nocapture`.
    ///
    /// # Errors
    /// The attack's.
    pub fn play(&mut self, name: &str, attack: impl Fn(&mut Self) -> Result<()>) -> Result<()> {
        let began = Instant::now();
        attack(self).with_context(|| name.to_owned())?;
        let process = self.exchange.hub.process().context("the hub runs")?;
        let peak = process.peak_memory().context("its memory")? >> 20;
        tell(&format!("{name}: {:.1} s, peak {peak} MiB", began.elapsed().as_secs_f64()));
        Ok(())
    }

    /// The same, again and again for a while: so that honest nodes have time to suffer.
    ///
    /// # Errors
    /// The attack's.
    pub fn repeat(&mut self, name: &str, attack: impl Fn(&mut Self) -> Result<()>) -> Result<()> {
        self.play(name, |siege| {
            let began = Instant::now();
            while began.elapsed() < AT_LEAST {
                attack(siege)?;
            }
            Ok(())
        })
    }

    /// Refusals that the hub has counted with this code and reason; any reason if it is empty.
    ///
    /// # Errors
    /// When the hub does not answer.
    pub fn refused(&self, code: u16, reason: &str) -> Result<f64> {
        let metrics = self.exchange.hub.metrics()?;
        let code = format!("code=\"HT-{code}\"");
        let reason = if reason.is_empty() { String::new() } else { format!("reason=\"{reason}\"") };
        let of_code = metrics.with("hutong_refusals_total", &code);
        Ok(of_code.filter(|(labels, _)| labels.contains(&reason)).map(|(_, count)| count).sum())
    }

    /// Checks that the hub counted a refusal at least so often.
    ///
    /// # Errors
    /// With the numbers if it did not.
    pub fn counted(&self, code: u16, reason: &str, at_least: usize) -> Result<()> {
        let counted = self.refused(code, reason)?;
        ensure!(
            counted >= at_least as f64,
            "HT-{code} ({reason}) was counted {counted} times, at least {at_least} were due"
        );
        Ok(())
    }

    /// A level of the hub, by the name of its metric.
    ///
    /// # Errors
    /// When the hub does not answer.
    pub fn level(&self, name: &str) -> Result<f64> {
        Ok(self.exchange.hub.metrics()?.sum(name))
    }

    /// The end: honest nodes did not notice, memory stayed within its cap, everything came back, the
    /// log has no error, and source and hub are equal.
    fn judge(mut self) -> Result<()> {
        self.endpoint.close(0u32.into(), b"");
        self.runtime.block_on(self.endpoint.wait_idle());
        let heard = self.honest.take().context("the honest node")?.end()?;
        let (p99, acknowledged) = (heard.p99(), heard.took.len());
        ensure!(acknowledged >= 20, "only {acknowledged} batches were acknowledged");
        ensure!(
            p99 < PROMISED,
            "99 of 100 of an honest node's {acknowledged} acknowledgements took up to {p99:?}, less than {PROMISED:?} is promised"
        );
        let before = self.before;
        let mut now = before;
        until_true(SOON, "tasks, connections, memory and sockets are back", || {
            now = Census::take(self.exchange)?;
            Ok(now.is_back(&before))
        })
        .with_context(|| format!("before: {before:?}, last: {now:?}"))?;
        let process = self.exchange.hub.process().context("the hub runs")?;
        let peak = process.peak_memory().context("its memory")?;
        ensure!(
            peak < MEMORY,
            "the hub took {} MiB at its peak, {} are allowed",
            peak >> 20,
            MEMORY >> 20
        );
        let said = fs::read_to_string(self.exchange.path("logs/hub.log"))?;
        if let Some(line) =
            said.lines().find(|line| line.contains("ERROR") || line.contains("panic"))
        {
            bail!("the hub's log: {line}");
        }
        self.exchange.equal(SOON)?;
        let honest = "300002/000001".parse()?;
        self.exchange.rows(&honest, heard.rows as u64, SOON)?;
        let (median, peak) = (heard.took[acknowledged / 2], peak >> 20);
        tell(&format!(
            "{acknowledged} acknowledgements, median {median:?}, 99 % {p99:?}, peak {peak} MiB"
        ));
        self.exchange.hub.stop()?;
        self.exchange.log_is_sound()
    }
}

/// A figure, for whoever looks.
fn tell(text: &str) {
    // Standard error may be closed; then nobody wants to know.
    let _ = writeln!(std::io::stderr(), "{text}");
}

impl Census {
    fn take(exchange: &mut Exchange) -> Result<Self> {
        let metrics = exchange.hub.metrics()?;
        let id = exchange.hub.process().context("the hub runs")?.id();
        let links = fs::read_dir(format!("/proc/{id}/fd"))?.flatten();
        let targets = links.filter_map(|link| fs::read_link(link.path()).ok());
        let socket = |target: &std::path::PathBuf| target.to_string_lossy().starts_with("socket:");
        Ok(Self {
            tasks: metrics.sum("hutong_gate_tasks"),
            connections: metrics.sum("hutong_gate_connections"),
            handshakes: metrics.sum("hutong_gate_handshakes"),
            memory: metrics.sum("hutong_gate_memory_bytes"),
            sockets: targets.filter(socket).count(),
        })
    }

    /// Not more than before; the honest node has gone by now as well.
    fn is_back(&self, before: &Self) -> bool {
        self.tasks <= before.tasks
            && self.connections <= before.connections
            && self.handshakes <= 0.0
            && self.memory <= before.memory
            && self.sockets <= before.sockets + 2
    }
}
