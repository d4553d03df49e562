//! Building a whole new file from its first page to its last: what a dense copy needs.
//!
//! ```text
//! NAME-new   metas' area | pages and extents in the order given | allocation map | then the metas
//! NAME       from the rename on
//! ```
//!
//! Invariants
//! 1. The file has its name only when it is whole and durable. What a crash leaves behind is removed by the
//!    next attempt.
//! 2. Every page up to the last one is in use: there is nothing between them.
//! 3. Memory is a buffer of one megabyte, whatever the size of the file.
//!
//! Not here: what the pages mean (the layer above).

use crate::error::Error;
use crate::meta::{META_OFFSETS, Meta, first_meta, first_page};
use crate::page::{Page, PageNumber, Ref, seal, set_birth};
use crate::pager::{LockedFile, PagerOptions};
use crate::space::{Run, full_map};
use crate::storage::write_all_at;
use std::path::{Path, PathBuf};

/// Bytes that are written together.
const BUFFER_SIZE: usize = 1 << 20;
/// Room is reserved this many bytes at a time.
const STEP_SIZE: u64 = 64 << 20;

/// A file that is being built. Dropping it without [`FileBuilder::finish`] removes it.
pub struct FileBuilder {
    options: PagerOptions,
    path: PathBuf,
    new: PathBuf,
    locked: LockedFile,
    meta: Meta,
    seed: u64,
    /// Pages that were given so far, in the file or in the buffer.
    page_count: u64,
    buffer: Vec<u8>,
    /// Where the buffer begins in the file.
    buffer_at: u64,
    reserved: u64,
    finished: bool,
}

impl PagerOptions {
    /// Begins to build a new file that will hold one commit, with this number and time.
    ///
    /// # Errors
    /// As [`PagerOptions::create`].
    pub fn build(self, path: impl AsRef<Path>, commit: u64, time: i64) -> Result<FileBuilder, Error> {
        let path = path.as_ref();
        let (new, locked, identity) = self.begin_new_file(path)?;
        let meta = Meta { commit, time, ..first_meta(self.page_size, identity, self.owner_area) };
        Ok(FileBuilder {
            seed: meta.seed(),
            page_count: first_page(meta.page_size),
            options: self,
            path: path.to_owned(),
            new,
            locked,
            buffer_at: first_page(meta.page_size) * meta.page_size as u64,
            meta,
            buffer: Vec::with_capacity(BUFFER_SIZE),
            reserved: 0,
            finished: false,
        })
    }
}

impl FileBuilder {
    /// Bytes of a page.
    pub fn page_size(&self) -> usize {
        self.meta.page_size
    }

    /// Bytes of the file so far.
    pub fn file_bytes(&self) -> u64 {
        self.page_count * self.meta.page_size as u64
    }

    /// Appends a page: whole but for number, birth and checksum. Its references are to pages that were
    /// appended before.
    ///
    /// # Errors
    /// [`Error::DiskFull`], [`Error::Io`].
    ///
    /// # Panics
    /// Where it has not the length of a page, or refers to a dirty page.
    pub fn put_page(&mut self, bytes: &mut [u8]) -> Result<Ref, Error> {
        assert_eq!(bytes.len(), self.meta.page_size);
        assert!(!Page::new(bytes).references().any(Ref::is_dirty), "a page of the file refers to no frame");
        let number = PageNumber(self.page_count);
        set_birth(bytes, self.meta.commit);
        seal(bytes, self.seed, number);
        self.append(bytes)?;
        Ok(Ref::page(number, self.meta.commit))
    }

    /// Appends a large value.
    ///
    /// # Errors
    /// As [`FileBuilder::put_page`].
    pub fn put_extent(&mut self, bytes: &[u8]) -> Result<Run, Error> {
        let start = PageNumber(self.page_count);
        let page_size = self.meta.page_size;
        for part in bytes.chunks(BUFFER_SIZE) {
            self.append(part)?;
        }
        let count = (bytes.len() as u64).div_ceil(page_size as u64).max(1);
        let missing = count * page_size as u64 - bytes.len() as u64;
        self.append(&vec![0; missing as usize])?;
        self.page_count = start.0 + count;
        Ok(Run { start, count })
    }

    /// Writes the allocation map and the metas, makes all durable and gives the file its name. Answers its
    /// length in bytes.
    ///
    /// # Errors
    /// As [`FileBuilder::put_page`].
    pub fn finish(mut self, root: Ref) -> Result<u64, Error> {
        if !root.is_null() {
            let (pages, space_root) = full_map(self.meta.page_size, self.page_count, self.meta.commit);
            for mut page in pages {
                self.put_page(&mut page)?;
            }
            self.meta.space_root = space_root;
        }
        self.meta.root = root;
        self.meta.page_count = self.page_count;
        self.write_out()?;
        let len = self.file_bytes();
        self.meta.file_len = len;
        let file = &*self.locked.0;
        let doing = |what: &str| format!("{what} {}", self.new.display());
        // Room was reserved in large steps.
        file.set_len(len).map_err(|e| Error::io(doing("cutting"), e))?;
        file.sync_data().map_err(|e| Error::io(doing("flushing"), e))?;
        let bytes = self.meta.encode();
        for offset in META_OFFSETS {
            write_all_at(file, &bytes, offset).map_err(|e| Error::io(doing("writing"), e))?;
        }
        file.sync_data().map_err(|e| Error::io(doing("flushing"), e))?;
        self.options.name_new_file(&self.new, &self.path)?;
        self.finished = true;
        Ok(len)
    }

    /// Appends bytes; the caller sees to it that whole pages come together.
    fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.buffer.len() + bytes.len() > BUFFER_SIZE {
            self.write_out()?;
        }
        self.buffer.extend_from_slice(bytes);
        let end = self.buffer_at + self.buffer.len() as u64;
        self.page_count = end.div_ceil(self.meta.page_size as u64);
        Ok(())
    }

    fn write_out(&mut self) -> Result<(), Error> {
        let end = self.buffer_at + self.buffer.len() as u64;
        let doing = |what: &str| format!("{what} {}", self.new.display());
        if end > self.reserved {
            let step = end.max(self.reserved + (self.reserved / 4).clamp(BUFFER_SIZE as u64, STEP_SIZE));
            let room = |to: u64| self.locked.0.allocate(self.reserved, to - self.reserved);
            let reached = match room(step) {
                Ok(()) => step,
                Err(_) if step > end && room(end).is_ok() => end,
                Err(error) => return Err(Error::allocation(doing("reserving"), end - self.reserved, error)),
            };
            self.reserved = reached;
        }
        write_all_at(&*self.locked.0, &self.buffer, self.buffer_at)
            .map_err(|e| Error::io(doing("writing"), e))?;
        self.buffer.clear();
        self.buffer_at = end;
        Ok(())
    }
}

impl Drop for FileBuilder {
    fn drop(&mut self) {
        if !self.finished {
            // A failure leaves it to the next attempt.
            let _ = self.options.storage.remove(&self.new);
        }
    }
}

impl std::fmt::Debug for FileBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileBuilder").field("path", &self.path).finish_non_exhaustive()
    }
}
