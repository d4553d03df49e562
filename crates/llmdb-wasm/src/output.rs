//! Output: what a map or a filter answered, item by item.
//!
//! Invariants
//! 1. Answers stand in the order of the items, one for each.

use std::ops::Range;

/// The answers of a map or a filter.
///
/// A filter answers one byte for each item, 1 where it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    bytes: Vec<u8>,
    /// Bytes of each answer; 0 where `ends` tells.
    width: usize,
    ends: Vec<usize>,
}

impl Output {
    /// An empty one, for answers of `width` bytes, or of any length where that is 0.
    pub(crate) fn new(width: usize) -> Self {
        Self { width, ..Self::default() }
    }

    /// How many answers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len().checked_div(self.width).unwrap_or(self.ends.len())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The answer to the item at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        self.bytes.get(self.range(index)?)
    }

    /// The answers in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// The bytes of all answers, one after the other.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Indices of the items that a filter kept: those whose answer begins with a byte that is not zero.
    pub fn kept(&self) -> impl Iterator<Item = usize> {
        let is_kept =
            |(index, answer): (usize, &[u8])| answer.first().is_some_and(|byte| *byte != 0).then_some(index);
        self.iter().enumerate().filter_map(is_kept)
    }

    /// Forgets the answers and keeps the room.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn range(&self, index: usize) -> Option<Range<usize>> {
        if self.width > 0 {
            return Some(index * self.width..(index + 1) * self.width);
        }
        let start = if index == 0 { 0 } else { *self.ends.get(index - 1)? };
        Some(start..*self.ends.get(index)?)
    }

    /// Takes answers of the fixed width.
    pub(crate) fn extend_fixed(&mut self, answers: &[u8]) {
        debug_assert!(answers.len().is_multiple_of(self.width.max(1)));
        self.bytes.extend_from_slice(answers);
    }

    /// Takes `count` answers of any length in the guest's layout: their ends as `u32`, then their bytes. None where
    /// the ends go backwards or beyond the bytes.
    pub(crate) fn extend(&mut self, count: usize, answers: &[u8]) -> Option<()> {
        let (ends, bytes) = answers.split_at_checked(count.checked_mul(size_of::<u32>())?)?;
        let (base, old, mut last) = (self.bytes.len(), self.ends.len(), 0);
        for end in ends.as_chunks().0 {
            let end = u32::from_le_bytes(*end) as usize;
            if end < last || end > bytes.len() {
                self.ends.truncate(old);
                return None;
            }
            last = end;
            self.ends.push(base + end);
        }
        self.bytes.extend_from_slice(bytes.get(..last)?);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(ends: &[u32], bytes: &[u8]) -> Vec<u8> {
        ends.iter().flat_map(|end| end.to_le_bytes()).chain(bytes.iter().copied()).collect()
    }

    #[test]
    fn fixed_answers_are_cut_by_their_width() {
        let mut output = Output::new(2);
        output.extend_fixed(&[0, 1, 2, 3, 4, 5]);
        assert_eq!(output.iter().collect::<Vec<_>>(), [[0, 1], [2, 3], [4, 5]]);
        assert_eq!((output.len(), output.get(3)), (3, None));
        assert_eq!(output.kept().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn answers_of_any_length_are_cut_by_their_ends() {
        let mut output = Output::new(0);
        assert!(output.extend(3, &answers(&[2, 2, 5], b"abcde")).is_some());
        assert!(output.extend(1, &answers(&[1], b"f")).is_some());
        assert_eq!(output.iter().collect::<Vec<_>>(), [&b"ab"[..], b"", b"cde", b"f"]);
        output.clear();
        assert!(output.is_empty());
    }

    #[test]
    fn ends_that_lie_are_refused() {
        for (count, lying) in [
            (1, answers(&[3], b"ab")),
            (2, answers(&[2, 1], b"ab")),
            (2, answers(&[2], b"ab")),
            (1, vec![1, 0]),
            (usize::MAX, vec![]),
        ] {
            assert!(Output::new(0).extend(count, &lying).is_none(), "{count} {lying:?}");
        }
    }
}
