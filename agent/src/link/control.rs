//! The control stream: heartbeats out, the hub's questions in.

use std::{sync::Arc, time::Duration};

use hutong_certs::clock;
use hutong_schema::wire::{
    order::{
        Disorder,
        node::{Attending, QUESTIONS_MAX, Said},
    },
    v1::control::{
        Depth, DigestAnswer, DigestAsk, DigestFound, Goodbye, Heartbeat, Republish, ResourceReport,
        Standing, Subject, TrustedRoots,
    },
    version::Version,
};
use tokio::{sync::mpsc, task::JoinHandle, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{LinkError, Node, Session, check, health::Told, session::ControlStream};
use crate::{
    sinks::{self, SinkError, SubscriptionKey},
    spool::StoreError,
};

/// Resources in one heartbeat.
const REPORTS_MAX: usize = 64;

/// A clock difference that a person should know of: certificates and reports depend on it.
const SKEW_MAX_MS: i64 = 60_000;

/// What was reported of a resource last.
type Reported = std::collections::HashMap<hutong_schema::ids::ResourceCode, ResourceReport>;

/// Attends to the control stream until the connection ends or the agent shuts down.
pub(super) async fn attend(
    node: &Arc<Node>,
    session: &Session,
    control: &mut ControlStream,
    cancel: &CancellationToken,
) -> LinkError {
    let every = Duration::from_millis(session.welcome().heartbeat_ms.clamp(500, 120_000).into());
    let mut beat = tokio::time::interval(every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (answers, mut answered) = mpsc::channel::<DigestAnswer>(QUESTIONS_MAX);
    let mut order = Attending::default();
    let mut roots = None;
    let (mut reported, mut told) = (Reported::new(), Told::default());
    let tells = session.welcome().version >= Version::V2.number();
    // When the session is over, nobody waits for what a check would find.
    let asking = cancel.child_token();
    let _over = asking.clone().drop_guard();
    if let Err(error) = control.writer.send(&node.roots_held()).await {
        return session.broken(error);
    }
    let mut news = node.roots_news();
    loop {
        let limit = order.limit();
        let sent = tokio::select! {
            () = cancel.cancelled() => return LinkError::Cancelled,
            content = control.reader.next(limit.unwrap_or_default()), if limit.is_some() => {
                let said = match content {
                    Ok(Some(content)) => order.on(&content),
                    Ok(None) => return LinkError::Goodbye("it finished the control stream".to_owned()),
                    Err(error) => return session.broken(error),
                };
                match said {
                    Ok(Said::Goodbye(reason)) => return LinkError::Goodbye(reason),
                    Ok(Said::Refused(refused)) => return LinkError::Refused(refused),
                    Ok(Said::Reply(reply)) => compare_clocks(node, reply.hub_time_ms),
                    Ok(Said::GrantsChanged) => node.grants_changed(),
                    Ok(Said::Ask(ask)) => answer(node, ask, &answers, &asking),
                    Ok(Said::Roots(told)) => take_roots(node, told, &mut roots).await,
                    Ok(Said::Republish(wish)) => republish(node, &wish).await,
                    Err(disorder) => return disorderly(disorder),
                }
                Ok(())
            }
            Some(answer) = answered.recv() => {
                order.answered();
                control.writer.send(&answer).await
            }
            Ok(()) = news.changed() => control.writer.send(&node.roots_held()).await,
            _ = beat.tick() => {
                let health = if tells { told.news(node) } else { None };
                let sent = control.writer.send(&heartbeat(node, &mut reported)).await;
                match health {
                    Some(health) if sent.is_ok() => control.writer.send(&health).await,
                    Some(_) | None => sent,
                }
            }
            gone = session.gone() => return gone,
        };
        if let Err(error) = sent {
            return session.broken(error);
        }
    }
}

/// Tells the hub that this side closes.
pub(super) async fn goodbye(control: &mut ControlStream, reason: &str) {
    // A hub that is gone needs no goodbye.
    let _ = control.writer.send(&Goodbye { reason: reason.to_owned() }).await;
}

fn disorderly(disorder: Disorder) -> LinkError {
    match disorder {
        Disorder::Frame(error) => LinkError::Stream(error.into()),
        Disorder::Misplaced { .. }
        | Disorder::NoOpening(_)
        | Disorder::Version(_)
        | Disorder::TooMany { .. }
        | Disorder::Key
        | Disorder::Backwards { .. }
        | Disorder::Unsent { .. }
        | Disorder::Over(_) => LinkError::Protocol(disorder.to_string()),
    }
}

fn compare_clocks(node: &Node, hub_time_ms: i64) {
    let skew = clock::now().as_millisecond().saturating_sub(hub_time_ms);
    if node.note_skew(skew) && skew.abs() > SKEW_MAX_MS {
        tracing::warn!(node = %node.name(), seconds = skew / 1_000,
            "this machine's clock differs from the hub's: set one of them right");
    }
}

/// Computes an answer beside the stream. There is room for as many as may be asked at once.
fn answer(
    node: &Arc<Node>,
    ask: DigestAsk,
    answers: &mpsc::Sender<DigestAnswer>,
    asking: &CancellationToken,
) {
    let (node, answers, asking) = (Arc::clone(node), answers.clone(), asking.clone());
    tokio::spawn(async move {
        let found = digest(&node, &ask, &asking).await;
        // The session may be over: then nobody waits for the answer.
        let _ = answers.send(DigestAnswer { ask: ask.ask, found }).await;
    });
}

/// Takes other roots beside the stream, one message after the other.
async fn take_roots(node: &Arc<Node>, told: TrustedRoots, before: &mut Option<JoinHandle<()>>) {
    if let Some(before) = before.take() {
        // It says itself what came of it.
        let _ = before.await;
    }
    let roots = told.roots.into_iter().map(|root| root.0).collect();
    let node = Arc::clone(node);
    *before = Some(tokio::spawn(async move { node.take_roots(roots).await }));
}

fn heartbeat(node: &Node, reported: &mut Reported) -> Heartbeat {
    let now = clock::now().as_millisecond();
    let mut heartbeat = Heartbeat {
        clock_ms: now,
        queued_batches: 0,
        queued_bytes: 0,
        oldest_unacked_ms: 0,
        resources: Vec::new(),
    };
    for publication in &*node.publications() {
        let Ok(state) = publication.state(node.store()) else { continue };
        heartbeat.queued_batches += state.last_seq().saturating_sub(state.stored_through);
        heartbeat.queued_bytes += state.queued_bytes;
        if !state.is_drained()
            && let Ok(Some(since)) = node.store().oldest_unacknowledged_ms(publication.stream)
        {
            let age = u64::try_from(now.saturating_sub(since)).unwrap_or(0);
            heartbeat.oldest_unacked_ms = heartbeat.oldest_unacked_ms.max(age);
        }
        let report = ResourceReport {
            resource: publication.resource.clone(),
            read: state.counters.read,
            accepted: state.counters.accepted,
            rejected: state.counters.rejected,
            trouble: publication.troubles().into_iter().next().map(|(_, why)| shortened(why)),
        };
        let news = report.trouble.is_some() || reported.get(&report.resource) != Some(&report);
        if news && heartbeat.resources.len() < REPORTS_MAX {
            reported.insert(report.resource.clone(), report.clone());
            heartbeat.resources.push(report);
        }
    }
    heartbeat
}

fn shortened(text: String) -> String {
    if text.len() <= 1_000 { text } else { text.chars().take(300).collect() }
}

async fn digest(node: &Arc<Node>, ask: &DigestAsk, asking: &CancellationToken) -> DigestFound {
    // A comparison begins at the root: what follows is about the same state of the file.
    if let (Subject::Subscription(grant), Depth::Root) = (&ask.subject, &ask.depth)
        && !check::file_is_known(node, *grant, asking).await
    {
        return DigestFound::Unknown;
    }
    // Each answer reads a whole image: only a few at once, however many are asked.
    let Ok(_turn) = node.digest_turn().await else { return DigestFound::Unknown };
    let (node, ask) = (Arc::clone(node), ask.clone());
    let found = tokio::task::spawn_blocking(move || match &ask.subject {
        Subject::Published(resource) => {
            let publications = node.publications();
            let Some(publication) = publications.iter().find(|each| each.resource == *resource)
            else {
                return Ok(DigestFound::Unknown);
            };
            let view = node.store().view()?;
            let state = view.stream(publication.stream)?.state;
            let at = Standing::Published { epoch: state.epoch, seq: state.stored_through };
            Ok::<_, SinkError>(sinks::of_image(&view, publication.stream.into(), at, &ask.depth)?)
        }
        Subject::Subscription(grant) => {
            let key = SubscriptionKey { node: node.name().clone(), grant: *grant };
            sinks::answer(node.store(), &key, &ask.depth)
        }
    });
    match found.await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            tracing::error!(%error, "a digest could not be computed");
            DigestFound::Unknown
        }
        Err(_) => DigestFound::Unknown,
    }
}

async fn republish(node: &Arc<Node>, wish: &Republish) {
    let publications = node.publications();
    let Some(publication) = publications.iter().find(|each| each.resource == wish.resource) else {
        tracing::warn!(node = %node.name(), resource = %wish.resource,
            "the hub asks for rows of a resource that is not published here");
        return;
    };
    tracing::info!(node = %node.name(), resource = %wish.resource, keys = wish.keys.len(),
        "the hub asks for rows again");
    let keys = wish.keys.iter().map(|key| &key.0[..]);
    match node.store().republish(publication.stream, keys).await {
        Ok(()) => node.want_scan(publication),
        Err(error @ StoreError::Closed) => node.fatal(&error),
        Err(error) => tracing::error!(%error, "the wish could not be stored"),
    }
}
