//! The operations as they were recorded: the change feed.
//!
//! Invariants
//! 1. Commit order, then the order within the transaction.
//! 2. Each operation comes as it was given, whatever it had an effect on.

use std::collections::HashMap;
use std::fmt;

use llmdb_wal::ReadTxn;

use crate::catalog;
use crate::commits::Commits;
use crate::error::Error;
use crate::ops::{Log, Recorded};
use crate::types::{Change, CommitNumber, CommitStamp, Known};

/// The rows of [`TemporalRead::changes`](super::TemporalRead::changes).
pub struct Changes<'t> {
    log: Option<Log<'t>>,
    commits: Commits<'t>,
    names: HashMap<u32, String>,
    only: Option<u32>,
    stamp: Option<CommitStamp>,
}

impl<'t> Changes<'t> {
    pub(super) fn empty(txn: &'t ReadTxn) -> Result<Self, Error> {
        let commits = Commits::of(txn)?;
        Ok(Self { log: None, commits, names: HashMap::new(), only: None, stamp: None })
    }

    pub(super) fn between(
        txn: &'t ReadTxn,
        kept_from: u64,
        only: Option<u32>,
        after: Known,
        up_to: Known,
    ) -> Result<Self, Error> {
        let mut changes = Self { only, ..Self::empty(txn)? };
        let number = |known| Ok::<_, Error>(changes.commits.resolve(known)?.map(|stamp| stamp.commit.get()));
        let (first, up_to) = (number(after)?, number(up_to)?);
        if first < up_to {
            super::check_kept(&changes.commits, kept_from, after, None, first)?;
        }
        let after = first;
        if let Some(last) = up_to.filter(|_| after < up_to) {
            let names = catalog::all(txn.tree(catalog::CATALOG)?)?;
            changes.names = names.into_iter().map(|(name, number)| (number, name)).collect();
            changes.log = Some(Log::between(txn.tree(catalog::OPS)?, after, last));
        }
        Ok(changes)
    }

    fn read(&mut self) -> Result<Option<Change>, Error> {
        let Some(log) = &mut self.log else { return Ok(None) };
        for row in log {
            let (commit, _, recorded) = row?;
            if self.only.is_none_or(|only| only == recorded.collection) {
                let commit = stamp(&self.commits, &mut self.stamp, commit)?;
                return change(&self.names, commit, recorded).map(Some);
            }
        }
        Ok(None)
    }
}

/// The commit of a row; the operations of one commit follow each other, so the last answer is kept.
fn stamp(commits: &Commits<'_>, last: &mut Option<CommitStamp>, commit: u64) -> Result<CommitStamp, Error> {
    if let Some(stamp) = last.filter(|stamp| stamp.commit == CommitNumber::new(commit)) {
        return Ok(stamp);
    }
    Ok(*last.insert(commits.stamp(commit)?))
}

fn change(
    names: &HashMap<u32, String>,
    commit: CommitStamp,
    recorded: Recorded<'_>,
) -> Result<Change, Error> {
    let collection = names.get(&recorded.collection).ok_or_else(|| Error::Damaged {
        place: format!("tree {}", catalog::OPS),
        key: recorded.key.to_vec(),
        commit: Some(commit.commit),
        what: format!("the operation is in collection number {}, which is not there", recorded.collection),
    })?;
    Ok(Change {
        commit,
        collection: collection.clone(),
        op: recorded.op,
        key: recorded.key.to_vec(),
        valid: recorded.valid,
        value: recorded.outcome().map(<[u8]>::to_vec),
    })
}

impl Iterator for Changes<'_> {
    type Item = Result<Change, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.read().transpose();
        if !matches!(row, Some(Ok(_))) {
            self.log = None;
        }
        row
    }
}

impl fmt::Debug for Changes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("ended", &self.log.is_none()).finish_non_exhaustive()
    }
}
