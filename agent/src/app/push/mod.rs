//! `[push]`: programs of this machine hand rows over by HTTP, and are answered when the rows are durable
//! in the outbox.
//!
//! | request | answer |
//! | --- | --- |
//! | `POST /v1/resources/<class>/<sequence>/rows` | what was accepted, and each refused row with its reason |
//! | `GET /v1/resources/<class>/<sequence>/wanted` | keys that the hub asks for again |
//! | `GET /v1/resources` | the resources that take rows |
//!
//! Requests at once, their size and the time they wait are bounded; who comes too many is told when to
//! come again. Every request shows the token.

mod answers;
mod body;
mod reply;
mod token;

use std::{
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};
use hutong_schema::{catalogue::CatalogueEntry, ids::ResourceCode, row::key_parts};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::Semaphore};

use self::{
    answers::{Answers, Known},
    body::{BodyError, Form},
    reply::{Problem, json},
};
use super::{
    Agent,
    handed::{Fault, PATIENCE, pushed, within_patience},
    scans::Mounted,
};
use crate::{
    changes::{HandError, HandReport},
    config::PushConfig,
    spool::Store,
};

pub use token::{Token, TokenError};

/// Requests whose bodies are read and committed at once; others wait a little, then come again.
const AT_ONCE: usize = 4;
/// A body that does not arrive in this time is given up.
const ARRIVE_WITHIN: Duration = Duration::from_secs(30);
/// Longest `Idempotency-Key`, bytes.
const KEY_MAX: usize = 255;

/// The door, open but not yet served.
pub(super) struct Door {
    listener: TcpListener,
    address: SocketAddr,
    token: Token,
    body_max: usize,
}

/// The door cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The address.
    #[error(
        "cannot listen for pushed rows on {address}; is another program there? See [push] listen"
    )]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

impl Door {
    /// Opens it: reads the token and takes the address.
    pub(super) async fn open(config: &PushConfig) -> Result<Self, PushError> {
        let token = Token::load(&config.token)?;
        let failed = |source| PushError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, token, body_max: config.body_bytes_max })
    }

    /// Where it is.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves in the background until the agent ends.
    pub(super) fn serve(self, agent: &Arc<Agent>) {
        let Self { listener, address, token, body_max } = self;
        let desk = Arc::new(Desk {
            agent: Arc::downgrade(agent),
            token,
            body_max,
            turns: Semaphore::new(AT_ONCE),
            answers: Answers::default(),
        });
        let routes = Router::new()
            .route("/v1/resources", get(resources))
            .route("/v1/resources/{class}/{sequence}/rows", post(rows))
            .route("/v1/resources/{class}/{sequence}/wanted", get(wanted))
            .fallback(nowhere)
            .method_not_allowed_fallback(nowhere)
            .layer(middleware::from_fn_with_state(Arc::clone(&desk), admit))
            .with_state(desk);
        let cancel = agent.cancel.clone();
        agent.tasks.spawn(async move {
            tracing::info!(%address, "programs can push rows");
            let served = axum::serve(listener, routes)
                .with_graceful_shutdown(cancel.cancelled_owned())
                .await;
            if let Err(error) = served {
                tracing::error!(%error, "rows can no longer be pushed; restart the agent");
            }
        });
    }
}

/// What all requests share.
struct Desk {
    agent: Weak<Agent>,
    token: Token,
    body_max: usize,
    turns: Semaphore,
    answers: Answers,
}

/// What became of pushed rows, as it is kept for a repeat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    upserts: u64,
    deletes: u64,
    refused: Vec<Fault>,
    ignored: Vec<String>,
}

impl Answer {
    fn of(report: &HandReport, entry: &CatalogueEntry) -> Self {
        Self {
            upserts: report.upserts,
            deletes: report.deletes,
            refused: report.refused.iter().map(|row| Fault::of(row, entry)).collect(),
            ignored: report.unknown.clone(),
        }
    }
}

/// Nobody learns anything without the token.
async fn admit(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(header::AUTHORIZATION);
    let shown = shown.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    if shown.is_some_and(|shown| desk.token.admits(shown.trim_ascii())) {
        next.run(request).await
    } else {
        Problem::Unauthorized.into()
    }
}

async fn nowhere() -> Response {
    Problem::Nowhere.into()
}

async fn resources(State(desk): State<Arc<Desk>>) -> Response {
    let Some(agent) = desk.agent.upgrade() else { return Problem::Ending.into() };
    json(StatusCode::OK, &serde_json::json!({ "resources": known(&agent) }))
}

async fn wanted(
    State(desk): State<Arc<Desk>>,
    Path((class, sequence)): Path<(String, String)>,
) -> Response {
    let Some(agent) = desk.agent.upgrade() else { return Problem::Ending.into() };
    let found = find(&agent, &class, &sequence);
    let keys = found.and_then(|(mounted, _)| {
        mounted.source.wanted(&agent.process.store).map_err(|error| fatal(&agent, error.into()))
    });
    match keys {
        Err(problem) => problem.into(),
        Ok(keys) => {
            let parts = |key: &Vec<u8>| -> Vec<String> {
                key_parts(key).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
            };
            let keys: Vec<_> = keys.iter().map(parts).collect();
            json(StatusCode::OK, &serde_json::json!({ "keys": keys }))
        }
    }
}

async fn rows(
    State(desk): State<Arc<Desk>>,
    Path((class, sequence)): Path<(String, String)>,
    request: Request,
) -> Response {
    let Some(agent) = desk.agent.upgrade() else { return Problem::Ending.into() };
    match take(&desk, &agent, (&class, &sequence), request).await {
        Ok((answer, repeated)) => reply::accepted(&answer, repeated),
        Err(problem) => problem.into(),
    }
}

async fn take(
    desk: &Desk,
    agent: &Arc<Agent>,
    (class, sequence): (&str, &str),
    request: Request,
) -> Result<(Answer, bool), Problem> {
    let (mounted, entry) = find(agent, class, sequence)?;
    let (head, body) = request.into_parts();
    let form = form(&head.headers)?;
    let key = idempotency_key(&head.headers)?;
    let announced = head.headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > desk.body_max as u64) {
        return Err(Problem::TooLarge(desk.body_max));
    }
    let turn = tokio::time::timeout(PATIENCE, desk.turns.acquire()).await;
    let Ok(Ok(_turn)) = turn else { return Err(Problem::TooMany) };
    let body = arrive(body, desk.body_max).await?;
    let (store, answers) = (agent.process.store.clone(), desk.answers.clone());
    let of = Arc::clone(&mounted);
    let work = within_patience(agent, move |cancel| {
        let known = match &key {
            Some(key) => Some(answers.begin(&store, of.publication.stream, key, &body)?),
            None => None,
        };
        let mut promise = match known {
            None => None,
            Some(Known::New(promise)) => Some(promise),
            Some(Known::Answered(answer)) => return Ok((answer, true)),
            Some(Known::Differs) => return Err(Stop::Problem(Problem::KeyReused)),
            Some(Known::UnderWay) => return Err(Stop::Problem(Problem::UnderWay)),
        };
        let rows = body::rows(form, &body)?;
        let handed = rows.iter().map(body::BodyRow::as_handed);
        let handed = of.source.hand_over(&store, &entry, handed)?;
        let report = handed.commit(
            |report, writes| {
                if let Some(promise) = &mut promise {
                    promise.write(&Answer::of(report, &entry), writes);
                }
            },
            cancel,
        )?;
        if let Some(promise) = promise {
            promise.kept();
        }
        Ok((Answer::of(&report, &entry), false))
    });
    match work.await.unwrap_or(Err(Stop::Problem(Problem::TooMany))) {
        Ok(answered) => {
            mounted.handed_over(&agent.process.store);
            Ok(answered)
        }
        Err(Stop::Problem(problem)) => Err(problem),
        Err(Stop::Hand(error)) => {
            if matches!(error, HandError::NewEpoch) {
                mounted.node.want_scan(&mounted.publication);
            }
            Err(fatal(agent, error))
        }
    }
}

/// Why the work on a request ended.
enum Stop {
    Problem(Problem),
    Hand(HandError),
}

impl<E: Into<HandError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Hand(error.into())
    }
}

impl From<BodyError> for Stop {
    fn from(error: BodyError) -> Self {
        Self::Problem(match error {
            BodyError::TooManyRows => Problem::TooManyRows,
            BodyError::Json(_) | BodyError::Encoding => Problem::Body(error.to_string()),
        })
    }
}

/// A store that failed ends the agent; everything else passes.
fn fatal(agent: &Agent, error: HandError) -> Problem {
    if let HandError::Store(error) = &error {
        agent.process.fatal.raise(error);
    }
    Problem::Hand(error)
}

fn find(
    agent: &Agent,
    class: &str,
    sequence: &str,
) -> Result<(Arc<Mounted>, Arc<CatalogueEntry>), Problem> {
    let unknown = || Problem::Unknown { asked: format!("{class}/{sequence}"), known: known(agent) };
    let resource: ResourceCode = format!("{class}/{sequence}").parse().map_err(|_| unknown())?;
    if !pushed(agent).contains(&resource) {
        return Err(unknown());
    }
    let mounted = agent.mounted_of(&resource).ok_or(Problem::NoCertificate)?;
    let entry = mounted.publication.entry().ok_or(Problem::NoEntry)?;
    Ok((mounted, entry))
}

fn known(agent: &Agent) -> Vec<String> {
    let mut known: Vec<_> = pushed(agent).iter().map(ToString::to_string).collect();
    known.sort();
    known
}

fn form(headers: &HeaderMap) -> Result<Form, Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.and_then(Form::of).ok_or(Problem::ContentType)
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<Vec<u8>>, Problem> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let key = key.as_bytes();
    if key.is_empty() || key.len() > KEY_MAX {
        return Err(Problem::Key);
    }
    Ok(Some(key.to_vec()))
}

async fn arrive(body: Body, max: usize) -> Result<Bytes, Problem> {
    let read = axum::body::to_bytes(body, max);
    let read = tokio::time::timeout(ARRIVE_WITHIN, read).await.map_err(|_| Problem::Slow)?;
    // The only other error is a program that went away, which hears no answer.
    read.map_err(|_| Problem::TooLarge(max))
}

impl Mounted {
    /// Rows were appended: the link has work, and what was asked for may have come.
    pub(super) fn handed_over(&self, store: &Store) {
        self.node.poke(&self.publication);
        if !self.publication.troubles().is_empty() {
            self.show_waiting(store);
        }
    }
}
