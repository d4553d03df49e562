//! What a case works with: its engine, its folder, the seed, and the news that the run is over.

use crate::disk;
use crate::engine::{Counts, Engine, EngineKind, OpenOptions};
use crate::error::{Error, Result};
use crate::measure::{Measured, Recorder};
use crate::results::{Durability, Probe};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Says that a run shall end: clones share it.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Ends the run.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it shall end.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// # Errors
    /// [`Error::Interrupted`] if the run shall end.
    pub fn check(&self) -> Result<()> {
        if self.is_stopped() { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// What is told of a step that takes long: clones share the listener.
#[derive(Clone, Default)]
pub struct News(Arc<Mutex<Listening>>);

type Listener = Box<dyn FnMut(&str) + Send>;

#[derive(Default)]
struct Listening {
    listener: Option<Listener>,
    last: Option<Instant>,
}

/// News are not told more often than this.
const NEWS_EVERY: Duration = Duration::from_secs(5);

impl News {
    /// Tells `listener` from now on.
    pub fn listen(&self, listener: impl FnMut(&str) + Send + 'static) {
        self.locked().listener = Some(Box::new(listener));
    }

    /// Tells, unless something was told a moment ago.
    pub fn tell(&self, text: impl FnOnce() -> String) {
        let mut listening = self.locked();
        if listening.last.is_some_and(|last| last.elapsed() < NEWS_EVERY) {
            return;
        }
        if let Some(listener) = &mut listening.listener {
            listener(&text());
            listening.last = Some(Instant::now());
        }
    }

    fn locked(&self) -> MutexGuard<'_, Listening> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a case works with.
#[derive(Clone, Copy)]
pub struct Bench<'a> {
    /// The engine.
    pub kind: &'a dyn EngineKind,
    /// A folder of the case's own.
    pub folder: &'a Path,
    /// When a commit counts as done.
    pub durability: Durability,
    /// The seed of the run.
    pub seed: u64,
    /// What the storage can do, if it was measured.
    pub probe: Option<Probe>,
    /// This program, for workloads that need a process of their own.
    pub program: Option<&'a Path>,
    /// The news that the run is over.
    pub stop: &'a Stop,
    /// Who wants to know how a long step goes on.
    pub news: &'a News,
}

/// What one thread of a round returns.
#[derive(Debug)]
pub struct Done {
    /// What it recorded.
    pub recorder: Recorder,
    /// Its acknowledged commits.
    pub commits: u64,
    /// Bytes of keys and values that it wrote.
    pub user_bytes: u64,
}

impl Done {
    /// Of a thread that only read.
    pub fn reading(recorder: Recorder) -> Self {
        Self { recorder, commits: 0, user_bytes: 0 }
    }
}

/// When a thread begins and ends.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// When all threads began.
    pub started: Instant,
    /// When they should be done.
    pub deadline: Instant,
    stop: &'a Stop,
}

impl<'a> Span<'a> {
    /// From `started` on for `budget`.
    pub fn new(started: Instant, budget: Duration, stop: &'a Stop) -> Self {
        Self { started, deadline: started + budget, stop }
    }

    /// Whether to go on, as of `now`.
    pub fn goes_on(&self, now: Instant) -> bool {
        now < self.deadline && !self.stop.is_stopped()
    }
}

impl Bench<'_> {
    /// Opens or creates the case's database.
    ///
    /// # Errors
    /// The engine's own.
    pub fn open(&self, bytes_max: u64) -> Result<Box<dyn Engine>> {
        self.open_as(self.durability, bytes_max)
    }

    /// The same with another durability, such as for loading.
    ///
    /// # Errors
    /// The engine's own.
    pub fn open_as(&self, durability: Durability, bytes_max: u64) -> Result<Box<dyn Engine>> {
        self.kind.open(self.folder, &OpenOptions { durability, bytes_max })
    }

    /// A durability to load with, where the measured part does not write.
    ///
    /// # Errors
    /// [`Error::NotOffered`] by an engine that cannot write.
    pub fn loading(&self) -> Result<Durability> {
        let all = [Durability::Sync, Durability::NoLog, Durability::Interval, Durability::None];
        all.into_iter().find(|&durability| self.kind.offers(durability)).ok_or_else(|| Error::NotOffered {
            engine: self.kind.name().to_owned(),
            what: "writing".to_owned(),
        })
    }

    /// Runs `work` in `threads` threads for `budget`, and joins what they recorded.
    ///
    /// # Errors
    /// The first error of a thread.
    pub fn threads(
        &self,
        operation: &'static str,
        threads: usize,
        budget: Duration,
        work: impl Fn(usize, Span<'_>) -> Result<Done> + Sync,
    ) -> Result<Measured> {
        let started = Instant::now();
        let span = Span::new(started, budget, self.stop);
        let done: Vec<Result<Done>> = if threads == 1 {
            vec![work(0, span)]
        } else {
            thread::scope(|scope| {
                let work = &work;
                let running: Vec<_> =
                    (0..threads).map(|thread| scope.spawn(move || work(thread, span))).collect();
                running.into_iter().map(join).collect()
            })
        };
        let elapsed = started.elapsed();
        let mut all = Recorder::new(started);
        let (mut commits, mut user_bytes) = (0, 0);
        for done in done {
            let done = done?;
            all.merge(&done.recorder);
            commits += done.commits;
            user_bytes += done.user_bytes;
        }
        let mut measured = Measured::new(operation, all, elapsed);
        measured.commits = commits;
        measured.user_bytes = user_bytes;
        measured.commits_per_flush = threads as u64;
        Ok(measured)
    }
}

fn join(running: thread::ScopedJoinHandle<'_, Result<Done>>) -> Result<Done> {
    running.join().unwrap_or_else(|_| Err(Error::WrongAnswer("a thread of the workload panicked".to_owned())))
}

/// Flushes and bytes around a round, from the engine where it counts and from the device where it does not.
#[derive(Debug)]
pub struct Around {
    engine: Counts,
    device: Option<disk::DeviceCounts>,
}

impl Around {
    /// Before the round.
    pub fn begin(engine: &dyn Engine, folder: &Path) -> Self {
        Self { engine: engine.counts(), device: disk::device_counts(folder) }
    }

    /// After the round: notes flushes in `measured`. The device counts everybody's flushes, so there a
    /// skipped one may hide, but an engine that never flushes shows on a machine at rest.
    pub fn end(self, engine: &dyn Engine, folder: &Path, measured: &mut Measured) {
        let (now, device) = (engine.counts(), disk::device_counts(folder));
        let own = now.flushes.zip(self.engine.flushes);
        measured.flushes = flushes_between(own, self.device.zip(device));
        measured.bytes_written =
            now.bytes_written.zip(self.engine.bytes_written).map(|(now, before)| now.saturating_sub(before));
    }
}

/// The engine's own count where it has one, else the device's; `None` where neither counts.
fn flushes_between(
    own: Option<(u64, u64)>,
    device: Option<(disk::DeviceCounts, disk::DeviceCounts)>,
) -> Option<u64> {
    let own = own.map(|(now, before)| now.saturating_sub(before));
    own.or_else(|| device.and_then(|(before, now)| Some(now.flushes?.saturating_sub(before.flushes?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_counts_no_flushes_is_held_to_the_device_s() {
        let device = |flushes| disk::DeviceCounts { bytes_written: 0, flushes };
        let counting = Some((device(Some(100)), device(Some(103))));
        assert_eq!(flushes_between(Some((7, 5)), counting), Some(2));
        assert_eq!(flushes_between(None, counting), Some(3));
        assert_eq!(flushes_between(None, Some((device(None), device(None)))), None);
        assert_eq!(flushes_between(None, None), None);
        // And three flushes for ten commits of one thread are an error.
        let mut measured = Measured::new("commit", Recorder::new(Instant::now()), Duration::from_secs(1));
        measured.commits = 10;
        measured.flushes = flushes_between(None, counting);
        assert!(measured.flushes.unwrap() < measured.flushes_min(Durability::Sync));
    }
}
