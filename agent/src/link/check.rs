//! Checking a delivered file when the hub asks for its digest, without disturbing its delivery.
//!
//! A file belongs to whoever holds the desk of its subscription: the delivery while its stream is
//! open, otherwise whoever asks. The holder answers the questions that lie on the desk, so that a
//! check never meets a commit.

use hutong_schema::words::in_full;
use tokio::sync::{Mutex, MutexGuard, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use hutong_schema::grant::GrantId;

use super::{Node, Subscription};
use crate::sinks::{Checked, Sink, SinkError};

/// Questions that lie on a desk; one check answers all. Who asks waits when it is full.
const ASKED_MAX: usize = 4;

/// Who wants to know whether the file could be checked.
pub(super) type Asked = oneshot::Sender<bool>;

/// A subscription's desk, and the way to put a question on it.
#[derive(Debug)]
pub(super) struct Checks {
    ask: mpsc::Sender<Asked>,
    desk: Mutex<Desk>,
}

/// The right to touch the file, and the duty to answer.
#[derive(Debug)]
pub(super) struct Desk(mpsc::Receiver<Asked>);

impl Default for Checks {
    fn default() -> Self {
        let (ask, asked) = mpsc::channel(ASKED_MAX);
        Self { ask, desk: Mutex::new(Desk(asked)) }
    }
}

impl Checks {
    /// Waits until nobody else touches the file.
    pub(super) async fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().await
    }
}

impl Desk {
    /// The questions, once there are some. May be dropped while it waits.
    pub(super) async fn asked(&mut self) -> Vec<Asked> {
        match self.0.recv().await {
            Some(first) => [first].into_iter().chain(self.waiting()).collect(),
            // The way to put questions lives as long as the desk.
            None => std::future::pending().await,
        }
    }

    fn waiting(&mut self) -> Vec<Asked> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }
}

/// Tells all who asked whether the file could be checked.
pub(super) fn answer_all(asked: Vec<Asked>, known: bool) {
    for each in asked {
        // Who does not wait any more does not want to know.
        let _ = each.send(known);
    }
}

/// Has a subscription's file checked; whether the image now is what the file says, or the file was
/// given up.
pub(super) async fn file_is_known(node: &Node, grant: GrantId, cancel: &CancellationToken) -> bool {
    let Some(subscription) = node.subscribed(grant) else { return false };
    let (answer, mut known) = oneshot::channel();
    if subscription.checks.ask.send(answer).await.is_err() {
        return false;
    }
    let mut desk = tokio::select! {
        biased;
        known = &mut known => return known.unwrap_or(false),
        desk = subscription.checks.desk() => desk,
    };
    // No delivery is under way, and none begins while this one is checked.
    let asked = desk.waiting();
    if !asked.is_empty() {
        let checked = undelivered(node, &subscription, cancel).await;
        if let Err(error) = &checked
            && !cancel.is_cancelled()
        {
            tracing::warn!(%grant, reason = in_full(error), "the delivered file could not be checked");
        }
        answer_all(asked, checked.is_ok());
    }
    drop(desk);
    known.await.unwrap_or(false)
}

/// Checks the file of a subscription whose desk the caller holds.
async fn undelivered(
    node: &Node,
    subscription: &Subscription,
    cancel: &CancellationToken,
) -> Result<Checked, SinkError> {
    let Some(options) = node.subscription_options(subscription.key.grant) else {
        let what = "no subscription in the configuration says where its file is".to_owned();
        return Err(SinkError::Delivery(what));
    };
    let (store, key) = (node.store().clone(), subscription.key.clone());
    let Ok(_turn) = node.digest_turn().await else { return Err(SinkError::Interrupted) };
    let mut sink = Sink::open(store, key, &options.sink).await?;
    let checked = sink.check(cancel).await?;
    subscription.moved(sink.record());
    Ok(checked)
}
