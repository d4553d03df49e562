//! Backups of all trees: which large values a page refers to, and what makes restored pages trees.
//!
//! Not here: the bytes of a backup and the restored file (`llmdb_pager::backup`).

use crate::check::{Place, Trees, extents};
use crate::database::Database;
use crate::error::Error;
use crate::node::{BRANCH, LEAF};
use crate::validate::validate;
use llmdb_pager::backup::{BackupOptions, BackupReport, RestoreReport};
use llmdb_pager::{Below, Page, Pager, PagerOptions, Progress};
use std::io::{Read, Write};
use std::path::Path;

/// Writes a backup of the durable checkpoint of `pager`, as [`Pager::backup`].
///
/// # Errors
/// As [`Pager::backup`].
pub fn backup(
    pager: &Pager,
    options: BackupOptions,
    out: &mut (dyn Write + Send),
    progress: Progress<'_>,
) -> Result<BackupReport, Error> {
    let visit = |page: Page<'_>| match page.kind() {
        LEAF => Below { extents: extents(page), ..Below::default() },
        kind => Below { is_last: kind == BRANCH && page.level() == 1, ..Below::default() },
    };
    Ok(pager.backup(options, out, &visit, progress)?)
}

impl Database {
    /// Writes a backup of what is committed now, as [`backup`], after a [`Database::sync`].
    ///
    /// ```
    /// use llmdb_btree::Database;
    /// use llmdb_pager::{PagerOptions, backup::BackupOptions};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let db = Database::create(PagerOptions::new(), folder.path().join("trees.llmdb"))?;
    /// let mut txn = db.begin_write()?;
    /// let fruit = txn.create_tree("fruit")?;
    /// txn.insert(fruit, b"lemon", b"yellow")?;
    /// txn.commit()?;
    ///
    /// let mut bytes = Vec::new();
    /// db.backup(BackupOptions::new(), &mut bytes, &mut |_, _| {})?;
    /// let copy = folder.path().join("copy.llmdb");
    /// llmdb_btree::restore(PagerOptions::new(), &copy, &mut [&mut &bytes[..]], &mut |_, _| {})?;
    /// let copy = Database::open(PagerOptions::new(), &copy)?;
    /// assert_eq!(copy.begin_read().tree("fruit")?.expect("restored").get(b"lemon")?, Some(&b"yellow"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`backup`] and [`Database::sync`].
    pub fn backup(
        &self,
        options: BackupOptions,
        out: &mut (dyn Write + Send),
        progress: Progress<'_>,
    ) -> Result<BackupReport, Error> {
        self.sync()?;
        backup(self.pager(), options, out, progress)
    }
}

/// Makes a new database of backups, as [`PagerOptions::restore`]: besides what is asked of pages there, every
/// tree's keys are in order and its records are as many as are counted.
///
/// # Errors
/// As [`PagerOptions::restore`].
pub fn restore(
    options: PagerOptions,
    path: impl AsRef<Path>,
    backups: &mut [&mut dyn Read],
    progress: Progress<'_>,
) -> Result<RestoreReport, Error> {
    let trees = Trees::counting();
    let visit = |page: Page<'_>, place: Option<&Place>| trees.visit(page, place);
    let confirm = || trees.miscounted().first().map(|count| count.flaw(None));
    Ok(options.validate(validate).restore(path, backups, &visit, confirm, progress)?)
}
