//! The commands, one file for each kind.

mod backup;
mod erase;
mod prove;
mod read;
mod stream;
#[cfg(feature = "wasm")]
mod wasm;
mod whole;
mod write;

use std::path::Path;

use llmdb::{Database, Error, Options};

use crate::exit::Failure;

pub(crate) use backup::{backup, restore};
pub(crate) use erase::{erase, retain};
pub(crate) use read::{get, history, timeline};
pub(crate) use stream::{apply, ask};
#[cfg(feature = "wasm")]
pub(crate) use wasm::wasm;
pub(crate) use whole::{check, stat};
pub(crate) use write::{delete, put};

/// Opens a database; the lock names the command.
pub(crate) fn open(path: &Path, command: &str, create: bool) -> Result<Database, Failure> {
    let owner = format!("llmdb {command}");
    Ok(Options::new().owner(&owner).create(create).open(path)?)
}

/// Opens a database to write to it. Bytes of what was erased that a crash left are overwritten first.
pub(crate) fn open_to_write(path: &Path, command: &str, create: bool) -> Result<Database, Failure> {
    let db = open(path, command, create)?;
    if db.wipe_owed()?.is_some() {
        db.wipe()?;
    }
    Ok(db)
}

/// Opens a database to read from it, beside others who do. One that was not closed is recovered first, which takes
/// it for writing.
pub(crate) fn open_to_read(path: &Path, command: &str) -> Result<Database, Failure> {
    match Options::new().read_only(true).open(path) {
        Err(Error::Store(llmdb_wal::Error::NotClosed { .. })) => open(path, command, false),
        opened => Ok(opened?),
    }
}
