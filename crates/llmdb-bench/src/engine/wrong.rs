//! Engines that are wrong on purpose. Each must fail every run that could notice: they prove the checks.

use super::no_flush::without_flushes;
use super::past::{Past, Series, WrongPast, WrongSeries};
use super::{Engine, EngineKind, Llmdb, OpenOptions, ReadBody, Reader, ScanBody, WriteBody, Writer};
use crate::error::Result;
use crate::results::Durability;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// One fault in so many operations.
const EVERY: u64 = 16;

/// What a wrong engine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Acknowledges some writes without doing them.
    DropsKeys,
    /// Answers some reads with what it read before.
    StaleReads,
    /// Acknowledges commits that are not on the device.
    SkipsFlushes,
    /// Panics when it is closed.
    PanicsAtClose,
}

/// LLMDB with a fault.
#[derive(Debug)]
pub struct Wrong {
    fault: Fault,
    inner: Llmdb,
}

impl Wrong {
    /// LLMDB with that fault.
    pub fn new(fault: Fault) -> Self {
        let inner = match fault {
            Fault::SkipsFlushes => Llmdb::through(without_flushes),
            Fault::DropsKeys | Fault::StaleReads | Fault::PanicsAtClose => Llmdb::default(),
        };
        Self { fault, inner }
    }
}

impl EngineKind for Wrong {
    fn name(&self) -> &'static str {
        match self.fault {
            Fault::DropsKeys => "wrong-drops-keys",
            Fault::StaleReads => "wrong-stale-reads",
            Fault::SkipsFlushes => "wrong-skips-flushes",
            Fault::PanicsAtClose => "wrong-panics-at-close",
        }
    }

    fn version(&self) -> String {
        self.inner.version()
    }

    fn settings(&self, durability: Durability) -> String {
        format!("{}, wrong on purpose", self.inner.settings(durability))
    }

    fn offers(&self, durability: Durability) -> bool {
        self.inner.offers(durability)
    }

    fn open(&self, folder: &Path, options: &OpenOptions) -> Result<Box<dyn Engine>> {
        let inner = self.inner.open(folder, options)?;
        Ok(Box::new(WrongEngine { fault: self.fault, inner, operations: AtomicU64::new(0) }))
    }

    fn keeps_past(&self) -> bool {
        true
    }

    fn open_past(&self, folder: &Path, options: &OpenOptions) -> Result<Box<dyn Past>> {
        let inner = self.inner.open_past(folder, options)?;
        Ok(Box::new(WrongPast { fault: self.fault, inner, operations: AtomicU64::new(0) }))
    }

    fn open_series(&self, folder: &Path, options: &OpenOptions) -> Result<Box<dyn Series>> {
        let inner = self.inner.open_series(folder, options)?;
        Ok(Box::new(WrongSeries { fault: self.fault, inner, operations: AtomicU64::new(0) }))
    }
}

struct WrongEngine {
    fault: Fault,
    inner: Box<dyn Engine>,
    operations: AtomicU64,
}

impl Engine for WrongEngine {
    fn read(&self, body: ReadBody<'_>) -> Result<()> {
        let stale = self.fault == Fault::StaleReads;
        self.inner.read(&mut |inner| {
            let before = Vec::new();
            body(&mut WrongReader { inner, before, operations: stale.then_some(&self.operations) })
        })
    }

    fn write(&self, body: WriteBody<'_>) -> Result<()> {
        let drops = self.fault == Fault::DropsKeys;
        self.inner.write(&mut |inner| {
            body(&mut WrongWriter { inner, operations: drops.then_some(&self.operations) })
        })
    }

    fn settle(&self) -> Result<()> {
        self.inner.settle()
    }

    fn compact_into(&self, folder: &Path) -> Result<()> {
        self.inner.compact_into(folder)
    }

    fn checkpoint_number(&self) -> Option<u64> {
        self.inner.checkpoint_number()
    }

    fn counts(&self) -> super::Counts {
        self.inner.counts()
    }
}

impl Drop for WrongEngine {
    fn drop(&mut self) {
        if self.fault == Fault::PanicsAtClose && !std::thread::panicking() {
            panic!("on purpose");
        }
    }
}

/// Whether this operation is one that goes wrong.
pub(super) fn is_turn(operations: Option<&AtomicU64>) -> bool {
    operations.is_some_and(|count| count.fetch_add(1, Ordering::Relaxed) % EVERY == EVERY - 1)
}

struct WrongReader<'a> {
    inner: &'a mut dyn Reader,
    before: Vec<u8>,
    operations: Option<&'a AtomicU64>,
}

/// What a snapshot that was never renewed might say: an empty one, if nothing was read before.
fn stale<'b>(before: &'b mut Vec<u8>, now: Option<&[u8]>, turn: bool) -> Option<&'b [u8]> {
    let now = now?;
    if turn {
        return (!before.is_empty()).then_some(before.as_slice());
    }
    before.clear();
    before.extend_from_slice(now);
    Some(before)
}

impl Reader for WrongReader<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<&[u8]>> {
        let turn = is_turn(self.operations);
        Ok(stale(&mut self.before, self.inner.get(key)?, turn))
    }

    fn scan(&mut self, from: &[u8], limit: usize, each: ScanBody<'_>) -> Result<usize> {
        let (before, operations) = (&mut self.before, self.operations);
        self.inner.scan(
            from,
            limit,
            &mut |key, value| match stale(before, Some(value), is_turn(operations)) {
                Some(value) => each(key, value),
                None => Ok(()),
            },
        )
    }
}

struct WrongWriter<'a> {
    inner: &'a mut dyn Writer,
    operations: Option<&'a AtomicU64>,
}

impl Writer for WrongWriter<'_> {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        self.inner.get(key, value)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if is_turn(self.operations) { Ok(()) } else { self.inner.put(key, value) }
    }

    fn remove(&mut self, key: &[u8]) -> Result<bool> {
        self.inner.remove(key)
    }
}
