//! Reading a backup's bytes: nothing is passed on before its frame was found whole and in its place.
//!
//! Invariants
//! 1. Memory is one frame, whatever the stream says.
//! 2. [`StreamReader::next`] answers `None` only behind an end that fits all that came before it, with
//!    nothing behind it.

use super::format::{
    BACKUP_HEADER_SIZE, BackupHeader, END, END_SIZE, FRAME_HEAD, Flaw, FrameHead, PAGES, PIECE, PIECE_HEAD,
    Totals, chain_of, frame_checksum,
};
use crate::error::{Error, Text};
use crate::page::{PageNumber, read_u64};
use std::io::{self, Read};
use xxhash_rust::xxh3::Xxh3;

/// A part of a backup.
pub(super) enum Part<'r> {
    /// Whole pages.
    Pages(&'r mut [u8]),
    /// Bytes of a large value, from the start of a page on.
    Piece(PageNumber, &'r [u8]),
}

/// A backup that is being read.
pub(super) struct StreamReader<'r> {
    input: &'r mut dyn Read,
    /// Its place among those that are read, from 1 on.
    backup: usize,
    header: BackupHeader,
    frame: Vec<u8>,
    sequence: u64,
    chain: u64,
    hash: Xxh3,
    totals: Totals,
    /// Bytes read so far.
    at: u64,
    is_done: bool,
}

impl BackupHeader {
    /// Reads what a backup says of itself, and no more of it.
    ///
    /// # Errors
    /// [`Error::BackupDamaged`], [`Error::Io`].
    pub fn read(input: &mut dyn Read) -> Result<Self, Error> {
        Ok(StreamReader::begin(input, 1)?.header)
    }
}

impl<'r> StreamReader<'r> {
    pub(super) fn begin(input: &'r mut dyn Read, backup: usize) -> Result<Self, Error> {
        let mut bytes = [0; BACKUP_HEADER_SIZE];
        fill(input, &mut bytes, backup, 0)?;
        let damaged = |flaw: Flaw| damaged(backup, 0, flaw);
        let mut hash = Xxh3::new();
        hash.update(&bytes);
        Ok(Self {
            header: BackupHeader::decode(&bytes).map_err(damaged)?,
            input,
            backup,
            frame: Vec::new(),
            sequence: 0,
            chain: chain_of(&bytes),
            hash,
            totals: Totals::default(),
            at: BACKUP_HEADER_SIZE as u64,
            is_done: false,
        })
    }

    pub(super) fn header(&self) -> &BackupHeader {
        &self.header
    }

    /// How many bytes were read.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The next part; `None` behind the end.
    pub(super) fn next(&mut self) -> Result<Option<Part<'_>>, Error> {
        if self.is_done {
            return Ok(None);
        }
        let begin = self.at;
        let hash_before = self.hash.digest128();
        let head = self.read_frame()?;
        let page_size = self.header.page_size;
        let len = head.len;
        match head.kind {
            PAGES if len > 0 && len.is_multiple_of(page_size) => {
                self.totals.pages += (len / page_size) as u64;
                Ok(Some(Part::Pages(&mut self.frame[FRAME_HEAD..])))
            }
            PIECE if len > PIECE_HEAD => {
                self.totals.extent_bytes += (len - PIECE_HEAD) as u64;
                let (start, bytes) = self.frame[FRAME_HEAD..].split_at(PIECE_HEAD);
                Ok(Some(Part::Piece(PageNumber(read_u64(start, 0)), bytes)))
            }
            END if len == END_SIZE => {
                let end = self.frame[FRAME_HEAD..].first_chunk().map(Totals::decode).unwrap_or_default();
                self.end(begin, end, hash_before)?;
                Ok(None)
            }
            kind => {
                let flaw = Flaw::new("a frame of no known kind and length", "1, 2 or 3", u64::from(kind));
                Err(damaged(self.backup, begin, flaw))
            }
        }
    }

    /// The next frame, whole and in its place.
    fn read_frame(&mut self) -> Result<FrameHead, Error> {
        let begin = self.at;
        let mut bytes = [0; FRAME_HEAD];
        fill(self.input, &mut bytes, self.backup, begin)?;
        let wrong = |backup, flaw| damaged(backup, begin, flaw);
        let head = FrameHead::decode(&bytes).map_err(|flaw| wrong(self.backup, flaw))?;
        self.frame.clear();
        self.frame.extend_from_slice(&bytes);
        self.frame.resize(FRAME_HEAD + head.len, 0);
        let at = begin + FRAME_HEAD as u64;
        fill(self.input, &mut self.frame[FRAME_HEAD..], self.backup, at)?;
        let expected = frame_checksum(&self.frame, self.chain);
        if expected != head.checksum {
            let what = if head.sequence == self.sequence {
                "a frame's checksum does not fit it and those before it"
            } else {
                "another frame was to come here"
            };
            let flaw = match head.sequence == self.sequence {
                true => Flaw::new(what, expected, head.checksum),
                false => Flaw::new(what, self.sequence, head.sequence),
            };
            return Err(wrong(self.backup, flaw));
        }
        if head.sequence != self.sequence {
            let what = "another frame was to come here";
            return Err(wrong(self.backup, Flaw::new(what, self.sequence, head.sequence)));
        }
        self.chain = head.checksum;
        self.sequence += 1;
        self.hash.update(&self.frame);
        self.at += self.frame.len() as u64;
        Ok(head)
    }

    /// Holds the end against what came before it, and sees that nothing comes behind it.
    fn end(&mut self, begin: u64, end: Totals, hash: u128) -> Result<(), Error> {
        let wrong = |at, flaw| Err(damaged(self.backup, at, flaw));
        if end.pages != self.totals.pages {
            return wrong(begin, Flaw::new("the count of pages", end.pages, self.totals.pages));
        }
        if end.extent_bytes != self.totals.extent_bytes {
            let (expected, found) = (end.extent_bytes, self.totals.extent_bytes);
            return wrong(begin, Flaw::new("the bytes of large values", expected, found));
        }
        if end.hash != hash {
            return wrong(begin, Flaw::new("the hash of the whole", end.hash as u64, hash as u64));
        }
        if read_some(self.input, &mut [0], self.backup)? > 0 {
            return wrong(self.at, Flaw::new("it goes on behind its end", "nothing", "more bytes"));
        }
        self.is_done = true;
        Ok(())
    }
}

pub(super) fn damaged(backup: usize, at: u64, flaw: Flaw) -> Error {
    Error::BackupDamaged { backup, at, what: flaw.what, expected: flaw.expected, found: flaw.found }
}

/// Fills `buffer` from a stream of which `at` bytes were read.
fn fill(input: &mut dyn Read, buffer: &mut [u8], backup: usize, at: u64) -> Result<(), Error> {
    let mut filled = 0;
    while filled < buffer.len() {
        let read = read_some(input, &mut buffer[filled..], backup)?;
        if read == 0 {
            let found = at + filled as u64;
            let expected = Text::Words("more bytes");
            let what = "it is cut off: it ends before its end was written";
            return Err(damaged(backup, found, Flaw { what, expected, found: Text::Number(found) }));
        }
        filled += read;
    }
    Ok(())
}

fn read_some(input: &mut dyn Read, buffer: &mut [u8], backup: usize) -> Result<usize, Error> {
    loop {
        match input.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map_err(|e| Error::io(format!("reading backup {backup}"), e)),
        }
    }
}
