//! How the past is told, and the plain trees beside it.
//!
//! Invariants
//! 1. The plain tree is put the same values in the same transactions as the past, and settled alike: so it lies as a table lies
//!    that grew for as long. The dense one is loaded in the order of its keys, so it lies in one piece.

use super::ask::Ask;
use super::case::{PastCase, not_set_up};
use super::story::{Story, key};
use crate::disk;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::measure::{Measured, Recorder};
use crate::results::Figure;
use crate::workload::Bench;
use std::fs;
use std::time::Instant;

impl PastCase {
    /// Tells the past all changes.
    pub(super) fn load(&mut self, bench: &Bench<'_>) -> Result<Measured> {
        let (story, past) = (&self.shared(bench).story, self.past()?);
        let (mut stamps, mut value) = (Vec::new(), Vec::new());
        let mut measured = tell(bench, story, "telling", &mut |commit| {
            let stamp = past.write(&mut |txn| {
                for (number, told) in story.commit(commit) {
                    story.value(told.number, &mut value);
                    txn.put(&key(number), told.from, told.to, &value)?;
                }
                Ok(())
            });
            stamps.push(stamp?);
            Ok(())
        })?;
        past.settle()?;
        if let Some(bytes) = past.bytes_in_use() {
            let share = bytes as f64 / story.user_bytes() as f64;
            measured.push(Figure::lower("bytes_per_byte", share, "x"));
        }
        let stored = disk::folder_bytes(&bench.folder.join("past"))? as f64;
        measured.push(Figure::lower("files_per_byte", stored / story.user_bytes() as f64, "x"));
        self.stamps = stamps;
        Ok(measured)
    }

    /// A plain tree or table of the same engine, in a folder of its own.
    fn open_plain(&self, bench: &Bench<'_>, name: &str) -> Result<Box<dyn Engine>> {
        let folder = bench.folder.join(name);
        make(&folder)?;
        let bytes = self.scale.keys * (self.scale.value_size as u64 + 16);
        Bench { folder: &folder, ..*bench }.open(bytes)
    }

    /// The same puts in the same transactions as [`Self::load`], settled alike, in a plain tree or table: so it grew as the
    /// history did, and of each key it has the newest value.
    pub(super) fn load_plain(&mut self, bench: &Bench<'_>) -> Result<Measured> {
        let (story, plain) = (&self.shared(bench).story, self.open_plain(bench, "plain")?);
        let mut value = Vec::new();
        let measured = tell(bench, story, "putting", &mut |commit| {
            plain.write(&mut |txn| {
                for (number, told) in story.commit(commit) {
                    story.value(told.number, &mut value);
                    txn.put(&key(number), &value)?;
                }
                Ok(())
            })
        })?;
        plain.settle()?;
        self.plain = Some(plain);
        Ok(measured)
    }

    /// The newest values in the order of their keys, in transactions of 10,000: what lies in one piece.
    pub(super) fn load_dense(&mut self, bench: &Bench<'_>) -> Result<()> {
        let (story, dense) = (&self.shared(bench).story, self.open_plain(bench, "dense")?);
        let keys: Vec<u32> = story.keys_from(story.first_key()).collect();
        let mut value = Vec::new();
        for batch in keys.chunks(10_000) {
            dense.write(&mut |txn| {
                for &number in batch {
                    let newest = story.newest(number).ok_or_else(not_set_up)?;
                    story.value(newest, &mut value);
                    txn.put(&key(number), &value)?;
                }
                Ok(())
            })?;
        }
        dense.settle()?;
        self.dense = Some(dense);
        Ok(())
    }

    /// The plain tree that a phase reads; `None` where it asks about the past.
    pub(super) fn plain_of(&self, ask: Ask) -> Result<Option<&dyn Engine>> {
        let plain = match ask {
            Ask::PlainGet | Ask::PlainScan => &self.plain,
            Ask::DenseGet | Ask::DenseScan => &self.dense,
            _ => return Ok(None),
        };
        plain.as_deref().map(Some).ok_or_else(not_set_up)
    }
}

/// Tells all commits in order, and how fast that went.
fn tell(
    bench: &Bench<'_>,
    story: &Story,
    doing: &str,
    write: &mut dyn FnMut(u32) -> Result<()>,
) -> Result<Measured> {
    let started = Instant::now();
    let (mut recorder, mut now) = (Recorder::new(started), started);
    for commit in 0..story.commits() {
        bench.stop.check()?;
        bench.news.tell(|| format!("{doing} {}: commit {commit} of {}", bench.kind.name(), story.commits()));
        write(commit)?;
        let numbers = story.numbers(commit);
        let begin = std::mem::replace(&mut now, Instant::now());
        recorder.record_many(begin, now, numbers.end - numbers.start);
    }
    let mut measured = Measured::new("put", recorder, started.elapsed());
    measured.user_bytes = story.user_bytes();
    measured.push(Figure::higher("puts", measured.per_second(), "1/s"));
    Ok(measured)
}

/// Makes a folder.
pub(super) fn make(folder: &std::path::Path) -> Result<()> {
    fs::create_dir(folder).map_err(|error| Error::io(format!("making {}", folder.display()), error))
}
