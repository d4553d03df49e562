//! Backups of a store: what was committed when it began, while readers and writers go on.
//!
//! Invariants
//! 1. A backup holds every commit that was acknowledged before it began: it makes a checkpoint first.
//! 2. A file of a backup, and a restored database, have their names only when they are whole and durable.
//! 3. A restored database needs no log, and takes no other's: it has an identity of its own.
//!
//! Not here: the bytes of a backup and how they become a file (`llmdb_pager::backup`).

use super::Store;
use crate::error::Error;
use llmdb_pager::backup::{BACKUP_MAGIC, BackupOptions, BackupReport, RestoreReport};
use llmdb_pager::storage::{File, OpenMode, Share, Storage};
use llmdb_pager::{Error as PagerError, Progress, beside};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;

/// Bytes that go to a backup's file together.
const BUFFER_SIZE: usize = 1 << 20;

impl Store {
    /// Writes a backup of what is committed now to `out`, after a checkpoint: all of it, or only what was
    /// written since an earlier backup. Readers and writers go on; what they replace meanwhile waits for its end.
    /// `progress` is told of pages: how many are done, and of how many as far as that is known.
    ///
    /// What reached `out` is whole only when this returns `Ok`. Flushing it is the caller's affair.
    ///
    /// ```
    /// use llmdb_wal::{BackupHeader, BackupOptions, Store, StoreOptions};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let store = Store::open(folder.path().join("notes.llmdb"))?;
    /// let mut txn = store.begin_write()?;
    /// let notes = txn.create_tree("notes")?;
    /// txn.insert(notes, b"monday", b"call Beirut")?;
    /// txn.commit()?;
    /// let mut full = Vec::new();
    /// store.backup(BackupOptions::new(), &mut full, &mut |_, _| {})?;
    ///
    /// let mut txn = store.begin_write()?;
    /// txn.insert(notes, b"tuesday", b"call Oslo")?;
    /// txn.commit()?;
    /// let earlier = BackupHeader::read(&mut &full[..])?;
    /// let mut part = Vec::new();
    /// store.backup(BackupOptions::new().since_backup(&earlier), &mut part, &mut |_, _| {})?;
    ///
    /// let path = folder.path().join("restored.llmdb");
    /// let report = llmdb_wal::restore(StoreOptions::new(), &path, &mut [&mut &full[..], &mut &part[..]], &mut |_, _| {})?;
    /// assert_eq!(report.commit, 2);
    /// let restored = Store::open(&path)?.begin_read()?;
    /// assert_eq!(restored.tree("notes")?.expect("restored").get(b"tuesday")?, Some(&b"call Oslo"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Store::checkpoint`]; [`PagerError::BackupMismatch`] where the earlier backup is not one of this
    /// database; a damaged page, which ends the backup; [`PagerError::Io`] of `out`, too.
    pub fn backup(
        &self,
        options: BackupOptions,
        out: &mut (dyn Write + Send),
        progress: Progress<'_>,
    ) -> Result<BackupReport, Error> {
        self.inner.check_open()?;
        if !self.inner.is_read_only() {
            self.checkpoint()?;
        }
        Ok(llmdb_btree::backup(&self.inner.pager, options, out, progress)?)
    }

    /// As [`Store::backup`], to a new file in the same storage: under another name until it is whole and durable.
    ///
    /// # Errors
    /// As [`Store::backup`]; [`PagerError::AlreadyExists`].
    pub fn backup_to(
        &self,
        path: impl AsRef<Path>,
        options: BackupOptions,
        progress: Progress<'_>,
    ) -> Result<BackupReport, Error> {
        let path = path.as_ref();
        let storage = &*self.inner.storage;
        let mut new = NewFile::create(storage, path)?;
        let report = {
            let mut out = BufWriter::with_capacity(BUFFER_SIZE, &mut new);
            let report = self.backup(options, &mut out, progress)?;
            out.flush().map_err(|e| PagerError::io("writing the backup", e))?;
            report
        };
        new.name(path)?;
        Ok(report)
    }
}

/// Makes a new database of backups: a full one, then any number of which each was made since the one before it.
/// `options` say where it lives and who owns it meanwhile. Every page is read from the new file and checked, and
/// none may be missing; the file has its name only when it is whole and durable. What a failure or a crash
/// leaves is removed by the next attempt. `progress` is told of pages written and checked.
///
/// It is another database, with the content, the commit numbers and the page size of the first, but an identity
/// of its own: backups of the first made later cannot be added to it, and its own begin with a full one.
///
/// # Errors
/// As [`llmdb_pager::PagerOptions::restore`]; [`PagerError::AlreadyExists`] where the database or a log of that
/// name is there.
pub fn restore(
    options: super::StoreOptions,
    path: impl AsRef<Path>,
    backups: &mut [&mut dyn Read],
    progress: Progress<'_>,
) -> Result<RestoreReport, Error> {
    let path = path.as_ref();
    let log = beside(path, "-wal");
    let is_there = options.storage.exists(&log);
    if is_there.map_err(|e| PagerError::io(format!("looking for {}", log.display()), e))? {
        return Err(PagerError::AlreadyExists { path: log }.into());
    }
    Ok(llmdb_btree::restore(options.pager_options(), path, backups, progress)?)
}

/// A file that is written from its start to its end, and goes where it does not get its name.
struct NewFile<'s> {
    storage: &'s dyn Storage,
    new: std::path::PathBuf,
    file: Arc<dyn File>,
    at: u64,
    is_named: bool,
}

impl<'s> NewFile<'s> {
    fn create(storage: &'s dyn Storage, path: &Path) -> Result<Self, Error> {
        let exists = |what: &Path| {
            storage.exists(what).map_err(|e| PagerError::io(format!("looking for {}", what.display()), e))
        };
        if exists(path)? {
            return Err(PagerError::AlreadyExists { path: path.into() }.into());
        }
        let new = beside(path, "-new");
        let doing = |what: &str| format!("{what} {}", new.display());
        if exists(&new)? {
            // What a crash left begins as backups do, or is empty, and nobody writes to it.
            let old =
                storage.open(&new, OpenMode::ReadWrite).map_err(|e| PagerError::io(doing("opening"), e))?;
            Self::take_lock(&*old, &new)?;
            let mut start = [0; BACKUP_MAGIC.len()];
            let read = old.read_at(&mut start, 0).map_err(|e| PagerError::io(doing("reading"), e))?;
            if start[..read] != BACKUP_MAGIC[..read] {
                return Err(PagerError::AlreadyExists { path: new }.into());
            }
            storage.remove(&new).map_err(|e| PagerError::io(doing("removing the unfinished"), e))?;
        }
        let file =
            storage.open(&new, OpenMode::CreateNew).map_err(|e| PagerError::io(doing("creating"), e))?;
        Self::take_lock(&*file, &new)?;
        Ok(Self { storage, new, file, at: 0, is_named: false })
    }

    fn take_lock(file: &dyn File, path: &Path) -> Result<(), Error> {
        let is_taken = file.lock(Share::Nobody);
        if is_taken.map_err(|e| PagerError::io(format!("locking {}", path.display()), e))? {
            return Ok(());
        }
        Err(PagerError::Locked { path: path.into(), owner: "another backup of the same name".into() }.into())
    }

    /// Makes the content durable, then the name.
    fn name(&mut self, path: &Path) -> Result<(), Error> {
        let doing = |what: &str| format!("{what} {}", self.new.display());
        self.file.sync_data().map_err(|e| PagerError::io(doing("flushing"), e))?;
        self.storage.rename(&self.new, path).map_err(|e| PagerError::io(doing("renaming"), e))?;
        self.is_named = true;
        self.storage.sync_dir(path).map_err(|e| PagerError::io(doing("flushing the folder of"), e))?;
        Ok(())
    }
}

impl Write for NewFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write_at(bytes, self.at)?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if !self.is_named {
            // A failure leaves it to the next attempt.
            let _ = self.storage.remove(&self.new);
        }
    }
}
