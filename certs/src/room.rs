//! Memory that peers may make this process hold: counted, shared out, and given back.
//!
//! A room may lie within another: what is taken counts in both, so that one node cannot take its
//! department's share, nor a department that of all. Whoever needs more than is free waits in turn;
//! what is taken is taken at once and whole, so that no two wait for each other.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes are counted in units of this size: a semaphore counts to 2³² only.
const UNIT: usize = 1024;

/// A bounded number of bytes; a cheap handle.
#[derive(Clone, Debug)]
pub struct Room(Arc<Level>);

#[derive(Debug)]
struct Level {
    free: Arc<Semaphore>,
    units: u32,
    within: Option<Room>,
}

/// Bytes taken from a room; given back when dropped.
#[derive(Debug)]
pub struct Held {
    _own: OwnedSemaphorePermit,
    _within: Option<Box<Held>>,
}

impl Room {
    /// A room of its own.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self::with(bytes, None)
    }

    /// A room within this one: what is taken from it is taken from this one as well.
    #[must_use]
    pub fn share(&self, bytes: usize) -> Self {
        Self::with(bytes, Some(self.clone()))
    }

    fn with(bytes: usize, within: Option<Self>) -> Self {
        let units = units(bytes);
        Self(Arc::new(Level { free: Arc::new(Semaphore::new(units as usize)), units, within }))
    }

    /// Takes so many bytes; waits for them in turn. Who asks for more than there is gets it alone.
    /// `None` only if the room was closed, which nobody does.
    pub async fn take(&self, bytes: usize) -> Option<Held> {
        let level = &*self.0;
        let wanted = units(bytes).min(level.units);
        let own = Arc::clone(&level.free).acquire_many_owned(wanted).await.ok()?;
        let within = match &level.within {
            None => None,
            Some(outer) => Some(Box::new(Box::pin(outer.take(bytes)).await?)),
        };
        Some(Held { _own: own, _within: within })
    }

    /// Takes so many bytes if they are free now.
    #[must_use]
    pub fn try_take(&self, bytes: usize) -> Option<Held> {
        let level = &*self.0;
        let wanted = units(bytes).min(level.units);
        let own = Arc::clone(&level.free).try_acquire_many_owned(wanted).ok()?;
        let within = match &level.within {
            None => None,
            Some(outer) => Some(Box::new(outer.try_take(bytes)?)),
        };
        Some(Held { _own: own, _within: within })
    }

    /// Bytes that are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        (self.0.units as usize).saturating_sub(self.0.free.available_permits()) * UNIT
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT).max(1)).unwrap_or(u32::MAX).min(u32::MAX >> 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_share_is_bounded_by_itself_and_by_what_it_lies_in() {
        let all = Room::new(10 * UNIT);
        let (one, other) = (all.share(6 * UNIT), all.share(6 * UNIT));
        let held = one.take(6 * UNIT).await.unwrap();
        assert!(one.try_take(1).is_none(), "its own bound");
        assert!(other.try_take(5 * UNIT).is_none(), "the bound of all");
        assert_eq!((one.taken(), other.taken(), all.taken()), (6 * UNIT, 0, 6 * UNIT));
        let rest = other.try_take(4 * UNIT).unwrap();
        drop(held);
        assert_eq!((one.taken(), all.taken()), (0, 4 * UNIT));
        drop(rest);
        assert_eq!(all.taken(), 0);
    }

    #[tokio::test]
    async fn who_waits_gets_what_is_given_back_and_who_gives_up_costs_nothing() {
        let room = Room::new(4 * UNIT);
        let held = room.take(3 * UNIT).await.unwrap();
        let waiting = tokio::spawn({
            let room = room.clone();
            async move { room.take(2 * UNIT).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(held);
        drop(waiting.await.unwrap().unwrap());
        let held = room.take(4 * UNIT).await.unwrap();
        let impatient = tokio::time::timeout(std::time::Duration::from_millis(5), room.take(1));
        assert!(impatient.await.is_err());
        drop(held);
        assert_eq!(room.taken(), 0);
    }

    #[tokio::test]
    async fn more_than_there_is_is_given_alone() {
        let room = Room::new(4 * UNIT);
        let held = room.take(100 * UNIT).await.unwrap();
        assert!(room.try_take(1).is_none());
        drop(held);
    }
}
