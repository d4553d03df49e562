//! The two trees that tie commit numbers to commit times.
//!
//! Invariants
//! 1. Both hold the same pairs; number and time rise together.
//! 2. A transaction writes its pair when it commits, also when it has no operation.
//!
//! A database may hold other trees whose transactions take numbers of the same sequence; those numbers are
//! simply missing here, and a question about one is answered as of the newest of ours before it.
//!
//! Not here: choosing the time of a commit (the store does).

use llmdb_wal::{ReadTxn, Tree};

use crate::catalog;
use crate::encoding::{ordered, unordered};
use crate::error::Error;
use crate::types::{CommitNumber, CommitStamp, CommitTime, Known};

/// The pairs of a snapshot. Both trees are missing before the first commit.
#[derive(Clone, Copy)]
pub(crate) struct Commits<'t> {
    commits: Option<Tree<'t>>,
    times: Option<Tree<'t>>,
}

impl<'t> Commits<'t> {
    pub(crate) fn of(txn: &'t ReadTxn) -> Result<Self, Error> {
        Ok(Self { commits: txn.tree(catalog::COMMITS)?, times: txn.tree(catalog::TIMES)? })
    }

    /// Over the two trees of a transaction that writes.
    pub(crate) fn over(commits: Tree<'t>, times: Tree<'t>) -> Self {
        Self { commits: Some(commits), times: Some(times) }
    }

    pub(crate) fn count(&self) -> u64 {
        self.commits.map_or(0, |tree| tree.len())
    }

    pub(crate) fn times_count(&self) -> u64 {
        self.times.map_or(0, |tree| tree.len())
    }

    /// The newest commit, or `None` before the first.
    pub(crate) fn newest(&self) -> Result<Option<CommitStamp>, Error> {
        self.at_or_before(u64::MAX)
    }

    /// The commit with this number. An entry that names a commit without a pair is damage.
    pub(crate) fn stamp(&self, commit: u64) -> Result<CommitStamp, Error> {
        let key = commit_key(commit);
        match self.commits.map_or(Ok(None), |tree| tree.get(&key))? {
            Some(record) => parse_commit(&key, record),
            None => Err(damaged(catalog::COMMITS, &key, Some(commit), "the commit has no time")),
        }
    }

    /// The commit that `known` stands for: `None` before the first.
    pub(crate) fn resolve(&self, known: Known) -> Result<Option<CommitStamp>, Error> {
        match known {
            Known::Latest => self.newest(),
            Known::Commit(number) => {
                u64::try_from(number).map_or(Ok(None), |commit| self.at_or_before(commit))
            }
            Known::At(time) => self.at_time(time),
        }
    }

    /// All pairs in order, each checked against the other tree.
    pub(crate) fn verified(self) -> impl Iterator<Item = Result<CommitStamp, Error>> + 't {
        use std::ops::Bound::Unbounded;
        let rows = self.commits.map(|tree| tree.range(Unbounded, Unbounded));
        let mut before: Option<CommitStamp> = None;
        rows.into_iter().flatten().map(move |row| {
            let (key, record) = row?;
            let stamp = parse_commit(&key, record)?;
            if before.is_some_and(|before| before.commit >= stamp.commit || before.at >= stamp.at) {
                let what = "number and time do not rise together";
                return Err(damaged(catalog::COMMITS, &key, Some(stamp.commit.get()), what));
            }
            if self.at_time(stamp.at)? != Some(stamp) {
                let what = "the time of the commit does not lead back to it";
                return Err(damaged(catalog::TIMES, &key, Some(stamp.commit.get()), what));
            }
            before = Some(stamp);
            Ok(stamp)
        })
    }

    fn at_or_before(&self, commit: u64) -> Result<Option<CommitStamp>, Error> {
        let near = self.commits.map_or(Ok(None), |tree| tree.floor(&commit_key(commit)))?;
        near.map(|near| parse_commit(&near.key(), near.value()?)).transpose()
    }

    fn at_time(&self, time: CommitTime) -> Result<Option<CommitStamp>, Error> {
        let near = self.times.map_or(Ok(None), |tree| tree.floor(&time_key(time)))?;
        near.map(|near| parse_time(&near.key(), near.value()?)).transpose()
    }
}

/// The key of a commit in the tree of commits.
pub(crate) fn commit_key(commit: u64) -> [u8; 8] {
    commit.to_be_bytes()
}

/// The record of a commit in the tree of commits.
pub(crate) fn commit_record(time: CommitTime) -> [u8; 8] {
    time.micros().to_le_bytes()
}

/// The key of a commit in the tree of times.
pub(crate) fn time_key(time: CommitTime) -> [u8; 8] {
    ordered(time.micros())
}

/// The record of a commit in the tree of times.
pub(crate) fn time_record(commit: u64) -> [u8; 8] {
    commit.to_le_bytes()
}

fn parse_commit(key: &[u8], record: &[u8]) -> Result<CommitStamp, Error> {
    let (Ok(commit), Ok(time)) = (key.try_into(), record.try_into()) else {
        return Err(damaged(catalog::COMMITS, key, None, "number or time have not eight bytes"));
    };
    Ok(CommitStamp {
        commit: CommitNumber::new(u64::from_be_bytes(commit)),
        at: CommitTime::from_raw(i64::from_le_bytes(time)),
    })
}

fn parse_time(key: &[u8], record: &[u8]) -> Result<CommitStamp, Error> {
    let (Ok(time), Ok(commit)) = (key.try_into(), record.try_into()) else {
        return Err(damaged(catalog::TIMES, key, None, "number or time have not eight bytes"));
    };
    Ok(CommitStamp {
        commit: CommitNumber::new(u64::from_le_bytes(commit)),
        at: CommitTime::from_raw(unordered(time)),
    })
}

fn damaged(tree: &str, key: &[u8], commit: Option<u64>, what: &str) -> Error {
    Error::Damaged {
        place: format!("tree {tree}"),
        key: key.to_vec(),
        commit: commit.map(CommitNumber::new),
        what: what.into(),
    }
}
