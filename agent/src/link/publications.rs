//! Publishing over one session: the catalogue first, then the publications that have work, a few
//! streams at once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hutong_schema::catalogue::CatalogueEntry;
use hutong_schema::wire::v1::RefusalCode;
use hutong_schema::words::in_full;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Backoff, Hindrance, LinkError, Node, Publication, Session, entries,
    publish::Publishing,
    publish_end::{Next, Patience, PublishFailure, is_news, next},
};
use crate::{
    changes::{self, HandError},
    spool::{Area, StoreError, WriteBatch},
};

/// Publish streams of a node at once. The hub permits 32 streams; subscriptions and questions have
/// theirs beside these.
const STREAMS: usize = 16;

/// Wait before something is asked again that the hub does not say a time for.
const SOON: Duration = Duration::from_secs(1);

/// Serves the publications until the session ends.
pub(super) async fn serve(
    node: Arc<Node>,
    session: Session,
    scope: CancellationToken,
    tasks: TaskTracker,
) {
    let mut backoff = Backoff::new(node.process.dialler.patience());
    loop {
        let prepared = tokio::select! {
            prepared = entries::prepare(&node, &session) => prepared,
            () = scope.cancelled() => return,
        };
        let Err(error) = prepared else { break };
        if session.is_over() {
            // Why is told by the control stream.
            tracing::debug!(node = %node.name(), %error, "the catalogue was not settled");
            return;
        }
        let reason = in_full(&error);
        tracing::warn!(node = %node.name(), reason, "the catalogue was not settled; the hub is asked again");
        let wait = backoff.next(rand::random()).max(SOON);
        if pause(wait, &scope).await.is_none() {
            return;
        }
    }
    // Only the tasks of one session at a time take from the queue.
    let mut queue = node.queue.lock().await;
    while let Ok(left) = queue.try_recv() {
        left.release();
    }
    if let Err(error) = look_for_a_loss(&node, &session).await {
        return node.process.fatal.raise(&error);
    }
    for publication in &*node.publications() {
        node.poke(publication);
    }
    let streams = Arc::new(Semaphore::new(STREAMS));
    loop {
        let publication = tokio::select! {
            publication = queue.recv() => publication,
            () = scope.cancelled() => break,
        };
        let Some(publication) = publication else { break };
        let permit = tokio::select! {
            permit = Arc::clone(&streams).acquire_owned() => permit.ok(),
            () = scope.cancelled() => None,
        };
        let Some(permit) = permit else {
            // It left the queue and gets no turn: the next session must be able to queue it again.
            publication.release();
            break;
        };
        let (node, session, scope) = (Arc::clone(&node), session.clone(), scope.clone());
        let (streams, tracker) = (Arc::clone(&streams), tasks.clone());
        tasks.spawn(async move {
            let wait = publish_until_retired(&node, &session, &publication, &scope, &streams).await;
            publication.release();
            drop(permit);
            if let Err(error) = note_compared(&node, &session).await {
                return node.process.fatal.raise(&error);
            }
            match wait {
                None if !scope.is_cancelled() => node.poke(&publication),
                None => {}
                Some(wait) => {
                    tracker.spawn(async move {
                        tokio::select! {
                            () = tokio::time::sleep(wait) => node.poke(&publication),
                            () = scope.cancelled() => {}
                        }
                    });
                }
            }
        });
    }
}

/// As [`publish`]; of a publication that ends meanwhile, what is under way is acknowledged.
async fn publish_until_retired(
    node: &Arc<Node>,
    session: &Session,
    publication: &Arc<Publication>,
    scope: &CancellationToken,
    streams: &Semaphore,
) -> Option<Duration> {
    if publication.is_retired() {
        return None;
    }
    let leave = scope.child_token();
    let mut publishing = Box::pin(publish(node, session, publication, &leave, streams));
    let retired = tokio::select! {
        wait = &mut publishing => return wait,
        () = publication.retired() => leave.clone(),
    };
    retired.cancel();
    publishing.await;
    None
}

/// Publishes what there is of one publication; after which time to try again, if it stands still.
async fn publish(
    node: &Arc<Node>,
    session: &Session,
    publication: &Arc<Publication>,
    scope: &CancellationToken,
    streams: &Semaphore,
) -> Option<Duration> {
    let others_wait = || streams.available_permits() == 0;
    let want_scan = || node.want_scan(publication);
    let publishing = Publishing {
        session,
        store: node.store(),
        quarantine: &node.process.quarantine,
        publication,
        cancel: scope,
        others_wait: &others_wait,
        want_scan: &want_scan,
    };
    if publication.entry().is_none() {
        // It may have been registered since the connection began.
        entries::fetch_entries(node, session, false).await;
    }
    let (mut fresh, mut gaps, mut patience) = (false, 0, Patience::default());
    let resource = &publication.resource;
    loop {
        let failure = match Box::pin(publishing.run(fresh)).await {
            Ok(()) => {
                publication.free(Hindrance::Busy);
                return None;
            }
            Err(failure) => failure,
        };
        fresh = false;
        gaps = if is_gap(&failure) { gaps + 1 } else { 0 };
        let reason = in_full(&failure);
        match next(&failure, |by| publication.may_recover(by), gaps) {
            Next::Reconnect if session.is_over() || scope.is_cancelled() => return Some(SOON),
            Next::Reconnect => {
                tracing::warn!(%resource, reason, "a publish stream broke; it is opened again");
                pause(SOON, scope).await?;
            }
            Next::Again(wait) => {
                tracing::debug!(%resource, reason, ?wait, "the hub takes nothing at the moment");
                match publication.state(node.store()) {
                    Ok(state) if patience.is_over(state.stored_through, Instant::now()) => {
                        wait_for_room(publication, reason);
                    }
                    Ok(_) => {}
                    Err(error) => {
                        node.process.fatal.raise(&error);
                        return None;
                    }
                }
                pause(wait, scope).await?;
            }
            Next::NewEpoch => {
                tracing::warn!(%resource, reason, "a new epoch is opened; every row is named again");
                fresh = true;
            }
            Next::MapAgain => return map_again(node, session, publication, &failure).await,
            Next::StandStill(wait) => {
                stand_still(publication, &failure, reason);
                if is_quota(&failure) {
                    give_way(node, publication).await;
                }
                return Some(wait);
            }
            Next::Fatal => {
                node.process.fatal.raise(&reason);
                return None;
            }
        }
    }
}

/// A hub that is back may have lost what it had stored: every stream is compared once in a session,
/// also those that have nothing to send. If its log began a new incarnation, it knows of a loss; but
/// of a log whose very end was cut off nobody knows that except those who were told it is stored.
async fn look_for_a_loss(node: &Node, session: &Session) -> Result<(), StoreError> {
    node.publications().iter().for_each(|publication| publication.set_unverified(true));
    let known = node.store().get(Area::Nodes, incarnation_key(node).as_bytes())?;
    if known.as_deref() == Some(&session.welcome().incarnation.to_be_bytes()) {
        return Ok(());
    }
    if known.is_some() {
        tracing::warn!(node = %node.name(), incarnation = session.welcome().incarnation,
            "the hub's log began anew; everything is compared with it");
    }
    Ok(())
}

/// Once all streams are compared with the hub's present log, that is kept.
async fn note_compared(node: &Node, session: &Session) -> Result<(), StoreError> {
    if node.publications().iter().any(|each| each.is_unverified()) {
        return Ok(());
    }
    let incarnation = session.welcome().incarnation.to_be_bytes();
    if node.store().get(Area::Nodes, incarnation_key(node).as_bytes())?.as_deref()
        == Some(&incarnation)
    {
        return Ok(());
    }
    let mut writes = WriteBatch::new();
    writes.put(Area::Nodes, incarnation_key(node).as_bytes(), incarnation.to_vec());
    node.store().commit(writes).await.map(|_| ())
}

fn incarnation_key(node: &Node) -> String {
    format!("incarnation/{}", node.name())
}

/// Waits; `None` when the session ended meanwhile.
async fn pause(wait: Duration, scope: &CancellationToken) -> Option<()> {
    tokio::select! {
        () = tokio::time::sleep(wait) => Some(()),
        () = scope.cancelled() => None,
    }
}

fn is_gap(failure: &PublishFailure) -> bool {
    matches!(failure, PublishFailure::Refused(refused) if refused.reason() == Some(RefusalCode::Gap))
}

fn is_quota(failure: &PublishFailure) -> bool {
    matches!(failure, PublishFailure::Refused(refused) if refused.reason() == Some(RefusalCode::Quota))
}

/// There is no room at the hub for what waits in the outbox. It is dropped, or deletes that make room
/// would stand behind it for ever; the source is read again as usual, and tells it again if it is still
/// there.
///
/// Rows that were handed over nobody can tell again: they wait until there is room.
async fn give_way(node: &Arc<Node>, publication: &Arc<Publication>) {
    if publication.keeps_outbox() {
        return;
    }
    if let Err(error) = node.store().drop_pending(publication.stream).await {
        node.process.fatal.raise(&error);
    }
}

/// The hub takes nothing for longer than usual: people see why, once.
fn wait_for_room(publication: &Publication, reason: String) {
    if !publication.troubles().iter().any(|(by, _)| *by == Hindrance::Busy) {
        tracing::warn!(resource = %publication.resource, reason,
            "the hub takes nothing; what waits stays in the outbox and is offered again and again");
    }
    publication.hinder(Hindrance::Busy, reason);
}

fn stand_still(publication: &Publication, failure: &PublishFailure, reason: String) {
    let advice = match failure {
        PublishFailure::Refused(refused) => match refused.reason() {
            Some(RefusalCode::Forked | RefusalCode::Fenced | RefusalCode::Chain) => {
                Some(confirm(publication))
            }
            Some(_) | None => LinkError::Refused(refused.clone()).advice().map(str::to_owned),
        },
        PublishFailure::Diverged(_) | PublishFailure::Forked(_) => Some(confirm(publication)),
        PublishFailure::NoEntry => {
            Some("register it with: hutong-agent catalogue apply FILE".to_owned())
        }
        PublishFailure::Quarantine(_) => Some("make the quarantine folder writable".to_owned()),
        PublishFailure::Link(_) | PublishFailure::Store(_) | PublishFailure::Interrupted => None,
    };
    let text = match advice {
        Some(advice) => format!("{reason}; {advice}"),
        None => reason,
    };
    let news =
        !publication.troubles().iter().any(|(by, why)| *by == Hindrance::Hub && *why == text);
    if news {
        tracing::error!(resource = %publication.resource, reason = text, "the publication stands still");
    }
    publication.hinder(Hindrance::Hub, text);
}

/// The way out of a fork.
fn confirm(publication: &Publication) -> String {
    format!(
        "if another machine runs with a copy of this state, stop one of the two; if this machine and its source are the right ones, run: hutong-agent confirm {} (a new epoch begins, and every row is named again)",
        publication.resource
    )
}

/// The schema changed: what is not stored is dropped, the entry in force is fetched, and the source
/// is read and mapped again.
async fn map_again(
    node: &Arc<Node>,
    session: &Session,
    publication: &Arc<Publication>,
    failure: &PublishFailure,
) -> Option<Duration> {
    let resource = &publication.resource;
    let known = || publication.entry().map(|entry| entry.schema_version);
    let (old, before) = (publication.entry(), known());
    entries::fetch_entries(node, session, true).await;
    let waiting = match node.store().pending_schema(publication.stream) {
        Ok(waiting) => waiting,
        Err(error) => {
            node.process.fatal.raise(&error);
            return None;
        }
    };
    if !is_news(before, known(), waiting) {
        stand_still(publication, failure, in_full(failure));
        return Some(super::publish_end::STAND_STILL);
    }
    tracing::warn!(%resource, ?waiting, now = known(), "the schema changed; the source is mapped again");
    let cut = match (publication.keeps_outbox(), old, publication.entry()) {
        (true, Some(old), Some(entry)) => bring_along(node, publication, old, entry).await,
        _ => node.store().drop_pending(publication.stream).await.map_err(PublishFailure::Store),
    };
    if let Err(error) = cut {
        let reason = format!("the outbox could not be brought into the new form: {error}");
        stand_still(publication, &error, reason);
        return Some(super::publish_end::STAND_STILL);
    }
    node.want_scan(publication);
    None
}

/// Rows that nobody can read again are brought into the new form.
async fn bring_along(
    node: &Arc<Node>,
    publication: &Arc<Publication>,
    old: Arc<CatalogueEntry>,
    entry: Arc<CatalogueEntry>,
) -> Result<(), PublishFailure> {
    let (store, stream) = (node.store().clone(), publication.stream);
    let quarantine = node.process.quarantine.clone();
    let remap = move || changes::remap(&store, stream, &old, &entry, &quarantine);
    let done = tokio::task::spawn_blocking(remap).await;
    match done.map_err(|_| PublishFailure::Interrupted)? {
        Ok(0) => Ok(()),
        Ok(refused) => {
            tracing::warn!(resource = %publication.resource, refused,
                "rows that waited do not fit the changed schema; they are in quarantine");
            Ok(())
        }
        Err(HandError::Quarantine(error)) => Err(PublishFailure::Quarantine(error)),
        Err(HandError::Store(error)) => Err(PublishFailure::Store(error)),
        Err(HandError::NoEpoch | HandError::NewEpoch | HandError::Full | HandError::Overtaken) => {
            Err(PublishFailure::Interrupted)
        }
    }
}
