//! Reading a snapshot on both axes.
//!
//! Contents: `get` one key at one point, `between` pieces in a window, `began` facts by where they began, `scan` all keys at one point, `timeline` the whole of one key,
//! `sweep` and `life` how rectangles are made out of break points, `diff` two states, `changes` the operations.
//!
//! Invariants
//! 1. All answers of one [`TemporalRead`] come from one snapshot.
//! 2. A collection, key or time that never was is empty, not an error; a time of which history was let go is one.
//!
//! Not here: writing (`write`), verification (`check`).

mod began;
mod between;
mod changes;
mod diff;
mod get;
mod keys;
mod life;
mod scan;
mod sweep;
mod timeline;

use std::borrow::Cow;
use std::fmt;
use std::ops::Bound;
use std::sync::OnceLock;

use llmdb_wal::{ReadTxn, Store, Tree, TreeId};

pub use changes::Changes;
pub use diff::Differences;
pub use scan::{LentRow, Scan, ScanValues};

pub(crate) use keys::Keys;

use crate::catalog;
use crate::commits::Commits;
use crate::encoding::{self, KeyBuf};
use crate::error::Error;
use crate::marks;
use crate::points::{NOW, Points};
use crate::ranges::Ranges;
use crate::types::{Bounds, CommitStamp, Difference, Known, Meeting, Period, ValidTime, Version, Window};

/// A snapshot of all collections. It can be held for long and shared among threads.
pub struct TemporalRead {
    txn: ReadTxn,
    newest: Option<CommitStamp>,
    kept_from: u64,
    /// Collections that were asked for.
    known: [OnceLock<KnownCollection>; 4],
}

/// Where a collection is.
struct KnownCollection {
    name: String,
    number: u32,
    /// Its trees, those of the commits, and the log.
    trees: [TreeId; 6],
    starts: Option<TreeId>,
    recent_from: u64,
    old_before: u64,
}

/// One collection of a snapshot: what [`TemporalRead`] offers by name, without looking the name up each time.
#[derive(Clone, Copy)]
pub struct Collection<'t> {
    number: u32,
    points: Points<'t>,
    txn: &'t ReadTxn,
    starts: Option<TreeId>,
    commits: Commits<'t>,
    ops: Option<Tree<'t>>,
    /// The newest commit.
    newest: Option<u64>,
    /// The commit from which on answers are kept.
    kept_from: u64,
    /// The first commit about which the record of a key is likely to answer.
    recent_from: u64,
    /// The first commit about which the last open block of a key is likely to answer.
    old_before: u64,
}

/// Changes of a key that its record is likely to hold: half of what it has room for.
const RECENT_CHANGES: u64 = 4;
/// Changes of a key since which its last range is likely to be another one.
const RANGE_CHANGES: u64 = 24;

impl TemporalRead {
    pub(crate) fn begin(store: &Store) -> Result<Self, Error> {
        let txn = store.begin_read()?;
        let newest = Commits::of(&txn)?.newest()?;
        let kept_from = marks::kept_from(txn.tree(catalog::MARKS)?)?;
        Ok(Self { txn, newest, kept_from, known: Default::default() })
    }

    /// The names of all collections, in byte order.
    ///
    /// # Errors
    /// The store's errors, and [`Error::Damaged`], as for all reads.
    pub fn collections(&self) -> Result<Vec<String>, Error> {
        Ok(catalog::all(self.txn.tree(catalog::CATALOG)?)?.into_iter().map(|(name, _)| name).collect())
    }

    /// A collection; `None` if no operation was ever recorded in it.
    ///
    /// # Errors
    /// [`Error::CollectionName`].
    pub fn collection(&self, name: &str) -> Result<Option<Collection<'_>>, Error> {
        for known in self.known.iter().map_while(OnceLock::get) {
            if known.name == name {
                return self.known_collection(known).map(Some);
            }
        }
        let number = catalog::number(self.txn.tree(catalog::CATALOG)?, name)?;
        let Some(number) = number else { return Ok(None) };
        let mut found = self.find_collection(name, number)?;
        let collection = self.known_collection(&found)?;
        for place in &self.known {
            match place.set(found) {
                Ok(()) => break,
                Err(given_back) => found = given_back,
            }
        }
        Ok(Some(collection))
    }

    #[inline]
    fn known_collection(&self, known: &KnownCollection) -> Result<Collection<'_>, Error> {
        let KnownCollection { number, recent_from, old_before, .. } = *known;
        let tree = |index: usize| {
            let tree = known.trees[index];
            self.txn
                .tree_by_id(tree)?
                .ok_or_else(|| missing_tree(number, &format!("number {}", tree.number())))
        };
        Ok(Collection {
            number,
            points: Points {
                now: tree(0)?,
                past: tree(1)?,
                ranges: Ranges { tree: tree(2)?, number },
                number,
                held: None,
            },
            starts: known.starts,
            txn: &self.txn,
            commits: Commits::over(tree(3)?, tree(4)?),
            ops: Some(tree(5)?),
            newest: self.newest.map(|newest| newest.commit.get()),
            kept_from: self.kept_from,
            recent_from,
            old_before,
        })
    }

    /// The oldest commit that can be asked about; `None` where all can.
    ///
    /// # Errors
    /// The store's errors.
    pub fn kept_from(&self) -> Result<Option<CommitStamp>, Error> {
        (self.kept_from > 0).then(|| Commits::of(&self.txn)?.stamp(self.kept_from)).transpose()
    }

    /// The newest commit of this snapshot; `None` before the first.
    #[must_use]
    pub fn newest(&self) -> Option<CommitStamp> {
        self.newest
    }

    /// The commit whose knowledge `known` means; `None` before the first.
    ///
    /// # Errors
    /// The store's errors.
    pub fn resolve(&self, known: Known) -> Result<Option<CommitStamp>, Error> {
        Commits::of(&self.txn)?.resolve(known)
    }

    /// As [`Self::resolve`], but refuses what is not kept any more, as every question about `known` does: for callers that pick
    /// themselves out of [`Self::history`] or [`Self::versions`] what was known then.
    ///
    /// ```
    /// use llmdb_temporal::{Error, Known, Period, Temporal};
    /// # use llmdb_wal::StoreOptions;
    /// # let folder = tempfile::tempdir()?;
    /// # let db = Temporal::open(StoreOptions::new().open(folder.path().join("prices.llmdb"))?)?;
    /// for price in [b"3", b"4"] {
    ///     let mut tx = db.begin_write()?;
    ///     tx.put("prices", b"tea", Period::ALL, price)?;
    ///     tx.commit()?;
    /// }
    /// let mark = db.begin_read()?.resolve_kept(Known::Commit(1))?.ok_or("committed above")?;
    /// let mut tx = db.begin_write()?;
    /// tx.retain(mark.at)?;
    /// tx.commit()?;
    /// let read = db.begin_read()?;
    /// assert_eq!(read.resolve_kept(Known::Commit(1))?, Some(mark));
    /// assert!(matches!(read.resolve_kept(Known::Commit(0)), Err(Error::NotKept { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotKept`]; the store's errors.
    pub fn resolve_kept(&self, known: Known) -> Result<Option<CommitStamp>, Error> {
        let commits = Commits::of(&self.txn)?;
        let found = commits.resolve(known)?;
        check_kept(&commits, self.kept_from, known, None, found.map(|found| found.commit.get()))?;
        Ok(found)
    }

    /// What a collection that never was answers about a key, unless the question is about history that was let go.
    fn nothing<T: Default>(&self, key: &[u8], known: Known) -> Result<T, Error> {
        self.resolve_kept(known).map(|_| T::default()).map_err(|error| error.of_key(key))
    }

    /// What was believed, once `known` was recorded, about `key` at `valid_at`: the whole rectangle.
    ///
    /// Cost: a few descents however deep the history is, and of the blocks of the piece's part of the timeline those
    /// of the commits during which it stood, for the bounds of the rectangle; [`Self::get_value`] does without.
    ///
    /// # Errors
    /// [`Error::KeyEmpty`]; [`Error::NotKept`] for a state of which history was let go; the store's errors.
    pub fn get(
        &self,
        collection: &str,
        key: &[u8],
        valid_at: ValidTime,
        known: Known,
    ) -> Result<Option<Version>, Error> {
        let Some(collection) = self.collection(collection)? else { return self.nothing(key, known) };
        collection.get(key, valid_at, known)
    }

    /// As [`Self::get`], only the value: about [`Known::Latest`] one descent, without a copy.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn get_value(
        &self,
        collection: &str,
        key: &[u8],
        valid_at: ValidTime,
        known: Known,
    ) -> Result<Option<Cow<'_, [u8]>>, Error> {
        let Some(collection) = self.collection(collection)? else { return self.nothing(key, known) };
        collection.get_value(key, valid_at, known)
    }

    /// [`Self::get`] of every key in a range, ascending, streamed: memory does not grow with the result.
    ///
    /// # Errors
    /// [`Error::CollectionName`]; [`Error::NotKept`]; the store's errors, also from each row.
    pub fn scan(
        &self,
        collection: &str,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        valid_at: ValidTime,
        known: Known,
    ) -> Result<Scan<'_>, Error> {
        match self.collection(collection)? {
            Some(collection) => collection.scan(from, to, valid_at, known),
            None => self.resolve_kept(known).map(|_| Scan::empty()),
        }
    }

    /// What was believed, once `known` was recorded, about `key` over valid time: the pieces that overlap
    /// `window`, in order, each with its stored bounds.
    ///
    /// # Errors
    /// As [`Self::get`]; [`Error::PeriodReversed`] for a window that was made by hand.
    pub fn timeline(
        &self,
        collection: &str,
        key: &[u8],
        window: Period,
        known: Known,
    ) -> Result<Vec<Version>, Error> {
        let name = collection;
        let found = match self.collection(name)? {
            Some(collection) => collection.timeline(key, window, known),
            None => window.checked().and_then(|_| self.nothing(key, known)),
        };
        found.map_err(|error| error.of_key(key).of_collection(name))
    }

    /// The pieces that a window of valid time asks for, in order, as believed once `known` was recorded.
    ///
    /// # Errors
    /// As [`Self::get`]; [`Error::PeriodReversed`].
    pub fn between(
        &self,
        collection: &str,
        key: &[u8],
        window: Window,
        bounds: Bounds,
        known: Known,
    ) -> Result<Vec<Version>, Error> {
        let name = collection;
        let found = match self.collection(name)? {
            Some(collection) => collection.between(key, window, bounds, known),
            None => window.period().and_then(|_| self.nothing(key, known)),
        };
        found.map_err(|error| error.of_key(key).of_collection(name))
    }

    /// The facts that began in a window, which excludes its end, as believed once `known` was recorded: by where they
    /// began, then by key. See [`Collection::began`].
    ///
    /// # Errors
    /// [`Error::CollectionName`]; [`Error::PeriodReversed`]; the store's errors.
    pub fn began(&self, collection: &str, window: Period, known: Known) -> Result<Vec<Version>, Error> {
        let name = collection;
        let found = match self.collection(name)? {
            Some(collection) => collection.began(window, known),
            None => window.checked().and_then(|_| self.resolve_kept(known)).map(|_| Vec::new()),
        };
        found.map_err(|error| error.of_collection(name))
    }

    /// Whether a value was believed in force at every instant of a period, once `known` was recorded. So it is for a
    /// period without an instant.
    ///
    /// # Errors
    /// As [`Self::get`]; [`Error::PeriodReversed`].
    pub fn covers(&self, collection: &str, key: &[u8], period: Period, known: Known) -> Result<bool, Error> {
        let name = collection;
        let found = match self.collection(name)? {
            Some(collection) => collection.covers(key, period, known),
            None => period.checked().and_then(|_| self.resolve_kept(known)).map(|_| period.is_empty()),
        };
        found.map_err(|error| error.of_key(key).of_collection(name))
    }

    /// Where two keys, each by its collection, both had a value in a window, as believed once `known` was recorded: the
    /// overlap join of two timelines. In order of valid time. [`Collection::meetings_of`] joins the keys of a range, each with the
    /// equal key of another collection.
    ///
    /// # Errors
    /// As [`Self::get`]; [`Error::PeriodReversed`].
    pub fn meetings(
        &self,
        left: (&str, &[u8]),
        right: (&str, &[u8]),
        window: Period,
        known: Known,
    ) -> Result<Vec<Meeting>, Error> {
        let found = match (self.collection(left.0)?, self.collection(right.0)?) {
            (Some(one), Some(other)) => one.meetings(left.1, (&other, right.1), window, known),
            _ => window.checked().and_then(|_| self.nothing(left.1, known)),
        };
        found.map_err(|error| error.of_key(left.1).of_collection(left.0))
    }

    /// What was believed, when, about `key` at one instant: the rectangles over it, by known time.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn history(&self, collection: &str, key: &[u8], valid_at: ValidTime) -> Result<Vec<Version>, Error> {
        let Some(collection) = self.collection(collection)? else { return Ok(Vec::new()) };
        collection.history(key, valid_at)
    }

    /// Every rectangle of a key, by the commit from which it was known, then by valid time.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn versions(&self, collection: &str, key: &[u8]) -> Result<Vec<Version>, Error> {
        let Some(collection) = self.collection(collection)? else { return Ok(Vec::new()) };
        collection.versions(key)
    }

    /// Where two states of a key range differ: by key, then by valid time. Only keys with an operation between
    /// the two are looked at; their names are held in memory.
    ///
    /// # Errors
    /// [`Error::CollectionName`]; [`Error::NotKept`]; the store's errors, also from each row.
    pub fn diff(
        &self,
        collection: &str,
        from: Known,
        to: Known,
        keys: (Bound<&[u8]>, Bound<&[u8]>),
    ) -> Result<impl Iterator<Item = Result<Difference, Error>> + '_, Error> {
        match self.collection(collection)? {
            Some(collection) => collection.diff(from, to, keys),
            None => {
                self.resolve_kept(from)?;
                self.resolve_kept(to).map(|_| Differences::empty())
            }
        }
    }

    /// The operations as they were recorded, of one collection or all, from the commits after `after` and up to
    /// `up_to`, in the order in which they were recorded.
    ///
    /// # Errors
    /// [`Error::CollectionName`]; [`Error::NotKept`] where `after` lies before the history that is kept; the store's errors, also from each row.
    pub fn changes(
        &self,
        collection: Option<&str>,
        after: Known,
        up_to: Known,
    ) -> Result<Changes<'_>, Error> {
        let catalog = self.txn.tree(catalog::CATALOG)?;
        let number = match collection.map(|name| catalog::number(catalog, name)).transpose()? {
            Some(None) => {
                // Refused where the same about another collection is.
                Changes::between(&self.txn, self.kept_from, None, after, up_to)?;
                return Changes::empty(&self.txn);
            }
            Some(found) => found,
            None => None,
        };
        Changes::between(&self.txn, self.kept_from, number, after, up_to)
    }

    pub(crate) fn txn(&self) -> &ReadTxn {
        &self.txn
    }

    pub(crate) fn numbered(&self, number: u32) -> Result<Collection<'_>, Error> {
        self.known_collection(&self.find_collection("", number)?)
    }

    fn find_collection(&self, name: &str, number: u32) -> Result<KnownCollection, Error> {
        let id = |name: &str| self.txn.tree_id(name)?.ok_or_else(|| missing_tree(number, name));
        let trees = [
            id(&catalog::now_tree(number))?,
            id(&catalog::past_tree(number))?,
            id(&catalog::ranges_tree(number))?,
            id(catalog::COMMITS)?,
            id(catalog::TIMES)?,
            id(catalog::OPS)?,
        ];
        // As if all keys changed equally often: the last few changes of each are in its record.
        let count = |tree: TreeId| {
            Ok::<_, Error>(u128::from(self.txn.tree_by_id(tree)?.map_or(0, |tree| tree.len())))
        };
        let newest = self.newest.map_or(0, |newest| newest.commit.get());
        let (commits, keys, changes) = (count(trees[3])?, count(trees[0])?, count(trees[5])?.max(1));
        let before = |count: u64| {
            let span = commits * keys * u128::from(count) / changes;
            newest.saturating_sub(u64::try_from(span).unwrap_or(u64::MAX)).min(NOW)
        };
        let recent_from = before(RECENT_CHANGES);
        // Where most keys have several ranges.
        let old_before =
            if changes / keys.max(1) > 2 * u128::from(RANGE_CHANGES) { before(RANGE_CHANGES) } else { 0 };
        let starts = self.txn.tree_id(&catalog::starts_tree(number))?;
        Ok(KnownCollection { name: name.to_owned(), number, trees, starts, recent_from, old_before })
    }
}

impl<'t> Collection<'t> {
    pub(crate) fn points(&self) -> Points<'t> {
        self.points
    }

    /// The commit from which on answers are kept; 0 where all are.
    pub(crate) fn mark(&self) -> u64 {
        self.kept_from
    }

    /// The commit whose knowledge answers: [`NOW`] for the newest, `None` before the first. An error names the key.
    #[inline]
    fn commit_of(&self, known: Known, key: Option<&[u8]>) -> Result<Option<u64>, Error> {
        let Some(newest) = self.newest else { return Ok(None) };
        let commit = match known {
            Known::Latest => return Ok(Some(NOW)),
            // Nothing of ours changed at commits that are not ours: no need to look for the one before.
            Known::Commit(number) => u64::try_from(number).ok(),
            Known::At(_) => self.commits.resolve(known)?.map(|stamp| stamp.commit.get()),
        };
        check_kept(&self.commits, self.kept_from, known, key, commit)?;
        Ok(commit.map(|commit| if commit >= newest { NOW } else { commit }))
    }
}

impl fmt::Debug for TemporalRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemporalRead").field("seq", &self.txn.seq()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Collection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collection").field("number", &self.number).finish_non_exhaustive()
    }
}

/// Refuses a question about a commit, or the time before the first one, of which history was let go.
fn check_kept(
    commits: &Commits<'_>,
    kept_from: u64,
    known: Known,
    key: Option<&[u8]>,
    commit: Option<u64>,
) -> Result<(), Error> {
    if kept_from == 0 || commit.is_some_and(|commit| commit >= kept_from) {
        return Ok(());
    }
    let asked = match known {
        Known::Latest => "now".to_owned(),
        Known::At(time) => format!("at {time}"),
        Known::Commit(number) => format!("as of commit {number}"),
    };
    Err(Error::NotKept { asked, key: key.map(<[u8]>::to_vec), kept_from: commits.stamp(kept_from)? })
}

#[cold]
fn missing_tree(number: u32, name: &str) -> Error {
    Error::Damaged {
        place: format!("tree {}", catalog::CATALOG),
        key: number.to_le_bytes().to_vec(),
        commit: None,
        what: format!("the tree {name} of a collection is missing"),
    }
}

/// The encoded key of a question. A key that is too long to be stored is simply not there.
#[inline]
fn prefix(key: &[u8]) -> Result<KeyBuf, Error> {
    if key.is_empty() { Err(Error::KeyEmpty) } else { Ok(encoding::encoded(key)) }
}
