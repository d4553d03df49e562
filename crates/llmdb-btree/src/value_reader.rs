//! Reading a value piece by piece.
//!
//! What is promised: a value of up to 1 MiB is checked against its hash before the first byte. A larger one,
//! if it was not found intact before, is checked while it is read from its start to its end: the last piece is
//! handed out only if the hash fits. Once a reader seeks elsewhere, nothing is checked any more, unless
//! [`ValueReader::verify`] is asked to.

use crate::error::Error;
use crate::source::Source;
use crate::tree::Tree;
use crate::value::{LargeRef, Stored};
use std::io::{self, Read, Seek, SeekFrom};
use xxhash_rust::xxh3::Xxh3;

/// Values up to this many bytes are checked at once.
const CHECK_AT_ONCE: u64 = 1 << 20;

/// A value of a snapshot, as a reader. Its bytes are read from the file's map as they are asked for.
pub struct ValueReader<'t> {
    source: Source<'t>,
    bytes: &'t [u8],
    place: u64,
    /// A large value that is not known to be intact.
    unchecked: Option<LargeRef>,
    /// The hash of all bytes before `place`, while they were read in order.
    hash: Option<Box<Xxh3>>,
    /// The hash did not fit.
    is_damaged: bool,
}

impl<'t> Tree<'t> {
    /// A reader of the value of `key`.
    ///
    /// # Errors
    /// A damaged page or value.
    pub fn value_reader(&self, key: &[u8]) -> Result<Option<ValueReader<'t>>, Error> {
        let (source, _) = self.parts();
        let Some(stored) = self.get_stored(key)? else { return Ok(None) };
        let (bytes, unchecked) = match stored {
            Stored::Inline(bytes) => (bytes, None),
            Stored::Large(large) if large.len <= CHECK_AT_ONCE => (source.large(large)?, None),
            Stored::Large(large) => {
                let (bytes, is_intact) = source.large_unverified(large)?;
                (bytes, (!is_intact).then_some(large))
            }
        };
        let hash = unchecked.map(|_| Box::new(Xxh3::new()));
        Ok(Some(ValueReader { source, bytes, place: 0, unchecked, hash, is_damaged: false }))
    }
}

impl ValueReader<'_> {
    /// The value's length in bytes.
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Whether it has no byte.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Checks the whole value against its hash, if that has not been done.
    ///
    /// # Errors
    /// [`llmdb_pager::Error::Damaged`].
    pub fn verify(&mut self) -> Result<(), Error> {
        if let Some(large) = self.unchecked {
            self.source.large(large)?;
            (self.unchecked, self.hash) = (None, None);
        }
        Ok(())
    }

    /// Adds what is read to the hash; at the end it must be the value's.
    fn check(&mut self, piece: &[u8]) -> io::Result<()> {
        let is_end = self.place + piece.len() as u64 == self.len();
        let (Some(large), Some(hash)) = (self.unchecked, self.hash.as_mut()) else { return Ok(()) };
        if !self.is_damaged {
            hash.update(piece);
        }
        if !is_end {
            return Ok(());
        }
        if self.is_damaged || hash.digest128() != large.hash {
            self.is_damaged = true;
            let what = format!("the value from page {} on is damaged: its hash does not fit", large.start);
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        // It was read wholly and is intact: later readers need not look again.
        (self.unchecked, self.hash) = (None, None);
        self.source.note_intact(large).map_err(io::Error::other)
    }
}

impl Read for ValueReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.bytes.get(self.place as usize..).unwrap_or_default();
        let piece = &rest[..rest.len().min(buffer.len())];
        self.check(piece)?;
        buffer[..piece.len()].copy_from_slice(piece);
        self.place += piece.len() as u64;
        Ok(piece.len())
    }
}

impl Seek for ValueReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::End(offset) => self.len().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.place.checked_add_signed(offset),
        };
        let outside = || io::Error::new(io::ErrorKind::InvalidInput, "a place before the value's start");
        let place = place.ok_or_else(outside)?;
        if place != self.place {
            self.hash = (place == 0 && self.unchecked.is_some()).then(|| Box::new(Xxh3::new()));
        }
        self.place = place;
        Ok(place)
    }
}

impl std::fmt::Debug for ValueReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ValueReader")
            .field("len", &self.len())
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}
