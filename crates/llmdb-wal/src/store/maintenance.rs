//! Looking after a store that is open: scrubbing, giving room back, and dense copies.
//!
//! Not here: how (`llmdb_btree`, `llmdb_pager`); backups (`backup`).

use super::Store;
use crate::error::Error;
use llmdb_btree::CompactReport;
use llmdb_pager::{Progress, ScrubEvent, ScrubOptions, ScrubReport, Scrubber, TrimReport};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

impl Store {
    /// Reads pages in use of the newest checkpoint at a bounded rate, as [`llmdb_pager::Pager::scrub`].
    ///
    /// # Errors
    /// [`Error::Closed`]; what stops the scrub itself; damage goes to `on`.
    pub fn scrub(
        &self,
        options: ScrubOptions,
        on: &mut dyn FnMut(ScrubEvent) -> ControlFlow<()>,
    ) -> Result<ScrubReport, Error> {
        self.inner.check_open()?;
        Ok(llmdb_btree::scrub(&self.inner.pager, options, on)?)
    }

    /// Scrubs over and over in a thread of its own, as [`llmdb_pager::Pager::spawn_scrubber`].
    ///
    /// # Errors
    /// [`Error::Closed`]; an I/O error where no thread can be made.
    pub fn spawn_scrubber(
        &self,
        options: ScrubOptions,
        pause: Duration,
        on: impl FnMut(ScrubEvent) + Send + 'static,
    ) -> Result<Scrubber, Error> {
        self.inner.check_open()?;
        Ok(llmdb_btree::spawn_scrubber(&self.inner.pager, options, pause, on)?)
    }

    /// Gives free pages back to the file system, as [`llmdb_pager::Pager::trim`]. What was freed since the newest
    /// checkpoint is not free yet: [`Store::checkpoint`] before gives back more.
    ///
    /// # Errors
    /// [`Error::Closed`]; [`llmdb_pager::Error::Io`] where the file system cannot make holes;
    /// [`llmdb_pager::Error::ReadOnly`].
    pub fn trim(&self) -> Result<TrimReport, Error> {
        self.inner.check_open()?;
        Ok(self.inner.pager.trim()?)
    }

    /// Makes a dense copy of what is committed now, in the same storage, while readers and writers go on:
    /// [`llmdb_btree::compact_to`]. It is another database with the same content, and closed.
    ///
    /// # Errors
    /// As [`llmdb_btree::compact_to`]; [`Error::Closed`].
    pub fn compact_to(&self, path: impl AsRef<Path>, progress: Progress<'_>) -> Result<CompactReport, Error> {
        let options =
            llmdb_pager::PagerOptions::new().storage(self.inner.storage.clone()).owner("a dense copy");
        Ok(llmdb_btree::compact_to(&self.begin_read()?, options, path, progress)?)
    }
}
