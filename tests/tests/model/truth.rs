//! What must be true of the hub, kept beside it: every entry of its log, everything that was ever
//! acknowledged, every state that a feed went through.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use hutong_hub::log::RocksLog;
use hutong_hub::views::{FeedItem, FeedWhat, Place, Views};
use hutong_schema::batch::ChainHash;
use hutong_schema::digest::{Digest, DigestBuilder, key_hash, leaf_of};
use hutong_schema::grant::{AsOf, CompiledFilter, Grant, GrantId};
use hutong_schema::row::{FieldId, RowBuf, RowRef};

use super::book::{Book, Number};
use super::hub::Hub;
use super::world;

/// The places whose feeds are followed.
pub(crate) const PLACES: [Place; 4] = [
    Place::Resource(hutong_hub::numbers::ResourceNo(1)),
    Place::Resource(hutong_hub::numbers::ResourceNo(2)),
    Place::Resource(hutong_hub::numbers::ResourceNo(3)),
    world::PEOPLE,
];

/// Key → stored row.
pub(crate) type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A feed at one of its entries.
#[derive(Clone)]
pub(crate) struct Moment {
    pub(crate) hash: [u8; 16],
    pub(crate) as_of: AsOf,
    pub(crate) rows: Arc<Rows>,
}

/// Everything that must stay true of the hub.
#[derive(Default)]
pub(crate) struct Truth {
    pub(crate) book: Book,
    /// What the hub ever said to be stored, in the present history of its log.
    acknowledged: BTreeMap<Number, ChainHash>,
    /// Place → its states; the index is the feed's sequence number.
    feeds: BTreeMap<Place, Vec<Moment>>,
    /// Grant → keys that it ever covered: no other may be named.
    covered: BTreeMap<GrantId, BTreeSet<Vec<u8>>>,
    /// Whether a disk ever lied to the hub.
    pub(crate) lied: bool,
}

impl Truth {
    /// The hub says that a batch is stored.
    pub(crate) fn acknowledges(
        &mut self,
        log: &RocksLog,
        number: Number,
        chain: ChainHash,
    ) -> Result<()> {
        self.book.read_on(log)?;
        let Some(stored) = self.book.batch(number) else {
            bail!("batch {number:?} is acknowledged and not in the log");
        };
        ensure!(
            stored.chain == chain,
            "batch {number:?} is acknowledged, but the log holds other content under its number"
        );
        self.acknowledged.insert(number, chain);
        Ok(())
    }

    /// The hub was started again: what it had must be there, unless its disk lied.
    pub(crate) fn started_again(&mut self, hub: &Hub, lied: bool) -> Result<bool> {
        let mut book = Book::default();
        book.read_on(&hub.log)?;
        let whole = book.continues(&self.book);
        ensure!(whole || lied, "what was in the log before the crash is no longer there");
        self.book = book;
        let lost: Vec<Number> = self
            .acknowledged
            .iter()
            .filter(|(number, chain)| self.book.batch(**number).is_none_or(|b| b.chain != **chain))
            .map(|(number, _)| *number)
            .collect();
        ensure!(lied || lost.is_empty(), "acknowledged and lost: {lost:?}");
        lost.iter().for_each(|number| _ = self.acknowledged.remove(number));
        self.lied |= lied && !whole;
        for place in PLACES {
            self.rewind(&hub.views, place, lied)?;
        }
        self.applied(hub)?;
        Ok(whole)
    }

    /// Takes back what the views no longer tell.
    fn rewind(&mut self, views: &Views, place: Place, lied: bool) -> Result<()> {
        let Some(feed) = self.feeds.get_mut(&place) else { return Ok(()) };
        while let Some(last) = feed.last() {
            let seq = feed.len() as u64 - 1;
            let hash = views.feed_hash(place, seq)?.map(|hash| short(&hash));
            if hash == Some(last.hash) {
                break;
            }
            ensure!(lied, "the feed of {place:?} has another content at entry {seq} than before");
            feed.pop();
        }
        Ok(())
    }

    /// The views have applied something: the feeds are followed to their ends.
    pub(crate) fn applied(&mut self, hub: &Hub) -> Result<()> {
        for place in PLACES {
            let snapshot = hub.views.snapshot();
            let begin =
                Moment { hash: [0; 16], as_of: snapshot.as_of(place)?, rows: Arc::default() };
            let feed = self.feeds.entry(place).or_insert_with(|| vec![begin]);
            if feed.len() == 1 {
                let hash = hub.views.feed_hash(place, 0)?.context("the hash before the first")?;
                feed[0].hash = short(&hash);
            }
            let after = feed.len() as u64 - 1;
            for item in hub.views.feed_after(place, after, usize::MAX)? {
                ensure!(item.seq == feed.len() as u64, "the feed of {place:?} is not dense");
                let last = feed.last().context("never empty")?;
                let next =
                    follow(last, &item).with_context(|| format!("{place:?}, {}", item.seq))?;
                feed.push(next);
            }
            let last = feed.last().context("never empty")?;
            let mut rows = Rows::new();
            snapshot.scan(place, None, |key, row| {
                rows.insert(key.to_vec(), row.as_bytes().to_vec());
                std::ops::ControlFlow::Continue(())
            })?;
            ensure!(rows == *last.rows, "the rows of {place:?} are not what its feed says");
            self.cover(hub, place)?;
        }
        Ok(())
    }

    /// Grants may have been made: what they cover from here on is noted.
    pub(crate) fn granted(&mut self, hub: &Hub) -> Result<()> {
        PLACES.iter().try_for_each(|place| self.cover(hub, *place))
    }

    fn cover(&mut self, hub: &Hub, place: Place) -> Result<()> {
        let grants: Vec<Grant> =
            hub.registry.read().grants().map(|record| record.grant.clone()).collect();
        for grant in grants {
            if hub.views.place(&grant.target) != Some(place) {
                continue;
            }
            let fresh = !self.covered.contains_key(&grant.id);
            let covered = self.covered.entry(grant.id).or_default();
            let feed = &self.feeds[&place];
            // A grant covers what there is from its beginning on.
            let from = if fresh { feed.len() - 1 } else { feed.len().saturating_sub(64) };
            let filter = filter(&grant, place);
            for moment in &feed[from..] {
                for (key, row) in moment.rows.iter() {
                    if filter.matches(key, RowRef::parse(row)?, moment.as_of) {
                        covered.insert(key.clone());
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a grant ever covered a key.
    pub(crate) fn covers(&self, grant: GrantId, key: &[u8]) -> bool {
        self.covered.get(&grant).is_some_and(|keys| keys.contains(key))
    }

    /// A feed at an entry with this hash; `None` if there is none.
    pub(crate) fn moment(&self, place: Place, seq: u64, hash: [u8; 16]) -> Option<&Moment> {
        let moment = self.feeds.get(&place)?.get(usize::try_from(seq).ok()?)?;
        (moment.hash == hash).then_some(moment)
    }

    pub(crate) fn head(&self, place: Place) -> u64 {
        self.feeds.get(&place).map_or(0, |feed| feed.len() as u64 - 1)
    }

    pub(crate) fn now(&self, place: Place) -> Option<&Moment> {
        self.feeds.get(&place)?.last()
    }
}

/// The state behind an entry.
fn follow(before: &Moment, item: &FeedItem) -> Result<Moment> {
    let mut rows = Rows::clone(&before.rows);
    let mut as_of = item.as_of;
    match &item.what {
        FeedWhat::Checkpoint => {}
        FeedWhat::ClockDate { to, .. } => as_of = *to,
        FeedWhat::Changes(changes) => {
            let mut wrong = None;
            changes.visit(|change| {
                let held = rows.get(change.key).map(Vec::as_slice);
                if held != change.before.map(|row| row.as_bytes()) {
                    wrong = Some(String::from_utf8_lossy(change.key).into_owned());
                }
                match change.after {
                    Some(row) => rows.insert(change.key.to_vec(), row.as_bytes().to_vec()),
                    None => rows.remove(change.key),
                };
            })?;
            if let Some(key) = wrong {
                bail!("the row before the change of {key} is not what it was");
            }
        }
    }
    Ok(Moment { hash: short(&item.hash), as_of, rows: Arc::new(rows) })
}

/// What a grant covers of a state: key → granted fields.
pub(crate) fn granted(grant: &Grant, place: Place, moment: &Moment) -> Result<world::Rows> {
    let filter = filter(grant, place);
    let mut out = world::Rows::new();
    for (key, row) in moment.rows.iter() {
        let row = RowRef::parse(row)?;
        if filter.matches(key, row, moment.as_of) {
            let fields = row.iter().filter(|(field, _)| grant.fields.contains(field));
            let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
            let fields = fields.map(|(field, value)| (field.0, text(value))).collect();
            out.insert(text(key), fields);
        }
    }
    Ok(out)
}

fn filter(grant: &Grant, _place: Place) -> CompiledFilter {
    // Item 1 is the key of everything here.
    CompiledFilter::new(grant.filter.as_ref(), &[FieldId(1)])
}

/// The digest of a set of rows.
pub(crate) fn digest(rows: &world::Rows) -> Digest {
    let mut builder = DigestBuilder::new();
    let mut scratch = Vec::new();
    for (key, fields) in rows {
        let mut row = RowBuf::new();
        fields.iter().for_each(|(field, value)| row.push(FieldId(*field), value.as_bytes()));
        let leaf = leaf_of(key.as_bytes(), row.as_ref().iter(), &mut scratch);
        builder.push(&key_hash(key.as_bytes()), leaf);
    }
    builder.finish().0
}

fn short(hash: &[u8; 32]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&hash[..16]);
    short
}
