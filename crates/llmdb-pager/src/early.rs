//! Large writes set out for the device while the transaction goes on, so that its flush finds less to do: the device
//! works beside the processor and not after it.
//!
//! Invariants
//! 1. Nothing is promised by it: what is durable, and what has failed, only the flush says.
//! 2. Small transactions are left alone: only stretches of [`STRETCH_SIZE`] and more are sent.
//!
//! Not here: pieces that somebody waits for (`rows`, paced).

use crate::snapshot::Core;
use std::ops::Range;

/// The least that is sent at once, in bytes: smaller requests cost the device more than they save.
pub(crate) const STRETCH_SIZE: u64 = 1 << 20;

/// What a transaction wrote, in order, and has not sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unsent(Range<u64>);

impl Unsent {
    /// Notes a write, in bytes of the file; what to send now, if it is time.
    pub(crate) fn note(&mut self, written: Range<u64>, slack: u64) -> Option<Range<u64>> {
        let goes_on = written.start >= self.0.end && written.start - self.0.end < slack;
        self.0 = if goes_on { self.0.start..written.end } else { written };
        (self.0.end - self.0.start >= STRETCH_SIZE).then(|| {
            let end = self.0.end;
            std::mem::replace(&mut self.0, end..end)
        })
    }
}

impl Core {
    /// Asks the system to begin to write a range of the file, in bytes.
    pub(crate) fn begin_to_send(&self, range: &Range<u64>) {
        self.file.begin_write_back(range.start, range.end - range.start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_sent_once_and_small_or_scattered_writes_never() {
        let mut unsent = Unsent::default();
        assert_eq!(unsent.note(0..STRETCH_SIZE - 5_000, 4_096), None);
        // The gap behind a value that does not fill its last page.
        assert_eq!(unsent.note(STRETCH_SIZE - 4_096..STRETCH_SIZE, 4_096), Some(0..STRETCH_SIZE));
        assert_eq!(unsent.note(STRETCH_SIZE..STRETCH_SIZE + 4_096, 4_096), None);
        assert_eq!(unsent.note(9 * STRETCH_SIZE..9 * STRETCH_SIZE + 4_096, 4_096), None);
        assert_eq!(unsent.note(0..STRETCH_SIZE - 1, 4_096), None);
        assert_eq!(
            unsent.note(4 * STRETCH_SIZE..5 * STRETCH_SIZE, 4_096),
            Some(4 * STRETCH_SIZE..5 * STRETCH_SIZE)
        );
    }
}
