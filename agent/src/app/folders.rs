//! Events of watched folders: they make a file be seen soon. The periodic look stays, because network file
//! systems tell nothing and a queue of events can overflow.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use notify::event::{EventKind, ModifyKind, RenameMode};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Events of one dropping follow each other closely; they lead to one look.
const TOGETHER: Duration = Duration::from_millis(100);
/// How soon a folder that cannot be watched is tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// Calls `look` soon after something happened in the folder, until cancelled.
pub(super) async fn watch(folder: &Path, cancel: CancellationToken, look: impl Fn()) {
    let news = Arc::new(Notify::new());
    let mut watcher = None;
    let mut told = false;
    loop {
        if watcher.is_none() {
            watcher = match begin(folder, Arc::clone(&news)) {
                Ok(watcher) => Some(watcher),
                Err(error) => {
                    if !told {
                        tracing::warn!(folder = %folder.display(), %error,
                            "the folder cannot be watched; it is looked at by the clock");
                    }
                    told = true;
                    None
                }
            };
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = news.notified(), if watcher.is_some() => {
                tokio::time::sleep(TOGETHER).await;
                look();
                // A folder that was moved away and made anew is another one.
                if !folder.exists() {
                    watcher = None;
                }
            }
            () = tokio::time::sleep(AGAIN), if watcher.is_none() => {}
        }
    }
}

fn begin(folder: &Path, news: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let told = move |event: notify::Result<notify::Event>| {
        // An error or an overflow is a reason to look, too.
        if event.as_ref().map_or(true, is_news) {
            news.notify_one();
        }
    };
    let mut watcher = notify::recommended_watcher(told)?;
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Whether a file may have come or grown. Reading it and moving it away are the agent's own doing.
fn is_news(event: &notify::Event) -> bool {
    !matches!(
        event.kind,
        EventKind::Access(_)
            | EventKind::Remove(_)
            | EventKind::Modify(ModifyKind::Name(RenameMode::From))
    ) || event.need_rescan()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_dropped_file_is_seen_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (looks, cancel) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
        let (folder, seen, end) = (dir.path().to_owned(), Arc::clone(&looks), cancel.clone());
        let task = tokio::spawn(async move {
            watch(&folder, end, || _ = seen.fetch_add(1, Ordering::AcqRel)).await;
        });
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        let mut number = 0;
        // The watch begins at some moment: files are dropped until one is seen.
        while looks.load(Ordering::Acquire) == 0 {
            assert!(tokio::time::Instant::now() < deadline, "no event came");
            number += 1;
            std::fs::write(dir.path().join(format!("{number}.csv")), "id\n").unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        cancel.cancel();
        task.await.unwrap();
    }
}
