//! The folders: which name means which file, now and after a power cut.
//!
//! Invariants
//! 1. A file has at most one name at a time (there are no hard links).
//! 2. A pending change of names becomes durable by [`Names::sync`] of a folder that it touches, whole.
//!
//! There is one set of names for all folders, and every folder exists.

use super::rng::Rng;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A file, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct InodeId(pub(super) u64);

/// What names mean.
pub(super) type NameMap = BTreeMap<PathBuf, InodeId>;

#[derive(Clone, Debug)]
enum Change {
    /// The file gets this name, from no name (created) or another one (renamed).
    Put {
        path: PathBuf,
        from: Option<PathBuf>,
    },
    Remove {
        path: PathBuf,
    },
}

#[derive(Clone, Debug)]
struct Pending {
    sequence: u64,
    inode: InodeId,
    change: Change,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    current: NameMap,
    durable: NameMap,
    pending: Vec<Pending>,
}

impl Names {
    /// Names that are all durable.
    pub(super) fn durable(names: NameMap) -> Self {
        Self { current: names.clone(), durable: names, pending: Vec::new() }
    }

    pub(super) fn current(&self) -> &NameMap {
        &self.current
    }

    pub(super) fn get(&self, path: &Path) -> Option<InodeId> {
        self.current.get(path).copied()
    }

    pub(super) fn put(&mut self, path: &Path, from: Option<&Path>, inode: InodeId, sequence: u64) {
        let change = Change::Put { path: path.to_owned(), from: from.map(Path::to_owned) };
        self.change(Pending { sequence, inode, change });
    }

    pub(super) fn remove(&mut self, path: &Path, inode: InodeId, sequence: u64) {
        self.change(Pending { sequence, inode, change: Change::Remove { path: path.to_owned() } });
    }

    fn change(&mut self, pending: Pending) {
        pending.apply(&mut self.current);
        self.pending.push(pending);
    }

    /// Makes a name mean a file, or nothing, at once and durably.
    pub(super) fn set(&mut self, path: &Path, inode: Option<InodeId>) {
        for names in [&mut self.current, &mut self.durable] {
            match inode {
                Some(inode) => names.insert(path.to_owned(), inode),
                None => names.remove(path),
            };
        }
    }

    /// Makes the changes that touch a folder durable.
    pub(super) fn sync(&mut self, folder: Option<&Path>) {
        self.sync_some(folder, || true);
    }

    /// Makes a random part durable and forgets the rest, though the names go on showing it.
    pub(super) fn sync_forgets(&mut self, folder: Option<&Path>, rng: &mut Rng) {
        self.sync_some(folder, || rng.coin());
    }

    fn sync_some(&mut self, folder: Option<&Path>, mut persists: impl FnMut() -> bool) {
        let durable = &mut self.durable;
        self.pending.retain(|pending| {
            let touched = pending.touches(folder);
            if touched && persists() {
                pending.apply(durable);
            }
            !touched
        });
    }

    /// The sequences of the pending changes.
    pub(super) fn pending_sequences(&self) -> impl ExactSizeIterator<Item = u64> {
        self.pending.iter().map(|pending| pending.sequence)
    }

    /// The names that a machine finds if these of the pending changes persisted.
    pub(super) fn image(&self, persists: impl IntoIterator<Item = bool>) -> NameMap {
        let mut names = self.durable.clone();
        for (pending, _) in self.pending.iter().zip(persists).filter(|(_, persists)| *persists) {
            pending.apply(&mut names);
        }
        names
    }

    /// Whether a name, now or after a power cut, may mean the file.
    pub(super) fn may_reach(&self, inode: InodeId) -> bool {
        let mut named = self.current.values().chain(self.durable.values());
        named.any(|&other| other == inode) || self.pending.iter().any(|pending| pending.inode == inode)
    }
}

impl Pending {
    fn apply(&self, names: &mut NameMap) {
        match &self.change {
            Change::Put { path, .. } => {
                names.retain(|_, inode| *inode != self.inode);
                names.insert(path.clone(), self.inode);
            }
            Change::Remove { path } => {
                if names.get(path) == Some(&self.inode) {
                    names.remove(path);
                }
            }
        }
    }

    fn touches(&self, folder: Option<&Path>) -> bool {
        match &self.change {
            Change::Put { path, from } => {
                path.parent() == folder || from.as_deref().is_some_and(|from| from.parent() == folder)
            }
            Change::Remove { path } => path.parent() == folder,
        }
    }
}
