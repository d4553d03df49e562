//! Writing a backup's bytes: pages and pieces of values collected into frames.
//!
//! Invariants
//! 1. Memory is one frame, whatever the size of the backup.
//! 2. What was written is whole only after [`StreamWriter::finish`].

use super::format::{
    BackupHeader, CONTENT_MAX, END, FRAME_HEAD, PAGES, PIECE, PIECE_HEAD, Totals, chain_of, seal_frame,
};
use crate::error::Error;
use crate::page::PageNumber;
use std::io::{self, Write};
use xxhash_rust::xxh3::Xxh3;

/// A backup that is being written.
pub(super) struct StreamWriter<'w> {
    out: &'w mut (dyn Write + Send),
    /// A frame of pages in the making, room for its head before them.
    frame: Vec<u8>,
    sequence: u64,
    chain: u64,
    hash: Xxh3,
    totals: Totals,
    bytes: u64,
}

fn failed(error: io::Error) -> Error {
    Error::io("writing the backup", error)
}

impl<'w> StreamWriter<'w> {
    pub(super) fn begin(out: &'w mut (dyn Write + Send), header: &BackupHeader) -> Result<Self, Error> {
        let bytes = header.encode();
        let mut writer = Self {
            out,
            frame: vec![0; FRAME_HEAD],
            sequence: 0,
            chain: chain_of(&bytes),
            hash: Xxh3::new(),
            totals: Totals::default(),
            bytes: 0,
        };
        writer.put(&bytes)?;
        Ok(writer)
    }

    pub(super) fn page(&mut self, page: &[u8]) -> Result<(), Error> {
        if self.frame.len() + page.len() > FRAME_HEAD + CONTENT_MAX {
            self.flush_frame()?;
        }
        self.frame.extend_from_slice(page);
        self.totals.pages += 1;
        Ok(())
    }

    /// A large value that begins at a page.
    pub(super) fn value(&mut self, start: PageNumber, value: &[u8], page_size: usize) -> Result<(), Error> {
        self.flush_frame()?;
        for (index, piece) in value.chunks(CONTENT_MAX).enumerate() {
            let at = start.0 + (index * (CONTENT_MAX / page_size)) as u64;
            let mut frame = Vec::with_capacity(FRAME_HEAD + PIECE_HEAD + piece.len());
            frame.resize(FRAME_HEAD, 0);
            frame.extend_from_slice(&at.to_le_bytes());
            frame.extend_from_slice(piece);
            self.put_frame(frame, PIECE)?;
        }
        self.totals.extent_bytes += value.len() as u64;
        Ok(())
    }

    /// Writes the end. The backup is whole from here.
    pub(super) fn finish(mut self) -> Result<(Totals, u64), Error> {
        self.flush_frame()?;
        self.totals.hash = self.hash.digest128();
        let mut frame = vec![0; FRAME_HEAD];
        frame.extend_from_slice(&self.totals.encode());
        self.put_frame(frame, END)?;
        self.out.flush().map_err(failed)?;
        Ok((self.totals, self.bytes))
    }

    fn flush_frame(&mut self) -> Result<(), Error> {
        if self.frame.len() > FRAME_HEAD {
            let frame = std::mem::replace(&mut self.frame, vec![0; FRAME_HEAD]);
            self.put_frame(frame, PAGES)?;
        }
        Ok(())
    }

    fn put_frame(&mut self, mut frame: Vec<u8>, kind: u32) -> Result<(), Error> {
        self.chain = seal_frame(&mut frame, self.sequence, kind, self.chain);
        self.sequence += 1;
        self.put(&frame)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(failed)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}
