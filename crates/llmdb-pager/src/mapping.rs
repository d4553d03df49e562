//! Mapping a file with room to grow.
//!
//! Invariants
//! 1. The map covers every page that a published state counts.

use crate::error::Error;
use crate::storage::{File, Map};
use std::io;
use std::path::Path;

/// Address space taken for the file's map: it grows inside without moving.
const MAP_RESERVE: u64 = 1 << 40;
/// Where address space is limited, the map is tried down to this, or to the file's own length.
const MAP_RESERVE_MIN: u64 = 1 << 26;

/// Maps a file with as much room to grow as the address space has.
pub(crate) fn map_file(file: &dyn File, path: &Path, needed: u64) -> Result<Map, Error> {
    let mut reserve = MAP_RESERVE.max(needed.saturating_mul(2));
    loop {
        match file.map(reserve) {
            Ok(map) if map.len() >= needed => return Ok(map),
            Ok(_) => {
                return Err(Error::io(
                    format!("mapping {} bytes of {}", needed, path.display()),
                    io::ErrorKind::OutOfMemory.into(),
                ));
            }
            Err(_) if reserve > needed.max(MAP_RESERVE_MIN) => {
                reserve = (reserve / 4).max(needed).max(MAP_RESERVE_MIN)
            }
            Err(error) => {
                return Err(Error::io(format!("mapping {reserve} bytes of {}", path.display()), error));
            }
        }
    }
}

/// The map for a file that needs `needed` bytes: the present one while it reaches.
pub(crate) fn map_for(file: &dyn File, path: &Path, present: &Map, needed: u64) -> Result<Map, Error> {
    if needed <= present.len() { Ok(present.clone()) } else { map_file(file, path, needed) }
}
