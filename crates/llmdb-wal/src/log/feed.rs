//! Reading records again that were flushed: a feed of what was committed, from the ring, for as long as it is there.
//!
//! Invariants
//! 1. Only durable records are fed, in order, without a gap.
//! 2. A group that was overwritten while it was read is not believed: it is looked for again, and gone.

use super::format::{BLOCK_SIZE, RECORD_HEADER_SIZE, RecordHeader, record_checksum};
use super::{Log, Record};
use crate::error::Error;
use crate::lsn::Lsn;
use std::ops::Range;

impl Log {
    /// The oldest commit that [`Log::read_from`] can begin with; `None` where there is none.
    pub fn oldest_commit(&self) -> Option<u64> {
        self.state().groups.front().map(|(_, commit)| *commit)
    }

    /// Gives `each` the durable records from commit `from` on, until it says `false` or there are no more.
    ///
    /// # Errors
    /// [`Error::CommitsGone`] where `from` is not in the ring any more; [`Error::LogDamaged`]; an error of `each`.
    pub fn read_from(
        &self,
        from: u64,
        each: &mut dyn FnMut(Record<'_>) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let mut wanted = from;
        while let Some(place) = self.group_of(wanted)? {
            let bytes = self.ring.read_at(place.start, (place.end - place.start) as usize)?;
            if self.group_of(wanted)?.is_none_or(|again| again.start != place.start) {
                continue;
            }
            let before = wanted;
            let mut at = 0;
            while let Some((header, record)) = self.record_in(&bytes, place.start, at) {
                at += record.len();
                if header.commit < wanted {
                    continue;
                }
                let payload = record[RECORD_HEADER_SIZE..RECORD_HEADER_SIZE + header.len as usize].into();
                wanted = header.commit + 1;
                let RecordHeader { lsn, commit, is_backed, .. } = header;
                if !each(Record { lsn, commit, payload, is_backed })? {
                    return Ok(());
                }
            }
            if wanted == before {
                let (path, what) = (self.ring.path().into(), "a record that was flushed cannot be read");
                return Err(Error::LogDamaged { path, lsn: place.start + at as u64, what });
            }
        }
        Ok(())
    }

    /// Where the durable group stands that has a commit; `None` where that is not durable yet.
    fn group_of(&self, commit: u64) -> Result<Option<Range<Lsn>>, Error> {
        let state = self.state();
        let behind = state.groups.partition_point(|(_, first)| *first <= commit);
        let Some(place) = behind.checked_sub(1) else {
            return match state.groups.front() {
                Some((_, oldest)) => Err(Error::CommitsGone { wanted: commit, oldest: *oldest }),
                None => Ok(None),
            };
        };
        let end = state.groups.get(behind).map_or(state.open.start, |(start, _)| *start);
        let start = state.groups[place].0;
        // The last durable group may hold nothing from this commit on.
        let is_last = state.groups.get(behind).is_none_or(|(start, _)| *start >= state.flushed.lsn);
        let is_durable = end <= state.flushed.lsn && start < end;
        Ok((is_durable && !(is_last && commit > state.newest_durable)).then_some(start..end))
    }

    /// The whole record at `at` of a group's bytes.
    fn record_in<'b>(&self, bytes: &'b [u8], start: Lsn, at: usize) -> Option<(RecordHeader, &'b [u8])> {
        let header = RecordHeader::decode(bytes.get(at..at + RECORD_HEADER_SIZE)?);
        let record = bytes.get(at..at.checked_add(usize::try_from(header.size()).ok()?)?)?;
        let fits = header.lsn == start + at as u64 && record_checksum(record, self.seed) == header.checksum;
        debug_assert!(start.is_multiple_of(BLOCK_SIZE));
        fits.then_some((header, record))
    }
}
