//! Opening: what the data file's newest checkpoint does not hold is replayed from the log, and durable before
//! anything is served.
//!
//! ```text
//! read the tail -> replay into memory; beside it, ask for the pages ahead,  -> make the tail durable -> serve
//!                                      and look through the rest of the log
//! ```
//!
//! The tail stays in the log until the next checkpoint, as it was before the crash. What of it is not proven to have
//! been flushed is written anew and flushed, with the large values that it leads to: the cache may show what a
//! failed flush has forgotten.
//!
//! Invariants
//! 1. Opening twice, or crashing at any point of it, gives the same state: nothing is written but what is there.
//! 2. A record that is not proven to have been flushed counts only if the large values that it leads to are whole.

use super::durability::Durability;
use super::flusher::Flusher;
use super::keeper::Keeper;
use super::options::{StoreOptions, owner_area, read_owner_area};
use super::replay::{Replay, Replayed};
use super::{Inner, LogState, Shared, Store};
use crate::error::Error;
use crate::log::Log;
use llmdb_pager::{Error as PagerError, Pager, beside};
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What opening had to recover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Commits that were replayed from the log.
    pub commits: u64,
    /// Bytes of the log that they took.
    pub log_bytes: u64,
    /// Pages that were asked for ahead, each as often as a part of the log led to it.
    pub pages_fetched: u64,
    /// Pages that the replay changed or made: at most
    /// [`recovery_pages`](super::StoreOptions::recovery_pages), and those of the transactions that ran at the end.
    pub pages_changed: u64,
    /// How long it took to read the tail of the log, ...
    pub reading: Duration,
    /// ... to look through the rest of it for signs of damage, beside the replay, ...
    pub looking: Duration,
    /// ... to ask for the pages that it changes, beside the replay, ...
    pub fetching: Duration,
    /// ... to replay it, ...
    pub replaying: Duration,
    /// ... and to make durable what was not proven to be.
    pub flushing: Duration,
}

pub(super) fn open(options: StoreOptions, path: &Path) -> Result<Store, Error> {
    let pager = open_pager(&options, path)?;
    let log_path = beside(path, "-wal");
    let (start, needed) = read_owner_area(&pager.owner_area());
    let exists = options
        .storage
        .exists(&log_path)
        .map_err(|e| PagerError::io(format!("looking for {}", log_path.display()), e))?;
    let mut state =
        LogState { log: None, path: log_path, next: start, marked: needed, redo_memory: Vec::new() };
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
    if !pager.is_read_only() {
        recovery.pages_changed = pager.begin_write()?.dirty_pages();
    }
    let inner = Inner {
        pager,
        storage: options.storage,
        settings: options.settings,
        log: Mutex::new(state),
        recovery,
        closed: AtomicBool::new(false),
        keeper: Arc::new(Keeper::default()),
        flusher: Arc::new(Flusher::default()),
        checkpointing: Mutex::new(()),
        pages_dirty: AtomicU64::new(0),
        operations: AtomicU64::new(0),
        in_flight: Mutex::new(None),
        is_stuck: AtomicBool::new(false),
    };
    inner.note_pages(recovery.pages_changed);
    let inner = Arc::new(inner);
    let store = Store { inner: Arc::new(Shared(inner.clone())) };
    if inner.settings.background && !inner.is_read_only() {
        inner.keeper.start(Arc::downgrade(&inner))?;
        if let Durability::Interval(interval) = inner.settings.durability {
            store.inner.keep_interval(interval)?;
        }
    }
    Ok(store)
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
            log.read_tail(checkpoint_of(pager)?)?;
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
    let log = Log::open(&*options.storage, &state.path, pager.identity(), state.next);
    let tail = log.and_then(|log| log.read_tail(checkpoint_of(pager)?));
    tail.is_ok_and(|tail| !tail.is_empty())
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
    let began = Instant::now();
    let log = Log::open(&*options.storage, &state.path, pager.identity(), state.next)?;
    let (mut tail, behind) = log.read_records(checkpoint_of(pager)?)?;
    let reading = began.elapsed();
    let mut replay = Replay::new(pager, &state.path, options.settings.progress.as_ref())?;
    let unproven = replay.check_unproven(&mut tail)?;
    let began = Instant::now();
    let look = || {
        let began = Instant::now();
        behind.check(&tail).map(|()| began.elapsed())
    };
    let (looked, replayed) = std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("llmdb-look".into());
        let beside = options.settings.background.then(|| builder.spawn_scoped(scope, look).ok()).flatten();
        match beside {
            Some(beside) => {
                let replayed = replay.run(&tail, true);
                (beside.join().unwrap_or_else(|panic| resume_unwind(panic)), replayed)
            }
            None => (look(), replay.run(&tail, options.settings.background)),
        }
    });
    // A log that is damaged may have led the replay astray: that is what there is to tell.
    let looking = looked?;
    let replayed = replayed?;
    replay.publish(&replayed)?;
    let Replayed { commits, pages_fetched, fetching } = replayed;
    let replaying = began.elapsed();
    let began = Instant::now();
    unproven.rewrite(pager)?;
    log.go_on_behind(&tail)?;
    pager.heal_metas()?;
    let flushing = began.elapsed();
    state.next = tail.end;
    state.log = Some(Arc::new(log));
    let log_bytes = tail.bytes;
    Ok(Recovery {
        commits,
        log_bytes,
        pages_fetched,
        pages_changed: 0,
        reading,
        looking,
        fetching,
        replaying,
        flushing,
    })
}
