//! One node: its connection, kept as long as the agent runs.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use hutong_certs::tls::AgentTls;
use hutong_schema::{
    catalogue::CatalogueEntry,
    grant::GrantId,
    ids::{NodeName, ResourceCode},
    words::in_full,
};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, SemaphorePermit, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Backoff, LinkError, LinkState, NodeOptions, Process, Publication, ScanWish, Session,
    Subscription, SubscriptionOptions, Wanted, certificate::certificate_wanted, control,
    deliveries, entries, publications, session::ControlStream,
};
use crate::{
    config::PUBLICATIONS_MAX,
    sinks::{SinkError, SubscriptionKey, known},
    spool::{Store, StoreError, StreamId},
};

/// When the agent shuts down: time for what is under way to be acknowledged.
const DRAIN: Duration = Duration::from_secs(5);

/// One node.
pub struct Node {
    pub(super) options: NodeOptions,
    pub(super) process: Process,
    pub(super) tls: AgentTls,
    publications: RwLock<Arc<[Arc<Publication>]>>,
    wanted_subscriptions: RwLock<Vec<SubscriptionOptions>>,
    pub(super) work: mpsc::Sender<Arc<Publication>>,
    pub(super) queue: tokio::sync::Mutex<mpsc::Receiver<Arc<Publication>>>,
    pub(super) subscriptions: Mutex<BTreeMap<GrantId, Arc<Subscription>>>,
    pub(super) grants: Notify,
    state: Mutex<LinkState>,
    session: watch::Sender<Option<Session>>,
    catalogue_trouble: Mutex<Option<String>>,
    grants_trouble: Mutex<Option<String>>,
    pub(super) renewal_trouble: Mutex<Option<String>>,
    pub(super) wanted: watch::Sender<Wanted>,
    pub(super) renewed: Notify,
    skew_ms: AtomicI64,
}

impl Node {
    /// A node that is not connected yet.
    ///
    /// # Errors
    /// When the store cannot tell what the node's subscriptions hold.
    pub fn new(
        options: NodeOptions,
        tls: AgentTls,
        process: Process,
    ) -> Result<Arc<Self>, SinkError> {
        let publication = |(stream, resource): &(StreamId, ResourceCode)| {
            Arc::new(Publication::new(*stream, resource.clone()))
        };
        let publications: Arc<[_]> = options.publications.iter().map(publication).collect();
        for publication in &*publications {
            entries::recall_entry(&process.store, publication)?;
        }
        // One place per publication: whoever is queued is not queued again, so it is never full.
        // Places take memory only while somebody is in them.
        let (work, queue) = mpsc::channel(PUBLICATIONS_MAX);
        let held = known(&process.store, &options.name)?.into_iter();
        let subscriptions = held
            .map(|each| (each.key.grant, Arc::new(Subscription::new(each.key, Some(&each.record)))))
            .collect();
        Ok(Arc::new(Self {
            wanted_subscriptions: RwLock::new(options.subscriptions.clone()),
            options,
            process,
            tls,
            publications: RwLock::new(publications),
            work,
            queue: tokio::sync::Mutex::new(queue),
            subscriptions: Mutex::new(subscriptions),
            grants: Notify::new(),
            state: Mutex::new(LinkState::Idle),
            session: watch::Sender::new(None),
            catalogue_trouble: Mutex::new(None),
            grants_trouble: Mutex::new(None),
            renewal_trouble: Mutex::new(None),
            wanted: watch::Sender::new(Wanted::Nothing),
            renewed: Notify::new(),
            skew_ms: AtomicI64::new(0),
        }))
    }

    /// The node's name.
    pub fn name(&self) -> &NodeName {
        &self.options.name
    }

    /// What it publishes.
    pub fn publications(&self) -> Arc<[Arc<Publication>]> {
        Arc::clone(&self.publications.read())
    }

    /// Publishes one more resource, over the connection that there is, from the next
    /// [`poke`](Self::poke) on.
    ///
    /// # Errors
    /// When the store fails.
    pub fn begin_publication(
        self: &Arc<Self>,
        stream: StreamId,
        resource: ResourceCode,
    ) -> Result<Arc<Publication>, StoreError> {
        let publication = Arc::new(Publication::new(stream, resource));
        entries::recall_entry(self.store(), &publication)?;
        // It may have been published before: then the hub's state is compared.
        publication.set_unverified(true);
        let added = || std::iter::once(Arc::clone(&publication));
        {
            let mut held = self.publications.write();
            *held = held.iter().cloned().chain(added()).collect();
        }
        Ok(publication)
    }

    /// Applies the catalogue file, if it has changed, over the connection that there is.
    pub async fn apply_catalogue(self: &Arc<Self>) {
        let Some(session) = self.session() else { return };
        if let Err(error) = entries::prepare(self, &session).await {
            // The next connection does it.
            tracing::debug!(node = %self.name(), %error, "the catalogue was not settled");
        }
    }

    /// Publishes a resource no more: what is under way is still acknowledged, the rest stays in the
    /// outbox.
    pub fn end_publication(&self, publication: &Publication) {
        let mut held = self.publications.write();
        *held = held.iter().filter(|each| each.stream != publication.stream).cloned().collect();
        publication.retire();
    }

    /// What is received from now on, over the connection that there is.
    pub fn set_subscriptions(&self, options: Vec<SubscriptionOptions>) {
        *self.wanted_subscriptions.write() = options;
        self.grants_changed();
    }

    /// What is to be received.
    pub(super) fn wanted_subscriptions(&self) -> Vec<SubscriptionOptions> {
        self.wanted_subscriptions.read().clone()
    }

    /// What the configuration says of a grant: by its number, else of all.
    pub fn subscription_options(&self, grant: GrantId) -> Option<SubscriptionOptions> {
        let all = self.wanted_subscriptions.read();
        let by_number = all.iter().find(|each| each.grant == Some(grant));
        by_number.or_else(|| all.iter().find(|each| each.grant.is_none())).cloned()
    }

    /// What it receives or received.
    pub fn subscriptions(&self) -> Vec<Arc<Subscription>> {
        self.subscriptions.lock().values().cloned().collect()
    }

    /// How the connection stands.
    pub fn state(&self) -> LinkState {
        self.state.lock().clone()
    }

    /// Why the catalogue could not be applied.
    pub fn catalogue_trouble(&self) -> Option<String> {
        self.catalogue_trouble.lock().clone()
    }

    /// Why the hub could not be asked for the grants.
    pub fn grants_trouble(&self) -> Option<String> {
        self.grants_trouble.lock().clone()
    }

    /// Whether a grant is to be received by its number, not as one of all.
    pub fn takes_by_number(&self, grant: GrantId) -> bool {
        self.wanted_subscriptions.read().iter().any(|each| each.grant == Some(grant))
    }

    /// Our clock minus the hub's, milliseconds.
    pub fn skew_ms(&self) -> i64 {
        self.skew_ms.load(Ordering::Relaxed)
    }

    /// The present session.
    pub fn session(&self) -> Option<Session> {
        self.session.borrow().clone()
    }

    /// Keeps the connection until cancelled.
    pub async fn keep(self: Arc<Self>, cancel: CancellationToken) {
        let mut backoff = Backoff::new(self.process.dialler.patience());
        while !cancel.is_cancelled() {
            self.set_state(LinkState::Connecting);
            let ended = match self.connect(&cancel).await {
                Ok((session, control)) => {
                    // Without the dial: a hub that stays silent lets it last long.
                    let began = Instant::now();
                    let ended = self.visit(&session, control, &cancel).await;
                    backoff.lasted(began.elapsed());
                    ended
                }
                Err(error) => error,
            };
            if matches!(ended, LinkError::Cancelled) {
                break;
            }
            let ended = self.with_clocks(ended).await;
            let wait = backoff.next(rand::random());
            self.away(&ended, backoff.failures());
            self.wanted.send_replace(certificate_wanted(&ended));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.renewed.notified() => {}
                () = cancel.cancelled() => break,
            }
        }
        self.set_state(LinkState::Idle);
    }

    /// Dials, and waits for the hub's greeting.
    async fn connect(
        &self,
        cancel: &CancellationToken,
    ) -> Result<(Session, ControlStream), LinkError> {
        let connecting =
            Session::connect(&self.process.dialler, &self.tls, self.store().instance());
        tokio::select! {
            connected = connecting => connected,
            () = cancel.cancelled() => Err(LinkError::Cancelled),
        }
    }

    /// One connection, from its greeting to its end.
    async fn visit(
        self: &Arc<Self>,
        session: &Session,
        mut control: ControlStream,
        cancel: &CancellationToken,
    ) -> LinkError {
        let hub = session.welcome().software.clone();
        tracing::info!(node = %self.name(), hub = self.process.dialler.address(), software = hub, "connected");
        self.set_state(LinkState::Connected { since: hutong_certs::clock::now(), hub });
        self.session.send_replace(Some(session.clone()));
        let (scope, tasks) = (cancel.child_token(), TaskTracker::new());
        let shared = || (Arc::clone(self), session.clone(), scope.clone(), tasks.clone());
        let (node, over, within, beside) = shared();
        tasks.spawn(async move {
            let fatal = node.process.fatal.clone();
            let work = Box::pin(publications::serve(node, over, within, beside));
            fatal.guard("publishing", work).await;
        });
        let (node, over, within, beside) = shared();
        tasks.spawn(async move {
            let fatal = node.process.fatal.clone();
            let work = Box::pin(deliveries::serve(node, over, within, beside));
            fatal.guard("receiving", work).await;
        });
        let ended = control::attend(self, session, &mut control, cancel).await;
        self.session.send_replace(None);
        tasks.close();
        if matches!(ended, LinkError::Cancelled) {
            // What is under way is still acknowledged; the rest stays in the outbox.
            let drained = tokio::time::timeout(DRAIN, tasks.wait()).await;
            if drained.is_err() {
                tracing::warn!(node = %self.name(), "some batches were not acknowledged in time; they stay in the outbox");
            }
            control::goodbye(&mut control, "the agent shuts down").await;
        }
        scope.cancel();
        session.close("the agent closes the connection");
        tasks.wait().await;
        for subscription in self.subscriptions.lock().values() {
            subscription.interrupted();
        }
        ended
    }

    /// Something changed for a publication: wakes its stream, or gives it a turn.
    pub fn poke(&self, publication: &Arc<Publication>) {
        publication.wake();
        let work = publication.state(self.store()).is_ok_and(|state| publication.has_work(&state));
        if work && self.session.borrow().is_some() {
            self.enqueue(publication);
        }
    }

    pub(super) fn enqueue(&self, publication: &Arc<Publication>) {
        if publication.enqueue() && self.work.try_send(Arc::clone(publication)).is_err() {
            // Cannot happen while every publication has a place; nothing is lost if it does: the
            // next scan or connection asks again.
            publication.release();
        }
    }

    /// Has a source read, now or as soon as its present scan is over.
    pub fn want_scan(&self, publication: &Publication) {
        if publication.want_scan() {
            self.queue_scan(publication);
        }
    }

    /// A scan is over; `well` if the source was read to its end.
    pub fn scan_ended(&self, publication: &Arc<Publication>, well: bool) {
        if publication.scan_ends(well) {
            self.queue_scan(publication);
        }
        self.poke(publication);
    }

    fn queue_scan(&self, publication: &Publication) {
        // The receiver is gone only when the agent ends.
        let _ = self.process.scans.try_send(ScanWish { stream: publication.stream });
    }

    /// A person said that this machine and its source are right: hindrances are tried again.
    pub fn confirm(&self, publication: &Arc<Publication>) {
        publication.allow_recovery();
        self.want_scan(publication);
        if self.session.borrow().is_some() {
            self.enqueue(publication);
        }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.process.store
    }

    pub(super) fn subscription(&self, grant: GrantId) -> Arc<Subscription> {
        let key = SubscriptionKey { node: self.name().clone(), grant };
        let mut subscriptions = self.subscriptions.lock();
        Arc::clone(
            subscriptions.entry(grant).or_insert_with(|| Arc::new(Subscription::new(key, None))),
        )
    }

    /// The subscription to a grant, if there ever was one.
    pub(super) fn subscribed(&self, grant: GrantId) -> Option<Arc<Subscription>> {
        self.subscriptions.lock().get(&grant).map(Arc::clone)
    }

    pub(super) fn fatal(&self, error: &StoreError) {
        self.process.fatal.raise(error);
    }

    pub(super) fn grants_changed(&self) {
        self.grants.notify_one();
    }

    /// Catalogue entries were registered at the hub: publications follow them.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn learn(&self, entries: Vec<CatalogueEntry>) -> Result<(), StoreError> {
        entries::take_entries(self, entries, true).await
    }

    pub(super) fn set_catalogue_trouble(&self, trouble: Option<String>) {
        *self.catalogue_trouble.lock() = trouble;
    }

    pub(super) fn set_grants_trouble(&self, trouble: Option<String>) {
        *self.grants_trouble.lock() = trouble;
    }

    /// Takes a measured clock difference; whether it is a new one, to within a second.
    pub(super) fn note_skew(&self, skew_ms: i64) -> bool {
        let before = self.skew_ms.swap(skew_ms, Ordering::Relaxed);
        (before - skew_ms).abs() > 1_000
    }

    pub(super) async fn digest_turn(
        &self,
    ) -> Result<SemaphorePermit<'_>, tokio::sync::AcquireError> {
        self.process.digests.acquire().await
    }

    fn set_state(&self, state: LinkState) {
        let mut held = self.state.lock();
        // While it is tried again, the reason of the failure stays visible.
        if !(matches!(state, LinkState::Connecting) && matches!(*held, LinkState::Away { .. })) {
            *held = state;
        }
    }

    /// Notes why there is no connection, and tells it when it is news.
    fn away(&self, error: &LinkError, failures: u32) {
        let mut held = self.state.lock();
        let reason = in_full(error);
        let (since, news) = match &*held {
            LinkState::Away { since, reason: before, .. } => (*since, *before != reason),
            LinkState::Idle | LinkState::Connecting | LinkState::Connected { .. } => {
                (hutong_certs::clock::now(), true)
            }
        };
        let advice = error.advice();
        let (node, next) = (self.name(), advice.unwrap_or("it is tried again"));
        match (news, error.needs_person()) {
            (true, true) => tracing::error!(%node, reason, next, "no connection to the hub"),
            (true, false) => tracing::warn!(%node, reason, next, "no connection to the hub"),
            (false, _) => {
                tracing::debug!(%node, reason, failures, "still no connection to the hub")
            }
        }
        *held = LinkState::Away { since, reason, advice, failures };
    }
}
