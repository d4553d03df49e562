//! A storage whose power can be cut, over real files: so a database may be larger than memory.
//!
//! What was written since a file's last flush is remembered as it was before, sector by sector. At the cut each
//! of these sectors holds the old bytes or the new ones, as chance has it, and every later change is refused.
//! Lengths, names and reserved space are kept as they are, which a disk may do.
//!
//! Invariants
//! 1. What was flushed is never changed by a cut.
//! 2. After the cut nothing reaches the files any more.

use super::layer::{Layer, Layered};
use crate::rng::Rng;
use llmdb_pager::storage::{DiskStorage, File, Storage, write_all_at};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that a disk writes as a whole.
const SECTOR: usize = 512;

/// The power of a storage.
#[derive(Debug)]
pub struct Power {
    files: Mutex<Vec<Arc<Opened>>>,
    /// Writes and flushes until the power goes; negative = it stays.
    left: AtomicI64,
}

/// What the power's layer knows of a file.
#[derive(Debug)]
pub struct Opened {
    file: Arc<dyn File>,
    /// Sectors as they were at the last flush, by their place.
    unflushed: Mutex<BTreeMap<u64, Sector>>,
}

type Sector = [u8; SECTOR];

/// Real files whose power can be cut.
pub fn on_disk() -> Layered<Power> {
    Layered::new(Arc::new(DiskStorage), Power { files: Mutex::default(), left: AtomicI64::new(-1) })
}

impl Power {
    /// Lets the power go after so many more writes and flushes.
    pub fn cut_after(&self, operations: u32) {
        self.left.store(i64::from(operations), Ordering::Release);
    }

    /// Makes the files what a disk may hold after the cut.
    ///
    /// # Errors
    /// The system's.
    pub fn leave_behind(&self, seed: u64) -> io::Result<()> {
        self.left.store(0, Ordering::Release);
        let mut rng = Rng::new(seed);
        for opened in locked(&self.files).drain(..) {
            for (place, before) in std::mem::take(&mut *locked(&opened.unflushed)) {
                if rng.below(2) == 0 {
                    write_all_at(&*opened.file, &before, place * SECTOR as u64)?;
                }
            }
        }
        Ok(())
    }

    /// Counts an operation; an error if the power is gone, or goes with it.
    fn operate(&self) -> io::Result<()> {
        let left =
            self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| (left > 0).then(|| left - 1));
        match left {
            Err(0) => Err(io::Error::other("the power is off")),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

impl Layer for Power {
    type Known = Arc<Opened>;

    fn opened(&self, _path: &Path, file: &Arc<dyn File>) -> Arc<Opened> {
        let opened = Arc::new(Opened { file: file.clone(), unflushed: Mutex::default() });
        locked(&self.files).push(opened.clone());
        opened
    }

    fn allows(&self) -> io::Result<()> {
        match self.left.load(Ordering::Acquire) {
            0 => Err(io::Error::other("the power is off")),
            _ => Ok(()),
        }
    }

    fn write_at(&self, known: &Arc<Opened>, file: &dyn File, buf: &[u8], offset: u64) -> io::Result<usize> {
        // Held over the write, so that no flush believes it done before it is.
        let mut unflushed = locked(&known.unflushed);
        self.operate()?;
        let end = offset + buf.len() as u64;
        for place in offset / SECTOR as u64..end.div_ceil(SECTOR as u64) {
            if let std::collections::btree_map::Entry::Vacant(vacant) = unflushed.entry(place) {
                vacant.insert(read_sector(file, place)?);
            }
        }
        file.write_at(buf, offset)
    }

    fn sync_data(&self, known: &Arc<Opened>, file: &dyn File) -> io::Result<()> {
        let mut unflushed = locked(&known.unflushed);
        self.operate()?;
        file.sync_data()?;
        unflushed.clear();
        Ok(())
    }

    fn sync_dir(&self, storage: &dyn Storage, path: &Path) -> io::Result<()> {
        self.operate()?;
        storage.sync_dir(path)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bytes of a sector; zeros behind the end of the file.
fn read_sector(file: &dyn File, place: u64) -> io::Result<Sector> {
    let mut sector = [0; SECTOR];
    let mut read = 0;
    while read < SECTOR {
        match file.read_at(&mut sector[read..], place * SECTOR as u64 + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sector)
}

#[cfg(test)]
mod tests {
    use super::*;
    use llmdb_pager::storage::OpenMode;

    #[test]
    fn a_cut_keeps_what_was_flushed_and_takes_some_of_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let storage = on_disk();
        let path = folder.path().join("file");
        let file = storage.open(&path, OpenMode::CreateNew).unwrap();
        let sectors = 64;
        write_all_at(&*file, &vec![1; sectors * SECTOR], 0).unwrap();
        file.sync_data().unwrap();
        // The second half is written again and never flushed.
        write_all_at(&*file, &vec![2; sectors / 2 * SECTOR], (sectors / 2 * SECTOR) as u64).unwrap();
        storage.layer().cut_after(1);
        file.write_at(&[3; SECTOR], (sectors * SECTOR) as u64).unwrap();
        assert!(file.write_at(&[4], 0).is_err() && file.sync_data().is_err() && file.set_len(1).is_err());
        storage.layer().leave_behind(7).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let (flushed, unflushed) = bytes.split_at(sectors / 2 * SECTOR);
        assert!(flushed.iter().all(|&byte| byte == 1), "what was flushed stands");
        let kinds: Vec<u8> = unflushed.chunks(SECTOR).map(|sector| sector[0]).collect();
        assert!(unflushed.chunks(SECTOR).all(|sector| sector.iter().all(|&byte| byte == sector[0])));
        assert!(kinds.contains(&1) && kinds.contains(&2), "some are old and some new: {kinds:?}");
        assert!(file.write_at(&[5], 0).is_err(), "and the power stays off");
    }
}
