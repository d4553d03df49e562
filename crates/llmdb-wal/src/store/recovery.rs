//! Opening: what the data file's newest checkpoint does not hold is replayed from the log, and made durable
//! in the data file before anything is served.
//!
//! Invariants
//! 1. Opening twice, or crashing at any point of it, gives the same state: nothing is changed but by one
//!    checkpoint at the end.
//! 2. After it the log goes on a whole ring further, so nothing that was in it can be read as new.

use super::options::{StoreOptions, owner_area, read_owner_area};
use super::range::high_bound;
use super::redo::{Redo, operations, time_of};
use super::{Inner, LogState, Store};
use crate::error::Error;
use crate::log::{Log, Position, Record};
use llmdb_btree::{TreeId, WriteTxn};
use llmdb_pager::{Error as PagerError, Pager, beside};
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

/// What opening had to recover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Commits that were replayed from the log.
    pub commits: u64,
    /// Bytes of the log that they took.
    pub log_bytes: u64,
}

pub(super) fn open(options: StoreOptions, path: &Path) -> Result<Store, Error> {
    let pager = open_pager(&options, path)?;
    let log_path = beside(path, "-wal");
    let (start, needed) = read_owner_area(&pager.owner_area());
    let exists = options
        .storage
        .exists(&log_path)
        .map_err(|e| PagerError::io(format!("looking for {}", log_path.display()), e))?;
    let mut state = LogState { log: None, path: log_path, next: start, marked: needed };
    let mut recovery = Recovery::default();
    match (exists, needed) {
        // A log that is not needed tells of a crash all the same, and it is not read for what it holds.
        (true, _) | (_, true) if options.read_only => return Err(Error::NotClosed { path: path.into() }),
        (false, true) => return Err(Error::LogMissing { path: state.path }),
        (false, false) => {}
        // A copy of the meta that was lost says so too: then the log goes on where the file ends.
        (true, false) if holds_commits(&options, &pager, &state) => {
            state.marked = true;
            recovery = recover(&options, &pager, &mut state)?;
        }
        (true, false) => discard_leftover(&options, &pager, &state)?,
        (true, true) => recovery = recover(&options, &pager, &mut state)?,
    }
    let inner = Inner {
        pager,
        storage: options.storage,
        settings: options.settings,
        log: Mutex::new(state),
        recovery,
        closed: AtomicBool::new(false),
    };
    Ok(Store { inner: Arc::new(inner) })
}

fn open_pager(options: &StoreOptions, path: &Path) -> Result<Pager, Error> {
    let pager_options = || options.pager_options();
    match pager_options().open(path) {
        Err(PagerError::NotFound { .. }) if options.create && !options.read_only => {
            match pager_options().create(path) {
                // Another process was faster: it is there now.
                Err(PagerError::AlreadyExists { .. }) => Ok(pager_options().open(path)?),
                other => Ok(other?),
            }
        }
        other => Ok(other?),
    }
}

/// A log that the data file does not need: left by a crash while closing, or before the first commit.
fn discard_leftover(options: &StoreOptions, pager: &Pager, state: &LogState) -> Result<(), Error> {
    let doing = |what: &str| format!("{what} {}", state.path.display());
    match Log::open(&*options.storage, &state.path, pager.identity(), state.next) {
        // Nothing in it may belong to a later checkpoint than the file's.
        Ok(log) => {
            log.read_tail(checkpoint_of(pager)?, &mut |_| Ok(()))?;
        }
        // Its header was not written any more: no commit was ever acknowledged from it.
        Err(Error::ForeignLog { .. }) if is_unfinished(options, state)? => {}
        Err(error) => return Err(error),
    }
    // The meta that says so may stand in the cache alone (the process died before its flush), and a crash
    // may have torn a copy: both are written anew and flushed before the log goes.
    pager.begin_write()?.rewrite_owner_area(owner_area(state.next, false))?;
    pager.heal_metas()?;
    options.storage.remove(&state.path).map_err(|e| PagerError::io(doing("removing"), e))?;
    options.storage.sync_dir(&state.path).map_err(|e| PagerError::io(doing("flushing the folder of"), e))?;
    Ok(())
}

/// Whether the log has records that the data file does not hold.
fn holds_commits(options: &StoreOptions, pager: &Pager, state: &LogState) -> bool {
    let mut records = 0;
    let log = Log::open(&*options.storage, &state.path, pager.identity(), state.next);
    let read = log.and_then(|log| {
        log.read_tail(checkpoint_of(pager)?, &mut |_| {
            records += 1;
            Ok(())
        })
    });
    read.is_ok() && records > 0
}

/// Whether a log's header block is as a crash leaves it before the header was flushed.
fn is_unfinished(options: &StoreOptions, state: &LogState) -> Result<bool, Error> {
    let doing = format!("reading {}", state.path.display());
    let open = options.storage.open(&state.path, llmdb_pager::storage::OpenMode::Read);
    let file = open.map_err(|e| PagerError::io(doing.clone(), e))?;
    let len = file.len().map_err(|e| PagerError::io(doing.clone(), e))?;
    Ok(len <= crate::log::BLOCK_SIZE)
}

fn checkpoint_of(pager: &Pager) -> Result<u64, Error> {
    Ok(pager.begin_write()?.durable_checkpoint())
}

fn recover(options: &StoreOptions, pager: &Pager, state: &mut LogState) -> Result<Recovery, Error> {
    let mut log = Log::open(&*options.storage, &state.path, pager.identity(), state.next)?;
    let checkpoint = checkpoint_of(pager)?;
    let mut txn = WriteTxn::new(pager.begin_write()?);
    // What looks free may be a large value that a later record leads to: nothing is written there yet.
    txn.pager().hold_in_memory();
    let mut newest = (pager.snapshot().commit(), pager.snapshot().time());
    let tail = log.read_tail(checkpoint, &mut |record| {
        newest = replay(&mut txn, &record, newest, &state.path)?;
        Ok(())
    })?;
    let end = Position { lsn: tail.end.lsn + log.capacity(), chain: tail.end.chain };
    let commits = newest.0 - pager.snapshot().commit();
    let area = owner_area(end, true);
    if commits == 0 {
        drop(txn);
        pager.begin_write()?.checkpoint(area)?;
    } else {
        txn.finish()?.commit_with_checkpoint(area)?;
    }
    pager.heal_metas()?;
    log.restart(end);
    state.log = Some(log);
    state.next = end;
    Ok(Recovery { commits, log_bytes: tail.bytes })
}

/// Does what one record says. Answers its commit's number and time.
fn replay(
    txn: &mut WriteTxn,
    record: &Record<'_>,
    newest: (u64, i64),
    path: &Path,
) -> Result<(u64, i64), Error> {
    let damaged = |what| Error::LogDamaged { path: path.into(), lsn: record.lsn, what };
    let time = time_of(record.payload).ok_or_else(|| damaged("a record is too short"))?;
    if record.commit != newest.0 + 1 {
        return Err(damaged("commit numbers do not follow each other"));
    }
    txn.pager().set_commit(record.commit, time);
    for op in operations(record.payload) {
        match op.map_err(damaged)? {
            Redo::Insert { tree, key, value } => {
                txn.insert(TreeId::from_number(tree), key, value)?;
            }
            Redo::InsertLarge { tree, key, value } => {
                txn.insert_large(TreeId::from_number(tree), key, value)?;
            }
            Redo::Remove { tree, key } => {
                txn.remove(TreeId::from_number(tree), key)?;
            }
            Redo::CreateTree { tree, name } => txn.enter_tree(name, TreeId::from_number(tree))?,
            Redo::DropTree { name } => {
                txn.drop_tree(name)?;
            }
            Redo::RemoveRange { tree, low, high } => {
                let (low, high) = (Bound::Included(low), high_bound(high));
                txn.remove_range(TreeId::from_number(tree), low, high)?;
            }
        }
    }
    Ok((record.commit, time))
}
