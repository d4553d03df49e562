//! The disk as a test holds it: storage on one side, power, faults and images on the other.

use super::crash::{self, CrashPolicy};
use super::fault::{Fault, FaultKind};
use super::file::SimFile;
use super::names::InodeId;
use super::state::{Call, State, Verdict, eio, enospc};
use super::trace::{Op, SimStats, TraceEntry};
use crate::storage::{File, Lock, LockError, OpenMode, Share, Storage};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Is told of each write before it is made: the file's name, the offset and the bytes that were asked for.
/// May look at the disk; its panic ends the write and harms nothing else.
pub type WriteWatch = Arc<dyn Fn(&Path, u64, &[u8]) + Send + Sync>;

/// What a [`SimDisk`] is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimOptions {
    /// Decides the faults that are left to chance, and what becomes of an operation that is cut.
    pub seed: u64,
    /// The most bytes that one file can hold.
    pub file_capacity: usize,
    /// The most bytes that all files can hold together, counted in blocks of 4 KiB; `None` for no limit.
    /// A file that has no name any more does not count.
    pub disk_capacity: Option<u64>,
    /// The longest map; `None` for no limit.
    pub map_limit: Option<u64>,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self { seed: 0, file_capacity: 16 << 20, disk_capacity: None, map_limit: None }
    }
}

/// A simulated disk; clones are the same disk. See the [module](super) for the model and an example.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    /// An empty disk with the default options.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_options(SimOptions { seed, ..SimOptions::default() })
    }

    /// An empty disk.
    ///
    /// ```
    /// use llmdb_pager::sim::{SimDisk, SimOptions};
    ///
    /// let small = SimOptions { file_capacity: 1 << 20, disk_capacity: Some(2 << 20), ..SimOptions::default() };
    /// assert!(SimDisk::with_options(small).files().is_empty());
    /// ```
    #[must_use]
    pub fn with_options(options: SimOptions) -> Self {
        Self::from_state(State::new(options))
    }

    /// Cuts the power when operation `op` is reached, or the next one if it is past: that operation may
    /// have part of its effect, and it and all later ones fail. Then take [`SimDisk::crash_image`], or
    /// [`SimDisk::kill_image`] if it was only the process that stopped there.
    pub fn cut_power_at(&self, op: u64) {
        self.state().cut_at = Some(op);
    }

    /// How many operations there were: the number of the next.
    #[must_use]
    pub fn op_count(&self) -> u64 {
        self.state().trace.len() as u64
    }

    /// Lets something go wrong. Of several faults that strike one operation the first injected counts.
    pub fn inject(&self, fault: Fault) {
        self.state().inject(fault);
    }

    /// Takes back all faults that have not struck.
    pub fn clear_faults(&self) {
        self.state().clear_faults();
    }

    /// What a machine finds after a power cut now, by a [`CrashPolicy`] that the seed chooses: a disk of
    /// its own on which all is durable. This one goes on as it was.
    #[must_use]
    pub fn crash_image(&self, seed: u64) -> Self {
        Self::from_state(crash::image(&self.state(), None, seed))
    }

    /// The same by a given policy.
    #[must_use]
    pub fn crash_image_by(&self, policy: CrashPolicy, seed: u64) -> Self {
        Self::from_state(crash::image(&self.state(), Some(policy), seed))
    }

    /// Every outcome of a power cut now, each once, if whole sectors, lengths and names allow no more than
    /// 4096 (twelve pending sectors with one version each).
    #[must_use]
    pub fn crash_images_exhaustive(&self) -> Option<impl Iterator<Item = Self> + use<>> {
        Some(crash::exhaustive(&self.state())?.map(Self::from_state))
    }

    /// What the next process finds if this one dies now: the cache as it is, and what was pending still
    /// is. A disk of its own: power on, no faults, no locks, operations counted from 0.
    #[must_use]
    pub fn kill_image(&self) -> Self {
        Self::from_state(self.state().fork())
    }

    /// How many sectors, lengths and names a power cut now could find old or new.
    #[must_use]
    pub fn pending_count(&self) -> usize {
        crash::pending_count(&self.state())
    }

    /// Forgets what is cached and not pending, so that reads show what the device has: of a lost or
    /// misdirected write, or of a sync that forgot.
    pub fn drop_caches(&self) {
        self.state().inodes.values_mut().for_each(super::inode::Inode::drop_cache);
    }

    /// What happened so far, each operation at its number.
    #[must_use]
    pub fn trace(&self) -> Vec<TraceEntry> {
        self.state().trace.clone()
    }

    /// Counts of what happened so far.
    #[must_use]
    pub fn stats(&self) -> SimStats {
        self.state().stats.clone()
    }

    /// Has each write told to `watch` before it is made, instead of to an earlier one.
    pub fn watch_writes(&self, watch: WriteWatch) {
        self.state().watch = Some(watch);
    }

    /// What reads see of a file; no operation, and possible without power.
    #[must_use]
    pub fn read_file(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let state = self.state();
        let id = state.names.get(path.as_ref())?;
        Some(state.inodes[&id].bytes().to_vec())
    }

    /// Makes a file with this content, durable at once, instead of the one of that name; no operation.
    /// Handles of that one keep it.
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        let mut state = self.state();
        let id = state.add_inode(bytes.as_ref());
        state.names.set(path.as_ref(), Some(id));
        state.reap_all();
    }

    /// Removes a file, durably at once; no operation. `false` if there is none.
    pub fn remove_file(&self, path: impl AsRef<Path>) -> bool {
        let mut state = self.state();
        let there = state.names.get(path.as_ref()).is_some();
        state.names.set(path.as_ref(), None);
        state.reap_all();
        there
    }

    /// The names of all files, in order. Locks are not among them.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.state().names.current().keys().cloned().collect()
    }

    /// Flips one bit, in the cache and on the device; no operation. `false` if the file has no such byte.
    pub fn flip_bit(&self, path: impl AsRef<Path>, byte: u64, bit: u8) -> bool {
        self.damage(path.as_ref(), byte, 1, |_, byte| *byte ^= 1 << (bit % 8))
    }

    /// Puts other bytes there, in the cache and on the device; no operation. `false` if the file has not
    /// that range. For sectors that rot as a whole, come back stale or are swapped.
    pub fn damage_bytes(&self, path: impl AsRef<Path>, offset: u64, bytes: &[u8]) -> bool {
        self.damage(path.as_ref(), offset, bytes.len(), |index, byte| *byte = bytes[index])
    }

    fn damage(&self, path: &Path, offset: u64, len: usize, change: impl Fn(usize, &mut u8)) -> bool {
        let mut state = self.state();
        let Some(id) = state.names.get(path) else { return false };
        let inode = state.file(id);
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        match start.checked_add(len) {
            Some(end) if end <= inode.len() => inode.damage(start..end, |at, byte| change(at - start, byte)),
            _ => return false,
        }
        true
    }

    pub(super) fn from_state(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the watch, with the disk unlocked.
    pub(super) fn tell_watch(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let watch = {
            let state = self.state();
            state.powered()?;
            state.watch.clone()
        };
        if let Some(watch) = watch {
            watch(path, offset, bytes);
        }
        Ok(())
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("SimDisk")
            .field("options", &state.options)
            .field("op_count", &state.trace.len())
            .field("files", &state.names.current().keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Storage for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let op = if mode == OpenMode::CreateNew { Op::Create } else { Op::Open };
        let path: Arc<Path> = path.into();
        let inode = self.state().run(Call::new(op, Arc::clone(&path)), |state, verdict| {
            let id =
                if op == Op::Create { state.create(&path, verdict) } else { state.open(&path, verdict) }?;
            state.file(id).open_count += 1;
            Ok((id, 0))
        })?;
        Ok(Arc::new(SimFile::new(self.clone(), inode, path, mode != OpenMode::Read)))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state();
        state.powered()?;
        Ok(state.names.get(path).is_some() || state.locks.contains_key(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state().run(Call::new(Op::Rename, to), |state, verdict| {
            let id = state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
            if state.takes_effect(verdict) {
                let sequence = state.next_sequence();
                state.names.put(to, Some(from), id, sequence);
            }
            Ok((fails(verdict)?, 0))
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state().run(Call::new(Op::Remove, path), |state, verdict| {
            let id = state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
            if state.takes_effect(verdict) {
                let sequence = state.next_sequence();
                state.names.remove(path, id, sequence);
            }
            Ok((fails(verdict)?, 0))
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.state().run(Call::new(Op::SyncDir, path), |state, verdict| {
            match verdict {
                Verdict::Go => state.names.sync(path.parent()),
                Verdict::Cut => {}
                Verdict::Fault(_) => state.names.sync_forgets(path.parent(), &mut state.rng),
            }
            state.reap_all();
            Ok((fails(verdict)?, 0))
        })
    }

    fn lock(&self, path: &Path, owner: &str) -> Result<Box<dyn Lock>, LockError> {
        let held = self.state().run(Call::new(Op::Lock, path), |state, verdict| {
            fails(verdict)?;
            let held = state.locks.get(path).cloned();
            if held.is_none() {
                state.locks.insert(path.to_owned(), owner.to_owned());
            }
            Ok((held, 0))
        });
        match held {
            Ok(None) => Ok(Box::new(SimLock { disk: self.clone(), path: path.to_owned() })),
            Ok(Some(text)) => Err(LockError::Held(text)),
            Err(error) => Err(LockError::Io(error)),
        }
    }

    fn lock_owner(&self, path: &Path) -> Option<String> {
        self.state().locks.get(path).cloned()
    }
}

impl State {
    /// Locks a file for one more handle; whether nobody stands against it.
    pub(super) fn share(&mut self, id: InodeId, share: Share) -> bool {
        match (self.shares.get_mut(&id), share) {
            (None, Share::Readers) => self.shares.insert(id, 1).is_none(),
            (None, Share::Nobody) => self.shares.insert(id, 0).is_none(),
            (Some(readers), Share::Readers) if *readers > 0 => {
                *readers += 1;
                true
            }
            _ => false,
        }
    }

    /// A handle that had locked a file is gone.
    pub(super) fn unshare(&mut self, id: InodeId) {
        let left = self.shares.get(&id).map_or(0, |readers| readers.saturating_sub(1));
        match left {
            0 => self.shares.remove(&id),
            left => self.shares.insert(id, left),
        };
    }

    fn create(&mut self, path: &Path, verdict: Verdict) -> io::Result<InodeId> {
        if self.names.get(path).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if verdict == Verdict::Fault(FaultKind::NoSpace) {
            return Err(enospc());
        }
        if !self.takes_effect(verdict) {
            return Err(eio());
        }
        let id = self.add_inode(&[]);
        let sequence = self.next_sequence();
        self.names.put(path, None, id, sequence);
        fails(verdict).map(|()| id)
    }

    fn open(&mut self, path: &Path, verdict: Verdict) -> io::Result<InodeId> {
        fails(verdict)?;
        self.names.get(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Whether a change of names is made: by chance when it is cut, not when it fails.
    fn takes_effect(&mut self, verdict: Verdict) -> bool {
        verdict == Verdict::Go || (verdict == Verdict::Cut && self.rng.coin())
    }
}

/// The error of an operation that has but one way to fail.
fn fails(verdict: Verdict) -> io::Result<()> {
    if verdict == Verdict::Go { Ok(()) } else { Err(eio()) }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    path: PathBuf,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.path);
    }
}
