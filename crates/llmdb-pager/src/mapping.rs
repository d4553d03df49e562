//! Mapping a file with room to grow.
//!
//! Address space is taken once, far beyond the file, so that a growing file stays at one address. Where it is
//! limited (`ulimit -v`, a small machine) less is taken; a file that outgrows its map gets a new one, and
//! older snapshots keep theirs until they end. A file longer than any free stretch of addresses is mapped in
//! parts (`storage::disk`).
//!
//! Invariants
//! 1. The map covers every page that a published state counts.
//! 2. Under a limit the map takes a quarter of it at most, unless the file itself needs more: the rest is
//!    the program's, and the next map's.

use crate::error::Error;
use crate::storage::{File, Map};
use std::path::Path;

/// Address space taken for the file's map where there is no limit.
const MAP_RESERVE: u64 = 1 << 40;
/// With less room than this a file would soon outgrow its map.
const MAP_RESERVE_MIN: u64 = 1 << 26;

/// Maps a file with as much room to grow as the address space has.
///
/// # Errors
/// [`Error::AddressSpace`] where not even the file fits.
pub(crate) fn map_file(file: &dyn File, path: &Path, needed: u64) -> Result<Map, Error> {
    let limit = address_limit();
    let mut refusal = None;
    for reserve in reservations(needed, limit) {
        match file.map(reserve) {
            Ok(map) if map.len() >= needed => return Ok(map),
            Ok(_) => {}
            Err(error) => refusal = Some(error),
        }
    }
    let source = refusal.unwrap_or_else(|| std::io::ErrorKind::OutOfMemory.into());
    Err(Error::AddressSpace { path: path.into(), needed, limit, source })
}

/// The map for a file that needs `needed` bytes: the present one while it reaches.
pub(crate) fn map_for(file: &dyn File, path: &Path, present: &Map, needed: u64) -> Result<Map, Error> {
    if needed <= present.len() { Ok(present.clone()) } else { map_file(file, path, needed) }
}

/// How much address space this process may have; `None` where nobody limits it.
pub(crate) fn address_limit() -> Option<u64> {
    if cfg!(miri) {
        // The interpreter has no limit to ask for, and little memory.
        return Some(1 << 28);
    }
    rustix::process::getrlimit(rustix::process::Resource::As).current
}

/// What to try, from the most to what is needed and no more.
fn reservations(needed: u64, limit: Option<u64>) -> Vec<u64> {
    let twice = needed.saturating_mul(2);
    let mut most = MAP_RESERVE.max(twice);
    if let Some(limit) = limit {
        most = most.min(limit / 4);
    }
    // A huge file may leave room for little more than itself.
    let mut sizes = vec![needed.saturating_add(needed / 4), needed.saturating_add(needed / 32), needed];
    let mut size = most;
    while size > needed {
        sizes.push(size);
        size = if size > MAP_RESERVE_MIN { (size / 4).max(MAP_RESERVE_MIN) } else { needed };
    }
    sizes.sort_unstable_by(|left, right| right.cmp(left));
    sizes.dedup();
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_falls_to_what_is_needed() {
        for (needed, limit) in [
            (8192, None),
            (10 << 30, None),
            (3 << 40, None),
            (8192, Some(1 << 30)),
            (600 << 20, Some(1 << 30)),
            (2 << 30, Some(1 << 30)),
            (1 << 47, None),
        ] {
            let sizes = reservations(needed, limit);
            assert!(sizes.is_sorted_by(|before, after| before > after), "{sizes:?}");
            assert_eq!(sizes.last(), Some(&needed));
            assert!(sizes.len() < 24, "{sizes:?}");
            let first = limit.map_or(MAP_RESERVE, |limit| limit / 4).max(needed);
            assert!(sizes[0] >= first, "{sizes:?}");
        }
    }
}
