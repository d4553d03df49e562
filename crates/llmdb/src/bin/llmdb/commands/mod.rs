//! The commands, one file for each kind.

mod read;
mod stream;
mod whole;
mod write;

use std::path::Path;

use llmdb::{Database, Options};

use crate::exit::Failure;

pub(crate) use read::{get, history, timeline};
pub(crate) use stream::{apply, ask};
pub(crate) use whole::{check, stat};
pub(crate) use write::{delete, put};

/// Opens a database; the lock names the command.
pub(crate) fn open(path: &Path, command: &str, create: bool) -> Result<Database, Failure> {
    let owner = format!("llmdb {command}");
    Ok(Options::new().owner(&owner).create(create).open(path)?)
}
