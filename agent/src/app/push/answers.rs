//! Requests that were answered: a program that did not hear the answer asks again with the same
//! `Idempotency-Key` and gets it, and its rows are not taken twice. The answer is written in one commit
//! with the rows.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Answer;
use crate::spool::{Area, Store, StoreError, StreamId, WriteBatch};

/// Answers kept for each resource.
pub(super) const KEPT: usize = 256;

type KeyHash = [u8; 16];

/// Which requests are answered or under way. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Answers(Arc<Mutex<HashMap<StreamId, Ring>>>);

#[derive(Default)]
struct Ring {
    next: u64,
    order: VecDeque<(u64, KeyHash)>,
    under_way: HashSet<KeyHash>,
}

/// How a request with a key stands.
pub(super) enum Known {
    /// It is new.
    New(Promise),
    /// It was answered.
    Answered(Answer),
    /// The same key came with other content.
    Differs,
    /// The first one is not answered yet.
    UnderWay,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    content: [u8; 16],
    answer: Answer,
}

/// A request under way. When it is dropped, a repeat is let in.
pub(super) struct Promise {
    answers: Answers,
    stream: StreamId,
    key: KeyHash,
    content: [u8; 16],
    /// Its number, and those of the answers that leave with the same write.
    written: Option<(u64, Vec<u64>)>,
}

impl Answers {
    /// Looks a request up. `content` is what came with the key.
    pub(super) fn begin(
        &self,
        store: &Store,
        stream: StreamId,
        key: &[u8],
        content: &[u8],
    ) -> Result<Known, StoreError> {
        let (key, content) = (short_hash(key), short_hash(content));
        let mut rings = self.0.lock();
        let ring = match rings.entry(stream) {
            std::collections::hash_map::Entry::Occupied(ring) => ring.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(Ring::load(store, stream)?)
            }
        };
        if ring.under_way.contains(&key) {
            return Ok(Known::UnderWay);
        }
        if let Some(stored) = store.get(Area::Answers, &answer_key(stream, &key))? {
            let stored: Stored = serde_json::from_slice(&stored)
                .map_err(|_| StoreError::Record("the answer to a push"))?;
            return Ok(if stored.content == content {
                Known::Answered(stored.answer)
            } else {
                Known::Differs
            });
        }
        ring.under_way.insert(key);
        Ok(Known::New(Promise { answers: self.clone(), stream, key, content, written: None }))
    }
}

impl Promise {
    /// Adds the answer to the write with the rows, and takes the oldest one out.
    pub(super) fn write(&mut self, answer: &Answer, writes: &mut WriteBatch) {
        let mut rings = self.answers.0.lock();
        let ring = rings.entry(self.stream).or_default();
        let number = ring.next;
        ring.next += 1;
        let over = (ring.order.len() + 1).saturating_sub(KEPT);
        let leaving: Vec<_> = ring.order.iter().take(over).copied().collect();
        drop(rings);
        for (number, key) in &leaving {
            writes.remove(Area::Answers, &order_key(self.stream, *number));
            writes.remove(Area::Answers, &answer_key(self.stream, key));
        }
        let stored = Stored { content: self.content, answer: answer.clone() };
        // Texts and numbers always make JSON; without the answer a repeat would only be taken again.
        let stored = serde_json::to_vec(&stored).unwrap_or_default();
        writes.put(Area::Answers, &answer_key(self.stream, &self.key), stored);
        writes.put(Area::Answers, &order_key(self.stream, number), self.key.to_vec());
        let leaving = leaving.into_iter().map(|(number, _)| number).collect();
        self.written = Some((number, leaving));
    }

    /// The write is durable.
    pub(super) fn kept(mut self) {
        let Some((number, leaving)) = self.written.take() else { return };
        let mut rings = self.answers.0.lock();
        let ring = rings.entry(self.stream).or_default();
        ring.order.retain(|(number, _)| !leaving.contains(number));
        ring.order.push_back((number, self.key));
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if let Some(ring) = self.answers.0.lock().get_mut(&self.stream) {
            ring.under_way.remove(&self.key);
        }
    }
}

impl Ring {
    fn load(store: &Store, stream: StreamId) -> Result<Self, StoreError> {
        let mut ring = Self::default();
        let prefix = [&stream.0.to_be_bytes()[..], &[ORDER]].concat();
        for (key, value) in store.records(Area::Answers, &prefix)? {
            let number = key[prefix.len()..].try_into().map(u64::from_be_bytes);
            if let (Ok(number), Ok(hash)) = (number, value.try_into()) {
                ring.order.push_back((number, hash));
                ring.next = number + 1;
            }
        }
        Ok(ring)
    }
}

const ANSWER: u8 = 0;
const ORDER: u8 = 1;

fn answer_key(stream: StreamId, key: &KeyHash) -> Vec<u8> {
    [&stream.0.to_be_bytes()[..], &[ANSWER], key].concat()
}

fn order_key(stream: StreamId, number: u64) -> Vec<u8> {
    [&stream.0.to_be_bytes()[..], &[ORDER], &number.to_be_bytes()].concat()
}

fn short_hash(bytes: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    fn answer(upserts: u64) -> Answer {
        Answer { upserts, ..Answer::default() }
    }

    fn keep(bench: &Bench, answers: &Answers, key: &str, upserts: u64) {
        let known = answers.begin(&bench.store, bench.stream, key.as_bytes(), b"rows").unwrap();
        let Known::New(mut promise) = known else { panic!("{key} is new") };
        let mut writes = WriteBatch::new();
        promise.write(&answer(upserts), &mut writes);
        bench.store.commit_blocking(writes).unwrap();
        promise.kept();
    }

    fn known(bench: &Bench, answers: &Answers, key: &str) -> Option<u64> {
        match answers.begin(&bench.store, bench.stream, key.as_bytes(), b"rows").unwrap() {
            Known::Answered(answer) => Some(answer.upserts),
            Known::New(_) | Known::Differs | Known::UnderWay => None,
        }
    }

    #[test]
    fn a_repeat_gets_the_first_answer_also_after_a_crash() {
        let mut bench = Bench::new();
        let answers = Answers::default();
        keep(&bench, &answers, "first", 7);
        assert_eq!(known(&bench, &answers, "first"), Some(7));
        bench.crash();
        let answers = Answers::default();
        assert_eq!(known(&bench, &answers, "first"), Some(7));
        let other = answers.begin(&bench.store, bench.stream, b"first", b"other rows").unwrap();
        assert!(matches!(other, Known::Differs));
        assert_eq!(known(&bench, &answers, "second"), None);
    }

    #[test]
    fn a_request_under_way_is_not_begun_twice_and_a_failed_one_is_begun_again() {
        let bench = Bench::new();
        let answers = Answers::default();
        let begin = || answers.begin(&bench.store, bench.stream, b"key", b"rows").unwrap();
        let first = begin();
        assert!(matches!(begin(), Known::UnderWay));
        drop(first);
        let Known::New(mut second) = begin() else { panic!("the first one failed") };
        // Its write did not come through either.
        second.write(&answer(1), &mut WriteBatch::new());
        drop(second);
        assert!(matches!(begin(), Known::New(_)));
    }

    #[test]
    fn the_oldest_answers_are_forgotten_over_all_starts() {
        let mut bench = Bench::new();
        for round in 0..3 {
            let answers = Answers::default();
            for at in 0..KEPT {
                keep(&bench, &answers, &format!("{round}-{at}"), at as u64);
            }
            bench.crash();
        }
        let answers = Answers::default();
        assert_eq!(known(&bench, &answers, "1-255"), None);
        assert_eq!(known(&bench, &answers, "2-0"), Some(0));
        let stored = bench.store.records(Area::Answers, &bench.stream.0.to_be_bytes()).unwrap();
        assert_eq!(stored.len(), 2 * KEPT);
    }
}
