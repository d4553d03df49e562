//! The real file system (Linux, ext4 and XFS are what the failure model speaks of).

use super::direct::Direct;
use super::{File, Lock, LockError, Map, OpenMode, Share, Storage};
use rustix::fs::{FallocateFlags, FlockOperation, SeekFrom};
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Only the owner reads and writes what LLMDB creates.
const FILE_MODE: u32 = 0o600;

/// A file that no single map can hold is mapped in parts of 4 TiB.
const PART_SIZE: u64 = 4 << 40;
/// How far a part reaches into the next one: as far as a large value may.
const PART_SHARED: u64 = 4 << 30;

/// Files of the operating system.
#[derive(Debug, Default, Clone, Copy)]
pub struct DiskStorage;

impl Storage for DiskStorage {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut options = OpenOptions::new();
        options.read(true).mode(FILE_MODE);
        match mode {
            OpenMode::Read => {}
            OpenMode::ReadWrite => {
                options.write(true);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
            }
        }
        Ok(Arc::new(DiskFile(options.open(path)?, AtomicBool::new(false), Direct::default())))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(folder_of(path))?.sync_all()
    }

    fn lock(&self, path: &Path, owner: &str) -> Result<Box<dyn Lock>, LockError> {
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(FILE_MODE)
                .open(path)
                .map_err(LockError::Io)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let mut text = String::new();
                    file.read_to_string(&mut text).map_err(LockError::Io)?;
                    return Err(LockError::Held(text));
                }
                Err(errno) => return Err(LockError::Io(errno.into())),
            }
            // A previous owner may have removed the name between our open and our lock: then we hold a
            // lock that nobody else can see, and try again.
            let named = fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
            let held = file.metadata().map(|meta| (meta.dev(), meta.ino())).map_err(LockError::Io)?;
            if !named.is_ok_and(|named| named == held) {
                continue;
            }
            file.set_len(0)
                .and_then(|()| file.rewind())
                .and_then(|()| file.write_all(owner.as_bytes()))
                .map_err(LockError::Io)?;
            return Ok(Box::new(DiskLock { path: path.to_owned(), _file: file }));
        }
    }

    fn lock_owner(&self, path: &Path) -> Option<String> {
        fs::read_to_string(path).ok()
    }
}

/// The folder that holds `path`'s name.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A file, whether it is locked by this handle, and its way past the cache.
#[derive(Debug)]
struct DiskFile(fs::File, AtomicBool, Direct);

impl Drop for DiskFile {
    fn drop(&mut self) {
        if self.1.load(Ordering::Relaxed) {
            // Closing does the same, but not while a child that was just forked has the handle too.
            let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
        }
    }
}

impl File for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write_durable_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        if self.2.write(&self.0, buf, offset)? {
            return Ok(());
        }
        self.0.write_all_at(buf, offset)?;
        self.sync_data()
    }

    fn write_back(&self, offset: u64, len: u64) -> io::Result<()> {
        sync_file_range(&self.0, offset, len, SEND_AND_WAIT)
    }

    fn begin_write_back(&self, offset: u64, len: u64) {
        // Only a hint, and it takes no notice of failed writes: those stay for the flush to tell.
        let _ = sync_file_range(&self.0, offset, len, SEND);
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let before = self.len()?;
        loop {
            match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), offset, len) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                    return self.write_zeros(before, offset + len);
                }
                Err(errno) => {
                    // A failing fallocate was seen to keep what it had got, with the file longer than
                    // before and the disk full: give it back. Nothing beyond `before` is mapped or used.
                    if self.len()? > before {
                        self.0.set_len(before)?;
                    }
                    return Err(errno.into());
                }
            }
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn map(&self, len: u64) -> io::Result<Map> {
        match self.map_part(0, len) {
            Err(_) if len > PART_SIZE => self.map_in_parts(len),
            mapped => mapped,
        }
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        loop {
            match rustix::fs::fallocate(&self.0, flags, offset, len) {
                Err(rustix::io::Errno::INTR) => {}
                result => return Ok(result?),
            }
        }
    }

    fn holes(&self, range: Range<u64>) -> io::Result<Vec<Range<u64>>> {
        let mut found = Vec::new();
        let mut at = range.start;
        while at < range.end {
            // Past the last byte of the file there is neither.
            let hole = match rustix::fs::seek(&self.0, SeekFrom::Hole(at)) {
                Err(rustix::io::Errno::NXIO) => break,
                hole => hole?,
            };
            let data = match rustix::fs::seek(&self.0, SeekFrom::Data(hole)) {
                Err(rustix::io::Errno::NXIO) => range.end,
                data => data?,
            };
            if hole < range.end {
                found.push(hole..data.min(range.end));
            }
            at = data;
        }
        Ok(found)
    }

    fn allocated(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.blocks() * 512)
    }

    fn lock(&self, share: Share) -> io::Result<bool> {
        let operation = match share {
            Share::Readers => FlockOperation::NonBlockingLockShared,
            Share::Nobody => FlockOperation::NonBlockingLockExclusive,
        };
        match rustix::fs::flock(&self.0, operation) {
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            result => {
                result?;
                self.1.store(true, Ordering::Relaxed);
                Ok(true)
            }
        }
    }

    fn will_need(&self, offset: u64, len: u64) {
        if let Some(len) = std::num::NonZeroU64::new(len) {
            // Only advice.
            let _ = rustix::fs::fadvise(&self.0, offset, Some(len), rustix::fs::Advice::WillNeed);
        }
    }
}

impl DiskFile {
    /// Maps a range of the file.
    fn map_part(&self, offset: u64, len: u64) -> io::Result<Map> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let region = memmap2::MmapOptions::new().offset(offset).len(len).map_raw_read_only(&self.0)?;
        // A descent touches pages all over the file. Without this the kernel reads 128 KiB around each
        // page that is not cached; whoever reads in order says so by `will_need`. Only advice: a refusal
        // costs time and nothing else.
        let _ = region.advise(memmap2::Advice::Random);
        Ok(map_of(region, len))
    }

    /// Maps a file that is longer than any stretch of free addresses: a program's own code stands at two
    /// thirds of its 140 TB, so that none is longer than 93 TB.
    fn map_in_parts(&self, len: u64) -> io::Result<Map> {
        let parts: io::Result<Vec<Map>> = (0..len.div_ceil(PART_SIZE))
            .map(|part| self.map_part(part * PART_SIZE, PART_SIZE + PART_SHARED))
            .collect();
        Map::of_parts(parts?, PART_SIZE).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    /// Extends the file by writing zeros, for file systems that have no `fallocate`.
    fn write_zeros(&self, from: u64, to: u64) -> io::Result<()> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        let mut at = from;
        while at < to {
            let size = ZEROS.len().min((to - at) as usize);
            match self.0.write_all_at(&ZEROS[..size], at) {
                Ok(()) => at += size as u64,
                Err(error) => {
                    self.0.set_len(from)?;
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

#[cfg(target_os = "linux")]
const SEND: libc::c_uint = libc::SYNC_FILE_RANGE_WRITE;
#[cfg(target_os = "linux")]
const SEND_AND_WAIT: libc::c_uint =
    libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "rustix has no sync_file_range")]
fn sync_file_range(file: &fs::File, offset: u64, len: u64, flags: libc::c_uint) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) else { return Ok(()) };
    loop {
        // SAFETY: the file descriptor is open for as long as `file` is borrowed; no memory is passed.
        if unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, flags) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            // A file system that cannot: the flush does it all.
            Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::ESPIPE) => return Ok(()),
            _ => return Err(error),
        }
    }
}

#[cfg(not(target_os = "linux"))]
const SEND: u32 = 0;
#[cfg(not(target_os = "linux"))]
const SEND_AND_WAIT: u32 = 0;

#[cfg(not(target_os = "linux"))]
fn sync_file_range(_: &fs::File, _: u64, _: u64, _: u32) -> io::Result<()> {
    Ok(())
}

#[expect(unsafe_code, reason = "vouches for the address of a memmap2 mapping")]
fn map_of(region: memmap2::MmapRaw, len: usize) -> Map {
    let address = region.as_ptr();
    // SAFETY: `region` owns the mapping of `len` bytes at `address` and is kept as the map's owner.
    unsafe { Map::new(address, len, Arc::new(region)) }
}

#[derive(Debug)]
struct DiskLock {
    path: PathBuf,
    _file: fs::File,
}

impl Lock for DiskLock {}

impl Drop for DiskLock {
    fn drop(&mut self) {
        // While we hold the lock the name is ours, so removing it takes nobody else's file. A failure
        // leaves an unlocked file behind, which the next owner takes over.
        let _ = fs::remove_file(&self.path);
    }
}
