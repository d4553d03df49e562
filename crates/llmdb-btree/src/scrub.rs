//! Scrubbing files of trees: what the pager's scrubber asks of each page.

use crate::check::Trees;
use crate::database::Database;
use crate::error::Error;
use llmdb_pager::{Pager, ScrubEvent, ScrubOptions, ScrubReport, Scrubber};
use std::ops::ControlFlow;
use std::time::Duration;

/// As [`Pager::scrub`], for pages of trees and their large values.
///
/// # Errors
/// What stops the scrub itself; damage goes to `on`.
pub fn scrub(
    pager: &Pager,
    options: ScrubOptions,
    on: &mut dyn FnMut(ScrubEvent) -> ControlFlow<()>,
) -> Result<ScrubReport, Error> {
    let trees = Trees::new();
    Ok(pager.scrub(options, &|page, place| trees.visit(page, place), on)?)
}

/// As [`Pager::spawn_scrubber`], for pages of trees and their large values.
///
/// # Errors
/// An I/O error where no thread can be made.
pub fn spawn_scrubber(
    pager: &Pager,
    options: ScrubOptions,
    pause: Duration,
    on: impl FnMut(ScrubEvent) + Send + 'static,
) -> Result<Scrubber, Error> {
    let trees = Trees::new();
    Ok(pager.spawn_scrubber(options, pause, move |page, place| trees.visit(page, place), on)?)
}

impl Database {
    /// As [`scrub`].
    ///
    /// ```
    /// use llmdb_btree::Database;
    /// use llmdb_pager::{PagerOptions, ScrubEvent, ScrubOptions};
    /// use std::ops::ControlFlow;
    ///
    /// let folder = tempfile::tempdir()?;
    /// let db = Database::create(PagerOptions::new(), folder.path().join("trees.llmdb"))?;
    /// let report = db.scrub(ScrubOptions::new(8 << 20), &mut |event| {
    ///     if let ScrubEvent::Damage(damage) = event {
    ///         eprintln!("page {}: {}", damage.page, damage.what);
    ///     }
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert_eq!((report.damage_count, report.next), (0, None));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`scrub`].
    pub fn scrub(
        &self,
        options: ScrubOptions,
        on: &mut dyn FnMut(ScrubEvent) -> ControlFlow<()>,
    ) -> Result<ScrubReport, Error> {
        scrub(self.pager(), options, on)
    }
}
