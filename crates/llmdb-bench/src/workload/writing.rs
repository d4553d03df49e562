//! Committing new records, by any number of threads, and knowing what must be there afterwards.
//!
//! Invariants
//! 1. A number that was taken is committed by the thread that took it, or the run fails.
//! 2. A commit that returned is seen by all: a thread looks for another's newest, one commit in
//!    [`LOOKED_FOR_EVERY`].
//! 3. When there is no more room a thread has done, after its first commit: a record that is written twice would
//!    hide that it was lost the first time. The database holds the first numbers, as many as were taken, at
//!    version 0.

use crate::check::{fill_key, fill_value, version_of};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::measure::Recorder;
use crate::workload::Counted;
use crate::workload::bench::{Done, Span};
use crate::workload::load::{self, Shape};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Of so many commits of a thread, one is followed by a look for another's.
const LOOKED_FOR_EVERY: u64 = 16;
/// Threads that commit, at most.
pub(super) const THREADS_MAX: usize = 64;
/// In a thread's place before its first commit.
const NOTHING: u64 = u64::MAX;

/// The numbers of new records.
#[derive(Debug)]
pub(super) struct Writing {
    shape: Shape,
    records_max: u64,
    /// The next number that nobody has taken.
    next: AtomicU64,
    /// The newest number that each thread has committed.
    latest: [AtomicU64; THREADS_MAX],
}

impl Writing {
    /// From the number `first` on, up to `records_max`.
    pub(super) fn new(shape: Shape, first: u64, records_max: u64) -> Self {
        let latest = [const { AtomicU64::new(NOTHING) }; THREADS_MAX];
        Self { shape, records_max: records_max.max(first + 1), next: AtomicU64::new(first), latest }
    }

    /// Records that there are.
    pub(super) fn count(&self) -> u64 {
        self.next.load(Ordering::Acquire).min(self.records_max)
    }

    /// Numbers that nobody has taken.
    pub(super) fn room(&self) -> u64 {
        self.records_max - self.count()
    }

    /// Takes the next number.
    pub(super) fn take(&self) -> u64 {
        self.next.fetch_add(1, Ordering::AcqRel) % self.records_max
    }

    /// What one of `threads` threads does: transactions of `per_transaction` records until its time, or the room, is
    /// over.
    pub(super) fn commit(
        &self,
        engine: &dyn Engine,
        (thread, threads): (usize, usize),
        per_transaction: u64,
        span: Span<'_>,
    ) -> Result<Done> {
        let mut recorder = Recorder::new(span.started);
        let (mut key, mut value) = (self.shape.key(), self.shape.value());
        let (mut now, mut commits) = (Instant::now(), 0);
        let enough = per_transaction * threads as u64;
        while span.goes_on(now) && (commits == 0 || self.room() >= enough) {
            let mut last = NOTHING;
            let begin = Instant::now();
            let mut fill = |key: &mut Vec<u8>, value: &mut Vec<u8>| {
                last = self.take();
                fill_key(key, last, self.shape.order);
                fill_value(value, last, 0);
            };
            if per_transaction == 1 {
                fill(&mut key, &mut value);
                engine.put_one(&key, &value)?;
            } else {
                engine.write(&mut |txn| {
                    for _ in 0..per_transaction {
                        fill(&mut key, &mut value);
                        txn.put(&key, &value)?;
                    }
                    Ok(())
                })?;
            }
            now = Instant::now();
            recorder.record(begin, now);
            self.latest[thread].store(last, Ordering::Release);
            commits += 1;
            if commits % LOOKED_FOR_EVERY == 0 {
                self.look_for((thread + commits as usize / LOOKED_FOR_EVERY as usize) % threads, engine)?;
                now = Instant::now();
            }
        }
        let user_bytes = commits * per_transaction * self.shape.record_size();
        Ok(Done { recorder, commits, user_bytes })
    }

    /// Looks for the record that a thread has committed last: nobody takes it away again.
    fn look_for(&self, thread: usize, engine: &dyn Engine) -> Result<()> {
        let number = self.latest[thread].load(Ordering::Acquire);
        if number == NOTHING {
            return Ok(());
        }
        let mut key = self.shape.key();
        fill_key(&mut key, number, self.shape.order);
        engine.read(&mut |txn| match txn.get(&key)?.map(|value| version_of(value, number)) {
            Some(Some(0)) => Ok(()),
            Some(_) => Err(Error::WrongAnswer(format!("record {number} is not what was committed"))),
            None => Err(Error::WrongAnswer(format!("record {number} was committed and is not there"))),
        })
    }

    /// Checks the whole database.
    pub(super) fn check(&self, engine: &dyn Engine) -> Result<Counted> {
        load::check_new(engine, self.shape, self.count())
    }
}
