//! The status socket: one request per connection, a JSON line each way. Only the user who runs the
//! agent may use it.

use std::{os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use hutong_schema::ids::{NodeName, ResourceCode};
use hutong_schema::words::in_full;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
};

use super::{
    Agent, StartError,
    handed::{self, QuarantineRequest},
    questions::{self, Question},
    report::AgentReport,
};

/// Largest request, bytes: a catalogue of thousands of entries.
const REQUEST_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Requests at once; further ones wait to be accepted.
const AT_ONCE: usize = 8;

/// A request that does not arrive in this time is dropped.
const ARRIVE_WITHIN: Duration = Duration::from_secs(10);

/// What can be asked of a running agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// How everything stands.
    Status,
    /// What waits at a resource is meant.
    Confirm {
        /// The resource.
        resource: ResourceCode,
    },
    /// Read the configuration again.
    Reload,
    /// A question to the hub.
    Ask {
        /// Over which node's connection; any that is connected when absent.
        node: Option<NodeName>,
        /// The question.
        question: Question,
    },
    /// What only the running agent can do about rows in quarantine.
    Quarantine(QuarantineRequest),
}

/// The answer: something to show, or what went wrong.
pub type Response = Result<Value, String>;

/// The running agent cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// No agent is running with this configuration.
    #[error("no agent is running (nobody answers on {0})")]
    NotRunning(std::path::PathBuf),
    /// The connection failed.
    #[error("the running agent did not answer")]
    Broken(#[from] std::io::Error),
    /// The answer does not read.
    #[error("the running agent's answer cannot be read; is it of another version?")]
    Answer(#[from] serde_json::Error),
}

/// Opens the socket and answers in the background until the agent ends.
pub(super) fn serve(agent: &Arc<Agent>) -> Result<(), StartError> {
    let path = agent.config().status_socket.clone();
    let failed = |source| StartError::Status { path: path.clone(), source };
    let listener = bind(&path).map_err(failed)?;
    let weak = Arc::downgrade(agent);
    let cancel = agent.cancel.clone();
    agent.tasks.spawn(async move {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let accepted = tokio::select! {
                () = cancel.cancelled() => break,
                accepted = accept(&listener, &places) => accepted,
            };
            let Some((stream, place)) = accepted else { continue };
            let Some(agent) = weak.upgrade() else { break };
            let tasks = agent.tasks.clone();
            tasks.spawn(async move {
                let cancel = agent.cancel.clone();
                let answered = Box::pin(answer(&agent, stream));
                let answered = tokio::select! {
                    answered = answered => answered,
                    () = cancel.cancelled() => return,
                };
                if let Err(error) = answered {
                    tracing::debug!(%error, "a request on the status socket broke off");
                }
                drop(place);
            });
        }
        // A stale socket does no harm: the next start replaces it.
        let _ = std::fs::remove_file(&path);
    });
    Ok(())
}

fn bind(path: &Path) -> std::io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // The store's lock says that no other agent is running: what lies here is left over.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn accept(
    listener: &UnixListener,
    places: &Arc<Semaphore>,
) -> Option<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!(%error, "the status socket cannot accept");
            // Out of file descriptors, most likely: do not spin.
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

async fn answer(agent: &Arc<Agent>, stream: UnixStream) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(read.take(REQUEST_BYTES_MAX));
    tokio::time::timeout(ARRIVE_WITHIN, reader.read_until(b'\n', &mut line)).await??;
    let response: Response = match serde_json::from_slice(&line) {
        Ok(request) => perform(agent, request).await,
        Err(error) => Err(format!("the request cannot be read: {error}")),
    };
    let mut text = serde_json::to_vec(&response)?;
    text.push(b'\n');
    write.write_all(&text).await
}

async fn perform(agent: &Arc<Agent>, request: Request) -> Response {
    match request {
        Request::Status => {
            serde_json::to_value(AgentReport::of(agent)).map_err(|error| error.to_string())
        }
        Request::Confirm { resource } => match agent.confirm(&resource).await {
            Ok(Some(said)) => Ok(said.into()),
            Ok(None) => Err(format!("{resource} is not published by this agent")),
            Err(error) => Err(in_full(&error)),
        },
        Request::Reload => match Box::pin(agent.reload()).await {
            Ok(done) => serde_json::to_value(done).map_err(|error| error.to_string()),
            Err(error) => Err(in_full(&error)),
        },
        Request::Quarantine(request) => handed::perform(agent, request).await,
        Request::Ask { node, question } => {
            let nodes = agent.nodes();
            let chosen = nodes
                .iter()
                .filter(|each| node.as_ref().is_none_or(|name| each.name() == name))
                .find_map(|each| Some((each, each.session()?)));
            let Some((over, session)) = chosen else {
                return Err(match node {
                    Some(node) => format!("node {node} is not connected; see: hutong-agent status"),
                    None => "no node is connected; see: hutong-agent status".to_owned(),
                });
            };
            let answer = questions::perform(&session, &question).await;
            let answer = answer.map_err(|error| in_full(&error))?;
            if let Question::CatalogueApply(entries) = question {
                // All nodes are the department's: each follows the entries it publishes by.
                for node in &nodes {
                    node.learn(entries.clone()).await.map_err(|error| in_full(&error))?;
                }
                tracing::info!(node = %over.name(), "catalogue entries were applied by hand");
            }
            Ok(answer)
        }
    }
}

/// Asks the running agent.
///
/// # Errors
/// When none is running, or it does not answer.
pub async fn ask(path: &Path, request: &Request) -> Result<Response, SocketError> {
    let stream = match UnixStream::connect(path).await {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Err(SocketError::NotRunning(path.to_owned()));
        }
        Err(error) => return Err(error.into()),
    };
    let (read, mut write) = stream.into_split();
    let mut text = serde_json::to_vec(request)?;
    text.push(b'\n');
    write.write_all(&text).await?;
    let mut line = Vec::new();
    BufReader::new(read).read_until(b'\n', &mut line).await?;
    Ok(serde_json::from_slice(&line)?)
}
