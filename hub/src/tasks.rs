//! Background tasks of the hub: all under one tracker, none dies unseen.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Where background tasks live. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Tasks {
    /// Knows all tasks, so that shutting down can wait for them.
    pub tracker: TaskTracker,
    /// Ends the owners of state; cancelled after everybody who uses them has ended.
    pub closing: CancellationToken,
    failed: Arc<watch::Sender<Option<Arc<str>>>>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Tasks {
    /// No tasks yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tracker: TaskTracker::new(),
            closing: CancellationToken::new(),
            failed: Arc::new(watch::Sender::new(None)),
        }
    }

    /// Starts a task that the hub cannot do without: when it panics, the hub ends.
    pub fn spawn_vital(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let failed = Arc::clone(&self.failed);
        self.tracker.spawn(async move {
            if let Err(error) = tokio::spawn(task).await {
                tracing::error!(task = name, %error, "a vital task failed; the hub ends");
                failed.send_replace(Some(format!("{name}: {error}").into()));
            }
        });
    }

    /// Reports that the hub cannot go on.
    pub fn fail(&self, reason: impl Into<Arc<str>>) {
        self.failed.send_replace(Some(reason.into()));
    }

    /// Waits until the hub cannot go on; for ever if all is well.
    pub async fn failure(&self) -> Arc<str> {
        let mut failed = self.failed.subscribe();
        let reason = failed.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match reason {
            Some(reason) => reason,
            // The sender lives in this very handle.
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_seen() {
        let tasks = Tasks::new();
        tasks.spawn_vital("fine", async {});
        tasks.spawn_vital("broken", async { panic!("planted") });
        assert!(tasks.failure().await.starts_with("broken"));
    }
}
