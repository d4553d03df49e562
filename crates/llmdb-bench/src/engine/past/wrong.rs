//! The past told wrongly on purpose: proves the checks of the temporal suites.

use super::{
    ChangesBody, Measurement, MeasurementBody, Past, PastReader, PastWriter, PieceBody, Point, QuestionsBody,
    RowBody, Series,
};
use crate::engine::wrong::{Fault, is_turn};
use crate::error::Result;
use std::sync::atomic::AtomicU64;

/// An engine of the past with a fault.
pub(in crate::engine) struct WrongPast {
    pub(in crate::engine) fault: Fault,
    pub(in crate::engine) inner: Box<dyn Past>,
    pub(in crate::engine) operations: AtomicU64,
}

impl WrongPast {
    fn when(&self, fault: Fault) -> Option<&AtomicU64> {
        (self.fault == fault).then_some(&self.operations)
    }
}

impl Past for WrongPast {
    fn write(&self, body: ChangesBody<'_>) -> Result<i64> {
        let operations = self.when(Fault::DropsKeys);
        self.inner.write(&mut |inner| body(&mut WrongChanges { inner, operations }))
    }

    fn read(&self, body: QuestionsBody<'_>) -> Result<()> {
        let operations = self.when(Fault::StaleReads);
        self.inner.read(&mut |inner| body(&mut WrongQuestions { inner, operations }))
    }

    fn settle(&self) -> Result<()> {
        self.inner.settle()
    }
}

struct WrongChanges<'a> {
    inner: &'a mut dyn PastWriter,
    operations: Option<&'a AtomicU64>,
}

impl PastWriter for WrongChanges<'_> {
    fn put(&mut self, key: &[u8], from: i64, to: i64, value: &[u8]) -> Result<()> {
        if is_turn(self.operations) { Ok(()) } else { self.inner.put(key, from, to, value) }
    }
}

struct WrongQuestions<'a> {
    inner: &'a mut dyn PastReader,
    operations: Option<&'a AtomicU64>,
}

impl WrongQuestions<'_> {
    /// Some questions are answered as of the beginning.
    fn point(&self, at: Point) -> Point {
        if is_turn(self.operations) { Point { known: Some(0), ..at } } else { at }
    }
}

impl PastReader for WrongQuestions<'_> {
    fn get(&mut self, key: &[u8], at: Point) -> Result<Option<&[u8]>> {
        self.inner.get(key, self.point(at))
    }

    fn scan(&mut self, from: &[u8], limit: usize, at: Point, each: RowBody<'_>) -> Result<usize> {
        self.inner.scan(from, limit, self.point(at), each)
    }

    fn timeline(
        &mut self,
        key: &[u8],
        window: (i64, i64),
        known: Option<i64>,
        each: PieceBody<'_>,
    ) -> Result<()> {
        self.inner.timeline(key, window, known, each)
    }

    fn history(&mut self, key: &[u8], valid: i64, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.inner.history(key, valid, each)
    }

    fn changed_keys(&mut self, from: i64, to: i64) -> Result<u64> {
        self.inner.changed_keys(from, to)
    }
}

/// An engine of series with a fault.
pub(in crate::engine) struct WrongSeries {
    pub(in crate::engine) fault: Fault,
    pub(in crate::engine) inner: Box<dyn Series>,
    pub(in crate::engine) operations: AtomicU64,
}

impl Series for WrongSeries {
    fn insert(&self, points: &mut [Measurement]) -> Result<()> {
        let mut kept = points.to_vec();
        if self.fault == Fault::DropsKeys {
            kept.retain(|_| !is_turn(Some(&self.operations)));
        }
        self.inner.insert(&mut kept)
    }

    fn window(&self, series: u32, from: i64, to: i64, each: MeasurementBody<'_>) -> Result<()> {
        let mut before = None;
        self.inner.window(series, from, to, &mut |time, value| {
            let stale = self.fault == Fault::StaleReads && is_turn(Some(&self.operations));
            each(time, before.filter(|_| stale).unwrap_or(value));
            before = Some(value);
        })
    }

    fn settle(&self) -> Result<()> {
        self.inner.settle()
    }
}
