//! The control stream: heartbeats out, the hub's questions in.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hutong_certs::{clock, stream::StreamError};
use hutong_schema::{
    limits::CONTROL_FRAME_BYTES_MAX,
    wire::{
        frame::{self, Message},
        v1::{
            Refused,
            control::{
                Depth, DigestAnswer, DigestAsk, DigestFound, Goodbye, GrantsChanged, Heartbeat,
                HeartbeatReply, Republish, ResourceReport, Standing, Subject, TrustedRoots,
            },
        },
    },
};
use tokio::{sync::mpsc, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{LinkError, Node, Session, check, session::ControlStream};
use crate::{
    sinks::{self, SinkError, SubscriptionKey},
    spool::StoreError,
};

/// Resources in one heartbeat.
const REPORTS_MAX: usize = 64;

/// Answers to digest questions that wait to be sent; who computes one waits when it is full.
const ANSWERS_MAX: usize = 8;

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
    let (answers, mut answered) = mpsc::channel::<DigestAnswer>(ANSWERS_MAX);
    let mut reported = Reported::new();
    // When the session is over, nobody waits for what a check would find.
    let asking = cancel.child_token();
    let _over = asking.clone().drop_guard();
    if let Err(error) = control.writer.send(&node.roots_held()).await {
        return session.broken(error);
    }
    let mut news = node.roots_news();
    loop {
        let sent = tokio::select! {
            () = cancel.cancelled() => return LinkError::Cancelled,
            content = control.reader.next(CONTROL_FRAME_BYTES_MAX) => match content {
                Ok(Some(content)) => match heed(node, &content, &answers, &asking).await {
                    Ok(()) => Ok(()),
                    Err(error) => return error,
                },
                Ok(None) => return LinkError::Goodbye("it finished the control stream".to_owned()),
                Err(error) => return session.broken(error),
            },
            Some(answer) = answered.recv() => control.writer.send(&answer).await,
            Ok(()) = news.changed() => control.writer.send(&node.roots_held()).await,
            _ = beat.tick() => control.writer.send(&heartbeat(node, &mut reported)).await,
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

async fn heed(
    node: &Arc<Node>,
    content: &Bytes,
    answers: &mpsc::Sender<DigestAnswer>,
    asking: &CancellationToken,
) -> Result<(), LinkError> {
    let (kind, _) = frame::split(content).map_err(StreamError::from)?;
    let damaged = |error| LinkError::Stream(StreamError::from(error));
    match kind {
        HeartbeatReply::KIND => {
            let reply: HeartbeatReply = frame::expect(content).map_err(damaged)?;
            let skew = clock::now().as_millisecond().saturating_sub(reply.hub_time_ms);
            if node.note_skew(skew) && skew.abs() > SKEW_MAX_MS {
                tracing::warn!(node = %node.name(), seconds = skew / 1_000,
                    "this machine's clock differs from the hub's: set one of them right");
            }
        }
        GrantsChanged::KIND => node.grants_changed(),
        DigestAsk::KIND => {
            let ask: DigestAsk = frame::expect(content).map_err(damaged)?;
            let (node, answers, asking) = (Arc::clone(node), answers.clone(), asking.clone());
            tokio::spawn(async move {
                let found = digest(&node, &ask, &asking).await;
                // The session may be over: then nobody waits for the answer.
                let _ = answers.send(DigestAnswer { ask: ask.ask, found }).await;
            });
        }
        TrustedRoots::KIND => {
            let TrustedRoots { roots } = frame::expect(content).map_err(damaged)?;
            let roots = roots.into_iter().map(|root| root.0).collect();
            let node = Arc::clone(node);
            tokio::spawn(async move { node.take_roots(roots).await });
        }
        Republish::KIND => {
            let wish: Republish = frame::expect(content).map_err(damaged)?;
            republish(node, &wish).await;
        }
        Goodbye::KIND => {
            let goodbye: Goodbye = frame::expect(content).map_err(damaged)?;
            return Err(LinkError::Goodbye(goodbye.reason));
        }
        Refused::KIND => {
            return Err(LinkError::Refused(frame::expect(content).map_err(damaged)?));
        }
        other => {
            let what = format!("a message of kind {other:#04x} has no place on the control stream");
            return Err(LinkError::Protocol(what));
        }
    }
    Ok(())
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
    for publication in node.publications() {
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
            let Some(publication) =
                node.publications().iter().find(|each| each.resource == *resource)
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
    let Some(publication) = node.publications().iter().find(|each| each.resource == wish.resource)
    else {
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
