//! Groups: records that are flushed together.
//!
//! Invariants
//! 1. A group begins at a block's start, and its last block belongs to it alone: no flush touches a block that
//!    holds anything flushed before.
//! 2. Records are sealed in order, each with the checksum of the one before it, when the group is written:
//!    so each says truly how far the log was flushed then.

use super::blocks::Blocks;
use super::format::{BLOCK_SIZE, begin_record, record_size, seal_record};
use crate::lsn::Lsn;

/// Records that were appended since the last group was taken.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Where it begins.
    pub(super) start: Lsn,
    /// Counts groups, so that who waits knows for which.
    pub(super) number: u32,
    bytes: Blocks,
    /// How far its records are sealed.
    sealed: usize,
    pub(super) record_count: u64,
    /// The newest commit in it; 0 = none.
    pub(super) newest_commit: u64,
    /// Whether a record of it leads to bytes of another file that are not flushed yet.
    pub(super) leads_elsewhere: bool,
}

impl Group {
    /// An empty one.
    pub(super) fn at(start: Lsn) -> Self {
        Self { start, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Where the next record goes.
    pub(super) fn end(&self) -> Lsn {
        self.start + self.bytes.len() as u64
    }

    /// Bytes of its blocks, with one more record of such a payload in it.
    pub(super) fn size_with(&self, payload: usize) -> u64 {
        (self.bytes.len() as u64 + record_size(payload)).next_multiple_of(BLOCK_SIZE)
    }

    pub(super) fn push(
        &mut self,
        checkpoint: u64,
        commit: u64,
        payload: &[u8],
        leads_elsewhere: bool,
    ) -> Lsn {
        let lsn = self.end();
        begin_record(&mut self.bytes, lsn, checkpoint, commit, payload);
        self.record_count += 1;
        self.newest_commit = commit;
        self.leads_elsewhere |= leads_elsewhere;
        lsn
    }

    /// Seals what is not sealed yet behind a record with the checksum `chain`; answers the last one's checksum.
    ///
    /// `is_flushed_first`: what its records lead to is flushed before they are written.
    pub(super) fn seal(&mut self, seed: u64, mut chain: u64, flushed: Lsn, is_flushed_first: bool) -> u64 {
        while self.sealed < self.bytes.len() {
            let is_backed = is_flushed_first || !self.leads_elsewhere;
            let (checksum, size) =
                seal_record(&mut self.bytes[self.sealed..], seed, chain, flushed, is_backed);
            chain = checksum;
            self.sealed += size;
        }
        chain
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Lends its blocks to `write`, the last one filled with zeros, from the one on that has byte `from` of it, which the
    /// first argument says. All must be sealed.
    pub(super) fn with_blocks<T>(&mut self, from: usize, write: impl FnOnce(u64, &[u8]) -> T) -> T {
        let (len, block) = (self.bytes.len(), BLOCK_SIZE as usize);
        let first = from / block * block;
        self.bytes.resize(len.next_multiple_of(block));
        let answer = write(first as u64, &self.bytes[first..]);
        self.bytes.resize(len);
        answer
    }

    /// Its memory.
    pub(super) fn into_memory(self) -> Blocks {
        self.bytes
    }

    /// An empty group behind this one, in memory that an earlier one had.
    pub(super) fn following(&self, mut memory: Blocks) -> Self {
        memory.clear();
        Self {
            start: self.end().next_multiple_of(BLOCK_SIZE),
            number: self.number.wrapping_add(1),
            bytes: memory,
            ..Self::default()
        }
    }
}
