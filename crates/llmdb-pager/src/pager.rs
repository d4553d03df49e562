//! Opening and creating data files, and what hangs off an open one.
//!
//! Invariants
//! 1. A file is looked at before anything is made beside it: what is not ours stays untouched.
//! 2. A new file has its name only when its content is durable.
//! 3. The lock is held for as long as the [`Pager`], a snapshot or a transaction lives. Who writes holds the
//!    lock file, which says who it is, and the data file's own lock for itself; who only reads shares the
//!    latter with others and makes no file.

use crate::aging::{Aging, OldReader, OnSlowReader, ReaderRules};
use crate::error::Error;
use crate::mapping::{address_limit, map_file};
use crate::meta::{META_OFFSETS, Metas, OWNER_AREA_SIZE, first_meta, first_page, read_metas};
use crate::old_readers;
use crate::page::{PAGE_SIZE_DEFAULT, check_page_size};
use crate::readers::{self, Owner as _};
use crate::snapshot::{Core, Snapshot, State, Validate};
use crate::space::Space;
use crate::storage::{DiskStorage, File, Lock, LockError, OpenMode, Share, Storage, write_all_at};
use crate::write_txn::WriteTxn;
use crate::writer::{Writer, WriterSlot};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A file, and the lock that keeps others away.
pub(crate) type LockedFile = (Arc<dyn File>, Box<dyn Lock>);

/// How to open or create a data file.
#[derive(Clone)]
#[non_exhaustive]
pub struct PagerOptions {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) page_size: usize,
    validate: Validate,
    owner: String,
    pub(crate) owner_area: [u8; OWNER_AREA_SIZE],
    dirty_budget: u64,
    reader_rules: ReaderRules,
    read_only: bool,
    sends_early: bool,
}

/// Bytes of dirty pages in memory, unless another budget is asked for.
const DIRTY_BUDGET: u64 = 128 << 20;

impl Default for PagerOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl PagerOptions {
    /// 4 KiB pages on the real file system.
    pub fn new() -> Self {
        Self {
            storage: Arc::new(DiskStorage),
            page_size: PAGE_SIZE_DEFAULT,
            validate: |_| Ok(()),
            owner: owner_text("a program"),
            owner_area: [0; OWNER_AREA_SIZE],
            dirty_budget: DIRTY_BUDGET,
            reader_rules: ReaderRules::default(),
            read_only: false,
            sends_early: true,
        }
    }

    /// Where the file lives.
    #[must_use]
    pub fn storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.storage = storage;
        self
    }

    /// Bytes of a page in a new file; an existing file keeps its own.
    #[must_use]
    pub fn page_size(mut self, bytes: usize) -> Self {
        self.page_size = bytes;
        self
    }

    /// Checks a page's structure at its first use.
    #[must_use]
    pub fn validate(mut self, validate: Validate) -> Self {
        self.validate = validate;
        self
    }

    /// Tells `tell` of the oldest reader while it holds, for longer than `after`, what a newer commit has
    /// replaced; once each `after` at most, when the writer looks for pages to use again.
    #[must_use]
    pub fn on_slow_reader(mut self, after: Duration, tell: OnSlowReader) -> Self {
        self.reader_rules.tell = Some((after, tell));
        self
    }

    /// Ends readers that hold, for longer than `limit`, what a newer commit has replaced: their reads answer
    /// [`Error::SnapshotEnded`] from then on. The pages that only they can see are used again once they are
    /// dropped; borrowed bytes stay as they are until then. Without it a reader may stay as long as it likes.
    #[must_use]
    pub fn max_reader_age(mut self, limit: Duration) -> Self {
        self.reader_rules.limit = Some(limit);
        self
    }

    /// Names the command in the lock file, for whoever finds the database locked.
    #[must_use]
    pub fn owner(mut self, command: &str) -> Self {
        self.owner = owner_text(command);
        self
    }

    /// What a new file's meta says in the owner area.
    #[must_use]
    pub fn owner_area(mut self, area: [u8; OWNER_AREA_SIZE]) -> Self {
        self.owner_area = area;
        self
    }

    /// How many bytes of memory dirty pages may take (default 128 MiB, at least 32 pages). Beyond it a
    /// transaction writes pages to the file before it commits ([`WriteTxn::spill`]), and commits that are
    /// not durable are written out ([`WriteTxn::publish_unsynced`]). The bound is soft by the pages of one
    /// change, by half a budget for a transaction over many dirty pages of commits before it, and by what
    /// old snapshots keep.
    #[must_use]
    pub fn dirty_budget(mut self, bytes: u64) -> Self {
        self.dirty_budget = bytes;
        self
    }

    /// Whether large writes of a transaction set out for the device while it goes on, so that its flush has less left to
    /// do (default true). To be left to the system where commits are not flushed
    /// ([`WriteTxn::publish_unsynced`]): a load would wait for the device and not for memory.
    #[must_use]
    pub fn send_early(mut self, yes: bool) -> Self {
        self.sends_early = yes;
        self
    }

    /// Opens a file for reading only, beside any number of others who do, while nobody has it open for
    /// writing. Nothing is written, neither to the file nor to its folder, so both may be read-only.
    #[must_use]
    pub fn read_only(mut self, yes: bool) -> Self {
        self.read_only = yes;
        self
    }

    /// Creates a new file.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`], [`Error::PageSize`], [`Error::Locked`], [`Error::DiskFull`], [`Error::Io`].
    pub fn create(self, path: impl AsRef<Path>) -> Result<Pager, Error> {
        let path = path.as_ref();
        let (new, (file, lock), identity) = self.begin_new_file(path)?;
        let written = self.fill_new_file(&*file, &new, identity);
        if written.is_err() {
            // The reason is the caller's to see; the unfinished file goes, now or at the next attempt.
            let _ = self.storage.remove(&new);
        }
        written?;
        self.name_new_file(&new, path)?;
        self.open_locked(path, lock)
    }

    /// A new file under a name of its own, the lock of the name that it will have, and an identity.
    pub(crate) fn begin_new_file(&self, path: &Path) -> Result<(PathBuf, LockedFile, u128), Error> {
        check_page_size(self.page_size)?;
        if self.read_only {
            return Err(Error::ReadOnly { path: path.into() });
        }
        let exists = |what: &Path| {
            self.storage.exists(what).map_err(|e| Error::io(format!("looking for {}", what.display()), e))
        };
        if exists(path)? {
            return Err(Error::AlreadyExists { path: path.into() });
        }
        let lock = self.take_lock(path)?;
        if exists(path)? {
            return Err(Error::AlreadyExists { path: path.into() });
        }
        let new = beside(path, "-new");
        let doing = |what: &str| format!("{what} {}", new.display());
        if exists(&new)? {
            self.storage.remove(&new).map_err(|e| Error::io(doing("removing the unfinished"), e))?;
        }
        let file =
            self.storage.open(&new, OpenMode::CreateNew).map_err(|e| Error::io(doing("creating"), e))?;
        let identity = random_identity().map_err(|e| Error::io("asking the system for random bytes", e))?;
        Ok((new, (file, lock), identity))
    }

    /// Gives a file that is whole and durable its name.
    pub(crate) fn name_new_file(&self, new: &Path, path: &Path) -> Result<(), Error> {
        let doing = |what: &str| format!("{what} {}", new.display());
        self.storage.rename(new, path).map_err(|e| Error::io(doing("renaming"), e))?;
        self.storage.sync_dir(path).map_err(|e| Error::io(doing("flushing the folder of"), e))
    }

    /// Opens an existing file.
    ///
    /// # Errors
    /// What the file is instead ([`Error::NotFound`], [`Error::EmptyFile`], [`Error::Foreign`],
    /// [`Error::Truncated`], [`Error::NewerVersion`], [`Error::MetaDamaged`]), [`Error::Locked`],
    /// [`Error::Io`]. The file is unchanged.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Pager, Error> {
        let path = path.as_ref();
        let file = self.open_file(path, OpenMode::Read)?;
        match read_metas(&*file, path) {
            // While its owner writes, both metas are never torn at once; but look again under the lock.
            Ok(_) | Err(Error::MetaDamaged { .. } | Error::Truncated { .. }) => {}
            Err(error) => return Err(error),
        }
        let lock = if self.read_only { Box::new(NoLock) } else { self.take_lock(path)? };
        self.open_locked(path, lock)
    }

    /// The file and its lock, for work on a file that nobody has open.
    pub(crate) fn open_unmapped(&self, path: &Path) -> Result<LockedFile, Error> {
        read_metas(&*self.open_file(path, OpenMode::Read)?, path)?;
        if self.read_only {
            return Err(Error::ReadOnly { path: path.into() });
        }
        let lock = self.take_lock(path)?;
        Ok((self.open_shared(path)?, lock))
    }

    /// The file, locked against those who would stand against what these options are for.
    fn open_shared(&self, path: &Path) -> Result<Arc<dyn File>, Error> {
        let (mode, share) = match self.read_only {
            true => (OpenMode::Read, Share::Readers),
            false => (OpenMode::ReadWrite, Share::Nobody),
        };
        let file = self.open_file(path, mode)?;
        let taken = file.lock(share);
        if taken.map_err(|e| Error::io(format!("locking {}", path.display()), e))? {
            return Ok(file);
        }
        let writer = self.storage.lock_owner(&beside(path, "-lock")).filter(|_| self.read_only);
        let owner = writer.unwrap_or_else(|| match self.read_only {
            true => "a process that writes to it".into(),
            false => "processes that have it open for reading only".into(),
        });
        Err(Error::Locked { path: path.into(), owner })
    }

    fn open_file(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>, Error> {
        self.storage.open(path, mode).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NotFound { path: path.into() },
            _ => Error::io(format!("opening {}", path.display()), error),
        })
    }

    fn take_lock(&self, path: &Path) -> Result<Box<dyn Lock>, Error> {
        let lock_path = beside(path, "-lock");
        self.storage.lock(&lock_path, &self.owner).map_err(|error| match error {
            LockError::Held(owner) => Error::Locked { path: path.into(), owner },
            LockError::Io(error) => Error::io(format!("taking the lock {}", lock_path.display()), error),
        })
    }

    fn fill_new_file(&self, file: &dyn File, new: &Path, identity: u128) -> Result<(), Error> {
        let doing = |what: &str| format!("{what} {}", new.display());
        let size = first_page(self.page_size) * self.page_size as u64;
        file.allocate(0, size).map_err(|e| Error::allocation(doing("reserving"), size, e))?;
        let meta = first_meta(self.page_size, identity, self.owner_area).encode();
        for offset in META_OFFSETS {
            write_all_at(file, &meta, offset).map_err(|e| Error::io(doing("writing"), e))?;
        }
        file.sync_data().map_err(|e| Error::io(doing("flushing"), e))
    }

    pub(crate) fn open_locked(self, path: &Path, lock: Box<dyn Lock>) -> Result<Pager, Error> {
        let file = self.open_shared(path)?;
        let Metas { newest: meta, slot, damaged } = read_metas(&*file, path)?;
        let file_len = file.len().map_err(|e| Error::io(format!("looking at {}", path.display()), e))?;
        let needed = meta.page_count * meta.page_size as u64;
        let map = map_file(&*file, path, needed)?;
        let state = Arc::new(State {
            commit: meta.commit,
            time: meta.time,
            root: meta.root,
            page_count: meta.page_count,
            map,
            aging: Aging::default(),
        });
        let tip = state.clone();
        let (core, key) = Core::new(
            path.to_owned(),
            file,
            meta.page_size,
            meta.identity,
            meta.seed(),
            self.validate,
            self.reader_rules,
            state,
            lock,
        );
        let space = Space::new(meta.page_size, meta.page_count, meta.space_root);
        let owner_area = meta.owner_area;
        let page_size = meta.page_size;
        let mut writer = Writer::new(space, meta, slot, file_len, key, tip);
        writer.set_budget(self.dirty_budget, page_size);
        writer.sends_early = self.sends_early;
        let slot = WriterSlot::new(writer);
        let core = Arc::new(core);
        Ok(Pager {
            _handles: Arc::new(Handles(core.clone())),
            core,
            slot: Arc::new(slot),
            owner_area,
            read_only: self.read_only,
            damaged_metas: Arc::new(damaged.map(AtomicBool::new)),
        })
    }
}

impl std::fmt::Debug for PagerOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PagerOptions").field("page_size", &self.page_size).finish_non_exhaustive()
    }
}

/// An open data file. Clones share it; the lock ends with the last.
#[derive(Clone)]
pub struct Pager {
    pub(crate) core: Arc<Core>,
    slot: Arc<WriterSlot>,
    _handles: Arc<Handles>,
    owner_area: [u8; OWNER_AREA_SIZE],
    read_only: bool,
    /// Copies of the meta that were not whole at open.
    damaged_metas: Arc<[AtomicBool; 2]>,
}

/// Of one who only reads: the file itself is locked.
#[derive(Debug)]
struct NoLock;

impl Lock for NoLock {}

/// Shared by all handles of an open file: when the last goes, no snapshot can begin any more.
struct Handles(Arc<Core>);

impl Drop for Handles {
    fn drop(&mut self) {
        readers::close(&self.0);
    }
}

impl Pager {
    /// Begins to read: what is committed now, unchanged for as long as it is held.
    #[inline]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(&self.core)
    }

    /// Begins to write, after the writer before has finished.
    ///
    /// # Errors
    /// [`Error::Poisoned`] after an earlier failed write; [`Error::ReadOnly`].
    pub fn begin_write(&self) -> Result<WriteTxn, Error> {
        if self.read_only {
            return Err(Error::ReadOnly { path: self.core.path.clone() });
        }
        WriteTxn::begin(self.core.clone(), self.slot.clone())
    }

    /// Whether it was opened for reading only.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The writer, for one who only looks at what it knows: allowed where nothing may be written.
    pub(crate) fn hold_writer(&self) -> Result<WriteTxn, Error> {
        WriteTxn::begin(self.core.clone(), self.slot.clone())
    }

    /// Makes commits that were staged ([`WriteTxn::stage`]) visible, up to this one.
    pub fn publish(&self, commit: u64) {
        self.core.publish(commit);
    }

    /// Makes extents durable that transactions wrote, also those of staged commits.
    ///
    /// # Errors
    /// An I/O error, which ends all writing.
    pub fn sync_extents(&self) -> Result<(), Error> {
        self.core.flush()
    }

    /// Refuses all writing from now on, for a failure that the caller saw (in its log, say).
    pub fn poison(&self, reason: &str) {
        let _ = self.core.poison.set(reason.to_owned());
    }

    /// The owner area of the meta that was found at open.
    pub fn owner_area(&self) -> [u8; OWNER_AREA_SIZE] {
        self.owner_area
    }

    /// Which copies of the meta were not whole at open, since the last [`Pager::heal_metas`].
    pub fn damaged_metas(&self) -> [bool; 2] {
        [0, 1].map(|slot: usize| self.damaged_metas[slot].load(Ordering::Relaxed))
    }

    /// Writes both copies of the meta anew where one was not whole, for a caller who knows that a crash
    /// tore it. What is not healed is damage to [`Pager::check`].
    ///
    /// # Errors
    /// An I/O error, after which the database must be reopened.
    pub fn heal_metas(&self) -> Result<(), Error> {
        if self.damaged_metas().contains(&true) {
            let mut txn = self.begin_write()?;
            let area = txn.writer().meta.owner_area;
            txn.rewrite_owner_area(area)?;
            for slot in &*self.damaged_metas {
                slot.store(false, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.core.path
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> usize {
        self.core.page_size
    }

    /// The file's random identity.
    pub fn identity(&self) -> u128 {
        self.core.identity
    }

    /// The oldest snapshot that is held though a newer commit has taken its place; `None` where there is
    /// none. What only it can see cannot be used again.
    ///
    /// ```
    /// # use llmdb_pager::{Kind, PagerOptions};
    /// # let folder = tempfile::tempdir()?;
    /// # let pager = PagerOptions::new().create(folder.path().join("pages.llmdb"))?;
    /// let reader = pager.snapshot();
    /// assert_eq!(pager.oldest_reader(), None, "it sees the newest state");
    /// let mut txn = pager.begin_write()?;
    /// let root = txn.allocate(Kind(16), 0)?;
    /// txn.set_root(root);
    /// txn.commit_with_checkpoint([0; 64])?;
    /// assert_eq!(pager.oldest_reader().map(|old| old.commit), Some(0));
    /// # drop(reader);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn oldest_reader(&self) -> Option<OldReader> {
        old_readers::oldest(&self.core)
    }

    /// Counts of the open file.
    ///
    /// # Errors
    /// As [`Pager::begin_write`], which it waits for; and a damaged allocation map.
    pub fn stat(&self) -> Result<PagerStat, Error> {
        let mut txn = self.hold_writer()?;
        txn.change_nothing();
        let core = self.core.clone();
        let reserved_bytes = txn.base.map.len();
        let writer = txn.writer();
        let free = writer.space.free_count(&|at| crate::writer::read_map_page(&core, at))?;
        let waiting: u64 = writer.retired_runs.iter().map(|retired| retired.run.count).sum();
        Ok(PagerStat {
            page_size: core.page_size,
            page_count: writer.space.page_count(),
            free_pages: free,
            retired_pages: waiting,
            checked_pages: core.verified.count_below(writer.space.page_count()),
            file_bytes: writer.file_len,
            allocated_bytes: core.file.allocated().map_err(|e| Error::io(core.doing("looking at"), e))?,
            reserved_bytes,
            address_limit: address_limit(),
            dirty_bytes: writer.frames_in_use() * core.page_size as u64,
            frame_memory: writer.frame_memory(core.page_size),
            checkpoint: writer.meta.checkpoint,
            checkpoint_commit: writer.meta.commit,
            oldest_snapshot: core.readers().open_numbers()[0],
            open_snapshots: core.readers().open_count() as u64,
            map_memory: writer.space.memory(),
        })
    }
}

impl std::fmt::Debug for Pager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pager").field("path", &self.core.path).finish_non_exhaustive()
    }
}

/// Counts of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PagerStat {
    /// Bytes of a page.
    pub page_size: usize,
    /// Pages up to the last one in use.
    pub page_count: u64,
    /// Of these, free ones.
    pub free_pages: u64,
    /// Of these, ones that wait for a reader or a checkpoint.
    pub retired_pages: u64,
    /// Pages that were read from the file and checked since it was opened, and not written since.
    pub checked_pages: u64,
    /// The file's length in bytes.
    pub file_bytes: u64,
    /// Bytes of the disk that the file takes: less where free pages were given back ([`Pager::trim`]).
    pub allocated_bytes: u64,
    /// Bytes of address space that the file's map takes: a file that outgrows it is mapped anew.
    pub reserved_bytes: u64,
    /// Bytes of address space that the process may have; `None` where nobody limits it.
    pub address_limit: Option<u64>,
    /// Bytes of dirty pages in memory.
    pub dirty_bytes: u64,
    /// Bytes of memory held for dirty pages, in use or not.
    pub frame_memory: u64,
    /// The number of the durable checkpoint.
    pub checkpoint: u64,
    /// The newest commit in it.
    pub checkpoint_commit: u64,
    /// The commit that the oldest open snapshot sees.
    pub oldest_snapshot: u64,
    /// How many snapshots are open.
    pub open_snapshots: u64,
    /// Bytes of memory of the loaded part of the allocation map.
    pub map_memory: u64,
}

/// A file beside `path`, its name with `suffix` behind it.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(suffix);
    name.into()
}

/// Who holds a lock: process, host and command.
fn owner_text(command: &str) -> String {
    // The interpreter knows no host.
    let host = if cfg!(miri) {
        "miri".into()
    } else {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    };
    format!("process {} on {host} ({command})", std::process::id())
}

fn random_identity() -> io::Result<u128> {
    use std::io::Read as _;
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u128::from_le_bytes(bytes))
}
