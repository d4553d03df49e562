//! Reading a log's tail: what was committed after the newest checkpoint.
//!
//! The tail ends at the first place where no whole record continues the chain. That is a torn end, as a
//! crash leaves it, unless something behind it proves that more had been durable: then it is damage.

use super::format::{BLOCK_SIZE, RECORD_HEADER_SIZE, RecordHeader, record_checksum};
use super::{Log, Position, RING_OFFSET};
use crate::error::Error;
use crate::lsn::Lsn;
use llmdb_pager::Error as PagerError;
use llmdb_pager::storage::read_exact_at;

/// How many times a ring's bytes are read at most in search of proof that a log went on.
const READS_MAX: u64 = 8;

/// A record of the tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it begins.
    pub lsn: Lsn,
    /// The commit that it records.
    pub commit: u64,
    /// What the appender gave.
    pub payload: &'a [u8],
}

/// How a tail was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Tail {
    /// Where it ends.
    pub end: Position,
    /// How many records it has.
    pub records: u64,
    /// Bytes of the log that they take.
    pub bytes: u64,
}

impl Log {
    /// Reads all records from the log's start on, oldest first. `checkpoint` is the newest durable one.
    ///
    /// # Errors
    /// [`Error::LogDamaged`]; an error of `each`; whatever the system refuses.
    pub fn read_tail(
        &self,
        checkpoint: u64,
        each: &mut dyn FnMut(Record<'_>) -> Result<(), Error>,
    ) -> Result<Tail, Error> {
        let ring = self.read_ring()?;
        let mut at = Position { lsn: self.start, chain: self.end.chain };
        let mut tail = Tail { end: at, ..Tail::default() };
        while at.lsn - self.start < self.capacity {
            let found = self.record_at(&ring, at.lsn).filter(|(header, _)| header.chain == at.chain);
            let Some((header, record)) = found else {
                // The rest of a group's last block is empty: the next group begins at the next block.
                let next = (at.lsn + 1).next_multiple_of(BLOCK_SIZE);
                if at.lsn.is_multiple_of(BLOCK_SIZE) {
                    break;
                }
                at.lsn = next;
                continue;
            };
            let payload = &record[RECORD_HEADER_SIZE..RECORD_HEADER_SIZE + header.len as usize];
            each(Record { lsn: header.lsn, commit: header.commit, payload })?;
            at = Position { lsn: header.lsn + header.size(), chain: header.checksum };
            tail.records += 1;
            tail.end = at;
            tail.bytes = at.lsn - self.start;
        }
        // Behind a group's last record its block is zeros; anything else was a record once.
        let rest = self.bytes_at(&ring, tail.end.lsn, RECORD_HEADER_SIZE).unwrap_or_default();
        let was_record =
            !tail.end.lsn.is_multiple_of(BLOCK_SIZE) && rest.iter().take(8).any(|byte| *byte != 0);
        let group_end = tail.end.lsn.next_multiple_of(BLOCK_SIZE);
        self.check_behind(&ring, if was_record { tail.end.lsn } else { group_end }, checkpoint)?;
        tail.end.lsn = group_end;
        Ok(tail)
    }

    fn read_ring(&self) -> Result<Vec<u8>, Error> {
        let mut ring = vec![0; self.written as usize];
        read_exact_at(&*self.file, &mut ring, RING_OFFSET)
            .map_err(|e| PagerError::io(format!("reading {}", self.path.display()), e))?;
        Ok(ring)
    }

    /// The whole record at `lsn`, if one is there.
    fn record_at(&self, ring: &[u8], lsn: Lsn) -> Option<(RecordHeader, Vec<u8>)> {
        let header = RecordHeader::decode(&self.bytes_at(ring, lsn, RECORD_HEADER_SIZE)?);
        if header.lsn != lsn || header.size() > ring.len() as u64 {
            return None;
        }
        let record = self.bytes_at(ring, lsn, header.size() as usize)?;
        (record_checksum(&record, self.seed) == header.checksum).then_some((header, record))
    }

    /// `len` bytes of the ring from `lsn` on, across its turn; `None` where they were never written.
    fn bytes_at(&self, ring: &[u8], lsn: Lsn, len: usize) -> Option<Vec<u8>> {
        let first = (lsn % self.capacity) as usize;
        let before_turn = len.min(self.capacity as usize - first);
        let mut bytes = ring.get(first..first + before_turn)?.to_vec();
        bytes.extend_from_slice(ring.get(..len - before_turn)?);
        Some(bytes)
    }

    /// Looks at every block of the ring for a record that proves that the log went on past `end`.
    fn check_behind(&self, ring: &[u8], end: Lsn, checkpoint: u64) -> Result<(), Error> {
        let damaged = |lsn, what| Err(Error::LogDamaged { path: self.path.clone(), lsn, what });
        // Whole records of the last round come to one ring; a log made to harm could name more for ever.
        let mut budget = ring.len() as u64 * READS_MAX;
        for block in (0..ring.len() as u64).step_by(BLOCK_SIZE as usize) {
            let Some(header) = ring[block as usize..].get(..RECORD_HEADER_SIZE) else { break };
            let header = RecordHeader::decode(header);
            let lsn = header.lsn;
            if lsn % self.capacity != block {
                continue;
            }
            let Some(rest) = budget.checked_sub(header.size().min(ring.len() as u64)) else {
                return damaged(lsn, "it names more records than it can hold");
            };
            budget = rest;
            let Some((header, _)) = self.record_at(ring, lsn) else { continue };
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
