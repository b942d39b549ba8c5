//! The agent as a whole: configuration → store → nodes → scans, and the way back down.
//!
//! Shutdown: no new scans and batches, what is under way is acknowledged, received rows are
//! committed, the hub is told, the store is closed.

pub mod doctor;
pub mod enrol;
mod folders;
pub mod handed;
pub mod push;
pub mod questions;
pub mod reload;
mod renewal;
pub mod report;
mod scans;
pub mod socket;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use hutong_certs::{
    enrol::NodeFolder,
    join::{JoinToken, sheet::SheetError},
};
use hutong_schema::ids::{NodeName, ResourceCode};
use hutong_schema::words::in_full;
use parking_lot::{Mutex, RwLock};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    enrol::NotEnrolled,
    scans::{Mounted, Scans},
};
use crate::{
    config::{
        AfterGrant, Config, FileFormat, GrantChoice, NodeConfig, PUBLICATIONS_MAX, SinkConfig,
    },
    link::{Dialler, Fatal, Hindrance, LinkError, Node, NodeOptions, Process, SubscriptionOptions},
    quarantine::Quarantine,
    sinks::{Disposal, LineFormat, SinkError, SinkOptions, SqlOptions, WebhookOptions},
    spool::{Store, StoreError, StoreOptions, StreamId},
};

/// Time for everything to come to its end; the link takes most of it for acknowledgements.
const GRACE: Duration = Duration::from_secs(10);

/// Why a node waits that has just been configured.
const ABOUT_TO_ENROL: &str = "it is about to enrol";

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
    /// The door for pushed rows.
    #[error(transparent)]
    Push(#[from] push::PushError),
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
    config: RwLock<Arc<Config>>,
    process: Process,
    scans: Scans,
    nodes: Mutex<BTreeMap<NodeName, Arc<Node>>>,
    /// Nodes that have no certificate yet, and why.
    waiting: Mutex<BTreeMap<NodeName, String>>,
    /// The task of each node.
    running: Mutex<BTreeMap<NodeName, Running>>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
    tokens: Mutex<HashMap<NodeName, JoinToken>>,
    push_address: Option<SocketAddr>,
    enrolling: Semaphore,
    up: watch::Sender<usize>,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

/// The task that keeps one node.
struct Running {
    cancel: CancellationToken,
    task: JoinHandle<()>,
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
        let door = match &config.push {
            Some(push) => Some(push::Door::open(push).await?),
            None => None,
        };
        let tasks = TaskTracker::new();
        let fatal = Fatal::new(cancel.clone());
        // Places take memory only while somebody is in them.
        let (wishes, queue) = mpsc::channel(PUBLICATIONS_MAX);
        let quarantine = Quarantine::new(config.quarantine_dir());
        let process = Process::new(dialler, store.clone(), quarantine, wishes, fatal.clone());
        let scans =
            Scans::new(store.clone(), fatal, config.parallel_scans, cancel.clone(), tasks.clone());
        let wanted = config.nodes.iter().flat_map(|node| {
            node.publish.iter().map(|publish| (node.name.clone(), publish.resource.clone()))
        });
        let mut streams = store.open_streams(wanted.collect()).await?.into_iter();
        let agent = Arc::new(Self {
            process,
            scans: scans.clone(),
            nodes: Mutex::default(),
            waiting: Mutex::default(),
            running: Mutex::default(),
            reloading: tokio::sync::Mutex::default(),
            tokens: Mutex::new(tokens),
            push_address: door.as_ref().map(push::Door::address),
            enrolling: Semaphore::new(enrol::AT_ONCE),
            up: watch::Sender::new(0),
            cancel,
            tasks,
            config: RwLock::new(Arc::new(config)),
        });
        for node in &agent.config().nodes {
            agent.waiting.lock().insert(node.name.clone(), ABOUT_TO_ENROL.to_owned());
        }
        socket::serve(&agent)?;
        if let Some(door) = door {
            door.serve(&agent);
        }
        let reading = agent.process.fatal.clone();
        agent.tasks.spawn(async move {
            reading.guard("the reading of sources", Box::pin(scans.run(queue))).await;
        });
        for node in agent.config().nodes.clone() {
            let streams: Vec<StreamId> = streams.by_ref().take(node.publish.len()).collect();
            agent.begin_node(node, streams);
        }
        Ok(agent)
    }

    /// Begins to bring a node up.
    fn begin_node(self: &Arc<Self>, config: NodeConfig, streams: Vec<StreamId>) {
        let (name, cancel) = (config.name.clone(), self.cancel.child_token());
        self.waiting.lock().insert(name.clone(), ABOUT_TO_ENROL.to_owned());
        let (agent, until) = (Arc::clone(self), cancel.clone());
        let task = self.tasks.spawn(async move {
            let fatal = agent.process.fatal.clone();
            fatal.guard("a node", Box::pin(agent.bring_up(config, streams, until))).await;
        });
        self.running.lock().insert(name, Running { cancel, task });
    }

    /// Waits until every node has its certificate; `false` when cancelled before.
    pub async fn all_up(&self) -> bool {
        let mut up = self.up.subscribe();
        let all = self.config().nodes.len();
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

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read())
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
        let Some(mounted) = self.mounted_of(resource) else { return Ok(None) };
        if let Some(said) = handed::confirm(self, &mounted).await? {
            mounted.node.confirm(&mounted.publication);
            return Ok(Some(said));
        }
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

    /// Where programs can push rows.
    pub fn push_address(&self) -> Option<SocketAddr> {
        self.push_address
    }

    fn mounted(&self) -> Vec<Arc<Mounted>> {
        self.scans.all()
    }

    fn mounted_of(&self, resource: &ResourceCode) -> Option<Arc<Mounted>> {
        self.scans.all().into_iter().find(|each| each.publication.resource == *resource)
    }

    /// Sees to it that a node has a certificate, then keeps it connected.
    async fn bring_up(
        self: Arc<Self>,
        config: NodeConfig,
        streams: Vec<StreamId>,
        cancel: CancellationToken,
    ) {
        let Some(node) = self.enrolled(&config, &streams, &cancel).await else { return };
        for (publication, publish) in node.publications().iter().zip(config.publish) {
            self.mount(&node, Arc::clone(publication), publish);
        }
        self.nodes.lock().insert(config.name.clone(), Arc::clone(&node));
        self.waiting.lock().remove(&config.name);
        self.up.send_modify(|up| *up += 1);
        let keeper = renewal::Keeper {
            node: Arc::clone(&node),
            folder: NodeFolder::new(self.config().node_dir(&config.name)),
            turns: &self.enrolling,
            cancel: cancel.clone(),
        };
        keeper.revive().await;
        tokio::join!(keeper.keep(), node.keep(cancel.clone()));
    }

    async fn enrolled(
        &self,
        config: &NodeConfig,
        streams: &[StreamId],
        cancel: &CancellationToken,
    ) -> Option<Arc<Node>> {
        let folder = NodeFolder::new(self.config().node_dir(&config.name));
        loop {
            let ensured = tokio::select! {
                ensured = self.certificate(&folder, &config.name) => ensured,
                () = cancel.cancelled() => return None,
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
                () = cancel.cancelled() => return None,
            }
        }
    }

    async fn certificate(
        &self,
        folder: &NodeFolder,
        name: &NodeName,
    ) -> Result<hutong_certs::tls::AgentTls, NotEnrolled> {
        let Ok(_turn) = self.enrolling.acquire().await else { return Err(NotEnrolled::NoToken) };
        let token = self.tokens.lock().get(name).cloned();
        Ok(enrol::ensure(&self.process.dialler, folder, token.as_ref()).await?.into_tls())
    }

    fn options(&self, config: &NodeConfig, streams: &[StreamId]) -> NodeOptions {
        let resources = config.publish.iter().map(|publish| publish.resource.clone());
        NodeOptions {
            name: config.name.clone(),
            folder: NodeFolder::new(self.config().node_dir(&config.name)),
            catalogue: config.catalogue.clone(),
            publications: streams.iter().copied().zip(resources).collect(),
            subscriptions: subscription_options(config),
        }
    }
}

/// What a node is to receive, and where it goes.
fn subscription_options(config: &NodeConfig) -> Vec<SubscriptionOptions> {
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
    config.subscribe.iter().map(subscription).collect()
}

fn line_format(format: FileFormat) -> LineFormat {
    match format {
        FileFormat::Csv => LineFormat::Csv,
        FileFormat::Jsonl => LineFormat::Jsonl,
    }
}
