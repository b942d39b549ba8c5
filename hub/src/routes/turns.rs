//! Whose turn it is: a fair share of the hub's work for every (department, feed), counted in bytes.
//!
//! Deliveries and other heavy reads take a turn for each slice of work. Turns are few, as the cores
//! are; who waits is served by surplus round robin: a class that spent more than its quantum waits
//! until the others had theirs. A department that subscribes to a large library therefore never
//! delays another's small one by more than a slice.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use hutong_schema::ids::CreditCode;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::numbers::FeedNo;

/// Bytes a class may spend before others are served: about one slice of a snapshot.
const QUANTUM: i64 = 512 * 1024;

/// Who shares a queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Class {
    /// The receiving department.
    pub department: CreditCode,
    /// The feed it reads.
    pub feed: FeedNo,
}

/// The turns of this hub; a cheap handle. Waiting places are not bounded here: every waiter is a
/// stream, and streams are bounded by the gate.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    queues: HashMap<Class, Queue>,
    ring: VecDeque<Class>,
}

#[derive(Debug, Default)]
struct Queue {
    surplus: i64,
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// The right to do one slice of work; ends when dropped.
#[derive(Debug)]
pub struct Turn {
    /// `None` once the turn is taken back without having been used.
    turns: Option<Turns>,
    class: Class,
    spent: i64,
}

impl Turns {
    /// So many turns at once.
    pub fn new(turns: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: turns.max(1),
            queues: HashMap::new(),
            ring: VecDeque::new(),
        })))
    }

    /// Waits for a turn.
    pub async fn take(&self, class: Class) -> Turn {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.0.lock();
            if !state.queues.contains_key(&class) {
                state.ring.push_back(class.clone());
            }
            state.queues.entry(class.clone()).or_default().waiting.push_back(sender);
            self.serve(&mut state);
        }
        match receiver.await {
            Ok(turn) => turn,
            // The sender lives in the shared state as long as this handle does.
            Err(_) => std::future::pending().await,
        }
    }

    fn serve(&self, state: &mut State) {
        while state.free > 0 {
            let Some(class) = state.ring.front().cloned() else { return };
            let Some(queue) = state.queues.get_mut(&class) else {
                state.ring.pop_front();
                continue;
            };
            let Some(sender) = queue.waiting.pop_front() else {
                state.queues.remove(&class);
                state.ring.pop_front();
                continue;
            };
            if queue.surplus >= QUANTUM {
                queue.surplus -= QUANTUM;
                queue.waiting.push_front(sender);
                state.ring.rotate_left(1);
                continue;
            }
            let turn = Turn { turns: Some(self.clone()), class, spent: 0 };
            match sender.send(turn) {
                Ok(()) => state.free -= 1,
                Err(mut gone) => gone.turns = None,
            }
        }
    }
}

impl Turn {
    /// Counts work done in this turn, bytes.
    pub fn spend(&mut self, bytes: usize) {
        self.spent = self.spent.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(turns) = self.turns.take() else { return };
        let mut state = turns.0.lock();
        state.free += 1;
        if let Some(queue) = state.queues.get_mut(&self.class) {
            queue.surplus += self.spent;
        }
        turns.serve(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(feed: u32) -> Class {
        Class { department: "11100000000013338W".parse().unwrap(), feed: FeedNo(feed) }
    }

    #[tokio::test]
    async fn a_heavy_class_does_not_starve_a_light_one() {
        let turns = Turns::new(1);
        let first = turns.take(class(1)).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for (feed, bytes) in
            [(1, 4 * QUANTUM), (1, 4 * QUANTUM), (1, 4 * QUANTUM), (2, 1), (2, 1), (2, 1)]
        {
            let (turns, order) = (turns.clone(), order.clone());
            let waiting = tokio::spawn(async move {
                let mut turn = turns.take(class(feed)).await;
                turn.spend(bytes as usize);
                order.lock().push(feed);
            });
            tokio::task::yield_now().await;
            tasks.push(waiting);
        }
        drop(first);
        for task in tasks {
            task.await.unwrap();
        }
        let order = order.lock().clone();
        let last_light = order.iter().rposition(|feed| *feed == 2).unwrap();
        let heavy_before = order[..last_light].iter().filter(|feed| **feed == 1).count();
        assert!(heavy_before <= 1, "light turns came after {heavy_before} heavy ones: {order:?}");
    }

    #[tokio::test]
    async fn a_waiter_that_gives_up_costs_nobody_a_turn() {
        let turns = Turns::new(1);
        let first = turns.take(class(1)).await;
        let waiting = tokio::spawn({
            let turns = turns.clone();
            async move { turns.take(class(2)).await }
        });
        tokio::task::yield_now().await;
        waiting.abort();
        assert!(waiting.await.is_err());
        drop(first);
        turns.take(class(3)).await;
        turns.take(class(2)).await;
    }
}
