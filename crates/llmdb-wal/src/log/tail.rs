//! Reading a log's tail: what was committed after the newest checkpoint.
//!
//! The tail ends at the first place where no whole record continues the chain. That is a torn end, as a
//! crash leaves it, unless something behind it proves that more had been durable: then it is damage. The tail is read
//! first, so that a replay can begin, and the rest of the ring for such a proof ([`Behind`]), beside it if the caller likes.

use super::format::{BLOCK_SIZE, RECORD_HEADER_SIZE, RecordHeader, record_checksum};
use super::ring::Ring;
use super::{Log, Position};
use crate::error::Error;
use crate::lsn::Lsn;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;

/// How many times a ring's bytes are read at most in search of proof that a log went on.
const READS_MAX: u64 = 8;

/// A ring is read in pieces of so many bytes.
const PIECE_SIZE: u64 = 1 << 20;

/// A record of the tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it begins.
    pub lsn: Lsn,
    /// The commit that it records.
    pub commit: u64,
    /// What the appender gave.
    pub payload: Cow<'a, [u8]>,
    /// Whether what it leads to in another file was flushed before it was written.
    pub is_backed: bool,
}

/// A tail as it was read, in memory.
#[derive(Debug)]
pub struct Tail {
    /// Where it ends.
    pub end: Position,
    /// Bytes of the log that its records take.
    pub bytes: u64,
    /// A record says that the log was flushed up to here.
    pub proven: Lsn,
    /// Where it was cut off ([`Tail::truncate`]).
    pub(super) cut: Option<Lsn>,
    ring: RingBytes,
    /// Where records begin, and what their headers say.
    records: Vec<RecordHeader>,
}

impl Tail {
    /// How many records it has.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it has no record.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The records, oldest first.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = Record<'_>> + ExactSizeIterator {
        self.records.iter().map(|header| {
            let at = header.lsn + RECORD_HEADER_SIZE as u64;
            let payload = self.ring.bytes_at(at, header.len as usize).unwrap_or_default();
            Record { lsn: header.lsn, commit: header.commit, payload, is_backed: header.is_backed }
        })
    }

    /// Keeps only the first `count` records; what follows is taken for a torn end.
    pub fn truncate(&mut self, count: usize) {
        let Some(first) = self.records.get(count) else { return };
        self.cut = Some(first.lsn);
        self.end = Position { lsn: first.lsn.next_multiple_of(BLOCK_SIZE), chain: first.chain };
        self.records.truncate(count);
    }

    /// Its blocks from `from` on as they shall stand: what was cut off, or never written, is zero.
    pub(super) fn blocks_from(&self, from: Lsn) -> Vec<u8> {
        let size = (self.end.lsn - from) as usize;
        let kept = self.cut.map_or(size, |cut| (cut.saturating_sub(from) as usize).min(size));
        let mut blocks = Vec::with_capacity(size);
        for byte in (0..kept).step_by(BLOCK_SIZE as usize) {
            let len = (kept - byte).min(BLOCK_SIZE as usize);
            let whole = self.ring.bytes_at(from + byte as u64, len);
            // A file cut short may end in a group's last block, behind its records.
            let part = whole.or_else(|| self.ring.bytes_up_to(from + byte as u64, len));
            blocks.extend_from_slice(&part.unwrap_or_default());
            blocks.resize(byte + len, 0);
        }
        blocks.resize(size, 0);
        blocks
    }

    /// Where groups begin, as far as blocks tell, and their first commits.
    pub(super) fn groups(&self) -> VecDeque<(Lsn, u64)> {
        let starts = self.records.iter().filter(|header| header.lsn.is_multiple_of(BLOCK_SIZE));
        starts.map(|header| (header.lsn, header.commit)).collect()
    }
}

impl Log {
    /// Reads all records from the log's start on, and looks for proof that there were more. `checkpoint` is the newest
    /// durable one.
    ///
    /// # Errors
    /// [`Error::LogDamaged`]; whatever the system refuses.
    pub fn read_tail(&self, checkpoint: u64) -> Result<Tail, Error> {
        let (tail, behind) = self.read_records(checkpoint)?;
        behind.check(&tail)?;
        Ok(tail)
    }

    /// As [`Log::read_tail`], but for the look behind the tail: nothing of it may be served, nor written, before
    /// [`Behind::check`] has answered.
    ///
    /// # Errors
    /// Whatever the system refuses.
    pub fn read_records(&self, checkpoint: u64) -> Result<(Tail, Behind<'_>), Error> {
        let (start, first) = {
            let state = self.state();
            (state.start, state.flushed)
        };
        let ring = RingBytes::unread(&self.ring, self.seed);
        let mut at = first;
        let mut tail = Tail { end: at, bytes: 0, proven: start, cut: None, ring, records: Vec::new() };
        while at.lsn - start < self.ring.capacity {
            tail.ring.read_record(&self.ring, at.lsn)?;
            let found = tail.ring.record_at(at.lsn).filter(|header| header.chain == at.chain);
            let Some(header) = found else {
                // The rest of a group's last block is empty: the next group begins at the next block.
                let next = (at.lsn + 1).next_multiple_of(BLOCK_SIZE);
                if at.lsn.is_multiple_of(BLOCK_SIZE) {
                    break;
                }
                at.lsn = next;
                continue;
            };
            tail.proven = tail.proven.max(header.flushed);
            at = Position { lsn: header.lsn + header.size(), chain: header.checksum };
            tail.records.push(header);
            tail.end = at;
            tail.bytes = at.lsn - start;
        }
        // Behind a group's last record its block is zeros; anything else was a record once.
        tail.ring.read(&self.ring, tail.end.lsn, RECORD_HEADER_SIZE as u64)?;
        let rest = tail.ring.bytes_at(tail.end.lsn, RECORD_HEADER_SIZE).unwrap_or_default();
        let was_record =
            !tail.end.lsn.is_multiple_of(BLOCK_SIZE) && rest.iter().take(8).any(|byte| *byte != 0);
        let group_end = tail.end.lsn.next_multiple_of(BLOCK_SIZE);
        let end = if was_record { tail.end.lsn } else { group_end };
        tail.end.lsn = group_end;
        tail.proven = tail.proven.min(group_end);
        Ok((tail, Behind { log: self, end, checkpoint }))
    }
}

/// What is left to look at once a tail was read.
#[derive(Debug)]
#[must_use = "a tail that was not checked may be damaged"]
pub struct Behind<'l> {
    log: &'l Log,
    end: Lsn,
    checkpoint: u64,
}

impl Behind<'_> {
    /// Reads the rest of the ring, and looks at every block of it for a record that proves that the log went on past the
    /// tail's end.
    ///
    /// # Errors
    /// As [`Log::read_tail`].
    pub fn check(&self, tail: &Tail) -> Result<(), Error> {
        let Self { log, end, checkpoint } = *self;
        let mut ring = tail.ring.clone();
        ring.read_all(&log.ring)?;
        let damaged = |lsn, what| Err(Error::LogDamaged { path: log.ring.path().into(), lsn, what });
        // Whole records of the last round come to one ring; a log made to harm could name more for ever.
        let mut budget = ring.bytes.len() as u64 * READS_MAX;
        for block in (0..ring.bytes.len() as u64).step_by(BLOCK_SIZE as usize) {
            let Some(header) = ring.bytes[block as usize..].get(..RECORD_HEADER_SIZE) else { break };
            let header = RecordHeader::decode(header);
            let lsn = header.lsn;
            if lsn % ring.capacity != block {
                continue;
            }
            let Some(rest) = budget.checked_sub(header.size().min(ring.bytes.len() as u64)) else {
                return damaged(lsn, "it names more records than it can hold");
            };
            budget = rest;
            let Some(header) = ring.record_at(lsn) else { continue };
            if header.checkpoint > checkpoint {
                return damaged(lsn, "it continues a newer checkpoint than the data file holds");
            }
            if header.lsn >= end && header.flushed > end {
                return damaged(end, "a record that was flushed is broken, and later ones follow it");
            }
        }
        Ok(())
    }
}

/// What was ever written of a ring, as far as it was read: the rest is zeros.
#[derive(Debug)]
struct RingBytes {
    bytes: Vec<u8>,
    /// Of each piece, whether it was read.
    is_read: Vec<bool>,
    capacity: u64,
    seed: u64,
}

impl Clone for RingBytes {
    /// Only what was read is copied, and takes memory.
    fn clone(&self) -> Self {
        let mut bytes = vec![0; self.bytes.len()];
        let pieces = self.bytes.chunks(PIECE_SIZE as usize).zip(&self.is_read);
        for (to, (from, is_read)) in bytes.chunks_mut(PIECE_SIZE as usize).zip(pieces) {
            if *is_read {
                to.copy_from_slice(from);
            }
        }
        Self { bytes, is_read: self.is_read.clone(), capacity: self.capacity, seed: self.seed }
    }
}

impl RingBytes {
    /// Nothing is read yet.
    fn unread(ring: &Ring, seed: u64) -> Self {
        let len = ring.written();
        let is_read = vec![false; len.div_ceil(PIECE_SIZE) as usize];
        Self { bytes: vec![0; len as usize], is_read, capacity: ring.capacity, seed }
    }

    /// Reads what was not read of `len` bytes from `lsn` on, as far as they were ever written.
    fn read(&mut self, ring: &Ring, lsn: Lsn, len: u64) -> Result<(), Error> {
        let first = lsn % self.capacity;
        let end = first + len.min(self.capacity);
        self.read_pieces(ring, first..end.min(self.capacity))?;
        self.read_pieces(ring, 0..end.saturating_sub(self.capacity))
    }

    /// Reads the record at `lsn`, if its header says that one is there.
    fn read_record(&mut self, ring: &Ring, lsn: Lsn) -> Result<(), Error> {
        self.read(ring, lsn, RECORD_HEADER_SIZE as u64)?;
        let header = self.bytes_at(lsn, RECORD_HEADER_SIZE).map(|bytes| RecordHeader::decode(&bytes));
        match header.filter(|header| header.lsn == lsn && header.size() <= self.bytes.len() as u64) {
            Some(header) => self.read(ring, lsn, header.size()),
            None => Ok(()),
        }
    }

    fn read_all(&mut self, ring: &Ring) -> Result<(), Error> {
        ring.will_need_all();
        self.read_pieces(ring, 0..self.bytes.len() as u64)
    }

    /// Reads pieces with bytes of a range of the ring.
    fn read_pieces(&mut self, ring: &Ring, range: Range<u64>) -> Result<(), Error> {
        let pieces = self.bytes.chunks_mut(PIECE_SIZE as usize).zip(&mut self.is_read).enumerate();
        let (first, end) = (range.start / PIECE_SIZE, range.end.div_ceil(PIECE_SIZE));
        for (number, (bytes, is_read)) in pieces.skip(first as usize).take(end.saturating_sub(first) as usize)
        {
            if !*is_read {
                ring.read_into(bytes, number as u64 * PIECE_SIZE)?;
                *is_read = true;
            }
        }
        Ok(())
    }

    /// The header of the whole record at `lsn`, if one is there.
    fn record_at(&self, lsn: Lsn) -> Option<RecordHeader> {
        let header = RecordHeader::decode(&self.bytes_at(lsn, RECORD_HEADER_SIZE)?);
        if header.lsn != lsn || header.size() > self.bytes.len() as u64 {
            return None;
        }
        let record = self.bytes_at(lsn, header.size() as usize)?;
        (record_checksum(&record, self.seed) == header.checksum).then_some(header)
    }

    /// Of `len` bytes from `lsn` on those before the end of what was written.
    fn bytes_up_to(&self, lsn: Lsn, len: usize) -> Option<Cow<'_, [u8]>> {
        let first = (lsn % self.capacity) as usize;
        Some(self.bytes.get(first..self.bytes.len().min(first + len))?.into())
    }

    /// `len` bytes of the ring from `lsn` on, across its turn; `None` where they were never written.
    fn bytes_at(&self, lsn: Lsn, len: usize) -> Option<Cow<'_, [u8]>> {
        let first = (lsn % self.capacity) as usize;
        let before_turn = len.min(self.capacity as usize - first);
        let head = self.bytes.get(first..first + before_turn)?;
        if before_turn == len {
            return Some(head.into());
        }
        let mut bytes = head.to_vec();
        bytes.extend_from_slice(self.bytes.get(..len - before_turn)?);
        Some(bytes.into())
    }
}
