//! What the system says of the storage under a folder: free space, and the device's counts.
//!
//! Invariants
//! 1. A count that the system does not have is `None`, never 0.
//!
//! Not here: what the storage can do (`probe`).

use crate::error::{Error, Result};
use rustix::fs::Advice;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Bytes that may be written under a folder.
///
/// # Errors
/// No such folder.
pub fn free_bytes(folder: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(folder)
        .map_err(|errno| Error::io(format!("asking for free space in {}", folder.display()), errno.into()))?;
    Ok(stat.f_bavail * stat.f_frsize)
}

/// Bytes of memory that programs may still take.
pub fn free_memory() -> Option<u64> {
    memory_line("MemAvailable:")
}

/// Bytes of memory of the machine.
pub fn memory_bytes() -> Option<u64> {
    memory_line("MemTotal:")
}

fn memory_line(name: &str) -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, name)
}

/// The value of a `Name:   123 kB` line, in bytes.
pub fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
}

/// Counts of a block device since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceCounts {
    /// Bytes written.
    pub bytes_written: u64,
    /// Flushes, where the kernel counts them and the device needs them for each durable write.
    pub flushes: Option<u64>,
}

/// The counts of the device under a folder, of everybody who writes to it; `None` where there is no such
/// device (tmpfs, overlays).
pub fn device_counts(folder: &Path) -> Option<DeviceCounts> {
    let device = fs::metadata(folder).ok()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let text = fs::read_to_string("/proc/diskstats").ok()?;
    let line = text.lines().find(|line| {
        let mut fields = line.split_whitespace();
        fields.next() == Some(&major.to_string()) && fields.next() == Some(&minor.to_string())
    })?;
    let fields: Vec<u64> = line.split_whitespace().skip(3).map_while(|field| field.parse().ok()).collect();
    // With forced unit access a durable write needs no flush, so their number would say nothing.
    let fua = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/queue/fua"));
    let needs_flushes = fua.is_ok_and(|text| text.trim() == "0");
    let flushes = fields.get(15).copied().filter(|_| needs_flushes);
    Some(DeviceCounts { bytes_written: fields.get(6)? * 512, flushes })
}

/// Writes out everything that the file system under a folder still holds back.
///
/// # Errors
/// The system's.
pub fn sync_all(folder: &Path) -> Result<()> {
    let doing = || format!("flushing the file system of {}", folder.display());
    let open = File::open(folder).map_err(|error| Error::io(doing(), error))?;
    rustix::fs::syncfs(&open).map_err(|errno| Error::io(doing(), errno.into()))
}

/// Drops the files of a folder from the page cache, which they must not be mapped for. Flushes them first.
///
/// # Errors
/// The system's.
pub fn evict(folder: &Path) -> Result<()> {
    sync_all(folder)?;
    for path in files(folder)? {
        let doing = || format!("dropping {} from the page cache", path.display());
        let file = File::open(&path).map_err(|error| Error::io(doing(), error))?;
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)
            .map_err(|errno| Error::io(doing(), errno.into()))?;
    }
    Ok(())
}

/// Bytes that the files of a folder take on the device.
///
/// # Errors
/// The system's.
pub fn folder_bytes(folder: &Path) -> Result<u64> {
    let sizes = files(folder)?.into_iter().filter_map(|path| fs::metadata(path).ok());
    Ok(sizes.map(|meta| meta.blocks() * 512).sum())
}

/// All files below a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let doing = |error| Error::io(format!("listing {}", folder.display()), error);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(doing)? {
        let path = entry.map_err(doing)?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_s_files_are_counted_and_evicted() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("below")).unwrap();
        fs::write(folder.path().join("below/file"), [1; 10_000]).unwrap();
        evict(folder.path()).unwrap();
        assert!((8_192..100_000).contains(&folder_bytes(folder.path()).unwrap()));
        assert!(free_bytes(folder.path()).unwrap() > 0);
        assert!(free_bytes(&folder.path().join("missing")).is_err());
    }

    #[test]
    fn memory_lines_are_read_in_bytes() {
        assert_eq!(kilobytes("MemTotal:       24 kB\nMemFree: 1 kB\n", "MemFree:"), Some(1024));
        assert_eq!(kilobytes("MemTotal:       24 kB\n", "Swap:"), None);
        assert!(free_memory().unwrap() < memory_bytes().unwrap());
    }
}
