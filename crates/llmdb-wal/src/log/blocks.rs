//! Memory of a group: bytes that begin where a device takes them from, so that they need not be copied to be written.
//!
//! Invariants
//! 1. The first byte stands at a multiple of [`DIRECT_ALIGN`], however many there are.

use llmdb_pager::storage::DIRECT_ALIGN;
use std::ops::{Deref, DerefMut};

/// Memory that is kept for the next group is no larger than this.
const KEPT_MAX: usize = 4 << 20;

/// Bytes that grow.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    memory: Vec<u8>,
    /// Where they begin in `memory`.
    start: usize,
    /// How many there is room for, wherever the memory lies: so that growing does not hang on chance.
    room: usize,
}

impl Blocks {
    /// Appends.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.memory.extend_from_slice(bytes);
    }

    /// Makes it so long: cuts, or appends zeros.
    pub(super) fn resize(&mut self, len: usize) {
        self.reserve(len.saturating_sub(self.len()));
        self.memory.resize(self.start + len, 0);
    }

    /// Makes room for so many bytes more, and up to as many again: groups of about one size then find it there.
    pub(super) fn reserve(&mut self, more: usize) {
        if self.len() + more <= self.room {
            return;
        }
        let room = (self.len() + more).next_power_of_two();
        let mut memory: Vec<u8> = Vec::with_capacity(room + DIRECT_ALIGN);
        let start = memory.as_ptr().align_offset(DIRECT_ALIGN);
        memory.resize(start, 0);
        memory.extend_from_slice(self);
        (self.memory, self.start, self.room) = (memory, start, room);
    }

    /// Forgets the bytes and keeps the memory, where it is not much.
    pub(super) fn clear(&mut self) {
        if self.memory.capacity() > KEPT_MAX {
            *self = Self::default();
        }
        self.memory.truncate(self.start);
    }
}

impl Deref for Blocks {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..]
    }
}

impl DerefMut for Blocks {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_as_they_are_and_begin_where_they_should() {
        let (mut blocks, mut model) = (Blocks::default(), Vec::new());
        for round in 0..40_usize {
            match round % 4 {
                0 => blocks.resize(model.len() + 700),
                3 if round > 30 => blocks.resize(model.len() / 2),
                _ => blocks.extend(&vec![round as u8; round * 97]),
            }
            match round % 4 {
                0 => model.resize(model.len() + 700, 0),
                3 if round > 30 => model.truncate(model.len() / 2),
                _ => model.extend(vec![round as u8; round * 97]),
            }
            assert_eq!(*blocks, *model);
            assert_eq!(blocks.as_ptr().align_offset(DIRECT_ALIGN), 0);
        }
        blocks.clear();
        assert!(blocks.is_empty());
        blocks.extend(b"again");
        assert_eq!((&*blocks, blocks.as_ptr().align_offset(DIRECT_ALIGN)), (&b"again"[..], 0));
    }
}
