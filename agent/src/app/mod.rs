//! The agent as a whole: configuration → store → nodes → scans, and the way back down.
//!
//! Shutdown: no new scans and batches, what is under way is acknowledged, received rows are
//! committed, the hub is told, the store is closed.

pub mod enrol;
pub mod questions;
mod renewal;
pub mod report;
mod scans;
pub mod socket;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use hutong_certs::{
    enrol::NodeFolder,
    join::{JoinToken, sheet::SheetError},
};
use hutong_schema::ids::{NodeName, ResourceCode};
use hutong_schema::words::in_full;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    enrol::NotEnrolled,
    scans::{Mounted, Scans},
};
use crate::{
    changes::Publication as Source,
    config::{AfterGrant, Config, FileFormat, GrantChoice, NodeConfig, SinkConfig},
    link::{Dialler, Fatal, Hindrance, LinkError, Node, NodeOptions, Process, SubscriptionOptions},
    quarantine::Quarantine,
    sinks::{Disposal, LineFormat, SinkError, SinkOptions, SqlOptions, WebhookOptions},
    spool::{Store, StoreError, StoreOptions, StreamId},
};

/// Time for everything to come to its end; the link takes most of it for acknowledgements.
const GRACE: Duration = Duration::from_secs(10);

/// The agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The UDP socket.
    #[error(transparent)]
    Socket(#[from] LinkError),
    /// The sheet of join tokens.
    #[error("the sheet of join tokens cannot be used")]
    Sheet(#[from] SheetError),
    /// The status socket.
    #[error(
        "the status socket {path} cannot be opened (its path may have at most 107 bytes; see [status] socket)"
    )]
    Status {
        /// The socket.
        path: std::path::PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

/// A running agent.
pub struct Agent {
    config: Config,
    process: Process,
    scans: Scans,
    nodes: Mutex<BTreeMap<NodeName, Arc<Node>>>,
    /// Nodes that have no certificate yet, and why.
    waiting: Mutex<BTreeMap<NodeName, String>>,
    tokens: HashMap<NodeName, JoinToken>,
    enrolling: Semaphore,
    up: watch::Sender<usize>,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

/// Images that rest so long are put in order; a first load or a busy day is not held up by it.
const IMAGE_REST: Duration = Duration::from_secs(60);

/// Options of the store as configured.
pub fn store_options(config: &Config) -> StoreOptions {
    StoreOptions {
        cache_bytes: config.store_cache_bytes,
        outbox_cap_bytes: config.outbox_cap_bytes,
        image_rest: IMAGE_REST,
    }
}

impl Agent {
    /// Opens the store, the sockets, and begins to bring every node up. Must be called within the
    /// runtime.
    ///
    /// # Errors
    /// When store or sockets cannot be opened, or the token sheet cannot be read.
    pub async fn start(config: Config, cancel: CancellationToken) -> Result<Arc<Self>, StartError> {
        let opened = Store::open_or_set_aside(&config.store_dir(), store_options(&config))?;
        let store = opened.store;
        let tokens =
            config.enrol_sheet.as_deref().map(enrol::tokens).transpose()?.unwrap_or_default();
        let dialler = Dialler::open(&config.hub_address)?;
        let tasks = TaskTracker::new();
        let fatal = Fatal::new(cancel.clone());
        let publications: usize = config.nodes.iter().map(|node| node.publish.len()).sum();
        let (wishes, queue) = mpsc::channel(publications.max(1));
        let quarantine = Quarantine::new(config.quarantine_dir());
        let process = Process::new(dialler, store.clone(), quarantine, wishes, fatal.clone());
        let scans =
            Scans::new(store.clone(), fatal, config.parallel_scans, cancel.clone(), tasks.clone());
        let wanted = config.nodes.iter().flat_map(|node| {
            node.publish.iter().map(|publish| (node.name.clone(), publish.resource.clone()))
        });
        let mut streams = store.open_streams(wanted.collect()).await?.into_iter();
        let waiting =
            config.nodes.iter().map(|node| (node.name.clone(), "it is about to enrol".to_owned()));
        let agent = Arc::new(Self {
            process,
            scans: scans.clone(),
            nodes: Mutex::default(),
            waiting: Mutex::new(waiting.collect()),
            tokens,
            enrolling: Semaphore::new(enrol::AT_ONCE),
            up: watch::Sender::new(0),
            cancel,
            tasks,
            config,
        });
        socket::serve(&agent)?;
        agent.tasks.spawn(scans.run(queue));
        for node in agent.config.nodes.clone() {
            let streams: Vec<StreamId> = streams.by_ref().take(node.publish.len()).collect();
            agent.tasks.spawn(Arc::clone(&agent).bring_up(node, streams));
        }
        Ok(agent)
    }

    /// Waits until every node has its certificate; `false` when cancelled before.
    pub async fn all_up(&self) -> bool {
        let mut up = self.up.subscribe();
        let all = self.config.nodes.len();
        tokio::select! {
            reached = up.wait_for(|up| *up >= all) => reached.is_ok(),
            () = self.cancel.cancelled() => false,
        }
    }

    /// Waits until the agent is asked to end, then ends it in good order. The reason, if something
    /// failed.
    pub async fn run_to_end(self: Arc<Self>) -> Option<String> {
        self.cancel.cancelled().await;
        self.tasks.close();
        if tokio::time::timeout(GRACE, self.tasks.wait()).await.is_err() {
            tracing::warn!("not everything came to its end in time; nothing acknowledged is lost");
        }
        // The hub should hear that the connections are closed; a hub that is gone cannot.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.process.dialler.idle()).await;
        self.process.fatal.reason().map(str::to_owned)
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Nodes that have a certificate.
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        self.nodes.lock().values().cloned().collect()
    }

    /// Nodes without a certificate, and why.
    pub fn waiting(&self) -> BTreeMap<NodeName, String> {
        self.waiting.lock().clone()
    }

    /// What the nodes share.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Confirms what waits for a person at a resource. The answer in words.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn confirm(
        &self,
        resource: &ResourceCode,
    ) -> Result<Option<&'static str>, StoreError> {
        let found =
            self.scans.all().into_iter().find(|each| each.publication.resource == *resource);
        let Some(mounted) = found else { return Ok(None) };
        let released = mounted.source.confirm(&self.process.store).await?;
        let stuck = mounted.publication.troubles().iter().any(|(by, _)| *by == Hindrance::Hub);
        mounted.node.confirm(&mounted.publication);
        Ok(Some(match (released, stuck) {
            (true, _) => "confirmed: the source is read again and what it deletes is sent",
            (false, true) => {
                "confirmed: the publication is tried again, with a new epoch if the hub asks for one"
            }
            (false, false) => "nothing waits for confirmation; the source is read again",
        }))
    }

    fn mounted(&self) -> Vec<Arc<Mounted>> {
        self.scans.all()
    }

    /// Sees to it that a node has a certificate, then keeps it connected.
    async fn bring_up(self: Arc<Self>, config: NodeConfig, streams: Vec<StreamId>) {
        let Some(node) = self.enrolled(&config, &streams).await else { return };
        let publications = node.publications().to_vec();
        for (publication, publish) in publications.into_iter().zip(config.publish) {
            let quarantine = self.process.quarantine.clone();
            let source = Source { stream: publication.stream, config: publish, quarantine };
            self.scans.mount(Arc::clone(&node), publication, source);
        }
        self.nodes.lock().insert(config.name.clone(), Arc::clone(&node));
        self.waiting.lock().remove(&config.name);
        self.up.send_modify(|up| *up += 1);
        let keeper = renewal::Keeper {
            node: Arc::clone(&node),
            folder: NodeFolder::new(self.config.node_dir(&config.name)),
            turns: &self.enrolling,
            cancel: self.cancel.clone(),
        };
        keeper.revive().await;
        tokio::join!(keeper.keep(), node.keep(self.cancel.clone()));
    }

    async fn enrolled(&self, config: &NodeConfig, streams: &[StreamId]) -> Option<Arc<Node>> {
        let folder = NodeFolder::new(self.config.node_dir(&config.name));
        loop {
            let ensured = tokio::select! {
                ensured = self.certificate(&folder, &config.name) => ensured,
                () = self.cancel.cancelled() => return None,
            };
            let failed = match ensured {
                Ok(tls) => {
                    match Node::new(self.options(config, streams), tls, self.process.clone()) {
                        Ok(node) => return Some(node),
                        Err(SinkError::Store(error)) => {
                            self.process.fatal.raise(&error);
                            return None;
                        }
                        Err(error) => (error.to_string(), Duration::from_secs(60)),
                    }
                }
                Err(error) => (in_full(&error), error.again()),
            };
            let (reason, again) = failed;
            let before = self.waiting.lock().insert(config.name.clone(), reason.clone());
            if before.as_deref() != Some(&reason) {
                tracing::error!(node = %config.name, reason, "the node has no certificate");
            }
            tokio::select! {
                () = tokio::time::sleep(again) => {}
                () = self.cancel.cancelled() => return None,
            }
        }
    }

    async fn certificate(
        &self,
        folder: &NodeFolder,
        name: &NodeName,
    ) -> Result<hutong_certs::tls::AgentTls, NotEnrolled> {
        let Ok(_turn) = self.enrolling.acquire().await else { return Err(NotEnrolled::NoToken) };
        let token = self.tokens.get(name);
        Ok(enrol::ensure(&self.process.dialler, folder, token).await?.into_tls())
    }

    fn options(&self, config: &NodeConfig, streams: &[StreamId]) -> NodeOptions {
        let resources = config.publish.iter().map(|publish| publish.resource.clone());
        let subscription = |each: &crate::config::SubscribeConfig| SubscriptionOptions {
            grant: match each.grant {
                GrantChoice::All => None,
                GrantChoice::One(grant) => Some(grant),
            },
            sink: match &each.sink {
                SinkConfig::Files(files) => SinkOptions::Files {
                    folder: files.folder.clone(),
                    format: line_format(files.format),
                },
                SinkConfig::Sql(sql) => SinkOptions::Sql(Box::new(SqlOptions {
                    database: sql.database.clone(),
                    table: sql.table.clone(),
                    create: sql.create,
                })),
                SinkConfig::Webhook(webhook) => SinkOptions::Webhook(Box::new(WebhookOptions {
                    url: webhook.url.clone(),
                    token: webhook.token.clone(),
                    ca_file: webhook.ca_file.clone(),
                })),
                SinkConfig::Stdout => SinkOptions::Stdout,
            },
            disposal: match each.withdrawn {
                AfterGrant::Keep => Disposal::KeepAside,
                AfterGrant::Delete => Disposal::Delete,
            },
        };
        NodeOptions {
            name: config.name.clone(),
            folder: NodeFolder::new(self.config.node_dir(&config.name)),
            catalogue: config.catalogue.clone(),
            publications: streams.iter().copied().zip(resources).collect(),
            subscriptions: config.subscribe.iter().map(subscription).collect(),
        }
    }
}

fn line_format(format: FileFormat) -> LineFormat {
    match format {
        FileFormat::Csv => LineFormat::Csv,
        FileFormat::Jsonl => LineFormat::Jsonl,
    }
}
