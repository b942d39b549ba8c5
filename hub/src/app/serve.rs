//! A hub's life: open what is on the disk, catch up, open the doors, serve, drain.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use anyhow::Context;
use hutong_certs::{
    clock,
    enrol::Enrolment,
    files::{Access, write_atomic},
    join::TokenBook,
    revoke::RevocationList,
    tls::{self, ResetKey},
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    calm, files, follow,
    open::{load_registry, open_log, open_views},
    standing::FromViews,
};
use crate::{
    api::{self, Office, Readiness},
    ask::Asker,
    audit::{AccessLog, KeyFolder},
    config::Config,
    gate::{Gate, Rooms},
    governor::{Governor, GovernorOptions},
    intake::{
        Intake,
        disk::{self, DiskLevel},
    },
    log::{Log, PartitionId, RocksLog},
    nodes::Nodes,
    pki::Pki,
    reconcile::Reconciler,
    routes::Router,
    tasks::Tasks,
    views::{Views, registry::RegistryHandle},
};

/// Where the hub can be reached.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// QUIC, for nodes.
    pub quic: SocketAddr,
    /// HTTP, for health, readiness and metrics.
    pub http: SocketAddr,
}

/// How a hub's life ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to end and has drained.
    InOrder,
    /// The disk is full.
    DiskFull,
    /// It cannot go on. Nothing more may be acknowledged: the process must end at once.
    Failed(Arc<str>),
}

/// What runs, and how to end it.
struct Running {
    config: Arc<Config>,
    tasks: Tasks,
    /// Everything that serves peers.
    sessions: TaskTracker,
    /// Ends what serves peers.
    cancel: CancellationToken,
    log: Arc<RocksLog>,
    views: Views,
    disk: watch::Receiver<DiskLevel>,
}

/// Serves until `stop` resolves or the hub cannot go on; `readiness` says how far it is.
///
/// # Errors
/// When the hub cannot begin to serve.
pub async fn serve(
    config: Config,
    readiness: &Readiness,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(Addresses),
) -> anyhow::Result<Ended> {
    tls::install_provider();
    let config = Arc::new(config);
    let started_ms = crate::clock::now_ms();
    let tasks = Tasks::new();
    let disk = disk::watch(&config.data_dir, config.disk, &tasks).with_context(|| {
        format!(
            "{} cannot be used; found an exchange with `hutong-hub init`",
            config.data_dir.display()
        )
    })?;
    if matches!(*disk.borrow(), DiskLevel::Full { .. }) {
        return Ok(Ended::DiskFull);
    }
    let metrics = metrics()?;
    readiness.wait_for("the log is opened");
    let http = public(&config, &tasks, readiness, metrics).await?;

    let (log, _) = open_log(&config).await?;
    let registry = load_registry(&config, &log).await?;
    let views = open_views(&config, &log).await?;
    views.start(&tasks.tracker, &tasks.closing);
    let (cancel, sessions) = (CancellationToken::new(), TaskTracker::new());
    let running =
        Running { config: Arc::clone(&config), tasks, sessions, cancel, log, views, disk };

    readiness.wait_for("the views catch up with the log");
    tokio::pin!(stop);
    let caught_up = tokio::select! {
        caught_up = running.views.caught_up() => caught_up.context("the views could not catch up"),
        () = &mut stop => return running.drain(Ended::InOrder).await,
    };
    let opened = match caught_up {
        Ok(()) => running.open(registry, http, started_ms, readiness).await,
        Err(error) => Err(error),
    };
    let addresses = match opened {
        Ok(addresses) => addresses,
        // What applies the log must end before the runtime does.
        Err(error) => {
            running.end_tasks().await;
            return Err(error);
        }
    };
    tracing::info!(quic = %addresses.quic, %http, exchange = %config.exchange, "ready");
    ready(addresses);

    let ended = running.until_ended(stop).await;
    readiness.wait_for("the hub is stopping");
    running.drain(ended).await
}

impl Running {
    /// Opens the doors.
    async fn open(
        &self,
        registry: RegistryHandle,
        http: SocketAddr,
        started_ms: i64,
        readiness: &Readiness,
    ) -> anyhow::Result<Addresses> {
        readiness.wait_for("the doors are opened");
        let (office, gate) = self.wire(registry, started_ms).await?;
        let quic = gate.address().context("the QUIC address")?;
        self.open_doors(gate, &office).await?;
        readiness.reached(office);
        let addresses = Addresses { quic, http };
        self.publish(addresses)?;
        Ok(addresses)
    }

    /// Lets the owners of state finish, within the grace.
    async fn end_tasks(&self) {
        self.tasks.closing.cancel();
        self.tasks.tracker.close();
        if tokio::time::timeout(self.config.grace, self.tasks.tracker.wait()).await.is_err() {
            tracing::warn!(
                left = self.tasks.tracker.len(),
                "not everything was finished within the grace"
            );
        }
    }

    /// Puts everything together; nothing is served yet.
    async fn wire(
        &self,
        registry: RegistryHandle,
        started_ms: i64,
    ) -> anyhow::Result<(Arc<Office>, Gate)> {
        let config = &self.config;
        let follow_from = registry.read().applied();
        let governor = self.start_governor(&registry).await?;
        governor.command(follow::today(config)).await.context("set the date")?;
        let standing = Arc::new(FromViews(self.views.clone()));
        let intake = Intake::start(
            &self.log,
            registry.clone(),
            governor.clone(),
            standing,
            self.disk.clone(),
            config.intake.clone(),
            &self.tasks,
        );
        let incarnation = self.log.incarnation().0;
        let (views, nodes) = (self.views.clone(), Nodes::new());
        let router = Router::new(views.clone(), registry.clone(), incarnation, config.route_turns);
        let pseudonyms = KeyFolder::new(&config.path(files::PSEUDONYMS));
        let access = AccessLog::new(Arc::clone(&self.log), pseudonyms);
        let revoked = RevocationList::new(follow::serials(&registry.read()));
        let options = config.pki(files::AUTHORITY, files::HUB);
        let pki = Pki::load(options, revoked, clock::now())
            .with_context(|| format!("keys and certificates in {}", config.data_dir.display()))?;
        let tokens = TokenBook::open(&config.path(files::TOKENS), clock::now())?;
        let enrolment = Enrolment {
            authority: pki.authority.clone(),
            book: tokens.clone(),
            roots: pki.tls.roots.clone(),
            validity: config.certificate_validity,
            timeout: config.enrolment_timeout,
        };
        let rooms = Rooms {
            exchange: config.exchange.clone(),
            incarnation,
            registry: registry.clone(),
            governor: governor.clone(),
            intake: intake.clone(),
            router: router.clone(),
            asker: Asker::new(views.clone(), registry.clone(), access.clone()),
            nodes: nodes.clone(),
            enrolment: Arc::new(enrolment),
        };
        let transport = Arc::new(config.gate.transport());
        let tls = tls::hub_server_config(&pki.tls, transport)?;
        let (cancel, sessions) = (self.cancel.clone(), self.sessions.clone());
        let resets = ResetKey::load_or_create(&config.path(files::RESET_KEY))?;
        let limits = config.gate.clone();
        let gate = Gate::bind(config.listen, tls, &resets, rooms, limits, cancel, sessions)
            .with_context(|| format!("hub.listen: {} cannot be bound", config.listen))?;

        let log = Arc::clone(&self.log);
        let notices = follow::events(
            log,
            registry.clone(),
            nodes.clone(),
            pki.tls.revoked.clone(),
            follow_from,
            self.tasks.closing.clone(),
        );
        self.tasks.spawn_vital("governance notices", notices);
        self.tasks.spawn_vital("lines left out of the log", calm::tell(self.cancel.clone()));
        let calendar = follow::calendar(Arc::clone(config), governor.clone(), self.cancel.clone());
        self.tasks.spawn_vital("calendar", calendar);
        self.tasks.spawn_vital("the hub's certificate", pki.clone().keep(self.cancel.clone()));
        let overdue = follow::overdue(Arc::clone(config), registry.clone(), self.cancel.clone());
        self.tasks.spawn_vital("certificates that were not renewed", overdue);
        let expired = follow::expired(registry.clone(), nodes.clone(), self.cancel.clone());
        self.tasks.spawn_vital("connections whose certificates end", expired);
        let reconciler =
            Reconciler::new(views.clone(), registry.clone(), nodes.clone(), router.clone());
        let office = Office {
            exchange: config.exchange.clone(),
            utc_offset: config.utc_offset,
            token_lifetime: config.token_lifetime,
            started_ms,
            log: Arc::clone(&self.log),
            views,
            registry,
            governor,
            intake,
            router,
            reconciler,
            nodes,
            access,
            pki,
            certificate_validity: config.certificate_validity,
            tokens,
            disk: self.disk.clone(),
        };
        Ok((Arc::new(office), gate))
    }

    async fn start_governor(&self, registry: &RegistryHandle) -> anyhow::Result<Governor> {
        let data_partitions = registry.read().data_partitions();
        let mut barriers = Vec::new();
        for partition in (0..data_partitions).map(PartitionId::data) {
            let applied = self.views.snapshot().applied(partition)?;
            barriers.push((partition, applied.meta_offset));
        }
        let config = Arc::clone(&self.config);
        let options = GovernorOptions {
            queue: config.governor_queue,
            group: config.governor_group,
            today: Arc::new(move || config.today(clock::now())),
        };
        let log = Arc::clone(&self.log);
        let governor =
            Governor::start(log, registry.clone(), &barriers, options, &self.tasks).await;
        governor.context("start the governor")
    }

    async fn open_doors(&self, gate: Gate, office: &Arc<Office>) -> anyhow::Result<()> {
        let socket = self.config.path(files::SOCKET);
        let listener =
            api::bind_admin(&socket).with_context(|| format!("make {}", socket.display()))?;
        let (office, cancel) = (Arc::clone(office), self.cancel.clone());
        let router = office.router.clone().run(self.cancel.clone());
        self.tasks.spawn_vital("routes", router);
        self.tasks.spawn_vital("gate", gate.serve());
        self.sessions.spawn(async move {
            if let Err(error) = api::serve_admin(listener, office, cancel).await {
                tracing::error!(%error, "the operator's socket failed");
            }
        });
        Ok(())
    }

    /// Writes down where the hub can be reached.
    fn publish(&self, addresses: Addresses) -> anyhow::Result<()> {
        let write = |name, address: SocketAddr| {
            let text = format!("{address}\n");
            write_atomic(&self.config.path(name), text.as_bytes(), Access::Public)
        };
        write(files::QUIC_ADDRESS, addresses.quic)?;
        write(files::HTTP_ADDRESS, addresses.http)?;
        Ok(())
    }

    async fn until_ended(&self, stop: impl Future<Output = ()>) -> Ended {
        tokio::select! {
            () = stop => Ended::InOrder,
            reason = failure_of(self.log.fatal()) => Ended::Failed(reason),
            reason = failure_of(self.views.fatal()) => Ended::Failed(reason),
            reason = self.tasks.failure() => Ended::Failed(reason),
            () = disk_full(self.disk.clone()) => Ended::DiskFull,
        }
    }

    /// Stops accepting, tells the peers, lets them finish within the grace, then lets the owners of
    /// state finish, the log last. A hub that failed does nothing of it.
    async fn drain(self, ended: Ended) -> anyhow::Result<Ended> {
        if let Ended::Failed(reason) = &ended {
            tracing::error!(%reason, "the hub ends at once");
            return Ok(ended);
        }
        tracing::info!(grace_s = self.config.grace.as_secs(), "draining");
        self.cancel.cancel();
        self.sessions.close();
        if tokio::time::timeout(self.config.grace, self.sessions.wait()).await.is_err() {
            tracing::warn!(left = self.sessions.len(), "not everybody finished within the grace");
        }
        self.end_tasks().await;
        let Self { config, log, views, .. } = self;
        for name in [files::SOCKET, files::QUIC_ADDRESS, files::HTTP_ADDRESS] {
            // They only say where a hub was; the next one replaces them.
            let _ = std::fs::remove_file(config.path(name));
        }
        drop(views);
        tokio::task::spawn_blocking(move || log.close()).await?;
        tracing::info!("drained");
        Ok(ended)
    }
}

/// Waits until a part reports that it cannot go on.
async fn failure_of(mut part: watch::Receiver<Option<Arc<str>>>) -> Arc<str> {
    match part.wait_for(Option::is_some).await {
        Ok(reason) => reason.clone().unwrap_or_else(|| Arc::from("unknown")),
        Err(_) => Arc::from("a part of the hub ended without a word"),
    }
}

/// Waits until the disk is full.
async fn disk_full(mut disk: watch::Receiver<DiskLevel>) {
    if disk.wait_for(|level| matches!(level, DiskLevel::Full { .. })).await.is_err() {
        // The watch over the disk is a vital task: its end is reported as such.
        std::future::pending().await
    }
}

/// The process's metrics: the recorder is global, so a second hub in one process shares it.
fn metrics() -> anyhow::Result<PrometheusHandle> {
    static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(installed) = METRICS.get() {
        return Ok(installed.clone());
    }
    let installed = PrometheusBuilder::new().install_recorder().context("start the metrics")?;
    Ok(METRICS.get_or_init(|| installed).clone())
}

/// Opens health, readiness and metrics first: whoever waits for the hub sees what it waits for.
async fn public(
    config: &Config,
    tasks: &Tasks,
    readiness: &Readiness,
    metrics: PrometheusHandle,
) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(config.http)
        .await
        .with_context(|| format!("hub.http: {} cannot be bound", config.http))?;
    let address = listener.local_addr()?;
    let (readiness, closing) = (readiness.clone(), tasks.closing.clone());
    tasks.spawn_vital("health and metrics", async move {
        if let Err(error) = api::serve_public(listener, readiness, metrics, closing).await {
            tracing::error!(%error, "health and metrics failed");
        }
    });
    Ok(address)
}
